"""A release becomes a CloudFormation template: plain dictionaries. Pure.

In: a Record, which has a Release and where and how it runs. Out: all of one deployment's stack. Physical
names are left to CloudFormation, so that everything fits its limits and can be replaced; only what others
must find is named: the stack, its log group, its DNS records. Never holds secrets.

Sources: AWS CloudFormation template reference; EC2 Auto Scaling user guide, "Use an instance refresh";
Elastic Load Balancing, guides for application and network load balancers; Route 53 developer guide,
"Weighted routing" and "Choosing between alias and non-alias records".
"""

import copy
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from i2kit.model import Endpoint, Pairs, Release, Service, Workload
from i2kit.providers.aws.design import (
    instances,
    jobs,
    names,
    policies,
    record,
    rollout,
    secrets,
    userdata,
    volumes,
)
from i2kit.providers.aws.design.balancing import (
    Balancer,
    Listener,
    Speech,
    Target,
    balancers,
    leads,
    transports,
)
from i2kit.providers.aws.design.parts import (
    ANYWHERE,
    TLS_POLICY,
    Data,
    attribute,
    attributes,
    camel,
    checked_by_http,
    dumps,
    policy,
    ref,
    resource,
    weight,
)
from i2kit.providers.aws.design.policies import MACHINES
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.values import (
    NUMBER,
    ROOT_DEVICE,
    Ami,
    Link,
    Network,
    Options,
    Peer,
    Zone,
    log_group,
    stack_name,
)

MAX_BYTES = 51_200
"""Of a template that is handed in with the call."""

LOG_RETENTION_DAYS = 30

NO_VALUE = "-"
"""For a label without a value, which the tag of a stack must have. No label has this one."""

_ENDPOINT = re.compile(r"(?P<service>\S+/\S+) port (?P<port>\d+)(/UDP)?, (?P<reach>public|internal)")

GROUP = "Group"
"""The logical id of the group of machines, or how those of groups begin that have one machine each."""

_GROUP = re.compile(rf"{GROUP}(Run)?\d*")

SCALING = "ScalingByCpu"
"""The logical id of what changes the number of machines."""


def template(
    release: Release,
    ami: Ami,
    network: Network,
    zone: Zone | None,
    options: Options,
    *,
    links: tuple[Link, ...] = (),
) -> dict[str, Any]:
    """The stack of one deployment's first revision. `checks` tells beforehand whether AWS takes it."""
    implied = record.is_implied(release)
    told = secrets.NEW if release.workload.secrets else ""
    kept = volumes.decide(release.workload, network, {}).kept
    one = Record(
        1,
        "",
        release,
        ami,
        options,
        network,
        zone,
        implied=implied,
        secrets=told,
        links=links,
        volumes=kept,
    )
    return of_record(one)


def of_record(one: Record) -> dict[str, Any]:
    """The stack of one deployment, with as much of its history as there is room for."""
    whole, network, options, zone = one.whole, one.network, one.options, one.zone
    found = balancers(whole, network, options.certificate)
    key = one.key
    resources: Data = {
        "LogGroup": log_group_resource(one),
        "Role": role(one),
        "Profile": resource("IAM::InstanceProfile", {"Roles": [ref("Role")]}),
        MACHINES: machine_security_group(found, one, whole),
    }
    for balancer in found:
        resources |= balancing(balancer, one, whole)
        if zone:
            for service in balancer.services:
                resources |= records(service, balancer, zone, whole)
    for number in numbers(whole.workload):
        resources[f"LaunchTemplate{_suffix(one, number)}"] = launch_template(one, found, number)
        resources[group_id(one, number)] = group(one, found, number)
    if whole.workload.job and (times := jobs.schedule(whole.workload.job, group_id(one, None))):
        resources["Schedule"] = resource("AutoScaling::ScheduledAction", times)
    if zone:
        resources |= names.aliases(one.release.aliases, zone)
    if network.security_group is None:
        resources |= policies.own_calls(whole, found)
    if target := cpu_target(whole, options):
        resources[SCALING] = scaling_policy(whole.workload, target)
    made: Data = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"i2kit: the deployment {key}",
        "Metadata": {},
        "Resources": resources,
        "Outputs": {
            **group_outputs(one),
            **endpoint_outputs(whole, found, zone),
            **link_outputs(one.links),
            **security_group_outputs(found, network),
        },
    }
    return recorded(made, one)


