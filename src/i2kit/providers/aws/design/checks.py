"""What AWS would refuse, or accept and never make work, said before any call. Pure.

In: what a template is made of. Out: every Problem. cfn-lint, which tests run over all our templates, sees
what is wrong with their form; here is what it does not see.

Sources: AWS CloudFormation quotas; Elastic Load Balancing quotas for application and network load
balancers; EC2, "Tag your resources" and "Instance user data"; IAM, "Tags for IAM resources" (keys that
differ in case are the same); EC2, "Instance launch behavior with Amazon EC2 boot modes".
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from i2kit.errors import Problem
from i2kit.model import Release, Workload
from i2kit.providers.aws.design import instances, jobs, names, policies, rollout, secrets, userdata, volumes
from i2kit.providers.aws.design.balancing import Balancer, balancers
from i2kit.providers.aws.design.instances import Need
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.design.policies import MACHINES
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.template import (
    MAX_BYTES,
    balancer_security_group,
    instance_type,
    template,
)
from i2kit.providers.aws.place.network import NO_VPC
from i2kit.providers.aws.values import (
    BOOT_MODES,
    NETWORK_STACK,
    Ami,
    Network,
    Options,
    Zone,
    stack_name,
)

MAX_STACK_NAME = 128
MAX_RESOURCES = 500
MAX_OUTPUTS = 200
LIMITS = {"bytes": MAX_BYTES, "resources": MAX_RESOURCES, "outputs": MAX_OUTPUTS}
"""Of a template."""
MAX_TAGS = 50
OWN_TAGS = 5
"""Room for what i2kit says by tags."""
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
MAX_LISTENERS = 50
MAX_TARGETS = {"network": 500, "application": 1000}
"""Of one load balancer: machines times ports. Network ones have fewer because they cross zones."""
MAX_TARGET_GROUPS = 50
"""Of one group of machines."""
MAX_RULES = 60
"""Of one security group."""
MAX_NAME = 255
"""Of a DNS name (RFC 1035, 2.3.4), of a key pair, and of an alarm."""
MAX_ALARMS = 10
"""Of one instance refresh."""

CURRENT = tuple(name for name, type_ in instances.TYPES.items() if type_.current)
"""The types that machines can be of, and of which we know what they have."""

SOME_AMI = Ami("ami-" + "0" * 17, "0" * 64, 1 << 30)
LONGEST_BALANCER_NAME = "x" * 128
"""Load balancers' own DNS names are shorter than this."""

_TAG = re.compile(r"[\w\s+\-=._:/@]*")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d+")
_CERTIFICATE = re.compile(
    r"arn:aws[a-z-]*:(acm:(?P<region>[a-z0-9-]+):\d{12}:certificate/.+|iam::\d{12}:server-certificate/.+)"
)
_IDS = {"vpc": re.compile(r"vpc-[0-9a-f]{8,17}"), "security group": re.compile(r"sg-[0-9a-f]{8,17}")}
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")


def problems(release: Release, network: Network, zone: Zone | None, options: Options) -> tuple[Problem, ...]:
    """Everything that is wrong with deploying this release there, in no case after the first call."""
    place = list(_of_place(release, network, options))
    if place:
        return tuple(place)
    found = balancers(release, network, options.certificate)
    return (
        *_of_names(release, found, zone),
        *names.problems(release, zone),
        *policies.problems(release, network, _rules(template(release, SOME_AMI, network, zone, options))),
        *_of_tags(release.workload),
        *_of_balancers(release, found, network),
        *_of_instance_type(release, options),
        *_of_scaling(release, options),
        *_of_alarms(options),
        *secrets.problems(release),
        *volumes.problems(release.workload),
        *jobs.problems(release.workload),
        *_of_sizes(release, network, zone, options),
    )


def of_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Problem, ...]:
    """What an update of a stack cannot do: a load balancer stays in the network that it was made in."""
    before, after = (one["Resources"][MACHINES]["Properties"]["VpcId"] for one in (old, new))
    if before == after:
        return ()
    key = new["Metadata"]["i2kit"]["Deployment"]
    to = f"a shared network that is still to be made ({NETWORK_STACK})" if after == NO_VPC else after
    message = f"deployment `{key}` runs in {before} and cannot move to {to}"
    return (Problem(message, hint=f"deploy it to {before}, or destroy it first"),)


