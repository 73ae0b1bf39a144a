"""From a raw disk to an AMI: all of it arrives, nothing travels twice, and nothing unfinished stays."""

import itertools
import multiprocessing
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from i2kit.blocks import BLOCK_BYTES
from i2kit.errors import OperationError
from i2kit.events import Event, Finished, Progress
from i2kit.providers.aws.access import calls
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.amis.ami import Clients, Published
from tests.aws.conftest import Aws, environment

IMAGE = "a" * 64
DISK_BLOCKS = 40
HELD = 24
"""Blocks of the disk that hold something."""


@pytest.fixture
def clients(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Clients:
    # Pauses are for AWS; here they would only take time.
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.001)
    return ami.clients(connect())


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Something in most blocks, holes between them, and a block of zeros that are written."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        for index in range(HELD):
            file.seek(index * BLOCK_BYTES + (index > 4) * BLOCK_BYTES)
            file.write((index + 1).to_bytes(4, "big") * 1000)
        file.seek(30 * BLOCK_BYTES)
        file.write(bytes(BLOCK_BYTES))
        file.truncate(DISK_BLOCKS * BLOCK_BYTES)
    return path


def publish(clients: Clients, disk: Path, **words: Any) -> Published:
    return ami.publish(clients, disk, image=words.pop("image", IMAGE), architecture="x86_64", **words)


def patch(disk: Path, index: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(index * BLOCK_BYTES)
        file.write(data)


def images(clients: Clients) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = clients.ec2.describe_images(Owners=["self"])["Images"]
    return found


def snapshots(clients: Clients) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = clients.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return found


def snapshot_of(clients: Clients, made: Published) -> str:
    (image,) = clients.ec2.describe_images(ImageIds=[made.ami.id])["Images"]
    found: str = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    return found


def downloaded(clients: Clients, snapshot: str) -> dict[int, bytes]:
    """All blocks of a snapshot that are not zero."""
    found: dict[int, bytes] = {}
    words: dict[str, str] = {}
    while True:
        page = clients.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, **words)
        for block in page["Blocks"]:
            answer = clients.ebs.get_snapshot_block(SnapshotId=snapshot, **block)
            if (data := answer["BlockData"].read()).strip(b"\0"):
                found[block["BlockIndex"]] = data
        if "NextToken" not in page:
            return found
        words = {"NextToken": page["NextToken"]}


def cut(disk: Path) -> dict[int, bytes]:
    content = disk.read_bytes()
    pieces = {i: content[i * BLOCK_BYTES :][:BLOCK_BYTES] for i in range(DISK_BLOCKS)}
    return {index: piece for index, piece in pieces.items() if piece.strip(b"\0")}


def called(aws: Aws) -> Counter[str]:
    return Counter(call.partition(":")[2] for call in aws.emulator.control("calls"))


def assert_arrived(clients: Clients, disk: Path, made: Published) -> None:
    """The disk is in the AMI's snapshot, and there is nothing beside it but the table at the volume's end."""
    found = downloaded(clients, snapshot_of(clients, made))
    assert found.pop(2047).startswith(b"i2kit-blocks 1 x86_64 20971520 24\n")
    assert found == cut(disk)


def test_all_arrives(clients: Clients, disk: Path) -> None:
    events: list[Event] = []
    made = publish(clients, disk, tags=(("team", "web"),), watch=events.append)
    assert_arrived(clients, disk, made)
    (image,) = images(clients)
    told = {key: image.get(key) for key in ("Architecture", "VirtualizationType", "EnaSupport", "BootMode")}
    assert told == {
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "EnaSupport": True,
        "BootMode": "uefi-preferred",
    }
    assert (image["ImdsSupport"], image["RootDeviceName"]) == ("v2.0", "/dev/xvda")
    (device,) = image["BlockDeviceMappings"]
    assert device["DeviceName"] == "/dev/xvda"
    assert (device["Ebs"]["VolumeType"], device["Ebs"]["DeleteOnTermination"]) == ("gp3", True)
    assert {"Key": "team", "Value": "web"} in image["Tags"]
    assert {"Key": "i2kit:image", "Value": IMAGE} in image["Tags"]
    assert made.ami.image == IMAGE and made.ami.volume_gib == 1
    assert ami.owned(clients)[0].ami.size_bytes == disk.stat().st_size, "not the volume's"
    assert made.sent_bytes == (HELD + 1) * BLOCK_BYTES
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == made.sent_bytes
    assert isinstance(events[-1], Finished)