def numbers(workload: Workload) -> tuple[int | None, ...]:
    """Of its groups: one of all machines, or one for each number."""
    return tuple(range(workload.replicas)) if workload.stateful else (None,)


def group_id(one: Record, number: int | None) -> str:
    """The logical id of a group. A job has another group for each revision: what was before ends."""
    return f"{GROUP}{_suffix(one, number)}"


def is_group(id_: str) -> bool:
    return _GROUP.fullmatch(id_) is not None


def _suffix(one: Record, number: int | None) -> str:
    if one.release.workload.job:
        return f"Run{one.revision}"
    return "" if number is None else str(number)


def group_outputs(one: Record) -> Data:
    return {
        group_id(one, number): {
            "Description": "The group of machines" if number is None else f"The group of machine {number}",
            "Value": ref(group_id(one, number)),
        }
        for number in numbers(one.release.workload)
    }


def machines(made: Mapping[str, Any]) -> Mapping[str, Any]:
    """The launch templates of a template by their ids: what machines are made of."""
    resources = made["Resources"].items()
    return {id_: one for id_, one in resources if one["Type"] == "AWS::EC2::LaunchTemplate"}


def recorded(made: dict[str, Any], one: Record) -> dict[str, Any]:
    """A template with this record in it. The oldest revisions go where there is no room."""
    while True:
        made["Metadata"] = {"i2kit": record.metadata(one)}
        if not one.history or len(dumps(made).encode()) <= MAX_BYTES:
            return made
        one = replace(one, history=one.history[1:])


def scaled(found: Mapping[str, Any], one: Record) -> dict[str, Any]:
    """The template that a stack has, with as many machines as this record says, and nothing else changed."""
    made = copy.deepcopy(dict(found))
    workload = one.release.workload
    for each in made["Resources"].values():
        if each["Type"] == "AWS::AutoScaling::AutoScalingGroup":
            each["Properties"] |= rollout.sizes(workload.scaling, workload.replicas)
            each["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"] |= preferences(one)
        elif "Weight" in each["Properties"]:  # not of aliases
            each["Properties"]["Weight"] = weight(workload)
    made["Resources"]["LogGroup"]["Metadata"] = digest(one)
    return recorded(made, one)


def tags(release: Release) -> dict[str, str]:
    """What the stack is tagged with, and by CloudFormation all that is in it: services select by labels."""
    labels = {key: value or NO_VALUE for key, value in release.workload.labels}
    return {**labels, "i2kit:deployment": release.workload.key}


def labels_of(found: Mapping[str, str]) -> Pairs:
    """The inverse of `tags`: the labels of a deployment, from the tags of its stack."""
    return tuple(
        (key, "" if value == NO_VALUE else value)
        for key, value in found.items()
        if not key.startswith(("i2kit:", "aws:"))
    )


def digest(one: Record) -> Data:
    """Different for different records: a template's own `Metadata` can't change without a resource."""
    said = record.metadata(replace(one, history=()))
    return {"i2kit": hashlib.sha256(dumps(said).encode()).hexdigest()[:16]}


# --- where it is reached ----------------------------------------------------------------------


