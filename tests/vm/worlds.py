"""Where the contract of providers is tried: on this machine for real, and on an emulated AWS."""

import urllib.request
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from i2kit import image, providers
from i2kit.events import ignore
from i2kit.model import Release, Service, Workload
from i2kit.providers import Provider
from i2kit.providers.aws import AwsProvider
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.running.stacks import Pace
from i2kit.settings import Settings
from tests.aws.conftest import Aws
from tests.vm.deployments import build_release


class World(Protocol):
    """A provider, and what stands around it. `boots`: whether its machines are real ones."""

    provider: Provider
    boots: bool

    def build(self, workload: Workload, services: tuple[Service, ...]) -> Release: ...

    def answers(self, url: str, count: int = 12) -> set[str]:
        """What different requests are answered; any failure fails the test."""
        ...

    def cannot_run(self, release: Release) -> None:
        """Say that machines of this release will not run, where they do not find out themselves."""
        ...

    def why(self, really: str) -> str:
        """What is said of a machine that does not run: the real reason, as far as it can be known."""
        ...


class Real:
    """This machine."""

    boots = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.provider = providers.load("local", settings)

    def build(self, workload: Workload, services: tuple[Service, ...]) -> Release:
        return build_release(workload, services, self._settings)

    def answers(self, url: str, count: int = 12) -> set[str]:
        found = set()
        for _ in range(count):
            with urllib.request.urlopen(url, timeout=10) as answer:
                found.add(answer.read().decode().strip())
        return found

    def cannot_run(self, release: Release) -> None:
        """It finds out itself."""

    def why(self, really: str) -> str:
        return really


class Emulated:
    """An AWS without machines: those that a load balancer would send requests to count as answering."""

    boots = False

    def __init__(self, settings: Settings, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
        self._settings, self._aws = settings, aws
        self._versions: dict[str, str] = {}
        provider = AwsProvider(settings)
        self._seconds, self._hurries = 0.0, False
        provider.pace = Pace(first_s=0.0, longest_s=0.0, wait=lambda seconds: None, clock=self._clock)
        self.provider: Provider = provider

    def build(self, workload: Workload, services: tuple[Service, ...]) -> Release:
        made, output = image.output(workload, "raw", settings=self._settings, watch=ignore)
        assert made
        self._versions[made.id] = dict(workload.containers[0].env).get("VERSION", "")
        return Release(workload, made, services, disk=output.files[0].path)

    def answers(self, url: str, count: int = 12) -> set[str]:
        """Those behind the listener of this address, with the version that their image was built with."""
        self._hurries = False
        elb, ec2 = self._aws.client("elbv2"), self._aws.client("ec2")
        where = urlsplit(url)
        (balancer,) = [
            one["LoadBalancerArn"]
            for one in elb.describe_load_balancers()["LoadBalancers"]
            if one["DNSName"].lower() in (where.hostname, self._looked_up(str(where.hostname)))
        ]
        (group,) = [
            one["DefaultActions"][0]["TargetGroupArn"]
            for one in elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
            if one["Port"] == (where.port or 80)
        ]
        healthy = [
            one["Target"]["Id"]
            for one in elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            if one["TargetHealth"]["State"] == "healthy"
        ]
        assert healthy, "nobody answers"
        found = ec2.describe_instances(InstanceIds=healthy)["Reservations"]
        machines: list[dict[str, Any]] = [one for each in found for one in each["Instances"]]
        amis = {one["ImageId"]: one for one in ec2.describe_images(Owners=["self"])["Images"]}

        def version(machine: dict[str, Any]) -> str:
            tags = {one["Key"]: one["Value"] for one in amis[machine["ImageId"]]["Tags"]}
            return self._versions[tags[ami.IMAGE_TAG]]

        return {f"{one['InstanceId']} {version(one)}".strip() for one in machines}

    def _looked_up(self, name: str) -> str:
        """What this name in a hosted zone leads to."""
        route53 = self._aws.client("route53")
        for zone in route53.list_hosted_zones()["HostedZones"]:
            for one in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]:
                if one["Name"].rstrip(".") == name and "AliasTarget" in one:
                    return str(one["AliasTarget"]["DNSName"]).lower()
        return ""

    def _clock(self) -> float:
        """Minutes pass between two looks at what cannot run, so that its deadline comes."""
        self._seconds += 120 if self._hurries else 0
        return self._seconds

    def cannot_run(self, release: Release) -> None:
        """Which image is bad is said by its AMI, so that is made first."""
        self._hurries = True
        assert release.disk
        made = ami.publish(
            ami.clients(connect()), release.disk, image=release.image.id, architecture="x86_64"
        )
        self._aws.emulator.control("unhealthy", image=made.ami.id)

    def why(self, really: str) -> str:
        return "health check"
