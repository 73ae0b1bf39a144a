"""Snapshots that check what is written to them, and AMIs that keep what they were registered with.

moto's take any block of any length under any checksum, are completed from the start, and forget all of an
AMI but its name. Sources: EBS direct APIs reference; "Use EBS direct APIs" and "Using encryption" in the
Amazon EBS User Guide; RegisterImage, DeregisterImage, DeleteSnapshot in the EC2 API Reference.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ebs.models import Block, ebs_backends
from moto.ebs.responses import EBSResponse
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_ami_id

BLOCK_BYTES = 512 << 10
BLOCKS_PER_GIB = (1 << 30) // BLOCK_BYTES
LOOKS = 2
"""How often somebody sees that a snapshot is still pending after its end, or an AMI after its beginning."""

NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")
MODES = ("legacy-bios", "uefi", "uefi-preferred")

_init = Ami.__init__
_describe_images = AmiBackend.describe_images
_describe_snapshots = EBSBackend.describe_snapshots
_delete_snapshot = EBSBackend.delete_snapshot


class Refused(ServiceException):
    def __init__(self, code: str, message: str, reason: str = "") -> None:
        self.code = code
        super().__init__(message)
        if reason:
            self.Reason = reason


def install() -> None:
    EBSResponse.start_snapshot = start_snapshot
    EBSResponse.put_snapshot_block = put_snapshot_block
    EBSResponse.complete_snapshot = complete_snapshot
    EBSResponse.get_snapshot_block = get_snapshot_block
    EBSResponse.list_snapshot_blocks = list_snapshot_blocks
    EBSResponse.list_changed_blocks = list_changed_blocks
    EBSBackend.describe_snapshots = describe_snapshots
    EBSBackend.delete_snapshot = delete_snapshot
    ElasticBlockStore.describe_snapshots = answer_snapshots
    AmisResponse.register_image = register_image
    AmisResponse.deregister_image = deregister_image
    AmisResponse.describe_images = describe_images
    mappings = Ami.block_device_mappings.fget
    Ami.block_device_mappings = property(
        lambda ami: ami.registered_mappings if hasattr(ami, "registered_mappings") else mappings(ami)
    )


# Writing a snapshot: checked, and not readable before its end.


def start_snapshot(self: Any) -> ActionResult:
    backend, ec2 = self.ebs_backend, self.ebs_backend.ec2_backend
    parent_id, token = self._get_param("ParentSnapshotId"), self._get_param("ClientToken")
    asked = {
        name: self._get_param(name) for name in ("VolumeSize", "ParentSnapshotId", "Description", "Tags")
    }
    for made in backend.snapshots.values():
        if token and made.token == token:
            if made.asked != asked:
                raise Refused("ConflictException", "The client token was used for another request.")
            return ActionResult(started(made))
    if not 1 <= (asked["VolumeSize"] or 0) <= 65536:
        raise Refused("ValidationException", "Invalid volume size.", "INVALID_VOLUME_SIZE")
    timeout = self._get_param("Timeout")
    if timeout is not None and not 10 <= timeout <= 4320:
        raise Refused("ValidationException", "Invalid timeout.", "INVALID_PARAMETER_VALUE")
    if parent_id and self._get_param("Encrypted") is not None:
        raise Refused("ValidationException", "Encrypted and ParentSnapshotId exclude each other.")
    parent = None
    if parent_id:
        parent = backend.snapshots.get(parent_id)
        if parent is None or parent_id not in ec2.snapshots:
            raise Refused("ResourceNotFoundException", "The snapshot does not exist.", "SNAPSHOT_NOT_FOUND")
        if ec2.snapshots[parent_id].status != "completed":
            raise Refused("ValidationException", "The parent is not completed.", "INVALID_SNAPSHOT_ID")
        if asked["VolumeSize"] < parent.volume_size:
            raise Refused("ValidationException", "Smaller than its parent.", "INVALID_VOLUME_SIZE")
        if ec2.get_ebs_encryption_by_default() and not ec2.snapshots[parent_id].encrypted:
            raise Refused("ValidationException", "The parent is not encrypted.", "INVALID_DEPENDENCY_REQUEST")
    made = backend.start_snapshot(
        volume_size=asked["VolumeSize"], tags=asked["Tags"], description=asked["Description"]
    )
    snapshot = ec2.snapshots[made.snapshot_id]
    # No volume was ever there.
    ec2.delete_volume(snapshot.volume.id)
    snapshot.volume.id = "vol-ffffffff"
    snapshot.status = "pending"
    inherited = bool(parent_id) and ec2.snapshots[parent_id].encrypted
    asked_for = bool(self._get_param("Encrypted"))
    snapshot.encrypted = asked_for or inherited or ec2.get_ebs_encryption_by_default()
    made.token, made.asked, made.parent = token, asked, parent_id
    made.lineage = parent.lineage if parent else made.snapshot_id
    made.block_size, made.written = BLOCK_BYTES, {}
    made.blocks = dict(parent.blocks) if parent else {}
    return ActionResult(started(made))


def started(made: Any) -> dict[str, Any]:
    return {
        "SnapshotId": made.snapshot_id,
        "OwnerId": made.account_id,
        "Status": made.status,
        "StartTime": made.start_time,
        "VolumeSize": made.volume_size,
        "BlockSize": made.block_size,
        "Tags": made.tags,
        "Description": made.description,
        "ParentSnapshotId": made.parent,
    }


def put_snapshot_block(self: Any) -> ActionResult:
    made = pending(self)
    index, data = int(self._get_param("BlockIndex")), self._get_param("BlockData")
    if len(data) != BLOCK_BYTES or self._get_param("DataLength") != BLOCK_BYTES:
        raise Refused("ValidationException", "A block has 524288 bytes.", "INVALID_BLOCK")
    if not 0 <= index < made.volume_size * BLOCKS_PER_GIB:
        raise Refused("ValidationException", "The block is behind the volume's end.", "INVALID_BLOCK")
    digest = hashlib.sha256(data).digest()
    if self._get_param("ChecksumAlgorithm") != "SHA256" or self._get_param("Checksum") != base64_of(digest):
        raise Refused("ValidationException", "The checksum is not the block's.", "INVALID_BLOCK")
    made.blocks[index] = Block(data, base64_of(digest), "SHA256", BLOCK_BYTES)
    made.written[index] = digest
    return ActionResult({"Checksum": base64_of(digest), "ChecksumAlgorithm": "SHA256"})


def complete_snapshot(self: Any) -> ActionResult:
    made = pending(self)
    if self._get_param("ChangedBlocksCount") != len(made.written):
        raise Refused(
            "ValidationException", f"{len(made.written)} blocks were written.", "INVALID_PARAMETER_VALUE"
        )
    if given := self._get_param("Checksum"):
        whole = hashlib.sha256(b"".join(digest for _, digest in sorted(made.written.items()))).digest()
        if given != base64_of(whole) or self._get_param("ChecksumAggregationMethod") != "LINEAR":
            raise Refused("ValidationException", "The checksum is not the snapshot's.", "INVALID_BLOCK")
    made.status = "completed"
    self.ebs_backend.ec2_backend.snapshots[made.snapshot_id].looks_left = LOOKS
    return ActionResult({"Status": "pending"})


def pending(self: Any) -> Any:
    """The snapshot of a request that writes."""
    made = known(self, self._get_param("SnapshotId"))
    if made.status != "pending":
        raise Refused("ValidationException", "The snapshot is not pending.", "INVALID_SNAPSHOT_ID")
    return made


def known(self: Any, name: str | None) -> Any:
    made = self.ebs_backend.snapshots.get(name)
    if made is None:
        raise Refused(
            "ResourceNotFoundException", f"The snapshot '{name}' does not exist.", "SNAPSHOT_NOT_FOUND"
        )
    return made


# Reading a snapshot.


def completed(self: Any, name: str | None) -> Any:
    made = known(self, name)
    if made.status != "completed":
        raise Refused("ValidationException", "The snapshot is not completed.", "INVALID_SNAPSHOT_ID")
    return made


def get_snapshot_block(self: Any) -> ActionResult:
    made = completed(self, self._get_param("SnapshotId"))
    block = made.blocks.get(int(self._get_param("BlockIndex")))
    if block is None or block.block_token != self._get_param("BlockToken"):
        raise Refused("ValidationException", "The block token is not valid.", "INVALID_BLOCK_TOKEN")
    return ActionResult(
        {
            "DataLength": BLOCK_BYTES,
            "BlockData": block.block_data,
            "Checksum": block.checksum,
            "ChecksumAlgorithm": "SHA256",
        }
    )


def list_snapshot_blocks(self: Any) -> ActionResult:
    made = completed(self, self._get_param("SnapshotId"))
    rows = ({"BlockIndex": index, "BlockToken": made.blocks[index].block_token} for index in made.blocks)
    return paged(self, made, "Blocks", rows)


def list_changed_blocks(self: Any) -> ActionResult:
    first = completed(self, self._get_param("FirstSnapshotId"))
    second = completed(self, self._get_param("SecondSnapshotId"))
    if first.lineage != second.lineage:
        raise Refused("ValidationException", "The snapshots are not related.", "UNRELATED_SNAPSHOTS")
    rows = []
    for index in first.blocks.keys() | second.blocks.keys():
        one, two = first.blocks.get(index), second.blocks.get(index)
        if one is None or two is None or one.block_data != two.block_data:
            tokens = {"FirstBlockToken": one, "SecondBlockToken": two}
            rows.append(
                {"BlockIndex": index, **{key: block.block_token for key, block in tokens.items() if block}}
            )
    return paged(self, second, "ChangedBlocks", rows)


def paged(self: Any, made: Any, member: str, rows: Iterable[Mapping[str, Any]]) -> ActionResult:
    """Rows in order, from where was asked on, as many as was asked for."""
    size = int(self._get_param("MaxResults") or 10000)
    if not 100 <= size <= 10000:
        raise Refused("ValidationException", "MaxResults is 100 to 10000.", "INVALID_PARAMETER_VALUE")
    begin = int(self._get_param("NextToken") or self._get_param("StartingBlockIndex") or 0)
    ordered = sorted((row for row in rows if row["BlockIndex"] >= begin), key=lambda row: row["BlockIndex"])
    answer: dict[str, Any] = {
        member: ordered[:size],
        "VolumeSize": made.volume_size,
        "BlockSize": BLOCK_BYTES,
        "ExpiryTime": utcnow() + timedelta(days=7),
    }
    if len(ordered) > size:
        answer["NextToken"] = str(ordered[size]["BlockIndex"])
    return ActionResult(answer)


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


# Snapshots as EC2 sees them.


def answer_snapshots(self: Any) -> ActionResult:
    for snapshot in list(self.ec2_backend.snapshots.values()):
        if left := getattr(snapshot, "looks_left", 0):
            snapshot.looks_left = left - 1
            snapshot.status = "pending" if left > 1 else "completed"
    return ActionResult(
        {
            "Snapshots": self.ec2_backend.describe_snapshots(
                snapshot_ids=self._get_param("SnapshotIds", []), filters=self._filters_from_querystring()
            )
        }
    )


def describe_snapshots(self: Any, snapshot_ids: list[str] | None = None, filters: Any = None) -> list[Any]:
    """Without those that moto makes for each AMI: on AWS an AMI has those that it was registered with."""
    made_up = {ami.ebs_snapshot.id for ami in self.amis.values() if hasattr(ami, "registered_mappings")}
    return [one for one in _describe_snapshots(self, snapshot_ids, filters) if one.id not in made_up]


def delete_snapshot(self: Any, snapshot_id: str) -> Any:
    for ami in self.amis.values():
        if snapshot_id in used(ami):
            raise EC2ClientError(
                "InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {ami.id}"
            )
    deleted = _delete_snapshot(self, snapshot_id)
    ebs_backends[self.account_id][self.region_name].snapshots.pop(snapshot_id, None)
    return deleted


def used(ami: Any) -> list[str]:
    mappings = getattr(ami, "registered_mappings", [])
    return [mapping["Ebs"]["SnapshotId"] for mapping in mappings if "Ebs" in mapping]


# AMIs.


def register_image(self: Any) -> ActionResult:
    ec2 = self.ec2_backend
    name = self._get_param("Name") or ""
    if not NAME.fullmatch(name):
        raise EC2ClientError("InvalidAMIName.Malformed", "AMI names are 3 to 128 of certain characters.")
    for ami in ec2.amis.values():
        if ami.name == name and ami.owner_id == ec2.account_id:
            raise EC2ClientError(
                "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {ami.id}"
            )
    mode = self._get_param("BootMode")
    if mode not in (None, *MODES):
        raise EC2ClientError("InvalidParameterValue", f"Value ({mode}) for parameter bootMode is invalid.")
    root = self._get_param("RootDeviceName") or "/dev/sda1"
    mappings = [kept(ec2, one) for one in self._get_param("BlockDeviceMappings", [])]
    if root not in [one["DeviceName"] for one in mappings]:
        raise EC2ClientError("InvalidBlockDeviceMapping", f"There is no snapshot for the root device {root}.")
    ami = Ami(
        ec2,
        random_ami_id(),
        name=name,
        description=self._get_param("Description", ""),
        virtualization_type=self._get_param("VirtualizationType") or "paravirtual",
        architecture=self._get_param("Architecture") or "i386",
        root_device_name=root,
        root_device_type="ebs",
        boot_mode=mode,
        hypervisor="xen",
    )
    ami.registered_mappings = mappings
    ami.ena_support = bool(self._get_param("EnaSupport"))
    ami.imds_support = self._get_param("ImdsSupport")
    ami.state, ami.looks_left = "pending", LOOKS
    for specification in self._get_param("TagSpecifications", []):
        if specification["ResourceType"] == "image":
            ami.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    ec2.amis[ami.id] = ami
    return ActionResult({"ImageId": ami.id})


def kept(ec2: Any, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A block device as the AMI will tell it: its snapshot is there, its size not below the snapshot's."""
    given = mapping["Ebs"]
    snapshot = ec2.snapshots.get(given.get("SnapshotId"))
    if snapshot is None:
        raise EC2ClientError(
            "InvalidSnapshot.NotFound", f"The snapshot '{given.get('SnapshotId')}' does not exist."
        )
    if snapshot.status != "completed":
        raise EC2ClientError(
            "InvalidParameterValue", f"Snapshot {snapshot.id} is in invalid state - {snapshot.status}"
        )
    size = int(given.get("VolumeSize") or snapshot.volume_size)
    if size < snapshot.volume_size:
        raise EC2ClientError("InvalidBlockDeviceMapping", "The volume is smaller than its snapshot.")
    return {
        "DeviceName": mapping["DeviceName"],
        "Ebs": {
            "SnapshotId": snapshot.id,
            "VolumeSize": size,
            "VolumeType": given.get("VolumeType") or "standard",
            "DeleteOnTermination": given.get("DeleteOnTermination", True) in (True, "true"),
            "Encrypted": snapshot.encrypted,
        },
    }


