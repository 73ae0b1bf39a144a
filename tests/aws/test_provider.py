"""A deployment's life on an emulated AWS, through the provider: from the first revision to nothing left."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2kit import app
from i2kit.errors import InputError, OperationError, RolloutError
from i2kit.events import Event, Note, ignore
from i2kit.model import Deployment, Port, Release, Service, Workload
from i2kit.providers import Front, Plan, Rollback, Scale, Wanted
from i2kit.providers.aws import AwsProvider
from i2kit.providers.aws.running.stacks import Pace
from i2kit.providers.aws.values import stack_name
from i2kit.settings import AwsSettings, Settings
from tests.aws.conftest import Aws

from .releases import release, service

PACE = Pace(first_s=0.0, longest_s=0.0, wait=lambda seconds: None)
BLOCK = 512 << 10
WEB = "default/web"
ZONE = "i2kit.internal"
READS = ("Describe", "List", "Get", "GET ", "Filter")

Make = Callable[..., AwsProvider]


@pytest.fixture
def make(aws: Aws, tmp_path: Path) -> Make:
    """The provider with these settings; with `new` as another run has it, which costs a second."""
    known: dict[str, AwsProvider] = {}

    def made(*, ask: bool = False, new: bool = False, **given: Any) -> AwsProvider:
        settings = Settings(
            state_dir=tmp_path / "state",
            run_dir=tmp_path / "run",
            store_dir=tmp_path / "store",
            lock_file=tmp_path / "i2kit.lock",
            aws=AwsSettings(**given),
        )
        key = f"{ask} {given}"
        if new or key not in known:
            known[key] = AwsProvider(settings)
            known[key].ask, known[key].pace = ask, PACE
        return known[key]

    return made


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., Release]:
    """A release with a disk of three blocks, one of which is the image's."""

    def made(image: str, name: str = "web", **words: Any) -> Release:
        disk = tmp_path / f"{image}.raw"
        with disk.open("wb") as writing:
            writing.write(b"base".ljust(BLOCK, b"\0"))
            writing.seek(7 * BLOCK)
            writing.write(image.encode().ljust(BLOCK, b"\0"))
            os.truncate(writing.fileno(), 32 << 20)
        wanted = release(name, **words)
        pinned = (("nginx", f"docker.io/library/nginx@sha256:{image * 64}"[:94]),)
        return replace(wanted, image=replace(wanted.image, id=image * 64, containers=pinned), disk=disk)

    return made


def plan(provider: AwsProvider, wanted: Wanted | None, key: str = WEB) -> Plan:
    key = wanted.workload.key if isinstance(wanted, Release) else key
    return provider.plan(key, wanted, provider.observe(key))


def do(
    provider: AwsProvider,
    wanted: Wanted | None,
    key: str = WEB,
    watch: Callable[[Event], None] = ignore,
) -> Deployment | None:
    return provider.apply(plan(provider, wanted, key), watch)


def deployed(provider: AwsProvider, wanted: Wanted, key: str = WEB) -> Deployment:
    found = do(provider, wanted, key)
    assert found is not None
    return found


def writes(aws: Aws, since: int = 0) -> list[str]:
    """The calls that change something."""
    called = aws.emulator.control("calls")[since:]
    return [one for one in called if not one.partition(":")[2].startswith(READS)]


def without_names(aws: Aws) -> str:
    """A VPC that machines look no names up in."""
    vpcs = aws.client("ec2").describe_vpcs()["Vpcs"]
    return str(next(one["VpcId"] for one in vpcs if one["IsDefault"]))


def running(aws: Aws) -> list[str]:
    """The AMIs of the machines that run."""
    found = aws.client("ec2").describe_instances()["Reservations"]
    instances = [one for each in found for one in each["Instances"]]
    return sorted(one["ImageId"] for one in instances if one["State"]["Name"] == "running")


def amis(aws: Aws) -> list[str]:
    found = aws.client("ec2").describe_images(Owners=["self"])["Images"]
    return sorted(one["ImageId"] for one in found)


def left(aws: Aws) -> list[str]:
    """All that i2kit could leave."""
    ec2 = aws.client("ec2")
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    stacks = aws.client("cloudformation").describe_stacks()["Stacks"]
    return [
        *amis(aws),
        *(one["SnapshotId"] for one in snapshots if one.get("Tags")),
        *(one["StackName"] for one in stacks),
        *(one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]),
        *running(aws),
        *(one["Name"] for one in aws.client("ssm").describe_parameters()["Parameters"]),
    ]


