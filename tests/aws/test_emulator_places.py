"""The emulator's corrections of hosted zones and VPCs, and that moto itself still needs each.

Where the test of `moto` fails, it does that right by now: the correction can go.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.aws import emulator
from tests.aws.conftest import REGION, Aws
from tests.aws.emulator import Emulator

Probe = Callable[[Emulator], None]


def client(server: Emulator, service: str = "route53") -> Any:
    return boto3.Session("key", "secret", region_name=REGION).client(service, endpoint_url=server.url)


def make(route53: Any, name: str, reference: str, **words: Any) -> str:
    found: str = route53.create_hosted_zone(Name=name, CallerReference=reference, **words)["HostedZone"]["Id"]
    return found


def ids_begin_with_z(server: Emulator) -> None:
    route53 = client(server)
    # moto's ids are random: one of them begins so by chance.
    made = [make(route53, f"{number}.example.com", str(number)) for number in range(8)]
    assert all(one.startswith("/hostedzone/Z") for one in made)


def a_zone_with_a_vpc_is_private(server: Emulator) -> None:
    route53 = client(server)
    id_ = make(route53, "example.com", "1", VPC={"VPCRegion": REGION, "VPCId": "vpc-1"})
    found = route53.get_hosted_zone(Id=id_)
    assert found["HostedZone"]["Config"]["PrivateZone"]
    assert found["VPCs"] == [{"VPCRegion": REGION, "VPCId": "vpc-1"}]


def zones_are_listed_from_a_name_on(server: Emulator) -> None:
    route53 = client(server)
    for name in ("b.example.com", "example.org", "example.com", "example.net"):
        make(route53, name, name)
    found = route53.list_hosted_zones_by_name(DNSName="example.com", MaxItems="2")
    assert [one["Name"] for one in found["HostedZones"]] == ["example.com.", "b.example.com."]
    assert (found["IsTruncated"], found["NextDNSName"]) == (True, "example.net.")
    found = route53.list_hosted_zones_by_name(DNSName="example.info")
    assert [one["Name"] for one in found["HostedZones"]] == ["example.net.", "example.org."]


def a_template_decides_how_a_vpc_looks_names_up(server: Emulator) -> None:
    properties = {"CidrBlock": "10.0.0.0/16", "EnableDnsSupport": False, "EnableDnsHostnames": True}
    body = json.dumps({"Resources": {"Vpc": {"Type": "AWS::EC2::VPC", "Properties": properties}}})
    client(server, "cloudformation").create_stack(StackName="web", TemplateBody=body)
    with contextlib.suppress(HTTPError):  # moto as it is has no levers, and needs none
        server.control("settle")
    ec2 = client(server, "ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.0.0.0/16"]}])["Vpcs"][0]["VpcId"]
    for attribute, wanted in (("enableDnsSupport", False), ("enableDnsHostnames", True)):
        found = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)
        assert found[attribute[0].upper() + attribute[1:]]["Value"] is wanted


PROBES = [
    a_template_decides_how_a_vpc_looks_names_up,
    ids_begin_with_z,
    a_zone_with_a_vpc_is_private,
    zones_are_listed_from_a_name_on,
]


@pytest.fixture(scope="module")
def as_is() -> Iterator[Emulator]:
    with emulator.running(corrected=False) as server:
        yield server


@pytest.mark.parametrize("holds", PROBES, ids=lambda one: one.__name__)
def test_correction(holds: Probe, aws: Aws, as_is: Emulator) -> None:
    holds(aws.emulator)
    as_is.reset()
    with pytest.raises((AssertionError, ClientError, KeyError)):
        holds(as_is)
