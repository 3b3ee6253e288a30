"""What type checkers know of the functions that ``replicate-async codegen`` writes. Checked, never run."""
# pyright: strict

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tests.typing import generated_models as models
from typing_extensions import assert_type

from replicate_async import AsyncFileOutput, AsyncOutputStream, AsyncReplicate, FileOutput, OutputStream, Replicate


async def asynchronous(client: AsyncReplicate) -> None:
    assert_type(await models.text(client)(text="a"), str)
    assert_type(await models.words(client)(prompt="a"), str)
    assert_type(models.words(client, streaming=True)(prompt="a"), AsyncOutputStream)
    images = await models.out_files(client, cancel_after="5m", validate=True)(prompt="a")
    assert_type(images, list[AsyncFileOutput])
    await models.in_file(client)(image=images[0])
    assert_type(await models.out_file(client)(prompt="a"), AsyncFileOutput)
    result = await models.struct(client)(audio=Path("a.wav"))
    assert_type(result["text"], str)
    assert_type(result["segments"][0]["start"], float)
    assert_type(result.get("subtitles"), AsyncFileOutput | None)
    await models.text(client)(text=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await models.text(client)()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await models.text(client)("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    models.text(client, streaming=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def blocking(client: Replicate, image: FileOutput) -> None:
    assert_type(models.text(client)(text="a"), str)
    assert_type(models.words(client, streaming=True)(prompt="a"), OutputStream)
    assert_type(models.iterator(client)(), list[FileOutput])
    assert_type(models.numbers(client)(), list[list[float]])
    assert_type(models.flag(client)(), bool)
    assert_type(models.out_object(client)(), dict[str, Any])
    assert_type(models.out_nullable(client)(), FileOutput | None)
    models.in_file(client)(image=b"", mask="https://example.org/a.png")
    models.in_files(client)(images=[image, io.BytesIO(b""), Path("a.png")], strengths=(1, 0.5))
    models.scalars(client)(steps=1, guidance=1, fast=False)
    models.choice(client)(ratio="1:1")
    models.choice(client)(ratio="1:2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    models.in_nullable(client)(seed=None, style=None)
    models.in_object(client)(options={"size": 1}, list=[{"x": 1, "y": 2}], values={"a": 1})
    models.keywords(client)(class_="a", self_="b", lambda_=1)
    models.no_identifiers(client)(top_p_=0.5, top_p=1)
    models.empty(client)(anything=1)
    models.odd_list(client)(text="a")
