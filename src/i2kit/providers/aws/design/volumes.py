"""Disks of pods on AWS: which volumes of EBS a deployment needs, where each is, and its scratch disks. Pure.

In: a workload, the network, and the volumes that there are by their claims. Out: a Decision. A volume is
found again by its claim's name, as long as nobody removes it: it is never made twice, never moved to another
zone and never smaller than it was. None is part of a stack, since it outlives them.

Sources: "Amazon EBS volume types", "Device names for volumes" in the EBS and EC2 user guides.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from i2kit.errors import Problem
from i2kit.model import Claim, Scratch, Workload
from i2kit.providers.aws.values import Ebs, Network

GIB = 1 << 30

TYPES: Mapping[str, tuple[int, int]] = {
    "gp3": (1, 65536),
    "gp2": (1, 16384),
    "io1": (4, 16384),
    "io2": (4, 65536),
    "st1": (125, 16384),
    "sc1": (125, 16384),
}
"""By their names the least and the most GiB. EC2 has the type standard too, but as a storage class that is
what clusters call whatever is usual."""

USUAL = "gp3"

IOPS_PER_GIB: Mapping[str, int] = {"io1": 50, "io2": 500}
LEAST_IOPS, USUAL_IOPS = 100, 3000
"""What volumes of these types get: as much as gp3 has, where their size lets them."""

NEW = "vol-" + "0" * 17
"""Stands for a volume that is still to be made."""

CLAIM = "i2kit:claim"
"""The tag by which a volume is found again: `namespace/claim`."""

MOST = 11
"""Of one machine: the names /dev/sdf to /dev/sdp."""

SCRATCH_DEVICE = "/dev/xvdb"
DEFAULT_SCRATCH_BYTES = GIB
"""For an emptyDir that says nothing, the same as on the local machine."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What one machine of a deployment has attached: the pod's `volume`, by this claim."""

    volume: str
    claim: str
    number: int
    """Of the machine; 0 where they are not numbered."""
    gib: int
    type: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """`kept` are all volumes as they will be; new ones, which are in `made` too, have the id `NEW`."""

    kept: tuple[Ebs, ...] = ()
    made: tuple[Ebs, ...] = ()
    grown: tuple[Ebs, ...] = ()
    """As they are now."""
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def claims(workload: Workload) -> Iterator[tuple[str, Claim]]:
    """With the names of the pod's volumes."""
    for one in workload.volumes:
        if isinstance(one.source, Claim):
            yield one.name, one.source


def type_of(claim: Claim) -> str:
    return claim.kind if claim.kind and claim.kind in TYPES else USUAL


def pinned(workload: Workload) -> bool:
    """Whether there may never be two machines of one number: what they have can't be shared."""
    return workload.stateful or any(True for _ in claims(workload))