def endpoint_outputs(release: Release, found: tuple[Balancer, ...], zone: Zone | None) -> Data:
    """By the service's name where callers can look it up, else by the load balancer's."""
    made: Data = {}
    for balancer in found:
        speeches = {listener.number: listener.speech for listener in balancer.listeners}
        for service in balancer.services:
            for port, _ in leads(release, service):
                udp = port.protocol == "UDP"
                start, end = url_parts("udp" if udp else speeches[port.number], port.number)
                url: str | Data = {"Fn::Sub": f"{start}${{{balancer.id}LoadBalancer.DNSName}}{end}"}
                if zone and not (service.public and zone.private):
                    url = f"{start}{names.record_name(service, zone)}{end}"
                reach = "public" if service.public else "internal"
                made[f"Endpoint{camel(service.name)}{port.number}{'Udp' if udp else ''}"] = {
                    "Description": f"{service.key} port {port.number}{'/UDP' if udp else ''}, {reach}",
                    "Value": url,
                }
    return made


def security_group_outputs(found: Iterable[Balancer], network: Network) -> Data:
    """What the policies of other deployments name."""
    ids = [MACHINES]
    if network.security_group is None:
        ids += [f"{one.id}SecurityGroup" for one in found]
    return {id_: {"Value": attribute(id_, "GroupId")} for id_ in ids}


def link_outputs(links: Iterable[Link]) -> Data:
    """What is reached by an Ingress."""
    return {
        f"Ingress{camel(one.key.partition('/')[2])}{number}": {
            "Description": f"{service} port {port}, {'public' if one.public else 'internal'}",
            "Value": url,
        }
        for one in links
        for number, (service, port, url) in enumerate(one.urls, start=1)
    }


def endpoints_of(outputs: Iterable[Mapping[str, str]]) -> tuple[Endpoint, ...]:
    """The endpoints of a stack, from its outputs as AWS tells them."""
    found = ((_ENDPOINT.fullmatch(one.get("Description", "")), one["OutputValue"]) for one in outputs)
    return tuple(
        Endpoint(url, match["reach"] == "public", match["service"], int(match["port"]))
        for match, url in found
        if match
    )


def url_parts(speech: Speech, number: int) -> tuple[str, str]:
    """What stands before and after the host."""
    usual = {"http": 80, "https": 443}
    return f"{speech}://", "" if usual.get(speech) == number else f":{number}"


def records(service: Service, balancer: Balancer, zone: Zone, release: Release) -> Data:
    """The service's names. Weighted by machines: other deployments behind it have records of their own.

    Private zones also have those that machines look up.
    """
    return {
        f"Record{camel(service.name)}{which}": resource(
            "Route53::RecordSet",
            {
                "HostedZoneId": place,
                "Name": name,
                "Type": "A",
                "SetIdentifier": stack_name(release.workload.key),
                "Weight": weight(release.workload),
                "AliasTarget": {
                    "DNSName": attribute(f"{balancer.id}LoadBalancer", "DNSName"),
                    "HostedZoneId": attribute(f"{balancer.id}LoadBalancer", "CanonicalHostedZoneID"),
                    "EvaluateTargetHealth": True,
                },
            },
        )
        for which, place, name in names.records(service, zone)
    }


# --- load balancers ---------------------------------------------------------------------------


def balancing(balancer: Balancer, one: Record, whole: Release) -> Data:
    """A load balancer with its listeners, its target groups and, where none was given, its security group."""
    made: Data = {}
    network, options, workload = one.network, one.options, whole.workload
    if network.security_group is None:
        made[f"{balancer.id}SecurityGroup"] = balancer_security_group(balancer, network, whole, one.peers)
    made[f"{balancer.id}LoadBalancer"] = load_balancer(balancer, network)
    for target in balancer.targets:
        made[target_id(balancer, target)] = target_group(target, network, workload, public=balancer.public)
    for listener in balancer.listeners:
        made[f"{balancer.id}Listener{listener.number}"] = listener_resource(balancer, listener, options)
    return made


def load_balancer(balancer: Balancer, network: Network) -> Data:
    settings = (
        {"routing.http.drop_invalid_header_fields.enabled": "true"}
        if balancer.kind == "application"
        else {"load_balancing.cross_zone.enabled": "true"}
    )
    return resource(
        "ElasticLoadBalancingV2::LoadBalancer",
        {
            "Type": balancer.kind,
            "Scheme": "internet-facing" if balancer.public else "internal",
            "Subnets": [subnet.id for subnet in network.balancer_subnets(public=balancer.public)],
            "SecurityGroups": [balancer_group_id(balancer, network)],
            "LoadBalancerAttributes": attributes(settings),
        },
    )


