"""How many replicas a deployment should have by what its VMs use: Kubernetes' HorizontalPodAutoscaler. Pure.

In: what it asks for, what was measured, what was recommended before. Out: the number of replicas. The rules
are those of "Horizontal Pod Autoscaling, Algorithm details" in Kubernetes' documentation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from i2kit.model import Metric, Scaling
from i2kit.providers.local.design.desired import Policy

PERIOD_S = 15.0
"""How often it is asked: the default of Kubernetes' controller."""

TOLERANCE = Fraction(1, 10)
"""As long as it is so near to the target, the number stays."""

MOST_MORE = 4
"""In one period there may be so many replicas more, or twice as many."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a VM's containers use; None where that is not known. Those that leave are not told."""

    ready: bool
    cpu_millis: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Recommended:
    """A number of replicas that what was measured asked for at that time."""

    at_s: float
    replicas: int


def recommended(policy: Policy, replicas: int, machines: Sequence[Measured]) -> int | None:
    """How many replicas the metrics ask for now, the largest number of all; None where nothing is known.

    With a metric that is not known there are not fewer.
    """
    if policy.scaling is None or replicas == 0:
        return None
    asked = [_of_metric(one, policy, replicas, machines) for one in policy.scaling.metrics]
    known = [one for one in asked if one is not None]
    if not known or (None in asked and max(known) < replicas):
        return None
    return max(known)


def _of_metric(metric: Metric, policy: Policy, replicas: int, machines: Sequence[Measured]) -> int | None:
    requested = policy.cpu_millis if metric.resource == "cpu" else policy.memory_bytes
    if metric.percent is None:
        target, whole = Fraction(metric.value or 0), Fraction(metric.value or 0)
    else:
        target, whole = Fraction((requested or 0) * metric.percent, 100), Fraction(requested or 0)
    values = [
        one.cpu_millis if metric.resource == "cpu" else one.memory_bytes for one in machines if one.ready
    ]
    known = [Fraction(one) for one in values if one is not None]
    if not known or target <= 0:
        return None
    ratio = sum(known) / (len(known) * target)
    # Those that nothing is known of are taken to be as their number should not change: idle where there
    # are to be more, busy where there are to be fewer. What starts is not busy yet.
    unknown = len(values) - len(known)
    starting = len(machines) - len(values)
    if ratio > 1:
        known += [Fraction(0)] * (unknown + starting)
    elif ratio < 1:
        known += [max(whole, target)] * unknown
    again = sum(known) / (len(known) * target)
    if abs(again - 1) <= TOLERANCE or abs(ratio - 1) <= TOLERANCE or (again > 1) != (ratio > 1):
        return replicas
    asked = ceil(again * len(known))
    return max(asked, replicas) if again > 1 else min(asked, replicas)


def settled(scaling: Scaling, replicas: int, before: Sequence[Recommended], now: float) -> int:
    """How many replicas there should be from now on; `before` are all recommendations, this one's too.

    Fewer only once fewer were enough for the whole window, and more likewise.
    """
    up = min((one.replicas for one in before if now - one.at_s <= scaling.up_window_s), default=replicas)
    down = max((one.replicas for one in before if now - one.at_s <= scaling.down_window_s), default=replicas)
    number = min(max(replicas, up), down)
    most = max(2 * replicas, replicas + MOST_MORE)
    return scaling.start(min(number, most))


def remembered(scaling: Scaling, before: Sequence[Recommended], now: float) -> tuple[Recommended, ...]:
    """The recommendations that still count."""
    longest = max(scaling.up_window_s, scaling.down_window_s)
    return tuple(one for one in before if now - one.at_s <= longest)