def weights(aws: Aws, name: str) -> dict[str, int]:
    """Of the records of this name, by their stacks."""
    route53 = aws.client("route53")
    zones = route53.list_hosted_zones()["HostedZones"]
    records = [
        one
        for zone in zones
        for one in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    ]
    return {one["SetIdentifier"]: one["Weight"] for one in records if one["Name"].rstrip(".") == name}


def subjects(found: Plan) -> dict[str, str]:
    return {one.subject: one.verb for one in found.actions}


def test_a_life(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    first, second = built("a"), built("b")

    planned = plan(make(), first)
    assert subjects(planned)["group of machines Group"] == "create"
    assert subjects(planned)["VPC Vpc"] == "create"
    assert planned.images[0].startswith("machine image: new, aaaaaaaaaaaa")
    assert planned.cost and planned.cost.complete
    assert writes(aws) == []

    found = deployed(make(), first)
    assert (found.revision, found.replicas_ready, found.image) == (1, 3, "a" * 64)
    assert found.endpoints
    assert found.labels == (("app", "web"),)
    assert make().observe(WEB) == replace(found, instances=make().observe(WEB).instances)  # type: ignore[union-attr]
    assert [one.key for one in make().list()] == [WEB]

    # The same again, by another run.
    before = len(aws.emulator.control("calls"))
    again = plan(make(new=True), first)
    assert (again.actions, again.images) == ((), ())
    assert deployed(make(), first).revision == 1
    assert writes(aws, before) == []

    # More machines: those that are there stay.
    ids = {one.id for one in found.instances}
    scaled = plan(make(), Scale(4))
    # Names count calls by machines: other deployments may be behind them.
    assert {verb: subject for subject, verb in subjects(scaled).items() if "DNS" not in subject} == {
        "scale": "group of machines Group"
    }
    found = deployed(make(), Scale(4))
    assert (found.revision, found.replicas_wanted, found.replicas_ready) == (1, 4, 4)
    assert ids < {one.id for one in found.instances}
    assert plan(make(), Scale(4)).actions == ()

    # Another image.
    changed = plan(make(), replace(second, workload=replace(second.workload, replicas=4)))
    assert "a new one" in next(one.reason for one in changed.actions if "launch template" in one.subject)
    assert any("nginx" in line for line in changed.images)
    found = deployed(make(), built("b", replicas=4))
    assert (found.revision, found.image, found.replicas_ready) == (2, "b" * 64, 4)
    (old, new) = (one for one in amis(aws))
    assert len(set(running(aws))) == 1

    # And back.
    back = deployed(make(), Rollback())
    assert (back.revision, back.image, back.replicas_ready) == (3, "a" * 64, 4)
    assert amis(aws) == sorted([old, new])
    assert plan(make(), Rollback(3)).actions == ()
    with pytest.raises(OperationError, match="has no revision 9") as raised:
        plan(make(), Rollback(9))
    assert "1, 2" in str(raised.value.hint)
    assert [(one.number, one.outcome, one.image[:1], one.kept) for one in make().history(WEB)] == [
        (1, "superseded", "a", True),
        (2, "superseded", "b", True),
        (3, "serving", "a", True),
    ]

    events: list[Event] = []
    assert do(make(), None, watch=events.append) is None
    assert left(aws) == []
    assert Note("removed the shared network i2kit-network: no deployment is left") in events
    assert make().observe(WEB) is None
    assert plan(make(), None).actions == ()


def test_an_update_that_fails_leaves_the_one_before_and_nothing_of_its_own(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), built("a"))
    kept, machines = amis(aws), running(aws)
    aws.emulator.control(
        "break_resource", resource="Group", action="UPDATE", reason="Quota exceeded", times=1
    )
    with pytest.raises(RolloutError, match="Quota exceeded"):
        do(make(), built("b"))
    assert (amis(aws), running(aws)) == (kept, machines)
    found = make().observe(WEB)
    assert found and (found.revision, found.image, found.replicas_ready) == (1, "a" * 64, 3)
    assert [(one.number, one.outcome, one.image[:1]) for one in make().history(WEB)] == [
        (1, "serving", "a"),
        (2, "failed", "b"),
    ]
    assert "Quota exceeded" in make().history(WEB)[1].reason
    # The next one is not the one that failed.
    assert deployed(make(), built("b")).revision == 3


