"""Which deployment has which disk that outlives VMs, and what is wrong with what is asked for. Pure.

A claim's disk is known by its namespace and name. Where there is one for each VM of a stateful deployment,
the name ends in the deployment's and the VM's number, as in Kubernetes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from i2kit.errors import OperationError
from i2kit.providers.local.design.desired import Desired, Disk, Order, Wanted

ANOTHER_NAME = "give it another name, or destroy that one first"


@dataclass(frozen=True, slots=True)
class KeptVolume:
    """A disk that is there; `deployment` is the key of the one that had it last, "" where that is lost."""

    namespace: str
    claim: str
    size_bytes: int
    deployment: str
    path: str

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.claim}"


def claim_of(disk: Disk, name: str, slot: int) -> str:
    """The name of the claim that the VM in this slot of the deployment `name` has."""
    return f"{disk.claim}-{name}-{slot}" if disk.each else disk.claim


def is_of(claim: str, disk: Disk, name: str) -> bool:
    """Whether a claim of this name is this disk of some VM of the deployment `name`."""
    if not disk.each:
        return claim == disk.claim
    return re.fullmatch(rf"{re.escape(f'{disk.claim}-{name}')}-(0|[1-9][0-9]*)", claim) is not None


def clashes(state: Desired, key: str, disks: Iterable[Disk]) -> Iterator[tuple[str, str]]:
    """The claims of a deployment's disks that another deployment names, each with that one's key."""
    namespace, name = key.split("/")
    given = tuple(disks)
    for other in state.deployments:
        if other.key == key or other.namespace != namespace:
            continue
        for disk in given:
            for taken in other.machine.disks:
                if _may_be_same(disk, name, taken, other.name):
                    yield disk.claim, other.key


def check(state: Desired, order: Order) -> None:
    """Raise OperationError where an order names a claim of another deployment's."""
    for claim, other in clashes(state, order.key, order.machine.disks):
        raise OperationError(f"claim `{claim}` of {order.key} is {other}'s, which runs", hint=ANOTHER_NAME)


def _may_be_same(one: Disk, name: str, other: Disk, its_name: str) -> bool:
    """Whether two disks of different deployments are, for some of their VMs, of one name."""
    if one.each and other.each:
        return f"{one.claim}-{name}" == f"{other.claim}-{its_name}"
    if one.each:
        return is_of(other.claim, one, name)
    return is_of(one.claim, other, its_name)


def too_small(key: str, disks: Iterable[Disk], kept: Iterable[KeptVolume]) -> Iterator[KeptVolume]:
    """The disks that are there and larger than what a deployment asks for now: none is ever made smaller."""
    namespace, name = key.split("/")
    given = tuple(disks)
    for one in kept:
        if one.namespace == namespace and any(
            is_of(one.claim, disk, name) and disk.size_bytes < one.size_bytes for disk in given
        ):
            yield one


def names(wanted: Wanted) -> tuple[str, ...]:
    """The claims of all VMs that a deployment has now."""
    return tuple(
        dict.fromkeys(
            claim_of(disk, wanted.name, slot)
            for disk in wanted.machine.disks
            for slot in range(wanted.replicas if disk.each else 1)
        )
    )
