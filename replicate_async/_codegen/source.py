"""What the generators share: reading sources with ``ast``, copying signatures, laying text out."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from textwrap import indent

PACKAGE = Path(__file__).parent.parent
CLIENT = "AsyncReplicate"
WIDTH = 120

Function = ast.FunctionDef | ast.AsyncFunctionDef


class NotUnderstoodError(Exception):
    """The source has something that the generator has no rule for."""

    def __init__(self, module: Module, node: ast.AST, problem: str) -> None:
        super().__init__(f"{module.name}:{getattr(node, 'lineno', '?')}: {problem}")


class Module:
    """A source file: its classes, and where its names come from."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.tree = ast.parse(text)
        self.dotted = "replicate_async." + name.removesuffix(".py").replace("/", ".")
        self.imports: dict[str, tuple[str, str]] = {}
        self.typevars: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (alias.name, "")
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if isinstance(node.value, ast.Call) and unparse(node.value.func) in {"TypeVar", "ParamSpec"}:
                    self.typevars[name] = unparse(node)
                else:
                    self.imports.setdefault(name, (self.dotted, name))

    def classes(self) -> list[ast.ClassDef]:
        found = [node for node in self.tree.body if isinstance(node, ast.ClassDef)]
        return [node for node in found if node.name.startswith("Async")]


def unparse(node: ast.AST) -> str:
    """Return the source of a node, with the quotes that formatters prefer."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


class Writer:
    """Copies pieces of sources into a new module, and keeps account of what that module has to import."""

    def __init__(self) -> None:
        self.runtime: set[tuple[str, str]] = set()
        self.typing: set[tuple[str, str]] = set()
        self.typevars: dict[str, str] = {}

    def renamed(self, name: str) -> str:
        """Return the name that stands for one of the source's in the new module."""
        return name

    def import_lines(self) -> str:
        lines = import_block(self.runtime | {("typing", "TYPE_CHECKING")})
        typing = import_block(self.typing - self.runtime, width=WIDTH - 4)
        return f"{lines}\nif TYPE_CHECKING:\n{indent(typing, '    ')}"

    def use(self, module: Module, node: ast.AST, *, runtime: bool) -> None:
        """Import what an expression names."""
        for name in [n for n in ast.walk(node) if isinstance(n, ast.Name)]:
            found = name.id
            if self.renamed(found) != found:
                continue  # the new module has its own
            if found in module.typevars:
                self.typevars[found] = module.typevars[found]
                self.runtime.add(("typing", module.typevars[found].partition(" = ")[2].partition("(")[0]))
            elif found in module.imports:
                (self.runtime if runtime else self.typing).add(module.imports[found])
            elif found not in _BUILTINS:
                raise NotUnderstoodError(module, node, f"{found} is defined nowhere")

    def annotation(self, module: Module, node: ast.expr) -> str:
        """Return an annotation with the twins' names."""
        self.use(module, node, runtime=False)
        return self.translated(unparse(node))

    def translated(self, text: str) -> str:
        """Return a text with the twins' names."""
        return re.sub(r"\bAsync\w+", lambda match: self.renamed(match[0]), text)

    def docstring(self, item: ast.ClassDef | Function) -> str:
        """Return the source of a docstring with the twins' names, or nothing."""
        return self.documented(ast.get_docstring(item) or "")

    def documented(self, text: str) -> str:
        """Return a text as a docstring with the twins' names, or nothing."""
        text = self.translated(text.replace("\\", "\\\\"))
        return f'"""{text}{chr(10) if chr(10) in text else ""}"""\n' if text else ""

    def signature(
        self,
        module: Module,
        item: ast.FunctionDef | ast.AsyncFunctionDef,
        *,
        name: str = "",
        own: bool = True,
        result: str = "",
        end: str = ":",
        coroutine: bool = False,
    ) -> str:
        """Return the line(s) from ``def`` to the colon."""
        arguments = item.args
        if item.returns is None:
            raise NotUnderstoodError(module, item, f"{item.name} has no return annotation")
        receiver = [argument.arg for argument in arguments.posonlyargs]
        if receiver not in ([], ["self"]):
            raise NotUnderstoodError(module, item, f"{item.name}: positional-only arguments")
        parts: list[str] = ["self", "/"] if own and receiver else []
        positional = arguments.args
        defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
        for argument, default in zip(positional, defaults, strict=True):
            if argument.arg == "self":
                parts.extend(["self"] if own else [])
            else:
                parts.append(self.parameter(module, argument, default))
        if arguments.vararg:
            parts.append(f"*{self.parameter(module, arguments.vararg, None)}")
        elif arguments.kwonlyargs:
            parts.append("*")
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            parts.append(self.parameter(module, argument, default))
        if arguments.kwarg:
            parts.append(f"**{self.parameter(module, arguments.kwarg, None)}")
        keyword = "async def" if coroutine else "def"
        result = result or self.annotation(module, item.returns)
        line = f"{keyword} {name or item.name}({', '.join(parts)}) -> {result}{end}"
        return layout(line, WIDTH - 4 if own else WIDTH)

    def parameter(self, module: Module, argument: ast.arg, default: ast.expr | None) -> str:
        if argument.annotation is None:
            raise NotUnderstoodError(module, argument, f"{argument.arg} has no annotation")
        text = f"{argument.arg}: {self.annotation(module, argument.annotation)}"
        if default is None:
            return text
        self.use(module, default, runtime=True)
        return f"{text} = {unparse(default)}"


