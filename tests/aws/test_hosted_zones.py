"""Which hosted zone is meant by a name or an id, and what is said where none is."""

from typing import Any

import pytest

from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.place.hosted_zones import Candidate, Choice, choose, malformed, read
from i2kit.providers.aws.place.network import NO_ZONE, not_made_yet
from i2kit.providers.aws.values import Network, Zone

from .conftest import REGION, Aws

OURS = "vpc-00000001"
NETWORK = Network(OURS, ("10.0.0.0/16",), ())
PUBLIC = Candidate("ZPUBLIC", "example.com", private=False)
HERE = Candidate("ZHERE", "example.com", private=True, vpcs=((OURS, REGION),))
THERE = Candidate("ZTHERE", "example.com", private=True, vpcs=(("vpc-00000002", REGION),))
ABROAD = Candidate("ZABROAD", "i2kit.internal", private=True, vpcs=(("vpc-00000003", "eu-west-1"),))


def chosen(
    given: str,
    *candidates: Candidate,
    network: Network = NETWORK,
    ours: bool = False,
    others: tuple[str, ...] = (),
) -> Choice:
    return choose(given, candidates, others, network, REGION, ours=ours)


def of(one: Candidate) -> Zone:
    return Zone(one.id, one.name, one.private)


def test_the_only_one_is_taken() -> None:
    assert chosen("example.com.", PUBLIC) == Choice(of(PUBLIC))
    assert chosen("ZHERE", HERE) == Choice(of(HERE))


def test_of_two_the_private_one_counts_where_it_answers() -> None:
    found = chosen("example.com", THERE, HERE, PUBLIC)
    assert found.zone == of(HERE)
    assert "not in the public one" in found.notes[0]
    found = chosen("example.com", THERE, PUBLIC)
    assert found.zone == of(PUBLIC)
    assert "does not answer in this network" in found.notes[0]


def test_a_private_zone_that_does_not_answer_here_comes_with_the_command_that_changes_it() -> None:
    found = chosen("example.com", THERE)
    assert found.zone is None and found.problem
    assert "answers in vpc-00000002 (us-east-1) only" in found.problem.message
    assert (
        "aws route53 associate-vpc-with-hosted-zone --hosted-zone-id ZTHERE "
        f"--vpc VPCRegion={REGION},VPCId={OURS}" in str(found.problem.hint)
    )
    # A network that is not made yet cannot be associated with anything.
    found = chosen("example.com", THERE, network=not_made_yet(["us-east-1a"]), ours=True)
    assert found.problem and "I2KIT_VPC=vpc-00000002" in str(found.problem.hint)


def test_a_name_for_private_use_is_made_for_the_shared_network_only() -> None:
    found = chosen("I2kit.Internal.", ours=True)
    assert found.zone == Zone(NO_ZONE, "i2kit.internal", private=True)
    assert "$0.50 a month" in found.notes[0]
    # That of another region's network does not answer in this one.
    assert chosen("i2kit.internal", ABROAD, ours=True).zone == found.zone
    found = chosen("i2kit.internal")
    assert found.problem and "aws route53 create-hosted-zone --name i2kit.internal" in str(found.problem.hint)


def test_several_public_ones_have_to_be_told_apart() -> None:
    found = chosen("example.com", PUBLIC, Candidate("ZSECOND", "example.com", private=False))
    assert found.problem and found.problem.hint == "name one by id: ZPUBLIC or ZSECOND"


def test_a_zone_that_is_not_ours_is_answered_with_those_that_are() -> None:
    others = tuple(f"{letter}.org" for letter in "lkjihgfedcba")
    found = chosen("i2kit.com", others=others)
    assert found.problem and found.problem.message == "there is no hosted zone `i2kit.com` in this account"
    assert "a.org, b.org, c.org, d.org, e.org, f.org, g.org, h.org, i.org, j.org and 2 more" in str(
        found.problem.hint
    )
    found = chosen("Z0123456789", ours=True)
    assert found.problem and "there is none at all" in str(found.problem.hint)


@pytest.mark.parametrize("given", ["com", "exa mple.com", "-", "https://example.com", "z123.", "a..b"])
def test_what_is_no_name(given: str) -> None:
    assert malformed(given)


@pytest.mark.parametrize(
    "given", ["i2kit.com.", "EXAMPLE.com", "Z0123456789ABCDEFGHIJ", "/hostedzone/Z123456"]
)
def test_what_is_one(given: str) -> None:
    assert malformed(given) is None


def make(aws: Aws, name: str, reference: str, **words: Any) -> str:
    route53 = aws.client("route53")
    found: str = route53.create_hosted_zone(Name=name, CallerReference=reference, **words)["HostedZone"]["Id"]
    return found.removeprefix("/hostedzone/")


def test_zones_are_found_by_name_and_by_id(aws: Aws) -> None:
    account = Account(connect())
    vpc = {"VPCRegion": REGION, "VPCId": "vpc-00000009"}
    public, private = make(aws, "example.com", "1"), make(aws, "example.com", "2", VPC=vpc)
    for name in ("sub.example.com", "example.co", "zzz.com", "aaa.com"):
        make(aws, name, name)
    expected = {
        Candidate(public, "example.com", private=False),
        Candidate(private, "example.com", private=True, vpcs=(("vpc-00000009", REGION),)),
    }
    found, others = read(account, "Example.com.")
    assert (set(found), others) == (expected, ())
    for id_ in (private, f"/hostedzone/{public}"):
        assert set(read(account, id_)[0]) <= expected
    found, others = read(account, "example.org")
    assert found == ()
    assert sorted(others) == [
        "aaa.com", "example.co", "example.com", "example.com", "sub.example.com", "zzz.com"
    ]  # fmt: skip
    assert read(account, "Z0000000000")[0] == ()


def test_zones_of_one_name_may_be_more_than_a_page(aws: Aws) -> None:
    vpc = {"VPCRegion": REGION, "VPCId": "vpc-00000009"}
    made = {make(aws, "i2kit.internal", str(number), VPC=vpc) for number in range(101)}
    found, _ = read(Account(connect()), "i2kit.internal")
    assert {one.id for one in found} == made
