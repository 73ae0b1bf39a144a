"""Stacks on an emulated AWS: made, changed, removed; every dead state; faults; killed at any call."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from i2kit.errors import NotReadyError, OperationError, RolloutError
from i2kit.events import Event, Finished, Note, Started, Warned, ignore
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.design.template import template as made
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.running.stacks import Pace
from tests.aws.conftest import Aws, environment
from tests.aws.emulator import PROJECT
from tests.aws.releases import OPTIONS, release
from tests.aws.test_templates_made import ami, network

NAME = "i2kit-web"
TAGS = {"i2kit:deployment": "default/web", "app": "web"}
PACE = Pace(first_s=0.0, longest_s=0.0, wait=lambda seconds: None)
REASON = "Resource limit exceeded"


def template(days: int = 30, *more: str, kept: bool = False) -> str:
    """Two resources that refer to each other, one beside them, and as many groups as asked for."""
    resources: dict[str, Any] = {
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": days}},
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.0.0.0/24"},
        },
    }
    if kept:
        resources["Logs"]["DeletionPolicy"] = "Retain"
    for name in more:
        properties = {"GroupDescription": name, "VpcId": {"Ref": "Vpc"}}
        resources[name] = {"Type": "AWS::EC2::SecurityGroup", "Properties": properties}
    return json.dumps({"Resources": resources, "Outputs": {"VpcId": {"Value": {"Ref": "Vpc"}}}})


@pytest.fixture
def cloud(aws: Aws) -> Any:
    return connect().client("cloudformation")


def deploy(cloud: Any, body: str, watch: Callable[[Event], None] = ignore) -> stacks.Stack:
    return stacks.deploy(cloud, NAME, body, TAGS, watch, pace=PACE)


def delete(cloud: Any, watch: Callable[[Event], None] = ignore) -> stacks.Removed | None:
    return stacks.delete(cloud, NAME, watch, pace=PACE)


def status(cloud: Any) -> str:
    found = stacks.find(cloud, NAME)
    return found.status if found else "absent"


def leftovers(aws: Aws) -> list[str]:
    """What is not there before anything is deployed."""
    ec2, logs = aws.client("ec2"), aws.client("logs")
    vpcs = [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]]
    groups = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
    return [*vpcs, *groups]


def no_change_sets(cloud: Any) -> bool:
    return not cloud.list_change_sets(StackName=NAME)["Summaries"]


# --- what goes well ---------------------------------------------------------------------------


def test_a_new_stack_tells_each_resource_once_and_has_its_outputs(cloud: Any) -> None:
    events: list[Event] = []
    stack = deploy(cloud, template(), events.append)
    assert stack.status == "CREATE_COMPLETE"
    assert stack.outputs["VpcId"].startswith("vpc-")
    assert stack.tags == TAGS
    started = [event for event in events if isinstance(event, Started)]
    finished = [event for event in events if isinstance(event, Finished)]
    assert [event.title for event in started] == [
        "creating log group Logs",
        "creating VPC Vpc",
        "creating subnet Subnet",
    ]
    assert [event.key for event in finished] == [event.key for event in started]
    assert len(events) == 6
    assert no_change_sets(cloud)


def test_only_what_differs_is_changed(cloud: Any) -> None:
    before = deploy(cloud, template(30, "One"))
    events: list[Event] = []
    stack = deploy(cloud, template(30, "Two"), events.append)
    assert (stack.id, stack.status) == (before.id, "UPDATE_COMPLETE")
    assert [event.title for event in events if isinstance(event, Started)] == [
        "creating security group Two",
        "removing security group One",
    ]


def test_without_a_difference_nothing_happens(aws: Aws, cloud: Any) -> None:
    deploy(cloud, template())
    events: list[Event] = []
    # As a run leaves it that was killed at the wrong moment.
    cloud.create_change_set(StackName=NAME, ChangeSetName="i2kit-left", TemplateBody=template(7))
    before = aws.emulator.control("calls")
    stack = deploy(cloud, template(), events.append)
    assert stack.status == "CREATE_COMPLETE"
    assert events == [Note(f"the stack {NAME} needs no change")]
    assert no_change_sets(cloud)
    calls = aws.emulator.control("calls")[len(before) :]
    assert "cloudformation:ExecuteChangeSet" not in calls


def test_removal_leaves_nothing_but_what_is_kept(aws: Aws, cloud: Any) -> None:
    deploy(cloud, template(kept=True))
    removed = delete(cloud)
    assert removed
    assert [one.logical for one in removed.retained] == ["Logs"]
    assert leftovers(aws) == [removed.retained[0].physical]
    assert delete(cloud) is None


def test_stacks_of_others_are_neither_listed_nor_touched(aws: Aws, cloud: Any) -> None:
    deploy(cloud, template())
    stacks.deploy(cloud, "i2kit-network", template(), {"i2kit:network": "shared"}, ignore, pace=PACE)
    cloud.create_stack(StackName="theirs", TemplateBody=template())
    aws.emulator.control("settle")
    assert [one.name for one in stacks.deployments(cloud)] == [NAME]
    with pytest.raises(OperationError, match="did not make"):
        stacks.delete(cloud, "theirs", ignore, pace=PACE)
    with pytest.raises(OperationError, match="did not make"):
        stacks.deploy(cloud, "theirs", template(1), TAGS, ignore, pace=PACE)


# --- what fails -------------------------------------------------------------------------------


def test_a_first_deployment_that_fails_leaves_nothing_and_says_the_first_cause(aws: Aws, cloud: Any) -> None:
    aws.emulator.control("break_resource", resource="Subnet", action="CREATE", reason=REASON)
    events: list[Event] = []
    with pytest.raises(NotReadyError, match=f"subnet Subnet: {REASON}"):
        deploy(cloud, template(30, "Group"), events.append)
    assert status(cloud) == "absent"
    assert leftovers(aws) == []
    assert [event for event in events if isinstance(event, Warned)] == [Warned(f"subnet Subnet: {REASON}")]
    keys = [event.key for event in events if isinstance(event, Started)]
    assert sorted(keys) == sorted(event.key for event in events if isinstance(event, Finished))


def test_an_update_that_fails_is_rolled_back_and_the_previous_one_serves(aws: Aws, cloud: Any) -> None:
    deploy(cloud, template(30))
    before = leftovers(aws)
    aws.emulator.control("break_resource", resource="Group", action="CREATE", reason=REASON)
    with pytest.raises(RolloutError, match=f"security group Group: {REASON}") as raised:
        deploy(cloud, template(30, "Group", "Other"))
    assert raised.value.exit_code == 3
    assert status(cloud) == "UPDATE_ROLLBACK_COMPLETE"
    assert leftovers(aws) == before
    aws.emulator.control("mend")
    assert deploy(cloud, template(30, "Group")).status == "UPDATE_COMPLETE"


def test_an_update_whose_image_never_gets_healthy_is_rolled_back(aws: Aws, cloud: Any) -> None:
    first, second = ami(aws, "first"), ami(aws, "second")
    where, zone = network(aws)
    bodies = [dumps(made(release(), image, where, zone, OPTIONS)) for image in (first, second)]
    deploy(cloud, bodies[0])
    aws.emulator.control("unhealthy", image=second.id)
    with pytest.raises(RolloutError, match=r"group of machines Group: .*failed to become healthy"):
        deploy(cloud, bodies[1])
    found = aws.client("ec2").describe_instances()["Reservations"]
    instances = [one for each in found for one in each["Instances"] if one["State"]["Name"] == "running"]
    assert [one["ImageId"] for one in instances] == [first.id] * 3


def test_what_holds_a_removal_is_named_and_the_next_one_goes_on(aws: Aws, cloud: Any) -> None:
    deploy(cloud, template())
    aws.emulator.control("break_resource", resource="Vpc", action="DELETE", reason="has dependencies")
    with pytest.raises(OperationError, match="VPC Vpc: has dependencies"):
        delete(cloud)
    assert status(cloud) == "DELETE_FAILED"
    aws.emulator.control("mend")
    assert delete(cloud) == stacks.Removed()
    assert leftovers(aws) == []


def test_a_protected_stack_is_explained(cloud: Any) -> None:
    deploy(cloud, template())
    cloud.update_termination_protection(StackName=NAME, EnableTerminationProtection=True)
    with pytest.raises(OperationError, match="protected") as raised:
        delete(cloud)
    assert "--no-enable-termination-protection" in str(raised.value.hint)


def test_a_template_that_aws_refuses_leaves_nothing(cloud: Any) -> None:
    with pytest.raises(OperationError, match="Unrecognized resource types"):
        deploy(cloud, json.dumps({"Resources": {"A": {"Type": "AWS::No::Such"}}}))
    assert status(cloud) == "absent"


# --- states that others or earlier runs left ---------------------------------------------------


def raw_create(aws: Aws, cloud: Any, on_failure: str, *broken: dict[str, str]) -> None:
    for one in broken:
        aws.emulator.control("break_resource", **one)
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    cloud.create_stack(StackName=NAME, TemplateBody=template(), Tags=tags, OnFailure=on_failure)
    aws.emulator.control("settle")
    aws.emulator.control("mend")


FAILS = {"resource": "Subnet", "action": "CREATE", "reason": REASON}
STAYS = {"resource": "Vpc", "action": "DELETE", "reason": "in use"}


@pytest.mark.parametrize(
    ("dead", "on_failure", "broken"),
    [
        ("ROLLBACK_COMPLETE", "ROLLBACK", (FAILS,)),
        ("ROLLBACK_FAILED", "ROLLBACK", (FAILS, STAYS)),
        ("CREATE_FAILED", "DO_NOTHING", (FAILS,)),
        ("DELETE_FAILED", "DELETE", (FAILS, STAYS)),
    ],
)
def test_what_never_served_is_removed_first(
    aws: Aws, cloud: Any, dead: str, on_failure: str, broken: tuple[dict[str, str], ...]
) -> None:
    raw_create(aws, cloud, on_failure, *broken)
    assert status(cloud) == dead
    assert deploy(cloud, template()).status == "CREATE_COMPLETE"
    assert len(leftovers(aws)) == 2


def test_a_dead_stack_that_cannot_be_removed_is_explained(aws: Aws, cloud: Any) -> None:
    raw_create(aws, cloud, "DO_NOTHING", FAILS)
    aws.emulator.control("break_resource", **STAYS)
    with pytest.raises(OperationError, match="could not be removed: VPC Vpc: in use"):
        deploy(cloud, template())


def test_an_empty_stack_that_awaits_review_is_used(aws: Aws, cloud: Any) -> None:
    cloud.create_change_set(
        StackName=NAME, ChangeSetName="i2kit-old", ChangeSetType="CREATE", TemplateBody=template()
    )
    assert status(cloud) == "REVIEW_IN_PROGRESS"
    assert deploy(cloud, template()).status == "CREATE_COMPLETE"
    assert no_change_sets(cloud)


def test_a_rollback_that_failed_goes_on_before_anything_else(aws: Aws, cloud: Any) -> None:
    deploy(cloud, template(30))
    aws.emulator.control("break_resource", resource="Group", action="CREATE", reason=REASON)
    cause = {"resource": "Logs", "action": "UPDATE", "reason": "the log group is gone"}
    body = json.loads(template(7, "Group"))
    # The group comes after the change of Logs, so that there is something to undo.
    body["Resources"]["Group"]["DependsOn"] = "Logs"
    watch = Breaker(aws, cause)
    with pytest.raises(OperationError, match="so did its roll back: security group Group"):
        deploy(cloud, json.dumps(body), watch)
    assert status(cloud) == "UPDATE_ROLLBACK_FAILED"
    with pytest.raises(OperationError, match="cannot be rolled back: log group Logs: the log group is gone"):
        deploy(cloud, template(7))
    aws.emulator.control("mend")
    assert deploy(cloud, template(7)).status == "UPDATE_COMPLETE"


class Breaker:
    """Breaks a resource once it has been changed."""

    def __init__(self, aws: Aws, broken: dict[str, str]) -> None:
        self._aws, self._broken = aws, broken

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started) and "Group" in event.title:
            self._aws.emulator.control("break_resource", **self._broken)


def test_somebody_elses_operation_is_waited_for(cloud: Any) -> None:
    deploy(cloud, template(30))
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    cloud.update_stack(StackName=NAME, TemplateBody=template(7), Tags=tags)
    events: list[Event] = []
    stack = deploy(cloud, template(14), events.append)
    assert stack.status == "UPDATE_COMPLETE"
    assert events[0] == Note(f"the stack {NAME} is UPDATE_IN_PROGRESS: waiting for that to end")
    found = cloud.get_template(StackName=NAME)["TemplateBody"]
    assert found["Resources"]["Logs"]["Properties"]["RetentionInDays"] == 14


def test_a_removal_under_way_is_waited_for(cloud: Any) -> None:
    deploy(cloud, template())
    cloud.delete_stack(StackName=NAME)
    assert delete(cloud) == stacks.Removed()
    deploy(cloud, template())
    cloud.delete_stack(StackName=NAME)
    assert deploy(cloud, template()).status == "CREATE_COMPLETE"


def test_whatever_is_under_way_can_be_removed(cloud: Any) -> None:
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    cloud.create_change_set(
        StackName=NAME, ChangeSetName="i2kit-old", ChangeSetType="CREATE", TemplateBody=template(), Tags=tags
    )
    assert delete(cloud) == stacks.Removed()
    cloud.create_stack(StackName=NAME, TemplateBody=template(), Tags=tags)
    assert delete(cloud) == stacks.Removed()
    deploy(cloud, template(30))
    cloud.update_stack(StackName=NAME, TemplateBody=template(7), Tags=tags)
    assert delete(cloud) == stacks.Removed()
    assert status(cloud) == "absent"


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "http"), [("Throttling", 400), ("InternalFailure", 500)])
def test_throttling_and_server_errors_are_survived(aws: Aws, cloud: Any, code: str, http: int) -> None:
    for skip in (0, 3, 6):
        aws.emulator.control("fault", code=code, status=http, message="Rate exceeded", skip=skip)
    assert deploy(cloud, template()).status == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("code", "http", "hint"),
    [
        ("ExpiredToken", 403, "expired"),
        ("AccessDenied", 403, "may not do this"),
        ("InvalidClientTokenId", 403, "valid credentials"),
    ],
)
def test_refusals_are_explained_at_every_call(aws: Aws, cloud: Any, code: str, http: int, hint: str) -> None:
    deploy(cloud, template())
    actions = {call.partition(":")[2] for call in aws.emulator.control("calls")} - {"DeleteChangeSet"}
    delete(cloud)
    assert len(actions) > 4
    for action in sorted(actions):
        aws.emulator.control("fault", code=code, status=http, message="no", action=action)
        with pytest.raises(OperationError) as raised:
            deploy(cloud, template())
        assert hint in str(raised.value.hint)
        assert code in raised.value.message
        delete(cloud)
    assert leftovers(aws) == []


RUN = f"""
import sys
from i2kit.events import ignore
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.access.session import connect
pace = stacks.Pace(0, 0, lambda seconds: None)
client = connect().client("cloudformation")
if sys.argv[1] == "deploy":
    stacks.deploy(client, {NAME!r}, sys.argv[2], {TAGS!r}, ignore, pace=pace)
