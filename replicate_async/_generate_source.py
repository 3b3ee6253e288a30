"""What the generators share: reading sources with ``ast``, copying signatures, laying text out."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from textwrap import indent

PACKAGE = Path(__file__).parent
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
                if isinstance(node.value, ast.Call) and unparse(node.value.func) == "TypeVar":
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
                self.runtime.add(("typing", "TypeVar"))
            elif found in module.imports:
                (self.runtime if runtime else self.typing).add(module.imports[found])
            elif found not in _BUILTINS:
                raise NotUnderstoodError(module, node, f"{found} is defined nowhere")

    def annotation(self, module: Module, node: ast.expr) -> str:
        """Return an annotation with the twins' names."""
        self.use(module, node, runtime=False)
        return re.sub(r"\bAsync\w+", lambda match: self.renamed(match[0]), unparse(node))

    def signature(
        self,
        module: Module,
        item: ast.FunctionDef | ast.AsyncFunctionDef,
        *,
        name: str = "",
        own: bool = True,
        result: str = "",
    ) -> str:
        """Return the line(s) from ``def`` to the colon."""
        arguments = item.args
        if arguments.vararg or item.returns is None:
            raise NotUnderstoodError(module, item, f"{item.name}: *args, or no return annotation")
        if arguments.posonlyargs:
            raise NotUnderstoodError(module, item, f"{item.name}: positional-only arguments")
        parts: list[str] = []
        positional = arguments.args
        defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
        for argument, default in zip(positional, defaults, strict=True):
            if argument.arg == "self":
                parts.extend(["self"] if own else [])
            else:
                parts.append(self.parameter(module, argument, default))
        if arguments.kwonlyargs:
            parts.append("*")
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
                parts.append(self.parameter(module, argument, default))
        if arguments.kwarg:
            parts.append(f"**{self.parameter(module, arguments.kwarg, None)}")
        return fit(f"def {name or item.name}(", parts, f") -> {result or self.annotation(module, item.returns)}:")

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
    """Whether a function yields."""
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(item))


def docstring(item: ast.ClassDef | Function) -> str:
    """Return the source of a docstring, or nothing."""
    text = ast.get_docstring(item)
    return "" if text is None else f'"""{text}{chr(10) if chr(10) in text else ""}"""\n'


def arguments(item: Function) -> list[str]:
    """Return what hands a method's parameters on."""
    passed = [argument.arg for argument in item.args.args if argument.arg != "self"]
    passed += [f"{argument.arg}={argument.arg}" for argument in item.args.kwonlyargs]
    return passed + ([f"**{item.args.kwarg.arg}"] if item.args.kwarg else [])


def fit(head: str, parts: list[str], tail: str, *, width: int = WIDTH - 4) -> str:
    """Lay a list of parts out as formatters do: in one line, in one indented line, or one part a line."""
    line = head + ", ".join(parts) + tail
    if len(line) <= width:
        return line
    inner = "    " + ", ".join(parts)
    if len(inner) <= width and not any(part.startswith("*") and part != parts[-1] for part in parts):
        return f"{head}\n{inner}\n{tail}"
    return head + "\n" + "".join(f"    {part},\n" for part in parts) + tail


def call(function: str, arguments: list[str], *, width: int = WIDTH - 8) -> str:
    """Lay a call out."""
    return fit(f"{function}(", arguments, ")", width=width) + "\n"


def nest(function: str, argument: str) -> str:
    """Call a function with one argument, which may have several lines."""
    return f"{function}(\n{indent(argument, '    ')}\n)" if "\n" in argument else f"{function}({argument})"


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
