"""What runs on an emulated AWS, as it is seen: machines, why they are not ready, waiting, and logs."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest

from i2kit.errors import NotReadyError, OperationError
from i2kit.events import Event, Finished, Note, Progress, Replicas, Started, ignore
from i2kit.model import Deployment, Port
from i2kit.providers.aws.access import calls
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.design import record
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.template import endpoints_of, of_record, tags
from i2kit.providers.aws.running import health, observe, stacks
from i2kit.providers.aws.running.stacks import DEPLOYMENT, Pace, Stack
from i2kit.providers.aws.values import Ami, stack_name
from tests.aws.conftest import Aws
from tests.aws.releases import OPTIONS, release, service
from tests.aws.test_templates_made import network

AT_ONCE = Pace(first_s=0.0, longest_s=0.0, wait=lambda seconds: None)
KEY = "default/web"
SHOP = service("shop", (80, 80, "http"), public=True)


class Cloud:
    """An account of an emulated AWS, with what tests deploy there."""

    def __init__(self, aws: Aws, folder: Path) -> None:
        self.aws = aws
        self.account = Account(connect())
        self.folder = folder
        self.network, self.zone = network(aws)

    def ami(self, name: str, key: str = KEY) -> Ami:
        """An AMI of a disk of its own, with the machine image of this name."""
        disk = self.folder / f"{name}.raw"
        with disk.open("wb") as file:
            file.write(name.encode() * 100)
            file.truncate(2 << 20)
        given = ((DEPLOYMENT, key),)
        images = self.account.images
        return ami.publish(images, disk, image=name, architecture="x86_64", tags=given).ami

    def record(self, image: Ami, before: Record | None = None, name: str = "web", **words: Any) -> Record:
        wanted = release(name, **words)
        made = Record(1, "2026-11-21T08:00:00Z", wanted, image, OPTIONS, self.network, self.zone)
        return record.after(before, replace(made, implied=record.is_implied(wanted)))

    def begin(self, one: Record) -> Stack:
        """Start to make or change a stack; each time somebody asks for it, it goes one step further."""
        given = [{"Key": key, "Value": value} for key, value in tags(one.whole).items()]
        words: dict[str, Any] = {"Capabilities": ["CAPABILITY_IAM"], "Tags": given}
        name, client = stack_name(one.key), self.account.cloudformation
        do = client.update_stack if stacks.find(client, name) else client.create_stack
        do(StackName=name, TemplateBody=dumps(of_record(one)), **words)
        return self.stack(one)

    def deploy(self, one: Record) -> Stack:
        self.begin(one)
        self.aws.emulator.control("settle")
        stack = self.stack(one)
        assert stack.serves, stack
        return stack

    def stack(self, one: Record) -> Stack:
        found = stacks.find(self.account.cloudformation, stack_name(one.key))
        assert found
        return found

    def running(self, **words: Any) -> tuple[Stack, Record]:
        """One deployment of an image `first`."""
        made = self.record(self.ami("first"), **words)
        return self.deploy(made), made

    def ids(self) -> list[str]:
        return [one.id for one in observe.deployments(self.account)[0].instances]

    def group(self) -> str:
        (found,) = observe.groups_of(self.account)[KEY]
        return str(found["AutoScalingGroupName"])

    def log(self, stream: str, *events: tuple[int, str]) -> None:
        """Lines of a stream, with their age in seconds."""
        logs, now = self.account.logs, int(time.time() * 1000)
        group = "/i2kit/i2kit-web"
        known = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]
        if not known:
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        made = [{"timestamp": now - age * 1000, "message": line} for age, line in events]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=made)


@pytest.fixture
def cloud(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(ami, "_pauses", lambda patience_s: repeat(0.0, 100))
    return Cloud(aws, tmp_path)


# --- what is decided --------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def target(state: str, reason: str = "", description: str = "", port: int = 80) -> dict[str, Any]:
    about = {"State": state, "Reason": reason, "Description": description}
    return {"Target": {"Id": "i-1", "Port": port}, "TargetHealth": {k: v for k, v in about.items() if v}}


INITIAL = target("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
DRAINING = target("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
REFUSED = target("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
CODES = target("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]", 81)
FINE = target("healthy")


@pytest.mark.parametrize(
    ("lifecycle", "power", "found", "young", "wanted"),
    [
        ("Pending", "pending", [], True, ("starting", "")),
        ("Pending:Wait", "running", [], True, ("starting", "")),
        ("InService", "pending", [FINE], True, ("starting", "")),
        ("InService", "", [], True, ("starting", "")),
        ("InService", "running", [], True, ("ready", "")),
        ("InService", "running", [FINE, FINE], True, ("ready", "")),
        ("InService", "running", [FINE, {}], True, ("starting", "")),
        (
            "InService",
            "running",
            [FINE, INITIAL],
            True,
            ("starting", "port 80: Target registration is in progress (Elb.RegistrationInProgress)"),
        ),
        (
            "InService",
            "running",
            [REFUSED],
            True,
            ("starting", "port 80: Health checks failed (Target.FailedHealthChecks)"),
        ),
        (
            "InService",
            "running",
            [REFUSED, CODES, FINE],
            False,
            (
                "failed",
                "port 80: Health checks failed (Target.FailedHealthChecks); "
                "port 81: Health checks failed with these codes: [503] (Target.ResponseCodeMismatch)",
            ),
        ),
        ("InService", "stopped", [FINE], False, ("failed", "it is stopped")),
        ("Standby", "running", [FINE], False, ("starting", "it is Standby")),
        ("Terminating:Wait", "running", [FINE], False, ("draining", "")),
        ("InService", "shutting-down", [FINE], False, ("draining", "")),
        (
            "InService",
            "running",
            [FINE, DRAINING],
            False,
            ("draining", "port 80: Target deregistration is in progress (Target.DeregistrationInProgress)"),
        ),
    ],
)
def test_state_of_a_machine(
    lifecycle: str, power: str, found: list[Any], young: bool, wanted: tuple[str, str]
) -> None:
    member = {"LifecycleState": lifecycle, "HealthStatus": "Healthy"}
    vm = {"State": {"Name": power}} if power else {}
    assert health.state_of(member, vm, found, young=young) == wanted


def test_what_its_group_gave_up_has_failed_however_young() -> None:
    member = {"LifecycleState": "InService", "HealthStatus": "Unhealthy"}
    vm = {"State": {"Name": "running"}}
    assert health.state_of(member, vm, [], young=True) == ("failed", "its checks by EC2 fail")
    assert health.state_of(member, vm, [REFUSED], young=True)[0] == "failed"


def test_machines_are_in_the_order_of_their_start_and_young_for_the_grace_period() -> None:
    members = [
        {"InstanceId": f"i-{n}", "LifecycleState": "InService", "HealthStatus": "Healthy"} for n in (1, 2, 3)
    ]
    group = {"Instances": members, "TargetGroupARNs": ["arn"], "HealthCheckGracePeriod": 300}
    ages = {"i-1": 299, "i-2": 301, "i-3": 300}
    vms = {
        id_: {
            "ImageId": "ami-1",
            "LaunchTime": NOW - timedelta(seconds=age),
            "PrivateIpAddress": f"10.0.0.{age}",
            "State": {"Name": "running"},
        }
        for id_, age in ages.items()
    }
    targets = {"arn": [{**REFUSED, "Target": {"Id": id_, "Port": 80}} for id_ in ages]}
    found = health.machines([group], vms, targets, {"ami-1": "image"}, NOW)
    assert [(one.instance.id, one.instance.state) for one in found] == [
        ("i-2", "failed"),
        ("i-3", "failed"),
        ("i-1", "starting"),
    ]
    assert (found[0].ami, found[0].instance.image) == ("ami-1", "image")
    assert found[0].instance.started_at == "2026-11-21T07:54:59Z"
    assert found[0].instance.address == "10.0.0.301"


def test_why_no_machine_is_launched() -> None:
    said = "You have requested more vCPU capacity than your current vCPU limit of 5 allows."
    failed = {"StatusCode": "Failed", "StatusMessage": said, "Description": "Launching a new EC2 instance"}
    assert health.launch_failure([failed, {"StatusCode": "Successful"}]) == said
    assert health.launch_failure([{"StatusCode": "InProgress"}, failed]) == ""
    assert health.launch_failure([]) == ""


# --- deployments ------------------------------------------------------------------------------


def test_deployments_are_seen_in_few_calls_that_only_read(cloud: Cloud) -> None:
    image = cloud.ami("first")
    made = [
        cloud.record(image, name="worker", ports=(), replicas=1),
        cloud.record(image, services=(SHOP, service("web", (80, 80, None)))),
        cloud.record(image, name="db", ports=(Port(5432),), replicas=2, namespace="shop"),
    ]
    found = [cloud.deploy(one) for one in made]
    before = len(cloud.aws.emulator.control("calls"))
    seen = observe.deployments(cloud.account)
    called = Counter(call.partition(":")[2] for call in cloud.aws.emulator.control("calls")[before:])
    # What is asked for each alone: the template, and the targets of each target group.
    assert called.pop("GetTemplate") == 3
    assert called.pop("DescribeTargetHealth") == 2
    assert called == {"DescribeStacks": 1, "DescribeAutoScalingGroups": 1, "DescribeInstances": 1}

    assert [one.key for one in seen] == ["default/web", "default/worker", "shop/db"]
    web, worker, db = seen
    assert [(one.replicas_wanted, one.replicas_ready) for one in seen] == [(3, 3), (1, 1), (2, 2)]
    assert (web.provider, web.revision, web.image) == ("aws", 1, "first")
    assert (web.containers, web.labels) == (("nginx",), (("app", "web"),))
    assert web.services == (SHOP,), "the one of its own name came by itself"
    outputs = cloud.account.cloudformation.describe_stacks(StackName=found[1].id)["Stacks"][0]["Outputs"]
    assert set(web.endpoints) == set(endpoints_of(outputs))
    assert {(one.service, one.public) for one in web.endpoints} == {(SHOP.key, True), (KEY, False)}
    assert worker.endpoints == ()
    assert db.endpoints[0].url.startswith("tcp://")
    for one in web.instances:
        assert (one.state, one.ready, one.image, one.detail) == ("ready", True, "first", "")
        assert one.address.startswith("10.78.")
        assert datetime.fromisoformat(one.started_at).tzinfo == UTC
    assert len({one.id for each in seen for one in each.instances}) == 6
    assert [observe.deployment(cloud.account, *pair) for pair in zip(found, made, strict=True)] == [
        worker,
        web,
        db,
    ]


def test_nothing_is_deployed(aws: Aws) -> None:
    assert observe.deployments(Account(connect())) == ()


def test_failing_targets_are_failed_when_their_grace_is_over(cloud: Cloud) -> None:
    stack, made = cloud.running()
    cloud.aws.emulator.control("unhealthy", image=made.ami.id)
    said = "port 80: Health checks failed (Target.FailedHealthChecks)"

    def states(found: Deployment) -> set[tuple[str, bool, str]]:
        return {(one.state, one.ready, one.detail) for one in found.instances}

    young = observe.deployment(cloud.account, stack, made)
    assert (states(young), young.replicas_ready) == ({("starting", False, said)}, 0)
    cloud.account.autoscaling.update_auto_scaling_group(
        AutoScalingGroupName=cloud.group(), HealthCheckGracePeriod=0
    )
    time.sleep(1)  # launch times have whole seconds
    assert states(observe.deployment(cloud.account, stack, made)) == {("failed", False, said)}


def test_during_an_update_each_machine_shows_its_own_image(cloud: Cloud) -> None:
    stack, first = cloud.running()
    # Without history, so that what is in no record is asked for.
    second = cloud.record(cloud.ami("second"))
    cloud.begin(second)
    seen = []
    for _ in range(20):
        found = observe.deployments(cloud.account)[0]
        seen.append(Counter(one.image for one in found.instances))
        stacks.find(cloud.account.cloudformation, stack.id)
    assert {"first": 3, "second": 1} in seen
    assert {"first": 1, "second": 3} in seen
    found = observe.deployment(cloud.account, stack, second)
    assert Counter(one.image for one in found.instances) == {"second": 3}
    assert first.ami.id != second.ami.id


def test_what_never_served_is_shown_with_what_is_known(cloud: Cloud) -> None:
    made = cloud.record(cloud.ami("first"))
    cloud.aws.emulator.control("break_resource", resource="Group", action="CREATE", reason="no")
    given = [{"Key": key, "Value": value} for key, value in tags(made.whole).items()]
    client = cloud.account.cloudformation
    words: dict[str, Any] = {"Capabilities": ["CAPABILITY_IAM"], "Tags": given}
    for on_failure in ("ROLLBACK", "DO_NOTHING"):
        client.create_stack(
            StackName="i2kit-web", TemplateBody=dumps(of_record(made)), OnFailure=on_failure, **words
        )
        for _ in range(2):
            (found,) = observe.deployments(cloud.account)
            assert (found.key, found.revision, found.image) == (KEY, 1, "first")
            assert (found.replicas_wanted, found.replicas_ready) == (3, 0)
            assert (found.endpoints, found.instances) == ((), ())
            cloud.aws.emulator.control("settle")
        client.delete_stack(StackName="i2kit-web")
        cloud.aws.emulator.control("settle")
    client.create_change_set(
        StackName="i2kit-web",
        ChangeSetName="i2kit-1",
        ChangeSetType="CREATE",
        TemplateBody=dumps(of_record(made)),
        **words,
    )
    assert observe.deployments(cloud.account) == ()


def test_a_record_that_cannot_be_read_hides_nothing(cloud: Cloud) -> None:
    made = cloud.record(cloud.ami("first"))
    body = of_record(made)
    body["Metadata"]["i2kit"]["Format"] = 99
    client = cloud.account.cloudformation
    stacks.deploy(client, "i2kit-web", dumps(body), tags(made.whole), ignore, pace=AT_ONCE)
    (found,) = observe.deployments(cloud.account)
    assert (found.key, found.revision, found.replicas_ready) == (KEY, 0, 3)
    assert (found.labels, {one.image for one in found.instances}) == ((("app", "web"),), {"first"})


def test_refusals_are_explained(cloud: Cloud) -> None:
    cloud.running()
    actions = ("DescribeStacks", "GetTemplate", "DescribeAutoScalingGroups", "DescribeTargetHealth")
    for action in (*actions, "DescribeInstances"):
        cloud.aws.emulator.control("fault", code="AccessDenied", status=403, action=action)
        with pytest.raises(OperationError, match="AccessDenied") as raised:
            observe.deployments(cloud.account)
        assert "may not do this" in str(raised.value.hint)


# --- waiting ----------------------------------------------------------------------------------


class Turns:
    """A pace and its clock: each pause takes a minute, after which `then` has its turn."""

    def __init__(self, then: Callable[[int], object] = lambda turn: None) -> None:
        self._then, self._count = then, 0

    def wait(self, seconds: float) -> None:
        self._count += 1
        self._then(self._count)

    def clock(self) -> float:
        return self._count * 60.0

    @property
    def minutes(self) -> int:
        return self._count


def waited(cloud: Cloud, stack: Stack, made: Record, turns: Turns, events: list[Event]) -> Deployment:
    pace = Pace(first_s=0.0, longest_s=0.0, wait=turns.wait)
    return observe.wait(cloud.account, stack, made, events.append, pace, turns.clock)


def test_what_serves_is_not_waited_for(cloud: Cloud) -> None:
    stack, made = cloud.running()
    turns, events = Turns(), list[Event]()
    found = waited(cloud, stack, made, turns, events)
    assert (found.replicas_ready, turns.minutes) == (3, 0)
    assert events == [
        Started(KEY, f"waiting for the machines of {KEY}"),
        Replicas(KEY, 3, found.instances),
        Finished(KEY, "3 of 3 ready"),
    ]


def test_waits_as_long_as_it_gets_better(cloud: Cloud) -> None:
    stack, made = cloud.running()
    ids = cloud.ids()
    for id_ in ids:
        cloud.account.autoscaling.set_instance_health(InstanceId=id_, HealthStatus="Unhealthy")

    def mend(turn: int) -> None:
        """One every nine minutes."""
        if turn % 9 == 0:
            cloud.account.autoscaling.set_instance_health(
                InstanceId=ids[turn // 9 - 1], HealthStatus="Healthy"
            )

    turns, events = Turns(mend), list[Event]()
    assert waited(cloud, stack, made, turns, events).replicas_ready == 3
    assert turns.minutes == 27
    assert [event for event in events if isinstance(event, Progress)] == [
        Progress(KEY, done, 3, "items") for done in (0, 1, 2)
    ]


def test_what_never_gets_healthy_is_given_up_with_its_last_words(cloud: Cloud) -> None:
    stack, made = cloud.running()
    cloud.aws.emulator.control("unhealthy", image=made.ami.id)
    first = cloud.ids()[0]
    cloud.log(f"{first}/nginx", *((60 - n, f"line {n}") for n in range(12)), (1, "bind: \x1b[1mdenied"))
    cloud.log(f"{first}/machine", (2, "nginx ended: 1"))
    turns, events = Turns(), list[Event]()
    with pytest.raises(NotReadyError) as raised:
        waited(cloud, stack, made, turns, events)
    said = raised.value.message.splitlines()
    assert said[:2] == [
        f"{KEY} did not become ready",
        f"  {first}: port 80: Health checks failed (Target.FailedHealthChecks)",
    ]
    assert said[2] == "    nginx: line 4", "no more than the last ten lines"
    assert said[-2:] == ["    machine: nginx ended: 1", "    nginx: bind: ?[1mdenied"]
    assert "i2kit logs web" in str(raised.value.hint)
    assert turns.minutes == 11
    # Said once, not each time.
    assert [event for event in events if isinstance(event, Note)] == [Note(said[1].strip())]
    assert stacks.find(cloud.account.cloudformation, stack.id), "what becomes of it is for others to decide"


def test_without_logs_the_console_is_shown(cloud: Cloud) -> None:
    stack, made = cloud.running()
    cloud.aws.emulator.control("unhealthy", image=made.ami.id)
    with pytest.raises(NotReadyError, match=r"\n    Enabling fast FPU save and restore\.\.\. done\."):
        waited(cloud, stack, made, Turns(), [])
    for action in ("DescribeLogStreams", "GetConsoleOutput"):
        cloud.aws.emulator.control("fault", code="AccessDenied", status=403, action=action, times=9)
    with pytest.raises(NotReadyError) as raised:
        observe.wait(cloud.account, stack, made, ignore, AT_ONCE, Clock())
    assert raised.value.message.endswith("(Target.FailedHealthChecks)")


class Clock:
    """An hour passes between any two looks."""

    def __init__(self) -> None:
        self._hours = 0

    def __call__(self) -> float:
        self._hours += 1
        return self._hours * 3600.0


def test_some_are_ready_and_some_are_not(cloud: Cloud) -> None:
    stack, made = cloud.running()
    last = cloud.ids()[-1]
    cloud.account.autoscaling.set_instance_health(InstanceId=last, HealthStatus="Unhealthy")
    with pytest.raises(OperationError, match=rf"only 2 of 3 machines .*\n  {last}: its checks") as raised:
        waited(cloud, stack, made, Turns(), [])
    assert not isinstance(raised.value, NotReadyError)


def test_machines_that_are_not_launched(cloud: Cloud) -> None:
    stack, made = cloud.running()
    sizes = {"MinSize": 2, "MaxSize": 2, "DesiredCapacity": 2}
    cloud.account.autoscaling.update_auto_scaling_group(AutoScalingGroupName=cloud.group(), **sizes)
    refused: dict[str, Any] = {"action": "DescribeScalingActivities", "code": "AccessDenied", "status": 403}
    for fault in ({}, refused):
        if fault:
            cloud.aws.emulator.control("fault", **fault)
        events: list[Event] = []
        with pytest.raises(OperationError, match=r"only 2 of 3 machines .*\n  it has 2 of 3 machines"):
            waited(cloud, stack, made, Turns(), events)
        assert not any(isinstance(event, Note) for event in events)
    assert "autoscaling:DescribeScalingActivities" in cloud.aws.emulator.control("calls")


def test_others_are_waited_for_until_they_go(cloud: Cloud) -> None:
    stack, _ = cloud.running()
    second = cloud.record(cloud.ami("second"))
    cloud.begin(second)
    client = cloud.account.cloudformation
    turns, events = Turns(lambda turn: client.describe_stacks(StackName=stack.id)), list[Event]()
    found = waited(cloud, stack, second, turns, events)
    assert turns.minutes > 3
    assert {one.image for one in found.instances} == {"second"}
    assert [event.done for event in events if isinstance(event, Progress)][-1] == 3


def test_a_deployment_that_is_removed_meanwhile(cloud: Cloud) -> None:
    stack, made = cloud.running()
    cloud.aws.emulator.control("unhealthy", image=made.ami.id)
    client = cloud.account.cloudformation

    def remove(turn: int) -> None:
        client.delete_stack(StackName=stack.id)
        cloud.aws.emulator.control("settle")

    with pytest.raises(OperationError, match="removed by another command"):
        waited(cloud, stack, made, Turns(remove), [])


def test_no_machine_is_wanted(cloud: Cloud) -> None:
    stack, made = cloud.running(replicas=0)
    found = waited(cloud, stack, made, Turns(), [])
    assert (found.replicas_wanted, found.instances) == (0, ())


# --- logs -------------------------------------------------------------------------------------


def test_lines_of_all_machines_by_time(cloud: Cloud) -> None:
    cloud.running(replicas=2)
    one, two = cloud.ids()
    cloud.log(f"{one}/nginx", (9, "a"), (5, "c"))
    cloud.log(f"{two}/nginx", (8, "b"), (2, "e\x1b\n"))
    cloud.log(f"{one}/machine", (3, "d"))
    cloud.log("i-gone/nginx", (10, "before"))
    everything = [
        ("i-gone", "nginx", "before"),
        (one, "nginx", "a"),
        (two, "nginx", "b"),
        (one, "nginx", "c"),
        (one, "machine", "d"),
        (two, "nginx", "e?"),
    ]
    account = cloud.account
    assert list(observe.lines(account, KEY)) == everything
    assert list(observe.lines(account, KEY, container="machine")) == [everything[4]]
    assert list(observe.lines(account, KEY, replica=0)) == [line for line in everything if line[0] == one]
    assert list(observe.lines(account, KEY, replica=1, container="nginx")) == [everything[2], everything[5]]
    with pytest.raises(OperationError, match="has no replica 2") as raised:
        list(observe.lines(account, KEY, replica=2))
    assert raised.value.hint == "there are 2, from 0"


def test_many_lines_come_page_by_page(cloud: Cloud) -> None:
    cloud.running(replicas=1)
    (one,) = cloud.ids()
    for part in range(3):
        cloud.log(f"{one}/nginx", *((100 - part, f"{part} {n}") for n in range(5000)))
    found = [line for _, _, line in observe.lines(cloud.account, KEY)]
    assert found == [f"{part} {n}" for part in range(3) for n in range(5000)]


def test_following_loses_and_repeats_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where lines arrive after later ones, and where what was seen has to be forgotten at times."""
    monkeypatch.setattr(observe, "MOST_SEEN", 2)
    cloud.running(replicas=2)
    one, two = cloud.ids()
    cloud.log(f"{one}/nginx", (1000, "old"), (900, "older than asked for again"), (5, "first"))
    arrivals: Iterator[Callable[[], None]] = iter(
        [
            lambda: None,
            lambda: cloud.log(f"{one}/nginx", (2, "second")),
            lambda: cloud.log(f"{two}/nginx", (30, "late"), (1, "third")),
            lambda: cloud.account.logs.delete_log_group(logGroupName="/i2kit/i2kit-web"),
        ]
    )
    found = observe.lines(cloud.account, KEY, follow=True, wait=lambda seconds: next(arrivals)())
    assert [line for _, _, line in found] == [
        "old",
        "older than asked for again",
        "first",
        "second",
        "late",
        "third",
    ]


