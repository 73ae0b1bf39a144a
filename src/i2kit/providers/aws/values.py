"""What a deployment on AWS is given beside its Release: where, from which image, and how. Frozen, no I/O."""

from dataclasses import dataclass
from typing import Literal

from i2kit.model import Pairs

Architecture = Literal["x86_64", "arm64"]
"""As EC2 names them."""

BootMode = Literal["uefi", "uefi-preferred", "legacy-bios"]
"""Of an AMI: EC2 user guide, "Instance launch behavior with Amazon EC2 boot modes"."""

BOOT_MODES: dict[Architecture, BootMode] = {"x86_64": "uefi-preferred", "arm64": "uefi"}
"""How our disks start: those for x86 have boot loaders for both."""

ROOT_DEVICE = "/dev/xvda"
"""What our AMIs call the disk that they boot from."""

NUMBER = "i2kit:number"
"""The tag of groups of one machine that is numbered."""

NETWORK_STACK = "i2kit-network"
"""The one stack that deployments share, where no network was given."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """`public`: its route table has a way to an internet gateway."""

    id: str
    zone: str
    public: bool = True


@dataclass(frozen=True, slots=True)
class Network:
    """Where the machines and load balancers are. `cidrs` are the VPC's, in IPv4.

    A given `security_group` decides who may call: load balancers have it instead of one of ours, and machines
    beside their own.
    """

    vpc: str
    cidrs: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    security_group: str | None = None

    @property
    def machine_subnets(self) -> tuple[Subnet, ...]:
        """Private ones where there are any. In public ones machines get public addresses, for a way out."""
        return tuple(subnet for subnet in self.subnets if not subnet.public) or self.subnets

    def balancer_subnets(self, *, public: bool) -> tuple[Subnet, ...]:
        return tuple(subnet for subnet in self.subnets if subnet.public) if public else self.machine_subnets


@dataclass(frozen=True, slots=True)
class Zone:
    """A hosted zone of Route 53, where services get their names. `name` without a dot at its end.

    `inner` is a private one beside a public one: there machines look names up.
    """

    id: str
    name: str
    private: bool
    inner: "Zone | None" = None

    @property
    def looked_up(self) -> "Zone | None":
        """The private one that machines look names up in."""
        return self if self.private else self.inner


@dataclass(frozen=True, slots=True)
class Ami:
    """A machine image as EC2 boots it. `size_bytes` is the disk's, `image` the machine image's id."""

    id: str
    image: str
    size_bytes: int

    @property
    def volume_gib(self) -> int:
        """EBS volumes have whole GiB."""
        return max(1, -(-self.size_bytes // (1 << 30)))


@dataclass(frozen=True, slots=True)
class Ebs:
    """A volume of EBS that outlives machines: the claim that it is for, and where and what it is."""

    claim: str
    id: str
    zone: str
    gib: int
    type: str = "gp3"


@dataclass(frozen=True, slots=True)
class Options:
    """How one run differs from another."""

    region: str
    architecture: Architecture = "x86_64"
    instance_type: str | None = None
    """None: the smallest that holds the pod."""
    key_pair: str | None = None
    certificate: str | None = None
    """The ARN of the certificate that listeners for TLS have; without one, TLS is left to the pods."""
    alarms: tuple[str, ...] = ()
    """Names of alarms that end an update."""
    bake_time_s: int = 0
    """For how long alarms can still end it, once all machines are new."""
    addresses: Pairs = ()
    """Services of other stacks by key, and their load balancers' names: needed where there is no zone."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a deployment has to do with an Ingress: target groups that its machines belong to.

    `targets` are (port, health port, ARN) of each, `urls` (key of the service, its port, URL) of what is
    called there. Whoever has the `security_group` may call these ports.
    """

    key: str
    security_group: str
    targets: tuple[tuple[int, int, str], ...]
    urls: tuple[tuple[str, int, str], ...]
    public: bool = True


@dataclass(frozen=True, slots=True)
class Way:
    """Where a deployment is called: a port of what has this security group, and the pods' port behind it."""

    group: str
    number: int
    transport: str
    """tcp or udp."""
    target: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another deployment that network policies mean. `group` is its machines' security group, `ports` are
    (name, number, protocol) of its pods."""

    key: str
    labels: Pairs
    group: str
    ports: tuple[tuple[str, int, Literal["TCP", "UDP"]], ...]
    ways: tuple[Way, ...]


def stack_name(key: str) -> str:
    """The stack of the deployment `namespace/name`. No two have the same: names have no upper case."""
    namespace, name = key.split("/")
    short = f"i2kit-{name}"
    return short if namespace == "default" and short != NETWORK_STACK else f"{short}-NS-{namespace}"


def log_group(key: str) -> str:
    """Where the deployment's machines write their logs."""
    return f"/i2kit/{stack_name(key)}"
