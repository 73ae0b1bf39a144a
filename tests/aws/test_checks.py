"""What AWS would refuse is said before any call."""

import re
from dataclasses import replace

import pytest

from i2kit.errors import Position
from i2kit.model import NetworkPeer, NetworkPolicy, PolicyPort, PolicyRule, Port, Release, Resources, Selector
from i2kit.providers.aws.design.checks import of_update, problems
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.place.network import NO_VPC
from i2kit.providers.aws.values import Architecture, Network, Options, Subnet, Zone

from .releases import (
    AMI,
    CERTIFICATE,
    NETWORK,
    OPTIONS,
    PRIVATE_SUBNETS,
    PRIVATE_ZONE,
    PUBLIC_ZONE,
    SUBNETS,
    release,
    service,
    udp,
)


def found(
    wanted: Release, network: Network = NETWORK, zone: Zone | None = None, options: Options = OPTIONS
) -> list[str]:
    return [str(problem) for problem in problems(wanted, network, zone, options)]


def only(texts: list[str], *parts: str) -> None:
    """There is one problem, and these words are in it."""
    assert len(texts) == 1, texts
    for part in parts:
        assert part in texts[0]


@pytest.mark.parametrize("zone", [None, PRIVATE_ZONE, PUBLIC_ZONE])
def test_what_is_right_is_not_complained_of(zone: Zone | None) -> None:
    assert found(release(), zone=zone) == []
    assert found(release(ports=()), replace(NETWORK, subnets=SUBNETS[:1]), zone) == []
    assert found(release(), options=replace(OPTIONS, certificate=CERTIFICATE, key_pair="ops")) == []
    server = "arn:aws:iam::123456789012:server-certificate/site"
    assert found(release(), options=replace(OPTIONS, certificate=server)) == []


def test_a_problem_tells_its_place() -> None:
    wanted = release(resources=Resources(memory_request_bytes=1 << 40))
    placed = replace(wanted, workload=replace(wanted.workload, position=Position("app.yml", 3, 1)))
    only(found(placed), "app.yml:3:1: ")


def test_place() -> None:
    only(found(release(), options=replace(OPTIONS, region="Frankfurt")), "`Frankfurt` is not a region")
    only(found(release(), replace(NETWORK, vpc="main")), "`main` is not the id of a vpc")
    only(found(release(), replace(NETWORK, security_group="web")), "`web` is not the id of a security group")
    only(found(release(), replace(NETWORK, subnets=(Subnet("a", "us-east-1a"),))), "not the id of a subnet")
    only(found(release(), replace(NETWORK, subnets=())), "no subnet", "I2KIT_SUBNET")


def test_a_public_service_needs_a_public_subnet() -> None:
    public = release(services=(service("web", (80, 80, None), public=True),))
    private = replace(NETWORK, subnets=PRIVATE_SUBNETS)
    only(found(public, private), "service `web` is public", "I2KIT_SUBNET")
    assert found(release(), private) == []


def test_two_subnets_of_one_zone() -> None:
    twice = replace(NETWORK, subnets=(*SUBNETS, replace(SUBNETS[0], id="subnet-00000001")))
    only(found(release(), twice), "2 of the subnets are in us-east-1a")
    assert found(release(ports=()), twice) == []


def test_certificate() -> None:
    elsewhere = CERTIFICATE.replace("us-east-1", "eu-west-1")
    only(found(release(), options=replace(OPTIONS, certificate=elsewhere)), "in eu-west-1", "in us-east-1")
    only(found(release(), options=replace(OPTIONS, certificate="site.pem")), "not the ARN of a certificate")


@pytest.mark.parametrize(
    ("type_", "architecture", "parts"),
    [
        ("t2.micro", "x86_64", ("Xen", "BIOS", "use t3.nano")),
        ("t4g.micro", "x86_64", ("it is arm64, and the image x86_64", "use t3.nano")),
        ("t3.micro", "arm64", ("it is x86_64, and the image arm64", "use t4g.nano")),
        ("micro", "x86_64", ("`micro` is not an instance type",)),
    ],
)
def test_instance_types_that_do_not_fit(
    type_: str, architecture: Architecture, parts: tuple[str, ...]
) -> None:
    only(found(release(), options=Options("us-east-1", architecture, type_)), *parts)