else:
    stacks.delete(client, {NAME!r}, ignore, pace=pace)
"""


@pytest.mark.parametrize("what", ["create", "update", "delete"])
def test_killed_after_any_call_the_next_run_ends_it(aws: Aws, cloud: Any, what: str) -> None:
    """The killed run's last call was done, but it never learned of it."""
    for after in range(40):
        aws.emulator.reset()
        if what != "create":
            deploy(cloud, template(30))
        if not killed_after(aws, after, "delete" if what == "delete" else "deploy", template(7)):
            break
        if what == "delete":
            delete(cloud)
            assert (status(cloud), leftovers(aws)) == ("absent", [])
        else:
            assert deploy(cloud, template(7)).serves
            assert no_change_sets(cloud)
            assert len(leftovers(aws)) == 2
    assert 3 < after < 39


def killed_after(aws: Aws, calls: int, *arguments: str) -> bool:
    """Run it in a process of its own and kill that when a call after so many is done; False if it ended."""
    aws.emulator.control("hold", after=calls)
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], cwd=PROJECT, env={**os.environ, **environment(aws.emulator)}
    ) as run:
        while run.poll() is None and not aws.emulator.control("held", timeout_s=0.05):
            pass
        held: bool = aws.emulator.control("held", timeout_s=0)
        run.send_signal(signal.SIGKILL)
    aws.emulator.control("release")
    return held
