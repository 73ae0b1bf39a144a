"""Which load balancers a deployment has: services → balancers, listeners, targets. Pure.

The kind follows from the ports, as in the paper: an application load balancer where all speak HTTP, or
TLS that it ends with a certificate; else a network load balancer, which carries anything.

Sources: Elastic Load Balancing, "Listeners for your Application Load Balancers", "Listeners for your
Network Load Balancers" (one listener a port: TCP_UDP is for both), "Target groups for your Network Load
Balancers" (sticky sessions); Istio, "Protocol Selection" (what a port's name says).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from i2kit.model import Protocol, Release, Service, ServicePort
from i2kit.providers.aws.values import Network

HTTP_PORTS = frozenset({80, 8080})
TLS_PORTS = frozenset({443, 8443})

Speech = Literal["http", "https", "tls", "tcp", "udp"]
"""What callers speak to a port."""

SPEECHES: Mapping[str, Speech] = {
    "http": "http",
    "https": "https",
    "tls": "tls",
    "tcp": "tcp",
    "http2": "tcp",  # without TLS, an application load balancer does not speak it
    "grpc": "tcp",
}
"""By the first word of a port's name; other names say nothing."""


Way = Literal["HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP"]
"""A protocol, as load balancers call it."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A port of the machines, and what it is spoken to in; with `sticky_s`, a caller comes back to one."""

    number: int
    protocol: Way
    sticky_s: int = 0


@dataclass(frozen=True, slots=True)
class Listener:
    number: int
    protocol: Way
    speech: Speech
    target: Target


@dataclass(frozen=True, slots=True)
class Balancer:
    """`id` begins its logical ids. It changes with what cannot change in place, and for all parts at once:
    a target group can't be behind two load balancers, not even while one replaces the other.

    `sources` are the networks that may call it, where a service names them.
    """

    id: str
    kind: Literal["application", "network"]
    public: bool
    listeners: tuple[Listener, ...]
    services: tuple[Service, ...]
    sources: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """Each once."""
        return tuple(sorted({listener.target for listener in self.listeners}))


@dataclass(frozen=True, slots=True)
class _Lead:
    """Where a port leads."""

    to: int
    speech: Speech
    sticky_s: int


_Ports = Mapping[tuple[int, Protocol], _Lead]


@dataclass(slots=True)
class _Group:
    """Services that can share a load balancer: no number leads to two places."""

    public: bool
    sources: tuple[str, ...]
    services: list[Service] = field(default_factory=list)
    ports: dict[tuple[int, Protocol], _Lead] = field(default_factory=dict)

    def takes(self, service: Service, ports: _Ports, *, alone: bool) -> bool:
        """A service that is not public may share a public one that has all its ports anyway, for everyone.

        Not with `alone`: then it matters which machine calls.
        """
        if self.public and not service.public and not alone:
            there = all(key in self.ports for key in ports) and not self.sources
            return there and self._agrees(ports)
        same = self.public == service.public and self.sources == service.sources
        return same and self._agrees(ports)

    def _agrees(self, ports: _Ports) -> bool:
        """Who does not ask for it may be sent back to the same machine too."""
        return all(
            other.to == lead.to and lead.sticky_s in (0, other.sticky_s)
            for (number, _), lead in ports.items()
            for (taken, _), other in self.ports.items()
            if number == taken
        )


def balancers(release: Release, network: Network, certificate: str | None) -> tuple[Balancer, ...]:
    """As few as the services of a release need: none without ports, mostly one. Headless ones have none.

    Nor has a job: its machines end.
    """
    if release.workload.job:
        return ()
    groups: list[_Group] = []
    closed = any(one.ingress is not None for one in release.policies)
    # What others wrote decides, before the service that every deployment has.
    for service in sorted(
        release.services,
        key=lambda one: (not one.public, one.name == release.workload.name, not one.sticky_s, one.key),
    ):
        ports = _ports(release, service)
        if not ports or service.headless:
            continue
        group = next((one for one in groups if one.takes(service, ports, alone=closed)), None)
        if group is None:
            groups.append(group := _Group(service.public, service.sources))
        group.services.append(service)
        group.ports = {**ports, **group.ports}
    made: list[Balancer] = []
    for group in groups:
        made.append(_balancer(group, network, certificate, made))
    return tuple(made)


