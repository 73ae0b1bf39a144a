"""The emulator's corrections of snapshots and AMIs, and that moto itself still needs each.

A test of the second half that fails tells that the correction of its name can go.
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from i2kit.blocks import BLOCK_BYTES
from tests.aws.conftest import REGION, Aws

BLOCK = b"b" * BLOCK_BYTES


class Account:
    """Snapshots and AMIs over the SDK, in as few words as a test wants."""

    def __init__(self, ec2: Any, ebs: Any) -> None:
        self.ec2, self.ebs = ec2, ebs

    def start(self, **words: Any) -> str:
        found: str = self.ebs.start_snapshot(**{"VolumeSize": 1, **words})["SnapshotId"]
        return found

    def put(self, snapshot: str, index: int, data: bytes = BLOCK, **words: Any) -> None:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        given = {"DataLength": len(data), "Checksum": checksum, "ChecksumAlgorithm": "SHA256", **words}
        self.ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=data, **given)

    def complete(self, snapshot: str, count: int, **words: Any) -> None:
        self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=count, **words)

    def made(self, *indexes: int, data: bytes = BLOCK, **words: Any) -> str:
        snapshot = self.start(**words)
        for index in indexes:
            self.put(snapshot, index, data)
        self.complete(snapshot, len(indexes))
        for _ in range(2):
            self.state(snapshot)
        return snapshot

    def state(self, snapshot: str) -> str:
        (found,) = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
        state: str = found["State"]
        return state

    def blocks(self, snapshot: str) -> list[int]:
        page = self.ebs.list_snapshot_blocks(SnapshotId=snapshot)
        return [block["BlockIndex"] for block in page["Blocks"]]

    def register(self, snapshot: str, name: str = "image", **words: Any) -> str:
        device = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}
        given = {"RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [device], **words}
        found: str = self.ec2.register_image(Name=name, **given)["ImageId"]
        return found


@pytest.fixture
def account(aws: Aws) -> Account:
    return Account(aws.client("ec2"), aws.client("ebs"))


@pytest.fixture
def vanilla(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """moto without corrections, in this process."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        session = boto3.Session("key", "secret", region_name=REGION)
        yield Account(session.client("ec2"), session.client("ebs"))


def refuses(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


# As AWS does it.


def test_blocks_are_checked(account: Account) -> None:
    snapshot = account.start()
    for index, data, words in (
        (0, b"short", {}),
        (2048, BLOCK, {}),
        (0, BLOCK, {"Checksum": base64.b64encode(bytes(32)).decode()}),
        (0, BLOCK, {"ChecksumAlgorithm": "MD5"}),
        (0, BLOCK, {"DataLength": 512}),
    ):
        with pytest.raises(ClientError):
            account.put(snapshot, index, data, **words)
    with refuses("ResourceNotFoundException"):
        account.put("snap-00000000000000000", 0)


def test_the_end_is_checked(account: Account) -> None:
    snapshot = account.start()
    account.put(snapshot, 0)
    account.put(snapshot, 0)
    with refuses("ValidationException"):
        account.complete(snapshot, 2)
    checks = {"ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
    with refuses("ValidationException"):
        account.complete(snapshot, 1, Checksum=base64.b64encode(bytes(32)).decode(), **checks)
    whole = hashlib.sha256(hashlib.sha256(BLOCK).digest()).digest()
    account.complete(snapshot, 1, Checksum=base64.b64encode(whole).decode(), **checks)
    with refuses("ValidationException"):
        account.put(snapshot, 1)


def test_pending_then_completed(account: Account) -> None:
    snapshot = account.start()
    account.put(snapshot, 0)
    assert account.state(snapshot) == "pending"
    with refuses("ValidationException"):
        account.blocks(snapshot)
    with refuses("InvalidParameterValue"):
        account.register(snapshot)
    account.complete(snapshot, 1)
    assert [account.state(snapshot) for _ in range(3)] == ["pending", "completed", "completed"]


def test_start(account: Account) -> None:
    answer = account.ebs.start_snapshot(VolumeSize=1, ClientToken="a")
    assert answer["BlockSize"] == BLOCK_BYTES
    assert account.start(ClientToken="a") == answer["SnapshotId"]
    with refuses("ConflictException"):
        account.start(ClientToken="a", VolumeSize=2)
    assert account.ec2.describe_volumes()["Volumes"] == []


def test_parents(account: Account) -> None:
    parent = account.made(7, 3)
    child = account.made(5, 3, data=b"c" * BLOCK_BYTES, ParentSnapshotId=parent)
    assert account.blocks(child) == [3, 5, 7]
    changed = account.ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child)
    assert [block["BlockIndex"] for block in changed["ChangedBlocks"]] == [3, 5]
    with refuses("ValidationException"):
        account.ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=account.made())
    with refuses("ResourceNotFoundException"):
        account.start(ParentSnapshotId="snap-00000000000000000")
    with refuses("ValidationException"):
        account.start(ParentSnapshotId=account.start())
    with refuses("ValidationException"):
        account.start(ParentSnapshotId=parent, Encrypted=False)
    account.ec2.delete_snapshot(SnapshotId=parent)
    assert account.blocks(child) == [3, 5, 7], "a child has all of its blocks"


def test_encryption_by_default(account: Account) -> None:
    parent = account.made(0)
    account.ec2.enable_ebs_encryption_by_default()
    with refuses("ValidationException"):
        account.start(ParentSnapshotId=parent)
    (found,) = account.ec2.describe_snapshots(SnapshotIds=[account.start()])["Snapshots"]
    assert found["Encrypted"]


