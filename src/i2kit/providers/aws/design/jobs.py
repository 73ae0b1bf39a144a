"""Jobs on AWS: a group of machines for each run, which leave it as they finish, and what came of them. Pure.

In: a Job, and what its machines said when they had finished. Out: sizes, the schedule of a group, user data,
permissions, a phase. A machine that finished writes so to the log stream of its run, and takes itself out of
its group: for good, or to be replaced where it failed and may be tried again, or where more are to end well
(guest/aws, finish). One that begins writes that too: those that go without a word are counted (begin).

Sources: TerminateInstanceInAutoScalingGroup and PutScheduledUpdateGroupAction in the EC2 Auto Scaling API
reference; "Scheduled scaling" in its user guide.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Literal

from i2kit import cron
from i2kit.errors import Problem
from i2kit.model import Job, Workload
from i2kit.providers.aws.values import log_group

Phase = Literal["running", "succeeded", "failed", "scheduled", "suspended"]

Ended = tuple[str, int]
"""A machine and its status: 0 where it ended well."""

MOST_CHARACTERS = 255
"""Of a recurrence."""


def machines(job: Job) -> int:
    """Of one run."""
    return min(job.parallelism, job.completions)


def most_failures(job: Job) -> int:
    """How many machines may fail and be replaced: none where containers are started again in theirs."""
    return 0 if job.retry else job.most_failures


def sizes(job: Job) -> dict[str, str]:
    """Of the group; one with a schedule has no machines until then."""
    count = machines(job)
    now = 0 if job.schedule or job.suspended else count
    return {"MinSize": "0", "MaxSize": str(count), "DesiredCapacity": str(now)}


def stream(run: int) -> str:
    """Where machines of a run say that they have finished."""
    return f"i2kit/run-{run}"


def lines(job: Job, run: int) -> tuple[str, ...]:
    """What its machines are told, as user data."""
    told = f"job={run} {most_failures(job)}"
    if job.schedule:
        return told, f"job_window={window_s(job.schedule)}"
    return told, f"job_pods={job.completions} {machines(job)}"


def window_s(schedule: str) -> int:
    """For how long a machine looks back on others of its run: half of the shortest time between two runs."""
    found = cron.parse(schedule)
    times = [hour * 60 + minute for hour in found.hours for minute in found.minutes]
    return min(later - one for one, later in pairwise([*times, times[0] + 24 * 60])) * 60 // 2


def phase(job: Job, ended: Iterable[Ended]) -> Phase:
    """What a run has come to. None of those that are repeated comes to an end."""
    if job.suspended:
        return "suspended"
    if job.schedule:
        return "scheduled"
    well, failed = counted(ended)
    if well >= job.completions:
        return "succeeded"
    return "failed" if failed > most_failures(job) else "running"


def counted(ended: Iterable[Ended]) -> tuple[int, int]:
    """How many machines ended well, and how many did not."""
    found = dict(ended)
    failed = sum(status != 0 for status in found.values())
    return len(found) - failed, failed


def recurrence(text: str) -> str:
    """A schedule as AWS reads it: numbers alone. Raises CronError."""
    found = cron.parse(text)
    fields = (
        (found.minutes, 60),
        (found.hours, 24),
        (found.days, 31),
        (found.months, 12),
        (found.weekdays, 7),
    )
    return " ".join("*" if len(numbers) == most else _spans(numbers) for numbers, most in fields)


def _spans(numbers: tuple[int, ...]) -> str:
    """1,2,3,5 as 1-3,5."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def schedule(job: Job, group: str) -> dict[str, Any] | None:
    """The properties of what begins its runs."""
    if job.schedule is None or job.suspended:
        return None
    return {
        "AutoScalingGroupName": {"Ref": group},
        "DesiredCapacity": machines(job),
        "Recurrence": recurrence(job.schedule),
        "TimeZone": job.time_zone or "Etc/UTC",
    }


def statements(key: str, run: int) -> list[dict[str, Any]]:
    """What lets its machines say that they have finished, and leave their group."""
    logs = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}"
    groups = "arn:${AWS::Partition}:autoscaling:${AWS::Region}:${AWS::AccountId}:autoScalingGroup"
    return [
        {
            "Effect": "Allow",
            "Action": ["logs:GetLogEvents"],
            "Resource": {"Fn::Sub": f"{logs}:log-group:{log_group(key)}:log-stream:{stream(run)}"},
        },
        {
            "Effect": "Allow",
            "Action": ["autoscaling:TerminateInstanceInAutoScalingGroup"],
            "Resource": {"Fn::Sub": f"{groups}:*:autoScalingGroupName/${{AWS::StackName}}-Group*"},
        },
    ]


def notes(job: Job) -> Iterator[str]:
    """What to know beforehand."""
    if job.suspended:
        yield "it is suspended: nothing runs"
    elif job.schedule:
        when = f"`{recurrence(job.schedule)}` of {job.time_zone or 'UTC'}"
        yield f"AWS starts {machines(job)} machine(s) at {when}"
        if job.overlap == "Allow":
            yield "runs do not overlap on aws: a time at which the run before has not ended begins none"
        if machines(job) > 1:
            yield "a time at which some machines of the run before still run only fills up their number"
    else:
        yield "a machine that goes without saying how it ended is replaced: its pod may run twice"


def problems(workload: Workload) -> Iterator[Problem]:
    """What a group of machines cannot do."""
    job = workload.job
    if job is None:
        return

    def problem(message: str, hint: str) -> Problem:
        return Problem(f"job `{workload.name}`: {message}", workload.position, hint)

    if job.schedule is None:
        return
    if machines(job) < job.completions:
        yield problem(
            f"{job.completions} completions by {job.parallelism} machine(s) at a time are not possible at "
            "times on aws: a machine would not know how many of its run have ended",
            f"set parallelism to {job.completions}, or deploy it to provider local",
        )
    if job.overlap == "Replace":
        yield problem(
            "concurrencyPolicy Replace is not possible on aws: nobody would end the run before",
            "use Forbid, with activeDeadlineSeconds",
        )
    found = cron.parse(job.schedule)
    if not (found.any_day or found.any_weekday):
        yield problem(
            f"the schedule `{job.schedule}` has days of the month and of the week: what AWS makes of both is "
            "not known",
            "use two jobs",
        )
    if len(recurrence(job.schedule)) > MOST_CHARACTERS:
        yield problem(
            f"the schedule `{job.schedule}` is longer than {MOST_CHARACTERS} characters", "use two jobs"
        )