_BUILTINS = frozenset(
    {"Any", "None", "bool", "bytes", "dict", "float", "int", "list", "object", "set", "str", "tuple", "type"}
    | {"BaseException", "True", "False", "property"}
) - {"Any"}


def is_property(item: ast.stmt) -> bool:
    """Whether a member is read like an attribute."""
    decorators = [unparse(decorator) for decorator in getattr(item, "decorator_list", ())]
    return decorators in (["property"], ["cached_property"])


def is_generator(item: ast.AST) -> bool:
    """Whether a function itself yields, and not only one inside it."""
    below = [item]
    while below:
        for node in ast.iter_child_nodes(below.pop()):
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                return True
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                below.append(node)
    return False


def arguments(item: Function) -> list[str]:
    """Return what hands a method's parameters on."""
    passed = [argument.arg for argument in item.args.args if argument.arg != "self"]
    passed += [f"*{item.args.vararg.arg}"] if item.args.vararg else []
    passed += [f"{argument.arg}={argument.arg}" for argument in item.args.kwonlyargs]
    return passed + ([f"**{item.args.kwarg.arg}"] if item.args.kwarg else [])


def call(function: str, item: Function) -> str:
    """Return a call that hands a method's parameters on."""
    return f"{function}({', '.join(arguments(item))})"


def layout(line: str, width: int) -> str:
    """Lay a statement out as formatters do: brackets that don't fit a line are opened from the outside in."""
    if len(line) <= width:
        return line
    start, end = _longest_brackets(line)
    head, inside, tail = line[:start], line[start + 1 : end], line[end + 1 :]
    parts = _split(inside)
    if len(parts) == 1:
        body = layout(parts[0], width - 4)
    elif len(inside) + 4 <= width:
        body = inside
    else:
        body = "".join(f"{part},\n" for part in parts).rstrip("\n")
    return f"{head}(\n{indent(body, '    ')}\n){tail}"


def _masked(code: str) -> str:
    """Return code of the same length with nothing in its strings that could be taken for code."""
    return re.sub(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", lambda match: "_" * len(match[0]), code)


def _longest_brackets(line: str) -> tuple[int, int]:
    """Return where the longest pair of parentheses that is in no other begins and ends."""
    found, opened = (0, 0), [0]
    for index, character in enumerate(_masked(line)):
        if character == "(":
            opened.append(index)
        elif character == ")":
            start = opened.pop()
            if len(opened) == 1 and index - start > found[1] - found[0]:
                found = (start, index)
    return found


def _split(inside: str) -> list[str]:
    """Split arguments at the commas that are in no brackets."""
    parts, depth = [""], 0
    for character, mask in zip(inside, _masked(inside), strict=True):
        depth += (mask in "([{") - (mask in ")]}")
        if mask == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def import_block(names: set[tuple[str, str]], *, width: int = WIDTH) -> str:
    """Lay imports out in the usual three groups."""
    groups: list[list[str]] = [[], [], []]
    by_module: dict[str, list[str]] = {}
    for module, name in sorted(names, key=lambda pair: (pair[0], _import_order(pair[1]))):
        by_module.setdefault(module, []).append(name)
    for module, members in sorted(by_module.items(), key=lambda pair: (pair[1] != [""], pair[0])):
        root = module.partition(".")[0]
        group = 0 if root in sys.stdlib_module_names else 2 if root == PACKAGE.name else 1
        text = f"import {module}" if members == [""] else f"from {module} import {', '.join(members)}"
        if len(text) > width:
            text = f"from {module} import (\n" + "".join(f"    {name},\n" for name in members) + ")"
        groups[group].append(text)
    return "\n".join("".join(f"{line}\n" for line in group) for group in groups if group)


def _import_order(name: str) -> tuple[int, str]:
    """Sort constants before classes before functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name.lower()
