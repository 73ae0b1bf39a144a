"""Templates: golden files of all sorts of deployments, cfn-lint over each, and what must hold in them."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from i2kit.model import Alias, Endpoint, Port, Release, Service
from i2kit.providers.aws.design import record, userdata
from i2kit.providers.aws.design.balancing import Balancer, balancers
from i2kit.providers.aws.design.parts import camel, dumps
from i2kit.providers.aws.design.policies import MACHINES
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.template import (
    MAX_BYTES,
    endpoints_of,
    labels_of,
    of_record,
    scaled,
    tags,
    template,
)
from i2kit.providers.aws.place.network import network_of
from i2kit.providers.aws.values import Network, Zone, stack_name
from tests.golden import check as golden

from .releases import (
    AMI,
    CERTIFICATE,
    NETWORK,
    OPTIONS,
    PRIVATE_ZONE,
    PUBLIC_ZONE,
    SUBNETS,
    release,
    service,
    udp,
)
from .templates import all_templates

TEMPLATES = all_templates()


@pytest.mark.parametrize("name", TEMPLATES)
def test_golden(name: str) -> None:
    golden(f"aws/{name}.json", json.dumps(TEMPLATES[name], indent=1) + "\n")


@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    """Errors, warnings, and I3011: what holds data says what happens to it."""
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    regions = ["us-east-1", "eu-central-1", "ap-southeast-2"]
    found = lint(dumps(TEMPLATES[name]), config=ManualArgs(regions=regions, include_checks=["I3011"]))
    assert [str(match) for match in found] == []


def test_cfn_lint_would_find_something() -> None:
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    broken = json.loads(dumps(TEMPLATES["nginx"]))
    del broken["Resources"]["LogGroup"]["DeletionPolicy"]
    broken["Resources"]["Group"]["Properties"]["LaunchTemplate"]["Version"] = {"Ref": "Nothing"}
    found = lint(dumps(broken), config=ManualArgs(regions=["us-east-1"], include_checks=["I3011"]))
    assert {"E1020", "I3011"} & {match.rule.id for match in found} == {"I3011", "E1020"}


# --- load balancers ---------------------------------------------------------------------------


def balanced(
    *ports: tuple[int, int | str, str | None], certificate: str | None = None, network: Network = NETWORK
) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """Kind, then number, protocol and target's protocol of each listener."""
    wanted = release(ports=(Port(9, "named"),), services=(service("web", *ports),))
    return [
        (one.kind, [(each.number, each.protocol, each.target.protocol) for each in one.listeners])
        for one in balancers(wanted, network, certificate)
    ]


@pytest.mark.parametrize(
    ("ports", "certificate", "expected"),
    [
        ([(80, 80, None)], None, [("application", [(80, "HTTP", "HTTP")])]),
        ([(8080, 3000, None)], None, [("application", [(8080, "HTTP", "HTTP")])]),
        ([(3000, 8080, None)], None, [("application", [(3000, "HTTP", "HTTP")])]),
        ([(3000, 3000, "http-api")], None, [("application", [(3000, "HTTP", "HTTP")])]),
        ([(80, 80, "tcp-raw")], None, [("network", [(80, "TCP", "TCP")])]),
        ([(50051, 50051, "grpc")], None, [("network", [(50051, "TCP", "TCP")])]),
        ([(443, 443, None)], None, [("network", [(443, "TCP", "TCP")])]),
        ([(443, 8080, None)], CERTIFICATE, [("application", [(443, "HTTPS", "HTTP")])]),
        ([(443, 443, None)], CERTIFICATE, [("application", [(443, "HTTPS", "HTTPS")])]),
        (
            [(80, 80, None), (443, 80, None)],
            CERTIFICATE,
            [("application", [(80, "HTTP", "HTTP"), (443, "HTTPS", "HTTP")])],
        ),
        (
            [(80, 80, None), (443, 443, None)],
            None,
            [("network", [(80, "TCP", "TCP"), (443, "TCP", "TCP")])],
        ),
        (
            [(443, 80, None), (5432, 5432, None)],
            CERTIFICATE,
            [("network", [(443, "TLS", "TCP"), (5432, "TCP", "TCP")])],
        ),
        ([(636, 8443, "tls-ldap")], CERTIFICATE, [("network", [(636, "TLS", "TLS")])]),
        ([(1234, "named", None)], None, [("network", [(1234, "TCP", "TCP")])]),
        ([(1234, "nobody", None)], None, []),
    ],
)
def test_the_load_balancer_follows_from_the_ports(
    ports: list[tuple[int, int | str, str | None]], certificate: str | None, expected: Any
) -> None:
    assert balanced(*ports, certificate=certificate) == expected


