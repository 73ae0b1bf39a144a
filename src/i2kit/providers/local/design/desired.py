"""What should run on this machine, as values and as the JSON text that survives a reboot. Pure.

In: Releases. Out: `Desired`, the whole wanted state; `admit` and `remove` return a new one.
Addresses and published ports are handed out here, once, and stay with their name.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeVar

from i2kit import model
from i2kit.errors import OperationError
from i2kit.model import (
    Alias,
    Claim,
    Container,
    Ingress,
    Job,
    NetworkPolicy,
    Pairs,
    Port,
    Release,
    Scaling,
    Scratch,
    Service,
    ServicePort,
    Strategy,
    Workload,
)
from i2kit.plain import value_of
from i2kit.providers.local.design import jobs

SUBNET = "10.77"
"""The /16 of the deployments' network. VMs: 10.77.<deployment>.<slot + 1>, see `address`."""

VIP_SUBNET = 255
GATEWAY = f"{SUBNET}.0.1"
MAX_DEPLOYMENTS = 250
MAX_REPLICAS = 250
MAX_SLOTS = 254
"""The addresses that a deployment has: its replicas, and what an update may start beyond them."""

INGRESS = "/ingress"
"""The key of what all Ingresses share, an address and ports: in no namespace that there can be."""

HTTP_PORTS = frozenset({80, 8080})
NAMED_PROTOCOLS = frozenset({"http", "http2", "https", "grpc", "tcp", "tls"})
"""What a port's name may begin with, by Istio's convention; `web` or `main` say nothing."""

PUBLISHED_PORTS = range(30000, 32768)
"""Where published ports are taken from: what Kubernetes calls node ports."""

ROOT_DEVICE = "/dev/vda"
"""The first disk of a VM."""

FORMAT = 5
"""Of the text on disk: counts up when an older i2kit could not read it.

Format 1 had no revisions, format 2 no policies, format 3 no node ports and no facts, format 4 no volumes,
secrets, jobs, Ingresses and network policies.
"""

KEPT_REVISIONS = 10
"""How many earlier revisions of a deployment can be gone back to."""

DEFAULT_CONTAINER_MEMORY_BYTES = 128 << 20
DEFAULT_SCRATCH_BYTES = 1 << 30
DEFAULT_STRATEGY = Strategy()
ANOTHER_NODE_PORT = "give another nodePort, or none"


NOTHING_PUBLIC: Mapping[str, bool] = {}


class HasKey(Protocol):
    """What has a name of its own in a namespace."""

    @property
    def key(self) -> str: ...


Keyed = TypeVar("Keyed", bound=HasKey)
Place = tuple[int, model.Protocol]
"""A port of a service: TCP and UDP may have the same number."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that outlives VMs, for the volume of this name; see model.Claim."""

    volume: str
    claim: str
    size_bytes: int
    each: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """The VM of one pod revision: what QEMU needs. `fingerprint` is equal for equal VMs."""

    fingerprint: str
    image: str
    kernel: str
    initrd: str | None
    """None for a kernel that finds the root by itself."""
    root: str
    cmdline: str
    memory_bytes: int
    cpus: int
    containers: tuple[tuple[str, str], ...]
    grace_s: int = 30
    """How long it has to finish its requests and to end."""
    health_port: int | None = None
    """Where it answers `/ready`; None for a guest of before, which does not."""
    facts: Pairs = ()
    """Workload.facts."""
    disks: tuple[Disk, ...] = ()
    scratch_bytes: int = 0
    """Of the disk for empty volumes, which goes with the VM; 0 for none."""
    secrets: str = ""
    """The name of its set of secrets; none for a VM that is told none."""
    stateful: bool = False
    """Whether VMs are numbered by their slots, and replaced one by one; Workload.stateful."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How VMs take the place of others, and how many there are: nothing of it is in the VM.

    `cpu_millis`, `memory_bytes`: what its containers ask for; None where one of them says nothing.
    """

    strategy: Strategy = DEFAULT_STRATEGY
    min_ready_s: int = 0
    progress_deadline_s: int = 600
    scaling: Scaling | None = None
    job: Job | None = None
    """With it, VMs are meant to end, and how many there are is told by its runs."""
    cpu_millis: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """A port that a deployment's VMs answer on for a service: `number` outside, `target` on the VM."""

    service: str
    number: int
    target: int
    http: bool
    name: str | None = None
    protocol: model.Protocol = "TCP"
    sticky_s: int | None = None
    """Service.sticky_s."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A port of a service whose VMs may come later: its address is needed before."""

    service: str
    number: int
    http: bool
    name: str | None = None
    protocol: model.Protocol = "TCP"


