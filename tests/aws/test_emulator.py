"""The emulator itself: that it starts, forgets and ends. Its corrections are tested beside, by service."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.aws.conftest import Aws
from tests.aws.emulator import PROJECT

HOLDER = """
import signal
from tests.aws import emulator
with emulator.running() as server:
    print(server.url, flush=True)
    signal.pause()
"""


def test_it_forgets_everything_between_tests(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    before = len(ec2.describe_vpcs()["Vpcs"])
    ec2.create_vpc(CidrBlock="10.1.0.0/16")
    assert len(ec2.describe_vpcs()["Vpcs"]) == before + 1
    aws.emulator.reset()
    assert len(ec2.describe_vpcs()["Vpcs"]) == before


def test_a_change_set_makes_nothing(aws: Aws) -> None:
    """Also not what is referred to by what is there already: moto makes that when it is looked up."""
    cloudformation, logs = aws.client("cloudformation"), aws.client("logs")

    def body(*tags: object) -> str:
        there = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.1.0.0/16", "Tags": tags}}
        more = {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}}} if tags else {}
        return json.dumps({"Resources": {"Vpc": there, **more}})

    cloudformation.create_stack(StackName="web", TemplateBody=body())
    aws.emulator.control("settle")
    named = {"Key": "logs", "Value": {"Ref": "Logs"}}
    cloudformation.create_change_set(StackName="web", ChangeSetName="more", TemplateBody=body(named))
    words = {"StackName": "web", "ChangeSetName": "more"}
    while cloudformation.describe_change_set(**words)["Status"] != "CREATE_COMPLETE":
        pass
    assert logs.describe_log_groups()["logGroups"] == []
    cloudformation.execute_change_set(**words)
    aws.emulator.control("settle")
    assert len(logs.describe_log_groups()["logGroups"]) == 1


def test_it_ends_with_the_tests_even_when_they_are_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        url = holder.stdout.readline().strip()
        urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=60).close()
        holder.send_signal(signal.SIGKILL)
    with pytest.raises(ConnectionRefusedError):
        for _ in range(100):
            with contextlib.suppress(ConnectionResetError):
                socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))).close()
            time.sleep(0.1)
