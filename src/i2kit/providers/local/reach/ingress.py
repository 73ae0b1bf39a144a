"""Ingresses → which service port answers a request, by its host and path. Pure.

In: what is desired. Out: for each host the routes in the order in which they count, and the addresses that
answer for a deployment. The meaning is that of Kubernetes' Ingress (v1): the most specific host, then an
exact path before a prefix, and a longer prefix before a shorter one. All Ingresses share the hosts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from i2kit.model import Ingress, Pairs, Route, Service
from i2kit.providers.local.design.desired import INGRESS, Desired, Wanted, services_of

LOCALHOST = ".localhost"
"""Names that end so are this machine's to browsers and curl, so a host can be called by `HOST.localhost`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a service, by its number; 0 where there is no such port."""

    service: str
    number: int


@dataclass(frozen=True, slots=True)
class Site:
    """What a host answers. `host` is empty for any, and begins with `*.` for one label more.

    `routes` are in the order in which they count, `default` is for what is none of them. `secure`: whether
    requests by HTTP are sent to HTTPS.
    """

    host: str
    routes: tuple[tuple[Route, Target], ...]
    default: Target | None
    secure: bool


def sites(state: Desired) -> tuple[Site, ...]:
    """The hosts of all Ingresses, the most specific first; where any host is answered, that is the last."""
    known = _known(state)
    routes: dict[str, dict[tuple[str, bool], Target]] = {}
    defaults: dict[str, Target] = {}
    secure: set[str] = set()
    for ingress in state.ingresses:
        default = _target(ingress, ingress.default, known) if ingress.default else None
        for host, its_routes in ingress.rules:
            here = routes.setdefault(host.lower(), {})
            for route in its_routes:
                path = route.path if route.exact else route.path.rstrip("/")
                here.setdefault((path, route.exact), _target(ingress, route, known))
            if default:
                defaults.setdefault(host.lower(), default)
        if default:
            routes.setdefault("", {})
            defaults.setdefault("", default)
        if ingress.https_only:
            secure |= {host for hosts, _ in tls_of(ingress) for host in hosts}
    return tuple(
        Site(
            host,
            tuple(
                (Route(path, exact, target.service, target.number), target)
                for (path, exact), target in sorted(routes[host].items(), key=lambda one: _order(*one[0]))
            ),
            defaults.get(host, defaults.get("")),
            host in secure,
        )
        for host in sorted(routes, key=lambda host: (host == "", host.startswith("*."), host))
    )


def _order(path: str, exact: bool) -> tuple[bool, int, str]:
    return not exact, -len(path), path


def _known(state: Desired) -> dict[str, Service]:
    """The services in front of what runs, by key."""
    return {
        service.key: service
        for one in state.deployments
        for service in services_of(one.key, one.written, one.attached)
    }


def _target(ingress: Ingress, route: Route, known: dict[str, Service]) -> Target:
    key = f"{ingress.namespace}/{route.service}"
    ports = known[key].ports if key in known else ()
    found = (one.number for one in ports if one.protocol == "TCP" and route.port in (one.number, one.name))
    return Target(key, next(found, 0))


def tls_of(ingress: Ingress) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Hosts in small letters, and the secret with their certificate; without hosts it is for all of them."""
    everyone = tuple(host for host, _ in ingress.rules)
    return tuple((tuple(host.lower() for host in hosts or everyone), secret) for hosts, secret in ingress.tls)


def names(ingresses: Iterable[Ingress]) -> tuple[str, ...]:
    """The hosts that are the name of something, each once."""
    found = {host.lower() for one in ingresses for host, _ in one.rules}
    return tuple(sorted(host for host in found if host and not host.startswith("*.")))


def endpoints(
    state: Desired, wanted: Wanted, ports: Collection[tuple[int, int]]
) -> Iterator[tuple[str, Ingress, Target]]:
    """The addresses by which a deployment answers. `ports` are those of the gate, with the host's for each.

    A host is called by a name of this machine: browsers and curl know that `HOST.localhost` is 127.0.0.1.
    """
    mine = {service.key for service in services_of(wanted.key, wanted.written, wanted.attached)}
    known, published = _known(state), dict(ports)
    for ingress in state.ingresses:
        tls = {host for hosts, _ in tls_of(ingress) for host in hosts}
        rules = [(host.lower(), route) for host, routes in ingress.rules for route in routes]
        if ingress.default:
            rules.append(("", ingress.default))
        for host, route in rules:
            target = _target(ingress, route, known)
            if target.service not in mine or not target.number:
                continue
            if host in tls and 443 in published:
                yield f"https://{called(host)}{_port(443, published)}{_path(route)}", ingress, target
            if 80 in published and not (host in tls and ingress.https_only):
                yield f"http://{called(host)}{_port(80, published)}{_path(route)}", ingress, target


def _port(usual: int, published: Mapping[int, int]) -> str:
    return "" if published[usual] == usual else f":{published[usual]}"


def _path(route: Route) -> str:
    return "" if route.path == "/" else quote(route.path, safe="/'")


def called(host: str) -> str:
    """By which name this machine's users can call the host; any name stands for a `*`."""
    host = f"any{host[1:]}" if host.startswith("*.") else host
    return "127.0.0.1" if not host else host if _is_local(host) else f"{host}{LOCALHOST}"


def _is_local(host: str) -> bool:
    return host == LOCALHOST[1:] or host.endswith(LOCALHOST)


def spellings(host: str) -> tuple[str, ...]:
    """The names by which a host is called."""
    return (host,) if _is_local(host) else (host, f"{host}{LOCALHOST}")


def certificates(ingresses: Sequence[Ingress]) -> Pairs:
    """For each secret that TLS is ended with, as NAMESPACE/NAME, the names that it is for, with blanks."""
    found: dict[str, dict[str, None]] = {}
    for ingress in ingresses:
        for hosts, secret in tls_of(ingress):
            here = found.setdefault(f"{ingress.namespace}/{secret}", {})
            here.update(dict.fromkeys(name for host in hosts if host for name in spellings(host)))
    return tuple((key, " ".join(found[key])) for key in sorted(found))


def record_ports(state: Desired, *, usual: bool = False) -> tuple[tuple[int, int], ...]:
    """The ports of all Ingresses, with the host's for each: `usual` says that those are the same."""
    found = (one for one in state.services if one.key == INGRESS)
    return tuple(
        (port.number, port.number if usual else port.host_port) for one in found for port in one.ports
    )


def usual_ports(state: Desired) -> tuple[int, ...]:
    """The ports of the host that all Ingresses answer on beside their own, where this machine lets us: all of
    them or none. None where a service was promised one of them.
    """
    numbers = tuple(number for number, _ in record_ports(state))
    promised = {port.host_port for one in state.services for port in one.ports if port.protocol == "TCP"}
    return () if promised & {*numbers} else numbers
