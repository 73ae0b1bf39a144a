"""What an update would do, in words."""

from dataclasses import replace
from typing import Any

import pytest

from i2kit.model import Port, Release
from i2kit.providers.aws.design.difference import KINDS, difference, images
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.values import Options

from .releases import AMI, NETWORK, OPTIONS, PRIVATE_ZONE, release, service
from .templates import all_templates

NEXT_AMI = replace(AMI, id="ami-0fedcba9876543210", image="c" * 64, size_bytes=200 << 20)


def made(wanted: Release, options: Options = OPTIONS, **words: Any) -> dict[str, Any]:
    return template(wanted, words.get("ami", AMI), NETWORK, words.get("zone"), options)


def words(old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[str]:
    return [str(change) for change in difference(old, new)]


def test_nothing() -> None:
    assert difference(made(release()), made(release())) == ()
    assert images(made(release()), made(release())) == ()


def test_all_and_none() -> None:
    whole = made(release())
    assert [change.verb for change in difference(None, whole)] == ["add"] * len(whole["Resources"])
    assert [change.verb for change in difference(whole, None)] == ["remove"] * len(whole["Resources"])
    assert "add load balancer InternalApplicationLoadBalancer" in words(None, whole)


def test_what_is_retained_is_kept() -> None:
    whole = made(release())
    whole["Resources"]["LogGroup"]["DeletionPolicy"] = "Retain"
    assert "keep log group LogGroup" in words(whole, None)


def test_more_replicas() -> None:
    assert words(made(release()), made(release(replicas=4))) == [
        "change group of machines Group: 3 → 4 machines"
    ]


def test_how_many_at_a_time_shows_by_itself() -> None:
    old, new = made(release()), made(release())
    policy = new["Resources"]["Group"]["UpdatePolicy"]["AutoScalingInstanceRefresh"]
    policy["Preferences"]["MinHealthyPercentage"] = 50
    assert words(old, new) == ["change group of machines Group: updates: MinHealthyPercentage 100 → 50"]


def test_another_image_replaces_the_machines_a_few_at_a_time() -> None:
    assert words(made(release()), made(release(), ami=NEXT_AMI)) == [
        "change launch template LaunchTemplate: "
        "LaunchTemplateData.ImageId ami-0123456789abcdef0 → ami-0fedcba9876543210",
        "change group of machines Group: Tags.i2kit:image ami-0123456789abcdef0 → ami-0fedcba9876543210; "
        "all machines are replaced, with 100 to 134 % of them there at any time",
    ]


def test_what_is_told_to_machines_shows_by_line() -> None:
    near = (service("db", (5432, 5432, None)),)
    changes = words(made(release(), zone=PRIVATE_ZONE), made(release(neighbours=near), zone=PRIVATE_ZONE))
    assert changes[0] == (
        "change launch template LaunchTemplate: LaunchTemplateData.UserData with "
        "env=DB_SERVICE_HOST=db.i2kit.internal, LaunchTemplateData.UserData with env=DB_SERVICE_PORT=5432"
    )


def test_another_kind_of_load_balancer() -> None:
    changes = words(made(release()), made(release(ports=(Port(80, "tcp"),))))
    assert "add load balancer InternalNetworkLoadBalancer" in changes
    assert "remove load balancer InternalApplicationLoadBalancer" in changes
    assert not any(change.startswith("replace") for change in changes)


def test_what_cannot_change_in_place_is_replaced_and_so_is_what_hangs_on_it() -> None:
    old, new = made(release()), made(release())
    new["Resources"]["InternalApplicationLoadBalancer"]["Properties"]["Scheme"] = "internet-facing"
    assert words(old, new) == [
        "replace load balancer InternalApplicationLoadBalancer: Scheme internal → internet-facing",
        "replace listener InternalApplicationListener80: refers to InternalApplicationLoadBalancer",
        "change launch template LaunchTemplate: refers to InternalApplicationLoadBalancer",
    ]


def test_images() -> None:
    old, new = made(release()), made(release(), ami=NEXT_AMI)
    new["Metadata"]["i2kit"]["Containers"] = {"nginx": "nginx@sha256:dddd", "cache": "redis@sha256:eeee"}
    assert images(old, new) == (
        "machine image: aaaaaaaaaaaa, 188.7 MB → cccccccccccc, 209.7 MB",
        f"container nginx: docker.io/library/nginx@sha256:{'b' * 64} → nginx@sha256:dddd",
        "container cache: new, redis@sha256:eeee",
    )
    nginx = f"docker.io/library/nginx@sha256:{'b' * 64}"
    assert images(None, old) == (
        "machine image: new, aaaaaaaaaaaa, 188.7 MB",
        f"container nginx: new, {nginx}",
    )
    assert images(old, None) == (
        "machine image: gone, was aaaaaaaaaaaa, 188.7 MB",
        f"container nginx: gone, was {nginx}",
    )
    assert images(old, made(release(), ami=NEXT_AMI))[1] == f"container nginx: the same, {nginx}"


def test_of_a_list_only_what_comes_and_goes_is_said() -> None:
    """Its beginnings look the same, and its ends do not fit on a line."""
    old, new = made(release()), made(release())
    rules = new["Resources"]["InternalApplicationSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    cidr = rules[0]["CidrIp"]
    rules.append({**rules[0], "FromPort": 8080, "ToPort": 8080})
    (said,) = words(old, new)
    assert said.endswith(f": SecurityGroupIngress with tcp 8080 from {cidr}")
    (said,) = words(new, old)
    assert said.endswith(f": SecurityGroupIngress without tcp 8080 from {cidr}")


def test_every_type_in_our_templates_has_words() -> None:
    used = {one["Type"] for made in all_templates().values() for one in made["Resources"].values()}
    assert used == set(KINDS)


@pytest.mark.parametrize("type_", KINDS)
def test_what_cannot_change_in_place_is_as_in_the_schemas(type_: str) -> None:
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_).schema
    known = [path.removeprefix("/properties/") for path in schema.get("createOnlyProperties", ())]
    assert KINDS[type_].create_only == tuple(sorted(known))
