"""What AWS was given boots: a deployment's group, followed down to the blocks of its AMI's snapshot."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from i2kit.blocks import BLOCK_BYTES
from i2kit.image import disk
from i2kit.image.base import boot
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.design.template import template
from tests.aws import emulator
from tests.aws.conftest import REGION, Aws, environment
from tests.aws.releases import OPTIONS, release
from tests.aws.test_templates_made import create, network
from tests.vm.conftest import Build
from tests.vm.machine import booted_disk, container

pytestmark = pytest.mark.vm

CHECKED = release().workload.health_port
ASK = f"until wget -q -O - http://127.0.0.1:{CHECKED}/ready; do sleep 0.2; done; echo it is ready"
WEB = f"hostname; cat /proc/cmdline; cat /proc/partitions; echo that is all; ({ASK}) & httpd -f -p 80 -h /www"


def test_a_deployment_boots(
    build: Build, store: Store, the_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk → blocks → AMI → stack; its group → launch template → AMI → its root device's snapshot → blocks →
    a volume → UEFI, NVMe, the launch template's user data, an answer.
    """
    built = build(container("web", WEB))
    identity = bytes.fromhex(built.id)[:16]
    cmdline = f"{built.arguments(f'PARTLABEL={disk.label(identity)}')} rootwait"
    loader = boot.load(store, the_base.boot)
    initrd = None if built.direct else built.initrd
    raw = disk.write(
        "raw", disk.Parts(built.vmlinuz, initrd, built.root, cmdline, identity, loader), tmp_path
    )
    with emulator.running() as server:
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        clients = ami.clients(connect())
        made = ami.publish(clients, raw, image=built.id, architecture="x86_64")
        aws = Aws(server.url, boto3.Session(region_name=REGION), server)
        where, zone = network(aws)
        create(aws, "i2kit-web", template(release(), made.ami, where, zone, OPTIONS))
        launched = launch_data(aws)
        (targets,) = aws.client("elbv2").describe_target_groups()["TargetGroups"]
        assert (targets["HealthCheckPort"], targets["HealthCheckPath"]) == (str(CHECKED), "/ready")
        (image,) = clients.ec2.describe_images(ImageIds=[launched["ImageId"]])["Images"]
        root = image["RootDeviceName"]
        (device,) = [one["Ebs"] for one in image["BlockDeviceMappings"] if one["DeviceName"] == root]
        volume = downloaded(clients.ebs, device, tmp_path / "volume.raw")
    user_data = base64.b64decode(launched["UserData"]).decode()
    (tmp_path / "user-data.json").write_text(json.dumps({"instance-id": "i-0123456789abcdef0"}))
    with booted_disk([volume], tmp_path, user_data, firmware="uefi", bus="nvme") as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("console", lambda line: "that is all" in line)
        machine.wait_for("console", lambda line: "it is ready" in line)
        said = machine.console.read_text(errors="replace")
        assert "web web-9abcdef0" in said, "it has reached the metadata service"
        assert f"{1 << 20} nvme0n1\n" in said, "it is on the volume of one GiB"


def launch_data(aws: Aws) -> dict[str, Any]:
    """What the only group's machines are launched with."""
    (group,) = aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    wanted = group["LaunchTemplate"]
    (found,) = aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=wanted["LaunchTemplateId"], Versions=[wanted["Version"]]
    )["LaunchTemplateVersions"]
    data: dict[str, Any] = found["LaunchTemplateData"]
    return data


def downloaded(ebs: Any, device: dict[str, Any], path: Path) -> Path:
    """The volume that EC2 makes of a block device's snapshot."""
    snapshot = device["SnapshotId"]
    with path.open("xb") as file:
        file.truncate(device["VolumeSize"] << 30)
        # The disk of a test has fewer blocks than a page holds.
        for block in ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]:
            answer = ebs.get_snapshot_block(SnapshotId=snapshot, **block)
            data: bytes = answer["BlockData"].read()
            assert base64.b64decode(answer["Checksum"]) == hashlib.sha256(data).digest()
            file.seek(block["BlockIndex"] * BLOCK_BYTES)
            file.write(data)
    return path
