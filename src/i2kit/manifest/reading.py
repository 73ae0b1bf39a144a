"""What the documents said so far: values, and what checks across documents need beside them. Pure."""

from dataclasses import dataclass, field

from i2kit.errors import Position
from i2kit.model import Alias, Ingress, Metric, NetworkPolicy, Scaling, Service, Workload


@dataclass(frozen=True, slots=True)
class FoundService:
    """A Service, and the places that checks across documents point at."""

    service: Service
    selector: Position
    targets: tuple[Position, ...]
    node_ports: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """A service account that a deployment's pods use."""

    key: str
    position: Position
    path: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A binding that gives a service account rights in the Kubernetes API."""

    account: str
    binding: str


@dataclass(frozen=True, slots=True)
class Followed:
    """A metric, and where it is written."""

    metric: Metric
    position: Position
    path: str


@dataclass(frozen=True, slots=True)
class FoundScaler:
    """What scales the workload of a key, and the place of the key."""

    target: str
    scaling: Scaling
    position: Position
    path: str
    followed: tuple[Followed, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a workload needs of other documents. Nothing yet."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The Service of this key, below whose name the machines of a workload have names of their own."""

    service: str
    workload: str
    position: Position
    path: str


@dataclass(slots=True)
class Reading:
    """What the documents said. `complete` is False once a document with pods could not be read.

    `unsized` are the keys of workloads whose resources were wrong, which is in the log by then.
    """

    workloads: list[Workload] = field(default_factory=list)
    needs: list[Needs] = field(default_factory=list)
    """Of each workload."""
    services: list[FoundService] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    scalers: list[FoundScaler] = field(default_factory=list)
    ingresses: list[Ingress] = field(default_factory=list)
    policies: list[NetworkPolicy] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)
    unsized: set[str] = field(default_factory=set)
    complete: bool = True

    def add(self, workload: Workload, needs: Needs) -> None:
        """Another workload, with what it needs of other documents."""
        self.workloads.append(workload)
        self.needs.append(needs)