@pytest.mark.parametrize(
    ("type_", "architecture"), [("t3.micro", "x86_64"), ("t4g.micro", "arm64"), ("x99.huge", "x86_64")]
)
def test_instance_types_that_fit(type_: str, architecture: Architecture) -> None:
    assert found(release(), options=Options("us-east-1", architecture, type_)) == []


def test_a_pod_that_is_larger_than_its_instance_type() -> None:
    large = release(resources=Resources(memory_request_bytes=1 << 30, cpu_request_millis=500))
    texts = found(large, options=replace(OPTIONS, instance_type="t3.micro"))
    only(texts, "t3.micro does not fit deployment `web`", "1,120 MiB", "947 MiB", "use t3.small")
    huge = release(resources=Resources(memory_request_bytes=1 << 40))
    only(found(huge), "1,048,672 MiB", "m7i.16xlarge", "I2KIT_INSTANCE_TYPE")
    assert found(huge, options=replace(OPTIONS, instance_type="u-24tb1.metal")) == []


def test_labels_that_cannot_be_tags() -> None:
    long_key = "a" * 120 + "/" + "b" * 20
    only(found(release(labels=((long_key, "x"),))), "its key has 141 characters")
    only(found(release(labels=(("a", "x" * 257),))), "its value has 257 characters")
    only(found(release(labels=(("a", "x?"),))), "letters, digits, blanks")
    only(found(release(labels=(("aws:a", "x"),))), "AWS's own")
    assert len(found(release(labels=(("App", "x"), ("app", "y"))))) == 2
    many = tuple((f"label{number}", "x") for number in range(46))
    only(found(release(labels=many)), "46 labels", "no more than 45")
    assert found(release(labels=many[:45])) == []


def ports(count: int, first: int = 9000) -> tuple[Port, ...]:
    return tuple(Port(first + number) for number in range(count))


def test_listeners_and_targets() -> None:
    assert found(release(ports=ports(30), replicas=16)) == []
    assert "51 ports: a load balancer has 50 listeners at most" in found(release(ports=ports(51)))[0]
    only(found(release(ports=ports(30), replicas=17)), "17 replicas with 30 ports are 510 targets")
    # Those of HTTP go through an application load balancer, which has room for more.
    web = tuple(Port(9000 + number, f"http-{number}") for number in range(10))
    assert found(release(ports=web, replicas=100)) == []
    only(found(release(ports=web, replicas=101)), "101 replicas with 10 ports are 1010 targets")


def test_rules_of_a_security_group() -> None:
    wide = replace(NETWORK, cidrs=("10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16"))
    assert found(release(ports=ports(20)), wide) == []
    only(found(release(ports=ports(21)), wide), "21 ports from 3 address ranges", "I2KIT_SECURITY_GROUP")
    assert found(release(ports=ports(31)), replace(wide, security_group="sg-00000001")) == []


def test_what_a_load_balancer_does_not_do() -> None:
    both = service("dns", (53, 1, None), udp(53, 2))
    only(found(release(services=(both,))), "`dns` has port 53 for TCP and for UDP", "targetPort")
    assert found(release(services=(service("dns", (53, 1, None), udp(53, 1)),))) == []
    sticky = service("site", (443, 80, None), (22, 22, None), sticky_s=60)
    with_certificate = replace(OPTIONS, certificate=CERTIFICATE)
    only(found(release(services=(sticky,)), options=with_certificate), "`site` has sessionAffinity", "443")
    assert found(release(services=(sticky,))) == []