def test_reading(account: Account) -> None:
    snapshot = account.made(*range(120, 0, -1))
    page = account.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, StartingBlockIndex=10)
    assert [block["BlockIndex"] for block in page["Blocks"]] == list(range(10, 110))
    assert page["ExpiryTime"] and page["BlockSize"] == BLOCK_BYTES
    rest = account.ebs.list_snapshot_blocks(SnapshotId=snapshot, NextToken=page["NextToken"])
    assert [block["BlockIndex"] for block in rest["Blocks"]] == list(range(110, 121))
    with refuses("ValidationException"):
        account.ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken="another")


def test_an_ami_keeps_what_it_was_registered_with(account: Account) -> None:
    snapshot = account.made(0)
    tags = [{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}]
    words: dict[str, Any] = {"Architecture": "arm64", "BootMode": "uefi", "EnaSupport": True}
    account.register(snapshot, **words, ImdsSupport="v2.0", VirtualizationType="hvm", TagSpecifications=tags)
    filters = [{"Name": "tag:a", "Values": ["b"]}]
    states = [account.ec2.describe_images(Owners=["self"])["Images"][0]["State"] for _ in range(2)]
    (image,) = account.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    assert {key: image[key] for key in words} == words
    assert (image["ImdsSupport"], image["RootDeviceName"]) == ("v2.0", "/dev/xvda")
    device = image["BlockDeviceMappings"][0]["Ebs"]
    assert (device["SnapshotId"], device["VolumeSize"], device["VolumeType"]) == (snapshot, 1, "gp3")
    assert states == ["pending", "available"]
    assert len(account.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_what_register_image_refuses(account: Account) -> None:
    snapshot = account.made(0)
    account.register(snapshot)
    with refuses("InvalidAMIName.Duplicate"):
        account.register(snapshot)
    with refuses("InvalidAMIName.Malformed"):
        account.register(snapshot, "a*b")
    with refuses("InvalidSnapshot.NotFound"):
        account.register("snap-00000000000000000", "other")
    with refuses("InvalidBlockDeviceMapping"):
        account.register(snapshot, "other", RootDeviceName="/dev/sda1")


def test_deleting(account: Account) -> None:
    snapshot = account.made(0)
    image = account.register(snapshot)
    with refuses("InvalidSnapshot.InUse"):
        account.ec2.delete_snapshot(SnapshotId=snapshot)
    account.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    with refuses("ResourceNotFoundException"):
        account.blocks(snapshot)
    assert account.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


# As moto still does it: each of these is why a correction is there.


def test_moto_takes_any_block(vanilla: Account) -> None:
    snapshot = vanilla.start()
    vanilla.put(snapshot, 99999, b"short", Checksum="wrong")


def test_moto_takes_any_end(vanilla: Account) -> None:
    snapshot = vanilla.start()
    vanilla.complete(snapshot, 7, Checksum="wrong")
    vanilla.put(snapshot, 0)


def test_moto_completes_at_once(vanilla: Account) -> None:
    assert vanilla.state(vanilla.start()) == "completed"


def test_moto_starts_without_looking(vanilla: Account) -> None:
    answer = vanilla.ebs.start_snapshot(VolumeSize=1, ClientToken="a", ParentSnapshotId="snap-0")
    assert answer["BlockSize"] == 512
    assert vanilla.start(ClientToken="a") != answer["SnapshotId"]
    assert vanilla.ec2.describe_volumes()["Volumes"] != []


def test_moto_knows_no_parents(vanilla: Account) -> None:
    parent = vanilla.made(7)
    child = vanilla.made(5, ParentSnapshotId=parent)
    assert vanilla.blocks(child) == [5]
    changed = vanilla.ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child)
    assert [block["BlockIndex"] for block in changed["ChangedBlocks"]] == [7]


def test_moto_encrypts_nothing(vanilla: Account) -> None:
    vanilla.ec2.enable_ebs_encryption_by_default()
    (found,) = vanilla.ec2.describe_snapshots(SnapshotIds=[vanilla.start()])["Snapshots"]
    assert not found["Encrypted"]


def test_moto_reads_without_order_and_token(vanilla: Account) -> None:
    snapshot = vanilla.made(*range(120, 0, -1))
    assert vanilla.blocks(snapshot)[0] == 120
    page = vanilla.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)
    assert len(page["Blocks"]) == 120
    vanilla.ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken="another")


def test_moto_forgets_what_an_ami_is(vanilla: Account) -> None:
    snapshot = vanilla.made(0)
    vanilla.register(snapshot, Architecture="arm64", ImdsSupport="v2.0", BootMode="legacy-bios")
    (image,) = vanilla.ec2.describe_images(Owners=["self"])["Images"]
    assert image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] != snapshot
    assert (image.get("Architecture"), image.get("ImdsSupport"), image["BootMode"]) == (None, None, "uefi")


def test_moto_registers_anything(vanilla: Account) -> None:
    vanilla.register("snap-00000000000000000")
    vanilla.register("snap-00000000000000000")


def test_moto_deletes_what_is_in_use(vanilla: Account) -> None:
    snapshot, other = vanilla.made(0), vanilla.made(0)
    image = vanilla.register(snapshot)
    vanilla.ec2.delete_snapshot(SnapshotId=snapshot)
    vanilla.ec2.deregister_image(ImageId=vanilla.register(other, "other"), DeleteAssociatedSnapshots=True)
    assert vanilla.state(other) == "completed"
    assert image
