"""Names of services and VMs → dnsmasq's configuration and its host files. Pure.

Names are Kubernetes': NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc, NAME.NAMESPACE.svc.cluster.local, of services
and of the machines of headless ones (HOST.NAME and so on); and NAME.i2kit.internal for people. The formats
are dnsmasq(8)'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2kit.model import Service
from i2kit.providers.local.design.desired import GATEWAY, INGRESS, Desired, Wanted, address, mac, services_of
from i2kit.providers.local.reach import ingress

ZONE = "i2kit.internal"
CLUSTER_ZONE = "cluster.local"
NOT_KNOWN: Mapping[str, Sequence[str]] = {}
OPTION = "ndots:5"
"""As in a Kubernetes pod: the search list comes before the outside, also for names such as db-0.db."""

FORWARDER = "10.76.0.3"
"""Where slirp4netns and pasta answer DNS questions with the host's resolver."""


def search(namespace: str) -> str:
    """The search list of a VM in this namespace, as in a Kubernetes pod."""
    return f"{namespace}.svc.{CLUSTER_ZONE} svc.{CLUSTER_ZONE} {CLUSTER_ZONE} {ZONE}"


def configuration(*, hosts: Path, leases: Path, dhcp_hosts: Path) -> str:
    """dnsmasq.conf: answers DHCP and DNS on the bridge, forwards what is not ours."""
    return "\n".join(
        [
            "keep-in-foreground",
            "conf-file=",
            # One uid is mapped in the namespace: there is nobody else to become.
            "user=root",
            "group=",
            "pid-file=",
            "no-resolv",
            "no-hosts",
            "no-poll",
            f"server={FORWARDER}",
            f"listen-address={GATEWAY}",
            "bind-interfaces",
            f"local=/{CLUSTER_ZONE}/",
            f"local=/{ZONE}/",
            f"addn-hosts={hosts}",
            "local-ttl=1",
            "dhcp-authoritative",
            f"dhcp-range={GATEWAY.rsplit('.', 1)[0]}.0,static,255.255.0.0,1h",
            f"dhcp-option=option:router,{GATEWAY}",
            f"dhcp-option=option:dns-server,{GATEWAY}",
            f"dhcp-hostsfile={dhcp_hosts}",
            f"dhcp-leasefile={leases}",
            "",
        ]
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """A VM that has an address. `key` is its deployment's."""

    address: str
    id: str
    key: str
    ready: bool


def host_lines(
    state: Desired, machines: Sequence[Machine], outside: Mapping[str, Sequence[str]] = NOT_KNOWN
) -> str:
    """The hosts file: services at their addresses or their VMs', Ingresses' hosts, VMs, aliases.

    `outside` are the addresses of names that are not ours, as far as they are known.
    """
    found = list(_names(state, machines))
    waiting, stuck = list(state.aliases), 0
    while waiting and stuck < len(waiting):  # one may stand for another
        alias, stuck = waiting.pop(0), stuck + 1
        target = alias.target.lower().rstrip(".")
        inside = sorted({where for where, names in found if target in names})
        if addresses := inside or outside.get(target, ()):
            found += [(where, _spelled(alias.name, alias.namespace)) for where in addresses]
            stuck = 0
        else:
            waiting.append(alias)
    return "".join(f"{where} {' '.join(names)}\n" for where, names in found)


def strangers(state: Desired, machines: Sequence[Machine]) -> frozenset[str]:
    """The names that aliases stand for and that are not ours."""
    known = {name for _, names in _names(state, machines) for name in names}
    known |= {name for one in state.aliases for name in _spelled(one.name, one.namespace)}
    targets = {one.target.lower().rstrip(".") for one in state.aliases}
    return frozenset(
        one for one in targets - known if not f".{one}".endswith((f".{CLUSTER_ZONE}", f".{ZONE}"))
    )


def _names(state: Desired, machines: Sequence[Machine]) -> Iterator[tuple[str, list[str]]]:
    for service in state.services:
        if service.key == INGRESS:
            yield from ((service.vip, [host]) for host in ingress.names(state.ingresses))
        else:
            yield service.vip, _spelled(service.name, service.namespace)
    for one in machines:
        namespace = one.key.split("/")[0]
        wanted = state.deployment(one.key)
        stateful = wanted is not None and wanted.machine.stateful
        # What has the same name in every namespace is not known by that alone.
        yield one.address, [f"{one.id}.{namespace}.pod.{CLUSTER_ZONE}", *([] if stateful else [one.id])]
        for front in headless(wanted):
            if one.ready or front.unready:
                yield one.address, _spelled(front.name, namespace)
                host = one.id if stateful else wanted.written.hostname if wanted else None
                if host and wanted and wanted.written.subdomain == front.name:
                    yield one.address, _spelled(f"{host}.{front.name}", namespace)


def headless(wanted: Wanted | None) -> list[Service]:
    """The services whose names stand for this deployment's VMs."""
    if wanted is None:
        return []
    found = services_of(wanted.key, wanted.written, wanted.attached)
    return [one for one in found if one.headless]


def _spelled(name: str, namespace: str) -> list[str]:
    """All ways to say the name of a service, or of a machine of one, the whole one first."""
    names = [f"{name}.{namespace}.svc.{CLUSTER_ZONE}", f"{name}.{namespace}.svc", f"{name}.{namespace}"]
    # Names without a namespace belong to `default`; others reach theirs by the search list.
    return [*names, name, f"{name}.{ZONE}"] if namespace == "default" else names


def dhcp_lines(deployments: Sequence[tuple[Wanted, int]]) -> str:
    """dnsmasq's dhcp-hostsfile: which MAC address gets which address, in each of a deployment's slots."""
    return "".join(
        f"{mac(wanted, slot)},{address(wanted, slot)}\n"
        for wanted, slots in deployments
        for slot in range(slots)
    )
