"""The values that cross a stage boundary. All frozen, units in the names, no I/O.

manifest makes Workloads and Services; image makes MachineImages of Workloads; app joins both
into Releases; providers make Releases true and tell what they found as Deployments.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, quote_from_bytes

from i2kit.errors import Position, Problem

Pairs = tuple[tuple[str, str], ...]
"""An ordered mapping of strings, as a value."""

Architecture = Literal["amd64", "arm64"]
"""As OCI and Debian name them."""


HEALTH_PORTS = range(10256, 11000)
"""The first is where Kubernetes' nodes answer load balancers."""


FIELD = "$(i2kit:"
"""What the word for a field of the pod begins with: no variable can have such a name."""


def field_word(path: str) -> str:
    """What stands in a container's words for a field of its pod, such as `status.podIP`.

    Each machine puts the value there when it starts, so the image is the same for all.
    """
    return f"{FIELD}{_one_word(path)})"


def told_facts(facts: Pairs) -> list[str]:
    """The values of fields as lines of user data; any text is one word."""
    return [f"fact={_one_word(path)}={_one_word(value)}" for path, value in facts]


SECRET = "secret/"  # noqa: S105 (the beginning of a name)
"""What the path of a field begins with whose value is a secret's: `secret/NAME/KEY`."""


def secret_field(secret: str, key: str) -> str:
    """The path by which a container's words and the guest call the value of a secret's key."""
    return f"{SECRET}{secret}/{key}"


def _one_word(text: str) -> str:
    """Each byte but letters, digits and `-_./` is `%XX`."""
    return quote(text.replace("\0", ""), safe="-_./")


CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""linux/capability.h, in the order of their numbers."""


Protocol = Literal["TCP", "UDP"]


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a container listens on. `name` can be used as a Service's target port."""

    number: int
    name: str | None = None
    protocol: Protocol = "TCP"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for and may use at most; None where the manifest says nothing."""

    cpu_request_millis: int | None = None
    cpu_limit_millis: int | None = None
    memory_request_bytes: int | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class HttpGet:
    """Healthy when a GET is answered with 200–399. Without `host` the machine's own address is asked."""

    port: int
    path: str = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    headers: Pairs = ()
    host: str | None = None


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """Healthy when a connection is accepted."""

    port: int
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Exec:
    """Healthy when this command, run in the container, ends with 0."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grpc:
    """Healthy when grpc.health.v1.Health/Check of this service answers SERVING."""

    port: int
    service: str = ""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Done once this time is over."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that is asked of a container again and again, with Kubernetes' words and defaults.

    `grace_s` is what the container gets to end after a failed liveness or startup probe; None for the pod's.
    """

    handler: HttpGet | TcpSocket | Exec | Grpc
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_s: int | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """Who a container runs as and what it may do; the defaults are those of a manifest that says nothing.

    Capabilities are as written, with their whole names, or ALL.
    """

    user: int | None = None
    """In place of the image's USER."""
    group: int | None = None
    non_root: bool = False
    """Whether an image whose USER is root is refused."""
    groups: tuple[int, ...] = ()
    fs_group: int | None = None
    """One more of the groups, which volumes will belong to."""
    strict_groups: bool = False
    """Whether the groups that the image has for the user do not count."""
    readonly_root: bool = False
    no_new_privileges: bool = False
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    privileged: bool = False
    unconfined: bool = False
    """Whether there is no filter on system calls."""
    unmasked: bool = False
    """Whether all of /proc can be seen and written."""
    position: Position | None = field(default=None, compare=False, repr=False)
    """Where it is said that it must not be root."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a container sees a volume, or with `sub_path` one file or folder of it."""

    volume: str
    path: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is made from a folder. `dockerfile` is within the folder; empty for the usual one."""

    context: str
    dockerfile: str = ""
    target: str = ""
    args: Pairs = ()


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod. `command` replaces the image's entrypoint, `args` its command.

    The meaning of (command, args, image config) is Kubernetes': a command without args drops
    the image's own command. `env` is as written, `$(VAR)` not yet expanded; a field of the pod is its
    `field_word`.
    """

    name: str
    image: str
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Pairs = ()
    working_dir: str | None = None
    ports: tuple[Port, ...] = ()
    resources: Resources = Resources()
    startup: Probe | None = None
    """Until it succeeded once, the others are not asked; failing for good, it restarts the container."""
    liveness: Probe | None = None
    """Failing for good, it restarts the container."""
    readiness: Probe | None = None
    """While it fails, the machine is sent no requests."""
    post_start: HttpGet | TcpSocket | Exec | Sleep | None = None
    """Done as soon as it was started; where that fails, it is restarted."""
    pre_stop: HttpGet | TcpSocket | Exec | Sleep | None = None
    """Done before it is asked to end."""
    mounts: tuple[Mount, ...] = ()
    sidecar: bool = False
    """Of those that come first: whether it runs on while the others follow, and is restarted."""
    build: Build | None = None
    """How `image`, which then is a name only, is made."""
    security: Security = Security()
    position: Position | None = field(default=None, compare=False)
    """Where the image is written, for errors that are found after reading."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value of what Kubernetes calls a Secret, in the workload's namespace."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class SecretValue:
    """What a secret's key holds. Only ever in memory on its way to where secrets are kept."""

    namespace: str
    secret: str
    key: str
    value: bytes = field(repr=False)


