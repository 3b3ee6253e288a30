"""The entries of a list of predictions or trainings, as far as polling needs them."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Raw

from replicate_async.types import Prediction, Time, Training, has_ended


class ListedJob(msgspec.Struct):
    """A list's entry."""

    id: str
    status: str
    created_at: Time | None = None
    completed_at: Time | None = None

    @property
    def done(self) -> bool:
        """Whether the status is final."""
        return has_ended(self.status, self.completed_at)


_DECODER = msgspec.json.Decoder(ListedJob)


def decode_listed(raw: Raw) -> ListedJob | None:
    """Return a list's entry; None if it is not readable, so that its job is polled by itself."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def is_older(state: tuple[str, str], newest: tuple[str, str]) -> bool:
    """Return whether a status and logs are older than others of the same job."""
    return (state[0] == "starting" != (newest[0] or "starting")) or len(state[1]) < len(newest[1])


def created_at_of(job: Prediction | Training) -> datetime | None:
    """Return when a job was created, if the API has said so in a way that can be compared."""
    created_at: object = job.created_at
    return created_at if isinstance(created_at, datetime) and created_at.tzinfo is not None else None


def lacks_result(job: Prediction | Training) -> bool:
    """Return whether a job that has ended should have an output or an error, and has none."""
    return job.status in ("succeeded", "failed") and job.output is None and job.error is None
