"""The shared network's template: golden files, what grows and what stays, and what is read back."""

import json
from typing import Any

import pytest

from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.place.network import (
    NO_VPC,
    best,
    network_of,
    network_template,
    not_made_yet,
    with_zone,
)
from i2kit.providers.aws.values import Zone
from tests.golden import check as golden

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"]
PLAIN = network_template(ZONES)
ONE = network_template(ZONES[:2], zone_name="i2kit.internal")
TWO = with_zone(ONE, "shop.internal")
TEMPLATES = {"network-plain": PLAIN, "network-zones": TWO}


@pytest.mark.parametrize("name", TEMPLATES)
def test_golden(name: str) -> None:
    golden(f"aws/{name}.json", json.dumps(TEMPLATES[name], indent=1) + "\n")


@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    config = ManualArgs(regions=["us-east-1", "eu-central-1"], include_checks=["I3011"])
    assert [str(match) for match in lint(dumps(TEMPLATES[name]), config=config)] == []


def test_a_zone_comes_to_what_there_is_once() -> None:
    assert with_zone(network_template(ZONES[:2]), "i2kit.internal") == ONE
    assert with_zone(TWO, "i2kit.internal") == with_zone(TWO, "shop.internal") == TWO
    for part in ("Resources", "Outputs"):
        assert ONE[part].items() < TWO[part].items()
    # What was given stays what it was.
    assert "Zone2" not in ONE["Resources"]


def outputs(made: dict[str, Any], *absent: str) -> dict[str, str]:
    return {id_: f"{id_}-1" for id_ in made["Outputs"] if id_ not in absent}


def test_of_several_zones_the_named_one_is_read_back() -> None:
    assert network_of(TWO, outputs(TWO), "shop.internal")[1] == Zone("Zone2-1", "shop.internal", private=True)
    assert network_of(TWO, outputs(TWO), "i2kit.internal")[1] == Zone(
        "Zone-1", "i2kit.internal", private=True
    )
    assert network_of(TWO, outputs(TWO), "example.com")[1] is None
    # While a zone is being added, the template has it and AWS does not.
    network, zone = network_of(TWO, outputs(TWO, "Zone2"), "shop.internal")
    assert (network.vpc, zone) == ("Vpc-1", None)


def test_what_is_not_made_yet_is_in_as_many_zones() -> None:
    network = not_made_yet(ZONES)
    assert network.vpc == NO_VPC
    assert [one.zone for one in network.subnets] == ZONES[:3]
    assert [one.zone for one in network_of(PLAIN, outputs(PLAIN))[0].subnets] == ZONES[:3]
    assert len({one.id for one in network.subnets}) == 3


def test_zones_with_what_is_common_come_first() -> None:
    assert best(ZONES, ZONES) == ["us-east-1a", "us-east-1b", "us-east-1c"]
    assert best(ZONES, ["us-east-1d", "us-east-1b"]) == ["us-east-1b", "us-east-1d", "us-east-1a"]
    assert best(ZONES[2:], []) == ["us-east-1c", "us-east-1d"]
