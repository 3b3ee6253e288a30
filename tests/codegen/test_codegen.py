"""The generator: what it builds from small sources, what it refuses, and the modules that it has written."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

import replicate_async
from replicate_async import _sync, _views
from replicate_async._codegen.__main__ import PACKAGE, SOURCES, format_module, generate, main
from replicate_async._codegen.source import Source, UnsupportedSourceError
from replicate_async._codegen.sync import SyncBuilder
from replicate_async._codegen.views import ViewsBuilder
from replicate_async.resources._resource import View, resource, view

HEAD = """
from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Generic, TypeVar, overload

from typing_extensions import Self

from replicate_async._http.pages import AsyncPaginator
from replicate_async.resources._resource import resource
from replicate_async.types import Prediction

T = TypeVar("T")
LIMIT = 60


"""


def parsed(body: str) -> Source:
    """Return a source with the usual head."""
    return Source("resources/things.py", HEAD + dedent(body).lstrip("\n"))


OTHER = """
class AsyncOther:
    async def get(self) -> Prediction:
        return 1
"""


def generated(body: str) -> str:
    """Return the module that is generated from a source and another one."""
    text = SyncBuilder([parsed(body), Source("other.py", HEAD + OTHER)]).build()
    return format_module(text, PACKAGE / "_sync.py")


def blocking_classes(body: str) -> str:
    """Return the classes that are generated from a source, without what hides their frames."""
    text = re.sub(r" +__tracebackhide__ = True\n", "", generated(body))
    return text[re.search(r"^class ", text, re.MULTILINE).start() : text.index("\n\nclass Other(Hinted):")]


def blocking_method(member: str) -> str:
    """Return what is generated from one method of a class."""
    text = blocking_classes("class AsyncThings:\n" + indent(dedent(member).strip("\n"), "    ") + "\n")
    return dedent(text.partition("self._async = wrapped\n")[2]).strip("\n") + "\n"


def expect(text: str) -> str:
    """Return an expected text without its indent."""
    return dedent(text).strip("\n") + "\n"


# --- small sources ---


def test_a_class_and_its_coroutine():
    """A coroutine becomes one call through the bridge, with signature, defaults and docstring as they were."""
    source = '''
    class AsyncThings:
        """Things."""

        async def get(self, thing_id: str, *, limit: int = LIMIT, **options: Any) -> Prediction:
            """Fetch a thing.

            Args:
                thing_id: Which.
            """
            return await self._transport.call(thing_id, limit, options)
    '''
    assert blocking_classes(source) == expect('''
    class Things(Hinted):
        """Things."""

        def __init__(self, wrapped: AsyncThings) -> None:
            self._async = wrapped

        def get(self, thing_id: str, *, limit: int = LIMIT, **options: Any) -> Prediction:
            """Fetch a thing.

            Args:
                thing_id: Which.
            """
            return _bridge.run(self._async.get(thing_id, limit=limit, **options))
    ''')


def test_imports_follow_from_what_is_used():
    """What defaults and annotations use is imported, so that tools can evaluate them, and nothing else at all."""
    text = generated("""
    class AsyncThings:
        async def get(self, *, limit: int = LIMIT, **options: Mapping[str, Any]) -> Prediction:
            return 1
    """)
    assert "TYPE_CHECKING" not in text
    assert "\nfrom replicate_async.resources.things import LIMIT, AsyncThings\n" in text
    assert "\nfrom collections.abc import Callable, Mapping\n" in text
    assert "\nfrom replicate_async.types import Prediction\n" in text
    assert "TypeVar" not in text
    assert "@resource" not in text


def test_frames_are_hidden():
    """Every function that has a body tells IPython and pytest to leave it out of tracebacks."""
    text = generated("""
    class AsyncThings:
        @overload
        async def get(self, *, one: int) -> int: ...

        @overload
        async def get(self, *, two: str) -> str: ...

        async def get(self, **options: Any) -> Any:
            "Get."
            return 1

        async def __aiter__(self) -> AsyncGenerator[int, None]:
            yield 1
    """)
    things = text[text.index("class Things(") : text.index("class Other(")]
    assert things.count("def get") == 3
    assert things.count("__tracebackhide__ = True\n        return") == 1
    assert things.count("__tracebackhide__ = True\n        yield") == 1


@pytest.mark.parametrize(
    ("source", "blocking"),
    [
        (
            "async def get(self, one: int, *ids: str, two: int = 2) -> int:\n    return 1",
            """def get(self, one: int, *ids: str, two: int = 2) -> int:
    return _bridge.run(self._async.get(one, *ids, two=two))""",
        ),
        (
            "async def delete(self) -> None:\n    await x()",
            "def delete(self) -> None:\n    _bridge.run(self._async.delete())",
        ),
        (
            "async def create(self, /, **inputs: Any) -> int:\n    return 1",
            "def create(self, /, **inputs: Any) -> int:\n    return _bridge.run(self._async.create(**inputs))",
        ),
        (
            "def is_closed(self) -> bool:\n    return True",
            "def is_closed(self) -> bool:\n    return self._async.is_closed()",
        ),
        (
            "def list(self, **options: Any) -> AsyncPaginator[Prediction]:\n    return x",
            """def list(self, **options: Any) -> Page[Prediction]:
    return Page(_bridge.run(self._async.list(**options)))""",
        ),
        (
            "async def other(self) -> AsyncThings:\n    return self",
            "def other(self) -> Things:\n    return Things(_bridge.run(self._async.other()))",
        ),
        (
            "@resource\ndef parts(self) -> AsyncThings:\n    return self",
            "@resource\ndef parts(self) -> Things:\n    return Things(self._async.parts)",
        ),
        (
            "@property\ndef size(self) -> int:\n    return 1",
            "@property\ndef size(self) -> int:\n    return self._async.size",
        ),
        (
            "async def __aenter__(self) -> Self:\n    return self",
            "def __enter__(self) -> Self:\n    _bridge.run(self._async.__aenter__())\n    return self",
        ),
        (
            "async def __aexit__(self, *, error: object) -> None:\n    return None",
            "def __exit__(self, *, error: object) -> None:\n    _bridge.close(self._async.__aexit__(error=error))",
        ),
        (
            "def copied(self) -> Self:\n    return self",
            """def copied(self) -> Self:
    copied = object.__new__(type(self))
    copied._async = self._async.copied()
    return copied""",
        ),
        (
            'def __repr__(self) -> str:\n    return "x"',
            'def __repr__(self) -> str:\n    return repr(self._async).replace("Async", "", 1)',
        ),
        (
            "def _private(self) -> int:\n    return 1",
            "",
        ),
    ],
)
def test_methods(source, blocking):
    """Each kind of public member has its blocking form, which returns blocking objects; private members have none."""
    assert blocking_method(source) == f"{blocking}\n"


def test_a_view_is_a_property():
    """A view becomes a property that returns the blocking view, with the docstring of its class."""
    text = blocking_classes('''
    class AsyncThings:
        with_raw_response: View[AsyncThingsRaw] = View(AsyncThingsRaw)


    class AsyncThingsRaw:
        """The calls of ``AsyncThings``."""
    ''')
    assert text.partition("self._async = wrapped\n")[2].startswith('''
    @view
    def with_raw_response(self) -> ThingsRaw:
        """The calls of ``Things``."""
        return ThingsRaw(self._async.with_raw_response)
''')


def test_another_name_of_a_method():
    """An alias stays one."""
    text = blocking_method("async def get(self) -> int:\n    return 1\n\nfetch = get\n")
    assert text.endswith("\nfetch = get\n")


def test_overloads():
    """Overloads are copied, each with its own annotations; the implementation behind them returns Any."""
    text = blocking_method("""
    @overload
    async def get(self, *, one: int) -> int: ...

    @overload
    async def get(self, *, two: str) -> str: ...

    async def get(self, **all_of_them: Any) -> Any:
        return 1
    """)
    assert text == expect("""
    @overload
    def get(self, *, one: int) -> int: ...

    @overload
    def get(self, *, two: str) -> str: ...

    def get(self, **all_of_them: Any) -> Any:
        return _to_blocking(_bridge.run(self._async.get(**all_of_them)))
    """)


def test_public_attributes_are_read_through():
    """A public attribute becomes a property with its docstring; nothing else of the constructor is copied."""
    text = blocking_classes("""
    class AsyncThings(Generic[T]):
        "Things."

        def __init__(self, data: Any) -> None:
            self._hidden: int = 5
            self.results: list[T] = data
            '''What ``AsyncOther`` found.

            Perhaps nothing.
            '''
            self.more: bool = False
    """)
    assert text == expect('''
    class Things(Hinted, Generic[T]):
        """Things."""

        def __init__(self, wrapped: AsyncThings[T]) -> None:
            self._async = wrapped

        @property
        def results(self) -> list[T]:
            """What ``Other`` found.

            Perhaps nothing.
            """
            return self._async.results

        @property
        def more(self) -> bool:
            return self._async.more
    ''')


def test_generators_over_public_members_become_plain_generators():
    """A generator that only uses public members becomes a plain generator, without the bridge."""
    text = blocking_method("""
    async def __aiter__(self) -> AsyncGenerator[int, None]:
        \"\"\"Yield all.\"\"\"
        page = self
        while page.more:
            async for thing in page:
                yield thing
            page = await page.next_page()
    """)
    assert text == expect('''
    def __iter__(self) -> Generator[int, None, None]:
        """Yield all."""
        page = self
        while page.more:
            for thing in page:
                yield thing
            page = page.next_page()
    ''')


def test_other_generators_go_over_the_bridge():
    """A generator that uses private members or imports runs on the loop."""
    text = blocking_method("""
    async def lines(self) -> AsyncGenerator[str, None]:
        async for line in self._source:
            yield line
    """)
    assert text == expect("""
    def lines(self) -> Generator[str, None, None]:
        return _bridge.iterate(self._async.lines())
    """)


def test_only_names_of_generated_classes_are_changed():
    """A name that merely begins with ``Async`` stays."""
    text = blocking_method(
        "async def get(self, x: AsyncGenerator[int, None] | None = None) -> Prediction:\n    return 1"
    )
    assert "x: Generator[int, None, None] | None = None" in text
    text = generated("""
    from anyio import AsyncFile

    class AsyncThings:
        async def get(self, source: AsyncFile) -> int:
            return 1
    """)
    assert "def get(self, source: AsyncFile) -> int:" in text
    assert "\nfrom anyio import AsyncFile\n" in text


@pytest.mark.parametrize(
    "text",
    [
        "One line.",
        'With "quotes" inside.',
        "With a \\\\ and \\\\n that are no escapes.",
        "Ümläute and 猫.",
        "Several.\n\n        Args:\n            x: Indented.\n        ",
    ],
)
def test_docstrings_stay_as_they_are(text):
    """The blocking method's docstring is the same text, whatever is in it."""
    source = f'class AsyncThings:\n    async def get(self) -> None:\n        """{text}"""\n'
    (async_class,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    tree = ast.parse(blocking_classes(source))
    docstrings = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert docstrings[-1] == ast.get_docstring(async_class.body[0])


def test_docstrings_name_the_blocking_classes():
    """A docstring names the blocking classes; other names that begin with ``Async`` stay."""
    text = blocking_method('''
    async def get(self) -> None:
        """As ``AsyncOther.get``, but for ``AsyncThings``; see ``AsyncPaginator`` and ``AsyncFile``."""
    ''')
    assert '"""As ``Other.get``, but for ``Things``; see ``Page`` and ``AsyncFile``."""' in text


def test_defaults_stay_as_they_are():
    """Defaults mean the same in the blocking method, also in signatures of several lines."""
    parameters = ", ".join(f"an_argument_with_a_long_name_{number}: str = {text!r}" for number, text in enumerate(ODD))
    source = f"async def get(self, *, {parameters}) -> None:\n    pass"
    blocking = blocking_method(source)
    assert "\n" in blocking.partition(" -> ")[0]
    before, after = (ast.parse(text).body[0] for text in (source, blocking))
    assert isinstance(before, ast.AsyncFunctionDef)
    assert isinstance(after, ast.FunctionDef)
    assert ast.dump(before.args) == ast.dump(after.args)


ODD = ["", ", ", "(", ")", "a=b", "[", "#", "'", '"', "\\", "\n"]


# --- what is an error ---


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("async def get(self, one: int, /) -> int: ...", "get: positional-only"),
        ("async def get(self, one) -> int: ...", "one has no annotation"),
        ("async def get(self, *ids) -> int: ...", "ids has no annotation"),
        ("async def get(self, **options) -> int: ...", "options has no annotation"),
        ("async def get(self): ...", "get has no return annotation"),
        ("async def get(self) -> Unheard: ...", "Unheard is defined nowhere"),
        ("async def get(self, one: int = UNHEARD) -> int: ...", "UNHEARD is defined nowhere"),
        ("@staticmethod\ndef get() -> int: ...", "decorator staticmethod of get"),
        ("@classmethod\ndef get(cls) -> int: ...", "decorator classmethod of get"),
        ("@something(5)\nasync def get(self) -> int: ...", "decorator something(5) of get"),
        ("limit = 5", "Assign in AsyncThings"),
        ("limit: int = 5", "AnnAssign in AsyncThings"),
        ("with_raw_response: View[Unheard] = View(Unheard)", "AnnAssign in AsyncThings"),
        ("class Inner: ...", "ClassDef in AsyncThings"),
        ("async def get(self) -> list[AsyncThings]: ...", "get returns list[AsyncThings]"),
        ("async def get(self) -> AsyncThings | None: ...", "get returns AsyncThings | None"),
        ("async def get(self) -> tuple[int, AsyncThings]: ...", "get returns tuple[int, AsyncThings]"),
        (
            "async def all(self) -> AsyncGenerator[int, None]:\n    async with self.open() as x:\n        yield x",
            "",
        ),
        (
            "async def all(self) -> AsyncGenerator[int, None]:\n    for x in [y async for y in self]:\n        yield x",
            "",
        ),
    ],
)
def test_unsupported_source_is_an_error_with_its_place(member, problem):
    """The generator guesses nothing: it stops with the file, the line and the reason."""
    body = "class AsyncThings:\n" + indent(member, "    ")
    with pytest.raises(UnsupportedSourceError) as caught:
        SyncBuilder([parsed(body)]).build()
    first = HEAD.count("\n") + 2
    lines = range(first, first + member.count("\n") + 1)
    place, _, reason = str(caught.value).partition(": ")
    assert place in {f"resources/things.py:{line}" for line in lines}
    assert problem in reason


