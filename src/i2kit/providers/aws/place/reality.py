"""What only AWS knows of a deployment before it begins: the certificate, the key pair, the instance type.

In: a Release, where and how it would run. Out: every Problem. Only reads. What the credentials may not
read is not checked: AWS says it later, in its own words.

Sources: EC2 user guide, "Instance types" and "Instance launch behavior with Amazon EC2 boot modes"; AWS
Certificate Manager user guide, "Certificate status"; Elastic Load Balancing, "Availability Zones" (targets
in a zone that the load balancer is not in get nothing).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from i2kit.errors import Problem
from i2kit.model import Release
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import DENIED, code, explained
from i2kit.providers.aws.design import checks, instances
from i2kit.providers.aws.design.balancing import balancers
from i2kit.providers.aws.design.instances import TYPES, InstanceType
from i2kit.providers.aws.values import BOOT_MODES, Network, Options

SHOWN = 10

WAYS_TO_ISSUE = {
    "PENDING_VALIDATION": "add the DNS record that AWS wants to see, as `aws acm describe-certificate` shows "
    "it, and wait until it is ISSUED",
    "EXPIRED": "renew it, or request another",
    "VALIDATION_TIMED_OUT": "request it again, and add its DNS record within three days",
}


def problems(account: Account, release: Release, network: Network, options: Options) -> tuple[Problem, ...]:
    """All at once; `checks.problems` says what can be known without asking."""
    with explained("checking what AWS has for it"):
        return (
            *_of_certificate(account, options),
            *_of_key_pair(account, options),
            *_of_alarms(account, options),
            *_of_instance_type(account, release, network, options),
            *_of_zones(release, network, options),
        )


def offers(account: Account, types: Collection[str]) -> Mapping[str, set[str]] | None:
    """Which of these instance types each availability zone has; None where that may not be known."""
    filters = [{"Name": "instance-type", "Values": sorted(types)}]
    pages = account.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=filters
    )
    found: dict[str, set[str]] = {}
    with explained("asking where instance types are offered"):
        try:
            for page in pages:
                for one in page["InstanceTypeOfferings"]:
                    found.setdefault(one["Location"], set()).add(one["InstanceType"])
        except ClientError as error:
            if code(error) in DENIED:
                return None
            raise
    return found


def _of_certificate(account: Account, options: Options) -> Iterator[Problem]:
    """IAM's are not looked at, nor those that `checks` refuses."""
    arn = options.certificate or ""
    if arn.split(":")[2:4] != ["acm", options.region]:
        return
    try:
        found = account.acm.describe_certificate(CertificateArn=arn)["Certificate"]
    except ClientError as error:
        if code(error) in DENIED:
            return
        if code(error) in ("ResourceNotFoundException", "InvalidArnException", "ValidationException"):
            hint = f"see what there is: aws acm list-certificates --region {options.region}"
            yield Problem(f"there is no certificate {arn} in this account", hint=hint)
            return
        raise
    status = found["Status"]
    if status != "ISSUED":
        names = ", ".join(found.get("SubjectAlternativeNames") or [found.get("DomainName", "")])
        yield Problem(
            f"the certificate for {names} is {status}, and load balancers take only one that is ISSUED",
            hint=WAYS_TO_ISSUE.get(status, "request another with AWS Certificate Manager"),
        )


def _of_key_pair(account: Account, options: Options) -> Iterator[Problem]:
    if not options.key_pair:
        return
    try:
        found = [one["KeyName"] for one in account.ec2.describe_key_pairs()["KeyPairs"]]
    except ClientError as error:
        if code(error) in DENIED:
            return
        raise
    if options.key_pair not in found:
        there = ", ".join(sorted(found)[:SHOWN]) + (" …" if len(found) > SHOWN else "")
        yield Problem(
            f"there is no key pair `{options.key_pair}` in {options.region}",
            hint=f"those that are there: {there}"
            if found
            else "there is none at all: leave I2KIT_KEYPAIR out",
        )


def notes(account: Account, options: Options) -> tuple[str, ...]:
    """What may pass by itself, and would end an update as it is now."""
    with explained("looking at the alarms"):
        found = _alarms(account, options) or {}
    return tuple(
        f"the alarm `{name}` has gone off: as long as it does, an update goes back at once"
        for name in options.alarms
        if found.get(name) == "ALARM"
    )


