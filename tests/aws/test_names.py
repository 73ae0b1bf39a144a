"""Names of headless services and of numbered machines, and aliases, on an emulated AWS."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from i2kit.errors import InputError
from i2kit.model import Alias, Port, Release
from i2kit.providers import Scale
from i2kit.providers.aws.design import names
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.values import Zone

from .conftest import Aws
from .releases import AMI, NETWORK, OPTIONS, PRIVATE_ZONE, PUBLIC_ZONE, release, service
from .test_provider import Make, built, deployed, do, make, plan, without_names, writes

__all__ = ["built", "make"]

DB = "default/db"
CLUSTER = Zone("Z0CLUSTER", "cluster.local", private=True)


def numbered(wanted: Release) -> Release:
    workload = replace(wanted.workload, stateful=True, subdomain="dbs")
    return replace(wanted, workload=workload, services=(service("dbs", (5432, 5432, None), headless=True),))


def told(made: dict[str, Any], name: str) -> list[str]:
    data = made["Resources"][name]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
    return str(data if isinstance(data, str) else data["Fn::Sub"]).splitlines()


ZONES = [CLUSTER, PRIVATE_ZONE, replace(PUBLIC_ZONE, inner=CLUSTER), replace(PUBLIC_ZONE, inner=PRIVATE_ZONE)]


def looked_up(called: str, namespace: str, zone: Zone) -> list[str]:
    """What a resolver asks for, in its order. musl's asks for names with as many dots as ndots alone."""
    if called.count(".") >= names.ndots(zone):
        return [called]
    return [*(f"{called}.{domain}" for domain in names.searched(namespace, zone).split()), called]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("namespace", ["default", "shop"])
@pytest.mark.parametrize("form", ["{}", "{}.default", "{}.default.svc", "{}.default.svc.cluster.local"])
def test_every_form_of_a_name_is_found(form: str, namespace: str, zone: Zone) -> None:
    """With its namespace from any other, too."""
    inner = zone.looked_up
    assert inner
    there = [name for _, id_, name in names.records(service("dbs"), zone) if id_ == inner.id]
    if form != "{}":
        assert any(one in there for one in looked_up(form.format("dbs"), namespace, zone))
    elif namespace == "default":
        assert any(one in there for one in looked_up("dbs", namespace, zone))
    # What machines register, and call themselves.
    made = numbered(release("db", replicas=1, ports=(Port(5432),)))
    told = dict(line.split("=", 1) for line in names.registration(made, zone, "db-0"))
    registered = [word.partition("=")[0] for word in told["register"].split()]
    assert told["register"].startswith(inner.id)
    for called in ("db-0.dbs", "dbs") if namespace == "default" else ():
        assert any(one in registered for one in looked_up(form.format(called), namespace, zone))


