"""NetworkPolicies → rules of security groups. Pure.

In: a release with the policies that select it, and the deployments that run beside it. Out: who may call its
load balancers and machines, and whom its machines may call. What the callers of a load balancer may do is
decided there: its machines know nobody else. Health checks always pass.

What Kubernetes has as pods is called as there: an Ingress is `app.kubernetes.io/name: ingress-nginx` of
namespace `ingress-nginx`. Names, the metadata service and the clock are no calls to a security group: they
always work.

Sources: Kubernetes, "Network Policies"; Amazon VPC user guide, "Security group rules" (what is not filtered)
and "Security group referencing"; Elastic Load Balancing, "Update the security groups for your Network Load
Balancer".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

from i2kit.errors import Problem
from i2kit.model import NetworkPeer, NetworkPolicy, Pairs, PodPeer, PolicyRule, Port, Release, Selector
from i2kit.providers.aws.design import names
from i2kit.providers.aws.design.balancing import Balancer, leads, transports
from i2kit.providers.aws.design.parts import ANYWHERE, Data, attribute, dumps, resource
from i2kit.providers.aws.values import Network, Peer, Way

MACHINES = "MachineSecurityGroup"
MAX_RULES = 60
"""Of one security group and direction."""

CONTROLLER = PodPeer(
    Selector(
        (
            ("app.kubernetes.io/component", "controller"),
            ("app.kubernetes.io/instance", "ingress-nginx"),
            ("app.kubernetes.io/name", "ingress-nginx"),
        )
    ),
    ("ingress-nginx",),
)
"""What an Ingress is to policies."""

API: Data = {
    "CidrIp": ANYWHERE,
    "IpProtocol": "tcp",
    "FromPort": 443,
    "ToPort": 443,
    "Description": "the APIs of AWS",
}
"""What machines themselves need: logs, secrets, volumes, names. It has no addresses of its own."""

PRIVATE = tuple(
    IPv4Network(one) for one in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
)
"""Where networks are that can be joined with ours (RFC 1918 and 6598)."""

EVERYONE = PodPeer(Selector(), None)


def incoming(policies: Iterable[NetworkPolicy]) -> tuple[PolicyRule, ...] | None:
    """What lets callers in; None where everybody may call."""
    return _rules([one.ingress for one in policies if one.ingress is not None])


def outgoing(policies: Iterable[NetworkPolicy]) -> tuple[PolicyRule, ...] | None:
    """What may be called; None for everything."""
    return _rules([one.egress for one in policies if one.egress is not None])


def _rules(found: Sequence[tuple[PolicyRule, ...]]) -> tuple[PolicyRule, ...] | None:
    return tuple(rule for rules in found for rule in rules) if found else None


# --- who is meant -----------------------------------------------------------------------------


def selects(one: PodPeer, key: str, labels: Pairs) -> bool:
    namespace = key.partition("/")[0]
    return (one.namespaces is None or namespace in one.namespaces) and one.selector.matches(labels)


def meant(release: Release, others: Iterable[Peer]) -> tuple[Peer, ...]:
    """The deployments beside it that its policies mean."""
    rules = [*(incoming(release.policies) or ()), *(outgoing(release.policies) or ())]
    pods = [peer for rule in rules for peer in rule.peers or () if isinstance(peer, PodPeer)]
    # A port that is meant for anybody may be another one at a load balancer.
    if any(rule.peers is None and rule.ports is not None for rule in outgoing(release.policies) or ()):
        pods.append(EVERYONE)
    found = (one for one in others if any(selects(peer, one.key, one.labels) for peer in pods))
    return tuple(sorted(found, key=lambda one: one.key))


def peer(release: Release, found: Iterable[Balancer], outputs: Mapping[str, str]) -> Peer | None:
    """A deployment as others mean it, with what its stack says; None where it says too little."""
    if MACHINES not in outputs:
        return None
    ways = [
        Way(group, listener.number, transport, listener.target.number)
        for balancer in found
        if not balancer.public
        for group in [outputs.get(f"{balancer.id}SecurityGroup")]
        if group
        for listener in balancer.listeners
        for transport in transports(listener.protocol)
    ]
    ways += [Way(outputs[MACHINES], number, how, number) for number, how in names.called(release)]
    workload = release.workload
    ports = tuple((one.name or "", one.number, one.protocol) for one in workload.ports)
    return Peer(workload.key, workload.labels, outputs[MACHINES], ports, tuple(ways))


def allows(rule: PolicyRule, number: int, transport: str, ports: Iterable[Port]) -> bool:
    """Whether a rule is about this port of pods, which have these."""
    if rule.ports is None:
        return True
    called = {one.name: one.number for one in ports if one.name and one.protocol.lower() == transport}
    for one in rule.ports:
        if one.protocol.lower() != transport:
            continue
        first = called.get(one.number, -1) if isinstance(one.number, str) else one.number
        if first is None or first <= number <= (one.last or first):
            return True
    return False


def ranges(one: NetworkPeer) -> list[IPv4Network]:
    """Its addresses without those that are not meant. Nobody has one of IPv6."""
    whole = ip_network(one.cidr, strict=False)
    if not isinstance(whole, IPv4Network):
        return []
    left = [whole]
    for text in one.without:
        gone = ip_network(text, strict=False)
        if isinstance(gone, IPv4Network):
            left = [part for each in left for part in _without(each, gone)]
    return left


def _without(whole: IPv4Network, gone: IPv4Network) -> Iterator[IPv4Network]:
    if whole.subnet_of(gone):
        return
    if gone.subnet_of(whole):
        yield from whole.address_exclude(gone)
    else:
        yield whole


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call one port."""

    everyone: bool
    networks: tuple[IPv4Network, ...]
    pods: tuple[PodPeer, ...]