def test_use_must_document_its_options():
    """The module's ``use`` has a line more in its docstring, before that of the options."""
    with pytest.raises(
        UnsupportedSourceError, match=r"resources/things.py:\d+: the docstring of use has no \*\*options"
    ):
        SyncBuilder([parsed("class AsyncReplicate:\n    def use(self, ref: str) -> int:\n        return 1")]).build()


# --- views ---


def test_views():
    """Each call of the API has its raw and its streaming view, with the same arguments."""
    text = ViewsBuilder(
        [
            parsed('''
    class AsyncThings:
        """Things."""

        with_raw_response: View[AsyncThingsRaw] = View(AsyncThingsRaw)

        async def get(self, thing_id: str, **options: Any) -> Prediction:
            return await self._transport.call(thing_id, options)

        def list(self, **options: Any) -> AsyncPaginator[Prediction]:
            return paginate(self._transport, options)

        async def wait(self, thing_id: str, **options: Any) -> Prediction:
            while True:
                await self.get(thing_id, **options)
    ''')
        ]
    ).build()
    text = format_module(text, PACKAGE / "_views.py")
    assert "async def get(self, thing_id: str, **options: Any) -> APIResponse[Prediction]:" in text
    assert "def get(self, thing_id: str, **options: Any) -> AsyncResponseContext[Prediction]:" in text
    assert "async def list(self, **options: Any) -> APIResponse[AsyncPage[Prediction]]:" in text
    assert "def wait" not in text  # many calls have no single answer