def target_group(target: Target, network: Network, workload: Workload, *, public: bool) -> Data:
    """Its machines are asked for their whole pod, whatever is spoken on the port itself."""
    settings = {"deregistration_delay.timeout_seconds": str(rollout.delay_s(workload))}
    web = target.protocol in ("HTTP", "HTTPS")
    if not web:
        settings["deregistration_delay.connection_termination.enabled"] = "true"
        # A machine that calls its own internal service may be sent to itself: it would see a call from its
        # own address, and never answer. Public services see who calls; with UDP, AWS leaves no choice.
        if not public and target.protocol in ("TCP", "TLS"):
            settings["preserve_client_ip.enabled"] = "false"
    if target.sticky_s:
        settings |= {"stickiness.enabled": "true", "stickiness.type": "lb_cookie" if web else "source_ip"}
        if web:
            settings["stickiness.lb_cookie.duration_seconds"] = str(target.sticky_s)
    return resource(
        "ElasticLoadBalancingV2::TargetGroup",
        {
            "VpcId": network.vpc,
            "Port": target.number,
            "Protocol": target.protocol,
            **checked_by_http(workload.health_port),
            "TargetGroupAttributes": attributes(settings),
        },
    )


def listener_resource(balancer: Balancer, listener: Listener, options: Options) -> Data:
    ends_tls = listener.protocol in ("HTTPS", "TLS")
    return resource(
        "ElasticLoadBalancingV2::Listener",
        {
            "LoadBalancerArn": ref(f"{balancer.id}LoadBalancer"),
            "Port": listener.number,
            "Protocol": listener.protocol,
            **(
                {"Certificates": [{"CertificateArn": options.certificate}], "SslPolicy": TLS_POLICY}
                if ends_tls
                else {}
            ),
            "DefaultActions": [
                {"Type": "forward", "TargetGroupArn": ref(target_id(balancer, listener.target))}
            ],
        },
    )


def target_id(balancer: Balancer, target: Target) -> str:
    """With the protocol, which cannot change in place."""
    protocol = "".join(word.capitalize() for word in target.protocol.split("_"))
    sticky = f"Sticky{target.sticky_s}" if target.sticky_s else ""
    return f"{balancer.id}{protocol}Target{target.number}{sticky}"


def balancer_security_group(
    balancer: Balancer, network: Network, release: Release, peers: Iterable[Peer] = ()
) -> Data:
    """Who may call: whom its service names, else everyone, or everyone in the network.

    Of these only whom policies let in, and with `peers` the machines of these deployments that they mean.
    """
    reach = "public" if balancer.public else "internal"
    usual = balancer.sources or ((ANYWHERE,) if balancer.public else network.cidrs)
    return resource(
        "EC2::SecurityGroup",
        {
            "GroupDescription": f"i2kit {release.workload.key}: {reach} load balancer",
            "VpcId": network.vpc,
            "SecurityGroupIngress": [
                {
                    **source,
                    "IpProtocol": transport,
                    "FromPort": listener.number,
                    "ToPort": listener.number,
                    "Description": f"port {listener.number}",
                }
                for listener in balancer.listeners
                for transport in transports(listener.protocol)
                for source in policies.sources(
                    release, listener.target.number, transport, usual, peers, public=balancer.public
                )
            ],
        },
    )


def balancer_group_id(balancer: Balancer, network: Network) -> str | Data:
    return network.security_group or attribute(f"{balancer.id}SecurityGroup", "GroupId")


