"""Volumes and numbered machines on the emulator: made once, found again, never in two places."""
# ruff: noqa: F401, F811 (fixtures)

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from i2kit.errors import FirstDeployError, InputError, OperationError
from i2kit.events import ignore
from i2kit.model import Claim, Release, Scratch, Volume
from i2kit.providers import Rollback, Scale
from i2kit.providers.aws.design import volumes
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.design.volumes import NEW, decide
from i2kit.providers.aws.values import Ebs, stack_name
from tests.aws.conftest import Aws

from .releases import AMI, NETWORK, OPTIONS, release
from .test_provider import WEB, Make, built, deployed, do, left, make, plan
from .test_secrets import template as stack_template

GIB = 1 << 30
DATA = Volume("data", Claim("data", 2 * GIB - 1))
EACH = Volume("data", Claim("data", 2 * GIB, each=True))


def there(aws: Aws) -> dict[str, dict[str, Any]]:
    """Volumes by their claims."""
    found = {}
    for one in aws.client("ec2").describe_volumes()["Volumes"]:
        tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
        if "i2kit:claim" in tags:
            found[tags["i2kit:claim"]] = {**one, "tags": tags}
    return found


def told(made: dict[str, Any], id_: str = "LaunchTemplate") -> list[str]:
    text = made["Resources"][id_]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
    return (text if isinstance(text, str) else text["Fn::Sub"]).splitlines()


def subnets(made: dict[str, Any], id_: str = "Group") -> list[str]:
    found: list[str] = made["Resources"][id_]["Properties"]["VPCZoneIdentifier"]
    return found


# --- deciding ---------------------------------------------------------------------------------


def test_new_volumes_are_spread_over_zones_and_those_that_are_there_stay() -> None:
    workload = release("db", replicas=3, stateful=True, volumes=(EACH,)).workload
    made = decide(workload, NETWORK, {"data-db-0": Ebs("data-db-0", "vol-1", "us-east-1b", 2)})
    assert [(one.claim, one.id, one.zone, one.gib) for one in made.kept] == [
        ("data-db-0", "vol-1", "us-east-1b", 2),
        ("data-db-1", NEW, "us-east-1b", 2),
        ("data-db-2", NEW, "us-east-1a", 2),
    ]
    assert [one.claim for one in made.made] == ["data-db-1", "data-db-2"]
    assert (made.grown, made.problems) == ((), ())


def test_volumes_grow_and_do_not_shrink() -> None:
    workload = release(replicas=1, volumes=(DATA,)).workload
    small, large = Ebs("data", "vol-1", "us-east-1a", 1), Ebs("data", "vol-1", "us-east-1a", 9)
    grown = decide(workload, NETWORK, {"data": small})
    assert (grown.grown, grown.kept) == ((small,), (replace(small, gib=2),))
    same = decide(workload, NETWORK, {"data": large})
    assert (same.grown, same.kept) == ((), (large,))
    assert same.notes == ("the volume of the claim data has 9 GiB: it does not shrink to 2",)


def test_a_volume_of_another_zone_or_of_two_is_a_problem() -> None:
    two = (DATA, Volume("more", Claim("more", GIB)))
    workload = release(replicas=1, volumes=two).workload
    far = {"data": Ebs("data", "vol-1", "us-east-1c", 2)}
    (problem,) = decide(workload, NETWORK, far).problems
    assert "is in us-east-1c, where no subnet is given" in problem.message
    apart = {"data": Ebs("data", "vol-1", "us-east-1a", 2), "more": Ebs("more", "vol-2", "us-east-1b", 2)}
    (problem,) = decide(workload, NETWORK, apart).problems
    assert "in several zones: data (vol-1) in us-east-1a, more (vol-2) in us-east-1b" in problem.message
    named = release(replicas=1, volumes=(Volume("data", Claim("data", GIB, source="vol-9")),)).workload
    (problem,) = decide(named, NETWORK, {}).problems
    assert problem.message == "deployment `web`: there is no volume vol-9"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"replicas": 2, "volumes": (DATA,)}, "2 replicas cannot share the claim `data`"),
        ({"replicas": 2, "volumes": (DATA,), "stateful": True}, "2 replicas cannot share the claim `data`"),
        (
            {"replicas": 1, "volumes": (Volume("data", Claim("data", 17000 * GIB, kind="gp2")),)},
            "the claim `data` asks for 17,000 GiB, and a volume of type gp2 has at most 16,384",
        ),
        (
            {"replicas": 1, "volumes": (Volume("data", Claim("data", GIB, source="disk")),)},
            "`disk` is not the id of a volume of EBS",
        ),
        (
            {"replicas": 1, "volumes": tuple(Volume(f"v{n}", Claim(f"c{n}", GIB)) for n in range(12))},
            "12 claims: a machine has 11 volumes at most",
        ),
    ],
)
def test_what_cannot_be_is_a_problem(words: dict[str, Any], message: str) -> None:
    (problem,) = volumes.problems(release(**words).workload)
    assert message in problem.message


