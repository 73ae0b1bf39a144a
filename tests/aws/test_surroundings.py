"""Networks and hosted zones, given, found or made, on the emulated AWS."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from i2kit.errors import InputError, OperationError
from i2kit.events import Event, Note, ignore
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.design.checks import problems as form_problems
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.place.network import NO_VPC, NO_ZONE, TAGS, network_template
from i2kit.providers.aws.place.surroundings import Surroundings, look, make, somewhere
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.values import NETWORK_STACK, Zone
from i2kit.settings import AwsSettings

from .conftest import REGION, Aws
from .releases import OPTIONS, release

PACE = stacks.Pace(0, 0, lambda seconds: None)
NOTHING = AwsSettings()
PRIVATE = AwsSettings(hosted_zone="i2kit.internal")
USUAL = Zone(NO_ZONE, "cluster.local", private=True)


@pytest.fixture
def account(aws: Aws) -> Account:
    return Account(connect())


def made(account: Account, given: AwsSettings, watch: Callable[[Event], None] = ignore) -> Surroundings:
    return make(account, look(account, given), given, watch, pace=PACE)


def zones(found: Surroundings) -> list[str]:
    return [one.zone for one in found.network.subnets]


def vpcs(aws: Aws) -> list[str]:
    return [one["VpcId"] for one in aws.client("ec2").describe_vpcs()["Vpcs"] if not one["IsDefault"]]


def changing(aws: Aws) -> list[str]:
    """What was called that does more than look."""
    looks = ("Describe", "Get", "List", "GET ")
    return [one for one in aws.emulator.control("calls") if not one.partition(":")[2].startswith(looks)]


# --- nothing given ----------------------------------------------------------------------------


def test_the_shared_network_is_told_before_it_is_made(aws: Aws, account: Account) -> None:
    found = look(account, NOTHING)
    assert found.to_make == network_template([f"{REGION}{x}" for x in "abc"], zone_name=USUAL.name)
    assert zones(found) == [f"{REGION}a", f"{REGION}b", f"{REGION}c"]
    assert (found.network.vpc, found.zone) == (NO_VPC, USUAL)
    assert [note for note in found.notes if "cluster.local is to be made" in note]
    assert form_problems(release(), found.network, found.zone, OPTIONS) == ()
    assert changing(aws) == []


def test_it_is_made_once(aws: Aws, account: Account) -> None:
    first = made(account, NOTHING)
    assert first.to_make is None
    assert [first.network.vpc] == vpcs(aws)
    assert zones(first) == [f"{REGION}a", f"{REGION}b", f"{REGION}c"]
    before = len(changing(aws))
    assert look(account, NOTHING) == made(account, NOTHING) == first
    assert len(changing(aws)) == before
    # What was seen before somebody else made it comes to the same.
    late = replace(first, to_make=network_template([f"{REGION}d"]))
    assert make(account, late, NOTHING, ignore, pace=PACE) == first


def test_zones_have_the_instance_types_that_are_wanted(aws: Aws, account: Account) -> None:
    ec2 = aws.client("ec2")
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["mac1.metal"]}]
    )["InstanceTypeOfferings"]
    where = sorted(one["Location"] for one in offered)
    assert 0 < len(where) < 6
    assert zones(look(account, AwsSettings(instance_type="mac1.metal"))) == where[:3]
    assert zones(look(account, NOTHING, types=["mac1.metal"])) == where[:3]
    with pytest.raises(InputError, match=r"no availability zone of us-east-1 has t9\.huge") as raised:
        look(account, AwsSettings(instance_type="t9.huge"))
    assert raised.value.problems[0].hint


def test_a_region_of_which_no_zone_has_all_common_types_has_zones_anyway(aws: Aws) -> None:
    account = Account(connect(AwsSettings(region="ca-west-1")))
    assert zones(look(account, NOTHING)) == ["ca-west-1a", "ca-west-1b", "ca-west-1c"]


def test_where_offerings_may_not_be_read_all_zones_count(aws: Aws, account: Account) -> None:
    aws.emulator.control(
        "fault", code="UnauthorizedOperation", status=403, action="DescribeInstanceTypeOfferings", times=9
    )
    assert zones(look(account, AwsSettings(instance_type="t9.huge"))) == [f"{REGION}{x}" for x in "abc"]


def test_a_network_that_exists_is_used_as_it_is(aws: Aws, account: Account) -> None:
    body = dumps(network_template([f"{REGION}e", f"{REGION}f"], zone_name=USUAL.name))
    stacks.deploy(account.cloudformation, NETWORK_STACK, body, TAGS, ignore, pace=PACE)
    found = look(account, AwsSettings(instance_type="m7i.large"))
    assert (zones(found), found.to_make) == ([f"{REGION}e", f"{REGION}f"], None)
    # A hosted zone comes to it, and nothing goes.
    found = made(account, PRIVATE)
    assert zones(found) == [f"{REGION}e", f"{REGION}f"]
    assert found.zone and found.zone.name == "i2kit.internal"


@pytest.mark.parametrize("state", ["in progress", "review", "failed"])
def test_a_network_that_is_not_whole_is_made_whole(aws: Aws, account: Account, state: str) -> None:
    cloud = account.cloudformation
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    words: dict[str, Any] = {
        "StackName": NETWORK_STACK,
        "TemplateBody": dumps(network_template([f"{REGION}a", f"{REGION}b"])),
        "Tags": tags,
    }
    if state == "review":
        cloud.create_change_set(ChangeSetName="i2kit-1", ChangeSetType="CREATE", **words)
    else:
        if state == "failed":
            aws.emulator.control("break_resource", resource="Gateway", action="CREATE", reason="no")
        cloud.create_stack(**words)
    if state == "failed":
        aws.emulator.control("settle")
        aws.emulator.control("mend")
    found = look(account, NOTHING)
    assert found.to_make is not None
    assert make(account, found, NOTHING, ignore, pace=PACE).to_make is None
    assert len(vpcs(aws)) == 1


def test_a_stack_of_that_name_that_is_not_ours_is_left_alone(aws: Aws, account: Account) -> None:
    account.cloudformation.create_stack(
        StackName=NETWORK_STACK, TemplateBody=dumps(network_template([f"{REGION}a"]))
    )
    aws.emulator.control("settle")
    with pytest.raises(InputError, match="that i2kit did not make") as raised:
        look(account, NOTHING)
    assert "I2KIT_SUBNET" in str(raised.value.problems[0].hint)


def test_a_limit_is_explained_and_nothing_is_left(aws: Aws, account: Account) -> None:
    reason = (
        'Resource handler returned message: "The maximum number of VPCs has been reached. (Service: Ec2, '
        'Status Code: 400)" (HandlerErrorCode: ServiceLimitExceeded)'
    )
    aws.emulator.control("break_resource", resource="Vpc", action="CREATE", reason=reason)
    with pytest.raises(OperationError, match="The maximum number of VPCs") as raised:
        made(account, NOTHING)
    assert "I2KIT_SUBNET" in str(raised.value.hint)
    assert type(raised.value) is OperationError  # what failed is no deployment
    aws.emulator.control("settle")
    assert (vpcs(aws), stacks.find(account.cloudformation, NETWORK_STACK)) == ([], None)
    aws.emulator.control("mend")
    assert made(account, NOTHING).to_make is None


# --- hosted zones -----------------------------------------------------------------------------


def test_private_zones_are_made_with_the_network_and_beside_others(aws: Aws, account: Account) -> None:
    before = look(account, PRIVATE)
    assert before.zone == Zone(NO_ZONE, "i2kit.internal", private=True)
    assert before.to_make and before.to_make["Outputs"]["Zone"]["Description"] == "i2kit.internal"
    first = made(account, PRIVATE)
    assert first.zone and first.zone.private and first.zone.id != NO_ZONE
    second = made(account, AwsSettings(hosted_zone="Shop.Internal."))
    assert second.zone and second.zone.name == "shop.internal"
    later = look(account, PRIVATE)
    assert (later.network, later.zone, later.to_make) == (first.network, first.zone, None)
    assert look(account, NOTHING).zone == USUAL
    found = aws.client("route53").get_hosted_zone(Id=first.zone.id)
    assert [one["VPCId"] for one in found["VPCs"]] == [first.network.vpc]


def test_a_public_zone_is_found_and_the_network_made_without_it(aws: Aws, account: Account) -> None:
    id_ = aws.client("route53").create_hosted_zone(Name="i2kit.com", CallerReference="1")["HostedZone"]["Id"]
    given = AwsSettings(hosted_zone="i2kit.com.")
    found = made(account, given)
    stack = stacks.find(account.cloudformation, NETWORK_STACK)
    assert stack
    # Machines look names up in one of their own.
    inner = replace(USUAL, id=stack.outputs["Zone"])
    assert found.zone == Zone(id_.removeprefix("/hostedzone/"), "i2kit.com", private=False, inner=inner)
    assert look(account, given).to_make is None
    with pytest.raises(InputError, match=r"no hosted zone `i2kit.net`") as raised:
        look(account, AwsSettings(hosted_zone="i2kit.net"))
    assert "i2kit.com" in str(raised.value.problems[0].hint)


# --- at once ----------------------------------------------------------------------------------


def at_once(*wanted: tuple[AwsSettings, Surroundings]) -> list[Surroundings | Exception]:
    """`make` for each in a thread of its own, all after everybody has looked."""
    results: list[Surroundings | Exception] = []
    start = threading.Barrier(len(wanted))

    def run(given: AwsSettings, found: Surroundings) -> None:
        account = Account(connect())
        start.wait()
        try:
            results.append(make(account, found, given, ignore, pace=PACE))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=one) for one in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("there", [False, True])
def test_runs_at_once_take_nothing_from_each_other(aws: Aws, account: Account, there: bool) -> None:
    if there:
        made(account, NOTHING)
    names = [AwsSettings(hosted_zone=f"{letter}.internal") for letter in "abc"]
    results = at_once(*((given, look(account, given)) for given in names))
    assert not [one for one in results if isinstance(one, Exception)]
    assert {one.zone.name for one in results if isinstance(one, Surroundings) and one.zone} == {
        "a.internal", "b.internal", "c.internal"
    }  # fmt: skip
    assert len(vpcs(aws)) == 1
    for given in names:
        found = look(account, given)
        assert found.to_make is None and found.zone and found.zone.name == given.hosted_zone
    ids = {look(account, given).zone for given in names}
    zones = aws.client("route53").list_hosted_zones()["HostedZones"]
    assert (len(ids), len(zones)) == (3, 3 + there)


# --- a network that was given -----------------------------------------------------------------


class Given:
    """A VPC of somebody else's: two public subnets, two private ones, a security group."""

    def __init__(self, aws: Aws, cidr: str = "10.1.0.0/16") -> None:
        ec2 = aws.client("ec2")
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        start = cidr.removesuffix(".0.0/16")
        self.subnets = [
            ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=f"{start}.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("abab")
        ]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(VpcId=self.vpc, InternetGatewayId=gateway)
        table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        for subnet in self.subnets[:2]:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = ec2.create_nat_gateway(SubnetId=self.subnets[0], AllocationId=address)["NatGateway"]
        tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        main = next(one for one in tables if any(each.get("Main") for each in one["Associations"]))
        ec2.create_route(
            RouteTableId=main["RouteTableId"],
            DestinationCidrBlock="0.0.0.0/0",
            NatGatewayId=nat["NatGatewayId"],
        )
        self.group = ec2.create_security_group(GroupName="mine", Description="mine", VpcId=self.vpc)[
            "GroupId"
        ]


