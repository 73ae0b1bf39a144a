"""A raw disk becomes an AMI: found by its content, else made of what no earlier one has.

In: the disk of a machine image. Out: an AMI that is available. An AMI's name is the hash of its disk: so a
second run finds it and sends nothing. Else the most alike of our snapshots becomes the new one's parent,
and only the blocks that differ are sent. Everything that is made says in its tags what it is, from its
first moment: a run that was interrupted anywhere is continued by the next, and nothing is made twice.

Never deletes what has no tags of ours, nor what is in use.

Sources: EC2 API reference, RegisterImage, DeregisterImage; Amazon EBS user guide, "Use EBS direct APIs to
access the contents of an EBS snapshot"; EC2 user guide, "Boot modes", "Configure the Instance Metadata
Service for new instances".
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from i2kit import blocks
from i2kit.blocks import BLOCK_BYTES
from i2kit.errors import OperationError
from i2kit.events import Finished, Progress, Started, Warned, Watcher, ignore
from i2kit.model import Pairs
from i2kit.providers.aws.access.calls import code, explained
from i2kit.providers.aws.access.session import Session
from i2kit.providers.aws.amis import blockmap, snapshot
from i2kit.providers.aws.amis.blockmap import BlockMap
from i2kit.providers.aws.values import BOOT_MODES, ROOT_DEVICE, Ami, Architecture

DISK_TAG = "i2kit:disk"
"""The hash of the disk: on snapshots and AMIs, and what tells that they are ours."""

IMAGE_TAG = "i2kit:image"
"""The id of the machine image."""

BYTES_TAG = "i2kit:bytes"
"""How large the disk is: AWS only tells of volumes, in GiB."""

PARENT_TAG = "i2kit:parent"
"""The snapshot that this one was built upon, empty for none."""

SKETCH_TAG = "i2kit:sketch"
"""By what the most alike snapshot is found without reading any."""

ROUNDS = 3
"""How often to begin anew when somebody else completes, registers or deletes the same thing meanwhile."""

PATIENCE_S = 900
"""Until a snapshot whose blocks are all there is completed; mostly that takes a minute."""

OTHERS_PATIENCE_S = 60
"""Until a snapshot is completed that somebody else has sealed; one that is pending then is just refused."""

ABANDONED = timedelta(hours=2)
"""After this a completed snapshot that no AMI has is a run's that was killed; no run takes so long."""

LOST = frozenset({"ResourceNotFoundException", "ValidationException", "ConflictException"})
"""What EBS says when somebody else has completed or deleted the snapshot."""

GONE = frozenset({"InvalidSnapshot.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"})


OURS = ({"Name": "tag-key", "Values": [DISK_TAG]},)
"""Finds what we made."""

NO_VERSIONS: Mapping[str, str] = {}

FILTER_VALUES = 200
"""How many values EC2 takes in one filter."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Of the SDK, for one region."""

    ec2: Any
    ebs: Any


@dataclass(frozen=True, slots=True)
class Published:
    """`sent_bytes` is what had to travel, 0 where the AMI was there already."""

    ami: Ami
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Owned:
    """An AMI of ours as it is in the account. `ami.size_bytes` is the volume's where that of the disk is not
    known."""

    ami: Ami
    name: str
    architecture: Architecture
    snapshots: tuple[str, ...]
    created_at: str
    """RFC 3339, UTC."""
    tags: Pairs


def clients(session: Session) -> Clients:
    """The clients that the rest of this module takes."""
    # The many threads' retries are in `calls`.
    with explained("connecting to AWS"):
        ebs = session.client(
            "ebs", retries={"total_max_attempts": 1}, max_pool_connections=snapshot.WORKERS, read_timeout=30
        )
        return Clients(session.client("ec2"), ebs)


def survey(disk: Path, architecture: Architecture) -> BlockMap:
    """What is on the disk, block by block."""
    found = {}
    for block, data in blocks.blocks(disk):
        whole = len(data) == BLOCK_BYTES
        found[block.index] = block.sha256 if whole else blocks.digest(blockmap.filled(data))
    return BlockMap(architecture, disk.stat().st_size, found)


