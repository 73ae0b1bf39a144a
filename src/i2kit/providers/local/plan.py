"""What to do next: wanted vs found → actions, for people (`plan`) and for the supervisor (`next_steps`).

Pure: no I/O, no clock; time comes in as an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from i2kit.model import Deployment, Release
from i2kit.providers import Action, Plan
from i2kit.providers.local.desired import SURGE, Wanted, order_of

FIRST_RETRY_S = 0.0
"""A VM that ends is replaced at once; one that ends again soon waits, doubling, up to MOST_RETRY_S."""

MOST_RETRY_S = 30.0
STABLE_S = 60.0
"""A VM that lived this long starts the count of failures anew."""


def plan(key: str, wanted: Release | None, found: Deployment | None) -> Plan:
    """The changes that a deploy (or, without `wanted`, a destroy) makes, in words."""
    if wanted is None:
        gone = (Action("remove", key, vms(found.replicas_wanted)),) if found else ()
        return Plan(key, None, found, gone)
    order = order_of(wanted)
    if found is None:
        return Plan(
            key, wanted, None, (Action("create", key, f"{vms(order.replicas)} of {short(wanted.image.id)}"),)
        )
    if found.fingerprint == order.fingerprint:
        return Plan(key, wanted, found, ())
    actions = []
    if found.machine != order.machine.fingerprint:
        reason = (
            f"image {short(found.image)} → {short(wanted.image.id)}"
            if found.image != wanted.image.id
            else "other memory or CPUs"
        )
        actions.append(Action("replace", key, reason))
    if found.replicas_wanted != order.replicas:
        actions.append(Action("scale", key, f"{found.replicas_wanted} → {vms(order.replicas)}"))
    return Plan(key, wanted, found, tuple(actions) or (Action("change", key, "services"),))


def vms(count: int) -> str:
    """A number of VMs in words."""
    return "1 VM" if count == 1 else f"{count} VMs"


def short(identity: str) -> str:
    """An image's id as far as people need it."""
    return identity[:12]


@dataclass(frozen=True, slots=True)
class Running:
    """A VM as the supervisor knows it, reduced to what decisions need."""

    id: str
    slot: int
    machine: str
    state: Literal["starting", "ready", "draining"]


@dataclass(frozen=True, slots=True)
class Start:
    """Boot a VM of the wanted machine in this slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the VM no new requests, let it finish what it has, then end it."""

    id: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End the VM now: nobody is served by it."""

    id: str


Step = Start | Drain | Kill


def next_steps(
    wanted: Wanted | None, running: Sequence[Running], not_before: Mapping[int, float], now: float
) -> Sequence[Step]:
    """What to do now so that the VMs come nearer to `wanted`; asked again after every change.

    `not_before` holds, per slot, when it may be started again after a failure. While another
    revision runs, one new VM is started beside it (the surge), and one old one leaves for every
    new one that is ready: there are never fewer ready VMs than the smaller of wanted and before.
    """
    if wanted is None:
        return [Kill(one.id) for one in running]
    alive = [one for one in running if one.state != "draining"]
    current = [one for one in alive if one.machine == wanted.machine.fingerprint]
    old = [one for one in alive if one.machine != wanted.machine.fingerprint]
    steps: list[Step] = []

    # Old VMs that do not serve only take up room.
    steps += [Kill(one.id) for one in old if one.state == "starting"]
    old = [one for one in old if one.state == "ready"]

    surplus = len(current) - wanted.replicas
    if surplus > 0:
        leaving = sorted(current, key=lambda one: (one.state == "ready", -one.slot))[:surplus]
        steps += [Drain(one.id) if one.state == "ready" else Kill(one.id) for one in leaving]

    ready = sum(one.state == "ready" for one in current)
    replaceable = ready + len(old) - wanted.replicas
    for one in sorted(old, key=lambda one: -one.slot)[: max(0, replaceable)]:
        steps.append(Drain(one.id))

    missing = wanted.replicas - len(current)
    if old:
        # One at a time, and only while the surge has room (draining VMs still count).
        booting = any(one.state == "starting" for one in current)
        room = wanted.replicas + SURGE - len(current) - len(old)
        missing = 0 if booting else min(missing, room, 1)
    occupied = {one.slot for one in running}
    for slot in range(wanted.replicas + SURGE):
        if missing <= 0:
            break
        if slot not in occupied and not_before.get(slot, 0.0) <= now:
            steps.append(Start(slot))
            missing -= 1
    return steps


def retry_delay_s(failures: int) -> float:
    """How long a slot waits after this many failures in a row."""
    return FIRST_RETRY_S if failures <= 1 else min(MOST_RETRY_S, 2.0 ** (failures - 2))