@pytest.fixture
def theirs(aws: Aws) -> Iterator[Given]:
    yield Given(aws)


def test_subnets_that_were_given(aws: Aws, account: Account, theirs: Given) -> None:
    before = len(changing(aws))
    given = AwsSettings(subnets=(theirs.subnets[1], theirs.subnets[2]), security_group=theirs.group)
    found = look(account, given)
    assert [(one.id, one.zone, one.public) for one in found.network.subnets] == [
        (theirs.subnets[1], f"{REGION}b", True),
        (theirs.subnets[2], f"{REGION}a", False),
    ]
    assert (found.network.vpc, found.network.cidrs) == (theirs.vpc, ("10.1.0.0/16",))
    assert found.network.security_group == theirs.group
    assert found.to_make is None
    assert make(account, found, given, ignore) is found
    assert len(changing(aws)) == before


def test_a_vpc_or_its_security_group_stands_for_its_subnets(
    aws: Aws, account: Account, theirs: Given
) -> None:
    by_vpc = look(account, AwsSettings(vpc=theirs.vpc)).network
    assert {(one.id, one.public) for one in by_vpc.subnets} == {
        (id_, public) for id_, public in zip(theirs.subnets, (True, True, False, False), strict=True)
    }
    by_group = look(account, AwsSettings(security_group=theirs.group)).network
    assert by_group == replace(by_vpc, security_group=theirs.group)


