"""What the documents said so far: values, and what checks across documents need beside them. Pure."""

from dataclasses import dataclass, field

from i2kit.errors import Position
from i2kit.model import Service, Workload


@dataclass(frozen=True, slots=True)
class FoundService:
    """A Service, and the places that checks across documents point at."""

    service: Service
    selector: Position
    targets: tuple[Position, ...]


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


@dataclass(slots=True)
class Reading:
    """What the documents said. `complete` is False once a document with pods could not be read."""

    workloads: list[Workload] = field(default_factory=list)
    services: list[FoundService] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    complete: bool = True