def ami_name(wanted: BlockMap) -> str:
    return f"i2kit-{wanted.name}"


def find(aws: Clients, wanted: BlockMap) -> Ami | None:
    """The AMI of this disk, once it is available; None where there is none."""
    with explained("looking for the AMI"):
        found = _named(aws.ec2, ami_name(wanted))
        return _ami(found) if found else None


def owned(aws: Clients) -> tuple[Owned, ...]:
    """All AMIs of ours in this account and region, oldest first."""
    with explained("listing the AMIs"):
        found = [
            Owned(
                _ami(image),
                image["Name"],
                image["Architecture"],
                _snapshots(image),
                image["CreationDate"],
                _pairs(image),
            )
            for image in _images(aws.ec2, OURS)
        ]
    return tuple(sorted(found, key=lambda one: (one.created_at, one.ami.id)))


def publish(
    aws: Clients,
    disk: Path,
    *,
    image: str,
    architecture: Architecture,
    tags: Pairs = (),
    watch: Watcher = ignore,
) -> Published:
    """The AMI of this disk, made where it is not there yet. `image` is the machine image's id.

    Raises OperationError; then, and when interrupted, nothing unfinished is left, as far as AWS
    can still be reached.
    """
    wanted = survey(disk, architecture)
    work = _Work(aws, disk, wanted, image, tags, watch, f"ami {image[:12]}")
    watch(Started(work.key, "upload the machine image as an AMI"))
    with explained("making the AMI"):
        found = work.make()
        work.sweep(found)
    sent = f"{work.sent_bytes / 1e6:.1f} MB sent" if work.sent_bytes else "nothing to send"
    watch(Finished(work.key, f"{found['ImageId']}, {sent}"))
    return Published(_ami(found), work.sent_bytes)


def images_of(aws: Clients, amis: Sequence[str]) -> Mapping[str, str]:
    """The machine images that these AMIs are of; without those that are gone or not ours."""
    found = _images(aws.ec2, [{"Name": "image-id", "Values": list(amis)}])
    return {image["ImageId"]: _tags(image)[IMAGE_TAG] for image in found if IMAGE_TAG in _tags(image)}


def users(
    aws: Clients, amis: Sequence[str], versions: Mapping[str, str] = NO_VERSIONS
) -> Mapping[str, tuple[str, ...]]:
    """What would miss these AMIs, by AMI: instances that are not about to go, and launch templates whose
    default or latest version has one.

    `versions` are the launch templates of groups, by name, and the only version of each that counts:
    CloudFormation leaves the first one the default for ever. What a deployment could go back to is told by
    its record alone.
    """
    found: dict[str, list[str]] = {ami: [] for ami in amis}
    states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    for some in _portions(amis):
        uses = {"Name": "image-id", "Values": some}
        for reservation in _pages(aws.ec2, "describe_instances", "Reservations", Filters=[uses, states]):
            for one in reservation["Instances"]:
                found[one["ImageId"]].append(one["InstanceId"])
        # Without the name of a template this asks for those of all.
        for one in _pages(
            aws.ec2,
            "describe_launch_template_versions",
            "LaunchTemplateVersions",
            Versions=["$Latest", "$Default"],
            Filters=[uses],
        ):
            name, number = one["LaunchTemplateName"], str(one["VersionNumber"])
            if versions.get(name, number) == number:
                found[one["LaunchTemplateData"]["ImageId"]].append(name)
    return {ami: tuple(dict.fromkeys(each)) for ami, each in found.items()}


def remove(
    aws: Clients, ami: str, *, versions: Mapping[str, str] = NO_VERSIONS, watch: Watcher = ignore
) -> None:
    """Deregister an AMI of ours and delete its snapshots. Does nothing where it is gone already.

    `versions` are as for `users`. Raises OperationError for one that is in use or not ours, and then
    touches nothing.
    """
    with explained(f"removing {ami}"):
        image = _image(aws.ec2, ami)
        if image is None:
            return
        if DISK_TAG not in dict(_pairs(image)):
            raise OperationError(f"{ami} was not made by i2kit: it has no tag `{DISK_TAG}`")
        if used := users(aws, [ami], versions)[ami]:
            raise OperationError(
                f"{ami} is in use by {', '.join(used)}",
                hint="destroy or update the deployment that uses it first",
            )
        aws.ec2.deregister_image(ImageId=ami, DeleteAssociatedSnapshots=True)
        # An older or another region's API may leave them, and so does one that is not allowed to.
        for one in _snapshots(image):
            _delete(aws.ec2, one, watch)


