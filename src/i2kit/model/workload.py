"""What a manifest says of pods: containers, what they run with, and how many machines run them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_from_bytes

from i2kit.errors import Position
from i2kit.model.words import Pairs, Protocol, secret_field

HEALTH_PORTS = range(10256, 11000)
"""The first is where Kubernetes' nodes answer load balancers."""


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
    user_name: str = ""
    """In place of it too: as USER is written, with names that the image knows, such as node or 1000:staff."""
    group: int | None = None
    non_root: bool = False
    """Whether an image whose USER is root is refused."""
    groups: tuple[int, ...] = ()
    group_names: tuple[str, ...] = ()
    """More groups, by names that the image knows."""
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
    filled: bool = False
    """Whether a new disk begins with what the image has at this path, as docker has it."""


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is made from a folder. `dockerfile` is within the folder; empty for the usual one."""

    context: str
    dockerfile: str = ""
    target: str = ""
    args: Pairs = ()
    inline: str = ""
    """What a Dockerfile would hold, where there is none."""
    secrets: Pairs = ()
    """Files that its steps may read, by the secret's id: `src=PATH` or `env=VARIABLE`."""
    contexts: Pairs = ()
    """Folders and images that its steps may copy from, by name."""
    options: tuple[str, ...] = ()
    """More words for the builder: those that buildah and docker have in common."""


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
    stop_signal: str = ""
    """What it is asked to end with, such as SIGINT, in place of what its image says."""
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
