"""The emulated AWS makes what the templates say, takes updates of it, and nothing stays behind."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from i2kit.model import Port
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.design.template import endpoints_of, tags, template
from i2kit.providers.aws.place.network import TAGS, network_of, network_template
from i2kit.providers.aws.values import NETWORK_STACK, Ami, Network, Zone

from .conftest import Aws
from .releases import OPTIONS, release, service, udp

BLOCK = bytes(512 << 10)


def ami(aws: Aws, name: str) -> Ami:
    """An image that can be started, as far as the emulator looks."""
    ebs, ec2 = aws.client("ebs"), aws.client("ec2")
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    checksum = base64.b64encode(hashlib.sha256(BLOCK).digest()).decode()
    ebs.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=0,
        BlockData=BLOCK,
        DataLength=len(BLOCK),
        Checksum=checksum,
        ChecksumAlgorithm="SHA256",
    )
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 0})
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": 1}}
    made = ec2.register_image(
        Name=name,
        Architecture="x86_64",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[mapping],
        VirtualizationType="hvm",
    )
    return Ami(made["ImageId"], name, len(BLOCK))


def settled(aws: Aws, stack: str) -> Mapping[str, Any]:
    """The stack, once nothing happens to it any more."""
    cloudformation = aws.client("cloudformation")
    while True:
        found: Mapping[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found


def create(aws: Aws, stack: str, made: dict[str, Any], **words: Any) -> Mapping[str, Any]:
    answer = aws.client("cloudformation").create_stack(
        StackName=stack, TemplateBody=dumps(made), Capabilities=["CAPABILITY_IAM"], **words
    )
    return settled(aws, answer["StackId"])


def failures(aws: Aws, stack: str) -> list[str]:
    events = aws.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    return [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED")
    ]


def network(aws: Aws) -> tuple[Network, Zone | None]:
    made = network_template(["us-east-1a", "us-east-1b"], zone_name="i2kit.internal")
    given = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    outputs = create(aws, NETWORK_STACK, made, Tags=given)["Outputs"]
    return network_of(made, {one["OutputKey"]: one["OutputValue"] for one in outputs})


RELEASES = {
    "web": release(),
    "db": release("db", ports=(Port(5432),), replicas=1),
    "worker": release("worker", ports=()),
    "shop": release(
        "shop",
        ports=(Port(80), Port(443)),
        services=(
            service("shop", (80, 80, None), (443, 443, None), public=True),
            service("admin", (9000, 80, None)),
        ),
    ),
    "dns": release(
        "dns",
        ports=(Port(53), Port(53, protocol="UDP")),
        services=(
            service("dns", (53, 53, None), udp(53, 53), udp(853, 53), public=True, sticky_s=60),
            service("names", (53, 53, None), sources=("192.0.2.0/24",)),
        ),
    ),
}


def test_all_sorts_are_made_and_go_away(aws: Aws) -> None:
    image, (where, zone) = ami(aws, "first"), network(aws)
    ec2 = aws.client("ec2")
    for name, wanted in RELEASES.items():
        made = template(wanted, image, where, zone if name in ("db", "shop") else None, OPTIONS)
        given = [{"Key": key, "Value": value} for key, value in tags(wanted).items()]
        found = create(aws, f"i2kit-{name}", made, Tags=given)
        assert found["StackStatus"] == "CREATE_COMPLETE", failures(aws, found["StackId"])
        endpoints = endpoints_of(found["Outputs"])
        assert {(one.service, one.port) for one in endpoints} == {
            (each.key, port.number) for each in wanted.services for port in each.ports
        }
        assert all(one.url.partition("://")[2] for one in endpoints)
        wanted_machines = {"Name": "tag:i2kit:deployment", "Values": [wanted.workload.key]}
        reservations = ec2.describe_instances(Filters=[wanted_machines])["Reservations"]
        assert sum(len(one["Instances"]) for one in reservations) == wanted.workload.replicas
        aws.client("cloudformation").delete_stack(StackName=found["StackId"])
        assert settled(aws, found["StackId"])["StackStatus"] == "DELETE_COMPLETE"
    assert ec2.describe_launch_templates()["LaunchTemplates"] == []
    assert aws.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert aws.client("elbv2").describe_target_groups()["TargetGroups"] == []


def test_updates(aws: Aws) -> None:
    """Another image and more machines; another kind of load balancer."""
    first, (where, zone) = ami(aws, "first"), network(aws)
    second = ami(aws, "second")
    stack = create(aws, "i2kit-web", template(release(), first, where, zone, OPTIONS))["StackId"]
    tcp = release(ports=(Port(80, "tcp"), Port(5432)))
    for wanted in (release(replicas=5), tcp):
        made = template(wanted, second, where, zone, OPTIONS)
        aws.client("cloudformation").update_stack(
            StackName=stack, TemplateBody=dumps(made), Capabilities=["CAPABILITY_IAM"]
        )
        assert settled(aws, stack)["StackStatus"] == "UPDATE_COMPLETE", failures(aws, stack)
        group = next(iter(aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]))
        assert group["DesiredCapacity"] == wanted.workload.replicas
    kinds = [one["Type"] for one in aws.client("elbv2").describe_load_balancers()["LoadBalancers"]]
    assert kinds == ["network"]