def callers(release: Release, number: int, transport: str) -> Callers:
    """Of a port of its pods."""
    rules = incoming(release.policies)
    if rules is None:
        return Callers(True, (), ())
    found = [one for one in rules if allows(one, number, transport, release.workload.ports)]
    peers = [each for one in found for each in one.peers or ()]
    return Callers(
        any(one.peers is None for one in found),
        tuple(each for one in peers if isinstance(one, NetworkPeer) for each in ranges(one)),
        tuple(one for one in peers if isinstance(one, PodPeer)),
    )


def lets_ingress_in(release: Release, number: int) -> bool:
    """Whether the load balancer of an Ingress may call this port: as everybody may, or as itself."""
    found = callers(release, number, "tcp")
    return (
        found.everyone
        or ip_network(ANYWHERE) in found.networks
        or any(selects(one, "ingress-nginx/", CONTROLLER.selector.labels) for one in found.pods)
    )


# --- rules of security groups -----------------------------------------------------------------


def sources(
    release: Release,
    number: int,
    transport: str,
    usual: Sequence[str],
    peers: Iterable[Peer],
    *,
    public: bool,
) -> list[Data]:
    """Who may call what leads to this port of the pods. `usual` are those who may without a policy."""
    found = callers(release, number, transport)
    if found.everyone:
        return [{"CidrIpv6" if ":" in one else "CidrIp": one} for one in usual]
    bounds = [each for one in usual if isinstance(each := ip_network(one, strict=False), IPv4Network)]
    made = [{"CidrIp": str(each)} for one in found.networks for each in _within(one, bounds, public=public)]
    if not public:
        # Machines call what is public by their public addresses, which no security group stands for.
        made += [
            {"SourceSecurityGroupId": one.group}
            for one in peers
            if any(selects(each, one.key, one.labels) for each in found.pods)
        ]
    return _once(made)


def _within(one: IPv4Network, bounds: Iterable[IPv4Network], *, public: bool) -> Iterator[IPv4Network]:
    """What of it may call at all. Networks that are joined with ours may call what is internal."""
    inside = [one if one.subnet_of(bound) else bound for bound in bounds if one.overlaps(bound)]
    yield from inside
    if not inside and not public and any(one.subnet_of(each) for each in PRIVATE):
        yield one


def _once(made: Iterable[Data]) -> list[Data]:
    """Each rule a single time: AWS refuses one that is there twice, also where descriptions differ."""
    found: dict[str, Data] = {}
    for one in made:
        said = {key: value for key, value in one.items() if key != "Description"}
        found.setdefault(dumps(dict(sorted(said.items()))), one)
    return list(found.values())


def own_calls(release: Release, found: Iterable[Balancer]) -> Data:
    """Resources that let a deployment's machines call it, where a policy says that they may.

    Apart from the groups, because each of them would need the other first.
    """
    workload = release.workload
    made: Data = {}
    if incoming(release.policies) is None and outgoing(release.policies) is None:
        return made
    ways = [
        (f"{balancer.id}SecurityGroup", listener.number, transport, listener.target.number)
        for balancer in found
        if not balancer.public
        for listener in balancer.listeners
        for transport in transports(listener.protocol)
    ]
    ways += [(MACHINES, number, how, number) for number, how in names.called(release)]
    for group, number, transport, target in ways:
        about = {
            "IpProtocol": transport,
            "FromPort": number,
            "ToPort": number,
            "Description": "from its own machines",
        }
        id_ = f"{group.removesuffix('SecurityGroup')}Own{transport.capitalize()}{number}"
        who = callers(release, target, transport)
        own = any(selects(one, workload.key, workload.labels) for one in who.pods)
        if own and not who.everyone:
            made[id_] = resource(
                "EC2::SecurityGroupIngress",
                {
                    "GroupId": attribute(group, "GroupId"),
                    "SourceSecurityGroupId": attribute(MACHINES, "GroupId"),
                    **about,
                },
            )
        rules = outgoing(release.policies)
        if rules is not None and any(
            _means(rule, workload.key, workload.labels)
            and allows(rule, target, transport, release.workload.ports)
            for rule in rules
        ):
            made[f"{id_}Out"] = resource(
                "EC2::SecurityGroupEgress",
                {
                    "GroupId": attribute(MACHINES, "GroupId"),
                    "DestinationSecurityGroupId": attribute(group, "GroupId"),
                    **about,
                },
            )
    return made


