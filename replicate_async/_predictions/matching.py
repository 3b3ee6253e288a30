"""Whether a job is the result of a create whose response was lost: yes, no or maybe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from enum import Enum
from math import inf
from typing import Any

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
_CLOCK_SKEW = 0.02
# In seconds: how long after its response was lost a create may be carried out.
_MAX_DELAY = 0.25
# In seconds: Date headers have whole seconds, and predictions milliseconds at least.
_DATE_RESOLUTION, _JOB_RESOLUTION = 1.0, 0.001
# In seconds: how far apart the bounds of a clock are that is known well, or well enough, apart from the round trip.
_PRECISE, _USABLE = 0.11, 0.5
# In seconds: the longest pause between two lookups that narrow the bounds, so that it takes one second at most.
_MAX_NARROWING_DELAY = 0.1
# In seconds: how long a response is taken to be on its way, at most.
_MAX_ONE_WAY = 0.1
# In seconds: how much the client's own clock may be wrong.
_MAX_LOCAL_ERROR = 0.3
# In seconds: how long precise bounds are not narrowed any more, because each create would cost time.
_FRESH_SECONDS = 1.0
# In seconds per second: how fast two clocks may diverge.
_MAX_DRIFT = 1e-4


class ServerClock:
    """What is known of the server's clock: bounds of its time, in seconds since 1970, when the client's clock was at 0.

    Each response to a create and each ``Date`` header narrows the bounds.
    """

    def __init__(self) -> None:
        self.earliest, self.latest = -inf, inf
        self._round_trip, self._learned_at = 0.0, 0.0

    def learn_from_create(self, created_at: object, sent_at: float, received: float) -> None:
        """Take the creation time in the response to a create."""
        if received < self._learned_at + _FRESH_SECONDS and self.is_precise:
            return
        # A member that the API sends in another form is kept as it is.
        if isinstance(created_at, datetime):
            self._learn(created_at.timestamp(), _JOB_RESOLUTION, sent_at, received)

    def learn_from(self, response: APIResponse[Any]) -> None:
        """Take a response that has just arrived."""
        received = clock.current.monotonic()
        sent_at = received - response.elapsed.total_seconds()
        if date := parse_date(response.headers.get("Date")):
            self._learn(date.timestamp(), _DATE_RESOLUTION, sent_at, received)
        elif not self.is_usable:
            # The client's own clock has to do.
            now = datetime.now(timezone.utc).timestamp()
            self._learn(now, 0.0, received - _MAX_LOCAL_ERROR, received + _MAX_LOCAL_ERROR)

    def _learn(self, time: float, resolution: float, sent_at: float, received: float) -> None:
        """Take a time of the server's clock, rounded down, between two times of the client's clock."""
        earliest, latest = time - received, time + resolution - sent_at
        drift = _MAX_DRIFT * (received - self._learned_at)
        self.earliest, self.latest = self.earliest - drift, self.latest + drift
        if earliest > self.latest + _CLOCK_SKEW or latest < self.earliest - _CLOCK_SKEW:
            # One of the clocks was set.
            self.earliest, self.latest = earliest, latest
        self.earliest, self.latest = max(self.earliest, earliest), min(self.latest, latest)
        self._round_trip = min(self._round_trip or inf, received - sent_at)
        self._learned_at = received

    @property
    def is_known(self) -> bool:
        """Whether a response has been taken."""
        return self.earliest > -inf

    @property
    def is_precise(self) -> bool:
        """Whether more lookups would hardly narrow the bounds: what is left is the round trip."""
        return self.latest - self.earliest <= _PRECISE + self._round_trip

    @property
    def is_usable(self) -> bool:
        """Whether the bounds are close enough to say whether a job was created between two times."""
        return self.latest - self.earliest <= _USABLE + self._round_trip

    def narrowing_delay(self) -> float:
        """Return the seconds until another ``Date`` header is worth having.

        It halves the distance of the bounds when its second may or may not have changed.
        """
        middle = (self.earliest + self.latest + self._round_trip) / 2
        return min(-(middle + clock.current.monotonic()) % 1, _MAX_NARROWING_DELAY)

    def created_since(self, jobs: Sequence[Job], sent_at: float) -> list[Job]:
        """Return the jobs that were not created before a time of the client's clock."""
        start = self.earliest + sent_at - _MAX_CLOCK_ERROR
        return [job for job in jobs if (created := _creation_of(job)) is None or created >= start]

    def is_between(self, job: Job, sent_at: float, end: float) -> bool:
        """Return whether a job was created between two times of the client's clock, as far as that is known."""
        created = _creation_of(job)
        # The lower bound is too low by the way of a response, which is about half of the fastest round trip.
        one_way = min(self._round_trip / 2, _MAX_ONE_WAY)
        earliest, latest = self.earliest + one_way + sent_at - _CLOCK_SKEW, self.latest + end + _MAX_DELAY
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
    call: Call[Any],
    body: Mapping[str, Any],
    job: Job,
    server_clock: ServerClock,
    end: float,
    release: DeploymentRelease | None = None,
) -> Match:
    """Compare a create with a job: its model, version or deployment, its input, and when it was created.

    Args:
        call: The create, whose response was lost.
        body: What it has sent.
        job: A prediction or training.
        server_clock: The clock by which the job is dated.
        end: When the create had been carried out, if it was. What was made later may be someone else's.
        release: The release of the deployment that the create is for, if it is known.
    """
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
