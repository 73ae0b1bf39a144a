"""The tasks that a machine has AWS do, against the emulated AWS: the guest's own Lua, with signed requests.

In the place of TLS and of the metadata service there are a plain connection and fixed credentials.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from tests.aws import emulator
from tests.aws.conftest import REGION, environment
from tests.aws.emulator import Emulator
from tests.vm.lua import Lua

pytestmark = pytest.mark.vm

Run = Callable[..., str]

SCRIPT = """
    local bearssl, client, posix = require("bearssl"), require("client"), require("posix")
    function bearssl.connect(host)
        return { fd = posix.connect("127.0.0.1", tonumber(arg[1]), 10), host = host }
    end
    function bearssl.write(connection, text) posix.write_all(connection.fd, text) end
    function bearssl.read(connection)
        local said = posix.read(connection.fd)
        return said ~= "" and said or nil
    end
    local identity = { domain = "amazonaws.com", region = arg[2], key_id = "key", secret = "s", token = "t" }
    identity.instance = arg[3] ~= "" and arg[3] or nil
    function client.about(path) return path == "local-ipv4" and "10.0.0.7\\n" or arg[3] end
    function client.user_data() return os.getenv("USER_DATA") end
    local done, said = pcall(function() return require(arg[4])(identity, unpack(arg, 5)) end)
    io.write(done and said or done and "" or "failed: " .. said)"""


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with emulator.running() as server:
        yield server


@pytest.fixture
def session(emulated: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    emulated.reset()
    for name, value in environment(emulated).items():
        monkeypatch.setenv(name, value)
    return boto3.Session("key", "secret", region_name=REGION)


@pytest.fixture
def run(lua: Lua, emulated: Emulator) -> Run:
    """What a task prints, or `failed: ` and why."""

    def made(task: str, *words: str, instance: str = "") -> str:
        port = emulated.url.rpartition(":")[2]
        return lua.run(SCRIPT, port, REGION, instance, task, *words).decode()

    return made


def records(session: Any, zone: str) -> dict[tuple[str, str], list[str]]:
    """Addresses by name and by what tells a record from others of that name."""
    found = session.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return {
        (one["Name"].rstrip("."), one.get("SetIdentifier", "")): [
            each["Value"] for each in one["ResourceRecords"]
        ]
        for one in found
        if one["Type"] == "A"
    }


def test_names_come_and_go_with_the_machine(session: Any, run: Run) -> None:
    route53 = session.client("route53")
    vpc = session.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = route53.create_hosted_zone(
        Name="cluster.local", CallerReference="1", VPC={"VPCRegion": REGION, "VPCId": vpc}
    )
    zone = made["HostedZone"]["Id"].rpartition("/")[2]
    shared, own = "db.default.svc.cluster.local", "db-0.db.default.svc.cluster.local"
    assert run("register", zone, own, f"{shared}=db-0", "db.cluster.local=", instance="i-1") == ""
    there = {
        (own, ""): ["10.0.0.7"],
        (shared, "db-0"): ["10.0.0.7"],
        ("db.cluster.local", "i-1"): ["10.0.0.7"],
    }
    assert records(session, zone) == there
    (first,) = (
        one
        for one in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if one.get("SetIdentifier") == "db-0"
    )
    assert (first["TTL"], first["MultiValueAnswer"]) == (5, True)
    # Once more is the same, and another machine has a record of its own.
    assert run("register", zone, own, f"{shared}=db-0", "db.cluster.local=", instance="i-1") == ""
    assert run("register", zone, f"{shared}=db-1", instance="i-2") == ""
    assert run("deregister", zone, own, f"{shared}=db-0", "db.cluster.local=", instance="i-1") == ""
    assert records(session, zone) == {(shared, "db-1"): ["10.0.0.7"]}
    assert run("deregister", zone, own, f"{shared}=db-0", instance="i-1") == ""
    assert run("register", "Z0", own, instance="i-1").startswith("failed: ChangeResourceRecordSets: 404")


def test_secrets_of_many_parts_and_pages(session: Any, run: Run) -> None:
    """All that is below the path, and nothing of what is beside it."""
    ssm = session.client("ssm")
    folder = "/i2kit/shop/web/0123456789abcdef-25"
    value = "a%20b" * 3000

    def put(path: str, text: str) -> None:
        ssm.put_parameter(Name=path, Value=text, Type="SecureString", Tier="Standard")

    parts = [("=" + value)[start : start + 4096] for start in range(0, len(value) + 1, 4096)]
    for number, part in enumerate(parts, 1):
        put(f"{folder}/tls/tls.key/{number}", part)
    for number in range(25 - len(parts)):
        put(f"{folder}/db/key-{number:02}/1", f"=value{number}")
    put("/i2kit/shop/web/0123456789abcdef-2/db/other/1", "=other")
    assert run("secrets", folder).splitlines() == [
        *(f"secret/db/key-{number:02}=value{number}" for number in range(25 - len(parts))),
        f"secret/tls/tls.key={value}",
    ]


def test_secrets_that_are_not_all_there(session: Any, run: Run) -> None:
    folder = "/i2kit/default/web/0123456789abcdef-2"
    words = {"Type": "SecureString", "Tier": "Standard"}
    session.client("ssm").put_parameter(Name=f"{folder}/db/password/1", Value="=x", **words)
    said = run("secrets", folder)
    assert said == f"failed: Parameter Store has 1 of 2 parameters below {folder}"


def test_a_refused_call_is_told(emulated: Emulator, session: Any, run: Run) -> None:
    words = {"message": "not authorized to perform: ssm:GetParametersByPath"}
    emulated.control("fault", code="AccessDeniedException", action="GetParametersByPath", **words)
    assert run("secrets", "/i2kit/default/web/0-1") == (
        "failed: AmazonSSM.GetParametersByPath: 400 AccessDeniedException "
        "not authorized to perform: ssm:GetParametersByPath"
    )


def launched(session: Any, zone: str) -> str:
    ec2 = session.client("ec2")
    words: dict[str, Any] = {
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
    }
    snapshot = ec2.create_snapshot(VolumeId=created(session, zone))["SnapshotId"]
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": 1}}]
    image = ec2.register_image(Name=f"i2kit-{snapshot}", BlockDeviceMappings=mapping, **words)["ImageId"]
    words = {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    made = ec2.run_instances(**words, Placement={"AvailabilityZone": zone})["Instances"][0]
    return str(made["InstanceId"])


def created(session: Any, zone: str) -> str:
    return str(session.client("ec2").create_volume(AvailabilityZone=zone, Size=1)["VolumeId"])


def test_volumes_are_attached_each_by_a_name_of_its_own(session: Any, run: Run) -> None:
    """Also where that was done before."""
    machine = launched(session, "us-east-1a")
    volumes = [created(session, "us-east-1a") for _ in range(2)]
    for one in (*volumes, volumes[0]):
        assert run("attach", one, instance=machine) == ""
    found = session.client("ec2").describe_volumes(VolumeIds=volumes)["Volumes"]
    names = {one["VolumeId"]: one["Attachments"][0]["Device"] for one in found}
    assert names == {volumes[0]: "/dev/sdf", volumes[1]: "/dev/sdg"}
    assert {one["Attachments"][0]["InstanceId"] for one in found} == {machine}


def test_a_volume_of_another_machine_is_waited_for(session: Any, run: Run) -> None:
    """Until that is gone."""
    ec2 = session.client("ec2")
    old, new = launched(session, "us-east-1a"), launched(session, "us-east-1a")
    volume = created(session, "us-east-1a")
    ec2.attach_volume(VolumeId=volume, InstanceId=old, Device="/dev/sdf")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run, "attach", volume, instance=new)
        with pytest.raises(TimeoutError):
            running.result(3)
        ec2.terminate_instances(InstanceIds=[old])
        assert running.result(60) == ""
    (found,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert [one["InstanceId"] for one in found["Attachments"]] == [new]


def test_what_cannot_be_attached_is_told(session: Any, run: Run) -> None:
    machine = launched(session, "us-east-1a")
    said = run("attach", created(session, "us-east-1b"), instance=machine)
    assert said.startswith("failed: AttachVolume: 400 InvalidVolume.ZoneMismatch")
    assert "InvalidVolume.NotFound" in run("attach", "vol-0123456789abcdef0", instance=machine)


def job(session: Any, count: int) -> list[str]:
    """A group of so many machines; who they are."""
    ec2, scaling = session.client("ec2"), session.client("autoscaling")
    machine = launched(session, "us-east-1a")
    (found,) = ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"]
    data = {"ImageId": found["ImageId"], "InstanceType": "t3.nano"}
    ec2.create_launch_template(LaunchTemplateName="job", LaunchTemplateData=data)
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="job",
        MinSize=0,
        MaxSize=count,
        DesiredCapacity=count,
        LaunchTemplate={"LaunchTemplateName": "job", "Version": "1"},
        AvailabilityZones=["us-east-1a"],
    )
    session.client("logs").create_log_group(logGroupName="/i2kit/i2kit-job")
    return members(session)


def members(session: Any) -> list[str]:
    (found,) = session.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return [one["InstanceId"] for one in found["Instances"]]


def test_machines_of_a_job_leave_their_group(session: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """For good when they ended well, else for another one, until too many have failed."""
    monkeypatch.setenv("USER_DATA", "hostname=job\nlog_group=/i2kit/i2kit-job\njob=4 1")
    well, bad = job(session, 2)
    assert run("finish", "0", instance=well) == ""
    assert members(session) == [bad]
    assert run("finish", "3", instance=bad) == ""
    (other,) = members(session)
    assert other != bad
    assert run("finish", "137", instance=other) == ""
    assert members(session) == []
    words = {"logGroupName": "/i2kit/i2kit-job", "logStreamName": "i2kit/run-4"}
    events = session.client("logs").get_log_events(**words, startFromHead=True)["events"]
    assert [one["message"] for one in events] == [f"{well} 0", f"{bad} 3", f"{other} 137"]


def test_machines_that_ended_well_are_followed_by_others(
    session: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as more are to end well than run."""
    monkeypatch.setenv("USER_DATA", "log_group=/i2kit/i2kit-job\njob=1 0\njob_pods=3 2")
    first, second = job(session, 2)
    assert run("finish", "0", instance=first) == ""
    (third,) = [one for one in members(session) if one != second]
    assert third != first
    assert run("finish", "0", instance=second) == ""
    assert members(session) == [third]
    assert run("finish", "0", instance=third) == ""
    assert members(session) == []