def test_a_disk_that_ends_within_a_block(clients: Clients, disk: Path) -> None:
    os.truncate(disk, 7 * BLOCK_BYTES + 1000)
    found = downloaded(clients, snapshot_of(clients, publish(clients, disk)))
    assert found[7] == disk.read_bytes()[7 * BLOCK_BYTES :].ljust(BLOCK_BYTES, b"\0")


def test_the_same_content_is_not_sent(aws: Aws, clients: Clients, disk: Path) -> None:
    first = publish(clients, disk)
    before = called(aws)
    second = publish(clients, disk)
    assert second.ami == first.ami == ami.find(clients, ami.survey(disk, "x86_64"))
    assert second.sent_bytes == 0
    assert set(called(aws) - before) == {"DescribeImages", "DescribeSnapshots"}


def test_only_what_changed_is_sent(clients: Clients, disk: Path) -> None:
    first = publish(clients, disk)
    patch(disk, 3, b"changed")
    patch(disk, 8, bytes(BLOCK_BYTES))
    patch(disk, 35, b"new")
    second = publish(clients, disk, image="b" * 64)
    assert second.sent_bytes == 4 * BLOCK_BYTES, "three blocks and the table"
    assert_arrived(clients, disk, second)
    assert len(images(clients)) == len(snapshots(clients)) == 2
    patch(disk, 3, b"again")
    third = publish(clients, disk)
    assert third.sent_bytes == 2 * BLOCK_BYTES, "upon the second, which is itself built upon another"
    assert_arrived(clients, disk, third)
    assert first.ami.id != second.ami.id


def test_builds_upon_the_most_alike(clients: Clients, disk: Path, tmp_path: Path) -> None:
    publish(clients, disk)
    other = tmp_path / "other.raw"
    other.write_bytes(b"something else" * 300000)
    publish(clients, other)
    patch(disk, 0, b"x")
    assert publish(clients, disk).sent_bytes == 2 * BLOCK_BYTES


def test_encryption_by_default(clients: Clients, disk: Path) -> None:
    publish(clients, disk)
    clients.ec2.enable_ebs_encryption_by_default()
    patch(disk, 0, b"x")
    made = publish(clients, disk)
    assert made.sent_bytes == (HELD + 1) * BLOCK_BYTES
    assert_arrived(clients, disk, made)
    clients.ec2.disable_ebs_encryption_by_default()
    patch(disk, 0, b"y")
    last = publish(clients, disk)
    assert last.sent_bytes == 2 * BLOCK_BYTES
    (found,) = clients.ec2.describe_snapshots(SnapshotIds=[snapshot_of(clients, last)])["Snapshots"]
    assert not found["Encrypted"], "built upon the one that isn't either"


@pytest.mark.parametrize("action", ["GetSnapshotBlock", "ListSnapshotBlocks", "GetEbsEncryptionByDefault"])
def test_what_may_not_be_read(aws: Aws, clients: Clients, disk: Path, action: str) -> None:
    """Without the permission to read snapshots it takes longer, no more."""
    publish(clients, disk)
    patch(disk, 0, b"x")
    code = "UnauthorizedOperation" if action.startswith("GetEbs") else "AccessDeniedException"
    aws.emulator.control("fault", code=code, status=403, action=action, times=1000)
    made = publish(clients, disk)
    assert_arrived(clients, disk, made) if action.startswith("GetEbs") else None
    assert made.sent_bytes == (2 if action.startswith("GetEbs") else HELD + 1) * BLOCK_BYTES


def test_a_parent_that_goes_away(aws: Aws, clients: Clients, disk: Path) -> None:
    publish(clients, disk)
    patch(disk, 0, b"x")
    aws.emulator.control("fault", code="ResourceNotFoundException", status=404, action="StartSnapshot")
    made = publish(clients, disk)
    assert made.sent_bytes == (HELD + 1) * BLOCK_BYTES
    assert_arrived(clients, disk, made)


