"""Reads the asynchronous sources with ``ast``, and builds modules from parts of them."""

from __future__ import annotations

import ast
import builtins
import re
from copy import deepcopy
from textwrap import indent
from typing import Any, TypeGuard

Function = ast.FunctionDef | ast.AsyncFunctionDef


class UnsupportedSourceError(Exception):
    """A source has something that the generator has no rule for."""

    def __init__(self, source: Source, node: ast.AST, problem: str) -> None:
        super().__init__(f"{source.name}:{getattr(node, 'lineno', '?')}: {problem}")


class Source:
    """A module of the package: its classes, which of them are asynchronous, and how to import its names."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.module = "replicate_async." + name.removesuffix(".py").replace("/", ".")
        self.imports: dict[str, str] = {}
        self.type_variables: dict[str, str] = {}
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    statement = deepcopy(node)
                    statement.names = [alias]
                    self.imports[alias.asname or alias.name] = ast.unparse(statement)
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                variable = node.targets[0].id
                if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in {"TypeVar", "ParamSpec"}:
                    self.type_variables[variable] = ast.unparse(node)
                else:
                    self.imports.setdefault(variable, f"from {self.module} import {variable}")
        self.all_classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for node in self.all_classes:
            self.imports.setdefault(node.name, f"from {self.module} import {node.name}")
        self.classes = [node for node in self.all_classes if node.name.startswith("Async")]


def inline_bases(sources: list[Source]) -> None:
    """Put the members of base classes into the classes that inherit from them, where they have the right types."""
    classes = {node.name: (source, node) for source in sources for node in source.classes}
    for source in sources:
        for node in source.classes:
            inherited = [classes[name] for base in node.bases if (name := ast.unparse(base)) in classes]
            own = {getattr(item, "name", "") for item in node.body} | {"__init__"}
            for base_source, base in reversed(inherited):
                members = [item for item in base.body if getattr(item, "name", None) not in own and not is_text(item)]
                node.body = (
                    [*node.body[:1], *members, *node.body[1:]] if is_text(node.body[0]) else [*members, *node.body]
                )
                source.imports = {**base_source.imports, **source.imports}
                source.type_variables = {**base_source.type_variables, **source.type_variables}


class ModuleBuilder:
    """Builds a module from parts of sources, with other names for some classes, and collects the imports it needs."""

    def __init__(self, renames: dict[str, str]) -> None:
        self.renames = renames
        self.imports: set[str] = set()
        self.type_variables: set[str] = set()

    def module(self, header: str, parts: list[str]) -> str:
        """Return the text of the module; formatting it and removing imports that nothing uses is left to ruff."""
        return "\n".join([header, *sorted(self.imports), *sorted(self.type_variables), *parts])

    def require(self, source: Source, node: ast.AST) -> None:
        """Import what an expression of a source uses."""
        for name in sorted(names_in(node) - self.renames.keys()):
            if name in source.type_variables:
                self.type_variables.add(source.type_variables[name])
            elif name in source.imports:
                self.imports.add(source.imports[name])
            elif not hasattr(builtins, name):
                raise UnsupportedSourceError(source, node, f"{name} is defined nowhere")

    def renamed(self, text: str) -> str:
        """Return code or a docstring with the classes' other names."""
        return re.sub(r"\bAsync\w+", lambda match: self.renames.get(match[0], match[0]), text)

    def annotation(self, source: Source, node: ast.expr) -> str:
        """Return an annotation with the classes' other names."""
        self.require(source, node)
        return self.renamed(ast.unparse(node))

    def docstring(self, text: str | None) -> str:
        """Return the source of a docstring with the classes' other names, or nothing if there is no text."""
        if not text:
            return ""
        text = self.renamed(text) + ("\n" if "\n" in text else "")
        return ast.unparse(ast.Module([ast.Expr(ast.Constant(text))], [])) + "\n"

    def function(
        self,
        source: Source,
        item: Function,
        body: str,
        *,
        prefix: str = "",
        name: str = "",
        returns: str = "",
        docstring: str | None = None,
    ) -> str:
        """Return a function that has the signature and docstring of a source's, with another body.

        Raises:
            UnsupportedSourceError: an annotation is missing, or an argument is positional-only.
        """
        parameters = deepcopy(item.args)
        if [argument.arg for argument in parameters.posonlyargs] not in ([], ["self"]):
            raise UnsupportedSourceError(source, item, f"{item.name}: positional-only arguments")
        for argument in [*parameters.args, parameters.vararg, *parameters.kwonlyargs, parameters.kwarg]:
            if argument is None or argument.arg == "self":
                continue
            if argument.annotation is None:
                raise UnsupportedSourceError(source, argument, f"{argument.arg} has no annotation")
            argument.annotation = ast.parse(self.annotation(source, argument.annotation), mode="eval").body
        for default in [*parameters.defaults, *parameters.kw_defaults]:
            if default is not None:
                self.require(source, default)
        if item.returns is None:
            raise UnsupportedSourceError(source, item, f"{item.name} has no return annotation")
        head = f"{prefix}def {name or item.name}({ast.unparse(parameters)}) -> "
        head += f"{returns or self.annotation(source, item.returns)}:\n"
        return head + indent(self.docstring(docstring or ast.get_docstring(item)) + body, "    ")

    def property(self, name: str, annotation: str, docstring: str | None, value: str, kind: str = "property") -> str:
        """Return a property."""
        body = indent(f"{self.docstring(docstring)}return {value}\n", "    ")
        return f"@{kind}\ndef {name}(self) -> {annotation}:\n{body}"


class AsyncRemover(ast.NodeTransformer):
    """Removes ``async`` and ``await`` from statements."""

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        return ast.For(**vars(self.generic_visit(node)))

    def visit_Await(self, node: ast.Await) -> Any:
        return self.visit(node.value)


def forward(function: str, item: Function) -> str:
    """Return a call of a function with a method's own arguments."""
    arguments = [argument.arg for argument in item.args.args if argument.arg != "self"]
    arguments += [f"*{item.args.vararg.arg}"] if item.args.vararg else []
    arguments += [f"{argument.arg}={argument.arg}" for argument in item.args.kwonlyargs]
    arguments += [f"**{item.args.kwarg.arg}"] if item.args.kwarg else []
    return f"{function}({', '.join(arguments)})"


def is_property(item: Function) -> bool:
    """Return whether a method is read like an attribute."""
    return [ast.unparse(decorator) for decorator in item.decorator_list] in (["property"], ["resource"], ["view"])


def is_text(node: ast.stmt | None) -> TypeGuard[ast.Expr]:
    """Return whether a statement is a string, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_generator(item: Function) -> bool:
    """Return whether a function itself yields, rather than one inside it."""
    nodes: list[ast.AST] = [item]
    while nodes:
        for node in ast.iter_child_nodes(nodes.pop()):
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                return True
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                nodes.append(node)
    return False


def names_in(node: ast.AST) -> set[str]:
    """Return the names that an expression or statement uses."""
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
