"""What a command wants of a deployment, and what is noted of it → the order for the supervisor. Pure.

In: a Release or one of the changes of what runs; the whole desired state; which revisions' machine images
are there. Out: an Order. Also what `history` shows.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

from i2kit.errors import InputError, OperationError, Position, Problem
from i2kit.model import Claim, Ingress, Release, Revision, SecretValue, Service, Workload, spoken
from i2kit.providers import Front, Rollback, Scale
from i2kit.providers.local.design import claims, desired, room
from i2kit.providers.local.design.claims import KeptVolume
from i2kit.providers.local.design.desired import (
    MAX_REPLICAS,
    Desired,
    Disk,
    Order,
    Wanted,
    in_front,
    order_of,
    ordered_replicas,
)
from i2kit.providers.local.reach import certificates, firewall

LONGEST_PATH = 900
"""A line of HAProxy's configuration has 2048 characters, in which a path comes twice."""

Change = Rollback | Scale | Front


@dataclass(frozen=True, slots=True)
class Here:
    """What is on this machine beside what is noted: the claims' disks.

    `secrets` is the name of the set that has just the secrets of what is wanted, kept already or not, and
    `certificates` of that with what its Ingresses end TLS with. `obstacle` is why VMs cannot have a network
    of their own, in words; it is looked for only where that matters. `host` is what it has for VMs.
    """

    volumes: tuple[KeptVolume, ...] = ()
    secrets: str = ""
    certificates: str = ""
    obstacle: str = ""
    host: room.Host | None = None


NOTHING_HERE = Here()


def order_for(
    state: Desired, key: str, wanted: Release | Change, kept: Collection[int], here: Here = NOTHING_HERE
) -> Order:
    """The order that makes it so. `kept` are the revisions whose machine images are there.

    Raises InputError for what cannot be had here, OperationError for what is not noted.
    """
    if isinstance(wanted, Release):
        order = order_of(wanted, attached_to(state, wanted), here.secrets, here.certificates)
        order = replace(order, replicas=ordered_replicas(order, state.deployment(key)))
        most = wanted.workload.scaling.most if wanted.workload.scaling else order.replicas
        _check_number(key, most, wanted.workload.position)
        _check_disks(state, order, most, wanted.workload, here)
        _check_node_ports(state, order, wanted.services)
        problems = [
            Problem(problem, wanted.workload.position, hint)
            for problem, hint in (room.beyond(order, here.host) if here.host else ())
        ]
        problems += [*_unusable(wanted.ingresses, wanted.secrets), *_beyond(wanted, here.obstacle)]
        problems += [
            Problem(f"NetworkPolicy `{policy.name}`: `{cidr}` is no network", policy.position)
            for policy in wanted.policies
            for cidr in firewall.wrong_networks(policy)
        ]
        if problems:
            raise InputError(problems)
        return order
    now = running(state, key)
    match wanted:
        case Scale(replicas):
            _check_number(key, replicas)
            _check_scaling(now, replicas)
            _check_job(now)
            _check_shared(key, now.machine.disks, replicas)
            return again(now, replace(now, replicas=replicas))
        case Rollback(to):
            then = revision(now, to, kept)
            scaling = then.policy.scaling
            number = scaling.start(now.replicas) if scaling else now.replicas
            back = again(now, replace(then, replicas=number, attached=now.attached))
            return replace(back, back_to=then.revision, keep=scaling is not None)
        case Front():
            if problems := list(_beyond(wanted, here.obstacle)):
                raise InputError(problems)
            order = again(now, fronted(now, wanted))
            _check_node_ports(state, order, wanted.services)
            return order


def _check_number(key: str, replicas: int, position: Position | None = None) -> None:
    if replicas > MAX_REPLICAS:
        problem = f"{key} may have {MAX_REPLICAS} replicas on one machine, not {replicas}"
        raise InputError([Problem(problem, position, "split it into several deployments")])


def _check_job(now: Wanted) -> None:
    """Refuse another number for what says itself how many VMs it needs."""
    if now.policy.job:
        problem = f"{now.key} is a job: its parallelism says how many VMs it has"
        raise InputError([Problem(problem, hint="change that in its files, and deploy them")])