def machine_security_group(found: tuple[Balancer, ...], one: Record, release: Release) -> Data:
    """Machines are called by load balancers, also those of Ingresses; behind headless services by all."""
    workload, network, links = release.workload, one.network, one.links
    ways: dict[tuple[int, str, str], Data] = {
        (number, transport, balancer.id): {
            "SourceSecurityGroupId": balancer_group_id(balancer, network),
            "IpProtocol": transport,
            "FromPort": number,
            "ToPort": number,
            "Description": f"from the {'public' if balancer.public else 'internal'} load balancer",
        }
        for balancer in found
        for number, transport in (
            *((one.number, transport) for one in balancer.targets for transport in transports(one.protocol)),
            (workload.health_port, "tcp"),
        )
    }
    if network.security_group:
        # One group for all load balancers: AWS refuses a rule that is there twice.
        ways = {
            (number, transport, ""): {**way, "Description": "from load balancers"}
            for (number, transport, _), way in ways.items()
        }
    ways |= {
        (number, "tcp", "" if one.security_group == network.security_group else one.key): {
            "SourceSecurityGroupId": one.security_group,
            "IpProtocol": "tcp",
            "FromPort": number,
            "ToPort": number,
            "Description": f"from the Ingress {one.key}",
        }
        for one in links
        for target, health_port, _ in one.targets
        for number in (target, health_port)
    }
    for number, transport in names.called(release):
        for place, source in enumerate(direct_callers(one, release, number, transport)):
            if (number, transport, "") in ways and network.security_group:
                continue
            ways[number, transport, f"machines {place}"] = {
                **source,
                "IpProtocol": transport,
                "FromPort": number,
                "ToPort": number,
                "Description": "by their names",
            }
    outgoing = policies.egress(release, one.peers)
    return resource(
        "EC2::SecurityGroup",
        {
            "GroupDescription": f"i2kit {workload.key}: machines",
            "VpcId": network.vpc,
            **({"SecurityGroupIngress": list(ways.values())} if ways else {}),
            **({"SecurityGroupEgress": outgoing} if outgoing else {}),
        },
    )


def direct_callers(one: Record, release: Release, number: int, transport: str) -> list[Data]:
    """Who may call machines by their names: everyone in the network, as policies have it."""
    network = one.network
    if network.security_group:
        return [{"SourceSecurityGroupId": network.security_group}]
    return policies.sources(release, number, transport, network.cidrs, one.peers, public=False)


# --- machines ---------------------------------------------------------------------------------


def launch_template(one: Record, found: tuple[Balancer, ...], number: int | None = None) -> Data:
    """One machine. Only what is the same for all of a group, and no secrets."""
    release, ami, network, options = one.release, one.ami, one.network, one.options
    key = release.workload.key
    subnets = network.machine_subnets
    named = [
        {"Key": "Name", "Value": userdata.name_of(release.workload, number)},
        {"Key": "i2kit:deployment", "Value": key},
    ]
    return resource(
        "EC2::LaunchTemplate",
        {
            "LaunchTemplateData": {
                "ImageId": ami.id,
                "InstanceType": instance_type(release, options),
                **({"KeyName": options.key_pair} if options.key_pair else {}),
                "IamInstanceProfile": {"Arn": attribute("Profile", "Arn")},
                "InstanceInitiatedShutdownBehavior": "terminate",
                "MetadataOptions": {
                    "HttpEndpoint": "enabled",
                    "HttpTokens": "required",
                    "HttpPutResponseHopLimit": 1,
                },
                "BlockDeviceMappings": [
                    {
                        "DeviceName": ROOT_DEVICE,
                        "Ebs": {
                            "VolumeSize": ami.volume_gib,
                            "VolumeType": "gp3",
                            "DeleteOnTermination": True,
                        },
                    },
                    *volumes.mapping(release.workload),
                ],
                "NetworkInterfaces": [
                    {
                        "DeviceIndex": 0,
                        "AssociatePublicIpAddress": all(subnet.public for subnet in subnets),
                        "DeleteOnTermination": True,
                        "Groups": [
                            attribute(MACHINES, "GroupId"),
                            *([network.security_group] if network.security_group else []),
                        ],
                    }
                ],
                "UserData": {"Fn::Base64": user_data(one, found, number)},
                "TagSpecifications": [
                    {"ResourceType": kind, "Tags": named}
                    for kind in ("instance", "volume", "network-interface")
                ],
            }
        },
    )