def sweep(aws: Clients, tags: Pairs, *, watch: Watcher = ignore) -> None:
    """Delete what runs that were killed have left: snapshots with these tags that are of no AMI, and all
    other such snapshots of ours that are too old for a run to go on with them.
    """
    with explained("looking for snapshots that interrupted uploads have left"):
        # In this order: what becomes an AMI's meanwhile is kept.
        ours = _described(aws.ec2, OURS)
        kept = {one for image in _images(aws.ec2, OURS) for one in _snapshots(image)}
        latest = datetime.now(UTC) - ABANDONED
        for one in ours:
            of_these = bool(tags) and set(tags) <= set(_pairs(one))
            if one["SnapshotId"] not in kept and (of_these or one["StartTime"] < latest):
                _delete(aws.ec2, one["SnapshotId"], watch)


@dataclass(slots=True)
class _Work:
    """One disk on its way to an AMI."""

    aws: Clients
    disk: Path
    wanted: BlockMap
    image: str
    tags: Pairs
    watch: Watcher
    key: str
    sent_bytes: int = 0

    def make(self) -> Mapping[str, Any]:
        for _ in range(ROUNDS):
            if found := _named(self.aws.ec2, ami_name(self.wanted)):
                return found
            if (made := self.snapshot()) and (registered := self.register(made)):
                return registered
        raise OperationError(
            "somebody else makes and deletes the same AMI all the time", hint="run this again later"
        )

    def snapshot(self) -> str | None:
        """A completed snapshot of the disk; None where what was there has changed meanwhile."""
        there = [one for one in self.ours() if one["State"] != "error"]
        for one in sorted(there, key=lambda one: str(one["State"])):  # completed before pending
            if one["State"] == "completed":
                return str(one["SnapshotId"])
            parent = _tags(one).get(PARENT_TAG, "")
            before = self.table(parent) if parent else None
            if not parent or before:
                return self.fill(one["SnapshotId"], before)
            # What it has of its parent can't be told any more.
            _delete(self.aws.ec2, one["SnapshotId"], self.watch)
        parent, before = self.parent() or ("", None)
        started, built_upon = self.start(parent)
        return self.fill(started, before if built_upon else None)

    def ours(self) -> Sequence[Mapping[str, Any]]:
        """The snapshots of this disk that an earlier run has left, or another one makes right now."""
        return _described(self.aws.ec2, [{"Name": f"tag:{DISK_TAG}", "Values": [self.wanted.name]}])

    def parent(self) -> tuple[str, BlockMap] | None:
        """The snapshot that has most of this disk, and what it has."""
        if self.wanted.table_index is None or self.encrypts():
            return None
        others = [
            (blockmap.likeness(_tags(one).get(SKETCH_TAG, ""), self.wanted.sketch), one["StartTime"], one)
            for one in _described(self.aws.ec2, [{"Name": "tag-key", "Values": [SKETCH_TAG]}])
            if one["State"] == "completed"
            and not one.get("Encrypted")
            and one["VolumeSize"] == self.wanted.volume_gib
        ]
        for alike, _, one in sorted(others, key=lambda other: other[:2], reverse=True):
            if alike and (table := self.table(one["SnapshotId"], _tags(one)[DISK_TAG])):
                return one["SnapshotId"], table
        return None

    def encrypts(self) -> bool:
        """Whether new snapshots are encrypted; such a one cannot build upon one that isn't."""
        with contextlib.suppress(ClientError):  # not being allowed to ask is no reason to fail
            return bool(self.aws.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"])
        return False

    def table(self, parent: str, name: str | None = None) -> BlockMap | None:
        """What a snapshot of ours has; None where it is gone or can't be read."""
        if name is None:
            found = _described(self.aws.ec2, [{"Name": "snapshot-id", "Values": [parent]}])
            name = _tags(found[0]).get(DISK_TAG) if found else None
        index = self.wanted.table_index
        if name is None or index is None:
            return None
        with contextlib.suppress(ClientError):
            return blockmap.parse(snapshot.get(self.aws.ebs, parent, index), name)
        return None

    def start(self, parent: str) -> tuple[str, bool]:
        """A new snapshot, and whether it builds upon `parent`; without it where AWS does not want that."""
        for upon in (parent, "") if parent else ("",):
            try:
                answer = snapshot.start(
                    self.aws.ebs,
                    self.wanted.volume_gib,
                    upon,
                    f"i2kit machine image {self.image[:12]}",
                    _tag_list({**self.described(), PARENT_TAG: upon, SKETCH_TAG: self.wanted.sketch}),
                )
            except ClientError as error:
                if upon and code(error) in LOST | {"AccessDeniedException"}:
                    continue
                raise
            return answer, bool(upon)
        raise AssertionError

    def fill(self, target: str, before: BlockMap | None) -> str | None:
        """Write what `target` lacks and complete it; None where somebody else has changed it meanwhile."""
        hashes = blockmap.changes(before, self.wanted)
        total = len(hashes) * BLOCK_BYTES
        done = 0

        def sent(_: int) -> None:
            nonlocal done
            done += BLOCK_BYTES
            self.watch(Progress(self.key, done, total, "bytes"))

        try:
            self.watch(Progress(self.key, 0, total, "bytes"))
            with self.reading() as read:
                snapshot.put(self.aws.ebs, target, hashes, read, sent)
            state = _settled(self.aws.ec2, target, PATIENCE_S)
            if state == "pending":
                raise OperationError(
                    f"the snapshot {target} is not completed after {PATIENCE_S // 60} minutes"
                )
            return target if state == "completed" else None
        except BaseException as error:
            if isinstance(error, ClientError) and code(error) in LOST:
                state = _settled(self.aws.ec2, target, OTHERS_PATIENCE_S)
                if state != "pending":
                    return target if state == "completed" else None
            with contextlib.suppress(ClientError, BotoCoreError):
                self.aws.ec2.delete_snapshot(SnapshotId=target)
            raise
        finally:
            self.sent_bytes += done

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[int], bytes]]:
        """Blocks of the volume: of the disk, and the table."""
        descriptor = os.open(self.disk, os.O_RDONLY)
        table = blockmap.filled(self.wanted.table) if self.wanted.table_index is not None else b""
        try:
            yield (
                lambda index: (
                    table
                    if index == self.wanted.table_index
                    else blockmap.filled(blocks.read(descriptor, index))
                )
            )
        finally:
            os.close(descriptor)

    def register(self, target: str) -> Mapping[str, Any] | None:
        """The AMI of a completed snapshot; None where there is one of this name meanwhile."""
        ec2 = self.aws.ec2
        try:
            ec2.register_image(
                Name=ami_name(self.wanted),
                Description=f"i2kit machine image {self.image[:12]}",
                Architecture=self.wanted.architecture,
                VirtualizationType="hvm",
                EnaSupport=True,
                BootMode=BOOT_MODES[self.wanted.architecture],
                ImdsSupport="v2.0",
                RootDeviceName=ROOT_DEVICE,
                BlockDeviceMappings=[
                    {
                        "DeviceName": ROOT_DEVICE,
                        "Ebs": {"SnapshotId": target, "VolumeType": "gp3", "DeleteOnTermination": True},
                    }
                ],
                TagSpecifications=[{"ResourceType": "image", "Tags": _tag_list(self.described(whole=True))}],
            )
        except ClientError as error:
            if code(error) in {"InvalidAMIName.Duplicate", "InvalidSnapshot.NotFound"}:
                return None
            raise
        return _named(ec2, ami_name(self.wanted))

    def described(self, *, whole: bool = False) -> dict[str, str]:
        """The tags of all that is made; `whole`: of what has all of the disk."""
        size = {BYTES_TAG: str(self.wanted.size_bytes)} if whole else {}
        return {**dict(self.tags), DISK_TAG: self.wanted.name, IMAGE_TAG: self.image, **size}

    def sweep(self, ami: Mapping[str, Any]) -> None:
        """Delete what runs that were killed have left: of this disk, and after an upload of any."""
        for left in sorted({str(one["SnapshotId"]) for one in self.ours()} - set(_snapshots(ami))):
            _delete(self.aws.ec2, left, self.watch)
        if self.sent_bytes:
            sweep(self.aws, (), watch=self.watch)


