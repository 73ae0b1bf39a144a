"""Ingresses on an emulated AWS, through the provider: stacks of their own, for several deployments."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from i2kit.errors import InputError, OperationError
from i2kit.events import Event
from i2kit.model import Ingress, Port, Release, Route, SecretValue
from i2kit.providers import Rollback, Scale
from i2kit.providers.aws.design import ingress
from i2kit.providers.aws.running import certificates

from .conftest import Aws
from .releases import service
from .test_provider import Make, built, deployed, do, left, make, plan, subjects, writes

__all__ = ["built", "make"]

SITE = Ingress(
    "site",
    (
        (
            "shop.example.com",
            (
                Route("/", False, "web", 80),
                Route("/api", False, "api", "http"),
                Route("/ok", True, "web", 80),
            ),
        ),
    ),
)
API = "default/api"


def web(built: Callable[..., Release], image: str = "a", one: Ingress = SITE, **words: Any) -> Release:
    return replace(built(image, **words), ingresses=(one,))


def api(built: Callable[..., Release], image: str = "a", one: Ingress = SITE) -> Release:
    found = built(
        image,
        "api",
        ports=(Port(3000),),
        services=(replace(service("api", (80, 3000, "http")), selector=(("app", "api"),)),),
        replicas=2,
    )
    return replace(found, ingresses=(one,))


def ways(aws: Aws) -> dict[str, list[tuple[int, int]]]:
    """By the path of a rule: to how many targets each of its groups leads, with its weight."""
    elbv2 = aws.client("elbv2")
    found = {}
    for balancer in elbv2.describe_load_balancers()["LoadBalancers"]:
        for listener in elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
            for rule in elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
                paths = [
                    value
                    for one in rule["Conditions"]
                    for value in one.get("PathPatternConfig", {}).get("Values", ())
                ]
                hosts = [one for one in rule["Conditions"] if one["Field"] == "host-header"]
                if not hosts:
                    continue
                told = []
                for one in rule["Actions"]:
                    groups = one.get("ForwardConfig", {}).get("TargetGroups") or (
                        [{"TargetGroupArn": one["TargetGroupArn"], "Weight": 1}]
                        if "TargetGroupArn" in one
                        else []
                    )
                    for group in groups:
                        health = elbv2.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
                        healthy = [
                            each
                            for each in health["TargetHealthDescriptions"]
                            if each["TargetHealth"]["State"] == "healthy"
                        ]
                        told.append((len(healthy), int(group["Weight"])))
                    if one["Type"] == "fixed-response":
                        told.append((0, int(one["FixedResponseConfig"]["StatusCode"])))
                found[" ".join(paths)] = told
    return found


def test_a_life(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    planned = plan(make(), web(built))
    assert [one.subject for one in planned.actions if "of the Ingress default/site" in one.reason][:3] == [
        "security group SecurityGroup",
        "load balancer LoadBalancer",
        f"target group {ingress.backends(web(built), SITE)[0].id}",
    ]
    assert planned.cost
    assert [line.count for line in planned.cost.lines if line.what == "application load balancer"] == [2]
    assert any("shop.example.com is not in the hosted zone cluster.local" in note for note in planned.notes)
    assert writes(aws) == []

    found = deployed(make(), web(built))
    assert "http://shop.example.com" in {one.url for one in found.endpoints}
    assert ways(aws) == {"/ok": [(3, 1)], "/api /api/*": [(0, 503)], "": [(3, 1)]}
    assert plan(make(new=True), web(built)).actions == ()

    deployed(make(), api(built), API)
    assert ways(aws) == {"/ok": [(3, 1)], "/api /api/*": [(2, 1)], "": [(3, 1)]}
    before = len(aws.emulator.control("calls"))
    assert plan(make(new=True), web(built)).actions == ()
    assert plan(make(new=True), api(built)).actions == ()
    deployed(make(), api(built), API)
    assert writes(aws, before) == []

    # More machines change nothing of it; another image goes through the same groups.
    deployed(make(), Scale(4))
    deployed(make(), web(built, "b", replicas=4))
    assert ways(aws)[""] == [(4, 1)]
    assert deployed(make(), Rollback()).replicas_ready == 4
    assert ways(aws)[""] == [(4, 1)]

    # One of two goes: the other is still led to.
    do(make(), None, API)
    assert ways(aws) == {"/ok": [(4, 1)], "/api /api/*": [(0, 503)], "": [(4, 1)]}
    assert any("of the Ingress" in one.reason for one in plan(make(), None).actions)
    do(make(), None)
    assert left(aws) == []
    assert aws.client("elbv2").describe_target_groups()["TargetGroups"] == []


def test_an_ingress_that_is_left_out_of_the_files_goes(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), web(built))
    without = plan(make(), built("a"))
    assert subjects(without)["load balancer LoadBalancer"] == "remove"
    deployed(make(), built("a"))
    assert plan(make(), built("a")).actions == ()
    names = [one["StackName"] for one in aws.client("cloudformation").describe_stacks()["Stacks"]]
    assert sorted(names) == ["i2kit-network", "i2kit-web"]
    do(make(), None)
    assert left(aws) == []


def test_another_port_is_led_to_only_once_it_answers(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    deployed(make(), web(built))
    moved = web(built, "b", ports=(Port(8080),), services=(service("web", (80, 8080, None)),))
    seen: list[list[tuple[int, int]]] = []

    def watch(event: Event) -> None:
        found = ways(aws).get("")
        if found and (not seen or seen[-1] != found):
            seen.append(found)

    do(make(), moved, watch=watch)
    assert seen[-1] == [(3, 1)]
    assert all(any(count and weight for count, weight in one) for one in seen), seen
    # And back to the port before.
    deployed(make(), Rollback())
    assert ways(aws)[""] == [(3, 1)]
    assert plan(make(), Rollback(3)).actions == ()


def test_one_service_over_two_deployments(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    canary = replace(
        built(
            "b", "canary", replicas=1, labels=(("app", "web"),), services=(service("web", (80, 80, None)),)
        ),
        ingresses=(SITE,),
    )
    deployed(make(), web(built))
    deployed(make(), canary, "default/canary")
    assert sorted(ways(aws)[""]) == [(1, 1), (3, 3)]
    do(make(), None)
    assert ways(aws)[""] == [(1, 1)]


def test_what_fails_first_takes_its_ingress_with_it(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    aws.emulator.control("break_resource", resource="Group", action="CREATE", reason="no capacity")
    with pytest.raises(OperationError, match="no capacity"):
        do(make(), web(built))
    names = [one["StackName"] for one in aws.client("cloudformation").describe_stacks()["Stacks"]]
    assert names in ([], ["i2kit-network"])


# --- TLS and names ----------------------------------------------------------------------------


def issued(name: str) -> tuple[bytes, bytes]:
    """A certificate of its own, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def with_tls(wanted: Release, *names: str) -> Release:
    """With a secret of each name, and an Ingress that ends TLS with them."""
    secrets = []
    for name in names:
        for key, value in zip(("tls.crt", "tls.key"), issued(f"{name}.example.com"), strict=True):
            secrets.append(SecretValue("default", name, key, value))
    tls = tuple(((f"{name}.example.com",), name) for name in names)
    ingresses = tuple(replace(one, tls=tls) for one in wanted.ingresses)
    return replace(wanted, ingresses=ingresses, secrets=tuple(secrets))


