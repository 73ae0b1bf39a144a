"""What to do next: wanted vs found → actions, for people (`plan`) and for the supervisor (`next_steps`).

Pure: no I/O, no clock; time comes in as an argument.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from i2kit.model import Deployment, Release
from i2kit.providers import Action, Front, Plan, Rollback
from i2kit.providers.local import orders
from i2kit.providers.local.desired import SURGE, Desired, Order, Wanted, in_front

FIRST_RETRY_S = 0.0
"""A VM that ends is replaced at once; one that ends again soon waits, doubling, up to MOST_RETRY_S."""

MOST_RETRY_S = 30.0
NOTHING = Desired()
STABLE_S = 60.0
"""A VM that lived this long starts the count of failures anew."""


def plan(
    key: str,
    wanted: Release | orders.Change | None,
    found: Deployment | None,
    noted: Desired = NOTHING,
    kept: Collection[int] = (),
) -> Plan:
    """The changes that a command makes, in words; without `wanted` it is a destroy.

    `noted` is what should run here, `kept` are the deployment's revisions whose machine images are there.
    Raises InputError for what cannot be had here, OperationError for a revision that cannot be gone back to.
    """
    if wanted is None:
        gone = (Action("remove", key, vms(found.replicas_wanted)),) if found else ()
        return Plan(key, None, found, gone)
    order = orders.order_for(noted, key, wanted, kept)
    prepared = None
    if isinstance(wanted, Rollback):
        # The number that is told is the number that is applied, whatever happens between.
        prepared = Rollback(orders.revision_of(noted, key, wanted.to, kept))
    if found is None:
        created = Action("create", key, f"{vms(order.replicas)} of {short(order.machine.image)}")
        return Plan(key, wanted, None, (created,), prepared=prepared)
    if found.fingerprint == order.fingerprint:
        return Plan(key, wanted, found, (), prepared=prepared)
    actions = []
    if found.machine != order.machine.fingerprint:
        reason = (
            f"image {short(found.image)} → {short(order.machine.image)}"
            if found.image != order.machine.image
            else "other memory or CPUs"
        )
        back = f", back to revision {prepared.to}" if prepared else ""
        actions.append(Action("replace", key, reason + back))
    if found.replicas_wanted != order.replicas:
        actions.append(Action("scale", key, f"{found.replicas_wanted} → {vms(order.replicas)}"))
    if not actions or isinstance(wanted, Front):
        actions.append(Action("change", key, _differences(found, order)))
    return Plan(key, wanted, found, tuple(actions), prepared=prepared)


def _differences(found: Deployment, order: Order) -> str:
    """Which of the services that were written come, change and go, and whether the pods' labels change."""
    before = {service.key: service for service in found.services}
    after = {one.key: one for one in in_front(order.key, order.written, order.attached)}
    words = [
        *(f"service {key} comes" for key in after.keys() - before.keys()),
        *(f"service {key} changes" for key in after.keys() & before.keys() if after[key] != before[key]),
        *(f"service {key} goes" for key in before.keys() - after.keys()),
    ]
    labels = ["the labels change"] if found.labels != order.written.labels else []
    return ", ".join([*labels, *sorted(words)]) or "services"


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