def describe_images(self: Any) -> ActionResult:
    ec2 = self.ec2_backend
    for ami in list(ec2.amis.values()):
        if left := getattr(ami, "looks_left", 0):
            ami.looks_left = left - 1
            ami.state = "pending" if left > 1 else "available"
    found = _describe_images(
        ec2,
        ami_ids=self._get_param("ImageIds", []),
        filters=self._filters_from_querystring(),
        exec_users=self._get_param("ExecutableUsers", []),
        owners=self._get_param("Owners", []),
    )
    hidden = "" if self._get_param("IncludeDisabled") in (True, "true") else "disabled"
    return ActionResult({"Images": [ami for ami in found if ami.state != hidden]})


def deregister_image(self: Any) -> ActionResult | EmptyResult:
    ec2, ami_id = self.ec2_backend, self._get_param("ImageId")
    snapshots = used(ec2.amis[ami_id]) if ami_id in ec2.amis else []
    made_up = ec2.amis[ami_id].ebs_snapshot.id if snapshots else None
    ec2.deregister_image(ami_id)
    ec2.snapshots.pop(made_up, None)
    answer: dict[str, Any] = {"Return": True}
    if self._get_param("DeleteAssociatedSnapshots") in (True, "true"):
        answer["DeleteSnapshotResults"] = []
        for one in snapshots:
            ec2.delete_snapshot(one)
            answer["DeleteSnapshotResults"].append({"SnapshotId": one, "ReturnCode": "success"})
    return ActionResult(answer)
