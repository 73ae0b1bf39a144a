"""The policies of docs/aws-policy against what i2kit calls: a life of deployments on the emulated AWS asks
nothing that they refuse, and all that they allow.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2kit.errors import InputError, NotReadyError, OperationError, RolloutError
from i2kit.events import Event, Replicas, Started, ignore
from i2kit.model import (
    Claim,
    Deployment,
    Ingress,
    Metric,
    Release,
    Resources,
    Route,
    Scaling,
    SecretKey,
    SecretValue,
    Volume,
)
from i2kit.providers import Front, Rollback, Scale, Wanted
from i2kit.providers.aws import AwsProvider
from i2kit.providers.aws.access import calls
from i2kit.providers.aws.running import observe, stacks
from i2kit.providers.aws.running.stacks import Pace
from i2kit.providers.aws.values import log_group, stack_name
from i2kit.settings import AwsSettings, Settings
from tests.aws import policy
from tests.aws.conftest import DIRECT, REGION, Aws
from tests.aws.policy import Recorder
from tests.aws.releases import release, service
from tests.aws.test_ingress import with_tls
from tests.aws.test_names import register

AT_ONCE = Pace(first_s=0.0, longest_s=0.0, wait=lambda seconds: None)
BLOCK = 512 << 10
WEB = "default/web"
ZONE = "i2kit.internal"

READ = policy.policies()["read"]


class Cloud:
    """An account, and i2kit with one group of settings after another."""

    def __init__(self, aws: Aws, folder: Path, recorder: Recorder) -> None:
        self.aws, self.folder, self.recorder = aws, folder, recorder
        self._runs: dict[object, AwsProvider] = {}

    def run(self, *, ask: bool = False, **given: Any) -> AwsProvider:
        # Each has clients of its own, which take their time to be made.
        words = (ask, *sorted(given.items()))
        if words not in self._runs:
            self._runs[words] = self._run(ask, given)
        return self._runs[words]

    def _run(self, ask: bool, given: dict[str, Any]) -> AwsProvider:
        settings = Settings(
            state_dir=self.folder / "state",
            run_dir=self.folder / "run",
            store_dir=self.folder / "store",
            lock_file=self.folder / "i2kit.lock",
            aws=AwsSettings(**given),
        )
        provider = AwsProvider(settings)
        provider.pace, provider.ask = AT_ONCE, ask
        return provider

    def built(self, image: str, name: str = "web", **words: Any) -> Release:
        """A release whose disk differs from others in one block of three."""
        disk = self.folder / f"{image}.raw"
        with disk.open("wb") as writing:
            for index, text in enumerate(("base", "more of it", image)):
                writing.seek(index * 3 * BLOCK)
                writing.write(text.encode().ljust(BLOCK, b"\0"))
            os.truncate(writing.fileno(), 32 << 20)
        wanted = release(name, **words)
        return replace(wanted, image=replace(wanted.image, id=image * 64), disk=disk)

    def do(
        self,
        wanted: Wanted | None,
        key: str = WEB,
        watch: Callable[[Event], None] = ignore,
        **given: Any,
    ) -> Deployment | None:
        run = self.run(**given)
        key = wanted.workload.key if isinstance(wanted, Release) else key
        return run.apply(run.plan(key, wanted, run.observe(key)), watch)

    def plan(self, wanted: Wanted | None, key: str = WEB, **given: Any) -> None:
        """As `i2kit plan` does it."""
        run = self.run(ask=True, **given)
        run.plan(key, wanted, run.observe(key))

    def breaks(self, action: str, resource: str = "Group", times: int = 1) -> None:
        words = {"resource": resource, "action": action, "reason": "out of them", "times": times}
        self.aws.emulator.control("break_resource", **words)


@pytest.fixture
def cloud(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.001)
    with policy.recording() as recorder:
        yield Cloud(aws, tmp_path, recorder)


def test_who_may_read_can_look_at_everything_and_do_no_more(cloud: Cloud) -> None:
    cloud.do(cloud.built("a"))
    cloud.recorder.forget()
    run = cloud.run()
    assert [one.key for one in run.list()] == [WEB]
    assert run.observe(WEB)
    assert run.history(WEB)
    assert list(run.logs(WEB, container=None, replica=0, follow=False)) == []
    assert [one.keys for one in run.images()] == [(WEB,)]
    assert policy.denied(READ, cloud.recorder.asked) == []
    assert {action for one in READ for action in one.actions} == cloud.recorder.actions


def test_who_may_deploy_can_do_everything_and_no_more(cloud: Cloud) -> None:
    with_the_shared_network(cloud)
    with_what_was_given(cloud)
    after_interruptions(cloud)
    with_an_ingress(cloud)
    with_names_of_machines(cloud)
    # What nobody was told tags of has none.
    asked = [replace(one, unknown=False) for one in cloud.recorder.asked]
    assert policy.denied(DIRECT, asked) == []
    assert {action for one in DIRECT for action in one.actions} == cloud.recorder.actions


def with_an_ingress(cloud: Cloud) -> None:
    """Its certificate comes, is another one, and goes."""
    one = Ingress("site", (("", (Route("/", False, "web", 80),)),), tls=((("shop.example.com",), "shop"),))
    for _ in range(2):
        cloud.do(with_tls(replace(cloud.built("a"), ingresses=(one,)), "shop"))
    cloud.do(None)


def with_names_of_machines(cloud: Cloud) -> None:
    """A machine has told where it is, and nobody takes that back but i2kit."""
    peers = service("peers", (80, 80, None), headless=True)
    cloud.do(cloud.built("a", services=(peers,)), hosted_zone=ZONE)
    register(cloud.aws, "peers.default.svc.i2kit.internal", "i-00000000000000000")
    cloud.do(None, hosted_zone=ZONE)


def with_the_shared_network(cloud: Cloud) -> None:
    first = cloud.built("a")
    private: dict[str, Any] = {"hosted_zone": ZONE}
    cloud.plan(first, **private)
    cloud.do(first, **private)
    cloud.do(first, **private)
    cloud.plan(cloud.built("b"), **private)
    cloud.do(Scale(4))
    cloud.do(cloud.built("b", replicas=4), **private)
    cloud.breaks("UPDATE")
    with pytest.raises(RolloutError):
        cloud.do(cloud.built("c", replicas=4), **private)
    given_up(cloud)
    cloud.do(Front((service("front", (8080, 80, "http")),)))
    cloud.do(Rollback())
    for value in (b"one", b"two"):
        kept = replace(first, secrets=(SecretValue("default", "db", "password", value),))
        told = (SecretKey("db", "password"),)
        cloud.do(replace(kept, workload=replace(kept.workload, secrets=told)), **private)
    with_volumes(cloud, private)
    run = cloud.run()
    run.list(), run.history(WEB), list(run.logs(WEB, container=None, replica=None, follow=False))
    for one in run.images():
        if not one.used_by:
            run.remove_image(one, ignore)
    cloud.do(None)
    assert cloud.run().list() == ()


def with_volumes(cloud: Cloud, private: dict[str, Any]) -> None:
    """One that grows, is taken over by another deployment, and goes."""
    for name, gib in (("db", 1), ("db", 2), ("other", 2)):
        mine = Volume("data", Claim("data", gib << 30))
        cloud.do(cloud.built("a", name, replicas=1, volumes=(mine,)), **private)
        run = cloud.run(**private)
        run.volumes = name == "other"
        if gib == 2:
            cloud.do(None, f"default/{name}", **private)
        run.volumes = False


def given_up(cloud: Cloud) -> None:
    """Machines that AWS scales, of which new ones power themselves off."""
    cpu = {"resources": Resources(cpu_request_millis=100)}
    scaling = Scaling(2, 5, (Metric("cpu", percent=50),))
    cloud.do(cloud.built("d", "scaled", scaling=scaling, **cpu))
    cloud.do(Scale(4), "default/scaled")

    def ending(event: Event) -> None:
        for one in event.instances if isinstance(event, Replicas) else ():
            if one.image == "e" * 64:
                cloud.aws.emulator.control("power_off", instance=one.id)

    with pytest.raises(RolloutError, match="powered itself off"):
        cloud.do(cloud.built("e", "scaled", scaling=scaling, **cpu), watch=ending)
    cloud.do(None, "default/scaled")


def with_what_was_given(cloud: Cloud) -> None:
    """A network, a key pair, a type, zones by id and by name, and a certificate that is not to be had yet."""
    ec2, route53 = cloud.aws.client("ec2"), cloud.aws.client("route53")
    ec2.create_key_pair(KeyName="ops")
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][:2]
    vpc = subnets[0]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    group = ec2.create_security_group(GroupName="given", Description="given", VpcId=vpc)["GroupId"]
    words = {"CallerReference": "1", "VPC": {"VPCRegion": REGION, "VPCId": vpc}}
    zone = route53.create_hosted_zone(Name="example.internal", **words)["HostedZone"]["Id"]
    given: dict[str, Any] = {
        "subnets": tuple(one["SubnetId"] for one in subnets),
        "key_pair": "ops",
        "instance_type": "t3.small",
    }
    cloud.do(cloud.built("a"), hosted_zone=zone.removeprefix("/hostedzone/"), **given)
    cloud.plan(cloud.built("a"), hosted_zone="example.internal", security_group=group, **given)
    with pytest.raises(InputError, match="no hosted zone"):
        cloud.plan(cloud.built("a"), hosted_zone="example.org", **given)
    with pytest.raises(InputError, match="no alarm"):
        cloud.plan(cloud.built("a"), alarms=("errors",), **given)
    certificate = cloud.aws.client("acm").request_certificate(DomainName="example.com")["CertificateArn"]
    with pytest.raises(InputError, match="PENDING_VALIDATION"):
        cloud.plan(cloud.built("a"), certificate=certificate, **given)
    cloud.do(None)


class Clock:
    """An hour passes between any two looks."""

    def __init__(self) -> None:
        self._hours = 0

    def __call__(self) -> float:
        self._hours += 1
        return self._hours * 3600.0


def after_interruptions(cloud: Cloud) -> None:
    """What is left by runs that failed or were killed, and machines that never answer."""
    cloud.breaks("CREATE")
    with pytest.raises(OperationError):
        cloud.do(cloud.built("a"))
    client = cloud.aws.client("cloudformation")
    words = {"ChangeSetType": "CREATE", "TemplateBody": '{"Resources":{"L":{"Type":"AWS::Logs::LogGroup"}}}'}
    client.create_change_set(StackName=stack_name(WEB), ChangeSetName=f"{stacks.CHANGE_SET}left", **words)
    cloud.do(cloud.built("a"))

    # An update whose roll back fails as well, until what held it has gone.
    def breaking(event: Event) -> None:
        if isinstance(event, Started) and event.title.endswith(" Group"):
            cloud.breaks("UPDATE", "LaunchTemplate")

    cloud.breaks("UPDATE")
    with pytest.raises(OperationError, match="so did its roll back"):
        cloud.do(cloud.built("b"), watch=breaking)
    cloud.aws.emulator.control("mend")
    cloud.do(cloud.built("b"))
    unhealthy(cloud)
    cloud.do(None)


def unhealthy(cloud: Cloud) -> None:
    """Machines that are not launched, and the last words of those that never get ready: on their consoles,
    then in their logs.
    """
    steps = cloud.run()._steps
    found = steps.find(WEB)
    assert found.stack and found.stand
    stack, one = found.stack, found.stand.record
    more = replace(one.release.workload, replicas=one.release.workload.replicas + 1)
    with pytest.raises(OperationError, match="only 3 of 4"):
        wanted = replace(one, release=replace(one.release, workload=more))
        observe.wait(steps.account, stack, wanted, ignore, AT_ONCE, Clock())
    cloud.aws.emulator.control("unhealthy", image=one.ami.id)
    with pytest.raises(NotReadyError):
        observe.wait(steps.account, stack, one, ignore, AT_ONCE, Clock())
    logs = cloud.aws.client("logs")
    for vm in observe.deployment(steps.account, stack, one).instances:
        where = {"logGroupName": log_group(WEB), "logStreamName": f"{vm.id}/nginx"}
        logs.create_log_stream(**where)
        logs.put_log_events(**where, logEvents=[{"timestamp": int(time.time() * 1000), "message": "help"}])
    with pytest.raises(NotReadyError, match="nginx: help"):
        observe.wait(steps.account, stack, one, ignore, AT_ONCE, Clock())
