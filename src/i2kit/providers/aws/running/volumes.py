"""Volumes of EBS that outlive machines and stacks: found again by their claims, made, grown, removed.

In: an account, a deployment's key, and what `design.volumes` decided. A volume is made with its tags, so that
an interrupted run's is found by the next one. None is ever taken from a machine. Only `remove` deletes any.

Sources: EC2 API reference, CreateVolume, ModifyVolume, DeleteVolume, DescribeVolumes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import ClientError

from i2kit.errors import OperationError
from i2kit.events import Note, Watcher
from i2kit.model import Workload
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import code, explained
from i2kit.providers.aws.design.volumes import CLAIM, NEW, Decision, disks, iops
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.running.stacks import DEPLOYMENT, Pace
from i2kit.providers.aws.values import Ebs, stack_name

GONE = ("deleting", "deleted", "error")
"""States of volumes that are none any more, or never were."""

FILTERED = 100
"""Values of one filter; AWS takes 200."""

PATIENCE_S = 300.0
"""How long a volume may take to come off a machine that is gone."""


@dataclass(slots=True)
class Volumes:
    """The volumes of one deployment, during one run."""

    account: Account
    key: str
    made: list[Ebs] = field(default_factory=list)
    """Those that this run made: nothing was ever on them before."""
    _owners: dict[str, str] = field(default_factory=dict)
    """By id, the deployment that had a volume last."""

    def found(self, workload: Workload) -> Mapping[str, Ebs]:
        """The volumes that are there for its claims, and those that it names.

        Raises OperationError where a claim has two, or one of another deployment that is still there.
        """
        wanted = disks(workload)
        named = {disk.source: disk.claim for disk in wanted if disk.source}
        claims = [f"{workload.namespace}/{disk.claim}" for disk in wanted if not disk.source]
        with explained(f"looking for the volumes of {self.key}"):
            there = list(self._tagged(CLAIM, claims))
            known = [self._ebs(one) for one in there]
            for id_, claim in named.items():
                known += [replace(self._ebs(one), claim=claim) for one in self._named(id_)]
        found: dict[str, Ebs] = {}
        for one in known:
            if other := found.get(one.claim):
                raise OperationError(
                    f"the claim {one.claim} of {self.key} has two volumes: {other.id} and {one.id}",
                    hint=f"remove the tag {CLAIM} from the one that is not to be used",
                )
            found[one.claim] = one
        for one in known:
            owner = self._owners.get(one.id, self.key)
            if owner != self.key and one.id not in named and self._runs(owner):
                raise OperationError(
                    f"the volume of the claim {one.claim} ({one.id}) belongs to {owner}, which is deployed",
                    hint="a volume is in one machine at a time: use another claim, or destroy that first",
                )
        return found

    def place(self, decision: Decision, watch: Watcher) -> tuple[Ebs, ...]:
        """Make and grow what is decided; all volumes, with their ids."""
        namespace = self.key.partition("/")[0]
        ec2 = self.account.ec2
        ids = {}
        for one in decision.made:
            tags = {"Name": one.claim, CLAIM: f"{namespace}/{one.claim}", DEPLOYMENT: self.key}
            with explained(f"making the volume of the claim {one.claim}"):
                answer = ec2.create_volume(
                    AvailabilityZone=one.zone,
                    Size=one.gib,
                    VolumeType=one.type,
                    Encrypted=True,
                    **iops(one.type, one.gib),
                    TagSpecifications=[{"ResourceType": "volume", "Tags": _tags(tags)}],
                )
            ids[one.claim] = answer["VolumeId"]
            self.made.append(replace(one, id=answer["VolumeId"]))
            size = f"{one.gib} GiB in {one.zone}"
            watch(Note(f"made the volume of the claim {one.claim}: {answer['VolumeId']}, {size}"))
        kept = tuple(replace(one, id=ids[one.claim]) if one.id == NEW else one for one in decision.kept)
        grown = {one.id for one in decision.grown}
        for one in kept:
            if one.id in grown:
                with explained(f"growing the volume of the claim {one.claim}"):
                    ec2.modify_volume(VolumeId=one.id, Size=one.gib)
                watch(Note(f"the volume of the claim {one.claim} ({one.id}) grows to {one.gib} GiB"))
            if self._owners.get(one.id, self.key) != self.key:
                with explained(f"taking over the volume of the claim {one.claim}"):
                    ec2.create_tags(Resources=[one.id], Tags=_tags({DEPLOYMENT: self.key}))
        return kept

    def theirs(self) -> Sequence[Ebs]:
        """All that the deployment had, also long ago."""
        with explained(f"looking for the volumes of {self.key}"):
            found = [self._ebs(one) for one in self._tagged(DEPLOYMENT, [self.key]) if _claim(one)]
        return sorted(found, key=lambda one: one.claim)

    def remove(self, gone: Iterable[Ebs], watch: Watcher, pace: Pace) -> None:
        """Delete volumes, with what is on them, once no machine has them any more."""
        for one in gone:
            with explained(f"removing the volume of the claim {one.claim}"):
                self._delete(one.id, pace)
            watch(Note(f"removed the volume of the claim {one.claim}: {one.id}"))

    def _delete(self, id_: str, pace: Pace) -> None:
        began = pace.clock()
        for pause in pace.pauses():
            try:
                self.account.ec2.delete_volume(VolumeId=id_)
            except ClientError as error:
                if code(error) == "InvalidVolume.NotFound":
                    return
                if code(error) != "VolumeInUse" or pace.clock() - began > PATIENCE_S:
                    raise
                pace.wait(pause)
            else:
                return

    def _runs(self, key: str) -> bool:
        return stacks.find(self.account.cloudformation, stack_name(key)) is not None

    def _tagged(self, tag: str, values: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Volumes with a tag of one of these values, that are or will be of use."""
        pages = self.account.ec2.get_paginator("describe_volumes")
        for start in range(0, len(values), FILTERED):
            wanted = {"Name": f"tag:{tag}", "Values": list(values[start : start + FILTERED])}
            for page in pages.paginate(Filters=[wanted]):
                yield from (one for one in page["Volumes"] if one["State"] not in GONE)

    def _named(self, id_: str) -> Iterator[Mapping[str, Any]]:
        try:
            found = self.account.ec2.describe_volumes(VolumeIds=[id_])["Volumes"]
        except ClientError as error:
            if code(error) not in ("InvalidVolume.NotFound", "InvalidParameterValue"):
                raise
            return
        yield from (one for one in found if one["State"] not in GONE)

    def _ebs(self, one: Mapping[str, Any]) -> Ebs:
        tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
        self._owners[one["VolumeId"]] = tags.get(DEPLOYMENT, self.key)
        claim = tags.get(CLAIM, "").partition("/")[2]
        return Ebs(claim, one["VolumeId"], one["AvailabilityZone"], one["Size"], one["VolumeType"])


def _claim(one: Mapping[str, Any]) -> bool:
    return any(tag["Key"] == CLAIM for tag in one.get("Tags", ()))


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
