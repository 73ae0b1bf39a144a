"""What goes wrong on the way: a run that is killed between two calls, AWS that throttles, fails, refuses."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import botocore.httpsession
import pytest

from i2kit.errors import FirstDeployError, OperationError, RolloutError
from i2kit.model import Deployment, Release
from i2kit.providers import Rollback, Scale, Wanted
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.amis import ami
from tests.aws.conftest import Aws

from .test_provider import ZONE, Make, amis, built, deployed, do, left, make, running

__all__ = ["built", "make"]

Built = Callable[..., Release]

KILLED = 9
STRIDE = int(os.environ.get("KILL_EVERY", "31"))
"""Runs are killed before every so manieth call; KILL_EVERY=1 tries all of them, in some minutes."""


def killed_before(call: int, run: Callable[[], object]) -> bool:
    """Do this in a process that ends before its nth call, as by kill -9. Whether it got so far."""
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            die_before(call)
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == KILLED


def die_before(call: int) -> None:
    send, made = botocore.httpsession.URLLib3Session.send, 0

    def counted(self: Any, request: Any) -> Any:
        nonlocal made
        made += 1
        if made >= call:
            os._exit(KILLED)
        return send(self, request)

    botocore.httpsession.URLLib3Session.send = counted


def is_whole(aws: Aws, found: Deployment | None, image: str, replicas: int) -> None:
    """One deployment, of one AMI, and nothing beside it."""
    assert found and (found.replicas_ready, found.image) == (replicas, image * 64)
    stacks = aws.client("cloudformation").describe_stacks()["Stacks"]
    assert {one["StackName"]: one["StackStatus"] for one in stacks} in (
        {"i2kit-web": status, "i2kit-network": "CREATE_COMPLETE"}
        for status in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    )
    assert len(set(running(aws))) == 1
    snapshots = aws.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert len([one for one in snapshots if one.get("Tags")]) == len(amis(aws))


def test_a_deploy_that_is_killed_anywhere_is_completed_by_the_next(
    aws: Aws, make: Make, built: Built
) -> None:
    call = 1
    while killed_before(call, lambda: deployed(make(hosted_zone=ZONE), built("a"))):
        is_whole(aws, deployed(make(hosted_zone=ZONE), built("a")), "a", 3)
        assert len(amis(aws)) == 1
        do(make(), None)
        assert left(aws) == []
        aws.emulator.reset()
        call += STRIDE
    assert call > 90, "a deploy takes more calls than that"


@pytest.mark.parametrize(
    ("wanted", "image", "replicas"),
    [("update", "b", 3), (Scale(1), "a", 1), (Rollback(1), "z", 3)],
    ids=["update", "scale", "rollback"],
)
def test_a_change_that_is_killed_anywhere_is_completed_by_the_next(
    aws: Aws, make: Make, built: Built, wanted: Wanted | str, image: str, replicas: int
) -> None:
    call = 1
    while True:
        aws.emulator.reset()
        deployed(make(), built("z"))
        deployed(make(), built("a"))
        target = built(image) if isinstance(wanted, str) else wanted
        if not killed_before(call, lambda target=target: deployed(make(), target)):  # type: ignore[misc]
            break
        again = target
        if isinstance(wanted, Rollback) and make().history("default/web")[-1].number == 3:
            again = Rollback(3)  # done, or being done: going back once more would be another wish
        is_whole(aws, deployed(make(), again), image, replicas)
        call += STRIDE
    assert call > 1


def test_a_destroy_that_is_killed_anywhere_is_completed_by_the_next(
    aws: Aws, make: Make, built: Built
) -> None:
    call = 1
    while True:
        aws.emulator.reset()
        deployed(make(hosted_zone=ZONE), built("a"))
        if not killed_before(call, lambda: do(make(), None)):
            break
        do(make(), None)
        assert left(aws) == []
        call += STRIDE
    assert left(aws) == []
    assert call > 1


def test_what_passes_is_waited_for(aws: Aws, make: Make, built: Built) -> None:
    throttled, broken = ("Throttling", 400), ("InternalFailure", 500)
    for action, (code, status) in {
        "DescribeStacks": throttled,
        "CreateChangeSet": broken,
        "StartSnapshot": throttled,
        "RegisterImage": broken,
        "DescribeImages": throttled,
    }.items():
        aws.emulator.control("fault", code=code, status=status, action=action)
    aws.emulator.control("fault", code="ThrottlingException", status=429, action="PutSnapshotBlock", times=2)
    is_whole(aws, deployed(make(), built("a")), "a", 3)


@pytest.mark.parametrize("action", ["DescribeStacks", "PutSnapshotBlock", "ExecuteChangeSet"])
def test_credentials_that_expire_on_the_way_are_said_and_the_next_run_goes_on(
    aws: Aws, make: Make, built: Built, action: str
) -> None:
    aws.emulator.control("fault", code="ExpiredToken", status=403, action=action, times=1000)
    with pytest.raises(OperationError, match="ExpiredToken") as raised:
        deployed(make(), built("a"))
    assert raised.value.hint and "credentials have expired" in raised.value.hint
    aws.emulator.control("no_faults")
    is_whole(aws, deployed(make(), built("a")), "a", 3)


def test_an_update_whose_machines_never_get_healthy_leaves_the_one_before(
    aws: Aws, make: Make, built: Built
) -> None:
    deployed(make(), built("a"))
    bad = built("b")
    assert bad.disk
    # Which image is bad is said by its AMI, so that is there first.
    found = ami.publish(ami.clients(connect()), bad.disk, image=bad.image.id, architecture="x86_64")
    aws.emulator.control("unhealthy", image=found.ami.id)
    with pytest.raises(RolloutError, match="healthy"):
        deployed(make(), bad)
    after = make().observe("default/web")
    assert after
    assert (after.revision, after.replicas_ready, after.image) == (1, 3, "a" * 64)
    last = make().history("default/web")[-1]
    assert (last.number, last.outcome) == (2, "failed")
    assert last.reason
    is_whole(aws, deployed(make(), built("c")), "c", 3)


def test_a_first_deploy_whose_machines_never_get_healthy_leaves_nothing(
    aws: Aws, make: Make, built: Built
) -> None:
    bad = built("b", progress_deadline_s=1)
    assert bad.disk
    found = ami.publish(ami.clients(connect()), bad.disk, image=bad.image.id, architecture="x86_64")
    aws.emulator.control("unhealthy", image=found.ami.id)
    with pytest.raises(FirstDeployError, match="Health checks failed") as raised:
        deployed(make(), bad)
    assert raised.value.exit_code == 3
    assert left(aws) == []
    is_whole(aws, deployed(make(), built("a")), "a", 3)