def _named(ec2: Any, name: str) -> Mapping[str, Any] | None:
    """Our AMI of this name, once it is available."""
    for pause_s in _pauses(PATIENCE_S):
        found = _images(ec2, [{"Name": "name", "Values": [name]}])
        if not found or found[0]["State"] == "available":
            return found[0] if found else None
        (image,) = found
        if image["State"] == "disabled":
            raise OperationError(
                f"the AMI {image['ImageId']} of this image is disabled",
                hint=f"enable it: aws ec2 enable-image --image-id {image['ImageId']}",
            )
        if image["State"] != "pending":
            ec2.deregister_image(ImageId=image["ImageId"])
            return None
        Flag().wait(pause_s)
    raise OperationError(f"the AMI {name} does not become available")


def _settled(ec2: Any, target: str, patience_s: float) -> Literal["completed", "pending", "gone"]:
    """What a snapshot is once EBS is done with it; `pending` if that takes too long."""
    for pause_s in _pauses(patience_s):
        found = _described(ec2, [{"Name": "snapshot-id", "Values": [target]}])
        state = found[0]["State"] if found else "gone"
        if state == "error":
            raise OperationError(
                f"EBS could not complete the snapshot: {found[0].get('StateMessage', 'no reason given')}"
            )
        if state == "completed":
            return "completed"
        if state == "gone":
            return "gone"
        Flag().wait(pause_s)
    return "pending"


