"""The network that deployments share where none was given, as a CloudFormation template. Pure.

One for all of them, because an account has five VPCs. Machines are in public subnets with addresses of
their own: what they may be called from is up to security groups, and a NAT gateway would cost more than
a small deployment.

Source: AWS CloudFormation template reference; Amazon VPC user guide, "Internet gateways".
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from i2kit.providers.aws.design.parts import ANYWHERE, Data, ref, resource
from i2kit.providers.aws.values import Network, Subnet, Zone

CIDR = "10.78.0.0/16"
"""Beside the 10.77 of the provider `local`, so that one can be joined with the other."""

SUBNET_BITS = 4
"""Sixteen subnets of 4,091 machines each."""

MAX_ZONES = 3

NO_VPC = "vpc-" + "0" * 17
NO_ZONE = "Z" + "0" * 19
"""Ids of what is not made yet: right in form, and nobody's."""

TAGS = {"i2kit:network": "shared"}
"""What its stack is tagged with, and by CloudFormation all that is in it."""


def best(zones: Collection[str], common: Collection[str]) -> list[str]:
    """Which zones a new network is in: before others those with what is common, and always the same."""
    return sorted(zones, key=lambda zone: (zone not in common, zone))[:MAX_ZONES]


def network_template(zones: Sequence[str], *, zone_name: str | None = None) -> dict[str, Any]:
    """VPC, a public subnet in each of these zones (three at most), and a private hosted zone if named."""
    zones = sorted(zones)[:MAX_ZONES]
    blocks = islice(ipaddress.ip_network(CIDR).subnets(SUBNET_BITS), len(zones))
    resources: Data = {
        "Vpc": resource(
            "EC2::VPC",
            {"CidrBlock": CIDR, "EnableDnsSupport": True, "EnableDnsHostnames": True, "Tags": _name()},
        ),
        "Gateway": resource("EC2::InternetGateway", {"Tags": _name()}),
        "Attachment": resource(
            "EC2::VPCGatewayAttachment", {"VpcId": ref("Vpc"), "InternetGatewayId": ref("Gateway")}
        ),
        "Routes": resource("EC2::RouteTable", {"VpcId": ref("Vpc"), "Tags": _name()}),
        "WayOut": resource(
            "EC2::Route",
            {
                "RouteTableId": ref("Routes"),
                "DestinationCidrBlock": ANYWHERE,
                "GatewayId": ref("Gateway"),
            },
            DependsOn="Attachment",
        ),
    }
    for number, (zone, block) in enumerate(zip(zones, blocks, strict=True), start=1):
        resources[f"Subnet{number}"] = resource(
            "EC2::Subnet",
            {"VpcId": ref("Vpc"), "AvailabilityZone": zone, "CidrBlock": str(block), "Tags": _name(zone)},
            # The zones were asked of AWS: not every zone has every instance type.
            Metadata={"cfn-lint": {"config": {"ignore_checks": ["W3010"]}}},
        )
        resources[f"Subnet{number}Routes"] = resource(
            "EC2::SubnetRouteTableAssociation",
            {"SubnetId": ref(f"Subnet{number}"), "RouteTableId": ref("Routes")},
        )
    outputs: Data = {"Vpc": {"Value": ref("Vpc")}, "Cidr": {"Value": CIDR}}
    for number, zone in enumerate(zones, start=1):
        outputs[f"Subnet{number}"] = {"Description": zone, "Value": ref(f"Subnet{number}")}
    made = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "i2kit: the network that deployments share",
        "Resources": resources,
        "Outputs": outputs,
    }
    return with_zone(made, zone_name) if zone_name else made


def with_zone(template: Mapping[str, Any], zone_name: str) -> dict[str, Any]:
    """The same network with a private hosted zone of this name, beside those that it has."""
    resources, outputs = dict(template["Resources"]), dict(template["Outputs"])
    zones = _zones(template)
    if zone_name not in zones.values():
        id_ = f"Zone{len(zones) + 1 if zones else ''}"
        vpcs = [{"VPCId": ref("Vpc"), "VPCRegion": ref("AWS::Region")}]
        resources[id_] = resource("Route53::HostedZone", {"Name": zone_name, "VPCs": vpcs})
        outputs[id_] = {"Description": zone_name, "Value": ref(id_)}
    return {**template, "Resources": resources, "Outputs": outputs}


def network_of(
    template: Mapping[str, Any], values: Mapping[str, str], zone_name: str | None = None
) -> tuple[Network, Zone | None]:
    """What such a stack offers: its template, and its outputs as AWS filled them in.

    The hosted zone is the one of this name, or the only one; None where it is not made yet.
    """
    subnets = tuple(
        Subnet(values[id_], output["Description"])
        for id_, output in sorted(template["Outputs"].items())
        if id_.startswith("Subnet")
    )
    zones = [
        Zone(values[id_], name, private=True)
        for id_, name in _zones(template).items()
        if id_ in values and zone_name in (None, name)
    ]
    return Network(values["Vpc"], (values["Cidr"],), subnets), zones[0] if len(zones) == 1 else None


def not_made_yet(zones: Sequence[str]) -> Network:
    """What stands for a network in these zones until it is made."""
    subnets = (
        Subnet(f"subnet-{number:017x}", zone)
        for number, zone in enumerate(sorted(zones)[:MAX_ZONES], start=1)
    )
    return Network(NO_VPC, (CIDR,), tuple(subnets))


def _zones(template: Mapping[str, Any]) -> dict[str, str]:
    """The names of the hosted zones, by their logical ids."""
    return {
        id_: output["Description"] for id_, output in template["Outputs"].items() if id_.startswith("Zone")
    }


def _name(zone: str = "") -> list[Data]:
    return [{"Key": "Name", "Value": f"i2kit {zone}".strip()}]