@dataclass(frozen=True, slots=True)
class Written:
    """What the files of a deployment say of it beside its VM: enough to tell anew which services lead where.

    `ports` are its containers'; of `services`, which are its own, the one of its name is `implied` where it
    was not written. `neighbours` are those in front of others. `manifest` is Release.manifest.
    """

    labels: Pairs = ()
    ports: tuple[Port, ...] = ()
    services: tuple[Service, ...] = ()
    implied: bool = False
    neighbours: tuple[Service, ...] = ()
    manifest: str = ""
    ingresses: tuple[Ingress, ...] = ()
    policies: tuple[NetworkPolicy, ...] = ()
    aliases: tuple[Alias, ...] = ()
    hostname: str | None = None
    subdomain: str | None = None
    certificates: str = ""
    """The name of the set of secrets that its Ingresses end TLS with; none where they do not."""


@dataclass(frozen=True, slots=True)
class Order:
    """A release, reduced to what this machine must do: what a deploy asks the supervisor for.

    `public` are the services meant for callers outside, `attached` those of other files that lead here;
    `fingerprint` is equal for two orders exactly when the second changes nothing.
    """

    name: str
    namespace: str
    replicas: int
    machine: Machine
    backends: tuple[Backend, ...]
    ready_ports: tuple[int, ...]
    announced: tuple[Announced, ...]
    public: tuple[str, ...]
    fingerprint: str
    written: Written
    attached: tuple[Service, ...]
    policy: Policy = Policy()
    keep: bool = False
    """Whether the number that runs counts more than `replicas`, as far as it may scale so."""
    back_to: int | None = None
    """The revision that this brings back."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One revision of a deployment: how many of which machine, and the service ports that lead to it.

    `index` is its place in the network. `served` tells whether it was ever ready in full, `reason` why its
    rollout failed, in a line, and `story` with all that is known. `past` are the revisions before, oldest
    first, each without a past of its own.
    """

    name: str
    namespace: str
    index: int
    revision: int
    fingerprint: str
    replicas: int
    machine: Machine
    backends: tuple[Backend, ...]
    ready_ports: tuple[int, ...]
    announced: tuple[Announced, ...] = ()
    written: Written = Written()
    attached: tuple[Service, ...] = ()
    policy: Policy = Policy()
    created_at: str = ""
    """RFC 3339, UTC; empty where an older version of i2kit noted it."""
    served: bool = False
    reason: str = ""
    story: str = ""
    back_to: int | None = None
    """The earlier revision that this one brought back, where it was made by a rollback."""
    past: tuple["Wanted", ...] = ()
    runs: jobs.Runs = ()
    """Of a job, oldest first."""
    scheduled_at: str = ""
    """The last time of a job's schedule that counted, or since when it counts; RFC 3339, UTC."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def rolling(self) -> bool:
        """Whether it is not known yet what becomes of this revision."""
        return not self.served and not self.reason

    @property
    def bounds(self) -> tuple[int, int]:
        """How many VMs there may be beyond `replicas`, and how many of them may be missing in an update."""
        if self.machine.stateful or (self.machine.disks and not self.policy.strategy.recreate):
            return 0, 1
        surge, unavailable = self.policy.strategy.bounds(self.replicas)
        return min(surge, MAX_SLOTS - self.replicas), unavailable

    @property
    def slots(self) -> int:
        """How many places for VMs it has."""
        return self.replicas + self.bounds[0]

    def base(self, kept: Collection[int]) -> "Wanted | None":
        """The revision that served last before this one: what a rollout that fails goes back to."""
        served = (one for one in reversed(self.past) if one.served and one.revision in kept)
        return next(served, None)

    @property
    def target_ports(self) -> tuple[int, ...]:
        """The TCP ports of a VM that services lead to, each once."""
        return tuple(sorted({one.target for one in self.backends if one.protocol == "TCP"}))

    @property
    def target_datagrams(self) -> tuple[int, ...]:
        """The same for UDP."""
        return tuple(sorted({one.target for one in self.backends if one.protocol == "UDP"}))


@dataclass(frozen=True, slots=True)
class Published:
    """A service port on the loopback address of the host."""

    number: int
    host_port: int
    http: bool
    name: str | None = None
    protocol: model.Protocol = "TCP"


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A service's name and the address that is its own for as long as anything stands behind it."""

    name: str
    namespace: str
    index: int
    public: bool
    ports: tuple[Published, ...]

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def vip(self) -> str:
        return f"{SUBNET}.{VIP_SUBNET}.{self.index}"