def _check_disks(state: Desired, order: Order, most: int, workload: Workload, here: Here) -> None:
    """Refuse disks that cannot be had here, or would be another deployment's or of two VMs."""
    disks, place = order.machine.disks, workload.position
    problems = [
        Problem(
            f"volume `{one.name}` of {order.key} is the cloud's disk {one.source.source}, not this machine's",
            place,
            "deploy it there, or leave that disk out",
        )
        for one in workload.volumes
        if isinstance(one.source, Claim) and one.source.source
    ]
    problems += [
        Problem(f"claim `{claim}` of {order.key} is {other}'s, which runs", place, claims.ANOTHER_NAME)
        for claim, other in claims.clashes(state, order.key, disks)
    ]
    problems += [
        Problem(
            f"volume {one.claim} of {order.key} has {one.size_bytes >> 20} MiB,"
            " and none is ever made smaller",
            place,
            f"ask for as much; or give the data up with `i2kit destroy --volumes {spoken(order.key)}`",
        )
        for one in claims.too_small(order.key, disks, here.volumes)
    ]
    if problems:
        raise InputError(problems)
    _check_shared(order.key, disks, most, place)


def _check_shared(key: str, disks: Iterable[Disk], replicas: int, position: Position | None = None) -> None:
    """Refuse one disk for several VMs."""
    names = [disk.claim for disk in disks if not disk.each]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [
        Problem(f"{key} has claim `{name}` in two of its volumes", position, "mount one volume twice")
        for name in twice
    ]
    if replicas > 1 and names:
        problem = f"{key} has one disk, claim `{names[0]}`, and cannot have {replicas} replicas"
        hint = "a StatefulSet with volumeClaimTemplates has one for each replica"
        problems.append(Problem(problem, position, hint))
    if problems:
        raise InputError(problems)


def _check_node_ports(state: Desired, order: Order, services: Iterable[Service]) -> None:
    places = {service.key: service.position for service in services}
    if problems := [
        Problem(problem, places.get(service.key), desired.ANOTHER_NODE_PORT)
        for service, problem in desired.node_port_clashes(state, order)
    ]:
        raise InputError(problems)


def _unusable(ingresses: Iterable[Ingress], secrets: Iterable[SecretValue]) -> Iterator[Problem]:
    """What of Ingresses cannot be had here."""
    known = {(one.namespace, one.secret, one.key): one.value for one in secrets}
    for ingress in ingresses:
        where = f"Ingress `{ingress.name}`: "
        if any(len(quote(route.path)) > LONGEST_PATH for route in ingress.routes):
            problem = f"{where}a path has more than {LONGEST_PATH} characters"
            yield Problem(problem, ingress.position, "give a shorter one")
        for hosts, secret in ingress.tls:
            names = ", ".join(hosts) or "its hosts"
            hint = f"give one with `--secret {secret}=FOLDER`, or leave `tls` out"
            parts = [known.get((ingress.namespace, secret, key)) for key in certificates.TLS_KEYS]
            if not secret:
                hint = "name the secret that holds it (secretName), or leave `tls` out"
                yield Problem(f"{where}there is no certificate for {names}", ingress.position, hint)
            elif None in parts:
                problem = f"{where}secret `{secret}` with the certificate for {names} is not given"
                yield Problem(problem, ingress.position, hint)
            elif why := certificates.problem(b"\n".join(part for part in parts if part)):
                problem = f"{where}secret `{secret}` cannot be used as the certificate for {names}: {why}"
                yield Problem(problem, ingress.position, hint)


def needs_network(wanted: object) -> bool:
    """Whether this cannot be had where VMs have no network of their own."""
    match wanted:
        case Release():
            around = wanted.aliases or wanted.policies
            return bool(around) or any(one.headless for one in wanted.services)
        case Front():
            return any(one.headless for one in wanted.services)
    return False


def _beyond(wanted: Release | Front, obstacle: str) -> Iterator[Problem]:
    """What cannot be had in QEMU's user network, where `obstacle` is why there is no other."""
    if not obstacle:
        return
    hint = "see `i2kit doctor` for what it takes"
    without = f"needs a network of VMs, and there is none: {obstacle}"
    for service in wanted.services:
        if service.headless:
            problem = f"service `{service.name}` is headless, its name stands for VMs: that {without}"
            yield Problem(problem, service.position, hint)
    if isinstance(wanted, Release):
        for alias in wanted.aliases:
            yield Problem(f"service `{alias.name}` is a name for {alias.target}: that {without}", None, hint)
        for policy in wanted.policies:
            problem = f"NetworkPolicy `{policy.name}` {without}"
            yield Problem(problem, policy.position, hint)


def _check_scaling(now: Wanted, replicas: int) -> None:
    """Refuse a number that the deployment's own scaling would take back at once."""
    scaling = now.policy.scaling
    if scaling and not scaling.least <= replicas <= scaling.most:
        problem = f"{now.key} scales by itself between {scaling.least} and {scaling.most} replicas"
        hint = f"give a number of these, or change its files; {replicas} is not one of them"
        raise InputError([Problem(problem, hint=hint)])