def test_in_one_zone_http_goes_through_a_network_load_balancer() -> None:
    one_zone = replace(NETWORK, subnets=SUBNETS[:1])
    assert balanced((80, 80, None), network=one_zone) == [("network", [(80, "TCP", "TCP")])]


def test_services_share_a_load_balancer_unless_a_number_leads_to_two_places() -> None:
    first, second = service("a", (80, 80, None)), service("b", (9000, 9000, None))
    other = service("c", (80, 8080, None))
    found = balancers(release(services=(first, second, other)), NETWORK, None)
    assert [[one.name for one in each.services] for each in found] == [["a", "b"], ["c"]]
    assert [each.id for each in found] == ["InternalNetwork", "InternalApplication"]


def listeners(*services: Service, certificate: str | None = None) -> list[list[tuple[int, str]]]:
    found = balancers(release(services=services), NETWORK, certificate)
    return [[(each.number, each.protocol) for each in one.listeners] for one in found]


def test_udp_goes_through_a_network_load_balancer() -> None:
    assert listeners(service("a", udp(53, 5353))) == [[(53, "UDP")]]
    assert listeners(service("a", (53, 5353, None), udp(53, 5353))) == [[(53, "TCP_UDP")]]
    assert listeners(service("a", (80, 80, None), udp(53, 53))) == [[(53, "UDP"), (80, "TCP")]]
    # Two services: one number can't lead to two places, whatever the protocol.
    assert listeners(service("a", (53, 1, None)), service("b", udp(53, 2))) == [[(53, "TCP")], [(53, "UDP")]]
    assert listeners(service("a", (53, 1, None)), service("b", udp(53, 1))) == [[(53, "TCP_UDP")]]


def test_services_for_some_callers_only_share_nothing() -> None:
    some = service("some", (80, 80, None), public=True, sources=("192.0.2.0/24",))
    everyone = service("everyone", (80, 80, None), public=True)
    inside = service("inside", (80, 80, None))
    assert list(names(balancers(release(services=(some, everyone)), NETWORK, None)).values()) == [
        ["everyone"],
        ["some"],
    ]
    assert names(balancers(release(services=(some, inside)), NETWORK, None)) == {
        "PublicApplication": ["some"],
        "InternalApplication": ["inside"],
    }


def test_who_asks_for_the_same_machine_gets_it_and_others_may_too() -> None:
    sticky, other = service("z", (80, 80, None), sticky_s=60), service("a", (80, 80, None))
    longer = service("longer", (80, 80, None), sticky_s=90)
    (one,) = balancers(release(services=(other, sticky)), NETWORK, None)
    assert [target.sticky_s for target in one.targets] == [60]
    assert len(balancers(release(services=(longer, sticky)), NETWORK, None)) == 2


def test_headless_services_have_no_load_balancer() -> None:
    assert balancers(release(services=(service("web", (80, 80, None), headless=True),)), NETWORK, None) == ()


def names(found: tuple[Balancer, ...]) -> dict[str, list[str]]:
    return {one.id: [each.name for each in one.services] for one in found}


def test_a_port_is_never_public_because_another_service_is() -> None:
    public = service("site", (80, 80, None), public=True)
    same, more = service("web", (80, 80, None)), service("admin", (80, 80, None), (9000, 9000, None))
    assert names(balancers(release(services=(same, more, public)), NETWORK, None)) == {
        "PublicApplication": ["site", "web"],
        "InternalNetwork": ["admin"],
    }


