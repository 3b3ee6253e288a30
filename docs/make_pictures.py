"""Draws the pictures of the documentation again: screenshots of the page, a notebook and a terminal, and diagrams.

Run it from the root of the repository, after ``pip install -e '.[cli]' playwright nbconvert nbclient ipykernel``. It
needs Chromium and npm too. ``python docs/make_pictures.py page`` makes one kind only.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec

from replicate_async import Replicate
from replicate_async.testing import LocalServer, OutputFile, models

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
DIAGRAMS = DOCS / "diagrams"
THEMES = ("light", "dark")

NOTEBOOK = [
    "import replicate_async as replicate",
    'replicate.run("replicate/hello-world", input={"text": "Alice"})',
    'replicate.run("replicate-local/gradient", input={"width": 420, "height": 180})',
]
COMMANDS = [
    "replicate-async --local run replicate/hello-world text=Alice",
    "replicate-async --local run replicate-local/gradient width=640 -o gradient.png",
    'replicate-async --local run replicate-local/stream-text prompt="Text, word by word."',
    "replicate-async --local run replicate/hello-world txt=Alice",
]


@contextmanager
def browser() -> Iterator[Any]:
    """Open Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@contextmanager
def serving() -> Iterator[LocalServer]:
    """Start a server with models that look like those at Replicate."""
    server = LocalServer()
    models.register(server)

    @server.model("acme/upscale", official=True)
    async def upscale(image: Path, scale: Annotated[int, msgspec.Meta(ge=2, le=8)] = 4) -> OutputFile:
        """Make a picture larger."""
        for step in range(13):
            print(f"\r{step * 5:3d}%|{'█' * (step // 2):10}| {step}/20 [00:{step:02d}<00:{20 - step:02d}]", end="")
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()
        return models.gradient(256 * scale, 256 * scale)

    @server.model("acme/caption", official=True)
    def caption(image: Path) -> str:
        """Describe a picture."""
        raise ValueError("the image is too small")

    with server:
        yield server


def page() -> None:
    """Take pictures of the local server's page."""
    with serving() as server, Replicate(base_url=server.base_url, bearer_token=server.token) as client:
        client.run("replicate/hello-world", input={"text": "Alice"})
        client.run("replicate-local/stream-text", input={"prompt": "", "delay": 0})
        client.run("replicate-local/gradient", input={"width": 480, "height": 220})
        client.submit("acme/upscale", {"image": models.gradient(8, 8).data})
        with browser() as chromium:
            for theme in THEMES:
                tab = chromium.new_page(viewport={"width": 1120, "height": 800}, color_scheme=theme)
                tab.goto(f"{server.url}#replicate-local/gradient")
                tab.get_by_text("60%").first.wait_for()
                time.sleep(0.5)
                tab.screenshot(path=IMAGES / f"page-{theme}.png")


def notebook() -> None:
    """Run a notebook, and take pictures of it."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    with serving() as server:
        os.environ.update(REPLICATE_BASE_URL=server.base_url, REPLICATE_API_TOKEN=server.token)
        document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in NOTEBOOK])
        NotebookClient(document, timeout=60).execute()
        with browser() as chromium:
            for theme in THEMES:
                text, _ = HTMLExporter(theme=theme).from_notebook_node(document)
                tab = chromium.new_page(viewport={"width": 900, "height": 350}, java_script_enabled=False)
                tab.set_content(text, wait_until="domcontentloaded")
                time.sleep(0.5)
                tab.screenshot(path=IMAGES / f"notebook-{theme}.png")


def terminal() -> None:
    """Run commands, and draw what a terminal shows."""
    lines: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            # Its own interpreter, because ``--local`` changes the environment.
            script = command.replace("replicate-async", f"{sys.executable} -m replicate_async.cli")
            done = subprocess.run(
                ["sh", "-c", script], cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False
            )
            lines.append(("command", f"$ {command}"))
            for kind, text in (("output", done.stdout), ("error", done.stderr)):
                for line in text.splitlines():
                    lines += [(kind, part) for part in textwrap.wrap(line, 92, subsequent_indent="  ")]
            lines.append(("output", ""))
    colors = {"command": "#ffb38a", "output": "#eceae6", "error": "#ff9a91"}
    rows = "".join(
        f'<text x="20" y="{58 + 21 * number}" fill="{colors[kind]}" xml:space="preserve">{html.escape(line)}</text>'
        for number, (kind, line) in enumerate(lines[:-1])
    )
    height = 58 + 21 * (len(lines) - 1)
    dots = "".join(f'<circle cx="{22 + 20 * n}" cy="20" r="6" fill="#5a534c"/>' for n in range(3))
    (IMAGES / "terminal.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {height}" font-size="13.5"'
        ' font-family="ui-monospace, Menlo, Consolas, monospace">'
        f'<rect width="780" height="{height}" rx="8" fill="#211f1d"/>{dots}{rows}</svg>\n',
        encoding="utf-8",
    )


def digest(path: Path) -> str:
    """Return what a diagram's SVG says about its source, so that a test sees if it is out of date."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def diagrams() -> None:
    """Draw the diagrams with mermaid. The site has their SVGs, because mermaid itself is 3 MB of script."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        subprocess.run(["npm", "install", "--silent", "--prefix", folder, "mermaid@11"], check=True)
        script = Path(folder, "node_modules", "mermaid", "dist", "mermaid.min.js")
        for source in sorted(DIAGRAMS.glob("*.mmd")):
            for theme, name in (("light", "neutral"), ("dark", "dark")):
                tab = chromium.new_page()
                tab.set_content("<body></body>")
                tab.add_script_tag(path=script)
                svg = tab.evaluate(
                    """async ([text, theme]) => {
                        mermaid.initialize({ startOnLoad: false, theme, htmlLabels: false, fontFamily: "sans-serif",
                          flowchart: { htmlLabels: false, wrappingWidth: 420, rankSpacing: 36 } });
                        return (await mermaid.render("diagram", text)).svg;
                    }""",
                    [source.read_text(encoding="utf-8"), name],
                )
                target = IMAGES / f"{source.stem}-{theme}.svg"
                target.write_text(f"{svg}\n<!-- {digest(source)} -->\n", encoding="utf-8")


KINDS: dict[str, Callable[[], None]] = {
    "page": page,
    "notebook": notebook,
    "terminal": terminal,
    "diagrams": diagrams,
}

if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for kind in sys.argv[1:] or KINDS:
        KINDS[kind]()