def _means(rule: PolicyRule, key: str, labels: Pairs) -> bool:
    return rule.peers is None or any(
        isinstance(one, PodPeer) and selects(one, key, labels) for one in rule.peers
    )


def egress(release: Release, peers: Sequence[Peer]) -> list[Data] | None:
    """Whom machines may call; None for everyone."""
    rules = outgoing(release.policies)
    if rules is None:
        return None
    made = [API]
    for rule in rules:
        networks = [ip_network(ANYWHERE)] if rule.peers is None else []
        networks += [each for one in rule.peers or () if isinstance(one, NetworkPeer) for each in ranges(one)]
        made += [
            {"CidrIp": str(one), **port, "Description": "by a NetworkPolicy"}
            for one in networks
            for port in _ports(rule)
        ]
        made += [
            {
                "DestinationSecurityGroupId": way.group,
                "IpProtocol": way.transport,
                "FromPort": way.number,
                "ToPort": way.number,
                "Description": f"{one.key}",
            }
            for one in peers
            if _means(rule, one.key, one.labels) and not (rule.peers is None and rule.ports is None)
            for way in one.ways
            if allows(rule, way.target, way.transport, _ports_of(one))
        ]
    return _once(made)


def _ports_of(one: Peer) -> list[Port]:
    return [Port(number, name or None, protocol) for name, number, protocol in one.ports]


def _ports(rule: PolicyRule) -> Iterator[Data]:
    """A rule's ports for whom no names are known."""
    if rule.ports is None:
        yield {"IpProtocol": "-1"}
    for one in rule.ports or ():
        if isinstance(one.number, str):
            continue
        first, last = (0, 65535) if one.number is None else (one.number, one.last or one.number)
        yield {"IpProtocol": one.protocol.lower(), "FromPort": first, "ToPort": last}


# --- what to know of it -----------------------------------------------------------------------


def problems(release: Release, network: Network, rules: Mapping[str, int]) -> Iterator[Problem]:
    """What security groups can't say. `rules` are how many each of them has."""
    if not release.policies:
        return
    first = release.policies[0]
    if network.security_group:
        yield Problem(
            f"NetworkPolicy `{first.name}` is about deployment `{release.workload.name}`, and the security "
            f"group {network.security_group} alone decides who may call",
            first.position,
            "leave I2KIT_SECURITY_GROUP out, or have that group say it and leave the policy out",
        )
    for one in release.policies:
        for rule in one.egress or ():
            networks = [each for each in rule.peers or () if isinstance(each, NetworkPeer)]
            named = sorted({str(each.number) for each in rule.ports or () if isinstance(each.number, str)})
            if networks and named:
                yield Problem(
                    f"NetworkPolicy `{one.name}` means addresses and the port named {', '.join(named)}: only "
                    "pods have ports with names",
                    one.position,
                    "give its number",
                )
    for group, count in rules.items():
        if count > MAX_RULES:
            yield Problem(
                f"NetworkPolicies of deployment `{release.workload.name}` come to {count} rules of {group}: "
                f"a security group has {MAX_RULES} at most",
                first.position,
                "mean fewer deployments, networks or ports; each part that is left of a network counts",
            )


def notes(release: Release, found: Iterable[Balancer]) -> Iterator[str]:
    workload = release.workload
    if outgoing(release.policies) is not None:
        yield (
            f"machines of {workload.key} may call port 443 anywhere, whatever its policies say: they need "
            "the APIs of AWS"
        )
    for balancer in found:
        by_pods = any(
            callers(release, one.target.number, transport).pods
            for one in balancer.listeners
            for transport in transports(one.protocol)
        )
        if balancer.public and by_pods:
            services = ", ".join(one.key for one in balancer.services)
            yield (
                f"{services} is public: machines would call it by addresses that its policies do not know; "
                "give them a Service of type ClusterIP"
            )
    for ingress in release.ingresses:
        for service in release.services:
            shut = any(not lets_ingress_in(release, to) for _, to in leads(release, service))
            led = any(route.service == service.name for route in ingress.routes)
            if led and shut and service.namespace == ingress.namespace:
                yield f"Ingress {ingress.key} answers 503 for {service.key}: no policy lets it in"