# --- the command ---


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the package, with the settings of ruff beside it."""
    package = tmp_path / "replicate_async"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "testing"))
    shutil.copy(PACKAGE.parent / "pyproject.toml", tmp_path)
    return package


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), encoding="utf-8")


def test_the_committed_modules_are_up_to_date():
    """The generated modules are what the generator writes."""
    for path, text in generate().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date"


@pytest.mark.parametrize(
    ("file", "before", "after", "stale"),
    [
        ("resources/account.py", "Source: https", "Read more: https", {"_sync.py"}),
        ("resources/account.py", "def get(self, **", "def get(self, more: int = 5, **", {"_sync.py", "_views.py"}),
        ("_client.py", "DEFAULT_MAX_CONNECTIONS,\n", "5,\n", {"_sync.py"}),
        ("_http/pages.py", "return self.next is not None", "return bool(self.next)", set()),
        ("_sync.py", "class Accounts(Hinted):", "class Accounts(Hinted):  # changed by hand", {"_sync.py"}),
        ("_views.py", "APIResponse[Account]", "APIResponse[Any]", {"_views.py"}),
        ("compat/file.py", "Fetch the metadata", "Return the metadata", {"_async_groups.py"}),
    ],
    ids=["docstring", "parameter", "default", "body", "class", "view", "group"],
)
def test_check_detects_a_change(copy, capsys, file, before, after, stale):
    """``--check`` fails and names the files when a source or a generated file has changed, and writes nothing."""
    assert main(["--check"], copy) == 0
    assert capsys.readouterr().err == ""
    change(copy / file, before, after)
    contents = {name: (copy / name).read_text(encoding="utf-8") for name in ("_sync.py", "_views.py")}
    assert main(["--check"], copy) == int(bool(stale))
    assert {line.partition(" ")[0] for line in capsys.readouterr().err.splitlines()} == stale
    assert contents == {name: (copy / name).read_text(encoding="utf-8") for name in contents}
    assert main([], copy) == 0
    assert main(["--check"], copy) == 0


def test_a_missing_module_is_out_of_date(copy, capsys):
    """``--check`` fails if a generated module doesn't exist; the generator writes it."""
    (copy / "_sync.py").unlink()
    assert main(["--check"], copy) == 1
    assert "_sync.py is out of date" in capsys.readouterr().err
    assert main([], copy) == 0
    assert (copy / "_sync.py").read_text(encoding="utf-8") == (PACKAGE / "_sync.py").read_text(encoding="utf-8")