def test_without_follow_it_ends_and_with_it_does_not(cloud: Cloud) -> None:
    cloud.running(replicas=1)
    cloud.log("i-1/nginx", (1, "a"))
    waits = 0

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 5:
            cloud.log("i-1/nginx", (0, "b"))

    follow = observe.lines(cloud.account, KEY, follow=True, wait=wait)
    assert [line for _, _, line in islice(follow, 2)] == ["a", "b"]
    assert waits == 5


def test_no_logs(cloud: Cloud) -> None:
    with pytest.raises(OperationError, match="no logs of default/web: AWS has no log group") as raised:
        list(observe.lines(cloud.account, KEY))
    assert "i2kit status" in str(raised.value.hint)
    cloud.running(replicas=1)
    assert list(observe.lines(cloud.account, KEY)) == []
    gone: dict[str, Any] = {"code": "ResourceNotFoundException", "action": "FilterLogEvents"}
    cloud.aws.emulator.control("fault", message="The specified log stream does not exist.", **gone)
    assert list(observe.lines(cloud.account, KEY, replica=0)) == []
    code = "AccessDeniedException"
    cloud.aws.emulator.control("fault", code=code, status=400, action="FilterLogEvents")
    with pytest.raises(OperationError, match=f"reading the logs of {KEY}: AWS says {code}"):
        list(observe.lines(cloud.account, KEY))


def test_watching_only_reads(cloud: Cloud) -> None:
    stack, made = cloud.running()
    cloud.aws.emulator.control("unhealthy", image=made.ami.id)
    before = len(cloud.aws.emulator.control("calls"))
    observe.deployments(cloud.account)
    with pytest.raises(NotReadyError):
        observe.wait(cloud.account, stack, made, ignore, AT_ONCE, Clock())
    list(observe.lines(cloud.account, KEY, replica=0))
    called = {call.partition(":")[2] for call in cloud.aws.emulator.control("calls")[before:]}
    assert [call for call in called if not call.startswith(("Describe", "Get", "List", "Filter"))] == []