def _of_alarms(account: Account, options: Options) -> Iterator[Problem]:
    found = _alarms(account, options)
    if found is None:
        return
    for name in options.alarms:
        if name not in found:
            hint = f"see what there is: aws cloudwatch describe-alarms --region {options.region}"
            yield Problem(f"there is no alarm `{name}` in {options.region}", hint=hint)


def _alarms(account: Account, options: Options) -> Mapping[str, str] | None:
    """The states of the alarms that were named, of those that are there; None where they may not be known."""
    if not 0 < len(options.alarms) <= checks.MAX_ALARMS:
        return None
    kinds = {"MetricAlarms": "MetricAlarm", "CompositeAlarms": "CompositeAlarm"}
    try:
        found = account.cloudwatch.describe_alarms(
            AlarmNames=list(options.alarms), AlarmTypes=list(kinds.values())
        )
    except ClientError as error:
        if code(error) in DENIED:
            return None
        raise
    return {one["AlarmName"]: one["StateValue"] for kind in kinds for one in found.get(kind, ())}


def _of_instance_type(
    account: Account, release: Release, network: Network, options: Options
) -> Iterator[Problem]:
    need = instances.need(release)
    fitting = instances.smallest(need, options.architecture)
    name = options.instance_type or (fitting.name if fitting else None)
    if name is None:
        return
    instead = "name another type with I2KIT_INSTANCE_TYPE"
    if fitting and fitting.name != name:
        instead = checks.instead_of(release, fitting)
    try:
        found = account.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
    except ClientError as error:
        if code(error) == "InvalidInstanceType":
            yield Problem(
                f"AWS has no instance type `{name}` in {options.region}", release.workload.position, instead
            )
            return
        if code(error) not in DENIED:
            raise
        found = []
    for one in found if name not in TYPES else ():
        if why := _unfit(one, need, options):
            message = f"{name} does not fit deployment `{release.workload.name}`: {why}"
            yield Problem(message, release.workload.position, instead)
    zones = {subnet.zone for subnet in network.machine_subnets}
    where = offers(account, [name])
    if where is not None and not zones & where.keys():
        yield Problem(
            f"{name} is offered in none of the zones of the subnets: {', '.join(sorted(zones))}",
            release.workload.position,
            "name another type with I2KIT_INSTANCE_TYPE, or subnets in "
            f"{', '.join(sorted(where)) or 'another region'} with I2KIT_SUBNET",
        )


def _unfit(found: Mapping[str, Any], need: instances.Need, options: Options) -> str | None:
    """Why an image of this architecture, or a pod of this size, cannot run on that type."""
    architectures = found["ProcessorInfo"]["SupportedArchitectures"]
    if options.architecture not in architectures:
        return f"it is {' and '.join(architectures)}, and the image {options.architecture}"
    # Bare metal has no hypervisor, and NVMe and ENA as Nitro has them.
    if found.get("Hypervisor") == "xen":
        return "it runs on Xen, and images have drivers for EC2's newer types, on Nitro"
    mode, modes = BOOT_MODES[options.architecture], found.get("SupportedBootModes") or []
    if modes and mode != "uefi-preferred" and mode not in modes:
        return f"it starts by {' or '.join(modes)}, and the image by {mode}"
    cpus, memory_bytes = found["VCpuInfo"]["DefaultVCpus"], found["MemoryInfo"]["SizeInMiB"] << 20
    type_ = InstanceType(found["InstanceType"], options.architecture, cpus, memory_bytes, 0)
    if not need.fits(type_):
        return (
            f"the pod requests {need.memory_bytes >> 20:,} MiB of memory and {need.cpu_millis / 1000:g} "
            f"vCPU, and it has {type_.usable_bytes >> 20:,} MiB to use and {cpus} vCPU"
        )
    return None


def _of_zones(release: Release, network: Network, options: Options) -> Iterator[Problem]:
    """Machines in zones where no load balancer could reach them."""
    for balancer in balancers(release, network, options.certificate):
        reached = {subnet.zone for subnet in network.balancer_subnets(public=balancer.public)}
        missed = [subnet for subnet in network.machine_subnets if subnet.zone not in reached]
        if reached and missed:
            yield Problem(
                f"deployment `{release.workload.name}`: a public load balancer cannot reach machines in "
                f"{', '.join(f'{one.id} ({one.zone})' for one in missed)}: no public subnet is in that zone",
                release.workload.position,
                "name a public subnet of each zone with I2KIT_SUBNET, or leave those private ones out",
            )
