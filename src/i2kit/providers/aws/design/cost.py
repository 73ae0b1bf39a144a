"""What a stack costs in a month, as far as that is known before anyone uses it. Pure.

In: a template. Out: an Estimate with its lines. What depends on use (traffic, load balancers' capacity
units, logs) is not in it, nor are free tiers and discounts.

Prices: us-east-1, in US dollars, of https://aws.amazon.com/{ebs,elasticloadbalancing,vpc,route53}/pricing as
others quoted them in 2026, noted on 2026-11-21. Machines: see `instances`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from i2kit.providers import CostLine, Estimate
from i2kit.providers.aws.design.instances import PRICES_AS_OF, PRICES_REGION, TYPES

HOURS = 730
"""In a month, as AWS's calculator counts."""

ADDRESS_USD_PER_HOUR = 0.005
BALANCER_USD_PER_HOUR = 0.0225
DISK_USD_PER_GIB = 0.08
VOLUME_USD_PER_GIB = {"gp3": DISK_USD_PER_GIB, "gp2": 0.10, "st1": 0.045, "sc1": 0.015}
"""Those of other types cost by what is done with them, too."""
SNAPSHOT_USD_PER_GIB = 0.05
ZONE_USD = 0.50

NOT_COUNTED = "traffic, load balancers' capacity units, logs"
SOURCE = "https://aws.amazon.com/pricing"


def estimate(template: Mapping[str, Any]) -> Estimate:
    """Of a stack with this template."""
    resources = template["Resources"]
    made = [*_machines(resources), *_balancers(resources), *_volumes(template), *_rest(template)]
    lines = tuple(line for line in _joined(made) if line.count)
    return Estimate(lines, PRICES_AS_OF, PRICES_REGION, SOURCE, ", ".join([*_scaled(resources), NOT_COUNTED]))


def _scaled(resources: Mapping[str, Any]) -> Iterator[str]:
    """What autoscaling may add, at most."""
    for group in _of(resources, "AutoScaling::AutoScalingGroup"):
        least, most = int(group["MinSize"]), int(group["MaxSize"])
        if least < most:
            usd = sum(line.usd or 0 for line in _machines(resources, most - least))
            yield f"up to {most - least} more machines (${usd:.2f})"


def _machines(resources: Mapping[str, Any], more: int | None = None) -> Iterator[CostLine]:
    """As many as there are at least, or so many more."""
    for resource in _of(resources, "AutoScaling::AutoScalingGroup"):
        count = int(resource["MinSize"]) if more is None else more
        id_ = resource["LaunchTemplate"]["LaunchTemplateId"]["Ref"]
        data = resources[id_]["Properties"]["LaunchTemplateData"]
        name = data["InstanceType"]
        price = TYPES[name].usd_per_hour * HOURS if name in TYPES else None
        yield _line(count, f"machine {name}", price)
        for mapping in data["BlockDeviceMappings"]:
            gib = mapping["Ebs"]["VolumeSize"]
            yield _line(count, f"disk of {gib} GiB", gib * DISK_USD_PER_GIB)
        if any(interface["AssociatePublicIpAddress"] for interface in data["NetworkInterfaces"]):
            yield _line(count, "public IPv4 address of a machine", ADDRESS_USD_PER_HOUR * HOURS)


def _joined(lines: Iterable[CostLine]) -> Iterator[CostLine]:
    """One line of all things of a sort: numbered machines have a group each."""
    found: dict[tuple[str, float | None], CostLine] = {}
    for line in lines:
        each = line.usd / line.count if line.usd and line.count else line.usd
        sort = (line.what, each)
        was = found.get(sort)
        usd = line.usd if was is None or was.usd is None else round(was.usd + (line.usd or 0), 6)
        found[sort] = CostLine(line.count + (was.count if was else 0), line.what, usd)
    yield from found.values()


def _volumes(template: Mapping[str, Any]) -> Iterator[CostLine]:
    """That outlive machines."""
    for one in template.get("Metadata", {}).get("i2kit", {}).get("Volumes", ()):
        type_ = one.get("type", "gp3")
        usd = VOLUME_USD_PER_GIB.get(type_)
        yield _line(1, f"volume of {one['gib']} GiB, {type_}", usd and one["gib"] * usd)


def _balancers(resources: Mapping[str, Any]) -> Iterator[CostLine]:
    for resource in _of(resources, "ElasticLoadBalancingV2::LoadBalancer"):
        yield _line(1, f"{resource['Type']} load balancer", BALANCER_USD_PER_HOUR * HOURS)
        if resource["Scheme"] == "internet-facing":
            what = "public IPv4 address of a load balancer"
            yield _line(len(resource["Subnets"]), what, ADDRESS_USD_PER_HOUR * HOURS)


def _rest(template: Mapping[str, Any]) -> Iterator[CostLine]:
    yield _line(sum(1 for _ in _of(template["Resources"], "Route53::HostedZone")), "hosted zone", ZONE_USD)
    if size := template.get("Metadata", {}).get("i2kit", {}).get("ImageBytes"):
        yield _line(1, "image's snapshot, at most", size / (1 << 30) * SNAPSHOT_USD_PER_GIB)


def _line(count: int, what: str, usd_each: float | None) -> CostLine:
    usd = None if usd_each is None else count * usd_each
    return CostLine(count, what, usd and (round(usd, 2) or round(usd, 6)))


def _of(resources: Mapping[str, Any], type_: str) -> Iterator[Mapping[str, Any]]:
    for resource in resources.values():
        if resource["Type"] == f"AWS::{type_}":
            yield resource["Properties"]
