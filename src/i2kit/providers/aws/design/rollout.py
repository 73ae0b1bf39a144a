"""How a group is updated, and how many machines it has: Kubernetes' words in EC2 Auto Scaling's. Pure.

In: what a manifest says of strategy, probes and autoscaling. Out: numbers for the template, and notes where
AWS cannot do what was said.

Sources: RefreshPreferences in the EC2 Auto Scaling API reference (MinHealthyPercentage: "rounded up to the
nearest integer"; the highest from 100 to 200, at most 100 apart; where a whole machine fits nowhere between
them, one is launched first); "How an instance refresh works" and "Instance maintenance policy" (a machine
counts after its first good check and its warmup), "Target tracking scaling policies" in its user guide. That
the highest percentage is rounded down is nowhere written, and our reading.
"""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

from i2kit.model import Amount, Container, Scaling, Strategy, Workload
from i2kit.providers.aws.design.volumes import pinned
from i2kit.providers.aws.values import Options

MOST_PERCENT = 200
MOST_APART = 100
"""Of the percentages of an instance refresh."""

RECREATE = (0, 100)

STARTUP_S = 300
"""What a machine gets at least until its first good check, before its group replaces it."""

BOOT_S = 60
"""What of that is for the machine itself, before containers start; no prototype took longer than seconds."""

SETTLED_S = 30
"""How long a new machine must at least be in service before the next old one goes: a load balancer takes
about so long to find it ready.
"""

UNCHECKED_S = 60
"""The same where no load balancer checks it: so long it takes until containers that can't run are known."""

MAX_DELAY_S = 3600
"""What load balancers give a leaving machine at most."""

METRICS_S = 60
"""How long a new machine's CPU says nothing about how many are needed: it boots."""

SCALING_LEAST_PERCENT, SCALING_MOST_PERCENT = 1.0, 100.0
"""Of a machine's processors, as a target."""

Percentages = tuple[int, int]
"""The least and the most of a group that there are in an update, in percent of all."""


def percentages(workload: Workload) -> Percentages:
    """So that AWS never has fewer machines ready, nor more in all, than the strategy allows.

    Exact for up to 100 machines. Where their number varies, this holds for each that there can be.
    """
    strategy, scaling = workload.strategy, workload.scaling
    if strategy.recreate or pinned(workload):
        return RECREATE
    if scaling and scaling.least < scaling.most:
        least, most = _of_range(strategy, scaling.most)
    else:
        replicas = max(1, scaling.most if scaling else workload.replicas)
        least, most = _of_number(strategy, replicas)
    most = min(most, MOST_PERCENT)
    # Of the two, that machines stay there counts for more.
    return max(least, most - MOST_APART), most


def _of_number(strategy: Strategy, replicas: int) -> Percentages:
    surge, missing = strategy.bounds(replicas)
    least = (replicas - missing) * 100 // replicas
    if counted((least, 100), replicas)[0] < replicas - missing:
        least += 1
    most = ceil((replicas + surge) * 100 / replicas)
    if counted((0, most), replicas)[1] > replicas + surge:
        most -= 1
    return least, most


def _of_range(strategy: Strategy, replicas: int) -> Percentages:
    """What is right for so many and for fewer, too."""

    def share(amount: Amount) -> int:
        return amount.number if amount.percent else min(amount.number, replicas) * 100 // replicas

    surge = strategy.max_surge
    more = surge.number * 100 // replicas if not surge.percent else surge.number
    return max(0, 100 - share(strategy.max_unavailable)), 100 + more


