"""The hosted zone that was named: which of those that Route 53 has is meant.

In: a name or an id, and the VPC. Out: a Zone, or what is wrong. `choose` decides and does no I/O, `read`
asks AWS and decides nothing. Changes nothing, and asks nobody whether a domain is delegated to its zone.

Source: Amazon Route 53 developer guide, "Working with private hosted zones".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from i2kit.errors import Problem
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import DENIED, code, explained
from i2kit.providers.aws.design.names import CLUSTER
from i2kit.providers.aws.place.network import NO_VPC, NO_ZONE
from i2kit.providers.aws.values import Network, Zone

PRIVATE_SUFFIX = ".internal"
"""ICANN keeps it free for private use (2024): a zone of such a name is made where there is none."""
SHOWN = 10

_ID = re.compile(r"(?:/hostedzone/)?(Z[0-9A-Z]{5,31})")
_NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A zone of that name or id. `vpcs` are those that a private one answers in, as (id, region)."""

    id: str
    name: str
    private: bool
    vpcs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A zone, or a problem. A zone that has to be made yet has the id NO_ZONE."""

    zone: Zone | None
    notes: tuple[str, ...] = ()
    problem: Problem | None = None


def plain(given: str) -> str:
    """An id without its path, or a name in lower case without a dot at its end."""
    match = _ID.fullmatch(given)
    return match[1] if match else given.strip().lower().rstrip(".")


def is_id(given: str) -> bool:
    return bool(_ID.fullmatch(given))


def is_ours(name: str) -> bool:
    """Whether a zone of this name is made in the shared network; one has the names of Kubernetes."""
    return name == CLUSTER or name.endswith(PRIVATE_SUFFIX)


def malformed(given: str) -> Problem | None:
    if is_id(given) or _NAME.fullmatch(plain(given)):
        return None
    return Problem(
        f"`{given}` is not the name of a hosted zone", hint="such as example.com or i2kit.internal"
    )


def choose(
    given: str,
    candidates: Sequence[Candidate],
    others: Sequence[str],
    network: Network,
    region: str,
    *,
    ours: bool,
) -> Choice:
    """The private zone that answers in the VPC, else the public one.

    `others` are the names of the zones that there are; `ours`: the network is the shared one, which may
    have a private zone made for it.
    """
    private = [one for one in candidates if one.private and network.vpc in [vpc for vpc, _ in one.vpcs]]
    public = [one for one in candidates if not one.private]
    apart = [one for one in candidates if one.private and one not in private]
    name = candidates[0].name if candidates else plain(given)
    if len(public) > 1 and not private:
        ids = " or ".join(one.id for one in public)
        problem = Problem(
            f"there are {len(public)} public hosted zones {name}", hint=f"name one by id: {ids}"
        )
        return Choice(None, problem=problem)
    if private or public:
        return Choice(_zone((private or public)[0]), _note(name, private, public, apart, network))
    if ours and not is_id(given) and is_ours(name):
        note = f"the private hosted zone {name} is to be made in the shared network: $0.50 a month"
        return Choice(Zone(NO_ZONE, name, private=True), (note,))
    if apart:
        return Choice(None, problem=_not_associated(apart[0], network, region))
    return Choice(None, problem=_absent(given, others, network, region))


def _zone(one: Candidate) -> Zone:
    return Zone(one.id, one.name, one.private)


def _note(
    name: str,
    private: Sequence[Candidate],
    public: Sequence[Candidate],
    apart: Sequence[Candidate],
    network: Network,
) -> tuple[str, ...]:
    """Which one it is, where several have that name."""
    if private and public:
        return (
            f"names are in the private hosted zone {name}, which {network.vpc} has; not in the public one",
        )
    if public and apart:
        return (
            f"names are in the public hosted zone {name}: the private one does not answer in this network",
        )
    return ()


def _not_associated(zone: Candidate, network: Network, region: str) -> Problem:
    where = ", ".join(f"{vpc} ({place})" for vpc, place in zone.vpcs) or "no VPC"
    message = f"the hosted zone {zone.name} ({zone.id}) is private and answers in {where} only"
    near = [vpc for vpc, place in zone.vpcs if place == region]
    if network.vpc == NO_VPC:
        there = f"I2KIT_VPC={near[0]}" if near else "I2KIT_VPC, in that region"
        return Problem(
            message, hint=f"deploy there with {there}, or name a zone that ends in {PRIVATE_SUFFIX}"
        )
    return Problem(
        message,
        hint=f"have it answer here: aws route53 associate-vpc-with-hosted-zone --hosted-zone-id {zone.id} "
        f"--vpc VPCRegion={region},VPCId={network.vpc}",
    )


def _absent(given: str, others: Sequence[str], network: Network, region: str) -> Problem:
    message = f"there is no hosted zone `{given}` in this account"
    if not is_id(given) and is_ours(plain(given)):
        # Not made in a VPC that is not ours: nothing would ever remove it.
        return Problem(
            message,
            hint=f"make it: aws route53 create-hosted-zone --name {plain(given)} "
            f"--vpc VPCRegion={region},VPCId={network.vpc} --caller-reference i2kit-{network.vpc}",
        )
    shown = sorted(set(others))
    if not shown:
        there = "there is none at all: leave I2KIT_HOSTED_ZONE out, and load balancers keep their own names"
    else:
        more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
        there = f"those that are there: {', '.join(shown[:SHOWN])}{more}"
    return Problem(
        message, hint=f"{there}; a name that ends in {PRIVATE_SUFFIX} is made for the shared network"
    )


# --- what AWS says ----------------------------------------------------------------------------


def read(account: Account, given: str) -> tuple[Sequence[Candidate], Sequence[str]]:
    """The zones of that name or id; and, where there are none, the names of all."""
    with explained(f"looking for the hosted zone {given}"):
        found = _by_id(account, plain(given)) if is_id(given) else _by_name(account, plain(given))
        if found:
            return found, ()
        pages = account.route53.get_paginator("list_hosted_zones").paginate()
        return (), [plain(one["Name"]) for page in pages for one in page["HostedZones"]]


def _by_id(account: Account, id_: str) -> list[Candidate]:
    try:
        return [_candidate(account.route53.get_hosted_zone(Id=id_))]
    except ClientError as error:
        if code(error) in ("NoSuchHostedZone", "InvalidInput"):
            return []
        raise


def _by_name(account: Account, name: str) -> list[Candidate]:
    """AWS lists from that name on: the zones of that name come first, whatever their number."""
    found: list[Candidate] = []
    words: dict[str, str] = {"DNSName": name}
    while words:
        page = account.route53.list_hosted_zones_by_name(**words)
        same = [one for one in page["HostedZones"] if plain(one["Name"]) == name]
        for one in same:
            private = one["Config"]["PrivateZone"]
            whole = account.route53.get_hosted_zone(Id=one["Id"]) if private else {"HostedZone": one}
            found.append(_candidate(whole))
        more = page.get("IsTruncated") and len(same) == len(page["HostedZones"])
        words = {"DNSName": page["NextDNSName"], "HostedZoneId": page["NextHostedZoneId"]} if more else {}
    return found


def _candidate(answer: Mapping[str, Any]) -> Candidate:
    zone = answer["HostedZone"]
    vpcs = tuple((one["VPCId"], one["VPCRegion"]) for one in answer.get("VPCs") or ())
    return Candidate(plain(zone["Id"]), plain(zone["Name"]), bool(zone["Config"]["PrivateZone"]), vpcs)


def names_work(account: Account, vpc: str) -> Problem | None:
    """Whether a VPC looks names up in private zones: two attributes of it must be on."""
    off = []
    with explained(f"looking at {vpc}"):
        for attribute in ("enableDnsSupport", "enableDnsHostnames"):
            try:
                answer = account.ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)
            except ClientError as error:
                if code(error) in DENIED:
                    return None
                raise
            if not answer[attribute[0].upper() + attribute[1:]]["Value"]:
                off.append(attribute)
    if not off:
        return None
    flags = {"enableDnsSupport": "--enable-dns-support", "enableDnsHostnames": "--enable-dns-hostnames"}
    commands = [f"aws ec2 modify-vpc-attribute --vpc-id {vpc} {flags[one]}" for one in off]
    return Problem(
        f"{vpc} does not look names up in private hosted zones: {' and '.join(off)} must be on",
        hint="; ".join(commands),
    )
