"""What the documents said so far: values, and what checks across documents need beside them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from i2kit.errors import Position
from i2kit.manifest.tables.shape import Record
from i2kit.model import (
    Alias,
    Claim,
    File,
    Ingress,
    Metric,
    NetworkPolicy,
    Pairs,
    Route,
    Scaling,
    Selector,
    Service,
    Volume,
    Workload,
)


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
    token: bool | None = None
    """Whether the pods are given what they log in to the Kubernetes API with; None where the account says."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A binding that gives a service account rights in the Kubernetes API.

    `account` is `NAMESPACE/*` for all of a namespace, and `*` for all that there are.
    """

    account: str
    binding: str

    @staticmethod
    def accounts(key: str) -> tuple[str, ...]:
        """What is written as the account of a grant that the service account of this key has."""
        return key, f"{key.partition('/')[0]}/*", "*"


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
    own: bool = False
    """Whether it is a manifest of ours, which says it for its own containers."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a note on a service account gives its pods on a cloud, and whether they run right without it."""

    account: str
    note: str
    message: str
    needed: bool


ConfigKind = Literal["ConfigMap", "Secret"]


@dataclass(frozen=True, slots=True)
class Config:
    """What a ConfigMap or a Secret holds, by its keys; `binary` are those of no text.

    It is `whole` if nothing that it holds was wrong.
    """

    kind: ConfigKind
    namespace: str
    name: str
    values: Mapping[str, bytes] = field(repr=False)
    binary: frozenset[str] = frozenset()
    whole: bool = True
    position: Position | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A ConfigMap or a Secret that is needed, and where its name is written."""

    kind: ConfigKind
    name: str
    position: Position
    path: str
    key: str | None = None
    """The one key of it; None for all."""
    optional: bool = False
    key_position: Position | None = None
    key_path: str = ""

    @property
    def key_place(self) -> tuple[Position, str]:
        """Where the key is written, or else the name."""
        return self.key_position or self.position, self.key_path or self.path


@dataclass(frozen=True, slots=True)
class Variables:
    """A container's environment as written: `every` has prefixes and what each key is a variable of."""

    every: tuple[tuple[str, Reference], ...] = ()
    each: tuple[tuple[str, str | Reference], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a volume, whose `path` is the value of a key; or files of all keys, by their names."""

    reference: Reference
    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class MadeOf:
    """A volume that is made of what ConfigMaps and Secrets hold, and of fields of the pod."""

    name: str
    parts: tuple[Part | File, ...]


@dataclass(frozen=True, slots=True)
class NamedClaim:
    """A volume that is the disk of a claim, which is another document where it is not `made` with it."""

    name: str
    claim: str
    read_only: bool
    position: Position
    path: str
    made: Claim | None = None


NeededVolume = Volume | MadeOf | NamedClaim


@dataclass(frozen=True, slots=True)
class Needs:
    """What a workload is made of that other documents say.

    `variables` are those of each container, first of the ones that come first; `expressions` are, of the
    same, the mounts whose sub_path has variables in it.
    """

    variables: tuple[Variables, ...] = ()
    logins: tuple[Reference, ...] = ()
    keys: tuple[Reference, ...] = ()
    """The keys of Secrets that its volumes hold already."""
    volumes: tuple[NeededVolume, ...] = ()
    expressions: tuple[tuple[int, ...], ...] = ()

    @property
    def claims(self) -> tuple[NamedClaim, ...]:
        return tuple(one for one in self.volumes if isinstance(one, NamedClaim))

    @property
    def references(self) -> Iterator[Reference]:
        """All ConfigMaps and Secrets that it is made of."""
        yield from self.keys
        for volume in self.volumes:
            parts = volume.parts if isinstance(volume, MadeOf) else ()
            yield from (part.reference for part in parts if isinstance(part, Part))
        for one in self.variables:
            yield from (reference for _, reference in one.every)
            yield from (value for _, value in one.each if isinstance(value, Reference))


@dataclass(frozen=True, slots=True)
class FoundClaim:
    """A PersistentVolumeClaim; `volume` is the PersistentVolume that it names, if it names one."""

    namespace: str
    claim: Claim
    position: Position
    volume: str | None
    volume_position: Position
    volume_path: str
    classless: bool = False
    """Whether it asks for a disk that is there and has no class, as storageClassName: "" does."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.claim.name}"


@dataclass(frozen=True, slots=True)
class Domain:
    """The Service of this key, below whose name the machines of a workload have names of their own."""

    service: str
    workload: str
    position: Position
    path: str


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """A route of the Ingress of this key, and where its Service and the Service's port are written.

    `host` is None for what no rule is for.
    """

    ingress: str
    host: str | None
    route: Route
    position: Position
    path: str
    port: Position
    port_path: str


@dataclass(frozen=True, slots=True)
class FoundPolicy:
    """A network policy whose peers are not known before all namespaces are."""

    name: str
    namespace: str
    selector: Selector
    spec: Record
    ingress: bool
    egress: bool
    place: Position
    position: Position
    """Of the selector."""
    path: str

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class FoundDisk:
    """A PersistentVolume, with the key of the claim that it is for, its class, and the cloud's disk it is."""

    name: str
    claim: str | None
    kind: str | None
    size_bytes: int
    position: Position
    disk: str | None = None


@dataclass(slots=True)
class Reading:
    """What the documents said. `complete` is False once a document with pods could not be read.

    `unsized` are the keys of workloads whose resources were wrong, which is in the log by then.
    """

    workloads: list[Workload] = field(default_factory=list)
    configs: list[Config] = field(default_factory=list)
    secrets: list[Config] = field(default_factory=list)
    """Those of compose files: several workloads may bring the same."""
    needs: list[Needs] = field(default_factory=list)
    """Of each workload."""
    services: list[FoundService] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    tokenless: list[str] = field(default_factory=list)
    """Service accounts whose pods get no login to the Kubernetes API where they do not say otherwise."""
    identities: list[Identity] = field(default_factory=list)
    scalers: list[FoundScaler] = field(default_factory=list)
    ingresses: list[Ingress] = field(default_factory=list)
    routes: list[FoundRoute] = field(default_factory=list)
    found_policies: list[FoundPolicy] = field(default_factory=list)
    namespaces: dict[str, Pairs] = field(default_factory=dict)
    """The labels of those that have a document."""
    policies: list[NetworkPolicy] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    alias_places: list[Position] = field(default_factory=list)
    claims: list[FoundClaim] = field(default_factory=list)
    disks: dict[str, str | None] = field(default_factory=dict)
    """PersistentVolumes: the cloud's disk that one is, None where a new and empty disk takes its place."""
    found_disks: list[FoundDisk] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)
    unsized: set[str] = field(default_factory=set)
    complete: bool = True

    @property
    def count(self) -> int:
        """How many documents there are that are compared with others."""
        found = len(self.workloads) + len(self.services) + len(self.scalers) + len(self.ingresses)
        return found + len(self.routes) + len(self.found_policies)

    def add(self, workload: Workload, needs: Needs) -> None:
        """Another workload, with what it needs of other documents."""
        self.workloads.append(workload)
        self.needs.append(needs)
