"""Kubernetes' words for updates and autoscaling, in those of EC2 Auto Scaling."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.model import (
    Amount,
    Container,
    Exec,
    Metric,
    Port,
    Probe,
    Resources,
    Scaling,
    Strategy,
    TcpSocket,
    Workload,
)
from i2kit.providers.aws.design import checks, record, revise
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.rollout import (
    Target,
    counted,
    cpu_target,
    notes,
    percentages,
    startup_s,
    warmup_s,
)
from i2kit.providers.aws.design.template import of_record, template

from .releases import AMI, NETWORK, OPTIONS, release

AMOUNTS = st.one_of(
    st.builds(Amount, st.integers(0, 300)),
    st.builds(lambda number: Amount(number, percent=True), st.integers(0, 100)),
)
STRATEGIES = st.builds(Strategy, st.just(False), AMOUNTS, AMOUNTS)
CPU = Scaling(2, 10, (Metric("cpu", percent=80),))


def workload(replicas: int = 3, **words: Any) -> Workload:
    return Workload("web", (Container("a", "a"),), replicas=replicas, **words)


@pytest.mark.parametrize(
    ("replicas", "there", "most"),
    [(1, 1, 2), (2, 2, 3), (3, 3, 4), (4, 3, 5), (10, 8, 13), (100, 75, 125)],
)
def test_without_a_strategy_updates_count_machines_as_kubernetes_does(
    replicas: int, there: int, most: int
) -> None:
    assert counted(percentages(workload(replicas)), replicas) == (there, most)


@given(STRATEGIES, st.integers(1, 400))
def test_aws_counts_the_machines_that_the_strategy_allows(strategy: Strategy, replicas: int) -> None:
    surge, missing = strategy.bounds(replicas)
    found = least, most = percentages(workload(replicas, strategy=strategy))
    assert 0 <= least <= 100 <= most <= 200
    assert most - least <= 100
    there, all_ = counted(found, replicas)
    # Never fewer than may be, nor more.
    assert there >= replicas - missing
    assert all_ <= replicas + surge
    if replicas <= 100:
        assert all_ == min(replicas + surge, 2 * replicas)
        assert there == replicas - missing or most - least == 100


@given(STRATEGIES, st.integers(1, 30), st.integers(1, 30))
def test_whatever_number_there_is_of_a_scaled_deployment(strategy: Strategy, least: int, more: int) -> None:
    one = workload(strategy=strategy, scaling=Scaling(least, least + more, ()))
    for replicas in range(least, least + more + 1):
        surge, missing = strategy.bounds(replicas)
        there, all_ = counted(percentages(one), replicas)
        assert there >= replicas - missing
        assert all_ <= replicas + surge


@given(STRATEGIES, st.integers(1, 400))
def test_what_aws_cannot_do_of_a_strategy_is_said_and_nothing_else(strategy: Strategy, replicas: int) -> None:
    one = workload(replicas, strategy=strategy)
    surge, missing = strategy.bounds(replicas)
    exact = counted(percentages(one), replicas) == (replicas - missing, replicas + surge)
    assert len(list(notes(one, OPTIONS))) == (0 if exact else 1)


def test_notes_of_what_differs_from_kubernetes_or_ends_an_update() -> None:
    assert list(notes(workload(strategy=Strategy(max_surge=Amount(5))), OPTIONS)) == [
        "updates have 3 to 6 machines, where maxSurge and maxUnavailable allow 3 to 8: AWS counts in whole "
        "percent, from 0 to 200, at most 100 apart"
    ]
    (note,) = notes(workload(strategy=Strategy(recreate=True)), OPTIONS)
    assert "before the last one has ended" in note
    assert percentages(workload(strategy=Strategy(recreate=True))) == (0, 100)
    (note,) = notes(workload(grace_s=7200), OPTIONS)
    assert "3600 s" in note
    watched = replace(OPTIONS, alarms=("errors", "slow"), bake_time_s=600)
    assert list(notes(workload(), watched)) == [
        "an update goes back when one of these alarms goes off: errors, slow",
        "an update is watched for 600 s more once all machines are new",
    ]
    (note,) = notes(workload(scaling=replace(CPU, down_window_s=60)), OPTIONS)
    assert "stabilization windows" in note


def test_a_machine_gets_the_time_that_its_pod_takes_to_start() -> None:
    slow = Probe(TcpSocket(80), initial_delay_s=60, period_s=20, failure_threshold=30)
    ready = Probe(TcpSocket(80), initial_delay_s=30, period_s=5, success_threshold=2)
    one, other = Container("a", "a", startup=slow, readiness=ready), Container("b", "b", readiness=ready)
    assert startup_s(replace(workload(), containers=(one, other))) == 60 + (60 + 600) + (30 + 10)
    # Its group takes away no machine that may still become ready.
    assert startup_s(workload(progress_deadline_s=900)) == 900
    assert startup_s(workload(progress_deadline_s=10)) == 300
    for checked, least in ((True, 30), (False, 60)):
        found = [warmup_s(workload(min_ready_s=seconds), checked=checked) for seconds in (0, 5, 90)]
        assert found == [least, least, 90]


@pytest.mark.parametrize(
    ("metrics", "millis", "cpus", "expected"),
    [
        # 80 % of half a CPU are 400 of 2,000.
        ((Metric("cpu", percent=80),), 500, 2, Target(20, 20)),
        ((Metric("cpu", percent=50),), 4000, 4, Target(50, 50)),
        ((Metric("cpu", value=300),), None, 2, Target(15, 15)),
        # The one that asks for the most machines.
        ((Metric("cpu", percent=80), Metric("cpu", value=300)), 500, 2, Target(15, 15)),
        ((Metric("cpu", percent=300),), 1000, 2, Target(100, 150)),
        ((Metric("cpu", percent=10),), 50, 2, Target(1, 0.25)),
        ((Metric("memory", percent=80),), 500, 2, None),
    ],
)
def test_a_target_of_what_is_requested_becomes_one_of_the_machine(
    metrics: tuple[Metric, ...], millis: int | None, cpus: int, expected: Target | None
) -> None:
    resources = Resources(cpu_request_millis=millis)
    found = cpu_target(
        release(resources=resources, scaling=Scaling(1, 3, metrics)).workload,
        cpus,
    )
    assert found == expected
    if found:
        assert bool(found.note) == (found.percent != found.asked_percent)


def test_with_autoscaling_no_number_is_in_the_template_but_where_it_may_go() -> None:
    asked = Resources(cpu_request_millis=500)
    made = template(release(resources=asked, scaling=CPU), AMI, NETWORK, None, OPTIONS)
    group = made["Resources"]["Group"]["Properties"]
    assert (group["MinSize"], group["MaxSize"]) == ("2", "10")
    assert "DesiredCapacity" not in group
    tracking = made["Resources"]["ScalingByCpu"]["Properties"]["TargetTrackingConfiguration"]
    assert tracking["TargetValue"] == 20
    # Machines are the same: autoscaling replaces none.
    plain = template(release(resources=asked), AMI, NETWORK, None, OPTIONS)
    assert made["Resources"]["LaunchTemplate"] == plain["Resources"]["LaunchTemplate"]


def test_what_cannot_be_scaled_on_aws_is_said_at_once() -> None:
    wanted = release(scaling=Scaling(1, 300, (Metric("cpu", percent=80), Metric("memory", percent=50))))
    options = replace(OPTIONS, instance_type="c5.large", alarms=tuple("abcdefghijk"))
    messages = [one.message for one in checks.problems(wanted, NETWORK, None, options)]
    assert [message.partition(": ")[2] or message for message in messages] == [
        "autoscaling by memory is not on aws yet: machines tell AWS their CPU alone",
        "it is to be scaled by percent of the CPU that it requests, and requests none",
        "autoscaling needs to know the processors of its machines, and c5.large is not in i2kit's table",
        "an update heeds 10 at most",
    ]
    # As many targets as there can be.
    database = release("db", ports=(Port(5432),), resources=Resources(cpu_request_millis=100))
    much = replace(database, workload=replace(database.workload, scaling=replace(CPU, most=501)))
    (problem,) = checks.problems(much, NETWORK, None, OPTIONS)
    assert "501 targets" in problem.message


def test_how_it_is_updated_can_be_read_back_from_the_template() -> None:
    wanted = release(
        strategy=Strategy(max_surge=Amount(2), max_unavailable=Amount(10, percent=True)),
        min_ready_s=5,
        progress_deadline_s=60,
        grace_s=7,
        resources=Resources(cpu_request_millis=500),
        scaling=CPU,
    )
    secret = Probe(Exec(("check", "hunter2")), initial_delay_s=7, period_s=3, failure_threshold=500)
    containers = (replace(wanted.workload.containers[0], startup=secret, readiness=secret),)
    wanted = replace(wanted, workload=replace(wanted.workload, containers=containers))
    options = replace(OPTIONS, alarms=("errors",), bake_time_s=60)
    one = Record(1, "", wanted, AMI, options, NETWORK)
    made = of_record(one)
    assert "hunter2" not in str(made)
    read = record.of(made)
    assert of_record(read) == made
    assert read.options == options
    back, told = read.release.workload, wanted.workload
    assert (back.strategy, back.scaling, back.grace_s) == (told.strategy, told.scaling, told.grace_s)
    assert startup_s(back) == startup_s(told) == 60 + 2 * 7 + 500 * 3 + 3
    recreated = replace(one, release=release(strategy=Strategy(recreate=True)))
    assert record.of(of_record(recreated)).release.workload.strategy == Strategy(recreate=True)


def test_a_deploy_takes_no_notice_of_how_many_autoscaling_has_made() -> None:
    place = revise.Place(NETWORK, None, AMI, OPTIONS)
    asked = Resources(cpu_request_millis=500)

    def files(replicas: int, scaling: Scaling | None = CPU) -> Any:
        return release(replicas=replicas, resources=asked, scaling=scaling)

    first = revise.released(None, files(5), place, (), "")
    assert first.record.release.workload.replicas == 5
    assert revise.released(first, files(9), place, (), "") is first
    assert revise.released(first, files(1), place, (), "") is first
    # Out of what there may be.
    smaller = revise.released(first, files(5, replace(CPU, most=4)), place, (), "")
    assert smaller.record.release.workload.replicas == 4
    assert [(one.verb, one.subject, one.reason) for one in revise.actions(first.template, smaller.template)][
        :1
    ] == [("change", "group of machines Group", "2 to 10 → 2 to 4 machines")]
    # And back to a number of its own.
    fixed = revise.released(first, files(3, None), place, (), "")
    assert fixed.template["Resources"]["Group"]["Properties"]["DesiredCapacity"] == "3"
    assert "ScalingByCpu" not in fixed.template["Resources"]