def test_all_that_does_not_fit_is_said_at_once(aws: Aws, account: Account, theirs: Given) -> None:
    other = Given(aws, "10.2.0.0/16")
    given = AwsSettings(
        vpc=theirs.vpc,
        subnets=(theirs.subnets[0], other.subnets[0], "subnet-00000000"),
        security_group=other.group,
        hosted_zone="example.com",
    )
    with pytest.raises(InputError) as raised:
        look(account, given)
    assert [one.message for one in raised.value.problems] == [
        "there is no subnet subnet-00000000 in us-east-1, or this account may not use it",
        f"the security group {other.group} is in {other.vpc}, and not in {theirs.vpc}",
        f"the subnet {other.subnets[0]} is in {other.vpc}, and not in {theirs.vpc}",
        "there is no hosted zone `example.com` in this account",
    ]
    with pytest.raises(InputError) as raised:
        look(account, AwsSettings(subnets=(theirs.subnets[0],), instance_type="t9.huge"))
    assert [one.message for one in raised.value.problems] == ["no availability zone of us-east-1 has t9.huge"]
    with pytest.raises(InputError) as raised:
        look(account, AwsSettings(vpc="mine", hosted_zone="https://example.com"))
    assert len(raised.value.problems) == 2


def test_a_private_zone_needs_a_vpc_that_looks_names_up(aws: Aws, account: Account, theirs: Given) -> None:
    given = AwsSettings(vpc=theirs.vpc, hosted_zone="corp.internal")
    with pytest.raises(InputError, match="aws route53 create-hosted-zone"):
        look(account, given)
    aws.client("route53").create_hosted_zone(
        Name="corp.internal", CallerReference="1", VPC={"VPCRegion": REGION, "VPCId": theirs.vpc}
    )
    with pytest.raises(InputError, match="enableDnsHostnames must be on") as raised:
        look(account, given)
    assert f"--vpc-id {theirs.vpc} --enable-dns-hostnames" in str(raised.value.problems[0].hint)
    # Nobody has to be allowed to read that.
    aws.emulator.control(
        "fault", code="UnauthorizedOperation", status=403, action="DescribeVpcAttribute", times=2
    )
    assert look(account, given).zone
    aws.emulator.control("no_faults")
    theirs.ec2.modify_vpc_attribute(VpcId=theirs.vpc, EnableDnsHostnames={"Value": True})
    found = look(account, given)
    assert found.zone and found.zone.private and found.zone.name == "corp.internal"


