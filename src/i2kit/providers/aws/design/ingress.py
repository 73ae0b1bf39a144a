"""An Ingress becomes a stack of its own: an application load balancer for several deployments. Pure.

In: an Entrance, which has the Ingress, where it is, and what stands behind it. Out: a CloudFormation
template, which holds the Entrance too, so that nothing else has to be asked to change it. Each deployment has
target groups of its own there, and its stack attaches its machines to them.

An update of a deployment has two steps, so that nothing is ever led to machines that are not there:
`prepared` adds what new machines need beside what there is, and `settled` takes the old away.

Sources: AWS CloudFormation template reference; Elastic Load Balancing, "Target groups for your Application
Load Balancers" (weights, sticky sessions).
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from i2kit.errors import OperationError
from i2kit.model import Ingress, Release, Route
from i2kit.plain import data_of, value_of
from i2kit.providers.aws.design import policies, rollout
from i2kit.providers.aws.design.balancing import TLS_PORTS, leads, speech_of
from i2kit.providers.aws.design.parts import (
    ANYWHERE,
    TLS_POLICY,
    Data,
    attribute,
    attributes,
    checked_by_http,
    dumps,
    ref,
    resource,
    weight,
)
from i2kit.providers.aws.design.rules import priorities, rules, short
from i2kit.providers.aws.values import Link, Network, Zone

FORMAT = 1
"""Counts up when an older i2kit could not read it."""

INGRESS = "i2kit:ingress"
"""The tag of its stack, and of certificates that were made for it."""

HTTP, HTTPS = 80, 443


NEW_GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/new/"
NEW_CERTIFICATE = "arn:aws:acm:us-east-1:000000000000:certificate/00000000-0000-0000-0000-000000000000"
NEW_SECURITY_GROUP = "sg-" + "0" * 17
NEW_NAME = "new.elb.amazonaws.com"
"""Stand for what is still to be made."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The machines of one deployment behind one port of a Service: a target group."""

    deployment: str
    service: str
    port: int
    name: str | None
    """Of the port."""
    target: int
    protocol: Literal["HTTP", "HTTPS"]
    health_port: int
    delay_s: int
    sticky_s: int = 0
    weight: int = 1

    @property
    def id(self) -> str:
        """Its logical id. It changes with what cannot change in place, or not while old machines serve."""
        fixed = (self.deployment, self.service, self.port, self.target, self.protocol, self.health_port)
        return f"Target{short(*map(str, fixed))}"

    @property
    def place(self) -> tuple[str, int]:
        return self.service, self.port

    def is_behind(self, route: Route) -> bool:
        return route.service == self.service and route.port in (self.port, self.name)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that was imported for a secret. `mark` tells what was imported."""

    secret: str
    arn: str
    mark: str


@dataclass(frozen=True, slots=True)
class Entrance:
    """`certificate` is the ARN of a given one; else those in `certificates` end TLS."""

    ingress: Ingress
    network: Network
    zone: Zone | None = None
    backends: tuple[Backend, ...] = ()
    certificate: str | None = None
    certificates: tuple[Certificate, ...] = ()

    @property
    def has_tls(self) -> bool:
        return bool(self.certificate or self.ingress.tls)

    @property
    def arns(self) -> tuple[str, ...]:
        """Of the certificates, the one for whoever names no host first."""
        if self.certificate:
            return (self.certificate,)
        known = {one.secret: one.arn for one in self.certificates}
        return tuple(dict.fromkeys(known[secret] for _, secret in self.ingress.tls if secret in known))

    @property
    def deployments(self) -> frozenset[str]:
        return frozenset(one.deployment for one in self.backends)


def stack_name(key: str) -> str:
    """Of the Ingress `namespace/name`. No deployment's has this form: names have no upper case."""
    namespace, name = key.split("/")
    return f"i2kit-{name}-INGRESS-{namespace}"


# --- what stands behind it --------------------------------------------------------------------


