"""NetworkPolicies as rules of security groups: what they come to, and that they follow who comes and goes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from i2kit.model import (
    NetworkPeer,
    NetworkPolicy,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Port,
    Release,
    Selector,
)
from i2kit.providers import Rollback, Scale
from i2kit.providers.aws.design import ingress, policies
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.template import of_record
from i2kit.providers.aws.steps import Steps
from i2kit.providers.aws.values import Peer, Way

from .conftest import Aws
from .releases import AMI, NETWORK, OPTIONS, PRIVATE_ZONE, release, service
from .templates import SITE
from .test_provider import Make, built, deployed, do, left, make, plan, subjects

__all__ = ["built", "make"]

ALL = Selector()


def labelled(**labels: str) -> Selector:
    return Selector(tuple(labels.items()))


def pods(**labels: str) -> PodPeer:
    return PodPeer(labelled(**labels), ("default",))


def let_in(*rules: PolicyRule, name: str = "in", **selected: str) -> NetworkPolicy:
    return NetworkPolicy(name, labelled(**selected), ingress=rules)


def let_out(*rules: PolicyRule, name: str = "out", **selected: str) -> NetworkPolicy:
    return NetworkPolicy(name, labelled(**selected), egress=rules)


FRONT = Peer(
    "default/front",
    (("app", "front"),),
    "sg-00000000000000011",
    (("http", 8080, "TCP"),),
    (Way("sg-00000000000000012", 80, "tcp", 8080), Way("sg-00000000000000012", 9090, "tcp", 9090)),
)
OTHER = replace(FRONT, key="other/front", group="sg-00000000000000021", ways=())


def made(wanted: Release, *found: NetworkPolicy, peers: tuple[Peer, ...] = (FRONT, OTHER)) -> dict[str, Any]:
    wanted = replace(wanted, policies=found)
    meant = policies.meant(wanted, peers)
    one = Record(1, "", wanted, AMI, OPTIONS, NETWORK, PRIVATE_ZONE, peers=meant)
    return of_record(one)["Resources"]  # type: ignore[no-any-return]


def rules(made: dict[str, Any], group: str, direction: str = "Ingress") -> list[str] | None:
    """As `tcp 80 WHO`, without those of load balancers and checks."""
    found = made[group]["Properties"].get(f"SecurityGroup{direction}")
    if found is None:
        return None
    told = []
    for one in found:
        who = one.get("CidrIp") or one.get("SourceSecurityGroupId") or one.get("DestinationSecurityGroupId")
        if isinstance(who, str):
            ports = f" {one['FromPort']}" if "FromPort" in one else ""
            ports += f"-{one['ToPort']}" if one.get("ToPort") != one.get("FromPort") else ""
            told.append(f"{one['IpProtocol']}{ports} {who.removeprefix('sg-000000000000000')}")
    return told


WEB = "InternalApplicationSecurityGroup"
MACHINES = policies.MACHINES


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), ["tcp 80 10.78.0.0/16"]),
        # Nothing but what a rule lets in.
        ((let_in(),), []),
        ((let_in(PolicyRule()),), ["tcp 80 10.78.0.0/16"]),
        ((let_in(PolicyRule((pods(app="front"),))),), ["tcp 80 11"]),
        ((let_in(PolicyRule((PodPeer(labelled(app="front"), None),))),), ["tcp 80 11", "tcp 80 21"]),
        ((let_in(PolicyRule((pods(app="nobody"),))),), []),
        # Any of several policies.
        ((let_in(), let_in(PolicyRule((pods(app="front"),)))), ["tcp 80 11"]),
        # One that says nothing of callers.
        ((let_out(),), ["tcp 80 10.78.0.0/16"]),
        # Ports are the pods'.
        ((let_in(PolicyRule(None, (PolicyPort("TCP", 8080),))),), ["tcp 80 10.78.0.0/16"]),
        ((let_in(PolicyRule(None, (PolicyPort("TCP", "web"),))),), ["tcp 80 10.78.0.0/16"]),
        ((let_in(PolicyRule(None, (PolicyPort("TCP", 8000, 8080),))),), ["tcp 80 10.78.0.0/16"]),
        ((let_in(PolicyRule(None, (PolicyPort("TCP", 80),))),), []),
        ((let_in(PolicyRule(None, (PolicyPort("UDP", 8080),))),), []),
        # Networks, without what is not meant, as far as they are here or joined with here.
        ((let_in(PolicyRule((NetworkPeer("10.78.4.0/24"),))),), ["tcp 80 10.78.4.0/24"]),
        ((let_in(PolicyRule((NetworkPeer("0.0.0.0/0"),))),), ["tcp 80 10.78.0.0/16"]),
        ((let_in(PolicyRule((NetworkPeer("172.16.0.0/12"),))),), ["tcp 80 172.16.0.0/12"]),
        ((let_in(PolicyRule((NetworkPeer("192.0.9.0/24"),))),), []),
        ((let_in(PolicyRule((NetworkPeer("2001:db8::/32"),))),), []),
        (
            (let_in(PolicyRule((NetworkPeer("10.78.0.0/16", ("10.78.64.0/18",)),))),),
            ["tcp 80 10.78.128.0/17", "tcp 80 10.78.0.0/18"],
        ),
    ],
)
def test_who_may_call_a_service(found: tuple[NetworkPolicy, ...], expected: list[str]) -> None:
    web = release(ports=(Port(8080, "web"),), services=(service("web", (80, 8080, "http")),))
    assert rules(made(web, *found), WEB) == expected


def test_what_is_public_is_for_the_networks_that_are_meant() -> None:
    web = release(services=(service("web", (80, 80, None), public=True, sources=("192.0.2.0/24",)),))
    some = let_in(PolicyRule((NetworkPeer("192.0.0.0/16", ("192.0.2.128/25",)), pods(app="front"))))
    assert rules(made(web, some), "PublicApplicationSecurityGroup") == ["tcp 80 192.0.2.0/25"]
    # What machines call has a load balancer of its own then.
    both = (service("site", (80, 80, None), public=True), service("web", (80, 80, None)))
    assert rules(made(release(services=both), some), WEB) == ["tcp 80 11"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), None),
        ((let_in(),), None),
        ((let_out(),), []),
        ((let_out(PolicyRule()),), ["-1 0.0.0.0/0"]),
        ((let_out(PolicyRule((NetworkPeer("192.0.2.0/24"),))),), ["-1 192.0.2.0/24"]),
        (
            (
                let_out(
                    PolicyRule(
                        (NetworkPeer("192.0.2.0/24"),), (PolicyPort("UDP", 53), PolicyPort("TCP", 1, 9))
                    )
                ),
            ),
            ["udp 53 192.0.2.0/24", "tcp 1-9 192.0.2.0/24"],
        ),
        # Pods are called by their services' ports.
        ((let_out(PolicyRule((pods(app="front"),), (PolicyPort("TCP", "http"),))),), ["tcp 80 12"]),
        ((let_out(PolicyRule((pods(app="front"),))),), ["tcp 80 12", "tcp 9090 12"]),
        ((let_out(PolicyRule(None, (PolicyPort("TCP", 8080),))),), ["tcp 8080 0.0.0.0/0", "tcp 80 12"]),
        ((let_out(PolicyRule((pods(app="nobody"),))),), []),
        # What machines need anyway is no second rule.
        ((let_out(PolicyRule((NetworkPeer("0.0.0.0/0"),), (PolicyPort("TCP", 443),))),), []),
    ],
)
def test_whom_machines_may_call(found: tuple[NetworkPolicy, ...], expected: list[str] | None) -> None:
    told = rules(made(release(), *found), MACHINES, "Egress")
    if expected is None:
        assert told is None
    else:
        assert told == ["tcp 443 0.0.0.0/0", *expected]


def test_machines_that_are_called_by_their_names() -> None:
    db = release("db", ports=(Port(5432),), services=(service("dbs", (5432, 5432, None), headless=True),))
    assert rules(made(db), MACHINES) == ["tcp 5432 10.78.0.0/16"]
    closed = made(db, let_in(PolicyRule((pods(app="front"), pods(app="db")))))
    assert rules(closed, MACHINES) == ["tcp 5432 11"]
    apart = closed["MachineOwnTcp5432"]["Properties"]
    assert apart["GroupId"] == apart["SourceSecurityGroupId"] == {"Fn::GetAtt": [MACHINES, "GroupId"]}


def test_a_deployment_that_may_call_itself() -> None:
    web = replace(release(), policies=())
    own = made(web, let_in(PolicyRule((pods(app="web"),))), let_out(PolicyRule((pods(app="web"),))))
    assert rules(own, WEB) == []
    into, out = own["InternalApplicationOwnTcp80"], own["InternalApplicationOwnTcp80Out"]
    assert (into["Type"], out["Type"]) == ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress")
    assert out["Properties"]["DestinationSecurityGroupId"] == {"Fn::GetAtt": [WEB, "GroupId"]}


@pytest.mark.parametrize(
    ("rule", "open_"),
    [
        (PolicyRule(), True),
        (PolicyRule((NetworkPeer("0.0.0.0/0"),)), True),
        (PolicyRule((PodPeer(ALL, ("ingress-nginx",)),)), True),
        (PolicyRule((PodPeer(labelled(**{"app.kubernetes.io/name": "ingress-nginx"}), None),)), True),
        (PolicyRule((PodPeer(ALL, ("default",)),)), False),
        (PolicyRule((NetworkPeer("192.0.2.0/24"),)), False),
        (PolicyRule(None, (PolicyPort("TCP", 81),)), False),
    ],
)
def test_an_ingress_leads_to_what_it_may_call(rule: PolicyRule, open_: bool) -> None:
    wanted = replace(release(services=(service("web", (80, 80, "http")),)), policies=(let_in(rule),))
    assert bool(ingress.backends(wanted, SITE)) == open_
    told = " ".join(policies.notes(replace(wanted, ingresses=(SITE,)), ()))
    assert ("answers 503" in told) == (not open_)


# --- as deployments come and go ---------------------------------------------------------------


def named(aws: Aws) -> list[str]:
    """Whose machines may call the load balancer of web."""
    ec2 = aws.client("ec2")
    groups = {one["GroupId"]: one for one in ec2.describe_security_groups()["SecurityGroups"]}
    (web,) = (
        one for one in groups.values() if one["Description"] == "i2kit default/web: internal load balancer"
    )
    return sorted(
        groups[pair["GroupId"]]["Description"].removeprefix("i2kit default/").removesuffix(": machines")
        for rule in web["IpPermissions"]
        for pair in rule["UserIdGroupPairs"]
    )


def test_policies_follow_who_comes_and_goes(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    closed = let_in(PolicyRule((pods(tier="front"),)), name="closed", app="web")
    web = replace(built("a"), policies=(closed,))
    front, back = (
        built("a", name, replicas=1, labels=(("tier", name),), services=()) for name in ("front", "back")
    )
    deployed(make(), web)
    assert named(aws) == []
    assert any("policies of default/web mean it" in note for note in plan(make(), front).notes)
    assert not any("policies" in note for note in plan(make(), back).notes)
    for one in (front, back):
        deployed(make(), one, one.workload.key)
    assert named(aws) == ["front"]
    for one in (web, front, back):
        assert plan(make(new=True), one).actions == ()
    # The policy is in the record: it outlives what is done without files.
    deployed(make(), Scale(4))
    deployed(make(), replace(built("b", replicas=4), policies=()))
    assert named(aws) == []
    deployed(make(), Rollback())
    assert named(aws) == ["front"]
    # What is named goes only once it is not.
    assert subjects(plan(make(), None, "default/front"))["network policies of default/web"] == "change"
    do(make(), None, "default/front")
    assert named(aws) == []
    do(make(), None, "default/back")
    do(make(), None)
    assert left(aws) == []


def test_what_comes_from_other_files_is_held_too(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    def open_(name: str) -> bool:
        """Whether anybody may call the load balancer."""
        groups = aws.client("ec2").describe_security_groups()["SecurityGroups"]
        told = f"i2kit default/{name}: internal load balancer"
        (one,) = (one for one in groups if one["Description"] == told)
        return bool(one["IpPermissions"])

    def one(name: str, *policies: NetworkPolicy) -> Release:
        own = replace(service(name, (80, 80, None)), selector=(("app", name),))
        return replace(built("a", name, replicas=1), services=(own,), policies=policies)

    deny = let_in(name="deny")
    deployed(make(), one("web"))
    # Also what ran before, and what comes later.
    planned = plan(make(), one("db", deny))
    assert [each.reason for each in planned.actions if each.subject == "network policies of default/web"] == [
        "default/deny holds for it"
    ]
    deployed(make(), one("db", deny), "default/db")
    deployed(make(), one("api"), "default/api")
    assert [open_(name) for name in ("web", "db", "api")] == [False, False, False]
    for each in (one("web"), one("db", deny), one("api")):
        assert plan(make(new=True), each).actions == ()
    # An interrupted run has not told them: the next one does.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "admit", lambda *_, **__: None)
        deployed(make(), one("db"), "default/db")
    assert [open_(name) for name in ("web", "db", "api")] == [False, True, False]
    assert set(subjects(plan(make(), one("db")))) == {
        "network policies of default/web",
        "network policies of default/api",
    }
    deployed(make(), one("db"), "default/db")
    assert [open_(name) for name in ("web", "db", "api")] == [True, True, True]


def test_two_that_may_call_each_other_alone(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    def one(name: str, other: str) -> Release:
        found = built("a", name, replicas=1)
        rule = PolicyRule((pods(app=other), pods(app=name)))
        policy = NetworkPolicy(name, labelled(app=name), ingress=(rule,), egress=(rule,))
        own = replace(service(name, (80, 80, None)), selector=(("app", name),))
        return replace(found, policies=(policy,), services=(own,))

    first, second = one("web", "api"), one("api", "web")
    deployed(make(), first)
    deployed(make(), second, "default/api")
    assert named(aws) == ["api", "web"]
    # Another kind of load balancer: its security group is another one, and nothing holds the old.
    tcp = replace(service("api", (80, 80, "tcp")), selector=(("app", "api"),))
    deployed(make(), replace(second, services=(tcp,)), "default/api")
    ec2 = aws.client("ec2")
    described = [one["Description"] for one in ec2.describe_security_groups()["SecurityGroups"]]
    assert described.count("i2kit default/api: internal load balancer") == 1
    assert subjects(plan(make(), first)) == {}
    do(make(), None, "default/api")
    do(make(), None)
    assert left(aws) == []
