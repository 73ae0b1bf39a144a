"""The network that was given: subnets, a VPC, a security group, or some of these.

In: their ids. Out: a Network, or every Problem with what was given. `choose` decides and does no I/O,
`read` asks AWS and decides nothing. Changes nothing.

Sources: Amazon VPC user guide, "Subnet route tables" (the main one is for subnets without one of their
own) and "Subnets for your VPC"; Elastic Load Balancing, "Availability Zones".
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2kit.errors import Problem
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.design.parts import ANYWHERE
from i2kit.providers.aws.place.network import MAX_ZONES
from i2kit.providers.aws.values import Network, Subnet
from i2kit.settings import AwsSettings

Data = Mapping[str, Any]
"""What AWS describes, as it describes it."""

BALANCER_ADDRESSES = 8
"""What a load balancer needs free in each of its subnets."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What AWS says of what was given.

    `subnets` are the given ones, or all of the VPC; `routes` the VPC's tables; `zones` the ordinary zones
    of the region; `offering` those of them that have the instance types that are wanted, `types`.
    """

    subnets: Sequence[Data]
    group: Data | None
    vpc: Data | None
    routes: Sequence[Data]
    zones: Collection[str]
    offering: Collection[str]
    types: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Either a network or problems."""

    network: Network | None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def choose(given: AwsSettings, facts: Facts, region: str) -> Choice:
    """The network that is meant, with its subnets as they can be used."""
    vpc = meant(given, facts.subnets, facts.group)
    problems = (*_of_what_is_absent(given, facts, vpc, region), *_of_what_does_not_fit(given, facts, vpc))
    if problems or facts.vpc is None:
        return Choice(None, problems=problems)
    found = {one["SubnetId"]: one for one in facts.subnets}
    ways = {id_: _way_out(one, facts.routes) for id_, one in found.items()}
    ids = tuple(dict.fromkeys(given.subnets)) or _of_vpc(facts, ways)
    if not ids:
        return Choice(None, problems=(_no_subnet(facts),))
    subnets = tuple(Subnet(id_, found[id_]["AvailabilityZone"], ways[id_] == "internet") for id_ in ids)
    network = Network(facts.vpc["VpcId"], _cidrs(facts.vpc), subnets, given.security_group)
    return Choice(network, tuple(_notes(network, found, ways)))


def meant(given: AwsSettings, subnets: Sequence[Data], group: Data | None) -> str | None:
    """The id of the VPC that everything should be in."""
    if given.vpc:
        return given.vpc
    first = {one["SubnetId"]: one["VpcId"] for one in subnets}
    return next((first[id_] for id_ in given.subnets if id_ in first), group["VpcId"] if group else None)


def malformed(given: AwsSettings) -> Iterator[Problem]:
    """Ids that no call needs to be made for."""
    ids = [("a VPC", "vpc", given.vpc), ("a security group", "sg", given.security_group)]
    ids += [("a subnet", "subnet", id_) for id_ in given.subnets]
    for what, start, id_ in ids:
        if id_ is not None and not re.fullmatch(rf"{start}-[0-9a-f]{{8,17}}", id_):
            yield Problem(f"`{id_}` is not the id of {what}", hint=f"ids are such as {start}-0a1b2c3d")


# --- what AWS says ----------------------------------------------------------------------------


def read(
    account: Account,
    given: AwsSettings,
    zones: Collection[str],
    offering: Collection[str],
    types: Collection[str],
) -> Facts:
    """Ask for everything that is needed to judge what was given, absent things included."""
    with explained("looking for the given network"):
        subnets = _described(account, "subnets", "subnet-id", given.subnets)
        groups = _described(account, "security_groups", "group-id", filter(None, [given.security_group]))
        group = groups[0] if groups else None
        id_ = meant(given, subnets, group)
        vpcs = _described(account, "vpcs", "vpc-id", filter(None, [id_]))
        routes = _described(account, "route_tables", "vpc-id", filter(None, [id_]))
        if not given.subnets:
            subnets = _described(account, "subnets", "vpc-id", filter(None, [id_]))
    return Facts(subnets, group, vpcs[0] if vpcs else None, routes, zones, offering, types)


def _described(account: Account, kind: str, by: str, ids: Iterable[str]) -> list[Data]:
    """Of these ids what there is. A filter finds less than was asked for without an error."""
    values = sorted(set(ids))
    if not values:
        return []
    pages = account.ec2.get_paginator(f"describe_{kind}").paginate(Filters=[{"Name": by, "Values": values}])
    answer = "".join(word.capitalize() for word in kind.split("_"))
    return [one for page in pages for one in page[answer]]


# --- what is wrong with it --------------------------------------------------------------------


def _of_what_is_absent(given: AwsSettings, facts: Facts, vpc: str | None, region: str) -> Iterator[Problem]:
    here = f"in {region}, or this account may not use it"

    def absent(what: str, id_: str, command: str) -> Problem:
        return Problem(
            f"there is no {what} {id_} {here}",
            hint=f"see what there is: aws ec2 {command} --region {region}",
        )

    if given.subnets:
        there = {one["SubnetId"] for one in facts.subnets}
        for id_ in dict.fromkeys(given.subnets):
            if id_ not in there:
                yield absent("subnet", id_, "describe-subnets")
    if given.security_group and facts.group is None:
        yield absent("security group", given.security_group, "describe-security-groups")
    if vpc and facts.vpc is None:
        yield absent("VPC", vpc, "describe-vpcs")


