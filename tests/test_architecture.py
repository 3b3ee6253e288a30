"""The architecture: which modules import which, how large they are, and what tests may touch."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "replicate_async"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}
GENERATED = {"_sync", "_views", "compat._async_groups"}

# From bottom to top. A module imports others of its own layer, and those of the layers below.
LAYERS = [
    (
        "_version",
        "_advice",
        "_background",
        "_decoding",
        "_files",
        "_foreign_files",
        "_fork",
        "_hints",
        "_json",
        "_logging",
        "_monotonic",
        "_postgres",
        "_references",
        "_schema",
        "_stores",
        "_tasks",
        "_threads",
        "_typing",
        "_usage",
        "types",
        "errors",
        "hooks",
    ),
    ("_http",),
    ("_webhooks",),
    ("_predictions",),
    ("_views", "resources"),
    ("_client",),
    ("_bridge", "_sync"),
    ("__init__",),
    ("testing", "cli", "_codegen"),
    ("compat", "fastapi", "otel"),
]
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
# For type checkers, the views name the classes that they are views of, which in turn have the views.
TYPING_ONLY = {"_views": {"_client", "resources"}}
# The views are the resources' own, in a generated module.
FLOORS = {"_views": "resources"}
MAX_FLOORS = 13
MAX_LINES = 400
MAY_BE_LONGER = {"types", "_client", *GENERATED}
MAX_PRIVATE_TOUCHES = 30


def part_of(module: str) -> str:
    """Return the part of the package that a module belongs to: a folder, or a module at the top."""
    return module.partition(".")[2].partition(".")[0] or "__init__"


def names_imported_by(node: ast.AST, module: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    origin = node.module or ""
    if node.level:
        # A relative import starts at the folder, which is the module itself in an ``__init__.py``.
        folder = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
        for _ in range(node.level - 1):
            folder = folder.rpartition(".")[0]
        origin = f"{folder}.{origin}".rstrip(".")
    return [f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in FILES else origin for alias in node.names]


@cache
def graph() -> dict[str, set[str]]:
    """Return which modules each module imports: at its top, in functions, and for type checkers."""
    edges: dict[str, set[str]] = {}
    for module, path in FILES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        type_checking = [
            statement
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for statement in node.body
        ]
        typing_only = {id(node) for statement in type_checking for node in ast.walk(statement)}
        exceptions = TYPING_ONLY.get(part_of(module), set())
        edges[module] = {
            name
            for node in ast.walk(tree)
            for name in names_imported_by(node, module)
            if name.partition(".")[0] == PACKAGE
            and name != module
            and not (id(node) in typing_only and part_of(name) in exceptions)
        }
    return edges


def circle_in(edges: dict[str, set[str]]) -> list[str] | None:
    """Return a circle, or None."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return None


def test_every_module_has_a_layer():
    """The layers are complete, so that no new module escapes these tests."""
    assert {part_of(module) for module in FILES} <= set(LEVELS)


def test_imports_go_down_only():
    """No module imports one of a layer above, not even for type checkers or inside a function."""
    upward = [
        f"{module} -> {name}"
        for module, imports in graph().items()
        for name in imports
        if LEVELS[part_of(name)] > LEVELS[part_of(module)]
    ]
    assert upward == []


def test_imported_modules_exist():
    """Imports of this package name modules that exist."""
    assert {name for imports in graph().values() for name in imports} <= set(FILES)


def test_the_generator_imports_nothing_of_the_package():
    """The generator reads sources, and never imports them."""
    imports = {name for module, names in graph().items() if part_of(module) == "_codegen" for name in names}
    assert {part_of(name) for name in imports} <= {"_codegen"}


def test_the_bridge_knows_http_only():
    """The bridge runs coroutines; all that it needs of this package is below the clients."""
    assert {LEVELS[part_of(name)] for name in graph()[f"{PACKAGE}._bridge"]} <= {0, LEVELS["_http"]}


@pytest.mark.parametrize("part", ["testing", "the rest"])
def test_no_circles(part):
    """No module imports itself through others."""
    edges = {
        module: imports for module, imports in graph().items() if (part_of(module) == "testing") == (part == "testing")
    }
    assert circle_in(edges) is None


def test_few_floors():
    """No floor imports itself through others, and the longest chain has at most thirteen; each folder is one floor."""
    edges: dict[str, set[str]] = {}
    for module, imports in graph().items():
        floor = FLOORS.get(part_of(module), part_of(module))
        below = {FLOORS.get(part_of(name), part_of(name)) for name in imports}
        edges.setdefault(floor, set()).update(below - {floor})
    assert circle_in(edges) is None
    heights: dict[str, int] = {}
    for floor in TopologicalSorter(edges).static_order():
        heights[floor] = 1 + max((heights[below] for below in edges[floor]), default=0)
    assert max(heights.values()) <= MAX_FLOORS, heights


def test_http_knows_no_prediction():
    """The layer of HTTP has no name of predictions or trainings: not as a class, an argument or a type."""
    for module, path in FILES.items():
        if part_of(module) == "_http":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {
                name
                for node in ast.walk(tree)
                for field in ("id", "attr", "arg", "name", "asname")
                if isinstance(name := getattr(node, field, None), str)
            }
            assert not {name for name in names if "prediction" in name.lower() or "training" in name.lower()}, module


def test_modules_are_short():
    """A module of more than 400 lines would be two, except for the types, the client and generated code."""
    lines = {
        module: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in FILES.items()
        if module.partition(".")[2] not in MAY_BE_LONGER
    }
    assert {module: count for module, count in lines.items() if count > MAX_LINES} == {}


# --- private names in tests ---


# Public in spite of their underscore: those of named tuples, and IPython's, which end with another one.
PUBLIC = {"_asdict", "_fields", "_make", "_replace"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_") and not name.startswith("__") and name not in PUBLIC


def private_touches(tree: ast.AST) -> list[str]:
    """Return where code uses private names of other modules: by attribute, import, ``getattr`` or ``monkeypatch``."""
    touches: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
                touches.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom):
            touches += [f"{node.lineno}: import {alias.name}" for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("getattr", "setattr", "delattr")):
            texts = [part.value for part in node.args[:2] if isinstance(part, ast.Constant)]
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
            touches += [f"{node.lineno}: {ast.unparse(node.func)} {name}" for name in names if is_private(name)]
    return touches


def test_private_touches_are_found():
    """The count below counts each kind of access once."""
    code = """
self._own, cls._own, x.__class__, x.public, x._replace, x._repr_html_
x._one
x._two._three
from x import _four, five, _six
monkeypatch.setattr(x, "_seven", 1)
monkeypatch.setattr("x._eight", 1)
getattr(x, "_nine")
"""
    assert len(private_touches(ast.parse(code))) == 8


def test_tests_touch_few_private_names():
    """Tests pin behavior: few places in all of them use private names of other modules."""
    touches = [
        f"{path.relative_to(ROOT)}:{touch}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for touch in private_touches(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(touches) <= MAX_PRIVATE_TOUCHES, "\n".join(touches)
