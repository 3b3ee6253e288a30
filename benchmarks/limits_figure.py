"""Draws the figure of docs/fan-out.md: ``python -m benchmarks.limits_figure > docs/rate-limits.svg``."""

from __future__ import annotations

import sys

from benchmarks.limits import HOG

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 720, 300, 48, 34, 36
_SECONDS, _MOST, _STEP = 56, 40, 1


def _x(seconds: float) -> float:
    return _LEFT + seconds * (_WIDTH - _LEFT - 12) / _SECONDS


def _y(creates: float) -> float:
    return _HEIGHT - _BOTTOM - min(creates, _MOST) * (_HEIGHT - _TOP - _BOTTOM) / _MOST


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>'


def draw() -> str:
    """Return the figure: accepted and refused creates in each second, while another program takes all tokens."""
    creations = HOG.simulate(0.2).api.creations
    bars: list[str] = []
    for second in range(0, _SECONDS, _STEP):
        within = [creation.accepted for creation in creations if second <= creation.at < second + _STEP]
        bottom = 0
        for color, count in (("#3b7dd8", sum(within)), ("#d8573b", len(within) - sum(within))):
            if count:
                top = _y(bottom + count)
                bars.append(
                    f'<rect x="{_x(second) + 1:.1f}" y="{top:.1f}" width="{_x(_STEP) - _x(0) - 2:.1f}" '
                    f'height="{_y(bottom) - top:.1f}" fill="{color}"/>'
                )
            bottom += count
    (start, end), *_ = HOG.trouble["hogs"]
    width, height = _x(end) - _x(start), _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<rect x="{_x(start):.1f}" y="{_TOP}" width="{width:.1f}" height="{height}" fill="#eee"/>',
        *bars,
        f'<path d="M{_x(0):.1f} {_y(10):.1f}H{_WIDTH - 12}" stroke="#444" stroke-dasharray="4 4"/>',
        f'<path d="M{_x(0):.1f} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - 12}" stroke="#444" fill="none"/>',
        _text(_x((start + end) / 2), _TOP - 8, "another program takes everything"),
        _text(_WIDTH - 12, _y(10) - 5, "the limit: 10 per second", "end"),
        _text(_WIDTH - 12, _TOP + 10, "blue: accepted creates per second, red: refused", "end"),
        *[_text(_x(second), _HEIGHT - 18, f"{second} s") for second in range(0, _SECONDS, 10)],
        *[_text(_LEFT - 6, _y(creates) + 4, str(creates), "end") for creates in range(0, _MOST + 1, 10)],
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="#222">\n<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    sys.stdout.write(draw())