def _of_what_does_not_fit(given: AwsSettings, facts: Facts, vpc: str | None) -> Iterator[Problem]:
    if facts.group and facts.group["VpcId"] != vpc:
        yield Problem(
            f"the security group {given.security_group} is in {facts.group['VpcId']}, and not in {vpc}",
            hint="give one of the same VPC, or none: then load balancers get their own",
        )
    for one in facts.subnets if given.subnets else ():
        id_, zone = one["SubnetId"], one["AvailabilityZone"]
        if one["VpcId"] != vpc:
            yield Problem(
                f"the subnet {id_} is in {one['VpcId']}, and not in {vpc}",
                hint="give subnets of one VPC, and its id or none",
            )
        elif reason := _unusual(one, facts.zones):
            yield Problem(
                f"the subnet {id_} is {reason}: load balancers and common instance types are not to be had "
                "there",
                hint="give subnets in ordinary availability zones",
            )
        elif zone not in facts.offering:
            yield Problem(
                f"the subnet {id_} is in {zone}, which does not have {' and '.join(sorted(facts.types))}",
                hint="leave that subnet out, or name another type with I2KIT_INSTANCE_TYPE",
            )


def _unusual(subnet: Data, zones: Collection[str]) -> str | None:
    if subnet.get("OutpostArn"):
        return "on an Outpost"
    if subnet["AvailabilityZone"] not in zones:
        return f"in {subnet['AvailabilityZone']}, a Local Zone or Wavelength Zone"
    return "for IPv6 only" if subnet.get("Ipv6Native") else None


def _no_subnet(facts: Facts) -> Problem:
    assert facts.vpc
    vpc = facts.vpc["VpcId"]
    if facts.subnets:
        return Problem(
            f"no subnet of {vpc} is in an ordinary availability zone that has the instance type",
            hint="make one there, or name another type with I2KIT_INSTANCE_TYPE",
        )
    return Problem(
        f"there is no subnet in {vpc} to deploy to",
        hint="make one, or name those of another VPC: I2KIT_SUBNET",
    )


# --- which subnets ----------------------------------------------------------------------------


def _way_out(subnet: Data, tables: Sequence[Data]) -> str | None:
    """How its traffic leaves: `internet` directly, `nat` by way of something else, None not at all."""
    main: Data | None = None
    own: Data | None = None
    for table in tables:
        for association in table.get("Associations", ()):
            if association.get("Main") and table.get("VpcId") == subnet["VpcId"]:
                main = table
            if association.get("SubnetId") == subnet["SubnetId"]:
                own = table
    for route in (own or main or {}).get("Routes", ()):
        if route.get("DestinationCidrBlock") == ANYWHERE and route.get("State") != "blackhole":
            return "internet" if route.get("GatewayId", "").startswith("igw-") else "nat"
    return None


def _of_vpc(facts: Facts, ways: Mapping[str, str | None]) -> tuple[str, ...]:
    """Of a VPC's subnets one public and one private of each zone, as far as both have a way out.

    Load balancers reach machines only in zones that they are in themselves: where not all zones have
    both sorts, machines are rather in more zones than in private subnets. The choice is the same each
    time: AWS's default subnet first, then by id.
    """
    usable = [
        one
        for one in facts.subnets
        if not _unusual(one, facts.zones) and one["AvailabilityZone"] in facts.offering
    ]
    by_way: dict[str | None, dict[str, str]] = {"internet": {}, "nat": {}, None: {}}
    for one in sorted(usable, key=lambda one: (not one.get("DefaultForAz"), one["SubnetId"])):
        by_way[ways[one["SubnetId"]]].setdefault(one["AvailabilityZone"], one["SubnetId"])
    public, private = by_way["internet"], by_way["nat"]
    both = public.keys() & private.keys()
    if both and len(both) >= min(2, len(public)):
        return tuple(ids[zone] for zone in sorted(both)[:MAX_ZONES] for ids in (public, private))
    ids = public or private or by_way[None]
    return tuple(ids[zone] for zone in sorted(ids)[:MAX_ZONES])


def _cidrs(vpc: Data) -> tuple[str, ...]:
    ranges = [
        one["CidrBlock"]
        for one in vpc.get("CidrBlockAssociationSet", ())
        if one["CidrBlockState"]["State"] == "associated"
    ]
    return tuple(ranges) or (vpc["CidrBlock"],)


def _notes(network: Network, found: Mapping[str, Data], ways: Mapping[str, str | None]) -> Iterator[str]:
    for subnet in network.subnets:
        free = found[subnet.id].get("AvailableIpAddressCount", BALANCER_ADDRESSES)
        if free < BALANCER_ADDRESSES:
            yield (
                f"the subnet {subnet.id} has {free} free addresses: a new load balancer needs "
                f"{BALANCER_ADDRESSES}"
            )
        if ways[subnet.id] is None:
            yield (
                f"the subnet {subnet.id} has no way out: machines there cannot write their logs, unless the "
                "VPC has an endpoint for CloudWatch Logs"
            )