@dataclass(frozen=True, slots=True)
class Certified:
    """A secret that TLS is ended with, as NAMESPACE/NAME, and where its values are: a deployment's set."""

    key: str
    deployment: str
    set: str


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that should run here.

    `ingresses`, `policies`, `aliases`: each that comes with any deployment, as the newest deploy has it.
    """

    deployments: tuple[Wanted, ...] = ()
    services: tuple[ServiceRecord, ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    policies: tuple[NetworkPolicy, ...] = ()
    aliases: tuple[Alias, ...] = ()
    certificates: tuple["Certified", ...] = ()

    def deployment(self, key: str) -> Wanted | None:
        return next((one for one in self.deployments if one.key == key), None)


def address(wanted: Wanted, slot: int) -> str:
    """The address of a deployment's VM in this slot. It stays with the slot, whichever VM is in it."""
    return f"{SUBNET}.{wanted.index}.{slot + 1}"


def mac(wanted: Wanted, slot: int) -> str:
    """A locally administered MAC address that tells the same as the address."""
    return f"52:54:00:4d:{wanted.index:02x}:{slot + 1:02x}"


def instance_of(wanted: Wanted, slot: int, unique: str) -> str:
    """The name of a VM in this slot: of a stateful deployment NAME-SLOT, else one that no other ever has."""
    if wanted.machine.stateful:
        unique = str(slot)
    return f"{wanted.name[: 62 - len(unique)]}-{unique}"