def test_types_and_sizes() -> None:
    kinds = ("standard", "io2", "st1", "fast", None)
    mine = tuple(Volume(str(kind), Claim(str(kind), GIB, kind=kind)) for kind in kinds)
    workload = release(replicas=1, volumes=mine).workload
    found = [(disk.type, disk.gib) for disk in volumes.disks(workload)]
    assert found == [("gp3", 1), ("io2", 4), ("st1", 125), ("gp3", 1), ("gp3", 1)]
    assert volumes.iops("io2", 4) == {"Iops": 2000}
    assert decide(workload, NETWORK, {}).notes == tuple(
        f"the storage class {kind} is not known on AWS: new volumes of {kind} are gp3"
        for kind in ("standard", "fast")
    )


def test_numbered_machines_have_a_group_each_that_follow_one_another() -> None:
    made = template(release("db", replicas=2, stateful=True, volumes=(EACH,)), AMI, NETWORK, None, OPTIONS)
    groups = {id_: one for id_, one in made["Resources"].items() if id_.startswith("Group")}
    assert list(groups) == ["Group0", "Group1"]
    assert "Group1" in groups["Group0"]["DependsOn"]
    assert "Group0" not in groups["Group1"].get("DependsOn", ())
    for number, one in enumerate(groups.values()):
        assert one["Properties"]["MinSize"] == one["Properties"]["MaxSize"] == "1"
        assert one["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"] == {
            "MinHealthyPercentage": 0,
            "MaxHealthyPercentage": 100,
            "SkipMatching": True,
        }
        lines = told(made, f"LaunchTemplate{number}")
        assert {f"hostname=db-{number}", "stable=1", f"attach=data={NEW}"} <= set(lines)
    assert [subnets(made, id_) for id_ in groups] == [[NETWORK.subnets[0].id], [NETWORK.subnets[1].id]]