def secrets_text(keys: Iterable[SecretKey], values: Iterable[SecretValue]) -> str:
    """What a machine is told of these secrets of its namespace: a line `secret/NAME/KEY=VALUE` for each.

    The bytes of values are as in `field_word`. KeyError for one that has no value.
    """
    known = {(one.secret, one.key): one.value for one in values}
    lines = {
        f"{secret_field(one.secret, one.key)}={quote_from_bytes(known[one.secret, one.key], safe='-_./')}\n"
        for one in keys
    }
    return "".join(sorted(lines))


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume: `data` as it is, or `text` with field words in it, or a secret's value."""

    path: str
    """Below the volume."""
    mode: int = 0o644
    data: bytes = b""
    text: str | None = None
    secret: SecretKey | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """What ConfigMaps, Secrets and fields of the pod make up; read-only."""

    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Scratch:
    """An empty folder that goes with its machine: on a disk, or in memory, where it counts as such."""

    memory: bool = False
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A disk that outlives machines, with a file system on it. It is never in two machines.

    `name` is the PersistentVolumeClaim's; where there is one for `each` machine of a stateful workload,
    that of machine 0 of `web` is `NAME-web-0`.
    """

    name: str
    size_bytes: int
    each: bool = False
    kind: str | None = None
    """What Kubernetes calls its storage class, as it was written."""
    source: str | None = None
    """A cloud's volume that is there already, such as vol-0123456789abcdef0."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder that containers of a pod can mount by its name."""

    name: str
    source: Files | Scratch | Claim


