"""Whether a job is the result of a create whose response was lost: yes, no or maybe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from enum import Enum
from math import inf
from typing import Any

import msgspec

from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async._http.problem import parse_date
from replicate_async._http.response import APIResponse
from replicate_async._json import is_dict, is_list
from replicate_async.types import DeploymentRelease, Prediction, Training

Job = Prediction | Training

# In seconds: what was created so much earlier than a create was sent is not its result.
_MAX_CLOCK_ERROR = 2.0
# In seconds: how much the clocks of the API's own servers may differ.
_CLOCK_SKEW = 0.25
# In seconds: when the server's clock is known well enough to say what was created in that time.
_PRECISE = 0.6


class ServerClock:
    """What is known of the server's clock: bounds of its time, in seconds since 1970, when the client's clock was at 0.

    Dates of responses have whole seconds, so each narrows the bounds.
    """

    def __init__(self) -> None:
        self.earliest, self.latest = -inf, inf

    def learn_from(self, response: APIResponse[Any]) -> None:
        """Take a response that has just arrived."""
        received = clock.current.monotonic()
        sent = received - response.elapsed.total_seconds()
        if date := parse_date(response.headers.get("Date")):
            earliest, latest = date.timestamp() - received, date.timestamp() + 1 - sent
        else:
            # The client's own clock has to do.
            origin = datetime.now(timezone.utc).timestamp() - received
            earliest, latest = origin - _PRECISE / 2, origin + _PRECISE / 2
        if earliest > self.latest or latest < self.earliest:
            # One of the clocks was set.
            self.earliest, self.latest = earliest, latest
        self.earliest, self.latest = max(self.earliest, earliest), min(self.latest, latest)

    @property
    def is_known(self) -> bool:
        """Whether a response has been taken."""
        return self.earliest > -inf

    @property
    def is_precise(self) -> bool:
        """Whether the bounds are close to each other."""
        return self.latest - self.earliest <= _PRECISE

    def created_since(self, jobs: Sequence[Job], sent_at: float) -> list[Job]:
        """Return the jobs that were not created before a time of the client's clock."""
        start = self.earliest + sent_at - _MAX_CLOCK_ERROR
        return [job for job in jobs if (created := _creation_of(job)) is None or created >= start]

    def is_between(self, job: Job, sent_at: float, end: float) -> bool:
        """Return whether a job was created between two times of the client's clock, as far as that is known."""
        created = _creation_of(job)
        earliest, latest = self.earliest + sent_at - _CLOCK_SKEW, self.latest + end + _CLOCK_SKEW
        return created is not None and earliest <= created <= latest


def _creation_of(job: Job) -> float | None:
    # A member that the API sends in another form is kept as it is.
    return job.created_at.timestamp() if isinstance(job.created_at, datetime) else None


class Match(Enum):
    """Whether a prediction or training is the result of a create."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


def compare(
    call: Call[Any], job: Job, server_clock: ServerClock, end: float, release: DeploymentRelease | None = None
) -> Match:
    """Compare a create with a job: its model, version or deployment, its input, and when it was created.

    Args:
        call: The create, whose response was lost.
        job: A prediction or training.
        server_clock: The clock by which the job is dated.
        end: When the create had been carried out, if it was. What was made later may be someone else's.
        release: The release of the deployment that the create is for, if it is known.
    """
    body: dict[str, Any] = msgspec.json.decode(call.body)
    segments = call.request.path.strip("/").split("/")
    name = "/".join(segments[1:3])
    if segments[0] == "deployments":
        pairs = [(name, getattr(job, "deployment", None))]
        versions = (job.model, job.version)
        if pairs[0][1] is None and release and None not in versions and versions == (release.model, release.version):
            # The API does not always say which deployment it was.
            pairs = []
    elif segments[-1] == "trainings":
        pairs = [(segments[-2], job.version)]
    elif segments[0] == "models":
        pairs = [(name, job.model)]
    else:
        model, _, version = str(body.get("version")).rpartition(":")
        if "/" in version:
            model, version = version, ""
        pairs = [(model, job.model), (version, job.version)]
    # The API shows names as they were registered, in whatever case a caller writes them.
    pairs = [
        (wanted.lower(), listed.lower() if isinstance(listed, str) else None) for wanted, listed in pairs if wanted
    ]
    # A member that is absent, hidden or of another type decides nothing.
    if any(listed not in {None, "hidden", wanted} for wanted, listed in pairs):
        return Match.NO
    sent: dict[str, Any] = body.get("input") or {}
    if not is_dict(job.input) or (sent and not job.input):
        return Match.MAYBE
    if (
        sent == job.input
        and server_clock.is_between(job, call.sent_at, end)
        and all(wanted == listed for wanted, listed in pairs)
    ):
        return Match.YES
    # The API may have added defaults.
    covered = all(name in job.input and _same_input(value, job.input[name]) for name, value in sent.items())
    return Match.MAYBE if covered else Match.NO


def _same_input(sent: Any, listed: Any) -> bool:
    """Return whether two inputs may be the same; the API may have replaced files by URLs."""
    if isinstance(sent, str) and sent.startswith("data:"):
        return isinstance(listed, str) and (listed == sent or listed.startswith("http"))
    if is_dict(sent) and is_dict(listed):
        return sent.keys() == listed.keys() and all(_same_input(value, listed[name]) for name, value in sent.items())
    if is_list(sent) and is_list(listed):
        return len(sent) == len(listed) and all(map(_same_input, sent, listed))
    return bool(sent == listed)