def _of_place(release: Release, network: Network, options: Options) -> Iterator[Problem]:
    """Settings that are wrong whatever is deployed, or that leave nowhere to deploy to."""
    if not _REGION.fullmatch(options.region):
        yield Problem(f"`{options.region}` is not a region of AWS", hint="such as us-east-1")
    given = {"vpc": network.vpc, "security group": network.security_group}
    for what, id_ in given.items():
        if id_ is not None and not _IDS[what].fullmatch(id_):
            yield Problem(
                f"`{id_}` is not the id of a {what}", hint="ids are such as vpc-0a1b2c3d, sg-0a1b2c3d"
            )
    for subnet in network.subnets:
        if not _SUBNET.fullmatch(subnet.id):
            yield Problem(f"`{subnet.id}` is not the id of a subnet", hint="ids are such as subnet-0a1b2c3d")
    if not network.subnets:
        yield Problem(f"there is no subnet in {network.vpc} to deploy to", hint="name one with I2KIT_SUBNET")
    elif not network.balancer_subnets(public=True):
        for service in release.services:
            if service.public and service.ports:
                yield Problem(
                    f"service `{service.name}` is public, but no subnet leads to the internet",
                    service.position,
                    "add a public subnet to I2KIT_SUBNET, or make the service one of type ClusterIP",
                )
    if options.key_pair is not None and not 0 < len(options.key_pair) <= MAX_NAME:
        yield Problem(f"the name of the key pair has {len(options.key_pair)} characters, not 1 to {MAX_NAME}")
    yield from _of_certificate(options)


def _of_certificate(options: Options) -> Iterator[Problem]:
    if options.certificate is None:
        return
    if not (match := _CERTIFICATE.fullmatch(options.certificate)):
        hint = "such as arn:aws:acm:us-east-1:123456789012:certificate/…"
        yield Problem(f"`{options.certificate}` is not the ARN of a certificate", hint=hint)
    elif match["region"] not in (None, options.region):
        yield Problem(
            f"the certificate is in {match['region']}, and load balancers in {options.region} cannot use it",
            hint=f"request or import one in {options.region}, with AWS Certificate Manager",
        )


def _of_names(release: Release, found: Iterable[Balancer], zone: Zone | None) -> Iterator[Problem]:
    workload = release.workload
    name = stack_name(workload.key)
    if len(name) > MAX_STACK_NAME:
        yield Problem(
            f"deployment `{workload.key}` would be the stack `{name}`: that name has {len(name)} characters, "
            f"and {MAX_STACK_NAME} is the most",
            workload.position,
            f"make the names of deployment and namespace shorter by {len(name) - MAX_STACK_NAME} together",
        )
    for service in (service for balancer in found for service in balancer.services) if zone else ():
        full = max((name for *_, name in names.records(service, zone)), key=len) if zone else ""
        if len(full) > MAX_NAME:
            yield Problem(
                f"the name `{full}` has {len(full)} characters: no more than {MAX_NAME} are possible in DNS",
                service.position,
                "choose a shorter name for the service, or a hosted zone with a shorter one",
            )


def of_policies(one: Record, made: Mapping[str, Any]) -> tuple[Problem, ...]:
    """What cannot be of network policies, with all deployments that they mean."""
    return tuple(policies.problems(one.governed, one.network, _rules(made)))


def _rules(made: Mapping[str, Any]) -> Mapping[str, int]:
    """How many rules each security group has, of each direction."""
    return {
        f"{id_}'s {direction}": len(one["Properties"].get(direction, ()))
        for id_, one in made["Resources"].items()
        if one["Type"] == "AWS::EC2::SecurityGroup"
        for direction in ("SecurityGroupIngress", "SecurityGroupEgress")
    }


def _of_tags(workload: Workload) -> Iterator[Problem]:
    """Labels become tags."""
    room = MAX_TAGS - OWN_TAGS
    if len(workload.labels) > room:
        yield Problem(
            f"deployment `{workload.name}` has {len(workload.labels)} labels: as tags, no more than {room} "
            "are possible",
            workload.position,
            "leave out those that no service selects by",
        )
    folded = Counter(key.lower() for key, _ in workload.labels)
    for key, value in workload.labels:
        wrong = None
        if len(key) > MAX_TAG_KEY:
            wrong = f"its key has {len(key)} characters, and that of a tag at most {MAX_TAG_KEY}"
        elif len(value) > MAX_TAG_VALUE:
            wrong = f"its value has {len(value)} characters, and that of a tag at most {MAX_TAG_VALUE}"
        elif not (_TAG.fullmatch(key) and _TAG.fullmatch(value)):
            wrong = "tags have letters, digits, blanks and + - = . _ : / @"
        elif key.lower().startswith("aws:"):
            wrong = "tags that begin with aws: are AWS's own"
        elif folded[key.lower()] > 1:
            wrong = "another differs from it in upper and lower case only, which is the same to IAM"
        if wrong:
            message = f"deployment `{workload.name}`: the label `{key[:60]}` cannot become a tag: {wrong}"
            yield Problem(message, workload.position, "change the label, and the services that select by it")