def test_machines_that_go_without_a_word_have_failed(
    session: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_DATA", "log_group=/i2kit/i2kit-job\njob=1 1\njob_pods=1 1")
    (member,) = job(session, 1)
    lost = [f"i-{number:017x}" for number in range(7)]
    assert [run("begin", instance=one) for one in lost] == [""] * len(lost)
    assert run("begin", instance=member) == "lost"
    # It is the last.
    assert run("finish", "255", instance=member) == ""
    assert members(session) == []
    # In a job that is repeated, failures of earlier runs do not count.
    monkeypatch.setenv("USER_DATA", "log_group=/i2kit/i2kit-job\njob=2 1\njob_window=60")
    where = {"logGroupName": "/i2kit/i2kit-job", "logStreamName": "i2kit/run-2"}
    logs, group = session.client("logs"), {"AutoScalingGroupName": "job"}
    logs.create_log_stream(**where)
    earlier = int(time.time() * 1000) - 120_000
    said = [{"timestamp": earlier, "message": f"{one} 1"} for one in lost]
    logs.put_log_events(**where, logEvents=said)
    session.client("autoscaling").set_desired_capacity(**group, DesiredCapacity=1)
    (member,) = members(session)
    assert run("begin", instance=member) == ""
    assert run("finish", "1", instance=member) == ""
    assert len(members(session)) == 1