def test_a_network_policy_that_security_groups_cannot_say() -> None:
    closed = replace(release(), policies=(NetworkPolicy("closed", Selector(), ingress=()),))
    assert found(closed) == []
    given = replace(NETWORK, security_group="sg-00000001")
    only(found(closed, given), "NetworkPolicy `closed`", "sg-00000001 alone decides")
    peers = (NetworkPeer("192.0.2.0/24"),)
    named = NetworkPolicy("named", Selector(), egress=(PolicyRule(peers, (PolicyPort("TCP", "sql"),)),))
    only(found(replace(closed, policies=(named,))), "the port named sql")
    holes = tuple(f"192.0.2.{number}/32" for number in range(1, 120, 4))
    many = NetworkPolicy("many", Selector(), ingress=(PolicyRule((NetworkPeer("192.0.2.0/24", holes),)),))
    public = release(services=(service("web", (80, 80, None), public=True),))
    only(found(replace(public, policies=(many,))), "rules of PublicApplicationSecurityGroup", "60 at most")


def test_only_one_can_say_who_may_call() -> None:
    some = service("web", (80, 80, None), public=True, sources=("192.0.2.0/24",))
    assert found(release(services=(some,))) == []
    given = replace(NETWORK, security_group="sg-00000001")
    only(found(release(services=(some,)), given), "loadBalancerSourceRanges", "sg-00000001")
    many = replace(some, sources=tuple(f"192.0.2.{number}/32" for number in range(61)))
    only(found(release(services=(many,))), "1 ports from 61 address ranges", "fewer ranges")


def test_names_that_are_too_long() -> None:
    long = "a" * 63
    only(found(release(long, namespace=long)), "has 136 characters, and 128 is the most", "by 8 together")
    assert found(release(long, namespace="b" * 55)) == []
    far = Zone("Z1", "c" * 60 + ".example." + "d" * 60 + "." + "e" * 60, private=False)
    only(found(release(long, namespace="b" * 8), zone=far), "263 characters: no more than 255")


def test_too_many_services_to_tell_of() -> None:
    near = tuple(service(f"service-number-{number}", (80, 80, None)) for number in range(200))
    only(found(release(neighbours=near), zone=PRIVATE_ZONE), "bytes of user data", "16,384")
    assert found(release(neighbours=near[:100]), zone=PRIVATE_ZONE) == []


def test_a_template_that_is_too_large() -> None:
    many = tuple(
        service(f"service-{number}", *((port, port, None) for port in range(9000, 9040)))
        for number in range(10)
    )
    texts = found(release(services=many, ports=ports(40)))
    assert any("bytes, and CloudFormation takes 51,200" in text for text in texts)
    assert any("403 outputs, and CloudFormation takes 200" in text for text in texts)


def test_more_numbered_machines_than_a_template_holds() -> None:
    def numbered(replicas: int) -> list[str]:
        return found(release("db", replicas=replicas, stateful=True))

    (text,) = numbered(40)
    match = re.search(r"40 numbered machines takes [\d,]+\n  hint: have (\d+) replicas, or fewer", text)
    assert match
    assert numbered(int(match[1])) == [] != numbered(int(match[1]) + 1)


def test_the_hint_names_what_named_the_type() -> None:
    options = replace(OPTIONS, instance_type="t2.micro")
    only(found(release(), options=options), "use t3.nano, or leave I2KIT_INSTANCE_TYPE out")
    one = release()
    one = replace(one, workload=replace(one.workload, instance_type="t2.micro"))
    only(found(one, options=options), "use t3.nano, or leave instanceType out")


def test_a_deployment_stays_in_its_network() -> None:
    here, there = (
        template(release(), AMI, replace(NETWORK, vpc=vpc), None, OPTIONS) for vpc in ("vpc-1", "vpc-2")
    )
    assert of_update(here, here) == ()
    assert "default/web` runs in vpc-1 and cannot move to vpc-2" in str(of_update(here, there)[0])
    unmade = template(release(), AMI, replace(NETWORK, vpc=NO_VPC), None, OPTIONS)
    assert "to a shared network that is still to be made (i2kit-network)" in str(of_update(here, unmade)[0])
