"""Functions of models on Replicate: each takes a client, and returns the model as a typed function.

Written by ``replicate-async codegen``, which updates it with ``-o`` and the name of this file. Don't edit it.
"""

# Models:
#   in/text=in-text.json
#   in/scalars=in-scalars.json
#   in/file=in-file.json
#   in/files=in-files.json
#   in/choice=in-choice.json
#   in/many-choices=in-many-choices.json
#   in/whole-choices=in-whole-choices.json
#   in/fraction-choices=in-fraction-choices.json
#   in/inconsistent-choices=in-inconsistent-choices.json
#   in/nullable=in-nullable.json
#   in/nullable-3-1=in-nullable-3-1.json
#   in/many-choices-in-unions=in-many-choices-in-unions.json
#   in/union=in-union.json
#   in/object=in-object.json
#   in/keywords=in-keywords.json
#   in/no-identifiers=in-no-identifiers.json
#   in/odd-defaults=in-odd-defaults.json
#   in/odd-texts=in-odd-texts.json
#   in/secret=in-secret.json
#   in/anything=in-anything.json
#   in/additional=in-additional.json
#   out/words=out-words.json
#   out/iterator=out-iterator.json
#   out/file=out-file.json
#   out/files=out-files.json
#   out/texts=out-texts.json
#   out/numbers=out-numbers.json
#   out/flag=out-flag.json
#   out/anything=out-anything.json
#   out/object=out-object.json
#   out/struct=out-struct.json
#   out/odd-members=out-odd-members.json
#   out/tree=out-tree.json
#   out/endless-list=out-endless-list.json
#   out/union=out-union.json
#   out/nullable=out-nullable.json
#   out/circle=out-circle.json
#   odd/empty=odd-empty.json
#   odd/no-components=odd-no-components.json
#   odd/malformed=odd-malformed.json
#   odd/malformed-parts=odd-malformed-parts.json
#   one/same-name=one-same-name.json
#   two/same-name=two-same-name.json
#   odd/3d.model-v1.5=odd-3d.model-v1.5.json
#   odd/list=odd-list.json
#   odd/overload=odd-overload.json
#   odd/file=odd-file.json
#   odd/class=odd-class.json

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping, Sequence
from os import PathLike
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias, TypedDict, TypeVar, overload

from replicate_async import (
    AsyncFileOutput,
    AsyncOutputStream,
    AsyncReplicate,
    FileOutput,
    FunctionOptions,
    OutputStream,
    Replicate,
)

if sys.version_info >= (3, 11):
    from typing import NotRequired, Unpack
else:
    from typing_extensions import NotRequired, Unpack

T_co = TypeVar("T_co", covariant=True)
FileInput: TypeAlias = str | bytes | PathLike[str] | BinaryIO | FileOutput | AsyncFileOutput


def _rename(function: Any, names: dict[str, str]) -> Any:
    """Return a function that passes arguments on under the model's own names, which Python does not allow."""

    def call(**inputs: Any) -> Any:
        return function(**{names.get(name, name): value for name, value in inputs.items()})

    return call


class TextFunction(Protocol[T_co]):
    """``in/text`` as a function."""

    def __call__(
        self,
        /,
        *,
        text: str,
    ) -> T_co:
        """Run in/text.

        Args:
            text (string, required): Text to prefix with 'hello'
        """
        ...