def again(now: Wanted, then: Wanted) -> Order:
    """The order for what was noted of `then`. As long as it is the same as `now`, that changes nothing."""
    made = desired.make_order(
        then.name, then.namespace, then.replicas, then.machine, then.written, then.attached, then.policy
    )
    same = (then.replicas, then.machine, then.written, then.attached, then.policy) == (
        now.replicas,
        now.machine,
        now.written,
        now.attached,
        now.policy,
    )
    # What an older version noted has a fingerprint of other things.
    return replace(made, fingerprint=now.fingerprint) if same else made


def attached_to(state: Desired, release: Release) -> tuple[Service, ...]:
    """The services of other files that select this release: those noted here, and those noted elsewhere."""
    workload = release.workload
    found: dict[str, Service] = {}
    for one in state.deployments:
        services = in_front(one.key, one.written, one.attached) if one.key != workload.key else one.attached
        found |= {service.key: service for service in services if service.selects(workload)}
    own = {service.key for service in in_front(workload.key, desired.written_of(release), ())}
    return tuple(found[key] for key in sorted(found) if key not in own)


def fronted(now: Wanted, front: Front) -> Wanted:
    """A deployment with other services in front. One that its own files have, too, takes that one's place."""
    given = {service.key: desired.unplaced(service) for service in front.services}
    own = {service.key for service in in_front(now.key, now.written, ())}
    problems = [problem for service in front.services for problem in _unknown_ports(now, service)]
    if problems:
        raise InputError(problems)
    attached = {one.key: one for one in now.attached if one.key not in front.without}
    attached |= {key: one for key, one in given.items() if key not in own}
    services = tuple(
        given.get(one.key, one) if one.key in own else one
        for one in now.written.services
        if one.key not in own or one.key not in front.without
    )
    return replace(
        now,
        written=replace(now.written, services=services),
        attached=tuple(attached[key] for key in sorted(attached)),
    )


def _unknown_ports(now: Wanted, service: Service) -> list[Problem]:
    names = [port.name for port in now.written.ports if port.name]
    return [
        Problem(
            f"service `{service.name}`: {now.key}, which runs, has no port named `{port.target}`",
            service.position,
            f"its named ports: {', '.join(names)}" if names else "give the port's number",
        )
        for port in service.ports
        if desired.target_number(now.written.ports, port.target) is None
    ]


def revision(now: Wanted, to: int | None, kept: Collection[int]) -> Wanted:
    """The revision to go back to: without a number the last one of another machine that served.

    A rollback that was interrupted goes on: asked for once more, it is the same.
    """
    known = {one.revision: one for one in (*now.past, now)}
    if to is None and now.back_to in known and not now.served and not now.reason:
        to = now.back_to
    there = [str(one.revision) for one in now.past if one.revision in kept and one.served]
    hint = f"it can go back to {', '.join(there)}" if there else "deploy its files instead"
    if to is None:
        before = (
            one
            for one in reversed(now.past)
            if one.served and one.machine.fingerprint != now.machine.fingerprint
        )
        found = next(before, None)
        if found is None:
            raise OperationError(f"no revision of {now.key} is known that served before this one", hint=hint)
    else:
        found = known.get(to)
        if found is None:
            raise OperationError(f"{now.key} has no revision {to}, or it is not kept any more", hint=hint)
    if found.revision not in kept and found.machine != now.machine:
        raise OperationError(
            f"the machine image of revision {found.revision} of {now.key} is gone from the store", hint=hint
        )
    return found


def revision_of(state: Desired, key: str, to: int | None, kept: Collection[int]) -> int:
    """The number of that revision; OperationError as above."""
    return revision(running(state, key), to, kept).revision


def running(state: Desired, key: str) -> Wanted:
    """What is noted under this key."""
    now = state.deployment(key)
    if now is None:
        raise OperationError(f"nothing named {key} runs", hint="deploy it first")
    return now


def _outcome(one: Wanted, now: Wanted) -> Literal["serving", "rolling out", "superseded", "failed"]:
    if one.reason:
        return "failed"
    if one is not now:
        return "superseded"
    job = one.policy.job
    # What waits for its times, or for no time at all, is there as soon as it is noted.
    is_there = one.served or (job is not None and (job.schedule or job.suspended))
    return "serving" if is_there else "rolling out"


def history(now: Wanted, kept: Collection[int]) -> tuple[Revision, ...]:
    """All that is noted of a deployment's revisions, oldest first."""
    return tuple(
        Revision(
            number=one.revision,
            image=one.machine.image,
            containers=one.machine.containers,
            manifest=one.written.manifest,
            created_at=one.created_at,
            outcome=_outcome(one, now),
            kept=one.revision in kept,
            reason=one.reason,
        )
        for one in (*now.past, now)
    )