def test_what_was_written_decides_what_is_spoken() -> None:
    """Not the service that each deployment has, of which nobody said anything."""
    own, written = service("web", (80, 80, None)), service("z-raw", (80, 80, "tcp"))
    found = balancers(release(services=(own, written)), NETWORK, None)
    assert [(one.kind, one.listeners[0].protocol) for one in found] == [("network", "TCP")]


def test_a_machine_need_not_listen_on_udp_to_be_ready() -> None:
    assert userdata.ready_ports(release(services=(service("a", (80, 80, None), udp(53, 53)),))) == (80,)
    assert userdata.ready_ports(release(services=(service("a", udp(53, 53)),))) == ()


def test_a_machine_is_ready_when_it_listens_where_written_services_lead() -> None:
    own, written = service("web", (80, 80, None), (8080, 8080, None)), service("site", (80, 8080, None))
    assert userdata.ready_ports(release(services=(own, written))) == (8080,)
    assert userdata.ready_ports(release(services=(own,))) == (80, 8080)


def test_what_cannot_change_in_place_has_another_name() -> None:
    """A target group can't be behind the old and the new load balancer at once."""
    inside = balancers(release(services=(service("web", (80, 80, None)),)), NETWORK, None)
    outside = balancers(release(services=(service("web", (80, 80, None), public=True),)), NETWORK, None)
    before, after = (
        template(release(services=one[0].services), AMI, NETWORK, None, OPTIONS)["Resources"]
        for one in (inside, outside)
    )
    kept = {id_ for id_ in before if id_ in after}
    assert kept == {"LogGroup", "Role", "Profile", "MachineSecurityGroup", "LaunchTemplate", "Group"}


# --- machines ---------------------------------------------------------------------------------