def machine_of(release: Release, secrets: str = "") -> Machine:
    """The VM that a release's pod runs in: sizes from the containers' requests and limits.

    `secrets` is the name of the set with the values of its secrets.

    A container counts with the larger of its memory request and limit, 128 MiB if it has neither;
    folders in memory and the image's own need come on top. CPUs are whole, at least one.
    """
    workload = release.workload
    memory = release.image.memory_floor_bytes + workload.volumes_memory_bytes + workload.most(_memory)
    cpu_millis = workload.most(_cpu)
    memory = -(-memory // (2 << 20)) * (2 << 20)
    cpus = max(1, -(-cpu_millis // 1000))
    facts = release.workload.facts
    disks, scratch_bytes = disks_of(release.workload), scratch_of(release.workload)
    more = {
        name: value
        for name, value in (
            ("disks", [asdict(one) for one in disks]),
            ("scratch", scratch_bytes),
            ("secrets", secrets),
            ("stateful", release.workload.stateful),
        )
        if value
    }
    text = json.dumps(
        [release.image.id, memory, cpus, *([facts] if facts else []), *([more] if more else [])]
    )
    return Machine(
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
        image=release.image.id,
        kernel=str(release.image.kernel),
        initrd=None if release.image.direct else str(release.image.initrd),
        root=str(release.image.root),
        cmdline=release.image.arguments(ROOT_DEVICE),
        memory_bytes=memory,
        cpus=cpus,
        containers=release.image.containers,
        grace_s=release.workload.grace_s,
        health_port=release.workload.health_port,
        facts=facts,
        disks=disks,
        scratch_bytes=scratch_bytes,
        secrets=secrets,
        stateful=release.workload.stateful,
    )


def disks_of(workload: Workload) -> tuple[Disk, ...]:
    """The disks that outlive its VMs."""
    claims = ((one.name, one.source) for one in workload.volumes)
    return tuple(
        Disk(name, claim.name, claim.size_bytes, claim.each)
        for name, claim in claims
        if isinstance(claim, Claim)
    )


def scratch_of(workload: Workload) -> int:
    """How large a disk the empty volumes of a VM need that are not in memory."""
    sources = (one.source for one in workload.volumes)
    return sum(
        one.limit_bytes or DEFAULT_SCRATCH_BYTES
        for one in sources
        if isinstance(one, Scratch) and not one.memory
    )


def secret_sets(desired: "Desired") -> Mapping[str, frozenset[str]]:
    """The sets of secrets that each deployment, by key, needs for what runs or can be gone back to."""
    return {
        one.key: frozenset(
            name
            for each in (one, *one.past)
            for name in (each.machine.secrets, each.written.certificates)
            if name
        )
        for one in desired.deployments
    }


def _memory(container: Container) -> int:
    given = container.resources
    largest = max(given.memory_request_bytes or 0, given.memory_limit_bytes or 0)
    return largest or DEFAULT_CONTAINER_MEMORY_BYTES


def _cpu(container: Container) -> int:
    return max(container.resources.cpu_request_millis or 0, container.resources.cpu_limit_millis or 0)


def policy_of(workload: Workload) -> Policy:
    """What a workload says of updates and of the number of its VMs."""
    return Policy(
        strategy=workload.strategy,
        min_ready_s=workload.min_ready_s,
        progress_deadline_s=workload.progress_deadline_s,
        scaling=workload.scaling,
        job=workload.job,
        cpu_millis=_sum(_cpu_millis(one) for one in workload.running),
        memory_bytes=_sum(_memory_bytes(one) for one in workload.running),
    )


def _cpu_millis(container: Container) -> int | None:
    return container.resources.cpu_request_millis or container.resources.cpu_limit_millis


def _memory_bytes(container: Container) -> int | None:
    return container.resources.memory_request_bytes or container.resources.memory_limit_bytes


def _sum(amounts: Iterable[int | None]) -> int | None:
    """All together; None where one is not known."""
    total = 0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def target_number(ports: Iterable[Port], target: int | str) -> int | None:
    """The container port that a service port leads to; None for a name that none of these ports has."""
    if isinstance(target, int):
        return target
    return next((port.number for port in ports if port.name == target), None)


def is_http(port: ServicePort, target: int | str) -> bool:
    """Whether requests, not just connections, can be balanced: the port's name says, else its number."""
    protocol = (port.name or "").partition("-")[0]
    if protocol in NAMED_PROTOCOLS:
        return protocol == "http"
    return port.number in HTTP_PORTS or target in HTTP_PORTS


def in_front(key: str, written: Written, attached: Iterable[Service]) -> tuple[Service, ...]:
    """The services that were written for this deployment: its own, then those of other files.

    What its own files say of a service counts.
    """
    own = tuple(one for one in written.services if not (written.implied and one.key == key))
    keys = {one.key for one in own}
    return (*own, *(one for one in attached if one.key not in keys))


def services_of(key: str, written: Written, attached: Iterable[Service]) -> tuple[Service, ...]:
    """All services in front of this deployment. The implied one gives way to one that was written."""
    found = in_front(key, written, attached)
    keys = {one.key for one in found}
    return (*(one for one in written.services if one.key == key and key not in keys), *found)


def backends_of(services: Iterable[Service], ports: Iterable[Port]) -> tuple[Backend, ...]:
    """Which service ports lead to which ports of VMs whose containers have these ports."""
    known, found = tuple(ports), []
    for service in services:
        for port in service.ports:
            target = target_number(known, port.target)
            if target is not None:
                http = port.protocol == "TCP" and is_http(port, target)
                found.append(
                    Backend(
                        service.key, port.number, target, http, port.name, port.protocol, service.sticky_s
                    )
                )
    return tuple(found)


def written_of(release: Release, certificates: str = "") -> Written:
    """What is noted of a release beside its VM."""
    workload = release.workload
    return Written(
        labels=workload.labels,
        ports=workload.ports,
        services=tuple(unplaced(one) for one in release.services),
        implied=any(one.key == workload.key and is_implied(one, workload) for one in release.services),
        neighbours=tuple(unplaced(one) for one in release.neighbours),
        manifest=release.manifest,
        ingresses=tuple(replace(one, position=None) for one in release.ingresses),
        policies=tuple(replace(one, position=None) for one in release.policies),
        aliases=release.aliases,
        hostname=workload.hostname,
        subdomain=workload.subdomain,
        certificates=certificates,
    )


def unplaced(service: Service) -> Service:
    """The service without its place in a file, which says nothing to others."""
    return replace(service, position=None)


def is_implied(service: Service, workload: Workload) -> bool:
    """Whether a service of a workload's name came with it, and was not written."""
    return (
        service.position is None
        and service.public == workload.public
        and service.selector == workload.labels
        and [(port.number, port.target) for port in service.ports]
        == [(port.number, port.number) for port in workload.ports]
    )


def order_of(
    release: Release, attached: Iterable[Service] = (), secrets: str = "", certificates: str = ""
) -> Order:
    """What a release means on this machine, with these services of other files in front.

    `secrets` is the name of the set with the values of its secrets, `certificates` of that with what its
    Ingresses end TLS with.
    """
    workload = release.workload
    scaling, replicas = workload.scaling, workload.replicas
    if workload.job:
        replicas = min(workload.job.parallelism, workload.job.completions)
    order = make_order(
        workload.name,
        workload.namespace,
        scaling.start(replicas) if scaling else replicas,
        machine_of(release, secrets),
        written_of(release, certificates),
        tuple(unplaced(one) for one in attached),
        policy_of(workload),
    )
    return replace(order, keep=scaling is not None)


def make_order(
    name: str,
    namespace: str,
    replicas: int,
    machine: Machine,
    written: Written,
    attached: tuple[Service, ...],
    policy: Policy,
) -> Order:
    """An order of what was noted of a release.

    A VM is ready when it listens on every port that one of its own Services asks for; the deployment's own
    service, which has all declared ports, counts only where there is no other. What other files say cannot
    keep a VM from being ready, and nobody can see who waits for UDP. Where the number of VMs follows what
    they do, it says nothing of what was ordered.
    """
    key = f"{namespace}/{name}"
    services = services_of(key, written, attached)
    backends = backends_of([one for one in services if not one.headless], written.ports)
    public = tuple(sorted(service.key for service in services if service.public))
    # Where machines that are not ready are to be found, what they serve may need that to begin.
    asking = [one for one in written.services if not (one.headless and one.unready)]
    own = [one for one in backends_of(asking, written.ports) if one.protocol == "TCP"]
    counted = [backend for backend in own if backend.service != key] or own
    number = None if policy.scaling else replicas
    parts: list[object] = [machine.fingerprint, number, [asdict(backend) for backend in backends], public]
    parts += [written.labels, [asdict(port) for port in written.ports], [asdict(one) for one in services]]
    parts.append(asdict(policy))
    parts += [asdict(one) for one in written.ingresses]
    parts += [asdict(one) for one in written.policies]
    parts += [asdict(one) for one in written.aliases]
    parts += [written.certificates] if written.certificates else []
    parts += [[written.hostname, written.subdomain]] if written.hostname or written.subdomain else []
    return Order(
        name=name,
        namespace=namespace,
        replicas=replicas,
        machine=machine,
        backends=backends,
        ready_ports=tuple(sorted({backend.target for backend in counted})),
        announced=tuple(
            Announced(
                service.key,
                port.number,
                port.protocol == "TCP" and is_http(port, port.target),
                port.name,
                port.protocol,
            )
            for service in written.neighbours
            if not service.headless
            for port in service.ports
        ),
        public=public,
        fingerprint=hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16],
        written=written,
        attached=attached,
        policy=policy,
    )


def admit(
    desired: Desired,
    order: Order,
    *,
    taken: Iterable[int] = (),
    now: str = "",
    leaving: Collection[int] = (),
) -> Desired:
    """The desired state with this order in it; what it had before (addresses, ports) it keeps.

    Another machine is another revision. `taken` are host ports that other programs use, `now` is
    RFC 3339, UTC, `leaving` are the indexes that VMs of removed deployments have yet. Raises OperationError
    when the network is full, or a node port is another service's.
    """
    after = _admitted(desired, order, frozenset(taken), now, leaving)
    for _, problem in _node_port_clashes(after, order):
        raise OperationError(problem, hint=ANOTHER_NODE_PORT)
    return after


def node_port_clashes(desired: Desired, order: Order) -> list[tuple[Service, str]]:
    """The services of an order whose node port another service has here, and what is wrong with each."""
    return list(_node_port_clashes(_admitted(desired, order, frozenset(), ""), order))


def _node_port_clashes(after: Desired, order: Order) -> Iterator[tuple[Service, str]]:
    holders = {
        (port.host_port, port.protocol): (record.key, port.number)
        for record in after.services
        for port in record.ports
    }
    for service in services_of(order.key, order.written, order.attached):
        for port in service.ports:
            holder = holders.get((port.node_port, port.protocol)) if port.node_port else None
            if holder and holder != (service.key, port.number):
                where = f"port {port.node_port} of 127.0.0.1"
                whose = "the Ingresses" if holder[0] == INGRESS else f"service {holder[0]}"
                yield service, f"service `{service.name}`: {where} is that of {whose}"


def node_ports(order: Order) -> frozenset[int]:
    """The ports of the host that an order's services, and those beside it, are to have."""
    services = (*services_of(order.key, order.written, order.attached), *order.written.neighbours)
    return frozenset(port.node_port for one in services for port in one.ports if port.node_port)


def _admitted(
    desired: Desired, order: Order, taken: frozenset[int], now: str, leaving: Collection[int] = ()
) -> Desired:
    old = desired.deployment(order.key)
    others = tuple(one for one in desired.deployments if one.key != order.key)
    used = (*(one.index for one in others), *leaving)
    index = old.index if old else _free_index(used, MAX_DEPLOYMENTS, "deployments")
    changed = old is not None and old.machine.fingerprint != order.machine.fingerprint
    runs, scheduled_at = _runs(order, old, now, same=not changed)
    wanted = Wanted(
        name=order.name,
        namespace=order.namespace,
        index=index,
        revision=(old.revision + changed) if old else 1,
        fingerprint=order.fingerprint,
        replicas=ordered_replicas(order, old),
        machine=order.machine,
        backends=order.backends,
        ready_ports=order.ready_ports,
        announced=order.announced,
        written=order.written,
        attached=order.attached,
        policy=order.policy,
        created_at=old.created_at if old and not changed else now,
        served=old.served if old and not changed else bool(order.policy.job and order.policy.job.schedule),
        back_to=old.back_to if old and not changed else order.back_to,
        past=() if old is None else _with_past(old) if changed else old.past,
        runs=runs,
        scheduled_at=scheduled_at,
    )
    deployments = tuple(sorted((*others, wanted), key=lambda one: one.key))
    public = {backend.service: backend.service in order.public for backend in order.backends}
    return _joined(desired, deployments, wanted, public, taken)


def _runs(order: Order, old: Wanted | None, now: str, *, same: bool) -> tuple[jobs.Runs, str]:
    """The runs of what is ordered, and since when the times of its schedule count."""
    job, before = order.policy.job, old.policy.job if old else None
    if job is None:
        return (), ""
    runs = jobs.ordered(job, before, old.runs if old else (), now, same=same)
    is_same = before and (before.schedule, before.time_zone) == (job.schedule, job.time_zone)
    return runs, old.scheduled_at if old and is_same else now


def ran(desired: Desired, key: str, runs: jobs.Runs, scheduled_at: str, reason: str = "") -> Desired:
    """The desired state with what came of a job's runs; a job has served once it has ended well.

    `reason` is why the last of them failed, in a line.
    """
    wanted = desired.deployment(key)
    if wanted is None or wanted.policy.job is None:
        return desired
    outcome = "succeeded" if wanted.policy.job.schedule else runs[-1].outcome if runs else ""
    failed = outcome == "failed"
    noted = replace(
        wanted,
        runs=runs,
        scheduled_at=scheduled_at,
        served=wanted.served or outcome == "succeeded",
        reason=reason if failed else "",
        story=runs[-1].story if failed else "",
    )
    return _with(desired, noted)


def ordered_replicas(order: Order, old: Wanted | None) -> int:
    """How many replicas an order means where this is what ran before it."""
    scaling = order.policy.scaling
    return scaling.start(old.replicas) if scaling and order.keep and old else order.replicas


def scale(desired: Desired, key: str, replicas: int) -> Desired:
    """The desired state with so many replicas of what runs: not another revision."""
    wanted = desired.deployment(key)
    return _with(desired, replace(wanted, replicas=replicas)) if wanted else desired


def remove(desired: Desired, key: str) -> Desired:
    """The desired state without this deployment, and without services that nothing stands behind."""
    deployments = tuple(one for one in desired.deployments if one.key != key)
    return _joined(desired, deployments)


def go_back(
    desired: Desired, key: str, kept: Collection[int], reason: str = "", story: str = "", *, now: str = ""
) -> Desired:
    """The desired state with the deployment as it was when it served last, as a new revision.

    `reason` and `story` are why the last one failed. Without a `kept` revision that served it is given up.
    What scales by itself keeps its number.
    """
    wanted = desired.deployment(key)
    base = wanted.base(kept) if wanted else None
    if wanted is None or base is None:
        return give_up(desired, key, reason, story)
    scaling = base.policy.scaling
    back = replace(
        base,
        revision=wanted.revision + 1,
        replicas=scaling.start(wanted.replicas) if scaling else base.replicas,
        created_at=now,
        reason="",
        story="",
        past=_with_past(replace(wanted, reason=reason, story=story)),
    )
    return _with(desired, back)


def give_up(desired: Desired, key: str, reason: str, story: str = "") -> Desired:
    """The desired state with the note that this deployment's last revision does not become ready."""
    wanted = desired.deployment(key)
    if wanted is None or wanted.served:
        return desired
    return _with(desired, replace(wanted, reason=reason, story=story))


def serve(desired: Desired, key: str) -> Desired:
    """The desired state with the note that this deployment's last revision is ready in full."""
    wanted = desired.deployment(key)
    return _with(desired, replace(wanted, served=True, reason="", story="")) if wanted else desired


def _with_past(wanted: Wanted) -> tuple[Wanted, ...]:
    """What is the past once another revision takes the place of this one."""
    return (*wanted.past, replace(wanted, past=(), runs=()))[-KEPT_REVISIONS:]


def _with(desired: Desired, wanted: Wanted) -> Desired:
    deployments = tuple(wanted if one.key == wanted.key else one for one in desired.deployments)
    before = desired.deployment(wanted.key)
    changed = before is not None and before.written != wanted.written
    return _joined(desired, deployments, wanted if changed else None)


def _joined(
    before: Desired,
    deployments: tuple[Wanted, ...],
    newest: Wanted | None = None,
    public: Mapping[str, bool] = NOTHING_PUBLIC,
    taken: frozenset[int] = frozenset(),
) -> Desired:
    """These deployments with what comes with them. What the `newest` says counts before all others."""
    latest = newest.written if newest else Written()
    all_of_them = [one.written for one in deployments]
    certified = tuple(each for one in deployments for each in _certified(one))
    ingresses = _latest(
        *(latest.ingresses, before.ingresses), (each for one in all_of_them for each in one.ingresses)
    )
    return Desired(
        deployments,
        _records(before, deployments, ingresses, public, taken),
        ingresses,
        _latest(latest.policies, before.policies, (each for one in all_of_them for each in one.policies)),
        _latest(latest.aliases, before.aliases, (each for one in all_of_them for each in one.aliases)),
        _latest(
            _certified(newest) if newest else (),
            tuple(one for one in before.certificates if one in certified),
            certified,
        ),
    )


def _certified(wanted: Wanted) -> tuple[Certified, ...]:
    """What TLS is ended with and came with this deployment."""
    return tuple(
        Certified(f"{ingress.namespace}/{secret}", wanted.key, wanted.written.certificates)
        for ingress in wanted.written.ingresses
        for _, secret in ingress.tls
        if wanted.written.certificates
    )


def _latest(
    newest: tuple[Keyed, ...], before: tuple[Keyed, ...], found: Iterable[Keyed]
) -> tuple[Keyed, ...]:
    """Those that are found in any deployment, by key, each as it was said last."""
    those: dict[str, Keyed] = {}
    for one in found:
        those[one.key] = one
    for one in (*before, *newest):
        if one.key in those:
            those[one.key] = one
    return tuple(those[key] for key in sorted(those))


def _records(
    desired: Desired,
    deployments: tuple[Wanted, ...],
    ingresses: tuple[Ingress, ...],
    public: Mapping[str, bool],
    taken: frozenset[int],
) -> tuple[ServiceRecord, ...]:
    """The services that something stands behind or waits for, with address and ports as they had them. The
    ports are in the order of their files: the first is a service's port where only one is told.
    """
    old = {record.key: record for record in desired.services}
    used = {record.index for record in desired.services}
    wanted: dict[str, dict[Place, Backend | Announced]] = {}
    for one in deployments:
        for announced in one.announced:
            place = (announced.number, announced.protocol)
            wanted.setdefault(announced.service, {}).setdefault(place, announced)
        for backend in one.backends:
            wanted.setdefault(backend.service, {})[backend.number, backend.protocol] = backend
    if ingresses:
        numbers = (80, 443) if any(one.tls for one in ingresses) else (80,)
        wanted[INGRESS] = {(number, "TCP"): Announced(INGRESS, number, http=True) for number in numbers}
    published = _published(desired, deployments, wanted, taken)
    records = []
    for key, places in sorted(wanted.items()):
        namespace, name = key.split("/")
        before = old.get(key)
        index = before.index if before else _free_index(used, MAX_DEPLOYMENTS, "services")
        used.add(index)
        ports = tuple(
            Published(place[0], published[key, place], port.http, port.name, place[1])
            for place, port in places.items()
        )
        is_public = public.get(key, before.public if before else False)
        records.append(ServiceRecord(name, namespace, index, is_public, ports))
    return tuple(records)


def _published(
    desired: Desired,
    deployments: Iterable[Wanted],
    wanted: Mapping[str, Iterable[Place]],
    taken: frozenset[int],
) -> Mapping[tuple[str, Place], int]:
    """The host's port of each service port: the node port that is given, else as before, else a free one.

    None moves for another's node port: that one stays as it was, or gets a free port.
    """
    had = {
        (one.key, (port.number, port.protocol)): port.host_port
        for one in desired.services
        for port in one.ports
    }
    places = [(key, place) for key, numbers in sorted(wanted.items()) for place in sorted(numbers)]
    given = _given_node_ports(deployments)
    found: dict[tuple[str, Place], int] = {}
    used: set[tuple[int, model.Protocol]] = set()
    for source in ({one: had[one] for one in had if one not in given}, given, had):
        # Who has its node port already comes before who would like to have it.
        for one in sorted(places, key=lambda one: source.get(one) != had.get(one)):
            protocol = one[1][1]
            if one in source and one not in found and (source[one], protocol) not in used:
                found[one] = source[one]
                used.add((source[one], protocol))
    numbers_used = {*had.values(), *given.values(), *taken, *(number for number, _ in used)}
    for one in places:
        if one not in found:
            key, (number, protocol) = one
            found[one] = free_port(f"{key}:{number}{'' if protocol == 'TCP' else '/udp'}", numbers_used)
            numbers_used.add(found[one])
    return found


def _given_node_ports(deployments: Iterable[Wanted]) -> Mapping[tuple[str, Place], int]:
    """By service and port. What a service's own deployments say of it counts before what others do."""
    known = tuple(deployments)
    beside = [service for one in known for service in one.written.neighbours]
    own = [service for one in known for service in services_of(one.key, one.written, one.attached)]
    given = {
        (service.key, (port.number, port.protocol)): port.node_port
        for service in (*beside, *own)
        for port in service.ports
    }
    return {place: number for place, number in given.items() if number}


def free_port(label: str, used: Collection[int]) -> int:
    """A port for this label: the same on every machine where nothing else has it."""
    start = int.from_bytes(hashlib.sha256(label.encode()).digest()[:4], "big")
    for step in range(len(PUBLISHED_PORTS)):
        port = PUBLISHED_PORTS[(start + step) % len(PUBLISHED_PORTS)]
        if port not in used:
            return port
    raise OperationError("all ports from 30000 to 32767 are in use", hint="destroy a deployment")


def _free_index(used: Iterable[int], limit: int, what: str) -> int:
    taken = frozenset(used)
    for index in range(1, limit + 1):
        if index not in taken:
            return index
    raise OperationError(f"no room for more than {limit} {what} on one machine", hint="destroy one first")


def to_json(desired: Desired) -> str:
    """The text that is kept on disk."""
    return json.dumps({"format": FORMAT, **asdict(desired)}, indent=1) + "\n"


def from_json(text: str) -> Desired:
    """The inverse of `to_json`, of formats before too; ValueError, KeyError or TypeError for other text."""
    data = json.loads(text)
    if data["format"] not in range(1, FORMAT + 1):
        raise ValueError(f"its format is {data['format']}, not {FORMAT}")
    if data["format"] == 1:
        services = tuple(value_of(ServiceRecord, one) for one in data["services"])
        public = frozenset(one.key for one in services if one.public)
        return Desired(tuple(_wanted_of_format_1(one, public) for one in data["deployments"]), services)
    return value_of(Desired, {name: one for name, one in data.items() if name != "format"})


def order_from_data(data: Mapping[str, Any]) -> Order:
    """The inverse of `asdict` for an Order, as it comes through the control socket."""
    return value_of(Order, data)


def _wanted_of_format_1(data: Mapping[str, Any], public: Collection[str]) -> Wanted:
    """What was noted without services: they are told from the backends, and their selectors are not known.

    Of a revision before, which was kept for going back to, it is assumed that it served.
    """
    key, previous = f"{data['namespace']}/{data['name']}", data["previous"]
    written = Written(
        ports=tuple(Port(number) for number in sorted({one["target"] for one in data["backends"]})),
        services=_services_of_format_1(data["backends"], public),
        implied=all(one["number"] == one["target"] for one in data["backends"] if one["service"] == key),
        neighbours=_services_of_format_1(data["announced"], public),
    )
    told = {**data, "written": asdict(written), "attached": (), "past": ()}
    del told["previous"]
    wanted = value_of(Wanted, told)
    if previous is None:
        return wanted
    return replace(wanted, past=(replace(_wanted_of_format_1(previous, public), served=True),))


def _services_of_format_1(data: Iterable[Mapping[str, Any]], public: Collection[str]) -> tuple[Service, ...]:
    ports: dict[str, list[ServicePort]] = {}
    for one in data:
        port = ServicePort(one["number"], one.get("target", one["number"]), one["name"])
        ports.setdefault(one["service"], []).append(port)
    found = []
    for key, numbers in ports.items():
        namespace, name = key.split("/")
        found.append(Service(name, (), tuple(numbers), namespace, public=key in public))
    return tuple(found)
