"""What to do next: wanted vs found → actions, for people (`plan`) and for the supervisor (`next_steps`).

Pure: no I/O, no clock; time comes in as an argument.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from i2kit.model import Deployment, Job, Release
from i2kit.providers import Action, Front, Plan, Rollback
from i2kit.providers.local.design import jobs, orders
from i2kit.providers.local.design.claims import KeptVolume
from i2kit.providers.local.design.desired import (
    MAX_SLOTS,
    Desired,
    HasKey,
    Order,
    Policy,
    Wanted,
    Written,
    in_front,
)

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
    here: orders.Here = orders.NOTHING_HERE,
    *,
    volumes: bool = False,
) -> Plan:
    """The changes that a command makes, in words; without `wanted` it is a destroy.

    `noted` is what should run here, `kept` are the deployment's revisions whose machine images are there.
    With `volumes` what goes away takes its disks with it, also those of one that is gone.
    Raises InputError for what cannot be had here, OperationError for a revision that cannot be gone back to.
    """
    if wanted is None:
        return _removal(key, found, tuple(one for one in here.volumes if one.deployment == key), volumes)
    order = orders.order_for(noted, key, wanted, kept, here)
    prepared = None
    if isinstance(wanted, Rollback):
        # The number that is told is the number that is applied, whatever happens between.
        prepared = Rollback(orders.revision_of(noted, key, wanted.to, kept))
    if found is None:
        created = Action("create", key, f"{vms(order.replicas)} of {short(order.machine.image)}")
        return Plan(key, wanted, None, (created,), notes=_notes(wanted), prepared=prepared)
    same_number = found.replicas_wanted == order.replicas or order.policy.job is not None
    if found.phase == "failed" and isinstance(wanted, Release) and order.policy.job:
        again = Action("replace", key, "it failed last time, and runs once more")
        return Plan(key, wanted, found, (again,))
    if found.fingerprint == order.fingerprint and same_number:
        return Plan(key, wanted, found, (), prepared=prepared)
    actions = []
    if found.machine != order.machine.fingerprint:
        reason = _why_replaced(found, noted.deployment(key), order)
        back = f", back to revision {prepared.to}" if prepared else ""
        actions.append(Action("replace", key, reason + back))
    if not same_number:
        actions.append(Action("scale", key, f"{found.replicas_wanted} → {vms(order.replicas)}"))
    now = noted.deployment(key)
    before = now.written if now else order.written
    differences = _differences(found, order, now.policy if now else order.policy, before)
    if not actions or isinstance(wanted, Front):
        actions.append(Action("change", key, differences or "services"))
    return Plan(key, wanted, found, tuple(actions), notes=_notes(wanted), prepared=prepared)


def _notes(wanted: Release | orders.Change) -> tuple[str, ...]:
    """What means less here than elsewhere."""
    services = wanted.services if isinstance(wanted, Release | Front) else ()
    ingresses = wanted.ingresses if isinstance(wanted, Release) else ()
    sources = (
        f"service {one.key}: who may call it counts for nothing here, nobody but this machine can"
        for one in services
        if one.sources
    )
    clouds = (
        f"Ingress {one.key}: its certificate is a cloud's, there is no HTTPS here"
        for one in ingresses
        if one.certificate and not one.tls
    )
    return (*sources, *clouds)


def _removal(key: str, found: Deployment | None, mine: Sequence[KeptVolume], volumes: bool) -> Plan:
    """What goes away, and which disks do not."""
    actions = [Action("remove", key, vms(found.replicas_wanted))] if found else []
    if volumes:
        actions += [Action("remove", f"volume {one.key}", "with all its data") for one in mine]
        return Plan(key, None, found, tuple(actions), prepared=tuple(mine))
    kept = ", ".join(one.path for one in mine)
    notes = (f"the data of {key} is kept: {kept} (`--volumes` removes it)",) if mine else ()
    return Plan(key, None, found, tuple(actions), notes=notes, prepared=())


def _why_replaced(found: Deployment, now: Wanted | None, order: Order) -> str:
    """Why every VM is replaced by another."""
    after = order.machine
    reasons = [f"image {short(found.image)} → {short(after.image)}"] if found.image != after.image else []
    if now:
        before = now.machine
        if before.secrets != after.secrets:
            reasons.append("secrets changed")
        if (before.disks, before.scratch_bytes) != (after.disks, after.scratch_bytes):
            reasons.append("other disks")
        if not reasons and before.facts != after.facts:
            reasons.append("its containers read other fields of the pod")
    return ", ".join(reasons) or "other memory or CPUs"


def _differences(found: Deployment, order: Order, policy: Policy, written: Written) -> str:
    """What changes beside machines and their number: what was written around them, labels, the policy."""
    words = [
        *_changed("service", found.services, in_front(order.key, order.written, order.attached)),
        *_changed("Ingress", written.ingresses, order.written.ingresses),
        *_changed("NetworkPolicy", written.policies, order.written.policies),
        *_changed("name", written.aliases, order.written.aliases),
    ]
    labels = ["the labels change"] if found.labels != order.written.labels else []
    others = [
        f"the {name} changes"
        for name, before, after in (
            ("strategy of updates", policy.strategy, order.policy.strategy),
            ("time for which a VM must be ready", policy.min_ready_s, order.policy.min_ready_s),
            ("deadline of updates", policy.progress_deadline_s, order.policy.progress_deadline_s),
            ("scaling", policy.scaling, order.policy.scaling),
            ("job", policy.job, order.policy.job),
        )
        if before != after
    ]
    return ", ".join([*labels, *sorted(words), *others])


def _changed(kind: str, before: Iterable[HasKey], after: Iterable[HasKey]) -> Iterator[str]:
    """What comes, changes and goes, in words."""
    old, new = {one.key: one for one in before}, {one.key: one for one in after}
    yield from (f"{kind} {key} comes" for key in new.keys() - old.keys())
    yield from (f"{kind} {key} changes" for key in new.keys() & old.keys() if new[key] != old[key])
    yield from (f"{kind} {key} goes" for key in old.keys() - new.keys())


def vms(count: int) -> str:
    """A number of VMs in words."""
    return "1 VM" if count == 1 else f"{count} VMs"


def short(identity: str) -> str:
    """An image's id as far as people need it."""
    return identity[:12]