def test_no_replicas_are_a_valid_group() -> None:
    group = template(release(replicas=0), AMI, NETWORK, None, OPTIONS)["Resources"]["Group"]
    assert group["Properties"]["MaxSize"] == "0"
    assert group["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]["MaxHealthyPercentage"] == 200


def test_machines_have_public_addresses_only_where_that_is_their_way_out() -> None:
    def addresses(name: str) -> bool:
        data = TEMPLATES[name]["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
        return bool(data["NetworkInterfaces"][0]["AssociatePublicIpAddress"])

    assert addresses("nginx")
    assert not addresses("shop-pass-through")


def test_machines_are_told_what_containers_read_of_the_pod() -> None:
    wanted = release(facts=(("metadata.namespace", "default"), ("metadata.annotations['a']", "${b}\nc")))
    lines = user_data(template(wanted, AMI, NETWORK, PRIVATE_ZONE, OPTIONS)).splitlines()
    assert lines[-2:] == [
        "fact=metadata.namespace=default",
        "fact=metadata.annotations%5B%27a%27%5D=%24%7Bb%7D%0Ac",
    ]


def user_data(made: dict[str, Any]) -> str:
    data = made["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    text = data["UserData"]["Fn::Base64"]
    return str(text if isinstance(text, str) else text["Fn::Sub"])


def test_machines_are_told_of_services_by_name_where_there_is_a_zone() -> None:
    lines = user_data(TEMPLATES["shop-pass-through"]).splitlines()
    assert "env=DB_SERVICE_HOST=db.i2kit.internal" in lines
    assert "env=DB_SERVICE_PORT=5432" in lines
    assert "env=DB_SERVICE_PORT_TCP_SQL=5432" in lines
    assert "search=default.svc.i2kit.internal svc.i2kit.internal i2kit.internal" in lines
    assert "dns_option=ndots:6" in lines
    assert "ready_port=80" in lines


def test_without_a_zone_machines_are_told_the_load_balancers_names() -> None:
    near = service("cache", (6379, 6379, None))
    far = service("nowhere", (1, 1, None))
    options = replace(OPTIONS, addresses=(("default/cache", "cache-1.elb.amazonaws.com"),))
    told = user_data(template(release(neighbours=(near, far)), AMI, NETWORK, None, options))
    assert "env=WEB_SERVICE_HOST=${InternalApplicationLoadBalancer.DNSName}\n" in told
    assert "env=CACHE_SERVICE_HOST=cache-1.elb.amazonaws.com\n" in told
    assert "NOWHERE" not in told


def test_a_service_of_another_namespace_is_not_told() -> None:
    other = service("db", (5432, 5432, None), namespace="data")
    assert "DB_" not in user_data(template(release(neighbours=(other,)), AMI, NETWORK, PRIVATE_ZONE, OPTIONS))


def test_more_replicas_or_another_label_replace_no_machine() -> None:
    def launched(**words: Any) -> Any:
        return template(release(**words), AMI, NETWORK, None, OPTIONS)["Resources"]["LaunchTemplate"]

    assert launched(replicas=1) == launched(replicas=5) == launched(labels=(("tier", "front"),))


# --- names ------------------------------------------------------------------------------------


def record_names(zone: Zone, namespace: str) -> set[str]:
    one = service("web", (80, 80, None), namespace=namespace)
    made = template(release(namespace=namespace, services=(one,)), AMI, NETWORK, zone, OPTIONS)
    return {
        resource["Properties"]["Name"]
        for resource in made["Resources"].values()
        if resource["Type"] == "AWS::Route53::RecordSet"
    }


def test_records() -> None:
    assert record_names(PUBLIC_ZONE, "default") == {"web.example.com"}
    assert record_names(PUBLIC_ZONE, "shop") == {"web.shop.example.com"}
    assert record_names(PRIVATE_ZONE, "default") == {
        "web.i2kit.internal",
        "web.default.i2kit.internal",
        "web.default.svc.i2kit.internal",
        "web.default.svc.cluster.local.i2kit.internal",
    }
    assert record_names(PRIVATE_ZONE, "shop") == {
        "web.shop.i2kit.internal",
        "web.shop.svc.i2kit.internal",
        "web.shop.svc.cluster.local.i2kit.internal",
    }
    # Machines look names up in one of their own beside a public one.
    cluster = Zone("Z0CLUSTER", "cluster.local", private=True)
    assert record_names(replace(PUBLIC_ZONE, inner=cluster), "shop") == {
        "web.shop.example.com",
        "web.shop.cluster.local",
        "web.shop.svc.cluster.local",
    }


def test_the_endpoint_of_a_public_service_is_a_name_that_outsiders_can_look_up() -> None:
    public = release(services=(service("web", (80, 80, None), public=True),))

    def url(zone: Zone | None) -> Any:
        return template(public, AMI, NETWORK, zone, OPTIONS)["Outputs"]["EndpointWeb80"]["Value"]

    assert url(PUBLIC_ZONE) == "http://web.example.com"
    assert url(PRIVATE_ZONE) == url(None) == {"Fn::Sub": "http://${PublicApplicationLoadBalancer.DNSName}"}


def test_endpoints_can_be_read_from_the_outputs_of_a_stack() -> None:
    made = TEMPLATES["shop-certificate"]["Outputs"]
    outputs = [
        {"OutputKey": key, "OutputValue": str(one["Value"]), "Description": one.get("Description", "")}
        for key, one in made.items()
    ]
    assert endpoints_of(outputs) == (
        Endpoint("http://shop.example.com", True, "default/shop", 80),
        Endpoint("https://shop.example.com", True, "default/shop", 443),
        Endpoint("http://web.example.com", False, "default/web", 80),
    )
    assert endpoints_of([{"OutputKey": "Other", "OutputValue": "x"}]) == ()


def test_no_two_deployments_have_the_same_stack() -> None:
    keys = ["default/a-b", "a/b", "default/b-NS-a".lower(), "default/network", "b/a", "network/default"]
    found = [stack_name(key) for key in keys]
    assert len(set(found)) == len(keys)
    assert stack_name("default/web") == "i2kit-web"
    assert "i2kit-network" not in found


def test_no_two_services_have_the_same_logical_id() -> None:
    services = ["a", "a-b", "ab", "a--b", "a1", "a-1", "a-1-b", "a1-b", "1a", "1-a"]
    found = [camel(name) for name in services]
    assert len(set(found)) == len(services)
    assert all(one.isalnum() for one in found)
    assert camel("web-shop") == "WebShop"


def test_labels_become_tags() -> None:
    labels = (("app", "web"), ("tier", ""))
    found = tags(release(labels=labels))
    # CloudFormation takes no tag without a value.
    assert found == {"app": "web", "tier": "-", "i2kit:deployment": "default/web"}
    assert labels_of({**found, "aws:cloudformation:stack-name": "i2kit-web"}) == labels


def test_the_shared_network_can_be_read_back() -> None:
    made = TEMPLATES["network"]
    values = {
        "Vpc": "vpc-1",
        "Cidr": "10.78.0.0/16",
        "Subnet1": "subnet-1",
        "Subnet2": "subnet-2",
        "Zone": "Z1",
    }
    network, zone = network_of(made, values)
    assert [(subnet.id, subnet.zone) for subnet in network.subnets] == [
        ("subnet-1", "us-east-1a"),
        ("subnet-2", "us-east-1b"),
    ]
    assert (network.vpc, network.cidrs) == ("vpc-1", ("10.78.0.0/16",))
    assert zone == Zone("Z1", "i2kit.internal", private=True)
    assert set(made["Outputs"]) == set(values)


# --- records ----------------------------------------------------------------------------------


def kept(wanted: Release, **words: Any) -> Record:
    return replace(Record(1, "", wanted, AMI, OPTIONS, NETWORK, PRIVATE_ZONE), **words)


def test_attached_services_are_in_front_but_machines_are_not_told() -> None:
    front = service("front", (8080, 80, None))
    alone, attached = of_record(kept(release())), of_record(kept(release(), attached=(front,)))
    assert "RecordFront" in attached["Resources"]
    assert "InternalApplicationListener8080" in attached["Resources"]
    assert attached["Resources"]["LaunchTemplate"] == alone["Resources"]["LaunchTemplate"]


def test_a_template_changes_with_its_record_even_where_nothing_else_does() -> None:
    first, second = of_record(kept(release())), of_record(kept(release(), revision=2))
    changed = [id_ for id_ in first["Resources"] if first["Resources"][id_] != second["Resources"][id_]]
    assert changed == ["LogGroup"]
    assert first["Resources"]["LogGroup"]["Properties"] == second["Resources"]["LogGroup"]["Properties"]


def test_history_goes_where_there_is_no_room_the_oldest_first() -> None:
    past = tuple(
        kept(
            release(
                labels=tuple(
                    (f"label-{n}", hashlib.sha256(bytes([number, n])).hexdigest()) for n in range(100)
                )
            ),
            revision=number,
        )
        for number in range(1, 11)
    )
    made = of_record(kept(release(), history=past, revision=11))
    assert len(dumps(made).encode()) <= MAX_BYTES
    found = [one.revision for one in record.of(made).history]
    assert 0 < len(found) < 10
    assert found == list(range(11 - len(found), 11))


def test_scaling_changes_sizes_and_weights_alone() -> None:
    def sized(replicas: int) -> Release:
        return replace(release(replicas=replicas), aliases=(Alias("mail", "smtp.example.org"),))

    one = kept(sized(1))
    before = of_record(one)
    more = replace(one, release=sized(300))
    made = scaled(before, more)
    assert record.of(made).release.workload.replicas == 300
    assert made == of_record(more)
    assert made["Resources"]["RecordWeb"]["Properties"]["Weight"] == 255
    assert before == of_record(one)
    none = scaled(before, replace(one, release=sized(0)))
    assert none["Resources"]["RecordWeb"]["Properties"]["Weight"] == 0


def test_machines_have_a_given_security_group_too() -> None:
    given = replace(NETWORK, security_group="sg-00000000000000001")
    made = of_record(kept(release(), network=given))
    (interface,) = made["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"][
        "NetworkInterfaces"
    ]
    assert interface["Groups"] == [{"Fn::GetAtt": [MACHINES, "GroupId"]}, "sg-00000000000000001"]
