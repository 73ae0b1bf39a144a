"""Services beside the plain ones: headless, with UDP, for callers that come back, and other names."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.model import Alias, Port, ServicePort
from tests.manifest.reading import POD, SERVICE, manifest, problem

PORTS = "  ports: [{port: 80}]\n"
NAMED = (
    "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {type: ExternalName, %s}}\n"
)


def test_a_headless_service_may_have_no_ports() -> None:
    (service,) = manifest(
        POD, SERVICE + "  clusterIP: None\n  clusterIPs: [None]\n  publishNotReadyAddresses: true\n"
    ).services
    assert (service.headless, service.unready, service.ports) == (True, True, ())
    (service,) = manifest(
        POD, SERVICE + PORTS + "  clusterIP: ''\n  publishNotReadyAddresses: true\n"
    ).services
    assert (service.headless, service.unready) == (False, False)


def test_tcp_and_udp_of_one_number() -> None:
    ports = "  ports: [{name: a, port: 53, protocol: UDP, targetPort: dns}, {name: b, port: 53, targetPort: dns-tcp}]\n"
    declared = (
        "        ports: [{containerPort: 53, protocol: UDP, name: dns}, {containerPort: 53, name: dns-tcp}]\n"
    )
    found = manifest(POD + declared, SERVICE + ports)
    assert found.services[0].ports == (ServicePort(53, "dns", "a", "UDP"), ServicePort(53, "dns-tcp", "b"))
    assert found.workloads[0].ports == (Port(53, "dns", "UDP"), Port(53, "dns-tcp"))


def test_a_named_port_is_of_the_services_protocol() -> None:
    declared = "        ports: [{containerPort: 53, protocol: UDP, name: dns}]\n"
    assert problem(POD + declared, SERVICE + "  ports: [{port: 53, targetPort: dns}]\n") == (
        "b.yml:6:34: spec.ports: deployment `web` has no port named `dns`\n  hint: give the port's number"
    )


@pytest.mark.parametrize(
    ("rest", "seconds"),
    [
        ("", None),
        ("  sessionAffinity: None\n", None),
        ("  sessionAffinity: ClientIP\n", 10800),
        ("  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}\n", 60),
    ],
)
def test_callers_that_come_back(rest: str, seconds: int | None) -> None:
    (service,) = manifest(POD, SERVICE + PORTS + rest).services
    assert service.sticky_s == seconds


def test_who_may_call() -> None:
    public = "  type: LoadBalancer\n"
    found = manifest(
        POD, SERVICE + PORTS + public + "  loadBalancerSourceRanges: [192.0.2.7/24, ' 10.0.0.0/8 ', '::/0']\n"
    )
    assert found.services[0].sources == ("192.0.2.0/24", "10.0.0.0/8")
    assert found.warnings == (
        "b.yml:8:29: spec.loadBalancerSourceRanges: has no effect for IPv6: machines have IPv4 addresses",
    )
    noted = SERVICE.replace(
        "{name: web}",
        "{name: web, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: '192.0.2.0/24, 10.0.0.0/8'}}",
    )
    assert manifest(POD, noted + PORTS + public).services[0].sources == ("192.0.2.0/24", "10.0.0.0/8")


@pytest.mark.parametrize("rest", ["", ", ports: [{port: 80}], selector: {app: x}"])
def test_another_name(rest: str) -> None:
    found = manifest(POD, NAMED % ("externalName: db.example.com." + rest))
    assert found.aliases == (Alias("db", "db.example.com", "shop"),)
    assert found.services == ()


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (PORTS + "  clusterIP: 10.0.0.1", "b.yml:7:14: spec.clusterIP: `10.0.0.1` is not possible: addresses are given by the provider\n  hint: write None for a headless Service, or leave it out"),
        (PORTS + "  clusterIP: None\n  type: LoadBalancer", "b.yml:7:14: spec.clusterIP: is not possible with type: LoadBalancer\n  hint: leave one of them out"),
        ("  ports: []", "b.yml:6:10: spec.ports: is an empty list\n  hint: a Service needs a port"),
        (PORTS + "  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}", "b.yml:7:26: spec.sessionAffinityConfig: has no meaning without sessionAffinity: ClientIP\n  hint: leave it out"),
        (PORTS + "  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}", "b.yml:8:54: spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be at least 1 and is 0"),
        (PORTS + "  loadBalancerSourceRanges: [10.0.0.0/8]", "b.yml:7:29: spec.loadBalancerSourceRanges: is only for the type LoadBalancer\n  hint: leave it out, or write a NetworkPolicy"),
        (PORTS + "  type: LoadBalancer\n  loadBalancerSourceRanges: [10.0.0.1]", "b.yml:8:30: spec.loadBalancerSourceRanges[0]: `10.0.0.1` is not a network\n  hint: write 10.0.0.1/32"),
        (PORTS + "  type: LoadBalancer\n  loadBalancerSourceRanges: ['::/0']", "b.yml:8:29: spec.loadBalancerSourceRanges: has networks of IPv6 only, by which nothing can call: machines have IPv4 addresses\n  hint: give those of IPv4"),
        ("  ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53, protocol: UDP}]", "b.yml:6:63: spec.ports[1].port: 53 is given twice; the first is at b.yml:6:27"),
        ("  ports: [{port: 53, protocol: SCTP}]", "b.yml:6:32: spec.ports[0].protocol: `SCTP` is not possible: load balancers do not speak it"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_service_is_one_message(rest: str, message: str) -> None:
    assert problem(POD, SERVICE + rest) == message


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("selector: {app: x}", "b.yml:1:78: spec: `externalName` is missing\n  hint: such as externalName: db.example.com"),
        ("externalName: 192.0.2.1", "b.yml:1:113: spec.externalName: `192.0.2.1` is an address, and a name stands for another name only\n  hint: use the address itself"),
        ("externalName: Db.example.com", "b.yml:1:113: spec.externalName: `Db.example.com` is not a DNS label: upper case is not allowed\n  hint: use `db-example-com`"),
    ],
)  # fmt: skip
def test_one_mistake_in_another_name_is_one_message(rest: str, message: str) -> None:
    assert problem(POD, NAMED % rest) == message


def test_an_alias_and_a_service_have_names_of_their_own() -> None:
    text = NAMED.replace("name: db, namespace: shop", "name: web") % "externalName: db.example.com"
    assert problem(POD, SERVICE + PORTS, text).startswith(
        "c.yml:1:50: the service `default/web` is given twice; the first is at b.yml:3:18"
    )


AWS = "service.beta.kubernetes.io/aws-load-balancer-"


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (f"{AWS}ssl-cert: 'arn:aws:acm:us-east-1:123456789012:certificate/1'", "is not supported for a Service: nothing would end TLS"),
        (f"{AWS}backend-protocol: ssl", "is not supported: pods are called as they are"),
        (f"{AWS}backend-protocol: tcp", None),
        (f"{AWS}proxy-protocol: '*'", "pods would wait for the PROXY protocol's greeting"),
        (f"{AWS}target-group-attributes: 'a=b, proxy_protocol_v2.enabled = true'", "pods would wait for its greeting"),
        (f"{AWS}target-group-attributes: deregistration_delay.timeout_seconds=1", None),
        (f"{AWS}security-groups: sg-1", "keeps callers out, and is not supported"),
        (f"{AWS}eip-allocations: eipalloc-1", "addresses are given by the provider"),
        ("service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol: 'true'", "PROXY protocol"),
        (f"{AWS}healthcheck-path: /h", None),
        (f"{AWS}ssl-ports: '443'", None),
        (f"{AWS}type: nlb", None),
    ],
)  # fmt: skip
def test_notes_that_decide_what_pods_get_are_refused(note: str, why: str | None) -> None:
    service = SERVICE.replace("{name: web}", f"{{name: web, annotations: {{{note}}}}}")
    text = service + "  type: LoadBalancer\n  ports: [{port: 80}]\n"
    if why:
        assert why in problem(POD, text)
    else:
        assert not manifest(POD, text).warnings


@pytest.mark.parametrize(
    ("notes", "public"),
    [
        (f"{AWS}type: nlb", True),
        (f"{AWS}type: external", False),
        (f"{AWS}type: nlb-ip", False),
        (f"{AWS}type: external, {AWS}scheme: internet-facing", True),
        (f"{AWS}type: external, {AWS}internal: 'false'", True),
        (f"{AWS}cross-zone-load-balancing-enabled: 'true'", True),
    ],
)
def test_what_the_controller_of_aws_makes_public(notes: str, public: bool) -> None:
    service = SERVICE.replace("{name: web}", f"{{name: web, annotations: {{{notes}}}}}")
    found = manifest(POD, service + "  type: LoadBalancer\n  ports: [{port: 80}]\n")
    assert found.services[0].public == public
    assert len(found.warnings) == ("cross-zone" in notes)