def used(aws: Aws) -> list[str]:
    """The certificates of the listeners."""
    elbv2 = aws.client("elbv2")
    return [
        one["CertificateArn"]
        for balancer in elbv2.describe_load_balancers()["LoadBalancers"]
        for listener in elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        for one in elbv2.describe_listener_certificates(ListenerArn=listener["ListenerArn"])["Certificates"]
    ]


def imported(aws: Aws) -> dict[str, bytes]:
    acm = aws.client("acm")
    words = {"keyTypes": list(certificates.ALL_KEYS)}
    arns = [one["CertificateArn"] for one in acm.list_certificates(Includes=words)["CertificateSummaryList"]]
    return {arn: acm.get_certificate(CertificateArn=arn)["Certificate"].strip().encode() for arn in arns}


def test_certificates_of_secrets_come_and_go_with_the_ingress(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    first = with_tls(web(built), "shop", "api")
    found = deployed(make(), first)
    assert "https://shop.example.com" in {one.url for one in found.endpoints}
    there = imported(aws)
    assert sorted(there) == sorted(used(aws)) and len(there) == 2
    assert plan(make(new=True), first).actions == ()

    # Another content under the same name, and one secret less.
    second = with_tls(web(built), "shop")
    assert plan(make(), second).actions
    deployed(make(), second)
    ((arn, content),) = imported(aws).items()
    assert used(aws) == [arn] and arn in there
    assert content == second.secrets[0].value.strip()
    assert plan(make(new=True), second).actions == ()

    key = first.secrets[1].value
    texts = [
        json.dumps(aws.client("cloudformation").get_template(StackName=one["StackName"])["TemplateBody"])
        for one in aws.client("cloudformation").describe_stacks()["Stacks"]
    ]
    assert not any(key.splitlines()[1].decode() in text for text in texts)
    do(make(), None)
    assert imported(aws) == {} and left(aws) == []


def test_a_secret_that_is_missing_is_said_beforehand(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    wanted = replace(with_tls(web(built), "shop"), secrets=())
    with pytest.raises(InputError, match="the secret `shop` for TLS is not there"):
        plan(make(), wanted)
    assert writes(aws) == []
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
    given = web(built, one=replace(SITE, certificate=arn, tls=((("shop.example.com",), "shop"),)))
    assert plan(make(), given).actions


def test_hosts_in_the_hosted_zone_lead_to_the_ingress(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    route53 = aws.client("route53")
    zone = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]

    def names() -> list[str]:
        found = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        return sorted(one["Name"].rstrip(".") for one in found if one["Type"] == "A")

    provider = make(hosted_zone="example.com")
    other = replace(SITE, rules=(*SITE.rules, ("shop.example.org", SITE.rules[0][1])))
    assert "shop.example.org is not in the hosted zone" in " ".join(
        plan(provider, web(built, one=other)).notes
    )
    deployed(provider, web(built, one=other))
    assert names() == ["shop.example.com", "web.example.com"]
    taken = replace(SITE, rules=(("web.example.com", SITE.rules[0][1]),))
    with pytest.raises(InputError, match=r"`web.example\.com` is the name of service `web`"):
        plan(provider, web(built, one=taken))
    do(provider, None)
    assert names() == []


def test_an_interrupted_run_is_gone_on_from_anywhere(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    """Whatever call is the last one."""
    wanted = with_tls(web(built, image="c"), "shop")
    for action in ("ImportCertificate", "CreateChangeSet", "ExecuteChangeSet"):
        # The first change set is of the shared network.
        skip = 0 if action == "ImportCertificate" else 1
        aws.emulator.control("fault", action=action, code="AccessDenied", skip=skip)
        with pytest.raises(OperationError):
            do(make(), wanted)
    deployed(make(), wanted)
    assert len(imported(aws)) == 1
    assert plan(make(new=True), wanted).actions == ()
    # The deployment's stack went, and nobody told the Ingress.
    aws.client("cloudformation").delete_stack(StackName="i2kit-web")
    aws.emulator.control("settle")
    assert any("Ingress" in one.subject for one in plan(make(), None).actions)
    do(make(), None)
    assert imported(aws) == {} and left(aws) == []
