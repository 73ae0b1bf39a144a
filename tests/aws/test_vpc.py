"""Which subnets are meant by what was given, and what is wrong with it: from AWS's answers alone."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from i2kit.providers.aws.place.vpc import Choice, Facts, choose, malformed
from i2kit.providers.aws.values import Network, Subnet
from i2kit.settings import AwsSettings

VPC, OTHER = "vpc-00000001", "vpc-00000002"
GROUP = "sg-00000001"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d")


def id_(number: int) -> str:
    return f"subnet-{number:08x}"


def subnet(number: int, zone: str, vpc: str = VPC, **words: object) -> Mapping[str, Any]:
    return {"SubnetId": id_(number), "AvailabilityZone": f"us-east-1{zone}", "VpcId": vpc, **words}


def table(*subnets: int, to: str | None, main: bool = False, **words: str) -> Mapping[str, Any]:
    """A route table for these subnets, with a way out by `to`."""
    by = "GatewayId" if to and to.startswith("igw") else "NatGatewayId"
    routes: list[Mapping[str, Any]] = [{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}]
    if to:
        routes.append({"DestinationCidrBlock": "0.0.0.0/0", by: to, "State": "active", **words})
    associations = [{"SubnetId": id_(number)} for number in subnets]
    return {
        "VpcId": VPC,
        "Associations": [*associations, *([{"Main": True}] if main else [])],
        "Routes": routes,
    }


def chosen(
    given: AwsSettings,
    subnets: Sequence[Mapping[str, Any]],
    *tables: Mapping[str, Any],
    group: str | None = None,
    vpc: str | None = VPC,
    offering: Collection[str] = ZONES,
) -> Choice:
    ranges = [
        {"CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "associated"}},
        {"CidrBlock": "10.9.0.0/16", "CidrBlockState": {"State": "disassociated"}},
    ]
    facts = Facts(
        subnets,
        {"GroupId": given.security_group, "VpcId": group} if group else None,
        {"VpcId": vpc, "CidrBlock": "10.0.0.0/16", "CidrBlockAssociationSet": ranges} if vpc else None,
        tables,
        ZONES,
        offering,
        [given.instance_type or "t3.nano"],
    )
    return choose(given, facts, "us-east-1")


def ids(choice: Choice) -> list[tuple[str, bool]]:
    assert choice.network, choice.problems
    return [(one.id, one.public) for one in choice.network.subnets]


PUBLIC = table(to="igw-1", main=True)


def test_given_subnets_are_taken_in_their_order_and_once() -> None:
    given = AwsSettings(subnets=(id_(2), id_(1), id_(2)), security_group=GROUP)
    found = chosen(given, [subnet(1, "a"), subnet(2, "b")], PUBLIC, group=VPC)
    assert found.network == Network(
        VPC,
        ("10.0.0.0/16",),
        (Subnet(id_(2), "us-east-1b"), Subnet(id_(1), "us-east-1a")),
        GROUP,
    )
    assert (found.notes, found.problems) == ((), ())


def test_a_subnet_has_the_way_of_its_own_table_else_of_the_main_one() -> None:
    given = AwsSettings(subnets=tuple(map(id_, (1, 2, 3, 4))))
    subnets = [subnet(number, zone) for number, zone in zip((1, 2, 3, 4), "abcd", strict=True)]
    gone = table(4, to="igw-2", State="blackhole")
    found = chosen(
        given, subnets, table(1, to="igw-1"), table(3, to=None), gone, table(to="nat-1", main=True)
    )
    assert ids(found) == [(id_(1), True), (id_(2), False), (id_(3), False), (id_(4), False)]
    assert [note.partition(":")[0] for note in found.notes] == [
        f"the subnet {id_(3)} has no way out",
        f"the subnet {id_(4)} has no way out",
    ]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    given = AwsSettings(
        subnets=tuple(map(id_, (1, 2, 3, 4, 5, 6))),
        vpc=VPC,
        security_group=GROUP,
        instance_type="p5.48xlarge",
    )
    subnets = [
        subnet(1, "a"),
        subnet(2, "b", OTHER),
        subnet(3, "-bos-1a"),
        subnet(4, "b", OutpostArn="arn:aws:outposts:us-east-1:123456789012:outpost/op-1"),
        subnet(5, "c"),
    ]
    found = chosen(given, subnets, PUBLIC, group=OTHER, offering=["us-east-1a"])
    assert found.network is None
    assert [problem.message for problem in found.problems] == [
        f"there is no subnet {id_(6)} in us-east-1, or this account may not use it",
        f"the security group {GROUP} is in {OTHER}, and not in {VPC}",
        f"the subnet {id_(2)} is in {OTHER}, and not in {VPC}",
        f"the subnet {id_(3)} is in us-east-1-bos-1a, a Local Zone or Wavelength Zone: load balancers and "
        "common instance types are not to be had there",
        f"the subnet {id_(4)} is on an Outpost: load balancers and common instance types are not to be had "
        "there",
        f"the subnet {id_(5)} is in us-east-1c, which does not have p5.48xlarge",
    ]
    assert all(problem.hint for problem in found.problems)


def test_subnets_of_two_vpcs_do_not_fit_together() -> None:
    given = AwsSettings(subnets=(id_(1), id_(2)))
    found = chosen(given, [subnet(2, "b", OTHER), subnet(1, "a")], PUBLIC)
    assert [problem.message for problem in found.problems] == [
        f"the subnet {id_(2)} is in {OTHER}, and not in {VPC}"
    ]


def test_what_is_absent_is_said_with_the_command_that_lists_what_there_is() -> None:
    given = AwsSettings(vpc=VPC, security_group=GROUP)
    found = chosen(given, [], vpc=None)
    assert [problem.message.split(" in ")[0] for problem in found.problems] == [
        f"there is no security group {GROUP}",
        f"there is no VPC {VPC}",
    ]
    assert "aws ec2 describe-vpcs --region us-east-1" in str(found.problems[1].hint)


def test_of_a_vpc_one_subnet_of_each_zone_is_taken() -> None:
    subnets = [
        subnet(9, "a", DefaultForAz=True),
        *(subnet(1, "a"), subnet(3, "b"), subnet(2, "b"), subnet(4, "c"), subnet(5, "d")),
        subnet(6, "-bos-1a"),
    ]
    found = chosen(AwsSettings(vpc=VPC), subnets, PUBLIC)
    assert ids(found) == [(id_(9), True), (id_(2), True), (id_(4), True)]
    found = chosen(AwsSettings(vpc=VPC), subnets, PUBLIC, offering=["us-east-1b", "us-east-1d"])
    assert ids(found) == [(id_(2), True), (id_(5), True)]


def test_of_a_vpc_machines_get_private_subnets_where_load_balancers_reach_them() -> None:
    vpc = AwsSettings(security_group=GROUP)
    subnets = [
        subnet(1, "a"),
        subnet(2, "b"),
        subnet(3, "c"),
        subnet(11, "a"),
        subnet(12, "b"),
        subnet(14, "d"),
    ]
    private = table(11, 12, 14, to="nat-1")
    found = chosen(vpc, subnets, private, PUBLIC, group=VPC)
    assert ids(found) == [(id_(1), True), (id_(11), False), (id_(2), True), (id_(12), False)]
    # With one zone of both sorts there would be no application load balancer.
    found = chosen(vpc, subnets, table(11, 14, to="nat-1"), table(12, to=None), PUBLIC, group=VPC)
    assert ids(found) == [(id_(1), True), (id_(2), True), (id_(3), True)]
    # Machines without a way out are the last resort.
    found = chosen(vpc, subnets[3:], private, table(to=None, main=True), group=VPC)
    assert ids(found) == [(id_(11), False), (id_(12), False), (id_(14), False)]
    found = chosen(vpc, subnets[:2], table(to=None, main=True), group=VPC)
    assert ids(found) == [(id_(1), False), (id_(2), False)]
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("subnets", "said"),
    [
        ([], f"there is no subnet in {VPC} to deploy to"),
        ([subnet(1, "-bos-1a")], f"no subnet of {VPC} is in an ordinary availability zone"),
    ],
)
def test_a_vpc_without_a_subnet_to_use(subnets: Sequence[Mapping[str, Any]], said: str) -> None:
    found = chosen(AwsSettings(vpc=VPC), subnets, PUBLIC)
    assert found.problems[0].message.startswith(said)
    assert found.problems[0].hint


def test_full_subnets_are_noted() -> None:
    found = chosen(AwsSettings(subnets=(id_(1),)), [subnet(1, "a", AvailableIpAddressCount=3)], PUBLIC)
    assert found.notes == (f"the subnet {id_(1)} has 3 free addresses: a new load balancer needs 8",)


def test_ids_of_the_wrong_form() -> None:
    given = AwsSettings(vpc="10.0.0.0/16", subnets=(id_(1), "mine"), security_group="default")
    assert [problem.message for problem in malformed(given)] == [
        "`10.0.0.0/16` is not the id of a VPC",
        "`default` is not the id of a security group",
        "`mine` is not the id of a subnet",
    ]