def test_the_command(copy):
    """``python -m replicate_async._codegen`` reports an unsupported source by its exit status and a message."""

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "replicate_async._codegen", *arguments]
        done = subprocess.run(command, cwd=copy.parent, check=False, capture_output=True, text=True, encoding="utf-8")
        return done.returncode, done.stderr

    assert run("--check") == (0, "")
    change(copy / "resources/account.py", "def get(self, **", "def get(self, one: int, /, **")
    line = (copy / "resources/account.py").read_text(encoding="utf-8").partition("(self, one")[0].count("\n") + 1
    for arguments in (["--check"], []):
        status, errors = run(*arguments)
        assert status == 2
        assert errors.startswith(f"resources/account.py:{line}: get: positional-only arguments")


def test_ruff_is_required(monkeypatch):
    """Without ruff the command fails, and says how to install it."""
    monkeypatch.setenv("PATH", "")
    # -S leaves the installed packages out.
    command = [sys.executable, "-S", "-m", "replicate_async._codegen", "--check"]
    result = subprocess.run(command, cwd=PACKAGE.parent, check=False, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 2
    assert "pip install ruff" in result.stderr


# --- the generated classes ---


def async_classes() -> dict[str, type]:
    """Return the public asynchronous classes, by name."""
    modules = [import_module("replicate_async." + name.removesuffix(".py").replace("/", ".")) for name in SOURCES]
    return {
        name: kind
        for source in [*modules, _views]
        for name, kind in vars(source).items()
        if inspect.isclass(kind) and name.startswith("Async") and kind.__module__ == source.__name__
    }


# Blocking code gets the page that awaiting a paginator returns. Base classes are copied into the classes below them.
BASES = {base.__name__ for kind in async_classes().values() for base in kind.__bases__}
CLASSES = {name: kind for name, kind in async_classes().items() if name not in {"AsyncPaginator", *BASES}}
SPECIAL = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"} | {
    name: name for name in ("__call__", "__repr__", "__str__", "__eq__", "__hash__")
}