def backends(release: Release, ingress: Ingress) -> tuple[Backend, ...]:
    """What of a release, with all services in front of it, an Ingress leads to."""
    workload = release.workload
    found = (
        Backend(
            workload.key,
            service.name,
            port.number,
            port.name,
            to,
            "HTTPS" if to in TLS_PORTS or speech_of(port, to) in ("https", "tls") else "HTTP",
            workload.health_port,
            rollout.delay_s(workload),
            service.sticky_s or 0,
            weight(workload),
        )
        for service in release.services
        if service.namespace == ingress.namespace
        for port, to in leads(release, service)
        if port.protocol == "TCP" and policies.lets_ingress_in(release, to)
    )
    return tuple(one for one in found if any(one.is_behind(route) for route in ingress.routes))


def prepared(there: Entrance | None, fresh: Entrance, key: str) -> Entrance:
    """Before the deployment `key` changes to what `fresh` has behind it: the new beside all that is there.

    Where others serve, nobody is led to the new until it does.
    """
    now = there.backends if there else ()
    known = {one.id: one for one in now}
    serving = {one.place for one in now if one.weight}
    made = {
        one.id: replace(
            one,
            weight=known[one.id].weight if one.id in known else int(one.place not in serving),
        )
        for one in fresh.backends
    }
    return replace(fresh, backends=_sorted({**known, **made}.values()))


def settled(
    there: Entrance, fresh: Entrance | None, key: str, weights: Mapping[str, int], alive: Collection[str]
) -> Entrance | None:
    """Once the deployment `key` is as it should be: without what is gone. None where nothing is left.

    `fresh` is None where it no longer belongs to the Ingress; `weights` are those of deployments that are
    known, `alive` those that there are.
    """
    others = [one for one in there.backends if one.deployment != key and one.deployment in alive]
    mine = fresh.backends if fresh else ()
    found = [replace(one, weight=weights.get(one.deployment, one.weight)) for one in (*others, *mine)]
    if not found:
        return None
    # One alone gets all, however many machines it has.
    alone = {place for place in {one.place for one in found} if _count(found, place) == 1}
    made = (replace(one, weight=1) if one.place in alone else one for one in found)
    return replace(fresh or there, backends=_sorted(made))


def _count(found: Iterable[Backend], place: tuple[str, int]) -> int:
    return sum(one.place == place for one in found)


def _sorted(found: Iterable[Backend]) -> tuple[Backend, ...]:
    return tuple(sorted(found, key=lambda one: (one.service, one.port, one.deployment, one.id)))


def link(entrance: Entrance, outputs: Mapping[str, str], fresh: Iterable[Backend]) -> Link:
    """What the stack of a deployment has to know. `outputs` are the Ingress's, as far as it is made."""
    ingress, mine = entrance.ingress, tuple(fresh)
    name = outputs.get("Name", NEW_NAME)
    targets = ((one.target, one.health_port, outputs.get(one.id, f"{NEW_GROUP}{one.id}")) for one in mine)
    urls = []
    for host, routes in (*ingress.rules, *((("", (ingress.default,)),) if ingress.default else ())):
        for route in routes:
            for one in (each for each in mine if each.is_behind(route)):
                scheme = "https" if entrance.has_tls else "http"
                url = f"{scheme}://{host or name}{route.path.rstrip('/')}"
                urls.append((f"{ingress.namespace}/{one.service}", one.port, url))
    return Link(
        ingress.key,
        entrance.network.security_group or outputs.get("SecurityGroup", NEW_SECURITY_GROUP),
        tuple(sorted(targets)),
        tuple(dict.fromkeys(urls)),
        ingress.public,
    )


# --- the template -----------------------------------------------------------------------------


def action(route: Route | None, found: Sequence[Backend]) -> Data:
    """What is done with what a rule is for."""
    if route is None:
        return _said("404", "Not found: no rule of the Ingress is for this.")
    behind = [one for one in found if one.is_behind(route)]
    if not behind:
        return _said("503", f"Service {route.service} is not deployed.")
    if len(behind) == 1:
        return {"Type": "forward", "TargetGroupArn": ref(behind[0].id)}
    groups = [{"TargetGroupArn": ref(one.id), "Weight": one.weight} for one in behind]
    sticky_s = max(one.sticky_s for one in behind)
    sticky = (
        {"TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": sticky_s}} if sticky_s else {}
    )
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups, **sticky}}


