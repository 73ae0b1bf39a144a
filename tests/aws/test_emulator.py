"""The emulator itself: that it starts, forgets and ends. Its corrections are tested beside, by service."""

import contextlib
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
