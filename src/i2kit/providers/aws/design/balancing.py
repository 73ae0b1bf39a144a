"""Which load balancers a deployment has: services → balancers, listeners, targets. Pure.

The kind follows from the ports, as in the paper: an application load balancer where all speak HTTP, or
TLS that it ends with a certificate; else a network load balancer, which carries anything.

Sources: Elastic Load Balancing, "Listeners for your Application Load Balancers", "Listeners for your
Network Load Balancers"; Istio, "Protocol Selection" (what a port's name says).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from i2kit.model import Release, Service, ServicePort
from i2kit.providers.aws.values import Network

HTTP_PORTS = frozenset({80, 8080})
TLS_PORTS = frozenset({443, 8443})

Speech = Literal["http", "https", "tls", "tcp"]
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


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A port of the machines, and what it is spoken to in."""

    number: int
    protocol: Literal["HTTP", "HTTPS", "TCP", "TLS"]


@dataclass(frozen=True, slots=True)
class Listener:
    number: int
    protocol: Literal["HTTP", "HTTPS", "TCP", "TLS"]
    speech: Speech
    target: Target


@dataclass(frozen=True, slots=True)
class Balancer:
    """`id` begins its logical ids. It changes with what cannot change in place, and for all parts at once:
    a target group can't be behind two load balancers, not even while one replaces the other."""

    id: str
    kind: Literal["application", "network"]
    public: bool
    listeners: tuple[Listener, ...]
    services: tuple[Service, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        """Each once."""
        return tuple(sorted({listener.target for listener in self.listeners}))


@dataclass(slots=True)
class _Group:
    """Services that can share a load balancer: no number leads to two places."""

    public: bool
    services: list[Service] = field(default_factory=list)
    ports: dict[int, tuple[int, Speech]] = field(default_factory=dict)

    def takes(self, service: Service, ports: Mapping[int, tuple[int, Speech]]) -> bool:
        """A service that is not public may share a public one that has all its ports anyway."""
        if self.public and not service.public:
            return all(
                number in self.ports and self.ports[number][0] == to for number, (to, _) in ports.items()
            )
        return self.public == service.public and all(
            number not in self.ports or self.ports[number][0] == to for number, (to, _) in ports.items()
        )


def balancers(release: Release, network: Network, certificate: str | None) -> tuple[Balancer, ...]:
    """As few as the services of a release need: none without ports, mostly one."""
    groups: list[_Group] = []
    # What others wrote decides, before the service that every deployment has.
    for service in sorted(
        release.services, key=lambda one: (not one.public, one.name == release.workload.name, one.key)
    ):
        ports = {port.number: (to, speech_of(port, to)) for port, to in leads(release, service)}
        if not ports:
            continue
        group = next((one for one in groups if one.takes(service, ports)), None)
        if group is None:
            groups.append(group := _Group(service.public))
        group.services.append(service)
        group.ports = ports | group.ports
    made: list[Balancer] = []
    for group in groups:
        made.append(_balancer(group, network, certificate, made))
    return tuple(made)


def leads(release: Release, service: Service) -> Iterator[tuple[ServicePort, int]]:
    """The service's ports with the container ports they lead to; none for a name that no container has."""
    names = {port.name: port.number for port in release.workload.ports}
    for port in service.ports:
        to = port.target if isinstance(port.target, int) else names.get(port.target)
        if to is not None:
            yield port, to


def speech_of(port: ServicePort, target: int) -> Speech:
    """What is spoken there: the port's name says, else its number, else the number that it leads to."""
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
    web = all(speech == "http" or (speech == "https" and certificate) for _, speech in group.ports.values())
    kind: Literal["application", "network"] = "application" if web and len(zones) > 1 else "network"
    listeners = tuple(
        _listener(number, target, speech, kind, ends_tls=certificate is not None)
        for number, (target, speech) in sorted(group.ports.items())
    )
    name = f"{'Public' if group.public else 'Internal'}{kind.capitalize()}"
    same = sum(other.kind == kind and other.public == group.public for other in others)
    return Balancer(f"{name}{same + 1 if same else ''}", kind, group.public, listeners, tuple(group.services))


def _listener(
    number: int, target: int, speech: Speech, kind: Literal["application", "network"], *, ends_tls: bool
) -> Listener:
    """With a certificate TLS ends here, and goes on to a port that is known for it in TLS again."""
    if kind == "application":
        if speech == "http":
            return Listener(number, "HTTP", speech, Target(target, "HTTP"))
        return Listener(number, "HTTPS", speech, Target(target, "HTTPS" if target in TLS_PORTS else "HTTP"))
    if speech in ("https", "tls") and ends_tls:
        return Listener(number, "TLS", speech, Target(target, "TLS" if target in TLS_PORTS else "TCP"))
    return Listener(number, "TCP", speech, Target(target, "TCP"))