def renamed(annotation: Any) -> str:
    """Return an annotation or a docstring as the blocking class should have it."""
    text = re.sub(r"AsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]", str(annotation))
    text = text.replace("AsyncPaginator", "Page")
    return re.sub(r"\bAsync(\w+)", lambda match: match[1] if match[0] in CLASSES else match[0], text)


def public(kind: type) -> dict[str, Any]:
    """Return what users see of a class, under the names of the blocking one."""
    own = {name: member for base in reversed(kind.__mro__[:-1]) for name, member in vars(base).items()}
    special = {*SPECIAL, *SPECIAL.values()}
    return {SPECIAL.get(name, name): own[name] for name in own if not name.startswith("_") or name in special}


def function_of(member: Any) -> Any:
    """Return the function behind a method or property."""
    return getattr(member, "fget", None) or getattr(member, "func", None) or member


def same_signature(before: Any, after: Any) -> None:
    """Compare parameters, defaults and annotations, all but the receiver."""
    wanted, found = inspect.signature(before), inspect.signature(after)
    same_parameters(wanted, found)
    assert renamed(wanted.return_annotation) == str(found.return_annotation)


def same_parameters(wanted: inspect.Signature, found: inspect.Signature) -> None:
    """Compare parameters with their defaults and annotations, all but the receiver."""
    parameters = [parameter for parameter in wanted.parameters.values() if parameter.name != "self"]
    others = [parameter for parameter in found.parameters.values() if parameter.name != "self"]
    assert [(one.name, one.kind, one.default) for one in parameters] == [
        (one.name, one.kind, one.default) for one in others
    ]
    assert [renamed(one.annotation) for one in parameters] == [str(one.annotation) for one in others]