@overload
def text(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TextFunction[Coroutine[Any, Any, str]]: ...


@overload
def text(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TextFunction[str]: ...


def text(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/text`` as a function; the options are those of the client's ``use``."""
    return client.use("in/text", **options)


class ScalarsFunction(Protocol[T_co]):
    """``in/scalars`` as a function."""

    def __call__(
        self,
        /,
        *,
        steps: int = ...,
        guidance: float = ...,
        fast: bool = ...,
    ) -> T_co:
        """Run in/scalars.

        Args:
            steps (integer, from 1, to 50, default 28):
            guidance (number, from 0, to 10, default 3.5):
            fast (boolean, default True):
        """
        ...


@overload
def scalars(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ScalarsFunction[Coroutine[Any, Any, str]]: ...


@overload
def scalars(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ScalarsFunction[str]: ...


def scalars(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/scalars`` as a function; the options are those of the client's ``use``."""
    return client.use("in/scalars", **options)


class InFileFunction(Protocol[T_co]):
    """``in/file`` as a function."""

    def __call__(
        self,
        /,
        *,
        image: FileInput,
        mask: FileInput = ...,
    ) -> T_co:
        """Run in/file.

        Args:
            image (string, required):
            mask (string, default None):
        """
        ...


@overload
def in_file(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InFileFunction[Coroutine[Any, Any, str]]: ...


@overload
def in_file(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InFileFunction[str]: ...


def in_file(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/file`` as a function; the options are those of the client's ``use``."""
    return client.use("in/file", **options)


class InFilesFunction(Protocol[T_co]):
    """``in/files`` as a function."""

    def __call__(
        self,
        /,
        *,
        images: Sequence[FileInput],
        strengths: Sequence[float] = ...,
    ) -> T_co:
        """Run in/files.

        Args:
            images (array, required):
            strengths (array, default None):
        """
        ...


@overload
def in_files(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InFilesFunction[Coroutine[Any, Any, str]]: ...


@overload
def in_files(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InFilesFunction[str]: ...


def in_files(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/files`` as a function; the options are those of the client's ``use``."""
    return client.use("in/files", **options)


class ChoiceFunction(Protocol[T_co]):
    """``in/choice`` as a function."""

    def __call__(
        self,
        /,
        *,
        ratio: Literal["1:1", "16:9", 'say "hi"', "it's", "both ' and \"", "back\\slash"] = ...,
    ) -> T_co:
        """Run in/choice.

        Args:
            ratio (string, one of '1:1', '16:9', 'say "hi"', "it's", 'both \\' and "', 'back\\\\slash', default '1:1'):
                Aspect ratio
        """
        ...


@overload
def choice(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ChoiceFunction[Coroutine[Any, Any, str]]: ...


@overload
def choice(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ChoiceFunction[str]: ...


def choice(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/choice`` as a function; the options are those of the client's ``use``."""
    return client.use("in/choice", **options)


class ManyChoicesFunction(Protocol[T_co]):
    """``in/many-choices`` as a function."""

    def __call__(
        self,
        /,
        *,
        language: Literal[
            "language 0",
            "language 1",
            "language 2",
            "language 3",
            "language 4",
            "language 5",
            "language 6",
            "language 7",
            "language 8",
            "language 9",
            "language 10",
            "language 11",
            "language 12",
            "language 13",
            "language 14",
            "language 15",
            "language 16",
            "language 17",
            "language 18",
            "language 19",
            "language 20",
            "language 21",
            "language 22",
            "language 23",
            "language 24",
            "language 25",
            "language 26",
            "language 27",
            "language 28",
            "language 29",
        ] = ...,
    ) -> T_co:
        """Run in/many-choices.

        Args:
            language (string, one of 'language 0', 'language 1', 'language 2', 'language 3', 'language 4', 'language 5',
                'language 6', 'language 7', 'language 8', 'language 9', 'language 10', 'language 11', 'language 12',
                'language 13', 'language 14', 'language 15', 'language 16', 'language 17', 'language 18', 'language 19',
                'language 20', 'language 21', 'language 22', 'language 23', 'language 24', 'language 25', 'language 26',
                'language 27', 'language 28', 'language 29', default None):
        """
        ...


@overload
def many_choices(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ManyChoicesFunction[Coroutine[Any, Any, str]]: ...


@overload
def many_choices(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ManyChoicesFunction[str]: ...


def many_choices(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/many-choices`` as a function; the options are those of the client's ``use``."""
    return client.use("in/many-choices", **options)


class WholeChoicesFunction(Protocol[T_co]):
    """``in/whole-choices`` as a function."""

    def __call__(
        self,
        /,
        *,
        width: Literal[512, 768] = ...,
    ) -> T_co:
        """Run in/whole-choices.

        Args:
            width (integer, one of 512, 768, default 512):
        """
        ...


@overload
def whole_choices(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> WholeChoicesFunction[Coroutine[Any, Any, str]]: ...


@overload
def whole_choices(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> WholeChoicesFunction[str]: ...


def whole_choices(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/whole-choices`` as a function; the options are those of the client's ``use``."""
    return client.use("in/whole-choices", **options)


class FractionChoicesFunction(Protocol[T_co]):
    """``in/fraction-choices`` as a function."""

    def __call__(
        self,
        /,
        *,
        megapixels: float = ...,
    ) -> T_co:
        """Run in/fraction-choices.

        Args:
            megapixels (number, one of 0.25, 1, default None):
        """
        ...


@overload
def fraction_choices(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> FractionChoicesFunction[Coroutine[Any, Any, str]]: ...


@overload
def fraction_choices(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> FractionChoicesFunction[str]: ...


def fraction_choices(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/fraction-choices`` as a function; the options are those of the client's ``use``."""
    return client.use("in/fraction-choices", **options)


class InconsistentChoicesFunction(Protocol[T_co]):
    """``in/inconsistent-choices`` as a function."""

    def __call__(
        self,
        /,
        *,
        count: int = ...,
    ) -> T_co:
        """Run in/inconsistent-choices.

        Args:
            count (integer, one of '1', '2', default '1'):
        """
        ...


@overload
def inconsistent_choices(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InconsistentChoicesFunction[Coroutine[Any, Any, str]]: ...


@overload
def inconsistent_choices(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InconsistentChoicesFunction[str]: ...


def inconsistent_choices(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/inconsistent-choices`` as a function; the options are those of the client's ``use``."""
    return client.use("in/inconsistent-choices", **options)


class InNullableFunction(Protocol[T_co]):
    """``in/nullable`` as a function."""

    def __call__(
        self,
        /,
        *,
        seed: int | None = ...,
        style: Literal["a", "b", None] = ...,
    ) -> T_co:
        """Run in/nullable.

        Args:
            seed (integer, default None):
            style (string, one of 'a', 'b', default None):
        """
        ...


@overload
def in_nullable(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InNullableFunction[Coroutine[Any, Any, str]]: ...


@overload
def in_nullable(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InNullableFunction[str]: ...


def in_nullable(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/nullable`` as a function; the options are those of the client's ``use``."""
    return client.use("in/nullable", **options)


class Nullable31Function(Protocol[T_co]):
    """``in/nullable-3-1`` as a function."""

    def __call__(
        self,
        /,
        *,
        seed: int | None = ...,
        image: FileInput | None = ...,
        style: Literal["a"] | None = ...,
    ) -> T_co:
        """Run in/nullable-3-1.

        Args:
            seed (integer, default None):
            image (any, default None):
            style (any, default None):
        """
        ...


@overload
def nullable_3_1(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Nullable31Function[Coroutine[Any, Any, str]]: ...


@overload
def nullable_3_1(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Nullable31Function[str]: ...


def nullable_3_1(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/nullable-3-1`` as a function; the options are those of the client's ``use``."""
    return client.use("in/nullable-3-1", **options)


class ManyChoicesInUnionsFunction(Protocol[T_co]):
    """``in/many-choices-in-unions`` as a function."""

    def __call__(
        self,
        /,
        *,
        nullable: Literal[
            "language 0",
            "language 1",
            "language 2",
            "language 3",
            "language 4",
            "language 5",
            "language 6",
            "language 7",
            "language 8",
            "language 9",
            "language 10",
            "language 11",
            "language 12",
            "language 13",
            "language 14",
            "language 15",
            "language 16",
            "language 17",
            "language 18",
            "language 19",
            "language 20",
            "language 21",
            "language 22",
            "language 23",
            "language 24",
            "language 25",
            "language 26",
            "language 27",
            "language 28",
            "language 29",
        ]
        | None = ...,
        other: int
        | Literal[
            "language 0",
            "language 1",
            "language 2",
            "language 3",
            "language 4",
            "language 5",
            "language 6",
            "language 7",
            "language 8",
            "language 9",
            "language 10",
            "language 11",
            "language 12",
            "language 13",
            "language 14",
            "language 15",
            "language 16",
            "language 17",
            "language 18",
            "language 19",
            "language 20",
            "language 21",
            "language 22",
            "language 23",
            "language 24",
            "language 25",
            "language 26",
            "language 27",
            "language 28",
            "language 29",
        ] = ...,
        one: Literal[
            "one long choice one long choice one long choice one long choice one long choice one long choice ",
        ]
        | None = ...,
    ) -> T_co:
        """Run in/many-choices-in-unions.

        Args:
            nullable (any, default None):
            other (any, default None):
            one (any, default None):
        """
        ...


@overload
def many_choices_in_unions(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ManyChoicesInUnionsFunction[Coroutine[Any, Any, str]]: ...


@overload
def many_choices_in_unions(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ManyChoicesInUnionsFunction[str]: ...


def many_choices_in_unions(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/many-choices-in-unions`` as a function; the options are those of the client's ``use``."""
    return client.use("in/many-choices-in-unions", **options)


class InUnionFunction(Protocol[T_co]):
    """``in/union`` as a function."""

    def __call__(
        self,
        /,
        *,
        text: str | Sequence[str] = ...,
        either: int | FileInput = ...,
    ) -> T_co:
        """Run in/union.

        Args:
            text (any, default None):
            either (any, default None):
        """
        ...


@overload
def in_union(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InUnionFunction[Coroutine[Any, Any, str]]: ...


@overload
def in_union(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InUnionFunction[str]: ...


def in_union(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/union`` as a function; the options are those of the client's ``use``."""
    return client.use("in/union", **options)


class InObjectOptions(TypedDict):
    """Data of ``in/object``."""

    size: int
    image: NotRequired[FileInput]


class InObjectListItem(TypedDict):
    """Data of ``in/object``."""

    x: float
    y: float


class InObjectFunction(Protocol[T_co]):
    """``in/object`` as a function."""

    def __call__(
        self,
        /,
        *,
        plain: Mapping[str, Any] = ...,
        values: Mapping[str, float] = ...,
        options: InObjectOptions = ...,
        list: Sequence[InObjectListItem] = ...,
    ) -> T_co:
        """Run in/object.

        Args:
            plain (object, default None):
            values (object, default None):
            options (object, default None):
            list (array, default None):
        """
        ...


@overload
def in_object(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InObjectFunction[Coroutine[Any, Any, str]]: ...


@overload
def in_object(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InObjectFunction[str]: ...


def in_object(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/object`` as a function; the options are those of the client's ``use``."""
    return client.use("in/object", **options)


class KeywordsFunction(Protocol[T_co]):
    """``in/keywords`` as a function."""

    def __call__(
        self,
        /,
        *,
        class_: str,
        self_: str = ...,
        lambda_: int = ...,
        client: str = ...,
        None_: str = ...,
    ) -> T_co:
        """Run in/keywords.

        Args:
            class_ (string, required):
            self_ (string, default None):
            lambda_ (integer, default None):
            client (string, default None):
            None_ (string, default None):
        """
        ...


@overload
def keywords(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> KeywordsFunction[Coroutine[Any, Any, str]]: ...


@overload
def keywords(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> KeywordsFunction[str]: ...


def keywords(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/keywords`` as a function; the options are those of the client's ``use``."""
    return _rename(
        client.use("in/keywords", **options),
        {
            "class_": "class",
            "self_": "self",
            "lambda_": "lambda",
            "None_": "None",
        },
    )


class NoIdentifiersFunction(Protocol[T_co]):
    """``in/no-identifiers`` as a function."""

    def __call__(
        self,
        /,
        *,
        top_p_: float = ...,
        top_p: int = ...,
        input_3d: bool = ...,
        input: str = ...,
        a_b: str = ...,
        file: FileInput = ...,
        private: str = ...,
        naïve: str = ...,
    ) -> T_co:
        """Run in/no-identifiers.

        Args:
            top_p_ (number, default None):
            top_p (integer, default None):
            input_3d (boolean, default None):
            input (string, default None):
            a_b (string, default None):
            file (string, default None):
            private (string, default None):
            naïve (string, default None):
        """
        ...


@overload
def no_identifiers(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> NoIdentifiersFunction[Coroutine[Any, Any, str]]: ...


@overload
def no_identifiers(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> NoIdentifiersFunction[str]: ...


def no_identifiers(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/no-identifiers`` as a function; the options are those of the client's ``use``."""
    return _rename(
        client.use("in/no-identifiers", **options),
        {
            "top_p_": "top-p",
            "input_3d": "3d",
            "input": "",
            "a_b": "a b",
            "file": "ﬁle",
            "private": "__private",
        },
    )


class OddDefaultsFunction(Protocol[T_co]):
    """``in/odd-defaults`` as a function."""

    def __call__(
        self,
        /,
        *,
        steps: int = ...,
        size: Literal["s", "m"] = ...,
        seed: int = ...,
        big: float = ...,
    ) -> T_co:
        """Run in/odd-defaults.

        Args:
            steps (integer, from 1, to 4, default 28):
            size (string, one of 's', 'm', default 'xl'):
            seed (integer, default 'random'):
            big (number, to 1e+200, default 1e+300):
        """
        ...


@overload
def odd_defaults(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddDefaultsFunction[Coroutine[Any, Any, str]]: ...


@overload
def odd_defaults(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddDefaultsFunction[str]: ...


def odd_defaults(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/odd-defaults`` as a function; the options are those of the client's ``use``."""
    return client.use("in/odd-defaults", **options)


class OddTextsFunction(Protocol[T_co]):
    """``in/odd-texts`` as a function."""

    def __call__(
        self,
        /,
        *,
        text: str = ...,
        long: str = ...,
    ) -> T_co:
        """Run in/odd-texts.

        Args:
            text (string, default None): Quotes \"\"\" and \\ and \\N{x} and \x00 and \u202e and "
            long (string, default None):
                https://example.org/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
                word word word word word word word word word word word word word word word word word word word word word
                word word word word word word word word word word word word word word word word word word word word word
                word word word word word word word word word word word word word word word word word word
        """
        ...


@overload
def odd_texts(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddTextsFunction[Coroutine[Any, Any, str]]: ...


@overload
def odd_texts(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddTextsFunction[str]: ...


def odd_texts(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/odd-texts`` as a function; the options are those of the client's ``use``."""
    return client.use("in/odd-texts", **options)


class SecretFunction(Protocol[T_co]):
    """``in/secret`` as a function."""

    def __call__(
        self,
        /,
        *,
        token: str = ...,
    ) -> T_co:
        """Run in/secret.

        Args:
            token (string, default None):
        """
        ...


@overload
def secret(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> SecretFunction[Coroutine[Any, Any, str]]: ...


@overload
def secret(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> SecretFunction[str]: ...


def secret(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/secret`` as a function; the options are those of the client's ``use``."""
    return client.use("in/secret", **options)


class InAnythingFunction(Protocol[T_co]):
    """``in/anything`` as a function."""

    def __call__(
        self,
        /,
        *,
        json: Any = ...,
        flag: Any = ...,
        x: Any = ...,
        y: Any = ...,
    ) -> T_co:
        """Run in/anything.

        Args:
            json (any, default None):
            flag (any, default None): Flag
            x (any, default None):
            y (Foo, default None):
        """
        ...


@overload
def in_anything(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InAnythingFunction[Coroutine[Any, Any, str]]: ...


@overload
def in_anything(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> InAnythingFunction[str]: ...


def in_anything(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/anything`` as a function; the options are those of the client's ``use``."""
    return client.use("in/anything", **options)


class AdditionalFunction(Protocol[T_co]):
    """``in/additional`` as a function."""

    def __call__(
        self,
        /,
        *,
        inputs: str = ...,
        **inputs_: Any,
    ) -> T_co:
        """Run in/additional.

        Args:
            inputs (string, default None):
            **inputs_: Inputs that the model's schema does not name.
        """
        ...


@overload
def additional(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> AdditionalFunction[Coroutine[Any, Any, str]]: ...


@overload
def additional(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> AdditionalFunction[str]: ...


def additional(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``in/additional`` as a function; the options are those of the client's ``use``."""
    return client.use("in/additional", **options)


class WordsFunction(Protocol[T_co]):
    """``out/words`` as a function."""

    def __call__(
        self,
        /,
        *,
        prompt: str,
    ) -> T_co:
        """Run out/words.

        Args:
            prompt (string, required):
        """
        ...


@overload
def words(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> WordsFunction[Coroutine[Any, Any, str]]: ...


@overload
def words(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> WordsFunction[AsyncOutputStream]: ...


@overload
def words(
    client: Replicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> WordsFunction[str]: ...


@overload
def words(
    client: Replicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> WordsFunction[OutputStream]: ...


def words(
    client: AsyncReplicate | Replicate,
    /,
    *,
    streaming: bool = False,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/words`` as a function; the options are those of the client's ``use``."""
    return client.use("out/words", streaming=streaming, **options)


class IteratorFunction(Protocol[T_co]):
    """``out/iterator`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/iterator.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def iterator(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> IteratorFunction[Coroutine[Any, Any, list[AsyncFileOutput]]]: ...


@overload
def iterator(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> IteratorFunction[AsyncOutputStream]: ...


@overload
def iterator(
    client: Replicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> IteratorFunction[list[FileOutput]]: ...


@overload
def iterator(
    client: Replicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> IteratorFunction[OutputStream]: ...


def iterator(
    client: AsyncReplicate | Replicate,
    /,
    *,
    streaming: bool = False,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/iterator`` as a function; the options are those of the client's ``use``."""
    return client.use("out/iterator", streaming=streaming, **options)


class OutFileFunction(Protocol[T_co]):
    """``out/file`` as a function."""

    def __call__(
        self,
        /,
        *,
        prompt: str,
    ) -> T_co:
        """Run out/file.

        Args:
            prompt (string, required):
        """
        ...


@overload
def out_file(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutFileFunction[Coroutine[Any, Any, AsyncFileOutput]]: ...


@overload
def out_file(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutFileFunction[FileOutput]: ...


def out_file(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/file`` as a function; the options are those of the client's ``use``."""
    return client.use("out/file", **options)


class OutFilesFunction(Protocol[T_co]):
    """``out/files`` as a function."""

    def __call__(
        self,
        /,
        *,
        prompt: str,
    ) -> T_co:
        """Run out/files.

        Args:
            prompt (string, required):
        """
        ...


@overload
def out_files(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutFilesFunction[Coroutine[Any, Any, list[AsyncFileOutput]]]: ...


@overload
def out_files(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutFilesFunction[list[FileOutput]]: ...


def out_files(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/files`` as a function; the options are those of the client's ``use``."""
    return client.use("out/files", **options)


class TextsFunction(Protocol[T_co]):
    """``out/texts`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/texts.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def texts(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TextsFunction[Coroutine[Any, Any, list[str]]]: ...


@overload
def texts(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TextsFunction[list[str]]: ...


def texts(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/texts`` as a function; the options are those of the client's ``use``."""
    return client.use("out/texts", **options)


class NumbersFunction(Protocol[T_co]):
    """``out/numbers`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/numbers.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def numbers(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> NumbersFunction[Coroutine[Any, Any, list[list[float]]]]: ...


@overload
def numbers(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> NumbersFunction[list[list[float]]]: ...


def numbers(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/numbers`` as a function; the options are those of the client's ``use``."""
    return client.use("out/numbers", **options)


class FlagFunction(Protocol[T_co]):
    """``out/flag`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/flag.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def flag(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> FlagFunction[Coroutine[Any, Any, bool]]: ...


@overload
def flag(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> FlagFunction[bool]: ...


def flag(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/flag`` as a function; the options are those of the client's ``use``."""
    return client.use("out/flag", **options)


class OutAnythingFunction(Protocol[T_co]):
    """``out/anything`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/anything.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def out_anything(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutAnythingFunction[Coroutine[Any, Any, Any]]: ...


@overload
def out_anything(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutAnythingFunction[Any]: ...


def out_anything(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/anything`` as a function; the options are those of the client's ``use``."""
    return client.use("out/anything", **options)


class OutObjectFunction(Protocol[T_co]):
    """``out/object`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/object.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def out_object(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutObjectFunction[Coroutine[Any, Any, dict[str, Any]]]: ...


@overload
def out_object(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutObjectFunction[dict[str, Any]]: ...


def out_object(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/object`` as a function; the options are those of the client's ``use``."""
    return client.use("out/object", **options)


class AsyncStructOutputSegmentsItem(TypedDict):
    """Data of ``out/struct``."""

    start: float
    words: NotRequired[list[str] | None]


class AsyncStructOutput(TypedDict):
    """Data of ``out/struct``."""

    text: str
    subtitles: NotRequired[AsyncFileOutput | None]
    segments: list[AsyncStructOutputSegmentsItem]
    scores: NotRequired[dict[str, float] | None]
    language: NotRequired[Literal["en", "de"] | None]


class StructOutputSegmentsItem(TypedDict):
    """Data of ``out/struct``."""

    start: float
    words: NotRequired[list[str] | None]


class StructOutput(TypedDict):
    """Data of ``out/struct``."""

    text: str
    subtitles: NotRequired[FileOutput | None]
    segments: list[StructOutputSegmentsItem]
    scores: NotRequired[dict[str, float] | None]
    language: NotRequired[Literal["en", "de"] | None]


class StructFunction(Protocol[T_co]):
    """``out/struct`` as a function."""

    def __call__(
        self,
        /,
        *,
        audio: FileInput,
    ) -> T_co:
        """Run out/struct.

        Args:
            audio (string, required):
        """
        ...


@overload
def struct(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> StructFunction[Coroutine[Any, Any, AsyncStructOutput]]: ...


@overload
def struct(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> StructFunction[StructOutput]: ...


def struct(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/struct`` as a function; the options are those of the client's ``use``."""
    return client.use("out/struct", **options)


class AsyncOddMembersOutputInner(TypedDict):
    """Data of ``out/odd-members``."""

    a: NotRequired[str | None]


AsyncOddMembersOutput = TypedDict(
    "AsyncOddMembersOutput",
    {
        "class": "str",
        "top-1": "NotRequired[float | None]",
        "file name": "NotRequired[AsyncFileOutput | None]",
        "inner": "NotRequired[AsyncOddMembersOutputInner | None]",
    },
)


class OddMembersOutputInner(TypedDict):
    """Data of ``out/odd-members``."""

    a: NotRequired[str | None]


OddMembersOutput = TypedDict(
    "OddMembersOutput",
    {
        "class": "str",
        "top-1": "NotRequired[float | None]",
        "file name": "NotRequired[FileOutput | None]",
        "inner": "NotRequired[OddMembersOutputInner | None]",
    },
)


class OddMembersFunction(Protocol[T_co]):
    """``out/odd-members`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/odd-members.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def odd_members(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddMembersFunction[Coroutine[Any, Any, AsyncOddMembersOutput]]: ...


@overload
def odd_members(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddMembersFunction[OddMembersOutput]: ...


def odd_members(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/odd-members`` as a function; the options are those of the client's ``use``."""
    return client.use("out/odd-members", **options)


class AsyncTreeOutput(TypedDict):
    """Data of ``out/tree``."""

    name: str
    children: NotRequired[list[AsyncTreeOutput] | None]
    parent: NotRequired[AsyncTreeOutput | None]


class TreeOutput(TypedDict):
    """Data of ``out/tree``."""

    name: str
    children: NotRequired[list[TreeOutput] | None]
    parent: NotRequired[TreeOutput | None]


class TreeFunction(Protocol[T_co]):
    """``out/tree`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/tree.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def tree(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TreeFunction[Coroutine[Any, Any, AsyncTreeOutput]]: ...


@overload
def tree(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TreeFunction[TreeOutput]: ...


def tree(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/tree`` as a function; the options are those of the client's ``use``."""
    return client.use("out/tree", **options)


class EndlessListFunction(Protocol[T_co]):
    """``out/endless-list`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/endless-list.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def endless_list(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> EndlessListFunction[Coroutine[Any, Any, list[list[list[list[list[list[list[list[list[Any]]]]]]]]]]]: ...


@overload
def endless_list(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> EndlessListFunction[list[list[list[list[list[list[list[list[list[Any]]]]]]]]]]: ...


def endless_list(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/endless-list`` as a function; the options are those of the client's ``use``."""
    return client.use("out/endless-list", **options)


class AsyncOutUnionOutput2(TypedDict):
    """Data of ``out/union``."""

    file: NotRequired[AsyncFileOutput | str | None]


class OutUnionOutput2(TypedDict):
    """Data of ``out/union``."""

    file: NotRequired[FileOutput | str | None]


class OutUnionFunction(Protocol[T_co]):
    """``out/union`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/union.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def out_union(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutUnionFunction[
    Coroutine[Any, Any, AsyncFileOutput | str | list[AsyncFileOutput | str] | AsyncOutUnionOutput2]
]: ...


@overload
def out_union(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutUnionFunction[FileOutput | str | list[FileOutput | str] | OutUnionOutput2]: ...


def out_union(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/union`` as a function; the options are those of the client's ``use``."""
    return client.use("out/union", **options)


class OutNullableFunction(Protocol[T_co]):
    """``out/nullable`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/nullable.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def out_nullable(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutNullableFunction[Coroutine[Any, Any, AsyncFileOutput | None]]: ...


@overload
def out_nullable(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OutNullableFunction[FileOutput | None]: ...


def out_nullable(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/nullable`` as a function; the options are those of the client's ``use``."""
    return client.use("out/nullable", **options)


class CircleFunction(Protocol[T_co]):
    """``out/circle`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run out/circle.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def circle(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> CircleFunction[Coroutine[Any, Any, Any]]: ...


@overload
def circle(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> CircleFunction[AsyncOutputStream]: ...


@overload
def circle(
    client: Replicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> CircleFunction[Any]: ...


@overload
def circle(
    client: Replicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> CircleFunction[OutputStream]: ...


def circle(
    client: AsyncReplicate | Replicate,
    /,
    *,
    streaming: bool = False,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``out/circle`` as a function; the options are those of the client's ``use``."""
    return client.use("out/circle", streaming=streaming, **options)


class EmptyFunction(Protocol[T_co]):
    """``odd/empty`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run odd/empty.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def empty(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> EmptyFunction[Coroutine[Any, Any, Any]]: ...


@overload
def empty(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> EmptyFunction[AsyncOutputStream]: ...


@overload
def empty(
    client: Replicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> EmptyFunction[Any]: ...


@overload
def empty(
    client: Replicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> EmptyFunction[OutputStream]: ...


def empty(
    client: AsyncReplicate | Replicate,
    /,
    *,
    streaming: bool = False,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/empty`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/empty", streaming=streaming, **options)


class NoComponentsFunction(Protocol[T_co]):
    """``odd/no-components`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run odd/no-components.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def no_components(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> NoComponentsFunction[Coroutine[Any, Any, Any]]: ...


@overload
def no_components(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> NoComponentsFunction[AsyncOutputStream]: ...


@overload
def no_components(
    client: Replicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> NoComponentsFunction[Any]: ...


@overload
def no_components(
    client: Replicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> NoComponentsFunction[OutputStream]: ...


def no_components(
    client: AsyncReplicate | Replicate,
    /,
    *,
    streaming: bool = False,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/no-components`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/no-components", streaming=streaming, **options)


class MalformedFunction(Protocol[T_co]):
    """``odd/malformed`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run odd/malformed.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def malformed(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> MalformedFunction[Coroutine[Any, Any, Any]]: ...


@overload
def malformed(
    client: AsyncReplicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> MalformedFunction[AsyncOutputStream]: ...


@overload
def malformed(
    client: Replicate,
    /,
    *,
    streaming: Literal[False] = False,
    **options: Unpack[FunctionOptions],
) -> MalformedFunction[Any]: ...


@overload
def malformed(
    client: Replicate,
    /,
    *,
    streaming: Literal[True],
    **options: Unpack[FunctionOptions],
) -> MalformedFunction[OutputStream]: ...


def malformed(
    client: AsyncReplicate | Replicate,
    /,
    *,
    streaming: bool = False,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/malformed`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/malformed", streaming=streaming, **options)


class MalformedPartsFunction(Protocol[T_co]):
    """``odd/malformed-parts`` as a function."""

    def __call__(
        self,
        /,
        *,
        a: Any = ...,
        b: Any = ...,
    ) -> T_co:
        """Run odd/malformed-parts.

        Args:
            a (any, default None):
            b (any, default None):
        """
        ...


@overload
def malformed_parts(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> MalformedPartsFunction[Coroutine[Any, Any, list[Any]]]: ...


@overload
def malformed_parts(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> MalformedPartsFunction[list[Any]]: ...


def malformed_parts(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/malformed-parts`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/malformed-parts", **options)


class OneSameNameFunction(Protocol[T_co]):
    """``one/same-name`` as a function."""

    def __call__(
        self,
        /,
        *,
        a: str = ...,
    ) -> T_co:
        """Run one/same-name.

        Args:
            a (string, default None):
        """
        ...


@overload
def one_same_name(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OneSameNameFunction[Coroutine[Any, Any, str]]: ...


@overload
def one_same_name(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OneSameNameFunction[str]: ...


def one_same_name(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``one/same-name`` as a function; the options are those of the client's ``use``."""
    return client.use("one/same-name", **options)


class TwoSameNameFunction(Protocol[T_co]):
    """``two/same-name`` as a function."""

    def __call__(
        self,
        /,
        *,
        b: str = ...,
    ) -> T_co:
        """Run two/same-name.

        Args:
            b (string, default None):
        """
        ...


@overload
def two_same_name(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TwoSameNameFunction[Coroutine[Any, Any, str]]: ...


@overload
def two_same_name(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> TwoSameNameFunction[str]: ...


def two_same_name(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``two/same-name`` as a function; the options are those of the client's ``use``."""
    return client.use("two/same-name", **options)


class Model3dModelV15Function(Protocol[T_co]):
    """``odd/3d.model-v1.5`` as a function."""

    def __call__(
        self,
        /,
        *,
        text: str = ...,
    ) -> T_co:
        """Run odd/3d.model-v1.5.

        Args:
            text (string, default None):
        """
        ...


@overload
def model_3d_model_v1_5(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Model3dModelV15Function[Coroutine[Any, Any, str]]: ...


@overload
def model_3d_model_v1_5(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Model3dModelV15Function[str]: ...


def model_3d_model_v1_5(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/3d.model-v1.5`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/3d.model-v1.5", **options)


class OddListFunction(Protocol[T_co]):
    """``odd/list`` as a function."""

    def __call__(
        self,
        /,
        *,
        text: str = ...,
    ) -> T_co:
        """Run odd/list.

        Args:
            text (string, default None):
        """
        ...


@overload
def odd_list(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddListFunction[Coroutine[Any, Any, list[str]]]: ...


@overload
def odd_list(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddListFunction[list[str]]: ...


def odd_list(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/list`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/list", **options)


class AsyncOddOverloadOutput(TypedDict):
    """Data of ``odd/overload``."""

    a: NotRequired[str | None]


class OddOverloadOutput(TypedDict):
    """Data of ``odd/overload``."""

    a: NotRequired[str | None]


class OddOverloadFunction(Protocol[T_co]):
    """``odd/overload`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run odd/overload.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def odd_overload(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddOverloadFunction[Coroutine[Any, Any, AsyncOddOverloadOutput]]: ...


@overload
def odd_overload(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddOverloadFunction[OddOverloadOutput]: ...


def odd_overload(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/overload`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/overload", **options)


class AsyncOddFileOutput(TypedDict):
    """Data of ``odd/file``."""

    file: NotRequired[AsyncFileOutput | None]


class OddFileOutput(TypedDict):
    """Data of ``odd/file``."""

    file: NotRequired[FileOutput | None]


class OddFileFunction(Protocol[T_co]):
    """``odd/file`` as a function."""

    def __call__(
        self,
        /,
        **inputs: Any,
    ) -> T_co:
        """Run odd/file.

        Args:
            **inputs: Inputs that the model's schema does not name.
        """
        ...


@overload
def odd_file(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddFileFunction[Coroutine[Any, Any, AsyncOddFileOutput]]: ...


@overload
def odd_file(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> OddFileFunction[OddFileOutput]: ...


def odd_file(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/file`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/file", **options)


class ClassFunction(Protocol[T_co]):
    """``odd/class`` as a function."""

    def __call__(
        self,
        /,
        *,
        text: str = ...,
    ) -> T_co:
        """Run odd/class.

        Args:
            text (string, default None):
        """
        ...


@overload
def class_(
    client: AsyncReplicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ClassFunction[Coroutine[Any, Any, str]]: ...


@overload
def class_(
    client: Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> ClassFunction[str]: ...


def class_(
    client: AsyncReplicate | Replicate,
    /,
    **options: Unpack[FunctionOptions],
) -> Any:
    """Return ``odd/class`` as a function; the options are those of the client's ``use``."""
    return client.use("odd/class", **options)
