"""Updates on an emulated AWS: as the strategy says, given up where nothing comes of them, and autoscaling."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from i2kit.errors import InputError, RolloutError
from i2kit.events import Event, Replicas
from i2kit.model import Amount, Metric, Port, Release, Resources, Scaling, Strategy
from i2kit.providers import Rollback, Scale
from i2kit.providers.aws import AwsProvider
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.running.stacks import Pace
from i2kit.providers.aws.running.update import Patience
from tests.aws.conftest import Aws

from .test_provider import PACE, WEB, Make, amis, built, deployed, do, make, plan, running, subjects, weights

__all__ = ["built", "make"]

Built = Callable[..., Release]

ASKED = Resources(cpu_request_millis=500)
ALL_AT_ONCE = Strategy(max_surge=Amount(100, percent=True), max_unavailable=Amount(0))
SCALING = Scaling(2, 10, (Metric("cpu", percent=80),))


@dataclass(slots=True)
class Seen:
    """A Watcher that keeps what is told of the machines, and does something about the new ones once."""

    image: str = ""
    do: Callable[[str], object] = lambda id_: None
    told: list[Replicas] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Replicas):
            return
        self.told.append(event)
        for one in event.instances:
            if one.image == self.image and one.id not in self.done:
                self.done.add(one.id)
                self.do(one.id)


def never_healthy(aws: Aws, release: Release) -> None:
    """Which image is bad is said by its AMI, so that is there first."""
    assert release.disk
    found = ami.publish(ami.clients(connect()), release.disk, image=release.image.id, architecture="x86_64")
    aws.emulator.control("unhealthy", image=found.ami.id)


def writing(aws: Aws, *lines: str) -> Callable[[str], None]:
    """What a machine's container says."""

    def write(id_: str) -> None:
        logs, where = aws.client("logs"), {"logGroupName": "/i2kit/i2kit-web"}
        now = int(time.time() * 1000)
        logs.create_log_stream(logStreamName=f"{id_}/nginx", **where)
        events = [{"timestamp": now, "message": line} for line in lines]
        logs.put_log_events(logStreamName=f"{id_}/nginx", logEvents=events, **where)

    return write


def serves(provider: AwsProvider, aws: Aws, image: str, replicas: int = 3) -> None:
    found = provider.observe(WEB)
    assert found
    assert {one.image for one in found.instances} == {image * 64}
    assert found.replicas_ready == found.replicas_wanted == replicas == len(running(aws))


def test_an_update_that_aws_gives_up_goes_back_and_says_what_the_new_machines_said(
    aws: Aws, make: Make, built: Built
) -> None:
    deployed(make(), built("a"))
    kept = amis(aws)
    never_healthy(aws, built("b"))
    seen = Seen("b" * 64, writing(aws, "starting", "no such file: /etc/shop.conf"))
    # Not being told for once stops nothing.
    aws.emulator.control("fault", code="AccessDenied", status=403, action="DescribeAutoScalingGroups", skip=4)
    with pytest.raises(RolloutError) as raised:
        do(make(), built("b"), watch=seen)
    assert raised.value.exit_code == 3
    text = raised.value.message
    assert "failed to become healthy" in text
    assert "port 80: Health checks failed (Target.FailedHealthChecks)" in text
    assert text.splitlines()[-1] == "    nginx: no such file: /etc/shop.conf"
    last = make(new=True).history(WEB)[-1]
    assert (last.number, last.outcome) == (2, "failed")
    assert "failed to become healthy" in last.reason
    assert last.reason.endswith("nginx: no such file: /etc/shop.conf")
    serves(make(), aws, "a")
    assert amis(aws) == kept
    # All the while as many of the old ones as there have to be, and no more in all than there may be.
    old = [sum(one.ready and one.image == "a" * 64 for one in each.instances) for each in seen.told]
    assert min(old) == 3
    assert {len(each.instances) for each in seen.told} == {3, 4}
    assert {each.wanted for each in seen.told} == {3}
    assert {one.state for each in seen.told for one in each.instances if one.image != "a" * 64} == {
        "starting"
    }
    # What was noted goes with the deployment.
    do(make(), None)
    assert list(make()._settings.state_dir.rglob("*.json")) == []