def test_numbered_machines_register_their_names() -> None:
    wanted = numbered(release("db", replicas=2, ports=(Port(5432),)))
    made = template(wanted, AMI, NETWORK, PRIVATE_ZONE, OPTIONS)
    names_ = ("dbs", "dbs.default.svc", "dbs.default.svc.cluster.local")
    shared = " ".join(f"{one}.i2kit.internal=db-1" for one in names_)
    own = "db-1.dbs.default.svc.i2kit.internal"
    lines = told(made, "LaunchTemplate1")
    below = "db-1.dbs.default.svc.cluster.local.i2kit.internal"
    assert f"register={PRIVATE_ZONE.id} {own} {below} {shared}" in lines
    assert f"fqdn={own}" in lines
    assert "register_unready=1" not in lines
    policies = {
        one["PolicyName"]: one["PolicyDocument"]["Statement"][0]
        for one in made["Resources"]["Role"]["Properties"]["Policies"]
    }
    condition = policies["names"]["Condition"]["ForAllValues:StringLike"]
    assert list(condition.values()) == [
        [
            "dbs.i2kit.internal",
            "dbs.default.svc.i2kit.internal",
            "dbs.default.svc.cluster.local.i2kit.internal",
            "db-*.dbs.default.svc.i2kit.internal",
            "db-*.dbs.default.svc.cluster.local.i2kit.internal",
        ]
    ]
    # Anybody in the network calls them directly; nobody else has changed.
    rules = made["Resources"]["MachineSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert [(one["CidrIp"], one["FromPort"]) for one in rules if "CidrIp" in one] == [("10.78.0.0/16", 5432)]
    others = template(release(), AMI, NETWORK, PRIVATE_ZONE, OPTIONS)
    assert not any(line.startswith("register") for line in told(others, "LaunchTemplate"))


def test_machines_of_a_deployment_register_by_their_ids() -> None:
    wanted = release(services=(service("peers", (80, 80, None), headless=True, unready=True),))
    # All of them have the one hostname of their pod.
    alike = replace(wanted, workload=replace(wanted.workload, hostname="box"))
    for one in (wanted, alike):
        made = template(one, AMI, NETWORK, PRIVATE_ZONE, OPTIONS)
        assert told(made, "LaunchTemplate")[3:5] == [
            f"register={PRIVATE_ZONE.id} peers.i2kit.internal= peers.default.svc.i2kit.internal= "
            "peers.default.svc.cluster.local.i2kit.internal=",
            "register_unready=1",
        ]


def test_names_need_a_zone(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    wanted = replace(numbered(built("a", "db")), aliases=(Alias("mail", "smtp.example.org"),))
    # Nothing has to be named where the network is ours.
    assert any("cluster.local" in note for note in plan(make(), wanted).notes)
    with pytest.raises(InputError) as raised:
        plan(make(vpc=without_names(aws)), wanted)
    texts = [str(one) for one in raised.value.problems]
    assert len(texts) == 2
    assert "service `dbs` is headless" in texts[0] and "cluster.local" in texts[0]
    assert "service `mail` stands for smtp.example.org" in texts[1]
    assert writes(aws) == []
    assert list(names.problems(numbered(release("db")), PUBLIC_ZONE))
    assert not list(names.problems(numbered(release("db")), replace(PUBLIC_ZONE, inner=CLUSTER)))


def records(aws: Aws) -> dict[tuple[str, str], str]:
    route53 = aws.client("route53")
    return {
        (one["Name"].rstrip("."), one["Type"]): one["ResourceRecords"][0]["Value"]
        for zone in route53.list_hosted_zones()["HostedZones"]
        for one in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
        if one["Type"] not in ("NS", "SOA")
    }


def register(aws: Aws, name: str, id_: str = "", ttl_s: int = names.TTL_S) -> None:
    """As a machine does it."""
    route53 = aws.client("route53")
    zones = route53.list_hosted_zones()["HostedZones"]
    zone = next(one for one in zones if name.endswith(one["Name"].rstrip(".")))
    shared = {"SetIdentifier": id_, "MultiValueAnswer": True} if id_ else {}
    one = {"Name": name, "Type": "A", "TTL": ttl_s, "ResourceRecords": [{"Value": "10.0.0.7"}], **shared}
    route53.change_resource_record_sets(
        HostedZoneId=zone["Id"], ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": one}]}
    )


def test_records_of_machines_that_are_gone_go(aws: Aws, make: Make, built: Callable[..., Release]) -> None:
    provider = make(hosted_zone="cluster.local")
    wanted = replace(numbered(built("a", "db", replicas=2)), aliases=(Alias("mail", "smtp.example.org"),))
    deployed(provider, wanted, DB)
    alias = {
        (f"mail.{middle}cluster.local", "CNAME"): "smtp.example.org"
        for middle in ("", "default.", "default.svc.")
    }
    assert records(aws) == alias
    own = "db-{}.dbs.default.svc.cluster.local"
    for number in range(2):
        register(aws, own.format(number))
        register(aws, "dbs.default.svc.cluster.local", f"db-{number}")
    register(aws, "dbs.other.svc.cluster.local", "else")
    kept = {("dbs.other.svc.cluster.local", "A"): "10.0.0.7", (own.format(0), "A"): "10.0.0.7"}
    deployed(provider, Scale(1), DB)
    assert records(aws) == {**alias, **kept, ("dbs.default.svc.cluster.local", "A"): "10.0.0.7"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provider, "volumes", True)
        do(provider, None, DB)
    assert records(aws) == {("dbs.other.svc.cluster.local", "A"): "10.0.0.7"}


def test_a_deploy_without_changes_removes_them_too(
    aws: Aws, make: Make, built: Callable[..., Release]
) -> None:
    """Of a machine that died, and that AWS replaced by itself."""
    provider = make(hosted_zone="cluster.local")
    wanted = built("a", "db", services=(service("dbs", (5432, 5432, None), headless=True),))
    (there, *_) = deployed(provider, wanted, DB).instances
    for id_ in (there.id, "i-00000000000000000"):
        register(aws, "dbs.default.svc.cluster.local", id_)
    deployed(provider, wanted, DB)
    zone = aws.client("route53").list_hosted_zones()["HostedZones"][0]["Id"]
    sets = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [one["SetIdentifier"] for one in sets if one["Type"] == "A"] == [there.id]
