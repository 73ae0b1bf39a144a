"""How many replicas what was measured asks for: examples worked by hand, and what always holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.model import Metric, Scaling
from i2kit.providers.local.design.desired import Policy
from i2kit.providers.local.design.scaling import MOST_MORE, Measured, Recommended, recommended, settled

HALF = (Metric("cpu", percent=50),)


def asked(
    replicas: int, *machines: Measured, metrics: tuple[Metric, ...] = HALF, request: int | None = 200
) -> int | None:
    """Of VMs whose containers ask for `request` 1/1000 CPUs and 100 bytes."""
    policy = Policy(scaling=Scaling(1, 100, metrics), cpu_millis=request, memory_bytes=100)
    return recommended(policy, replicas, machines)


def busy(*cpu_millis: int) -> list[Measured]:
    return [Measured(True, one, 50) for one in cpu_millis]


STARTING = Measured(False)
UNKNOWN = Measured(True)


@pytest.mark.parametrize(
    ("cpu_millis", "replicas"),
    [
        ([100, 100], 2),  # as wanted
        ([109, 109], 2),  # within the tolerance
        ([91, 91], 2),
        ([150, 150], 3),
        ([101, 200], 4),  # 1.505 × 2, rounded up
        ([400, 400], 8),
        ([20, 20], 1),
        ([0, 0], 0),
    ],
)
def test_as_many_as_bring_the_average_to_the_target(cpu_millis: list[int], replicas: int) -> None:
    assert asked(2, *busy(*cpu_millis)) == replicas


def test_what_starts_counts_as_idle_only_where_there_are_to_be_more() -> None:
    assert asked(2, *busy(190), STARTING) == 2, "1.9 alone, 0.95 together"
    assert asked(3, *busy(300, 300), STARTING) == 6, "3 × 2 together"
    assert asked(3, *busy(50, 50), STARTING) == 1


def test_what_is_not_known_counts_against_the_change() -> None:
    assert asked(2, *busy(150), UNKNOWN) == 2
    assert asked(3, *busy(40, 40), UNKNOWN) == 3, "it may use all that it asked for: 1.4, not 0.4"
    assert asked(2, UNKNOWN, UNKNOWN) is None
    assert asked(2, *busy(400, 400), request=None) is None, "a share of what was not asked for"
    assert asked(0) is None


def test_the_metric_that_asks_for_the_most_counts_and_an_unknown_one_only_against_fewer() -> None:
    cpu, memory = Metric("cpu", percent=50), Metric("memory", value=10)
    assert asked(2, *busy(100, 100), metrics=(cpu, memory)) == 10, "5 × 2 by memory"
    no_cpu = [Measured(True, None, 5), Measured(True, None, 5)]
    assert asked(2, *no_cpu, metrics=(memory,)) == 1
    assert asked(2, *no_cpu, metrics=(cpu, memory)) is None
    assert asked(2, Measured(True, None, 30), Measured(True, None, 30), metrics=(cpu, memory)) == 6


def test_fewer_only_once_fewer_were_enough_for_the_whole_window() -> None:
    scaling = Scaling(1, 10, HALF)
    before = [Recommended(0, 5), Recommended(100, 2), Recommended(200, 3)]
    assert settled(scaling, 5, before, 200) == 5
    assert settled(scaling, 5, before, 301) == 3
    assert settled(scaling, 5, before, 450) == 3
    assert settled(scaling, 5, [*before, Recommended(501, 2)], 501) == 2


def test_more_at_once_unless_more_have_to_be_needed_for_a_while() -> None:
    before = [Recommended(0, 2), Recommended(15, 4), Recommended(30, 6)]
    assert settled(Scaling(1, 10, HALF), 2, before, 30) == 6
    assert settled(Scaling(1, 10, HALF, up_window_s=15), 2, before, 30) == 4
    assert settled(Scaling(1, 10, HALF, up_window_s=60), 2, before, 30) == 2


numbers = st.integers(0, 40)
machines = st.lists(st.builds(Measured, st.booleans(), st.none() | st.integers(0, 5000)), max_size=20)


@given(st.integers(1, 30), machines)
def test_busier_machines_never_ask_for_fewer(replicas: int, found: list[Measured]) -> None:
    busier = [
        Measured(one.ready, one.cpu_millis if one.cpu_millis is None else 2 * one.cpu_millis + 1)
        for one in found
    ]
    before, after = asked(replicas, *found), asked(replicas, *busier)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after >= before


@given(numbers, st.lists(st.builds(Recommended, st.floats(0, 400), numbers), min_size=1), numbers, numbers)
def test_the_number_stays_within_its_bounds_and_grows_step_by_step(
    replicas: int, before: list[Recommended], one: int, other: int
) -> None:
    scaling = Scaling(min(one, other), max(one, other), HALF)
    now = max(each.at_s for each in before)
    number = settled(scaling, replicas, before, now)
    assert scaling.least <= number <= scaling.most
    assert number <= max(scaling.least, 2 * replicas, replicas + MOST_MORE)
    if number not in (scaling.least, scaling.most, max(2 * replicas, replicas + MOST_MORE)):
        assert number in {replicas, *(each.replicas for each in before)}
