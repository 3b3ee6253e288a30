"""``python -m replicate_async._codegen`` writes the generated modules; ``--check`` compares them."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from replicate_async._codegen.compat import AsyncGroupsBuilder
from replicate_async._codegen.source import Source, UnsupportedSourceError, inline_bases
from replicate_async._codegen.sync import SyncBuilder
from replicate_async._codegen.views import ViewsBuilder

PACKAGE = Path(__file__).parent.parent
SOURCES = (
    "_http/response.py",
    "_predictions/outputs.py",
    "_http/pages.py",
    "resources/account.py",
    "resources/collections.py",
    "resources/deployments.py",
    "resources/files.py",
    "resources/hardware.py",
    "resources/low_level.py",
    "resources/model_versions.py",
    "resources/models.py",
    "resources/predictions.py",
    "resources/search.py",
    "resources/trainings.py",
    "resources/webhooks.py",
    "_predictions/journal.py",
    "_predictions/functions.py",
    "resources/webhook_receiver.py",
    "_client.py",
)
GROUPS = tuple(
    f"compat/{name}.py"
    for name in (
        *("account", "collection", "deployment", "file", "hardware", "model", "prediction", "training", "version"),
        "webhook",
    )
)


class RuffNotFoundError(Exception):
    """Nothing formats the generated modules."""


def find_ruff() -> list[str]:
    """Return the command that runs ruff: this Python's own, or else the one on the path.

    Raises:
        RuffNotFoundError: there is none.
    """
    if find_spec("ruff") is not None:
        return [sys.executable, "-m", "ruff"]
    if (executable := shutil.which("ruff")) is not None:
        return [executable]
    raise RuffNotFoundError("ruff formats the generated modules and is not installed: pip install ruff")


def format_module(text: str, path: Path) -> str:
    """Return a module without unused imports, sorted and formatted by ruff with the settings that hold for its path."""
    ruff = find_ruff()
    for arguments in (["check", "--fix-only", "--select", "I,F401"], ["format"]):
        command = [*ruff, *arguments, "--quiet", "--stdin-filename", str(path), "-"]
        text = subprocess.run(command, input=text, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout  # noqa: S603
    return text


def generate(package: Path = PACKAGE) -> dict[Path, str]:
    """Return the texts of the generated modules by their paths."""
    sources = _read(package, SOURCES)
    inline_bases(sources)
    views = ViewsBuilder(sources).build()
    # The views are asynchronous classes too, and have blocking counterparts.
    *others, client = sources
    sync = SyncBuilder([*others, Source("_views.py", views), client]).build()
    groups = AsyncGroupsBuilder(_read(package, GROUPS)).build()
    texts = {package / "_views.py": views, package / "_sync.py": sync, package / "compat/_async_groups.py": groups}
    return {path: format_module(text, path) for path, text in texts.items()}


def _read(package: Path, names: tuple[str, ...]) -> list[Source]:
    return [Source(name, (package / name).read_text(encoding="utf-8")) for name in names]


def main(arguments: list[str] | None = None, package: Path = PACKAGE) -> int:
    """Write the generated modules, or check that they are up to date."""
    parser = argparse.ArgumentParser(prog="python -m replicate_async._codegen", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a module is out of date")
    check: bool = parser.parse_args(arguments).check
    try:
        texts = generate(package)
    except (UnsupportedSourceError, RuffNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    stale = {path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    for path in sorted(stale):
        if check:
            sys.stderr.write(f"{path.name} is out of date: run python -m replicate_async._codegen\n")
        else:
            path.write_text(texts[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
