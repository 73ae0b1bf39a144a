"""Jobs on the emulator: machines that end, runs that succeed or fail, and those that come at their times."""
# ruff: noqa: F401, F811 (fixtures)

import time
from collections.abc import Callable
from typing import Any

import pytest

from i2kit.errors import InputError, NotReadyError
from i2kit.events import Event, Replicas
from i2kit.model import Job, Port, Release
from i2kit.providers import Rollback, Scale
from i2kit.providers.aws.design import jobs
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.values import log_group
from tests.aws.conftest import Aws

from .releases import AMI, NETWORK, OPTIONS, release
from .test_provider import WEB, Make, built, deployed, do, left, make, plan


def test_schedules_are_numbers() -> None:
    for text, expected in (
        ("*/20 8-18 * * mon-fri", "0,20,40 8-18 * * 1-5"),
        ("@daily", "0 0 * * *"),
        ("5 0-3,7 ? jan,feb *", "5 0-3,7 * 1-2 *"),
    ):
        assert jobs.recurrence(text) == expected


@pytest.mark.parametrize(
    ("job", "ended", "phase"),
    [
        (Job(), [], "running"),
        (Job(), [("i-1", 0)], "succeeded"),
        (Job(2, 2), [("i-1", 0), ("i-1", 0)], "running"),
        (Job(2, 2), [("i-1", 0), ("i-2", 1), ("i-3", 0)], "succeeded"),
        (Job(most_failures=1), [("i-1", 1)], "running"),
        (Job(most_failures=1), [("i-1", 1), ("i-2", 2)], "failed"),
        (Job(retry=True), [("i-1", 1)], "failed"),
        (Job(schedule="0 3 * * *"), [("i-1", 1)], "scheduled"),
        (Job(suspended=True), [], "suspended"),
    ],
)
def test_what_comes_of_a_run(job: Job, ended: list[jobs.Ended], phase: str) -> None:
    assert jobs.phase(job, ended) == phase


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Job(5, 2, schedule="0 3 * * *"), "5 completions by 2 machine(s) at a time"),
        (Job(schedule="0 3 * * *", overlap="Replace"), "concurrencyPolicy Replace"),
        (Job(schedule="0 3 1 * 1"), "has days of the month and of the week"),
    ],
)
def test_what_a_group_cannot_do_is_a_problem(job: Job, message: str) -> None:
    (problem,) = jobs.problems(release(job=job).workload)
    assert message in problem.message


def test_machines_are_told_how_many_are_to_end_well() -> None:
    assert jobs.lines(Job(5, 2, most_failures=3), 4) == ("job=4 3", "job_pods=5 2")
    assert list(jobs.problems(release(job=Job(5, 2)).workload)) == []
    # Runs that share a log stream are told apart by their times.
    assert jobs.lines(Job(most_failures=3, schedule="@daily"), 4) == ("job=4 3", "job_window=43200")
    for text, window_s in (("0 3,9 * * *", 3 * 3600), ("*/10 * * * *", 300), ("50 23,0 * * *", 1800)):
        assert jobs.window_s(text) == window_s


def test_a_job_has_no_load_balancer() -> None:
    """It would find machines ill that have ended."""
    made = template(release(job=Job(), ports=(Port(80),)), AMI, NETWORK, None, OPTIONS)
    types = {one["Type"] for one in made["Resources"].values()}
    assert "AWS::ElasticLoadBalancingV2::LoadBalancer" not in types
    assert made["Resources"]["GroupRun1"]["Properties"]["HealthCheckType"] == "EC2"


class Machines:
    """Has new machines finish with these statuses, one after the other, as the guest does it."""

    def __init__(self, aws: Aws, run: int, *statuses: int) -> None:
        self.aws, self.run, self.statuses = aws, run, list(statuses)
        self.done: set[str] = set()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Replicas):
            return
        for one in event.instances:
            if one.id not in self.done and self.statuses:
                self.done.add(one.id)
                self.finish(one.id, self.statuses.pop(0))

    def finish(self, instance: str, status: int) -> None:
        logs = self.aws.client("logs")
        where = {"logGroupName": log_group(WEB), "logStreamName": jobs.stream(self.run)}
        if len(self.done) == 1:
            logs.create_log_stream(**where)
        said = {"timestamp": int(time.time() * 1000), "message": f"{instance} {status}"}
        logs.put_log_events(**where, logEvents=[said])
        self.aws.client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=instance, ShouldDecrementDesiredCapacity=not status
        )


def test_a_job_runs_to_its_end(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    provider = make()
    wanted = built("a", ports=(), replicas=1, job=Job(2, 2))
    found = do(provider, wanted, watch=Machines(aws, 1, 0, 1, 0))
    assert found
    assert (found.phase, found.replicas_wanted, found.instances) == ("succeeded", 0, ())
    assert plan(provider, wanted).actions == ()
    again = deployed(provider, wanted)
    assert (again.phase, again.revision) == ("succeeded", 1)
    assert list(provider.logs(WEB, container=None, replica=None, follow=False)) == []
    with pytest.raises(InputError, match="is a job"):
        plan(provider, Scale(2))
    other = do(provider, built("b", ports=(), replicas=1, job=Job()), watch=Machines(aws, 2, 0))
    assert other
    assert (other.phase, other.revision) == ("succeeded", 2)
    back = do(provider, Rollback(), watch=Machines(aws, 3, 0, 0))
    assert back
    assert (back.phase, back.revision, back.image) == ("succeeded", 3, "a" * 64)
    do(provider, None)
    assert left(aws) == []


def test_a_job_that_failed_stays_and_runs_again(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    provider = make()
    wanted = built("a", ports=(), replicas=1, job=Job(most_failures=1))
    with pytest.raises(NotReadyError, match=r"default/web failed\n  i-\w+: it ended with status 9"):
        do(provider, wanted, watch=Machines(aws, 1, 1, 9))
    seen = provider.observe(WEB)
    assert seen
    assert (seen.phase, seen.replicas_wanted) == ("failed", 0)
    planned = plan(provider, wanted)
    assert planned.actions
    assert "it failed last time, and runs once more" in planned.notes
    found = provider.apply(planned, Machines(aws, 2, 0))
    assert found
    assert (found.phase, found.revision) == ("succeeded", 2)
    do(provider, None)


def test_a_job_with_a_schedule(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    provider = make()
    words: dict[str, Any] = {"ports": (), "replicas": 1}
    found = deployed(provider, built("a", job=Job(schedule="@hourly", overlap="Forbid"), **words))
    assert (found.phase, found.instances) == ("scheduled", ())
    scaling = aws.client("autoscaling")

    def times() -> list[tuple[str, str, int]]:
        made = scaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]
        return [(one["Recurrence"], one["TimeZone"], one["DesiredCapacity"]) for one in made]

    assert times() == [("0 * * * *", "Etc/UTC", 1)]
    later = Job(schedule="0 4 * * *", time_zone="Europe/Madrid")
    assert deployed(provider, built("a", job=later, **words)).revision == 2
    assert times() == [("0 4 * * *", "Europe/Madrid", 1)]
    stopped = Job(schedule="0 4 * * *", time_zone="Europe/Madrid", suspended=True)
    assert deployed(provider, built("a", job=stopped, **words)).phase == "suspended"
    assert times() == []
    do(provider, None)