@pytest.mark.parametrize(
    ("code", "status", "action"),
    [
        ("RequestThrottledException", 400, "PutSnapshotBlock"),
        ("ThrottlingException", 400, "PutSnapshotBlock"),
        ("InternalServerException", 500, "PutSnapshotBlock"),
        ("ServiceUnavailable", 503, "PutSnapshotBlock"),
        ("ResourceNotFoundException", 404, "PutSnapshotBlock"),
        ("ResourceNotFoundException", 404, "CompleteSnapshot"),
        ("InternalServerException", 500, "StartSnapshot"),
        ("InternalServerException", 500, "CompleteSnapshot"),
        ("RequestLimitExceeded", 503, "DescribeSnapshots"),
    ],
)
def test_what_passes(aws: Aws, clients: Clients, disk: Path, code: str, status: int, action: str) -> None:
    times = 40 if action == "PutSnapshotBlock" else 2
    aws.emulator.control("fault", code=code, status=status, action=action, times=times)
    assert_arrived(clients, disk, publish(clients, disk))
    assert len(images(clients)) == len(snapshots(clients)) == 1


@pytest.mark.parametrize(
    "action", ["StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "DescribeSnapshots", "RegisterImage"]
)
def test_credentials_that_expire(aws: Aws, clients: Clients, disk: Path, action: str) -> None:
    code = "ExpiredTokenException" if "Snapshot" in action and "Describe" not in action else "RequestExpired"
    aws.emulator.control("fault", code=code, status=403, action=action, times=1000)
    with pytest.raises(OperationError, match=f"AWS says {code}") as caught:
        publish(clients, disk)
    assert "the credentials have expired: renew them" in str(caught.value)
    aws.emulator.control("no_faults")
    assert not images(clients)
    assert_arrived(clients, disk, publish(clients, disk))
    assert len(images(clients)) == len(snapshots(clients)) == 1


def test_ctrl_c(clients: Clients, disk: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(clients, disk, watch=interrupt)
    assert not snapshots(clients)


def run_and_die(environ: dict[str, str], disk: Path, number: int) -> None:
    """Publish, and be gone where the n-th call begins: as by kill -9, nothing is cleaned up."""
    os.environ.update(environ)
    calls = itertools.count(1)

    def before(**_: Any) -> None:
        if next(calls) == number:
            os._exit(9)

    clients = ami.clients(connect())
    for client in (clients.ec2, clients.ebs):
        client.meta.events.register("before-call", before)
    publish(clients, disk)


@pytest.mark.parametrize("built_upon", [False, True])
def test_killed_between_any_two_calls(aws: Aws, clients: Clients, disk: Path, built_upon: bool) -> None:
    """Killed at its n-th call and run again: for each n, until there is no n-th call any more."""
    # A server that has imported everything starts each of the runs in no time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["boto3", __name__])
    os.truncate(disk, 3 * BLOCK_BYTES)
    for number in itertools.count(1):
        aws.emulator.reset()
        if built_upon:
            publish(clients, disk)
            patch(disk, 1, b"%d" % number)
        run = context.Process(target=run_and_die, args=(environment(aws.emulator), disk, number))
        run.start()
        run.join(60)
        publish(clients, disk)
        assert len(images(clients)) == len(snapshots(clients)) == 1 + built_upon, number
        assert all(one["State"] == "completed" for one in snapshots(clients))
        if run.exitcode == 0:
            assert number > 12
            break
        assert run.exitcode == 9


def test_an_ami_that_somebody_else_registers_meanwhile(clients: Clients, disk: Path) -> None:
    theirs: list[Published] = []
    began = itertools.count()

    def meanwhile(**_: Any) -> None:
        if next(began) == 0:
            theirs.append(publish(clients, disk))

    clients.ec2.meta.events.register("before-call.ec2.RegisterImage", meanwhile)
    ours = publish(clients, disk)
    assert ours.ami == theirs[0].ami
    assert len(images(clients)) == len(snapshots(clients)) == 1


def test_two_that_start_at_the_same_moment(clients: Clients, disk: Path) -> None:
    """Each has a snapshot of its own, and the one that no AMI has goes."""
    theirs: list[Published] = []
    began = itertools.count()

    def meanwhile(**_: Any) -> None:
        if next(began) == 0:
            theirs.append(publish(clients, disk))

    clients.ebs.meta.events.register("before-call.ebs.StartSnapshot", meanwhile)
    assert publish(clients, disk).ami == theirs[0].ami
    assert len(images(clients)) == len(snapshots(clients)) == 1


def test_two_at_once(aws: Aws, clients: Clients, disk: Path) -> None:
    """Both write the same snapshot, one completes it, and the other goes on with it."""
    theirs: list[Published] = []
    began = itertools.count()

    def meanwhile(**_: Any) -> None:
        if next(began) == 0:
            theirs.append(publish(ami.clients(connect()), disk))

    clients.ebs.meta.events.register("before-call.ebs.CompleteSnapshot", meanwhile)
    assert publish(clients, disk).ami == theirs[0].ami
    assert len(images(clients)) == len(snapshots(clients)) == 1


def test_a_snapshot_that_somebody_else_has_just_sealed(aws: Aws, clients: Clients, disk: Path) -> None:
    """It is still pending, and not to be deleted."""
    theirs = aws.client("ebs")
    began = itertools.count()

    def meanwhile(**_: Any) -> None:
        if next(began) == 0:
            (one,) = snapshots(clients)
            theirs.complete_snapshot(SnapshotId=one["SnapshotId"], ChangedBlocksCount=HELD + 1)

    clients.ebs.meta.events.register("before-call.ebs.CompleteSnapshot", meanwhile)
    assert_arrived(clients, disk, publish(clients, disk))
    assert len(images(clients)) == len(snapshots(clients)) == 1


def test_a_snapshot_that_somebody_else_deletes_meanwhile(clients: Clients, disk: Path) -> None:
    began = itertools.count()

    def meanwhile(**_: Any) -> None:
        if next(began) == 0:
            clients.ec2.delete_snapshot(SnapshotId=snapshots(clients)[0]["SnapshotId"])

    clients.ebs.meta.events.register("before-call.ebs.CompleteSnapshot", meanwhile)
    assert_arrived(clients, disk, publish(clients, disk))
    assert len(images(clients)) == len(snapshots(clients)) == 1


def test_remove(clients: Clients, disk: Path) -> None:
    first = publish(clients, disk)
    patch(disk, 0, b"x")
    second = publish(clients, disk)
    assert {one.ami for one in ami.owned(clients)} == {first.ami, second.ami}
    ami.remove(clients, first.ami.id)
    ami.remove(clients, first.ami.id)
    assert [one.ami for one in ami.owned(clients)] == [second.ami]
    assert_arrived(clients, disk, second)
    ami.remove(clients, second.ami.id)
    assert not snapshots(clients) and not images(clients)


def test_remove_refuses(aws: Aws, clients: Clients, disk: Path) -> None:
    made = publish(clients, disk)
    ec2 = clients.ec2
    data = {"ImageId": made.ami.id, "InstanceType": "t3.micro"}
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    (instance,) = ec2.run_instances(MinCount=1, MaxCount=1, **data)["Instances"]
    with pytest.raises(OperationError, match=re.escape(f"in use by {instance['InstanceId']}, web")):
        ami.remove(clients, made.ami.id)
    ec2.delete_launch_template(LaunchTemplateName="web")
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    assert len(images(clients)) == 1
    snapshot = snapshot_of(clients, made)
    foreign = ec2.register_image(
        Name="theirs",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]
    with pytest.raises(OperationError, match="not made by i2kit"):
        ami.remove(clients, foreign)


def test_what_killed_runs_left_long_ago(
    clients: Clients, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completed snapshot that nobody registered, of a disk that never comes again."""
    other = tmp_path / "other.raw"
    other.write_bytes(b"other")
    monkeypatch.setattr(ami._Work, "register", lambda *_: sys.exit())
    with pytest.raises(SystemExit):
        publish(clients, other)
    monkeypatch.undo()
    publish(clients, disk)
    assert len(snapshots(clients)) == 2, "it may be one that a run is about to register"
    monkeypatch.setattr(ami, "ABANDONED", -ami.ABANDONED)
    patch(disk, 0, b"x")
    publish(clients, disk)
    assert len(snapshots(clients)) == 2 == len(images(clients))


def test_a_disabled_ami(clients: Clients, disk: Path) -> None:
    made = publish(clients, disk)
    clients.ec2.disable_image(ImageId=made.ami.id)
    with pytest.raises(OperationError, match="enable-image"):
        publish(clients, disk)
