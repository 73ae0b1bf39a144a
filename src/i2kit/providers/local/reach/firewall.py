"""NetworkPolicies → nftables' rules, and who may call a service at all. Pure.

In: what is desired. Out: a script for `nft -f`, which takes the place of the rules before in one step. All
VMs of a deployment are in a network of their own (`desired.address`), so nothing changes as they come and go.
VMs reach each other only by way of the gateway (`network`), which is where the rules are.

What Kubernetes has as pods, and this machine as its own, is called as there: names are answered by pods
labelled `k8s-app: kube-dns` of namespace `kube-system`, Ingresses are pods of `ingress-nginx`. Callers from
this machine are outside: a rule lets them in that names nobody, or networks. DHCP, the metadata service and
checks of machines' health are no pods' business.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses, ip_network

from i2kit.model import (
    NetworkPeer,
    NetworkPolicy,
    Pairs,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Port,
    Protocol,
)
from i2kit.providers.local.design.desired import (
    GATEWAY,
    INGRESS,
    SUBNET,
    Backend,
    Desired,
    ServiceRecord,
    Wanted,
    backends_of,
    services_of,
)

TABLE = "i2kit_policies"
DNS_PORT = 53
DNS_PORTS = (Port(DNS_PORT, "dns", "UDP"), Port(DNS_PORT, "dns-tcp", "TCP"))
CONTROLLER_PORTS = (Port(80, "http"), Port(443, "https"))
PROTOCOLS: tuple[Protocol, ...] = ("TCP", "UDP")


@dataclass(frozen=True, slots=True)
class Party:
    """Who may call or be called. `network` is where, None for anywhere outside."""

    namespace: str
    labels: Pairs
    network: IPv4Network | None
    ports: tuple[Port, ...] = ()


KUBE_DNS = Party("kube-system", (("k8s-app", "kube-dns"),), IPv4Network(GATEWAY))
CONTROLLER = Party(
    "ingress-nginx",
    (
        ("app.kubernetes.io/component", "controller"),
        ("app.kubernetes.io/instance", "ingress-nginx"),
        ("app.kubernetes.io/name", "ingress-nginx"),
    ),
    None,
)
OUTSIDE = Party("", (), None)


def network_of(wanted: Wanted) -> IPv4Network:
    """Where a deployment's VMs are."""
    return IPv4Network(f"{SUBNET}.{wanted.index}.0/24")


def party(wanted: Wanted) -> Party:
    """A deployment's VMs."""
    return Party(wanted.namespace, wanted.written.labels, network_of(wanted), wanted.written.ports)


def incoming(policies: Iterable[NetworkPolicy], wanted: Wanted) -> tuple[PolicyRule, ...] | None:
    """What lets callers in to a deployment's VMs; None where everybody may call."""
    found = [one.ingress for one in policies if one.ingress is not None and _selects(one, wanted)]
    return tuple(rule for rules in found for rule in rules) if found else None


def outgoing(policies: Iterable[NetworkPolicy], wanted: Wanted) -> tuple[PolicyRule, ...] | None:
    """What a deployment's VMs may call; None for everything."""
    found = [one.egress for one in policies if one.egress is not None and _selects(one, wanted)]
    return tuple(rule for rules in found for rule in rules) if found else None


def _selects(policy: NetworkPolicy, wanted: Wanted) -> bool:
    return policy.namespace == wanted.namespace and policy.selector.matches(wanted.written.labels)


def allows(
    rules: Sequence[PolicyRule] | None, peer: Party, port: int, protocol: Protocol, ports: Iterable[Port]
) -> bool:
    """Whether one of the rules lets a peer talk on this port of who has these `ports`."""
    if rules is None:
        return True
    known = tuple(ports)
    return any(
        (rule.peers is None or any(_is(each, peer) for each in rule.peers))
        and (rule.ports is None or any(_on(each, port, protocol, known) for each in rule.ports))
        for rule in rules
    )


