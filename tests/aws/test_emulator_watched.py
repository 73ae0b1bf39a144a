"""The corrections in `emulator/watched.py`: AWS's behaviour holds with them, and does not without."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.aws import emulator
from tests.aws.conftest import REGION, Aws
from tests.aws.emulator import Emulator


@pytest.fixture(scope="module")
def as_is() -> Iterator[Emulator]:
    with emulator.running(corrected=False) as server:
        yield server


def client(server: Emulator, service: str) -> Any:
    return boto3.Session("key", "secret", region_name=REGION).client(service, endpoint_url=server.url)


def logs_of_a_machine_are_found_by_prefix_and_in_order(server: Emulator) -> None:
    logs, now = client(server, "logs"), int(time.time() * 1000)
    logs.create_log_group(logGroupName="g")
    for stream, age in (("i-1/a", 1), ("i-2/a", 3), ("i-1/b", 2)):
        logs.create_log_stream(logGroupName="g", logStreamName=stream)
        event = {"timestamp": now - age, "message": stream}
        logs.put_log_events(logGroupName="g", logStreamName=stream, logEvents=[event])

    def messages(**words: str) -> list[str]:
        return [event["message"] for event in logs.filter_log_events(logGroupName="g", **words)["events"]]

    assert messages() == ["i-2/a", "i-1/b", "i-1/a"]
    assert messages(logStreamNamePrefix="i-1/") == ["i-1/b", "i-1/a"]
    assert messages(logStreamNamePrefix="i-3/") == []


def launch_templates_are_found_by_their_ami(server: Emulator) -> None:
    ec2 = client(server, "ec2")
    for number in range(20):
        data = {"ImageId": f"ami-{number % 10}", "InstanceType": "t3.micro"}
        ec2.create_launch_template(LaunchTemplateName=f"t{number:02}", LaunchTemplateData=data)
    # The first version stays the default.
    ec2.create_launch_template_version(LaunchTemplateName="t07", LaunchTemplateData={"ImageId": "ami-x"})

    def names(*amis: str) -> list[tuple[str, int]]:
        filters = [{"Name": "image-id", "Values": list(amis)}]
        pages = ec2.get_paginator("describe_launch_template_versions").paginate(
            Versions=["$Latest", "$Default"], Filters=filters
        )
        found = [one for page in pages for one in page["LaunchTemplateVersions"]]
        return sorted({(one["LaunchTemplateName"], one["VersionNumber"]) for one in found})

    assert names("ami-7") == [("t07", 1), ("t17", 1)]
    assert names("ami-x", "ami-9") == [("t07", 2), ("t09", 1), ("t19", 1)]


PROBES = (logs_of_a_machine_are_found_by_prefix_and_in_order, launch_templates_are_found_by_their_ami)


@pytest.mark.parametrize("holds", PROBES, ids=lambda one: one.__name__)
def test_correction(holds: Callable[[Emulator], None], aws: Aws, as_is: Emulator) -> None:
    holds(aws.emulator)
    with pytest.raises(AssertionError):
        holds(as_is)