def _said(status: str, text: str) -> Data:
    about = {"StatusCode": status, "ContentType": "text/plain", "MessageBody": f"{text}\n"}
    return {"Type": "fixed-response", "FixedResponseConfig": about}


def template(entrance: Entrance, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Its stack. `before` is the template that it has: rules keep their numbers."""
    ingress, network = entrance.ingress, entrance.network
    resources: Data = {}
    if network.security_group is None:
        resources["SecurityGroup"] = security_group(entrance)
    resources["LoadBalancer"] = load_balancer(entrance)
    for backend in entrance.backends:
        resources[backend.id] = target_group(backend, network)
    only_moved = ingress.https_only and entrance.has_tls
    listeners = [HTTP, *([HTTPS] if entrance.has_tls else [])]
    wanted = rules(ingress)
    for number in listeners:
        moved = number == HTTP and only_moved
        resources[f"Listener{number}"] = listener(entrance, number, moved=moved)
        if moved:
            continue
        known = _priorities(before, number)
        numbers = priorities([f"Rule{number}{one.id}" for one in wanted], known)
        for one in wanted:
            id_ = f"Rule{number}{one.id}"
            resources[id_] = resource(
                "ElasticLoadBalancingV2::ListenerRule",
                {
                    "ListenerArn": ref(f"Listener{number}"),
                    "Priority": numbers[id_],
                    "Conditions": one.conditions,
                    "Actions": [action(one.route, entrance.backends)],
                },
            )
    for arn in entrance.arns[1:]:
        resources[f"Certificate{short(arn)}"] = resource(
            "ElasticLoadBalancingV2::ListenerCertificate",
            {"ListenerArn": ref(f"Listener{HTTPS}"), "Certificates": [{"CertificateArn": arn}]},
        )
    for host in named(entrance):
        resources[f"Record{short(host)}"] = record(host, entrance)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"i2kit: the Ingress {ingress.key}",
        "Metadata": {"i2kit": {"Format": FORMAT, "Ingress": ingress.key, "Entrance": data_of(entrance)}},
        "Resources": resources,
        "Outputs": {
            "Name": {"Value": attribute("LoadBalancer", "DNSName")},
            "SecurityGroup": {
                "Value": network.security_group or attribute("SecurityGroup", "GroupId"),
            },
            **{one.id: {"Value": ref(one.id)} for one in entrance.backends},
        },
    }


def of(found: Mapping[str, Any]) -> Entrance:
    """The Entrance in a stack's template. Raises OperationError where it can't be read."""
    said = found.get("Metadata", {}).get("i2kit", {})
    key = said.get("Ingress", "of this stack")
    if said.get("Format") != FORMAT:
        raise OperationError(
            f"the stack of the Ingress {key} was made by another version of i2kit",
            hint="use that version, or update i2kit",
        )
    try:
        return value_of(Entrance, said["Entrance"])
    except (KeyError, TypeError, ValueError) as error:
        raise OperationError(
            f"what the stack of the Ingress {key} says of it can't be read: {error}",
            hint="remove that stack, then deploy again",
        ) from error


def _priorities(before: Mapping[str, Any] | None, number: int) -> Mapping[str, int]:
    return {
        id_: one["Properties"]["Priority"]
        for id_, one in (before["Resources"] if before else {}).items()
        if id_.startswith(f"Rule{number}")
    }


def security_group(entrance: Entrance) -> Data:
    """Who may call: everyone, or everyone in the network."""
    ingress, network = entrance.ingress, entrance.network
    sources = (ANYWHERE,) if ingress.public else network.cidrs
    ports = [HTTP, *([HTTPS] if entrance.has_tls else [])]
    return resource(
        "EC2::SecurityGroup",
        {
            "GroupDescription": f"i2kit {ingress.key}: Ingress",
            "VpcId": network.vpc,
            "SecurityGroupIngress": [
                {
                    "CidrIp": source,
                    "IpProtocol": "tcp",
                    "FromPort": port,
                    "ToPort": port,
                    "Description": f"port {port}",
                }
                for port in ports
                for source in sources
            ],
        },
    )


def load_balancer(entrance: Entrance) -> Data:
    network, ingress = entrance.network, entrance.ingress
    group = network.security_group or attribute("SecurityGroup", "GroupId")
    # What the template says of itself can't change without a resource.
    digest = hashlib.sha256(dumps({"": data_of(entrance)}).encode()).hexdigest()[:16]
    return resource(
        "ElasticLoadBalancingV2::LoadBalancer",
        {
            "Type": "application",
            "Scheme": "internet-facing" if ingress.public else "internal",
            "Subnets": [subnet.id for subnet in network.balancer_subnets(public=ingress.public)],
            "SecurityGroups": [group],
            "LoadBalancerAttributes": attributes({"routing.http.drop_invalid_header_fields.enabled": "true"}),
        },
        Metadata={"i2kit": digest},
    )


def target_group(one: Backend, network: Network) -> Data:
    settings = {"deregistration_delay.timeout_seconds": str(one.delay_s)}
    if one.sticky_s:
        settings |= {
            "stickiness.enabled": "true",
            "stickiness.type": "lb_cookie",
            "stickiness.lb_cookie.duration_seconds": str(one.sticky_s),
        }
    return resource(
        "ElasticLoadBalancingV2::TargetGroup",
        {
            "VpcId": network.vpc,
            "Port": one.target,
            "Protocol": one.protocol,
            **checked_by_http(one.health_port),
            "TargetGroupAttributes": attributes(settings),
        },
    )


def listener(entrance: Entrance, number: int, *, moved: bool) -> Data:
    """With `moved` it sends everyone to HTTPS."""
    default: Data = action(entrance.ingress.default, entrance.backends)
    if moved:
        to = {"Protocol": "HTTPS", "Port": str(HTTPS), "StatusCode": "HTTP_301"}
        default = {"Type": "redirect", "RedirectConfig": to}
    ends_tls = number == HTTPS
    return resource(
        "ElasticLoadBalancingV2::Listener",
        {
            "LoadBalancerArn": ref("LoadBalancer"),
            "Port": number,
            "Protocol": "HTTPS" if ends_tls else "HTTP",
            **(
                {
                    "Certificates": [{"CertificateArn": arn} for arn in entrance.arns[:1]],
                    "SslPolicy": TLS_POLICY,
                }
                if ends_tls
                else {}
            ),
            "DefaultActions": [default],
        },
    )


def record(host: str, entrance: Entrance) -> Data:
    assert entrance.zone
    return resource(
        "Route53::RecordSet",
        {
            "HostedZoneId": entrance.zone.id,
            "Name": host,
            "Type": "A",
            "AliasTarget": {
                "DNSName": attribute("LoadBalancer", "DNSName"),
                "HostedZoneId": attribute("LoadBalancer", "CanonicalHostedZoneID"),
                "EvaluateTargetHealth": True,
            },
        },
    )


def named(entrance: Entrance) -> tuple[str, ...]:
    """The hosts that are in the hosted zone."""
    zone = entrance.zone
    hosts = dict.fromkeys(host.lower() for host, _ in entrance.ingress.rules if host)
    return tuple(host for host in hosts if zone and (host == zone.name or host.endswith(f".{zone.name}")))


def notes(entrance: Entrance) -> Iterator[str]:
    """What to know before it is made."""
    ingress = entrance.ingress
    ours = named(entrance)
    others = [host for host in dict.fromkeys(host for host, _ in ingress.rules) if host and host not in ours]
    if others:
        where = f"not in the hosted zone {entrance.zone.name}" if entrance.zone else "in no hosted zone"
        yield (
            f"Ingress {ingress.key}: {', '.join(others)} {'are' if len(others) > 1 else 'is'} {where}: point "
            "such names at its load balancer yourself"
        )
    if any(host.startswith("*") for host, _ in ingress.rules):
        yield f"Ingress {ingress.key}: on AWS `*` is also for several labels"