def _of_balancers(release: Release, found: tuple[Balancer, ...], network: Network) -> Iterator[Problem]:
    workload = release.workload

    def problem(message: str, hint: str) -> Problem:
        return Problem(f"deployment `{workload.name}`: {message}", workload.position, hint)

    split = "split it into several deployments"
    for balancer in found:
        zones = Counter(subnet.zone for subnet in network.balancer_subnets(public=balancer.public))
        for zone, count in zones.items():
            if count > 1:
                hint = "name one subnet of each zone with I2KIT_SUBNET"
                yield problem(
                    f"{count} of the subnets are in {zone}: load balancers take one of each zone", hint
                )
        if (count := len(balancer.listeners)) > MAX_LISTENERS:
            yield problem(f"{count} ports: a load balancer has {MAX_LISTENERS} listeners at most", split)
        elif network.security_group is None and not release.policies:
            group = balancer_security_group(balancer, network, release)["Properties"]
            rules, ranges = len(group["SecurityGroupIngress"]), balancer.sources or network.cidrs
            if rules > MAX_RULES:
                message = f"{count} ports from {len(ranges)} address ranges"
                yield problem(
                    f"{message}: a security group has {MAX_RULES} rules at most",
                    "name fewer ranges, or larger ones"
                    if balancer.sources
                    else "give a security group of your own with I2KIT_SECURITY_GROUP",
                )
        yield from _of_listeners(balancer, network)
        replicas = workload.scaling.most if workload.scaling else workload.replicas
        targets = replicas * len(balancer.targets)
        if targets > MAX_TARGETS[balancer.kind]:
            yield problem(
                f"{replicas} replicas with {len(balancer.targets)} ports are {targets} targets: "
                f"a load balancer for these has {MAX_TARGETS[balancer.kind]} at most",
                split,
            )
    groups = sum(len(balancer.targets) for balancer in found)
    if groups > MAX_TARGET_GROUPS:
        yield problem(f"{groups} target groups: a group of machines has {MAX_TARGET_GROUPS} at most", split)


def _of_listeners(balancer: Balancer, network: Network) -> Iterator[Problem]:
    """What services ask for that these load balancers do not do."""
    numbers = Counter(one.number for one in balancer.listeners)
    ends_tls = {one.number for one in balancer.listeners if one.protocol == "TLS"}
    for service in balancer.services:
        twice = sorted({port.number for port in service.ports if numbers[port.number] > 1})
        for number in twice:
            yield Problem(
                f"service `{service.name}` has port {number} for TCP and for UDP: one load balancer has both "
                "only where they lead to the same port, and TLS is not ended",
                service.position,
                "give both the same targetPort, or make two services of them",
            )
        if service.sticky_s and balancer.kind == "network":
            for number in sorted({port.number for port in service.ports} & ends_tls):
                yield Problem(
                    f"service `{service.name}` has sessionAffinity, which no network load balancer does "
                    f"on port {number}, where it ends TLS",
                    service.position,
                    "leave TLS to the pods, or make a service of its own for the ports of HTTP",
                )
        if service.sources and network.security_group:
            yield Problem(
                f"service `{service.name}` has loadBalancerSourceRanges, and the security group "
                f"{network.security_group} alone decides who may call",
                service.position,
                "leave I2KIT_SECURITY_GROUP out, or have that group say it and leave the ranges out",
            )


def instead_of(release: Release, fitting: instances.InstanceType) -> str:
    """What to do about an instance type that does not fit, where it was named."""
    named = "instanceType" if release.workload.instance_type else "I2KIT_INSTANCE_TYPE"
    return f"use {fitting.name}, or leave {named} out"


def _of_instance_type(release: Release, options: Options) -> Iterator[Problem]:
    need = instances.need(release)
    wanted = f"{_mib(need.memory_bytes)} of memory and {need.cpu_millis / 1000:g} vCPU"
    fitting = instances.smallest(need, options.architecture)
    position = release.workload.position
    if options.instance_type is None:
        if fitting is None:
            most = instances.largest(options.architecture)
            yield Problem(
                f"deployment `{release.workload.name}` requests {wanted}: more than has {most.name}, the "
                "largest type that is chosen by itself",
                position,
                "name a larger one with I2KIT_INSTANCE_TYPE",
            )
        return
    type_ = instances.TYPES.get(options.instance_type)
    if type_ is None:
        if not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", options.instance_type):
            yield Problem(f"`{options.instance_type}` is not an instance type", hint="such as t3.micro")
        return
    instead = instead_of(release, fitting) if fitting else None
    if why := _unfit(type_, need, options, wanted):
        yield Problem(
            f"{type_.name} does not fit deployment `{release.workload.name}`: {why}", position, instead
        )