def _is(meant: PodPeer | NetworkPeer, peer: Party) -> bool:
    if isinstance(meant, PodPeer):
        here = meant.namespaces is None or peer.namespace in meant.namespaces
        return peer is not OUTSIDE and here and meant.selector.matches(peer.labels)
    if peer.network is None:
        return True
    block, without = _block(meant.cidr), map(_block, meant.without)
    if block is None or not peer.network.subnet_of(block):
        return False
    return not any(one is not None and peer.network.overlaps(one) for one in without)


def _block(cidr: str) -> IPv4Network | None:
    """The network; None for one of IPv6, which nobody has here."""
    found = ip_network(cidr, strict=False)
    return found if isinstance(found, IPv4Network) else None


def _on(meant: PolicyPort, port: int, protocol: Protocol, ports: Sequence[Port]) -> bool:
    if meant.protocol != protocol:
        return False
    if meant.number is None:
        return True
    return any(first <= port <= last for first, last in _numbers(meant, ports))


def _numbers(meant: PolicyPort, ports: Iterable[Port]) -> list[tuple[int, int]]:
    """The ports that are meant, first and last, where these have their names."""
    if isinstance(meant.number, int):
        return [(meant.number, meant.last or meant.number)]
    return [
        (one.number, one.number)
        for one in ports
        if one.name == meant.number and one.protocol == meant.protocol
    ]


def wrong_networks(policy: NetworkPolicy) -> list[str]:
    """What stands in the place of networks and is none."""
    given = (
        cidr
        for rule in (*(policy.ingress or ()), *(policy.egress or ()))
        for peer in rule.peers or ()
        if isinstance(peer, NetworkPeer)
        for cidr in (peer.cidr, *peer.without)
    )
    return [cidr for cidr in given if not _is_network(cidr)]


def _is_network(cidr: str) -> bool:
    try:
        ip_network(cidr, strict=False)
    except ValueError:
        return False
    return True


def is_published(state: Desired, service: str, number: int, protocol: Protocol) -> bool:
    """Whether callers from this machine may call a service's port: there is something behind it, and all of
    that lets them.
    """
    if service == INGRESS:
        return True
    behind = list(_behind(state, service, number, protocol))
    return bool(behind) and all(
        allows(incoming(state.policies, one), OUTSIDE, backend.target, protocol, one.written.ports)
        for one, backend in behind
    )


def is_routed(state: Desired, service: str, number: int) -> bool:
    """Whether Ingresses may call a service's port."""
    return not state.policies or all(
        allows(incoming(state.policies, one), CONTROLLER, backend.target, "TCP", one.written.ports)
        for one, backend in _behind(state, service, number, "TCP")
    )


def _behind(
    state: Desired, service: str, number: int, protocol: Protocol
) -> Iterator[tuple[Wanted, Backend]]:
    for one in state.deployments:
        for backend in backends_of(services_of(one.key, one.written, one.attached), one.written.ports):
            if (backend.service, backend.number, backend.protocol) == (service, number, protocol):
                yield one, backend


def rules(state: Desired) -> str:
    """nftables' script for all policies, which takes the place of what there was."""
    lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    walls = [(one, incoming(state.policies, one), outgoing(state.policies, one)) for one in state.deployments]
    for one, into, out in walls:
        if into is not None:
            allowed = _incoming(state, one, into)
            lines += [f"  chain in{one.index} {{", *(f"    {rule} return" for rule in allowed)]
            lines += ["    drop", "  }"]
        if out is not None:
            allowed = _outgoing(state, out)
            lines += [f"  chain out{one.index} {{", *(f"    {rule} return" for rule in allowed)]
            lines += ["    drop", "  }"]
    lines += ["  chain forward {", "    type filter hook forward priority filter + 10"]
    lines.append("    ct state established,related accept")
    # Both count: who may call is not let in by that.
    for one, _, out in walls:
        lines += [f"    ip saddr {network_of(one)} jump out{one.index}"] if out is not None else []
    for one, into, _ in walls:
        lines += [f"    ip daddr {network_of(one)} jump in{one.index}"] if into is not None else []
    lines += ["  }", "  chain input {", "    type filter hook input priority filter + 10"]
    lines += [f"    {rule} drop" for rule in _forbidden(state)]
    lines += ["  }", "}"]
    return "\n".join(lines) + "\n"