@pytest.fixture(params=CLASSES)
def pair(request) -> tuple[type, type]:
    """Give each asynchronous class with its blocking one."""
    return CLASSES[request.param], getattr(_sync, request.param.removeprefix("Async"))


def test_every_class_has_a_complete_twin(pair):
    """The blocking class has all public members of the asynchronous one and no others, and the same docstring."""
    before, after = pair
    attributes = {
        node.target.attr
        for node in ast.walk(ast.parse(dedent(inspect.getsource(before))))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute)
    }
    wanted = set(public(before)) | {name for name in attributes if not name.startswith("_")}
    assert set(public(after)) == wanted
    assert inspect.getdoc(after) == renamed(inspect.getdoc(before))


def test_every_member_is_the_same_in_the_twin(pair):
    """Parameters, defaults, annotations and docstrings are the same, except for the names of the classes."""
    before, after = pair
    members = public(after)
    for name, member in public(before).items():
        first, second = function_of(member), function_of(members[name])
        if isinstance(member, View):
            assert type(members[name]) is view, name
            assert renamed(before.__annotations__[name]) == f"View[{inspect.signature(second).return_annotation}]"
            assert renamed(inspect.getdoc(member)) == inspect.getdoc(second)
            continue
        assert type(member) is type(members[name]), name
        assert first.__doc__ is None or renamed(inspect.getdoc(first)) == inspect.getdoc(second), name
        assert not inspect.iscoroutinefunction(second), name
        overloads = getattr(typing, "get_overloads", lambda _: [])  # Python 3.10 forgets them
        variants, others = overloads(first), overloads(second)
        assert len(variants) == len(others), name
        for one, other in zip(variants, others, strict=True):
            same_signature(one, other)
        if "Any" not in str(inspect.signature(second).return_annotation):
            same_signature(first, second)