def _of_scaling(release: Release, options: Options) -> Iterator[Problem]:
    workload = release.workload
    metrics = workload.scaling.metrics if workload.scaling else ()

    def problem(message: str, hint: str) -> Problem:
        return Problem(f"deployment `{workload.name}`: {message}", workload.position, hint)

    if any(one.resource == "memory" for one in metrics):
        yield problem(
            "autoscaling by memory is not on aws yet: machines tell AWS their CPU alone",
            "scale by cpu there, or deploy it to provider local",
        )
    if not any(one.resource == "cpu" for one in metrics):
        return
    percent = any(one.resource == "cpu" and one.percent is not None for one in metrics)
    if percent and not rollout.requested_millis(workload):
        yield problem(
            "it is to be scaled by percent of the CPU that it requests, and requests none",
            "give resources.requests.cpu, or a target of type AverageValue",
        )
    name = instance_type(release, options)
    if name not in instances.TYPES:
        yield problem(
            f"autoscaling needs to know the processors of its machines, and {name} is not in i2kit's table",
            f"use one of {', '.join(sorted({one.partition('.')[0] for one in CURRENT}))}",
        )


def _of_alarms(options: Options) -> Iterator[Problem]:
    if len(options.alarms) > MAX_ALARMS:
        yield Problem(
            f"{len(options.alarms)} alarms: an update heeds {MAX_ALARMS} at most",
            hint="combine some of them into a composite alarm",
        )
    for name in options.alarms:
        if len(name) > MAX_NAME:
            yield Problem(f"the name of an alarm has {len(name)} characters, not 1 to {MAX_NAME}")


def _unfit(type_: instances.InstanceType, need: Need, options: Options, wanted: str) -> str | None:
    """Why an image of this architecture, or a pod of this size, cannot run on that type."""
    if type_.architecture != options.architecture:
        return f"it is {type_.architecture}, and the image {options.architecture}"
    if type_.hypervisor == "xen":
        return (
            "it runs on Xen and starts by BIOS only, and images have drivers for EC2's newer types, on Nitro"
        )
    mode = BOOT_MODES[options.architecture]
    if mode != "uefi-preferred" and mode not in type_.boot_modes:
        return f"it starts by {' or '.join(type_.boot_modes)}, and the image by {mode}"
    if not need.fits(type_):
        usable = _mib(type_.usable_bytes)
        return f"the pod requests {wanted}, and it has {usable} to use and {type_.cpus} vCPU"
    return None


def _of_sizes(release: Release, network: Network, zone: Zone | None, options: Options) -> Iterator[Problem]:
    workload = release.workload
    fewer = "split the deployment, or have fewer services and ports"
    own = {service.key: LONGEST_BALANCER_NAME for service in release.services}
    told_set = secrets.NEW if workload.secrets else ""
    told = userdata.render(release, zone, {**dict(options.addresses), **own}, options.region, told_set)
    if (size := len(told.encode())) > userdata.LIMIT_BYTES:
        yield Problem(
            f"deployment `{workload.name}`: its machines would be told of services in {size:,} bytes of user "
            f"data, and EC2 has room for {userdata.LIMIT_BYTES:,}",
            workload.position,
            fewer,
        )
    made = template(release, SOME_AMI, network, zone, options)
    for what, count in _sizes(made).items():
        most = LIMITS[what]
        if count > most:
            message = f"its template has {count:,} {what}, and CloudFormation takes {most:,}"
            if workload.stateful and workload.replicas > 1:
                one_less = replace(workload, replicas=workload.replicas - 1)
                other = template(replace(release, workload=one_less), SOME_AMI, network, zone, options)
                each = (count - _sizes(other)[what]) or 1
                fit = workload.replicas - -(-(count - most) // each)
                message += f"; each of its {workload.replicas} numbered machines takes {each:,}"
                fewer = f"have {fit} replicas, or fewer" if fit > 0 else fewer
            yield Problem(f"deployment `{workload.name}`: {message}", workload.position, fewer)


def _sizes(made: Mapping[str, Any]) -> Mapping[str, int]:
    return {
        "bytes": len(dumps(made).encode()),
        "resources": len(made["Resources"]),
        "outputs": len(made["Outputs"]),
    }


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.0f} MiB"