def _ports(release: Release, service: Service) -> _Ports:
    return {
        (port.number, port.protocol): _Lead(to, speech_of(port, to), service.sticky_s or 0)
        for port, to in leads(release, service)
    }


def transports(protocol: Way) -> tuple[str, ...]:
    """What a security group calls that."""
    return {"UDP": ("udp",), "TCP_UDP": ("tcp", "udp")}.get(protocol, ("tcp",))


def leads(release: Release, service: Service) -> Iterator[tuple[ServicePort, int]]:
    """The service's ports with the container ports they lead to; none for a name that no container has."""
    names = {port.name: port.number for port in release.workload.ports}
    for port in service.ports:
        to = port.target if isinstance(port.target, int) else names.get(port.target)
        if to is not None:
            yield port, to


def speech_of(port: ServicePort, target: int) -> Speech:
    """What is spoken there: the port's name says, else its number, else the number that it leads to."""
    if port.protocol == "UDP":
        return "udp"
    if said := SPEECHES.get((port.name or "").partition("-")[0]):
        return said
    for number in (port.number, target):
        if number in HTTP_PORTS:
            return "http"
        if number in TLS_PORTS:
            return "https"
    return "tcp"


def _balancer(group: _Group, network: Network, certificate: str | None, others: list[Balancer]) -> Balancer:
    # An application load balancer must be in two zones.
    zones = {subnet.zone for subnet in network.balancer_subnets(public=group.public)}
    web = all(
        lead.speech == "http" or (lead.speech == "https" and certificate) for lead in group.ports.values()
    )
    kind: Literal["application", "network"] = "application" if web and len(zones) > 1 else "network"
    listeners = _joined(
        _listener(number, lead, kind, ends_tls=certificate is not None)
        for (number, _), lead in sorted(group.ports.items(), key=lambda one: one[0])
    )
    name = f"{'Public' if group.public else 'Internal'}{kind.capitalize()}"
    same = sum(other.kind == kind and other.public == group.public for other in others)
    return Balancer(
        f"{name}{same + 1 if same else ''}",
        kind,
        group.public,
        listeners,
        tuple(group.services),
        group.sources,
    )


def _listener(
    number: int, lead: _Lead, kind: Literal["application", "network"], *, ends_tls: bool
) -> Listener:
    """With a certificate TLS ends here, and goes on to a port that is known for it in TLS again."""
    target, speech = lead.to, lead.speech
    protocol: Way
    there: Way
    if kind == "application":
        protocol = "HTTP" if speech == "http" else "HTTPS"
        there = "HTTPS" if speech != "http" and target in TLS_PORTS else "HTTP"
    elif speech in ("https", "tls") and ends_tls:
        protocol, there = "TLS", "TLS" if target in TLS_PORTS else "TCP"
    else:
        protocol = there = "UDP" if speech == "udp" else "TCP"
    return Listener(number, protocol, speech, Target(target, there, lead.sticky_s))


def _joined(listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    """One listener for TCP and UDP of a number, as AWS wants it. `checks` refuses those that can't be one."""
    made: list[Listener] = []
    for one in listeners:
        last = made[-1] if made else None
        if last and (last.number, last.protocol, one.protocol) == (one.number, "TCP", "UDP"):
            target = replace(last.target, protocol="TCP_UDP")
            if target == replace(one.target, protocol="TCP_UDP"):
                made[-1] = replace(last, protocol="TCP_UDP", target=target)
                continue
        made.append(one)
    return tuple(made)