def test_blocking_docstrings_are_for_blocking_code():
    """All that is public in the blocking client has a docstring, and none speaks of asynchronous classes or syntax."""
    special = {"__call__", "__enter__", "__exit__", "__fspath__", "__iter__"}
    documented = {
        f"{owner}.{name}": inspect.getdoc(member)
        for owner, kind in vars(_sync).items()
        if getattr(kind, "__module__", "") == _sync.__name__ and not owner.startswith("_")
        for name, member in {"": kind, **(vars(kind) if inspect.isclass(kind) else {})}.items()
        if not name.startswith("_") or name in special
    }
    assert len(documented) > 300
    for name, text in documented.items():
        assert text, name
        assert not re.search(r"\bAsync[A-Z]|\bawait|\basync (with|for|def)\b", text), f"{name}: {text}"


def test_the_constructors_are_the_same():
    """The blocking client takes what the asynchronous one takes."""
    same_signature(replicate_async.AsyncReplicate.__init__, replicate_async.Replicate.__init__)


def test_every_call_has_its_views():
    """What takes options and is one call can be had raw and streaming, with the same arguments."""
    several = {"wait", "run", "submit", "map", "stream", "use"}  # more than one call
    for name, kind in CLASSES.items():
        if not hasattr(kind, "with_raw_response"):
            continue
        calls = {
            member: function
            for member, function in public(kind).items()
            if inspect.isfunction(function) and "options" in inspect.signature(function).parameters
        }
        for suffix in ("Raw", "Streaming"):
            view = public(CLASSES[f"{name}{suffix}"])
            assert set(calls) - several == set(view) & set(calls), f"{name}{suffix}"
            for member in set(calls) & set(view):
                before = list(inspect.signature(calls[member]).parameters.values())
                after = list(inspect.signature(view[member]).parameters.values())
                assert before == after, f"{name}{suffix}.{member}"


def test_every_resource_has_views():
    """Raw and streaming access exist on every resource and on the client."""
    resources = [kind for kind in CLASSES.values() if hasattr(kind, "with_raw_response")]
    calling = [
        kind
        for name, kind in CLASSES.items()
        if not name.endswith(("Raw", "Streaming"))
        and any("options" in inspect.signature(f).parameters for f in public(kind).values() if inspect.isfunction(f))
    ]
    assert {kind.__name__ for kind in calling} <= {kind.__name__ for kind in resources}


def test_the_functions_of_the_module_are_the_clients_methods():
    """``replicate_async.run`` and its like have the signatures and docstrings of the client's methods."""
    left_out = {"close", "copy", "is_closed", "with_options", "use"}
    methods = {
        name: member
        for name, member in public(replicate_async.Replicate).items()
        if inspect.isfunction(member) and not name.startswith("_") and name not in left_out
    }
    for name, member in methods.items():
        function = getattr(replicate_async, name)
        assert name in replicate_async.__all__
        assert inspect.getdoc(function) == inspect.getdoc(member)
        same_signature(member, function)