def test_names_of_kubernetes_in_a_network_that_was_given(aws: Aws, account: Account, theirs: Given) -> None:
    given, route53 = AwsSettings(vpc=theirs.vpc), aws.client("route53")
    found = look(account, given)
    assert found.zone is None
    assert "aws route53 create-hosted-zone --name cluster.local" in found.notes[-1]
    where = {"VPCRegion": REGION, "VPCId": theirs.vpc}
    route53.create_hosted_zone(Name="cluster.local", CallerReference="1", VPC=where)
    found = look(account, given)
    assert found.zone is None and "--enable-dns-hostnames" in found.notes[-1]
    theirs.ec2.modify_vpc_attribute(VpcId=theirs.vpc, EnableDnsHostnames={"Value": True})
    found = look(account, given)
    assert found.zone and found.zone.name == "cluster.local" and found.notes == ()
    # Beside a public one, too.
    route53.create_hosted_zone(Name="example.com", CallerReference="2")
    public = look(account, replace(given, hosted_zone="example.com")).zone
    assert public and (public.name, public.inner) == ("example.com", found.zone)
    # Whoever may not look gets no names, and no error.
    aws.emulator.control("fault", code="AccessDenied", status=403, action="GET /2013-04-01/hostedzonesbyname")
    assert look(account, given).zone is None
    aws.emulator.control("no_faults")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("AuthFailure", "must be enabled"),
        ("RequestExpired", "timedatectl"),
        ("UnauthorizedOperation", "docs/aws.md"),
    ],
)
def test_refusals_are_explained_at_every_call(
    aws: Aws, account: Account, theirs: Given, code: str, hint: str
) -> None:
    given = AwsSettings(vpc=theirs.vpc)
    aws.emulator.control("no_faults")
    for action in ("DescribeVpcs", "DescribeSubnets", "DescribeRouteTables", "DescribeAvailabilityZones"):
        aws.emulator.control("fault", code=code, status=403, message="no", action=action)
        with pytest.raises(OperationError, match=code) as raised:
            look(account, given)
        assert hint in str(raised.value.hint)


