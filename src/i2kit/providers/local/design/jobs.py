"""The runs of a job: when each begins, how many VMs it has, and what comes of it. Pure.

In: the job, its runs so far, what became of a VM, the time. Out: the runs. The rules are those of Kubernetes'
Job and CronJob controllers without a starting deadline. Times are RFC 3339, UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from i2kit import cron
from i2kit.model import Job

KEPT_RUNS = 3
"""Of how many runs that have ended it is known what came of them, with what they said."""

FOREVER = 1_000_000
"""What may fail as often as this is tried for ever, as Kubernetes' pods are."""

MOST_FAILURES = 3

NEAR = timedelta(seconds=30)
"""Less than what two times of a schedule are apart."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job: how many of its VMs ended well and how many did not. `story` is why it failed."""

    number: int
    started_at: str
    succeeded: int = 0
    failed: int = 0
    outcome: Literal["", "succeeded", "failed"] = ""
    ended_at: str = ""
    story: str = ""


Runs = tuple[Run, ...]


def vms(job: Job, runs: Runs) -> Mapping[int, int]:
    """How many VMs each run that has not ended should have now, by its number."""
    return {
        one.number: min(job.parallelism, job.completions - one.succeeded) for one in runs if not one.outcome
    }


def phase(job: Job, runs: Runs) -> Literal["running", "succeeded", "failed", "scheduled", "suspended"]:
    """What is shown of a job: of one with a schedule that it has one, else what came of its last run.

    One that is suspended has none of its own: those that are known were of what it was before.
    """
    if job.suspended:
        return "suspended"
    if job.schedule or not runs:
        return "scheduled"
    return runs[-1].outcome or "running"


def goes_on(job: Job, before: int, failures: int) -> bool:
    """Whether a job whose containers have failed so often, `before` somebody began to wait for its end, may
    yet come to one: what is tried for ever may not, once new VMs of a rollout would be given up.
    """
    return job.most_failures < FOREVER or failures - before < MOST_FAILURES


def begun(runs: Runs, now: str) -> Runs:
    """With one more run, and without those that ended long before."""
    number = runs[-1].number + 1 if runs else 1
    ended = [one.number for one in runs if one.outcome]
    forgotten = ended[: max(0, len(ended) - KEPT_RUNS + 1)]
    return (*(one for one in runs if one.number not in forgotten), Run(number, now))


def ordered(job: Job, before: Job | None, runs: Runs, now: str, *, same: bool) -> Runs:
    """The runs once this job was ordered; `before` is what was there, if it was a job, of the `same` machine.

    One without a schedule runs at once, unless it is what runs or has ended well already.
    """
    if job.schedule:
        return runs
    is_known = same and before == job and bool(runs) and runs[-1].outcome != "failed"
    if is_known:
        return runs
    ended = tuple(one for one in runs if one.outcome)
    return ended if job.suspended else begun(ended, now)


def counted(job: Job, runs: Runs, number: int, now: str, *, well: bool, final: bool, story: str) -> Runs:
    """With one more VM of this run that ended; `final` says that it was not just one try of several."""

    def count(one: Run) -> Run:
        if one.number != number or one.outcome:
            return one
        if well:
            done = one.succeeded + 1
            ended = replace(one, succeeded=done)
            return replace(ended, outcome="succeeded", ended_at=now) if done >= job.completions else ended
        ended = replace(one, failed=one.failed + 1)
        return _failed(ended, story, now) if final or ended.failed > job.most_failures else ended

    return tuple(count(one) for one in runs)


def late(job: Job, runs: Runs, now: str) -> Runs:
    """With those ended that take longer than they may."""
    if job.deadline_s is None:
        return runs
    limit = timedelta(seconds=job.deadline_s)
    story = f"  it did not end within {job.deadline_s} s"
    return tuple(
        _failed(one, story, now) if not one.outcome and _time(now) - _time(one.started_at) > limit else one
        for one in runs
    )


def due(job: Job, runs: Runs, since: str, now: str) -> tuple[Runs, str]:
    """With a run more where a time of the schedule came since the last one that counted; and that time.

    Of several that passed, as while nothing ran here, only the last one counts.
    """
    if job.schedule is None or job.suspended:
        return runs, since
    if (first := next_time(job.schedule, job.time_zone, since)) is None or first > _time(now):
        return runs, since
    is_busy = any(not one.outcome for one in runs)
    if is_busy and job.overlap == "Forbid":
        return runs, since
    time = _text(_last_time(job.schedule, job.time_zone, first, _time(now)))
    if job.overlap == "Replace":
        runs = tuple(
            one if one.outcome else _failed(one, "  the next run took its place", now) for one in runs
        )
    return begun(runs, now), time


def _failed(run: Run, story: str, now: str) -> Run:
    return replace(run, outcome="failed", ended_at=now, story=story)


@lru_cache(maxsize=256)
def next_time(schedule: str, time_zone: str | None, since: str) -> datetime | None:
    """The first time of a schedule after another."""
    return cron.parse(schedule).next(_time(since).astimezone(cron.zone(time_zone)))


def _last_time(schedule: str, time_zone: str | None, first: datetime, now: datetime) -> datetime:
    """The last of the schedule's times up to `now`, of which `first` is one."""
    parsed, zone = cron.parse(schedule), cron.zone(time_zone)
    found, end = first, now
    while end - found >= NEAR:
        middle = found + (end - found) / 2
        after = parsed.next(middle.astimezone(zone))
        if after is not None and after <= now:
            found = after
        else:
            end = middle
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(time: datetime) -> str:
    return time.astimezone(cron.zone(None)).strftime("%Y-%m-%dT%H:%M:%SZ")