def counted(found: Percentages, replicas: int) -> tuple[int, int]:
    """How many machines these percentages are to AWS: ready ones at least, and all at most."""
    least, most = found
    return -(-replicas * least // 100), replicas * most // 100


def notes(workload: Workload, options: Options) -> Iterator[str]:
    """What to know of updates and of the number of machines before they happen."""
    if workload.strategy.recreate:
        yield (
            "Recreate: AWS takes all machines out at once and starts the new ones as those leave, which can "
            "be before the last one has ended"
        )
    elif not workload.scaling and workload.replicas and not pinned(workload):
        replicas = workload.replicas
        surge, missing = workload.strategy.bounds(replicas)
        least, most = counted(percentages(workload), replicas)
        if (least, most) != (replicas - missing, replicas + surge):
            yield (
                f"updates have {least} to {most} machines, where maxSurge and maxUnavailable allow "
                f"{replicas - missing} to {replicas + surge}: AWS counts in whole percent, from 0 to 200, "
                "at most 100 apart"
            )
    if workload.grace_s > MAX_DELAY_S:
        yield (
            f"requests get {MAX_DELAY_S} s to finish when a machine leaves, the most on AWS, and not "
            f"{workload.grace_s} s"
        )
    if options.alarms:
        yield f"an update goes back when one of these alarms goes off: {', '.join(options.alarms)}"
    if options.bake_time_s:
        yield f"an update is watched for {options.bake_time_s} s more once all machines are new"
    if workload.scaling and (workload.scaling.down_window_s, workload.scaling.up_window_s) != (300, 0):
        yield "AWS decides for itself how soon it scales: stabilization windows have no meaning there"


def startup_s(workload: Workload) -> int:
    """What a machine may take from its start until its first good check."""
    pods = max((_until_ready_s(one) for one in workload.containers), default=0)
    return max(STARTUP_S, BOOT_S + pods, workload.progress_deadline_s)


def _until_ready_s(container: Container) -> int:
    startup, readiness = container.startup, container.readiness
    started = startup.initial_delay_s + startup.period_s * startup.failure_threshold if startup else 0
    ready = readiness.initial_delay_s + readiness.period_s * readiness.success_threshold if readiness else 0
    return started + ready


def warmup_s(workload: Workload, *, checked: bool) -> int:
    """How long a new machine must have been in service before the next old one goes.

    An update waits for its first good check as well, where load balancers check it.
    """
    return max(workload.min_ready_s, SETTLED_S if checked else UNCHECKED_S)


def delay_s(workload: Workload) -> int:
    """How long a leaving machine is left its requests."""
    return min(workload.grace_s, MAX_DELAY_S)


# --- the number of machines -------------------------------------------------------------------


class Target(NamedTuple):
    """The share of a machine's processors that AWS keeps to by scaling, and what the manifest comes to."""

    percent: float
    asked_percent: float

    @property
    def note(self) -> str:
        """Where the two differ."""
        if self.percent == self.asked_percent:
            return ""
        return f"the target is {self.asked_percent:g} % of a machine's CPU: AWS scales at {self.percent:g} %"


def requested_millis(workload: Workload) -> int:
    """1/1000 CPU that all containers request; as in Kubernetes, a limit without a request is one."""
    given = [one.resources for one in workload.containers]
    return sum(one.cpu_request_millis or one.cpu_limit_millis or 0 for one in given)


def cpu_target(workload: Workload, cpus: int) -> Target | None:
    """From percent of the request, or 1/1000 CPU, to percent of a machine with so many processors.

    Of several targets the lowest: it asks for the most machines. None where no metric is of CPU.
    """
    metrics = workload.scaling.metrics if workload.scaling else ()
    asked = [
        requested_millis(workload) * one.percent / 100 if one.percent is not None else float(one.value or 0)
        for one in metrics
        if one.resource == "cpu"
    ]
    if not asked:
        return None
    percent = round(min(asked) / (cpus * 10), 2)
    return Target(min(SCALING_MOST_PERCENT, max(SCALING_LEAST_PERCENT, percent)), percent)


def sizes(scaling: Scaling | None, replicas: int) -> dict[str, str]:
    """Of the group. With autoscaling it has no number of its own in a template, which updates would reset."""
    if scaling is None:
        return dict.fromkeys(("MinSize", "MaxSize", "DesiredCapacity"), str(replicas))
    return {"MinSize": str(scaling.least), "MaxSize": str(scaling.most)}