def test_scratch_is_a_disk_of_the_machine() -> None:
    mine = (
        Volume("tmp", Scratch(limit_bytes=3 * GIB // 2)),
        Volume("more", Scratch()),
        Volume("fast", Scratch(memory=True)),
    )
    made = template(release(volumes=mine), AMI, NETWORK, None, OPTIONS)
    data = made["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    assert data["BlockDeviceMappings"][1] == {
        "DeviceName": "/dev/xvdb",
        "Ebs": {"VolumeSize": 3, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
    }
    assert "scratch=blank" in told(made)
    assert subnets(made) == [one.id for one in NETWORK.subnets]


# --- with an account --------------------------------------------------------------------------


def test_a_volume_outlives_its_deployment_and_is_found_again(
    make: Make, aws: Aws, built: Callable[..., Release]
) -> None:
    provider = make()
    wanted = built("a", replicas=1, volumes=(DATA,))
    actions = {one.subject: one.reason for one in plan(provider, wanted).actions}
    assert actions["volume data"].startswith("2 GiB of gp3 in us-east-1")
    assert there(aws) == {}
    first = deployed(provider, wanted)
    assert first.volumes == ("data",)
    one = there(aws)["default/data"]
    assert (one["Size"], one["VolumeType"], one["Encrypted"]) == (2, "gp3", True)
    assert one["tags"]["i2kit:deployment"] == WEB
    made = stack_template(aws)
    assert f"attach=data={one['VolumeId']}" in told(made)
    (subnet,) = aws.client("ec2").describe_subnets(SubnetIds=subnets(made))["Subnets"]
    assert subnet["AvailabilityZone"] == one["AvailabilityZone"]
    # The same again does nothing; another image takes the same volume.
    assert plan(provider, wanted).actions == ()
    deployed(provider, built("b", replicas=1, volumes=(DATA,)))
    deployed(provider, Rollback())
    assert [found["VolumeId"] for found in there(aws).values()] == [one["VolumeId"]]
    gone = plan(provider, None)
    assert gone.notes == (f"the volume of the claim data ({one['VolumeId']}) stays",)
    provider.apply(gone, ignore)
    assert [found["VolumeId"] for found in there(aws).values()] == [one["VolumeId"]]
    again = plan(provider, wanted)
    assert "volume data" not in {action.subject for action in again.actions}
    provider.apply(again, ignore)
    assert f"attach=data={one['VolumeId']}" in told(stack_template(aws))
    do(provider, None)
    # Later, it goes too.
    provider.volumes = True
    assert [action.subject for action in plan(provider, None).actions] == [f"volume data ({one['VolumeId']})"]
    do(provider, None)
    assert there(aws) == {}
    assert left(aws) == []


def test_numbered_machines_keep_their_volumes(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    provider = make()
    wanted = built("a", replicas=2, stateful=True, volumes=(EACH,))
    found = deployed(provider, wanted)
    assert (found.replicas_ready, found.volumes) == (2, ("data-web-0", "data-web-1"))
    before = {claim: one["VolumeId"] for claim, one in there(aws).items()}
    assert list(before) == ["default/data-web-0", "default/data-web-1"]
    assert deployed(provider, Scale(3)).replicas_ready == 3
    assert deployed(provider, Scale(1)).replicas_ready == 1
    assert len(there(aws)) == 3
    updated = deployed(provider, built("b", replicas=2, stateful=True, volumes=(EACH,)))
    assert (updated.replicas_ready, updated.revision) == (2, 2)
    assert {one.image for one in updated.instances} == {"b" * 64}
    made = stack_template(aws)
    for number in range(2):
        assert f"attach=data={before[f'default/data-web-{number}']}" in told(made, f"LaunchTemplate{number}")
    back = deployed(provider, Rollback())
    assert (back.replicas_ready, {one.image for one in back.instances}) == (2, {"a" * 64})
    provider.volumes = True
    do(provider, None)
    assert there(aws) == {}


def test_a_volume_grows_in_place(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    provider = make()
    deployed(provider, built("a", replicas=1, volumes=(DATA,)))
    larger = built("a", replicas=1, volumes=(replace(DATA, source=Claim("data", 5 * GIB)),))
    (action,) = (one for one in plan(provider, larger).actions if one.subject.startswith("volume"))
    assert (action.verb, action.reason) == ("change", "2 → 5 GiB")
    deployed(provider, larger)
    assert there(aws)["default/data"]["Size"] == 5
    assert plan(provider, larger).actions == ()


def test_a_failed_first_deploy_leaves_no_volume(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    aws.emulator.control("break_resource", resource="Group", action="CREATE", reason="no", times=1)
    with pytest.raises(FirstDeployError):
        do(make(), built("a", replicas=1, volumes=(DATA,)))
    assert there(aws) == {}


def test_a_claim_of_another_deployment(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    """It is not taken from one that is there, and taken over from one that is gone."""
    provider = make()
    deployed(provider, built("a", replicas=1, volumes=(DATA,)))
    other = built("a", "other", replicas=1, volumes=(DATA,))
    with pytest.raises(OperationError, match="belongs to default/web, which is deployed"):
        plan(provider, other)
    do(provider, None)
    deployed(provider, other, "default/other")
    (one,) = there(aws).values()
    assert one["tags"]["i2kit:deployment"] == "default/other"


def test_a_given_volume_is_used_and_never_removed(
    make: Make, aws: Aws, built: Callable[..., Release]
) -> None:
    ec2 = aws.client("ec2")
    given = ec2.create_volume(AvailabilityZone="us-east-1b", Size=7, VolumeType="gp2")["VolumeId"]
    provider = make()
    mine = Volume("data", Claim("data", GIB, source=given))
    deployed(provider, built("a", replicas=1, volumes=(mine,)))
    assert f"attach=data={given}" in told(stack_template(aws))
    assert there(aws) == {}
    provider.volumes = True
    do(provider, None)
    (one,) = ec2.describe_volumes(VolumeIds=[given])["Volumes"]
    assert one["Size"] == 7
    with pytest.raises(InputError, match="there is no volume vol-0123456789abcdef0"):
        missing = Volume("data", Claim("data", GIB, source="vol-0123456789abcdef0"))
        plan(provider, built("a", replicas=1, volumes=(missing,)))