@dataclass(frozen=True, slots=True)
class Dns:
    """How containers look names up: with the machine's own way, or with `only` this one."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    only: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A pod that ends: how often it has to end well, by how many machines at a time, and what may fail.

    With a `schedule` (five fields of cron, in `time_zone` or UTC) that begins at each of its times. With
    `retry` a container that failed is restarted in its machine; else another machine takes its place.
    """

    completions: int = 1
    parallelism: int = 1
    most_failures: int = 6
    """Kubernetes' backoffLimit."""
    deadline_s: int | None = None
    retry: bool = False
    schedule: str | None = None
    time_zone: str | None = None
    overlap: Literal["Allow", "Forbid", "Replace"] = "Allow"
    """What happens where the run before has not ended."""
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of replicas, or a share of them in percent."""

    number: int
    percent: bool = False

    def of(self, replicas: int, *, up: bool) -> int:
        """How many of so many replicas; what is no whole number is rounded `up` or down."""
        if not self.percent:
            return self.number
        hundredths = replicas * self.number
        return -(-hundredths // 100) if up else hundredths // 100


@dataclass(frozen=True, slots=True)
class Strategy:
    """How an update replaces machines; with `recreate` the old ones all go before the first new one."""

    recreate: bool = False
    max_surge: Amount = Amount(25, percent=True)
    max_unavailable: Amount = Amount(25, percent=True)

    def bounds(self, replicas: int) -> tuple[int, int]:
        """How many machines there may be beyond `replicas`, and how many of them may be missing.

        Rounded as Kubernetes does (deployment/util, ResolveFenceposts): never both 0.
        """
        if self.recreate:
            return 0, replicas
        surge = self.max_surge.of(replicas, up=True)
        unavailable = min(replicas, self.max_unavailable.of(replicas, up=False))
        return (surge, unavailable) if surge or unavailable else (0, 1)


@dataclass(frozen=True, slots=True)
class Metric:
    """What the number of replicas follows: the average of all machines.

    `percent` is of what the containers request; else `value`, in 1/1000 CPU or bytes for each machine.
    """

    resource: Literal["cpu", "memory"]
    percent: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """What Kubernetes calls a HorizontalPodAutoscaler: between `least` and `most` replicas.

    The metric that asks for the most replicas counts. Before there are fewer (or more), fewer (more) must
    have been enough (needed) for `down_window_s` (`up_window_s`).
    """

    least: int
    most: int
    metrics: tuple[Metric, ...]
    down_window_s: int = 300
    up_window_s: int = 0

    def start(self, replicas: int) -> int:
        """How many replicas to begin with where the manifest asks for so many."""
        return min(max(replicas, self.least), self.most)


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod and how many of it: what Kubernetes calls a Deployment.

    `labels` are the pod's: what Services select by.
    """

    name: str
    containers: tuple[Container, ...]
    replicas: int = 1
    namespace: str = "default"
    labels: Pairs = ()
    public: bool = False
    """Whether the service that every deployment has is meant for callers outside the network."""
    instance_type: str | None = None
    """Which machines a cloud should take, such as t4g.micro; None for the smallest that holds the pod."""
    certificate: str | None = None
    """What a cloud's load balancer ends TLS with: there the ARN of a certificate."""
    strategy: Strategy = Strategy()
    min_ready_s: int = 0
    """How long a new machine must have been ready before an old one goes."""
    progress_deadline_s: int = 600
    """An update that comes no further for this long has failed."""
    grace_s: int = 30
    """How long a leaving machine has to finish its requests and to end."""
    scaling: Scaling | None = None
    """With it, `replicas` is only where to begin."""
    hosts: Pairs = ()
    """More lines of /etc/hosts: an address, and its names with blanks between them."""
    facts: Pairs = ()
    """Fields of the pod that its containers read, such as its namespace, with their values.

    What each machine knows by itself, such as its name, is not among them.
    """
    sysctls: Pairs = ()
    """Settings of the kernel that all containers share; names with slashes, as below /proc/sys."""
    init: tuple[Container, ...] = ()
    """What runs before the containers, one after the other, each until it ended well."""
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[SecretKey, ...] = ()
    """What its machines have to be told when they start; no file of theirs may hold it."""
    stateful: bool = False
    """Whether its machines are numbered: NAME-0 and so on, with names and disks that stay.

    They start in order and are replaced in the other, one at a time; never are there two of a number.
    """
    subdomain: str | None = None
    """The headless Service below whose name each machine has a name of its own."""
    hostname: str | None = None
    dns: Dns = Dns()
    shared_processes: bool = False
    """Whether containers see each other's processes."""
    host_processes: bool = False
    """Whether containers see all processes of the machine."""
    job: Job | None = None
    """With it, the pod is meant to end."""
    logins: tuple[str, ...] = field(default=(), compare=False)
    """The Secrets that registries are logged in to with."""
    position: Position | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """`namespace/name`, unique among the workloads of a provider."""
        return f"{self.namespace}/{self.name}"

    @property
    def ports(self) -> tuple[Port, ...]:
        """The ports of all containers that run on; no number occurs twice in a valid workload."""
        return tuple(port for container in self.running for port in container.ports)

    @property
    def running(self) -> tuple[Container, ...]:
        """The containers that run on: sidecars first."""
        return (*(one for one in self.init if one.sidecar), *self.containers)

    def most(self, amount: Callable[[Container], int]) -> int:
        """The most that is needed at a time: by all that run on, or by one that ends and what runs by then.

        As in Kubernetes (component-helpers, resource.PodRequests).
        """
        running = most = 0
        for one in self.init:
            running += amount(one) if one.sidecar else 0
            most = max(most, running + (0 if one.sidecar else amount(one)))
        return max(most, running + sum(map(amount, self.containers)))

    @property
    def volumes_memory_bytes(self) -> int:
        """What folders in memory may hold; one without a limit counts as what containers write."""
        sources = (one.source for one in self.volumes)
        return sum(one.limit_bytes or 0 for one in sources if isinstance(one, Scratch) and one.memory)

    @property
    def health_port(self) -> int:
        """Where the machine itself answers `/ready` to load balancers: no container has declared it."""
        taken = {port.number for port in self.ports}
        return next(number for number in HEALTH_PORTS if number not in taken)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service and the port of the pods that it leads to (a number or a port's name).

    `node_port` is where it is published, by a provider that has a node: this machine.
    """

    number: int
    target: int | str
    name: str | None = None
    protocol: Protocol = "TCP"
    node_port: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A stable name and address in front of all pods whose labels contain the selector.

    `public` is what Kubernetes calls type LoadBalancer: meant for callers outside the network.
    """

    name: str
    selector: Pairs
    ports: tuple[ServicePort, ...]
    namespace: str = "default"
    public: bool = False
    headless: bool = False
    """Whether its name stands for the machines themselves, with no balancer in front. May have no ports."""
    unready: bool = False
    """Whether the names of a headless one lead to machines that are not ready, too."""
    sticky_s: int | None = None
    """For how long a caller comes back to the same machine."""
    sources: tuple[str, ...] = ()
    """The networks that a public one may be called from, such as 192.0.2.0/24; none for all."""
    position: Position | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """`namespace/name`, unique among the services of a provider."""
        return f"{self.namespace}/{self.name}"

    def selects(self, one: "Workload | Deployment") -> bool:
        """Whether the pods of a workload, or of a deployment that runs, stand behind this service."""
        return (
            bool(self.selector) and self.namespace == one.namespace and set(self.selector) <= set(one.labels)
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of the network that stands for one outside (Kubernetes' ExternalName)."""

    name: str
    target: str
    namespace: str = "default"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for below a path leads to a port of a Service in the Ingress's namespace."""

    path: str
    exact: bool
    service: str
    port: int | str

    def matches(self, path: str) -> bool:
        """Whether this path of a request is meant; a prefix by whole elements, as in Kubernetes."""
        if self.exact:
            return path == self.path
        prefix = self.path.rstrip("/")
        return path == prefix or path.startswith(f"{prefix}/")


@dataclass(frozen=True, slots=True)
class Ingress:
    """Which Service answers a request, by its host and path; HTTP, and HTTPS for the hosts of `tls`.

    `rules` are hosts (empty for any; `*.` for one label more) and their routes, the longest path counting
    first. `default` is for what no rule is for. `tls` are hosts and the secret with tls.crt and tls.key for
    them; `certificate` is what a cloud has instead.
    """

    name: str
    rules: tuple[tuple[str, tuple[Route, ...]], ...]
    namespace: str = "default"
    default: Route | None = None
    tls: tuple[tuple[tuple[str, ...], str], ...] = ()
    certificate: str | None = None
    public: bool = True
    https_only: bool = False
    """Whether a request by HTTP is sent to HTTPS."""
    position: Position | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """`namespace/name`, unique among the Ingresses of a provider."""
        return f"{self.namespace}/{self.name}"

    @property
    def routes(self) -> tuple[Route, ...]:
        """All of them, the default one last."""
        last = (self.default,) if self.default else ()
        return (*(route for _, routes in self.rules for route in routes), *last)


Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


@dataclass(frozen=True, slots=True)
class Selector:
    """Which labels are meant: all of `labels`, and every expression (key, operator, values)."""

    labels: Pairs = ()
    expressions: tuple[
        tuple[str, Literal["In", "NotIn", "Exists", "DoesNotExist"], tuple[str, ...]], ...
    ] = ()

    def matches(self, labels: Pairs) -> bool:
        """Whether something with these labels is meant; an empty selector means everything."""
        given = dict(labels)
        return all(given.get(key) == value for key, value in self.labels) and all(
            {
                "In": given.get(key) in values,
                "NotIn": key not in given or given[key] not in values,
                "Exists": key in given,
                "DoesNotExist": key not in given,
            }[operator]
            for key, operator, values in self.expressions
        )


@dataclass(frozen=True, slots=True)
class PodPeer:
    """The pods that a selector means, in these namespaces; None for all of them."""

    selector: Selector
    namespaces: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class NetworkPeer:
    """Addresses, such as 192.0.2.0/24, without those in `without`."""

    cidr: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyPort:
    """Ports of pods by number (through `last`, where that is given) or name; None for all of the protocol."""

    protocol: Protocol = "TCP"
    number: int | str | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Whom it may be talked with, and on which ports; None for all, an empty list never occurs."""

    peers: tuple[PodPeer | NetworkPeer, ...] | None = None
    ports: tuple[PolicyPort, ...] | None = None


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What the pods of its namespace that it selects may receive and call; None where it says nothing of it.

    Pods that any policy selects for a direction can do in it what one of these allows, and nothing else.
    """

    name: str
    selector: Selector
    ingress: tuple[PolicyRule, ...] | None = None
    egress: tuple[PolicyRule, ...] | None = None
    namespace: str = "default"
    position: Position | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def selects(self, one: "Workload | Deployment") -> bool:
        return self.namespace == one.namespace and self.selector.matches(one.labels)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a set of files says, checked as a whole. `warnings` are for the user, in order.

    `lonely` are services that select no workload of these files, each with the problem that this is
    unless they select a deployment that runs.
    """

    workloads: tuple[Workload, ...]
    services: tuple[Service, ...] = ()
    warnings: tuple[str, ...] = ()
    lonely: tuple[tuple[Service, Problem], ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    policies: tuple[NetworkPolicy, ...] = ()
    aliases: tuple[Alias, ...] = ()
    secrets: tuple[SecretValue, ...] = field(default=(), repr=False)
    """All that the workloads, their registries and the Ingresses need, from the files and as given."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an OCI image's config that decides how a container starts."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Pairs = ()
    working_dir: str = "/"
    user: str = ""
    labels: Pairs = ()
    stop_signal: str = ""
    """Such as SIGQUIT; empty for the usual one."""
    ports: tuple[Port, ...] = ()
    """What Docker calls exposed."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer blob of an image: the digest of the blob as stored, and of its uncompressed tar."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image pinned by content. `reference` is as written, `digest` the manifest's sha256:….

    `pinned` is the canonical reference with the digest, such as
    `docker.io/library/nginx@sha256:…`: it is what templates and status show.
    """

    reference: str
    pinned: str
    digest: str
    config: ImageConfig
    layers: tuple[Layer, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Identity:
    """The numeric identity that a container runs as (image USER, names looked up in the image).

    `home` is its home directory, the root for a user that the image does not know.
    """

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class MachineImage:
    """A bootable image in the store. `id` is the hash of its files' contents and its arguments.

    `vmlinuz` is the kernel as firmware starts it, `kernel` the same as a virtual machine starts it
    best: an ELF with a PVH note where there is one inside. `root` is a read-only erofs filesystem,
    which `initrd` finds; an image whose kernel cannot mount that has no `root`, and all its files
    are in `initrd`. `cmdline` are the kernel arguments that the image needs on any machine.
    `memory_floor_bytes` is what the image itself needs beside the containers.
    """

    id: str
    vmlinuz: Path
    kernel: Path
    initrd: Path
    root: Path | None
    cmdline: str
    memory_floor_bytes: int
    containers: Pairs = ()
    """Container name → pinned image reference."""
    sbom: Path | None = None
    """An SPDX document of what is in it, as /sbom.spdx.json of its root."""
    direct: bool = False
    """Whether the kernel has all it takes to mount `root`, so that it starts without `initrd`."""
    cached: bool = field(default=False, compare=False)
    """Whether the build that gave this value found all of it in the store."""

    @property
    def size_bytes(self) -> int:
        """What a machine needs of it: kernel, initrd and root."""
        files = (self.vmlinuz, *([] if self.direct else [self.initrd]), *([self.root] if self.root else []))
        return sum(path.stat().st_size for path in files)

    def arguments(self, root: str) -> str:
        """The kernel's whole command line when `root` is on this device, such as `/dev/vda`."""
        return f"{self.cmdline} root={root} rootfstype=erofs ro init=/init" if self.root else self.cmdline


FORMATS = ("kernel+root", "kernel+initrd", "raw", "qcow2", "vhd", "tar")
"""What a machine image can be written as; image.outputs tells what each holds."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of an Output; `sha256` is in hexadecimal."""

    name: str
    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Output:
    """A machine image in the form that was asked for, such as a disk. `id` is the machine image's."""

    id: str
    format: str
    files: tuple[OutputFile, ...]
    cached: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """One workload as it should run: the pod, its machine image, the services in front of it.

    `neighbours` are the services of the other workloads in the same files: its containers are told
    where to reach them, even before anything stands behind them.
    """

    workload: Workload
    image: MachineImage
    services: tuple[Service, ...]
    neighbours: tuple[Service, ...] = ()
    disk: Path | None = field(default=None, compare=False)
    """The machine image in the form that the provider asked for, where that is a single file."""
    manifest: str = field(default="", compare=False)
    """A hash of what the files say of it: tells apart what was asked for, where images are the same."""
    ingresses: tuple[Ingress, ...] = ()
    """Those that lead to one of its services, each whole: with the routes to others."""
    policies: tuple[NetworkPolicy, ...] = ()
    """Those that select its pods."""
    aliases: tuple[Alias, ...] = ()
    """Names of its network that come with it; each comes with one release of the files."""
    secrets: tuple[SecretValue, ...] = field(default=(), compare=False, repr=False)
    """The values of its workload's secrets, and those that its ingresses end TLS with."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a deployment was at a time. Only those that are `kept` can be gone back to."""

    number: int
    image: str
    """The machine image's id."""
    containers: Pairs
    """Container name → pinned image reference."""
    manifest: str
    """Release.manifest."""
    created_at: str
    """RFC 3339, UTC."""
    outcome: Literal["serving", "rolling out", "superseded", "failed"]
    kept: bool = True
    reason: str = ""
    """Why it failed, as far as that is known."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """A machine image as a provider keeps it outside of the store, such as an AMI."""

    id: str
    """As its place names it."""
    image: str
    """The machine image's id."""
    created_at: str
    """RFC 3339, UTC."""
    size_bytes: int
    architecture: Architecture
    keys: tuple[str, ...] = ()
    """The deployments that it was made for."""
    used_by: tuple[str, ...] = ()
    """What would miss it: deployments that run it or can go back to it, machines, launch templates."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that answers for a deployment, such as http://127.0.0.1:30080."""

    url: str
    public: bool
    service: str
    port: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One VM. `ready` means that the load balancer sends it requests."""

    id: str
    address: str
    ready: bool
    image: str
    started_at: str
    """RFC 3339, UTC."""
    state: Literal["starting", "ready", "draining", "failed", "succeeded"] = "starting"
    detail: str = ""
    """Why it is not ready, where that is known: a container's exit status, a port nobody listens on."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a provider found: a workload that runs, as `status` shows it."""

    name: str
    namespace: str
    provider: str
    revision: int
    image: str
    endpoints: tuple[Endpoint, ...]
    replicas_wanted: int
    replicas_ready: int
    instances: tuple[Instance, ...]
    fingerprint: str = ""
    """Equal for two releases exactly when a deploy of the second has nothing to do."""
    machine: str = ""
    """The same for the VM alone: another one means that every VM is replaced."""
    containers: tuple[str, ...] = ()
    """The names of the containers in each VM."""
    labels: Pairs = ()
    """Its workload's, by which services select."""
    services: tuple[Service, ...] = ()
    """Those in front of it, as far as they were written and not implied."""
    phase: Literal["", "running", "succeeded", "failed", "scheduled"] = ""
    """Of a job."""
    volumes: tuple[str, ...] = ()
    """The disks that outlive its machines, by the names of their claims."""

    @property
    def key(self) -> str:
        """`namespace/name`, as that of its workload."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Use:
    """A deployment that needs a machine image: it runs, it is about to, or one could go back to it."""

    image: str
    """The machine image's id."""
    provider: str
    key: str
    place: str
    """Which of several, for a provider that keeps its state in folders."""


@dataclass(frozen=True, slots=True)
class StoredForm:
    """A machine image's other form as it is in the store; `disk_bytes` is less where it has holes."""

    format: str
    size_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A machine image as it is in the store.

    Where `created_at` is empty its record is damaged, or of another version of i2kit.
    """

    id: str
    names: tuple[str, ...]
    """What it was built for: keys of workloads, names of templates."""
    containers: Pairs
    images: tuple[str, ...]
    """The pinned references of all container images in it."""
    created_at: str
    """RFC 3339, UTC."""
    size_bytes: int
    own_bytes: int
    """What is on disk for it and its other forms alone; `shared_bytes` is there for other images too."""
    shared_bytes: int
    forms: tuple[StoredForm, ...]
    used_by: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """How many things of a kind the store has, and the room that they take on disk. No byte counts twice."""

    kind: str
    count: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Stock:
    """What the store holds: machine images, newest first, and everything by kind."""

    images: tuple[StoredImage, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went from the store, or would go: machine images, and files of the rest by kind.

    `room` are the bytes on disk that each image frees; `unknown` are words that name no image.
    """

    images: tuple[StoredImage, ...]
    room: tuple[int, ...]
    others: tuple[Share, ...]
    unknown: tuple[str, ...] = ()

    @property
    def freed_bytes(self) -> int:
        return sum(self.room) + sum(share.disk_bytes for share in self.others)