# --- without AWS ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        NOTHING,
        PRIVATE,
        AwsSettings(region="eu-west-1", hosted_zone="example.com."),
        AwsSettings(hosted_zone="Z0123456789ABC"),
        AwsSettings(vpc="vpc-0a1b2c3d", subnets=("subnet-0a1b2c3d",), security_group="sg-0a1b2c3d"),
    ],
)
def test_somewhere_is_right_in_form(given: AwsSettings) -> None:
    found = somewhere(given)
    options = replace(OPTIONS, region=given.region or "us-east-1")
    assert form_problems(release(), found.network, found.zone, options) == ()
    assert all(one.zone.startswith(options.region) for one in found.network.subnets)
    assert bool(found.zone) == (given.vpc is None)
    assert "only assumed" in found.notes[0]


def test_somewhere_keeps_what_was_given() -> None:
    given = AwsSettings(
        vpc="vpc-0a1b2c3d", subnets=("subnet-0a1b2c3d", "subnet-0a1b2c3e"), hosted_zone="A.org."
    )
    found = somewhere(given)
    assert found.network.vpc == given.vpc
    assert [one.id for one in found.network.subnets] == list(given.subnets)
    assert found.zone == Zone(NO_ZONE, "a.org", private=False)
    assert somewhere(PRIVATE).zone == Zone(NO_ZONE, "i2kit.internal", private=True)


def test_it_is_told_while_it_is_made(aws: Aws, account: Account) -> None:
    events: list[Event] = []
    made(account, NOTHING, events.append)
    assert any("VPC" in getattr(event, "title", "") for event in events)
    assert not [event for event in events if isinstance(event, Note)]