class Clock:
    """A clock that goes on by some minutes with each look at it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 195
        return self.seconds


def test_what_comes_further_has_time_again_and_what_is_complete_all_the_time() -> None:
    patience = Patience()
    steps = [
        (0, 3, 0),  # nothing happened yet
        (0, 3, 500),
        (1, 3, 700),  # the first is ready
        (1, 2, 800),  # and an old one went
        (1, 2, 1300),
        (3, 1, 1400),
        (2, 1, 1500),  # one is not ready for a moment
        (3, 0, 1600),
        (2, 0, 9000),  # it bakes
    ]
    lost = [patience.lost_s(ready, left, 3, now) for ready, left, now in steps]
    assert lost == [0, 500, 0, 0, 500, 0, 100, 0, 0]
    assert patience.complete


def test_an_update_that_comes_no_further_is_cancelled_at_the_deadline(
    aws: Aws, make: Make, built: Built
) -> None:
    deployed(make(), built("a"))
    never_healthy(aws, built("b"))
    provider = make(new=True)
    provider.pace = Pace(0.0, 0.0, PACE.wait, Clock())
    with pytest.raises(RolloutError, match=r"Health checks failed .*\(nothing came further for 900 s\)"):
        do(provider, built("b", progress_deadline_s=900))
    assert "cloudformation:CancelUpdateStack" in aws.emulator.control("calls")
    assert "nothing came further for 900 s" in make().history(WEB)[-1].reason
    serves(make(), aws, "a")


@pytest.mark.parametrize("ports", [(Port(80),), ()], ids=["checked", "worker"])
def test_a_new_machine_whose_container_crashes_again_and_again_ends_the_update(
    aws: Aws, make: Make, built: Built, ports: tuple[Port, ...]
) -> None:
    deployed(make(), built("a", ports=ports))
    never_healthy(aws, built("b"))

    def crash(id_: str) -> None:
        writing(aws, "listen tcp :80: bind: permission denied")(id_)
        logs, where = aws.client("logs"), {"logGroupName": "/i2kit/i2kit-web"}
        where["logStreamName"] = f"{id_}/machine"
        logs.create_log_stream(**where)
        now = int(time.time() * 1000)
        lines = ["booted", *(f"exited nginx 7 {delay} " for delay in (1, 2, 4)), "usage 3 1048576"]
        logs.put_log_events(logEvents=[{"timestamp": now, "message": line} for line in lines], **where)

    seen = Seen("b" * 64, crash)
    with pytest.raises(RolloutError) as raised:
        do(make(), built("b", ports=ports), watch=seen)
    bad = raised.value.message.partition("i-")[2].partition(":")[0]
    assert f"i-{bad}" in seen.done
    said = f"i-{bad}: container nginx ended with exit status 7, starts again in 4 s"
    first, *log = raised.value.message.splitlines()
    assert first == f"the update of the stack i2kit-web failed and was rolled back: {said}"
    assert "    nginx: listen tcp :80: bind: permission denied" in log
    assert make().history(WEB)[-1].reason.startswith(said)
    assert next(one for each in seen.told for one in each.instances if one.state == "failed").detail in said
    serves(make(), aws, "a")


def test_a_new_machine_that_powers_itself_off_ends_the_update_at_once(
    aws: Aws, make: Make, built: Built
) -> None:
    deployed(make(), built("a"))
    # A second try with the same image is not judged by the first one's machines.
    for _ in range(2):
        seen = Seen("b" * 64, lambda id_: aws.emulator.control("power_off", instance=id_))
        with pytest.raises(RolloutError, match=r"i-[0-9a-f]+: .* powered itself off") as raised:
            do(make(), built("b"), watch=seen)
        assert any(id_ in raised.value.message for id_ in seen.done)
        serves(make(), aws, "a")
    assert [one.outcome for one in make().history(WEB)] == ["serving", "failed", "failed"]
    assert deployed(make(), built("b")).image == "b" * 64


def test_alarms_and_bake_time(aws: Aws, make: Make, built: Built) -> None:
    watched: dict[str, Any] = {"alarms": ("web: errors", "slow"), "bake_time_s": 600}
    deployed(make(), built("a"))
    with pytest.raises(InputError) as raised:
        plan(make(**watched), built("b"))
    assert [one.message for one in raised.value.problems] == [
        f"there is no alarm `{name}` in us-east-1" for name in watched["alarms"]
    ]
    client = aws.client("cloudwatch")
    for name in watched["alarms"]:
        client.put_metric_alarm(
            AlarmName=name,
            MetricName="errors",
            Namespace="web",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        )
    planned = plan(make(**watched), built("b"))
    assert planned.notes == (
        "an update goes back when one of these alarms goes off: web: errors, slow",
        "an update is watched for 600 s more once all machines are new",
    )
    client.set_alarm_state(AlarmName="slow", StateValue="ALARM", StateReason="test")
    assert "the alarm `slow` has gone off" in plan(make(**watched), built("b")).notes[0]
    with pytest.raises(RolloutError, match=r"ALARM state: \[slow\]"):
        do(make(**watched), built("b"))
    serves(make(), aws, "a")
    client.set_alarm_state(AlarmName="slow", StateValue="OK", StateReason="test")
    assert deployed(make(**watched), built("b")).image == "b" * 64
    # A roll back heeds the same, and the same again has nothing to do.
    assert plan(make(**watched), built("b")).actions == ()
    deployed(make(**watched), Rollback())
    template = aws.client("cloudformation").get_template(StackName="i2kit-web")["TemplateBody"]
    preferences = template["Resources"]["Group"]["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
    assert preferences == {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 134,
        "AlarmSpecification": {"Alarms": ["web: errors", "slow"]},
        "BakeTime": 600,
        "SkipMatching": True,
    }


def test_recreate_has_no_old_and_new_machines_at_once(aws: Aws, make: Make, built: Built) -> None:
    recreate = Strategy(recreate=True)
    deployed(make(), built("a", strategy=recreate))
    assert "before the last one has ended" in plan(make(), built("b", strategy=recreate)).notes[0]
    seen = Seen()
    do(make(), built("b", strategy=recreate), watch=seen)
    serves(make(), aws, "b")
    together = [{one.image for one in each.instances if one.state != "draining"} for each in seen.told]
    assert {"a" * 64} in together
    assert set() in together
    assert {"b" * 64} in together
    assert max(map(len, together)) == 1


def test_autoscaling_decides_how_many_there_are(aws: Aws, make: Make, built: Built) -> None:
    provider = make(hosted_zone="i2kit.internal")

    def scaled(image: str, replicas: int = 4, scaling: Scaling | None = SCALING, **words: Any) -> Release:
        return built(
            image, replicas=replicas, resources=ASKED, scaling=scaling, strategy=ALL_AT_ONCE, **words
        )

    client = aws.client("autoscaling")

    def set_by_aws(count: int) -> None:
        (found,) = client.describe_auto_scaling_groups()["AutoScalingGroups"]
        client.set_desired_capacity(AutoScalingGroupName=found["AutoScalingGroupName"], DesiredCapacity=count)

    planned = plan(provider, scaled("a"))
    assert "AWS scales it between 2 and 10 machines, to 20 % of the CPU of a t3.nano" in planned.notes
    assert planned.cost
    assert "up to 8 more machines ($" in str(planned.cost)
    deployed(provider, scaled("a"))
    serves(provider, aws, "a", 4)
    assert weights(aws, "web.i2kit.internal") == {"i2kit-web": 2}
    (policy,) = client.describe_policies()["ScalingPolicies"]
    assert policy["TargetTrackingConfiguration"]["TargetValue"] == 20

    # Neither another image nor an update that fails brings the number back, whatever the files say.
    set_by_aws(6)
    assert plan(provider, scaled("a", replicas=1)).actions == ()
    deployed(provider, scaled("b"))
    serves(provider, aws, "b", 6)
    set_by_aws(7)
    never_healthy(aws, scaled("c"))
    with pytest.raises(RolloutError):
        do(provider, scaled("c"))
    serves(provider, aws, "b", 7)
    deployed(provider, Rollback())
    serves(provider, aws, "a", 7)

    # By hand, as far as it may go.
    by_hand = plan(provider, Scale(3))
    assert subjects(by_hand) == {"group of machines Group": "scale"}
    assert by_hand.actions[0].reason == "7 → 3 machines"
    deployed(provider, Scale(3))
    serves(provider, aws, "a", 3)
    assert plan(provider, Scale(3)).actions == ()
    for wrong in (1, 11):
        with pytest.raises(InputError, match="between 2 and 10 replicas"):
            plan(provider, Scale(wrong))

    # Other limits bring it between them; without autoscaling it has the files' number again.
    deployed(provider, scaled("a", scaling=replace(SCALING, least=5)))
    serves(provider, aws, "a", 5)
    deployed(provider, scaled("d", replicas=1, scaling=None))
    serves(provider, aws, "d", 1)
    assert client.describe_policies()["ScalingPolicies"] == []
    # An earlier revision is as it was, between its limits; a later one without any has as many as there are.
    deployed(provider, Rollback())
    serves(provider, aws, "a", 5)
    set_by_aws(6)
    deployed(provider, Rollback())
    serves(provider, aws, "d", 6)