def test_the_use_of_the_module_is_the_clients_with_one_more_argument():
    """``replicate_async.use`` has the client's signature and docstring, and ``use_async``."""
    method, function = replicate_async.Replicate.use, replicate_async.use
    signature = inspect.signature(function)
    *parameters, added, options = signature.parameters.values()
    assert (added.name, added.default, added.annotation) == ("use_async", False, "bool")
    same_parameters(inspect.signature(method), signature.replace(parameters=[*parameters, options]))
    documented = inspect.getdoc(function).splitlines()
    assert [line for line in documented if "use_async:" not in line] == inspect.getdoc(method).splitlines()
    assert len(documented) == len(inspect.getdoc(method).splitlines()) + 1


# Python 3.10 forgets overloads.
if sys.version_info >= (3, 11):

    def test_the_overloads_of_use_are_blocking_or_asynchronous():
        """Each overload of the client is there twice: ``use_async`` says which kind of function is returned."""
        kinds = {"Literal[False]": replicate_async.Replicate.use, "Literal[True]": replicate_async.AsyncReplicate.use}
        for annotation, method in kinds.items():
            wanted = [inspect.signature(overload) for overload in typing.get_overloads(method)]
            found = [inspect.signature(overload) for overload in typing.get_overloads(replicate_async.use)]
            found = [signature for signature in found if signature.parameters["use_async"].annotation == annotation]
            for before, after in zip(wanted, found, strict=True):
                others = [parameter for parameter in after.parameters.values() if parameter.name != "use_async"]
                same_parameters(before, after.replace(parameters=others))
                assert before.return_annotation == after.return_annotation


# --- the package's names ---


def test_every_exported_name_resolves(monkeypatch):
    """Everything in ``__all__`` is there, and in ``dir()``; nothing is listed twice."""
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://127.0.0.1:9/v1")
    _sync.default_client.cache_clear()
    names = replicate_async.__all__
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(replicate_async))
    for name in names:
        assert getattr(replicate_async, name) is not None
    namespace: dict[str, Any] = {}
    exec("from replicate_async import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(names)
    _sync.default_client.cache_clear()


def test_type_checkers_see_what_is_exported():
    """The package exports what type checkers see: the same names, from the same modules."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    checkers_only = next(node for node in tree.body if isinstance(node, ast.If))
    seen: dict[str, Any] = {}
    resources: dict[str, str] = {}
    for node in [*tree.body, *checkers_only.body]:
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    seen |= {name: getattr(module, name) for name in module.__all__}
                elif alias.asname is not None:
                    seen[alias.asname] = getattr(module, alias.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            seen[node.targets[0].id] = seen[ast.unparse(node.value)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            resources[node.target.id] = ast.unparse(node.annotation)
    assert seen.keys() | resources.keys() == set(replicate_async.__all__)
    for name, value in seen.items():
        assert getattr(replicate_async, name) is value
    for name, annotation in resources.items():
        member = vars(replicate_async.Replicate)[name]
        assert annotation == f"_sync.{member.func.__annotations__['return']}"


def test_no_other_name_resolves():
    """A misspelt name is an AttributeError of the package, and an ImportError in an import."""
    with pytest.raises(AttributeError, match=r"'replicate_async' has no attribute 'predictionz'"):
        _ = replicate_async.predictionz  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="predictionz"):
        from replicate_async import predictionz  # type: ignore[attr-defined]  # noqa: F401


def test_no_public_submodule_hides_a_resource():
    """``replicate_async.predictions`` is the default client's resource: no submodule may take such a name."""
    submodules = {info.name for info in pkgutil.iter_modules(replicate_async.__path__)}
    resources = {name for name in public(replicate_async.Replicate) if not name.startswith("_")}
    assert not {name for name in submodules if not name.startswith("_")} & resources


def test_every_resource_is_exported():
    """What the client has as a resource, the package has as well."""
    resources = {name for name, member in public(replicate_async.Replicate).items() if type(member) is resource}
    assert resources
    assert resources <= set(replicate_async.__all__)