@dataclass(frozen=True, slots=True)
class Running:
    """A VM as the supervisor knows it, reduced to what decisions need.

    `available`: it has been ready for as long as the deployment asks for.
    """

    id: str
    slot: int
    machine: str
    state: Literal["starting", "ready", "draining"]
    available: bool = False
    run: int = 0
    """Of a job's runs, the one that it is part of."""


@dataclass(frozen=True, slots=True)
class Start:
    """Boot a VM of the wanted machine in this slot, for this run of a job."""

    slot: int
    run: int = 0


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

    `not_before` holds, per slot (of a job, per run), when it may be started again after a failure. There are
    never more VMs than the strategy's surge allows, those that leave counted, and no VM is made to leave if
    fewer were available then than the strategy asks for. Old VMs that do not serve leave at once.
    """
    if wanted is None:
        return [Kill(one.id) for one in running]
    if wanted.policy.job:
        return list(_job_steps(wanted, wanted.policy.job, running, not_before, now))
    if wanted.machine.stateful:
        return _ordered_steps(wanted, running, not_before, now)
    alive = [one for one in running if one.state != "draining"]
    current = [one for one in alive if one.machine == wanted.machine.fingerprint]
    old = [one for one in alive if one.machine != wanted.machine.fingerprint]
    surge, unavailable = wanted.bounds

    by_use = sorted(current, key=lambda one: (one.available, one.state == "ready", -one.slot))
    leaving = [*by_use[: max(0, len(current) - wanted.replicas)]]
    staying = [one for one in current if one not in leaving]
    if wanted.policy.strategy.recreate:
        leaving += old
    else:
        leaving += _replaceable(old, staying, max(0, wanted.replicas - unavailable))
    steps: list[Step] = [Drain(one.id) if one.state == "ready" else Kill(one.id) for one in leaving]

    room = wanted.replicas + surge - len(running)
    if wanted.policy.strategy.recreate and not all(_is_current(one, wanted) for one in running):
        room = 0  # not even beside one that is just leaving
    missing = min(wanted.replicas - len(staying), room)
    occupied = {one.slot for one in running}
    free = (slot for slot in range(wanted.slots) if slot not in occupied and not_before.get(slot, 0.0) <= now)
    return [*steps, *(Start(slot) for slot in islice(free, max(0, missing)))]


def _job_steps(
    wanted: Wanted, job: Job, running: Sequence[Running], not_before: Mapping[int, float], now: float
) -> Iterator[Step]:
    """The same for a job: as many VMs as its runs need yet, and none of others."""
    needed = jobs.vms(job, wanted.runs)
    alive = [one for one in running if one.state != "draining"]
    yield from (Drain(one.id) for one in alive if one.run not in needed)
    occupied = {one.slot for one in running}
    free = (slot for slot in range(MAX_SLOTS) if slot not in occupied)
    for run, number in needed.items():
        mine = [one for one in alive if one.run == run]
        yield from (Drain(one.id) for one in mine[number:])
        if not_before.get(run, 0.0) <= now:
            yield from (Start(slot, run) for slot in islice(free, max(0, number - len(mine))))


def _ordered_steps(
    wanted: Wanted, running: Sequence[Running], not_before: Mapping[int, float], now: float
) -> Sequence[Step]:
    """The same for numbered VMs, as Kubernetes' OrderedReady: a VM comes once those of lower numbers are
    available, and goes, the highest number first, once all others are. Old ones that do not serve go at once.
    """
    alive = [one for one in running if one.state != "draining"]
    old = [one for one in alive if not _is_current(one, wanted) and one.slot < wanted.replicas]
    useless = [one for one in old if one.state != "ready"]
    if useless:
        return [Kill(one.id) for one in useless]
    of_slot = {one.slot: one for one in running}
    for slot in range(wanted.replicas):
        one = of_slot.get(slot)
        if one is None:
            return [Start(slot)] if not_before.get(slot, 0.0) <= now else []
        if not one.available:
            break
    beyond = [one for one in alive if one.slot >= wanted.replicas]
    leaving = max(beyond or old, key=lambda one: one.slot, default=None)
    others = all(one.available for one in alive if one is not leaving)
    if leaving is None or len(alive) < len(running) or not (others or beyond):
        return []
    return [Drain(leaving.id) if leaving.state == "ready" else Kill(leaving.id)]


def _is_current(one: Running, wanted: Wanted) -> bool:
    return one.machine == wanted.machine.fingerprint


def _replaceable(old: Sequence[Running], staying: Sequence[Running], least: int) -> Sequence[Running]:
    """The old VMs that may leave, so that `least` stay that serve and as many that are available."""
    ready = sum(one.state == "ready" for one in (*old, *staying)) - least
    available = sum(one.available for one in (*old, *staying)) - least
    found = []
    for one in sorted(old, key=lambda one: (one.available, -one.slot)):
        if one.state != "ready":
            found.append(one)
        elif ready > 0 and (available > 0 or not one.available):
            found.append(one)
            ready -= 1
            available -= one.available
    return found


def is_complete(wanted: Wanted, running: Sequence[Running]) -> bool:
    """Whether every replica is available and none of another machine serves beside them."""
    alive = [one for one in running if one.state != "draining"]
    return len(alive) == wanted.replicas and all(_is_current(one, wanted) and one.available for one in alive)


def retry_delay_s(failures: int) -> float:
    """How long a slot waits after this many failures in a row."""
    return FIRST_RETRY_S if failures <= 1 else min(MOST_RETRY_S, 2.0 ** (failures - 2))