def disks(workload: Workload) -> tuple[Disk, ...]:
    """Of all machines, by number."""
    found = []
    for number in range(workload.replicas if workload.stateful else 1):
        for volume, claim in claims(workload):
            name = f"{claim.name}-{workload.name}-{number}" if claim.each else claim.name
            type_ = type_of(claim)
            gib = max(TYPES[type_][0], -(-claim.size_bytes // GIB))
            found.append(Disk(volume, name, number, gib, type_, claim.source))
    return tuple(found)


def scratch_gib(workload: Workload) -> int:
    """Of the disk for emptyDir volumes; 0 where there are none on a disk."""
    sizes = [
        one.source.limit_bytes or DEFAULT_SCRATCH_BYTES
        for one in workload.volumes
        if isinstance(one.source, Scratch) and not one.source.memory
    ]
    return -(-sum(sizes) // GIB)


def zone_of(number: int, workload: Workload, kept: Iterable[Ebs]) -> str | None:
    """Where the volumes of a machine are; None where it has none."""
    mine = {disk.claim for disk in disks(workload) if disk.number == number}
    return next((one.zone for one in kept if one.claim in mine), None)


def lines(number: int, workload: Workload, kept: Iterable[Ebs]) -> list[str]:
    """What one machine is told of its disks, as user data."""
    ids = {one.claim: one.id for one in kept}
    told = [
        f"attach={disk.volume}={ids.get(disk.claim, NEW)}"
        for disk in disks(workload)
        if disk.number == number
    ]
    return [*told, *(["scratch=blank"] if scratch_gib(workload) else [])]


def decide(workload: Workload, network: Network, found: Mapping[str, Ebs]) -> Decision:
    """`found` are the volumes that are there, by claim; given ones (`Claim.source`) too."""
    wanted = disks(workload)
    zones = sorted({subnet.zone for subnet in network.machine_subnets})
    kept: list[Ebs] = []
    wrong: list[Problem] = []

    def problem(message: str, hint: str) -> None:
        wrong.append(Problem(f"deployment `{workload.name}`: {message}", workload.position, hint))

    for number in sorted({disk.number for disk in wanted}):
        mine = [disk for disk in wanted if disk.number == number]
        there = [found[disk.claim] for disk in mine if disk.claim in found]
        for disk in mine:
            if disk.source and disk.claim not in found:
                problem(f"there is no volume {disk.source}", "name one of this region")
        if len({one.zone for one in there}) > 1:
            places = ", ".join(f"{one.claim} ({one.id}) in {one.zone}" for one in there)
            problem(
                f"its volumes are in several zones: {places}", "copy one by a snapshot: no machine has both"
            )
        elif there and there[0].zone not in zones:
            problem(
                f"the volume of its claim {there[0].claim} ({there[0].id}) is in {there[0].zone}, where no "
                "subnet is given, and cannot leave that zone",
                "name a subnet of it with I2KIT_SUBNET",
            )
        zone = there[0].zone if there else zones[number % len(zones)] if zones else ""
        kept += [found.get(disk.claim) or Ebs(disk.claim, NEW, zone, disk.gib, disk.type) for disk in mine]
    sizes = {disk.claim: disk.gib for disk in wanted if disk.source is None}
    grown = tuple(one for one in kept if one.id != NEW and one.gib < sizes.get(one.claim, 0))
    return Decision(
        tuple(replace(one, gib=sizes[one.claim]) if one in grown else one for one in kept),
        tuple(one for one in kept if one.id == NEW),
        grown,
        tuple(_notes(workload, kept, sizes)),
        tuple(wrong),
    )


def _notes(workload: Workload, kept: Iterable[Ebs], sizes: Mapping[str, int]) -> Iterator[str]:
    for one in kept:
        wanted = sizes.get(one.claim, 0)
        if one.id != NEW and one.gib > wanted > 0:
            yield f"the volume of the claim {one.claim} has {one.gib} GiB: it does not shrink to {wanted}"
        elif one.id != NEW and one.gib < wanted:
            yield f"the file system of the claim {one.claim} grows when its machine is replaced next"
    for _, claim in claims(workload):
        if claim.kind and claim.kind not in TYPES:
            new = f"new volumes of {claim.name} are {USUAL}"
            yield f"the storage class {claim.kind} is not known on AWS: {new}"


def of_updates(workload: Workload) -> Iterator[str]:
    """What to know of updates where machines have what can't be shared."""
    if workload.stateful and workload.replicas > 1:
        yield (
            "machines are numbered: an update replaces one at a time, the highest number first; at the first "
            "deploy AWS starts all of them at once"
        )
    elif pinned(workload) and workload.replicas:
        yield "its volume is in one machine at a time: an update ends the machine before the next one starts"


def problems(workload: Workload) -> Iterator[Problem]:
    """What no volume of EBS can be, or no machine have."""

    def problem(message: str, hint: str) -> Problem:
        return Problem(f"deployment `{workload.name}`: {message}", workload.position, hint)

    mine = tuple(claims(workload))
    shared = [one.name for _, one in mine if not (one.each and workload.stateful)]
    most = workload.scaling.most if workload.scaling else workload.replicas
    if shared and most > 1:
        yield problem(
            f"{most} replicas cannot share the claim `{shared[0]}`: a volume of EBS is in one machine at a "
            "time",
            "have one replica, or a StatefulSet with volumeClaimTemplates",
        )
    if workload.stateful and workload.scaling:
        yield problem("numbered machines do not scale by themselves on aws", "give a number of replicas")
    if len(mine) > MOST:
        yield problem(f"{len(mine)} claims: a machine has {MOST} volumes at most", "use fewer")
    for _, claim in mine:
        type_ = type_of(claim)
        gib = -(-claim.size_bytes // GIB)
        if gib > TYPES[type_][1]:
            yield problem(
                f"the claim `{claim.name}` asks for {gib:,} GiB, and a volume of type {type_} has at most "
                f"{TYPES[type_][1]:,}",
                "use several, or another type",
            )
        if claim.source and not claim.source.startswith("vol-"):
            hint = "such as vol-0123456789abcdef0"
            yield problem(f"`{claim.source}` is not the id of a volume of EBS", hint)


def iops(type_: str, gib: int) -> dict[str, Any]:
    """What has to be said of how fast a new volume is."""
    if type_ not in IOPS_PER_GIB:
        return {}
    return {"Iops": max(LEAST_IOPS, min(USUAL_IOPS, gib * IOPS_PER_GIB[type_]))}


def mapping(workload: Workload) -> list[dict[str, Any]]:
    """The scratch disk of a launch template: it goes with its machine."""
    gib = scratch_gib(workload)
    about = {"VolumeSize": gib, "VolumeType": USUAL, "Encrypted": True, "DeleteOnTermination": True}
    return [{"DeviceName": SCRATCH_DEVICE, "Ebs": about}] if gib else []


def statements(key: str, kept: Iterable[Ebs]) -> list[dict[str, Any]]:
    """What lets machines of the deployment attach these volumes to themselves, and nothing else."""
    place = "arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}"
    volumes = [{"Fn::Sub": f"{place}:volume/{id_}"} for id_ in sorted({one.id for one in kept})]
    if not volumes:
        return []
    return [
        {"Effect": "Allow", "Action": ["ec2:AttachVolume"], "Resource": volumes},
        {
            "Effect": "Allow",
            "Action": ["ec2:AttachVolume"],
            "Resource": {"Fn::Sub": f"{place}:instance/*"},
            "Condition": {"StringEquals": {"aws:ResourceTag/i2kit:deployment": key}},
        },
        # It knows no resources.
        {"Effect": "Allow", "Action": ["ec2:DescribeVolumes"], "Resource": "*"},
    ]