def user_data(one: Record, found: tuple[Balancer, ...], number: int | None = None) -> str | Data:
    """Its text, in which CloudFormation fills in the names of this stack's load balancers where needed."""
    own = {
        service.key: f"${{{balancer.id}LoadBalancer.DNSName}}"
        for balancer in found
        for service in balancer.services
    }
    told = {**dict(one.options.addresses), **own}
    text = userdata.render(one.release, one.zone, told, one.options.region, one.secrets, number)
    text += "".join(f"{line}\n" for line in volumes.lines(number or 0, one.release.workload, one.volumes))
    if job := one.release.workload.job:
        text += "".join(f"{line}\n" for line in jobs.lines(job, one.revision))
    return {"Fn::Sub": text} if "${" in text else text


def instance_type(release: Release, options: Options) -> str:
    """The one that was asked for, else the smallest that holds the pod; the largest where none does."""
    if options.instance_type:
        return options.instance_type
    fitting = instances.smallest(instances.need(release), options.architecture)
    return (fitting or instances.largest(options.architecture)).name


def group(one: Record, found: tuple[Balancer, ...], number: int | None = None) -> Data:
    """The machines, replaced when they fail their checks and by each update.

    With a number it has that one machine, where its volumes are. Groups are updated one at a time, the
    highest number first.
    """
    workload = one.release.workload
    arns = [
        *(ref(target_id(balancer, target)) for balancer in found for target in balancer.targets),
        *(arn for each in one.links for _, _, arn in each.targets),
    ]
    labels = {**tags(one.release), "i2kit:image": one.ami.id}
    if number is not None:
        labels[NUMBER] = str(number)
    where = volumes.zone_of(number or 0, workload, one.volumes)
    properties: Data = {
        **rollout.sizes(workload.scaling, workload.replicas if number is None else 1),
        "VPCZoneIdentifier": [
            subnet.id for subnet in one.network.machine_subnets if where in (None, subnet.zone)
        ],
        # Not $Latest: there would be nothing to go back to.
        "LaunchTemplate": {
            "LaunchTemplateId": ref(f"LaunchTemplate{_suffix(one, number)}"),
            "Version": attribute(f"LaunchTemplate{_suffix(one, number)}", "LatestVersionNumber"),
        },
        "HealthCheckType": "ELB" if arns else "EC2",
        "HealthCheckGracePeriod": rollout.startup_s(workload) if arns else 0,
        "DefaultInstanceWarmup": rollout.warmup_s(workload, checked=bool(arns)),
        "Tags": [
            {"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in sorted(labels.items())
        ],
    }
    if arns:
        properties["TargetGroupARNs"] = arns
    # No AutoRollback: CloudFormation knows no such preference, and goes back itself.
    policy = {
        "AutoScalingInstanceRefresh": {
            "Strategy": "Rolling",
            "Preferences": {**preferences(one), "SkipMatching": True},
        }
    }
    # A target that no listener leads to is never healthy.
    listeners = [
        f"{balancer.id}Listener{listener.number}" for balancer in found for listener in balancer.listeners
    ]
    if workload.job:
        return resource("AutoScaling::AutoScalingGroup", {**properties, **jobs.sizes(workload.job)})
    before = [group_id(one, number + 1)] if number is not None and number + 1 < workload.replicas else []
    return resource(
        "AutoScaling::AutoScalingGroup",
        properties,
        UpdatePolicy=policy,
        **({"DependsOn": [*listeners, *before]} if listeners or before else {}),
    )


def preferences(one: Record) -> Data:
    """Of the group's updates."""
    least, most = rollout.percentages(one.release.workload)
    alarms, bake_time_s = one.options.alarms, one.options.bake_time_s
    return {
        "MinHealthyPercentage": least,
        "MaxHealthyPercentage": most,
        **({"AlarmSpecification": {"Alarms": list(alarms)}} if alarms else {}),
        **({"BakeTime": bake_time_s} if bake_time_s else {}),
    }


def cpu_target(release: Release, options: Options) -> rollout.Target | None:
    """What autoscaling keeps to; None without it, or on a type of which we know no processors."""
    type_ = instances.TYPES.get(instance_type(release, options))
    return rollout.cpu_target(release.workload, type_.cpus) if type_ else None


def notes(one: Record) -> Iterator[str]:
    """What to know of updates and of autoscaling before they happen."""
    workload = one.release.workload
    found = balancers(one.whole, one.network, one.options.certificate)
    yield from policies.notes(one.whole, found)
    yield from (f"the network policy {each.key} of other files holds for it too" for each in one.held)
    if workload.job:
        yield from jobs.notes(workload.job)
        return
    yield from rollout.notes(workload, one.options)
    yield from volumes.of_updates(workload)
    yield from _sticky_notes(found)
    if workload.scaling and (target := cpu_target(one.release, one.options)):
        type_ = instance_type(one.release, one.options)
        between = f"between {workload.scaling.least} and {workload.scaling.most} machines"
        yield f"AWS scales it {between}, to {target.percent:g} % of the CPU of a {type_}"
        if target.note:
            yield target.note


def _sticky_notes(found: Iterable[Balancer]) -> Iterator[str]:
    """How long, and by what, a caller comes back to the same machine."""
    for balancer in found:
        for service in balancer.services:
            if service.sticky_s and balancer.kind == "application":
                yield (
                    f"callers of {service.key} come back to the same machine by a cookie, for "
                    f"{service.sticky_s} seconds; who keeps no cookies does not"
                )
            elif service.sticky_s:
                yield (
                    f"callers of {service.key} come back to the same machine by their address, as long as "
                    "it is healthy: a network load balancer counts no seconds"
                )


def scaling_policy(workload: Workload, target: rollout.Target) -> Data:
    return resource(
        "AutoScaling::ScalingPolicy",
        {
            "AutoScalingGroupName": ref("Group"),
            "PolicyType": "TargetTrackingScaling",
            "EstimatedInstanceWarmup": max(rollout.METRICS_S, workload.min_ready_s),
            "TargetTrackingConfiguration": {
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
                "TargetValue": target.percent,
            },
        },
    )


# --- the rest ---------------------------------------------------------------------------------


def log_group_resource(one: Record) -> Data:
    return resource(
        "Logs::LogGroup",
        {"LogGroupName": log_group(one.key), "RetentionInDays": LOG_RETENTION_DAYS},
        Metadata=digest(one),
        DeletionPolicy="Delete",
        UpdateReplacePolicy="Delete",
    )


def role(one: Record) -> Data:
    """What a machine may do: write its logs, read its secrets, attach its volumes, end its job."""
    place = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}"
    streams = f"{place}:log-group:{log_group(one.key)}:log-stream:*"
    logs = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": {"Fn::Sub": streams},
    }
    machines = {"Service": "ec2.amazonaws.com"}
    allowed: dict[str, list[Data]] = {
        "logs": [logs],
        "secrets": [secrets.statement(one.key)] if one.secrets else [],
        "volumes": volumes.statements(one.key, one.volumes),
        "job": jobs.statements(one.key, one.revision) if one.release.workload.job else [],
    }
    if one.zone and names.registered(one.whole, one.zone):
        allowed["names"] = [names.statement(one.whole, one.zone)]
    return resource(
        "IAM::Role",
        {
            "AssumeRolePolicyDocument": policy(
                {"Effect": "Allow", "Principal": machines, "Action": "sts:AssumeRole"}
            ),
            "Policies": [
                {"PolicyName": name, "PolicyDocument": policy(*statements)}
                for name, statements in allowed.items()
                if statements
            ],
        },
    )