def _pauses(patience_s: float) -> Iterator[float]:
    """Longer and longer ones, so long together."""
    total, pause_s = 0.0, 0.1
    while total < patience_s:
        yield pause_s
        total += pause_s
        pause_s = min(5.0, pause_s * 2)


def _delete(ec2: Any, target: str, watch: Watcher) -> None:
    """Delete a snapshot; one that is gone is fine, one that is in use stays."""
    try:
        ec2.delete_snapshot(SnapshotId=target)
    except ClientError as error:
        if code(error) not in GONE | {"InvalidSnapshot.InUse"}:
            watch(Warned(f"the snapshot {target} could not be deleted: {code(error)}"))


def _image(ec2: Any, ami: str) -> Mapping[str, Any] | None:
    found = _images(ec2, [{"Name": "image-id", "Values": [ami]}])
    return found[0] if found else None


def _images(ec2: Any, filters: Sequence[Mapping[str, object]]) -> list[Mapping[str, Any]]:
    return _pages(ec2, "describe_images", "Images", Owners=["self"], Filters=filters, IncludeDisabled=True)


def _described(ec2: Any, filters: Sequence[Mapping[str, object]]) -> list[Mapping[str, Any]]:
    return _pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)


def _portions(amis: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(amis), FILTER_VALUES):
        yield list(amis[start : start + FILTER_VALUES])


def _pages(ec2: Any, operation: str, member: str, **words: object) -> list[Mapping[str, Any]]:
    return [one for page in ec2.get_paginator(operation).paginate(**words) for one in page[member]]


def _ami(image: Mapping[str, Any]) -> Ami:
    mappings = [one["Ebs"] for one in image["BlockDeviceMappings"] if "Ebs" in one]
    tags, volumes = _tags(image), sum(one["VolumeSize"] for one in mappings) << 30
    told = tags.get(BYTES_TAG, "")
    return Ami(image["ImageId"], tags.get(IMAGE_TAG, ""), int(told) if told.isdecimal() else volumes)


def _snapshots(image: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"] if "Ebs" in one)


def _tags(thing: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", ())}


def _pairs(thing: Mapping[str, Any]) -> Pairs:
    return tuple(sorted(_tags(thing).items()))


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
