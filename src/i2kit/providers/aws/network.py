"""The network that deployments share where none was given, as a CloudFormation template. Pure.

One for all of them, because an account has five VPCs. Machines are in public subnets with addresses of
their own: what they may be called from is up to security groups, and a NAT gateway would cost more than
a small deployment.

Source: AWS CloudFormation template reference; Amazon VPC user guide, "Internet gateways".
"""

import ipaddress
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from i2kit.providers.aws.template import ANYWHERE, Data, ref, resource
from i2kit.providers.aws.values import Network, Subnet, Zone

CIDR = "10.78.0.0/16"
"""Beside the 10.77 of the provider `local`, so that one can be joined with the other."""

SUBNET_BITS = 4
"""Sixteen subnets of 4,091 machines each."""

MAX_ZONES = 3

TAGS = {"i2kit:network": "shared"}
"""What its stack is tagged with, and by CloudFormation all that is in it."""


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
    if zone_name:
        vpcs = [{"VPCId": ref("Vpc"), "VPCRegion": ref("AWS::Region")}]
        resources["Zone"] = resource("Route53::HostedZone", {"Name": zone_name, "VPCs": vpcs})
        outputs["Zone"] = {"Description": zone_name, "Value": ref("Zone")}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "i2kit: the network that deployments share",
        "Resources": resources,
        "Outputs": outputs,
    }


def network_of(template: Mapping[str, Any], values: Mapping[str, str]) -> tuple[Network, Zone | None]:
    """What such a stack offers: its template, and its outputs as AWS filled them in."""
    subnets = tuple(
        Subnet(values[id_], output["Description"])
        for id_, output in sorted(template["Outputs"].items())
        if id_.startswith("Subnet")
    )
    network = Network(values["Vpc"], (values["Cidr"],), subnets)
    zone = template["Outputs"].get("Zone")
    return network, Zone(values["Zone"], zone["Description"], private=True) if zone else None


def _name(zone: str = "") -> list[Data]:
    return [{"Key": "Name", "Value": f"i2kit {zone}".strip()}]