def _incoming(state: Desired, wanted: Wanted, given: Iterable[PolicyRule]) -> Iterator[str]:
    """What is let in to a deployment, as conditions."""
    for rule in given:
        for source in _networks(state, rule, "saddr"):
            for port in _ports(rule, wanted.written.ports):
                yield " ".join(part for part in (source, port) if part) or "ip version 4"


def _outgoing(state: Desired, given: Iterable[PolicyRule]) -> Iterator[str]:
    """What is let out of a deployment, as conditions. Names of ports are those of who is called."""
    for rule in given:
        for target in _networks(state, rule, "daddr"):
            plain = PolicyRule(None, _plain(rule.ports))
            for port in _ports(plain, ()):
                yield " ".join(part for part in (target, port) if part) or "ip version 4"
        for named in (one for one in rule.ports or () if isinstance(one.number, str)):
            for one in state.deployments:
                if rule.peers is None or any(_is(each, party(one)) for each in rule.peers):
                    for port in _ports(PolicyRule(None, (named,)), one.written.ports):
                        yield f"ip daddr {network_of(one)} {port}"


def _plain(ports: tuple[PolicyPort, ...] | None) -> tuple[PolicyPort, ...] | None:
    return None if ports is None else tuple(one for one in ports if not isinstance(one.number, str))


def _networks(state: Desired, rule: PolicyRule, word: str) -> Iterator[str]:
    """Whom a rule means, as conditions; "" for everybody."""
    if rule.peers is None:
        yield ""
        return
    for peer in rule.peers:
        if isinstance(peer, PodPeer):
            found = [str(network_of(one)) for one in state.deployments if _is(peer, party(one))]
            if found:
                yield f"ip {word} {{ {', '.join(found)} }}"
        elif _block(peer.cidr):
            blocks = (block for block in map(_block, peer.without) if block)
            without = [str(one) for one in collapse_addresses(blocks)]
            but = f" ip {word} != {{ {', '.join(without)} }}" if without else ""
            yield f"ip {word} {_block(peer.cidr)}{but}"


def _ports(rule: PolicyRule, known: Iterable[Port]) -> Iterator[str]:
    """Which ports a rule means, as conditions; "" for everything."""
    if rule.ports is None:
        yield ""
        return
    for port in rule.ports:
        protocol = port.protocol.lower()
        if port.number is None:
            yield f"ip protocol {protocol}"
        for first, last in _numbers(port, known) if port.number is not None else ():
            yield f"{protocol} dport {first}" + (f"-{last}" if last != first else "")


def _forbidden(state: Desired) -> Iterator[str]:
    """What VMs may not call at the gateway: services whose pods would not be reached, and names."""
    for record in state.services if state.policies else ():
        for port in record.ports:
            callers = [
                one
                for one in state.deployments
                if not _may_call(state, one, record, port.number, port.protocol)
            ]
            if callers:
                where = f"ip daddr {record.vip} {port.protocol.lower()} dport {port.number}"
                yield f"ip saddr {_set(callers)} {where}"
    for protocol in PROTOCOLS:
        callers = [
            one
            for one in state.deployments
            if not allows(outgoing(state.policies, one), KUBE_DNS, DNS_PORT, protocol, DNS_PORTS)
        ]
        if callers:
            where = f"ip daddr {GATEWAY} {protocol.lower()} dport {DNS_PORT}"
            yield f"ip saddr {_set(callers)} {where}"


def _set(deployments: Iterable[Wanted]) -> str:
    return f"{{ {', '.join(str(network_of(one)) for one in deployments)} }}"


def _may_call(state: Desired, caller: Wanted, record: ServiceRecord, number: int, protocol: Protocol) -> bool:
    """Whether a VM of this deployment may call a service: both sides have to let it, for all behind it."""
    out = outgoing(state.policies, caller)
    if record.key == INGRESS:
        return allows(out, CONTROLLER, number, "TCP", CONTROLLER_PORTS)
    return all(
        allows(out, party(one), backend.target, protocol, one.written.ports)
        and allows(incoming(state.policies, one), party(caller), backend.target, protocol, one.written.ports)
        for one, backend in _behind(state, record.key, number, protocol)
    )
