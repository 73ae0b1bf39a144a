"""What holds for every release that can be deployed."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from i2kit.model import Port, Release, Resources, Service, ServicePort
from i2kit.providers.aws.design import cost, userdata
from i2kit.providers.aws.design.checks import problems
from i2kit.providers.aws.design.difference import difference
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.values import Network, Options, Zone

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
)

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
VALUE = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?)?", fullmatch=True)
PORT_NAME = st.sampled_from(["http", "https-a", "tcp", "tls", "grpc", "web", "a-1", "a1"])
NUMBER = st.one_of(st.sampled_from([80, 443, 8080, 8443]), st.integers(1, 65535))
SECRET = "hunter2-Tr0ub4dor"


@st.composite
def services(draw: st.DrawFn, namespace: str) -> Service:
    numbers = draw(st.lists(NUMBER, min_size=1, max_size=6, unique=True))
    ports = tuple(
        ServicePort(number, draw(st.one_of(NUMBER, PORT_NAME)), draw(st.none() | PORT_NAME))
        for number in numbers
    )
    return Service(draw(LABEL), (("app", "web"),), ports, namespace, draw(st.booleans()))


@st.composite
def releases(draw: st.DrawFn) -> Release:
    namespace = draw(st.sampled_from(["default", "shop"]))
    found = draw(st.lists(services(namespace), max_size=5, unique_by=lambda one: one.name))
    near = draw(st.lists(services(namespace), max_size=3, unique_by=lambda one: one.name))
    numbers = draw(st.lists(NUMBER, max_size=6, unique=True))
    made = release(
        draw(LABEL),
        replicas=draw(st.integers(0, 250)),
        ports=tuple(Port(number, draw(st.none() | PORT_NAME)) for number in numbers),
        neighbours=tuple(near),
        resources=Resources(memory_request_bytes=draw(st.none() | st.integers(1, 1 << 36))),
        namespace=namespace,
        labels=tuple(draw(st.dictionaries(LABEL, VALUE, max_size=5)).items()),
    )
    # What containers are told is in the image, and may be secret.
    container = replace(made.workload.containers[0], env=(("PASSWORD", SECRET),), args=(SECRET,))
    workload = replace(made.workload, containers=(container,))
    return replace(made, workload=workload, services=tuple(found))


NETWORKS = st.sampled_from(
    [
        NETWORK,
        replace(NETWORK, subnets=SUBNETS[:1]),
        replace(NETWORK, subnets=(*SUBNETS, *PRIVATE_SUBNETS), security_group="sg-00000001"),
    ]
)
ZONES = st.sampled_from([None, PRIVATE_ZONE, PUBLIC_ZONE])
HOW = st.sampled_from([OPTIONS, replace(OPTIONS, certificate=CERTIFICATE, architecture="arm64")])


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0]
            elif key == "DependsOn":
                yield from [inner] if isinstance(inner, str) else inner
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{([A-Za-z0-9:]+)", inner)
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


@settings(max_examples=100, deadline=None)
@given(releases(), NETWORKS, ZONES, HOW)
def test_templates(wanted: Release, network: Network, zone: Zone | None, options: Options) -> None:
    made = template(wanted, AMI, network, zone, options)
    text = dumps(made)
    assert json.loads(text, object_pairs_hook=pairs_once) == made
    assert dumps(template(wanted, AMI, network, zone, options)) == text, "the same, whenever it is made"
    assert SECRET not in text
    other_order = replace(
        wanted,
        services=tuple(reversed(wanted.services)),
        neighbours=tuple(reversed(wanted.neighbours)),
    )
    assert json.loads(dumps(template(other_order, AMI, network, zone, options))) == made

    refused = problems(wanted, network, zone, options)
    if not refused:
        assert len(text.encode()) <= 51_200
    resources = made["Resources"]
    assert all(re.fullmatch("[A-Za-z0-9]{1,255}", id_) for id_ in [*resources, *made["Outputs"]])
    for id_ in references(made):
        assert id_ in resources or id_.startswith("AWS::"), id_

    ends = [
        (one["LoadBalancerArn"]["Ref"], one["Port"])
        for one in of_type(resources, "ElasticLoadBalancingV2::Listener")
    ]
    assert len(set(ends)) == len(ends), "a load balancer listens once on a port"
    behind: dict[str, set[str]] = {}
    for one in of_type(resources, "ElasticLoadBalancingV2::Listener"):
        target = one["DefaultActions"][0]["TargetGroupArn"]["Ref"]
        behind.setdefault(target, set()).add(one["LoadBalancerArn"]["Ref"])
        balancer = resources[one["LoadBalancerArn"]["Ref"]]["Properties"]["Type"]
        web = one["Protocol"] in ("HTTP", "HTTPS")
        assert balancer == ("application" if web else "network")
        assert ("Certificates" in one) == (one["Protocol"] in ("HTTPS", "TLS"))
    assert all(len(balancers) == 1 for balancers in behind.values()), "a target group has one load balancer"
    groups = {one["Ref"] for one in resources["Group"]["Properties"].get("TargetGroupARNs", ())}
    assert groups == set(behind) == {id_ for id_ in resources if "Target" in id_}


@settings(max_examples=100, deadline=None)
@given(releases(), NETWORKS, ZONES, HOW)
def test_a_port_is_public_only_where_a_public_service_has_it(
    wanted: Release, network: Network, zone: Zone | None, options: Options
) -> None:
    resources = template(wanted, AMI, network, zone, options)["Resources"]
    asked = {port.number for one in wanted.services if one.public for port in one.ports}
    for one in of_type(resources, "ElasticLoadBalancingV2::Listener"):
        if resources[one["LoadBalancerArn"]["Ref"]]["Properties"]["Scheme"] == "internet-facing":
            assert one["Port"] in asked


@settings(max_examples=100, deadline=None)
@given(releases(), releases(), ZONES)
def test_differences_name_every_resource_once(one: Release, other: Release, zone: Zone | None) -> None:
    old, new = (template(each, AMI, NETWORK, zone, OPTIONS) for each in (one, other))
    changes = difference(old, new)
    assert len({change.id for change in changes}) == len(changes)
    added = {change.id for change in changes if change.verb == "add"}
    removed = {change.id for change in changes if change.verb == "remove"}
    assert added == set(new["Resources"]) - set(old["Resources"])
    assert removed == set(old["Resources"]) - set(new["Resources"])
    assert difference(new, new) == ()
    assert cost.estimate(new).usd >= 0


@settings(max_examples=100, deadline=None)
@given(releases(), ZONES)
def test_user_data_is_lines_that_the_guest_reads(wanted: Release, zone: Zone | None) -> None:
    text = userdata.render(wanted, zone, {}, "us-east-1")
    keys = "hostname|search|dns_option|fqdn|register|register_unready|ready_port|region|log_group|env"
    known = rf"({keys})=[^\r\n$]+"
    assert text.endswith("\n")
    assert all(re.fullmatch(known, line) for line in text.splitlines())


def of_type(resources: dict[str, Any], type_: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in resources.values() if one["Type"] == f"AWS::{type_}"]
