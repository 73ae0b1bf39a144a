"""Who answers whom: Services, Ingresses, network policies."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from i2kit.errors import Position
from i2kit.model.words import Pairs, Protocol

if TYPE_CHECKING:
    from i2kit.model.deployment import Deployment
    from i2kit.model.workload import Workload


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