def test_what_a_shared_network_lacks_is_all_that_is_planned_of_it(
    make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(hosted_zone="one.internal"), built("a"))
    planned = plan(make(hosted_zone="two.internal"), built("a", "other"))
    there = [one.subject for one in planned.actions if "shared network" in one.reason]
    assert there == ["hosted zone Zone2"]
    assert planned.cost
    assert [one.usd for one in planned.cost.lines if one.what == "hosted zone"] == [0.5]


def test_history_of_an_update_whose_roll_back_failed_too(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    """The stack says by then what it should have become."""
    deployed(make(), built("a"))
    reason = "vCPU limit exceeded"
    aws.emulator.control("break_resource", resource="Group", action="UPDATE", reason=reason, times=2)
    with pytest.raises(OperationError, match="so did its roll back") as raised:
        do(make(), built("b"))
    assert raised.value.hint and raised.value.hint.endswith("it goes on with the roll back first")
    assert [(one.number, one.outcome, one.image[:1]) for one in make().history(WEB)] == [
        (1, "serving", "a"),
        (2, "failed", "b"),
    ]
    assert reason in make().history(WEB)[1].reason
    assert deployed(make(), built("b")).revision == 3


def test_a_first_deploy_that_fails_leaves_the_shared_network_alone(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    aws.emulator.control(
        "break_resource", resource="Group", action="CREATE", reason="Quota exceeded", times=1
    )
    events: list[Event] = []
    with pytest.raises(OperationError, match="Quota exceeded") as raised:
        do(make(), built("a"), watch=events.append)
    assert raised.value.exit_code == 3
    assert amis(aws) == running(aws) == []
    assert any(isinstance(one, Note) and "i2kit-network stays" in one.message for one in events)
    assert make().observe(WEB) is None
    assert deployed(make(), built("a")).replicas_ready == 3


def test_services_of_other_files(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    provider = make(hosted_zone=ZONE)
    deployed(provider, built("a"))
    machines = {one.id for one in provider.observe(WEB).instances}  # type: ignore[union-attr]
    front = service("front", (8080, 80, "http"))

    found = deployed(provider, Front((front,)))
    assert {one.service for one in found.endpoints} == {WEB, "default/front"}
    assert (found.revision, found.services) == (1, (front,))
    assert {one.id for one in found.instances} == machines
    assert plan(provider, Front((front,))).actions == ()
    # It stays when its own files are deployed again, whose service of that name would count.
    assert plan(provider, built("a")).actions == ()
    assert {one.service for one in deployed(provider, built("b")).endpoints} == {WEB, "default/front"}

    found = deployed(provider, Front(without=("default/front",)))
    assert {one.service for one in found.endpoints} == {WEB}
    assert found.services == ()


def test_two_deployments_behind_one_service(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    provider = make(hosted_zone=ZONE)
    shared = Service("shop", (("tier", "front"),), service("shop", (80, 80, None)).ports)
    blue = built("a", "blue", labels=(("tier", "front"),), replicas=3)
    blue = replace(blue, services=(*blue.services, shared))
    deployed(provider, blue)
    assert weights(aws, f"shop.{ZONE}") == {"i2kit-blue": 3}

    # Deployed later and from other files: it is found by its labels.
    green = built("a", "green", labels=(("tier", "front"), ("new", "yes")), replicas=1)
    found = deployed(provider, green)
    assert "default/shop" in {one.service for one in found.endpoints}
    assert weights(aws, f"shop.{ZONE}") == {"i2kit-blue": 3, "i2kit-green": 1}
    assert plan(provider, blue).actions == ()
    assert plan(provider, green).actions == ()

    deployed(provider, Scale(0), "default/green")
    assert weights(aws, f"shop.{ZONE}") == {"i2kit-blue": 3, "i2kit-green": 0}
    do(provider, None, "default/blue")
    assert weights(aws, f"shop.{ZONE}") == {"i2kit-green": 0}
    assert amis(aws), "the other one needs it"
    do(provider, None, "default/green")
    assert left(aws) == []


def test_a_new_neighbour_replaces_nothing_by_itself(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    provider = make(vpc=without_names(aws))
    deployed(provider, built("a"))
    database = built("d", "db", ports=(Port(5432),), replicas=1)
    (own,) = database.services
    deployed(provider, replace(database, services=(replace(own, selector=(("app", "db"),)),)))
    assert plan(provider, built("a")).actions == ()
    # With another image it is told of, by the load balancer's name as there is no zone.
    deployed(provider, built("b"))
    template = aws.client("cloudformation").get_template(StackName="i2kit-web")["TemplateBody"]
    told = template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]
    host = aws.client("elbv2").describe_load_balancers()["LoadBalancers"]
    (name,) = [one["DNSName"] for one in host if one["Type"] == "network"]
    assert f"env=DB_SERVICE_HOST={name}\n" in json.dumps(told).replace("\\n", "\n")


def test_all_that_is_wrong_is_said_and_nothing_touched(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    wanted = built("a", replicas=2000)
    workload = replace(wanted.workload, instance_type="t2.micro", certificate="arn:nonsense")
    with pytest.raises(InputError) as raised:
        plan(make(), replace(wanted, workload=workload))
    assert raised.value.problems
    assert writes(aws) == []


def test_a_stack_of_somebody_else_is_not_touched(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    logs = {"Resources": {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}}}}
    aws.client("cloudformation").create_stack(StackName="i2kit-web", TemplateBody=json.dumps(logs))
    aws.emulator.control("settle")
    before = len(aws.emulator.control("calls"))
    for wanted in (built("a"), None):
        with pytest.raises(OperationError, match="i2kit did not make"):
            plan(make(), wanted)
    assert writes(aws, before) == []


# --- plans that are only looked at ------------------------------------------------------------


def change_sets(aws: Aws) -> Sequence[object]:
    client = aws.client("cloudformation")
    names = [one["StackName"] for one in client.describe_stacks()["Stacks"]]
    return [one for name in names for one in client.list_change_sets(StackName=name)["Summaries"]]


def test_cloudformation_is_asked_and_nothing_stays(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), built("d", "db"))
    before = len(aws.emulator.control("calls"))
    found = plan(make(ask=True), built("a"))
    assert subjects(found)["group of machines Group"] == "create"
    assert set(writes(aws, before)) == {
        f"cloudformation:{one}" for one in ("CreateChangeSet", "DeleteChangeSet", "DeleteStack")
    }
    aws.emulator.control("settle")
    assert [one["StackName"] for one in aws.client("cloudformation").describe_stacks()["Stacks"]] == [
        "i2kit-network",
        "i2kit-db",
    ]
    deployed(make(), built("a"))
    found = plan(make(ask=True), built("b"))
    assert subjects(found)["launch template LaunchTemplate"] == "change"
    assert change_sets(aws) == []
    assert plan(make(ask=True), built("a")).actions == ()


def test_asking_leaves_nothing_when_interrupted(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    deployed(make(), built("a"))

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    for wanted in (built("b"), built("c", "other")):
        provider = make(ask=True, new=True)
        provider.pace = Pace(wait=interrupted)
        with pytest.raises(KeyboardInterrupt):
            plan(provider, wanted)
        aws.emulator.control("settle")
        assert change_sets(aws) == []
    names = [one["StackName"] for one in aws.client("cloudformation").describe_stacks()["Stacks"]]
    assert names == ["i2kit-network", "i2kit-web"]


def test_without_a_network_plans_are_made_from_what_was_seen(
    aws: Aws, make: Make, built: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(make(), built("a"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    provider = make(ask=True)
    assert provider.list() == ()
    same, other = plan(provider, built("a")), plan(provider, built("b"))
    assert same.actions == ()
    assert "AWS cannot be reached: compared with what this machine saw of it last, revision 1" in same.notes
    assert set(subjects(other).values()) == {"change"}
    new = plan(provider, built("c", "other"))
    assert subjects(new)["group of machines Group"] == "create"
    assert any("never seen" in note for note in new.notes)


def test_two_deployments_of_the_same_files_find_each_other_without_a_zone(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    web, shop = built("a"), built("b", "shop")
    wanted = [replace(web, neighbours=shop.services), replace(shop, neighbours=web.services)]
    provider = make(vpc=without_names(aws))
    app.apply(provider, app.planned(provider, [(one.workload.key, one) for one in wanted]), ignore)
    data = {}
    for one in wanted:
        name = stack_name(one.workload.key)
        text = aws.client("cloudformation").get_template(StackName=name)["TemplateBody"]
        data[one.workload.name] = json.dumps(text)
        assert provider.plan(one.workload.key, one, provider.observe(one.workload.key)).actions == ()
    assert "env=SHOP_SERVICE_HOST=" in data["web"]
    assert "env=WEB_SERVICE_HOST=" in data["shop"]


def test_without_credentials_there_is_no_plan(
    aws: Aws, make: Make, built: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="no credentials"):
        plan(make(ask=True), built("a"))
    made = json.loads(make().render(built("a")))
    assert made["Metadata"]["i2kit"]["Deployment"] == WEB


def test_rendering_asks_where_it_can(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    deployed(make(), built("a"))
    made = json.loads(make().render(built("b")))
    vpc = made["Resources"]["MachineSecurityGroup"]["Properties"]["VpcId"]
    assert vpc in {one["VpcId"] for one in aws.client("ec2").describe_vpcs()["Vpcs"]}


@pytest.mark.parametrize(
    ("named", "architecture"),
    [
        (None, "amd64"),
        ("t3.micro", "amd64"),
        ("t4g.micro", "arm64"),
        ("c8gd.large", "arm64"),
        ("r7g.xlarge", "arm64"),
        ("im4gn.large", "arm64"),
        ("x2gd.medium", "arm64"),
        ("a1.large", "arm64"),
        ("g4dn.xlarge", "amd64"),
        ("g6.xlarge", "amd64"),
        ("m7i-flex.large", "amd64"),
        ("nonsense", "amd64"),
    ],
)
def test_the_type_of_machine_says_its_architecture(make: Make, named: str | None, architecture: str) -> None:
    workload = Workload("web", (), instance_type=named)
    assert make().architecture(workload) == architecture
    assert make(instance_type=named).architecture(Workload("web", ())) == architecture


# --- what goes wrong --------------------------------------------------------------------------


def test_a_revision_whose_image_is_gone_is_not_gone_back_to(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    for image in "abc":
        deployed(make(), built(image))
    ec2 = aws.client("ec2")
    (second,) = [
        one["ImageId"]
        for one in ec2.describe_images(Owners=["self"])["Images"]
        if {"Key": "i2kit:image", "Value": "b" * 64} in one["Tags"]
    ]
    ec2.deregister_image(ImageId=second)
    for wanted in (Rollback(), Rollback(2)):
        with pytest.raises(OperationError, match=f"revision 2: its AMI {second} is gone") as raised:
            plan(make(), wanted)
        assert raised.value.hint == "these are kept: 1"
    assert [one.kept for one in make().history(WEB)] == [True, False, True]
    assert deployed(make(), Rollback(1)).revision == 4


def test_what_a_killed_run_left_goes_with_destroy(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), built("a"))
    client = aws.client("cloudformation")
    client.delete_stack(StackName="i2kit-web")
    aws.emulator.control("settle")
    found = plan(make(), None)
    (ami,) = amis(aws)
    assert subjects(found) == {f"AMI {ami}": "remove", "shared network i2kit-network": "remove"}
    do(make(), None)
    assert left(aws) == []
    assert plan(make(), None).actions == ()


def test_a_stack_that_is_busy_or_dead_is_dealt_with_first(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), built("a"))
    # As a run leaves it that was killed while the stack is updated.
    client = aws.client("cloudformation")
    template = client.get_template(StackName="i2kit-web")["TemplateBody"]
    template["Resources"]["LogGroup"]["Properties"]["RetentionInDays"] = 7
    client.update_stack(
        StackName="i2kit-web",
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_IAM"],
        Tags=client.describe_stacks(StackName="i2kit-web")["Stacks"][0]["Tags"],
    )
    planned = plan(make(), built("a"))
    assert planned.actions[0].subject == "stack i2kit-web"
    assert "IN_PROGRESS" in planned.actions[0].reason
    assert deployed(make(), built("a")).replicas_ready == 3
    assert plan(make(), built("a")).actions == ()


def test_what_another_version_has_deployed_is_left_alone(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), built("a"))
    client = aws.client("cloudformation")
    template = client.get_template(StackName="i2kit-web")["TemplateBody"]
    template["Metadata"]["i2kit"]["Format"] = 99
    template["Resources"]["LogGroup"]["Properties"]["RetentionInDays"] = 7
    client.update_stack(
        StackName="i2kit-web",
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_IAM"],
        Tags=client.describe_stacks(StackName="i2kit-web")["Stacks"][0]["Tags"],
    )
    aws.emulator.control("settle")
    for wanted in (built("b"), Scale(2), None):
        with pytest.raises(OperationError, match="another version of i2kit"):
            make().plan(WEB, wanted, None)
    # Others are deployed beside it.
    assert deployed(make(), built("c", "other")).replicas_ready == 3
