"""Names in the hosted zone: of services, of machines that register themselves, and aliases. Pure.

A service's name leads to its load balancer. A headless one's leads to its machines: each of them, once it is
ready, tells Route 53 where it is (guest/aws: register), with a name of its own where it has a stable one.

`NAME.NAMESPACE.svc.ZONE` is what machines look up as NAME, NAME.NAMESPACE and NAME.NAMESPACE.svc; in a zone
that is called cluster.local as that too.

Sources: Kubernetes, "DNS for Services and Pods"; Route 53 developer guide, "Multivalue answer routing" and
"Using IAM policy conditions for fine-grained access control" (normalized names: small letters, no last dot).
"""

from collections.abc import Iterable, Iterator

from i2kit.errors import Problem
from i2kit.model import Alias, Release, Service, Workload
from i2kit.providers.aws.design.balancing import leads
from i2kit.providers.aws.design.parts import Data, camel, resource
from i2kit.providers.aws.values import Zone

TTL_S = 5
"""Of machines' records: how long who calls may go on with one that is gone."""
ALIAS_TTL_S = 60


def record_name(service: Service | Alias, zone: Zone) -> str:
    """The service's name in the zone; its namespace shows unless that is the default one."""
    middle = "" if service.namespace == "default" else f".{service.namespace}"
    return f"{service.name}{middle}.{zone.name}"


def in_cluster(service: Service | Alias, zone: Zone) -> str:
    """Its whole name, as Kubernetes has it."""
    return f"{service.name}.{service.namespace}.svc.{zone.name}"


def all_names(service: Service | Alias, zone: Zone) -> dict[str, str]:
    """By what stands last in their logical ids. A private zone has those that machines look up."""
    made = {"": record_name(service, zone)}
    if zone.private:
        if service.namespace == "default":
            made["InNamespace"] = f"{service.name}.{service.namespace}.{zone.name}"
        made["InCluster"] = in_cluster(service, zone)
    return made


def searched(namespace: str, zone: Zone) -> str:
    """Where machines look names up, as pods do."""
    if not zone.private:
        return f"{namespace}.{zone.name} {zone.name}"
    return f"{namespace}.svc.{zone.name} svc.{zone.name} {zone.name}"


# --- machines that are called by name ---------------------------------------------------------


def headless(release: Release) -> tuple[Service, ...]:
    return tuple(one for one in release.services if one.headless)


def own_name(workload: Workload, host: str, zone: Zone) -> str:
    return f"{host}.{workload.subdomain}.{workload.namespace}.svc.{zone.name}"


def registration(release: Release, zone: Zone | None, host: str | None = None) -> tuple[str, ...]:
    """Lines of user data. `host` is the machine's stable name, such as web-0.

    `register=ZONE NAME… NAME=ID…`: names that are this machine's alone, and such that several share, with
    what tells it from the others there; without one that is the instance's id.
    """
    found = headless(release)
    if zone is None or not zone.private or not found:
        return ()
    workload = release.workload
    # All machines of a group have the hostname of their pod, and their ids tell them apart.
    words = [f"{name}={host or ''}" for one in found for name in _shared(one, zone)]
    host = host or workload.hostname
    lines = []
    if host and any(one.name == workload.subdomain for one in found):
        name = own_name(workload, host, zone)
        words.insert(0, name)
        lines.append(f"fqdn={name}")
    lines.append(f"register={zone.id} {' '.join(words)}")
    if any(one.unready for one in found):
        lines.append("register_unready=1")
    return tuple(lines)


def _shared(service: Service, zone: Zone) -> tuple[str, ...]:
    return tuple(dict.fromkeys((record_name(service, zone), in_cluster(service, zone))))


def registered(release: Release, zone: Zone | None) -> tuple[str, ...]:
    """The names that machines may have; `*` is for what one of them is called."""
    if zone is None or not zone.private:
        return ()
    workload, found = release.workload, headless(release)
    names = [name for one in found for name in _shared(one, zone)]
    if any(one.name == workload.subdomain for one in found):
        host = f"{workload.name}-*" if workload.stateful else workload.hostname
        if host:
            names.append(own_name(workload, host, zone))
    return tuple(names)


def statement(release: Release, zone: Zone) -> Data:
    """What machines may do: say where they are, by these names and no others."""
    key = "route53:ChangeResourceRecordSets"
    return {
        "Effect": "Allow",
        "Action": [key],
        "Resource": {"Fn::Sub": f"arn:${{AWS::Partition}}:route53:::hostedzone/{zone.id}"},
        "Condition": {
            "ForAllValues:StringLike": {f"{key}NormalizedRecordNames": list(registered(release, zone))},
            "ForAllValues:StringEquals": {
                f"{key}RecordTypes": ["A"],
                f"{key}Actions": ["DELETE", "UPSERT"],
            },
        },
    }


def called(release: Release) -> tuple[tuple[int, str], ...]:
    """Ports (number and transport) on which machines are called directly: all that are known."""
    found = headless(release)
    declared = {(port.number, port.protocol) for port in release.workload.ports} if found else set()
    meant = {(to, port.protocol) for one in found for port, to in leads(release, one)}
    return tuple(sorted((number, protocol.lower()) for number, protocol in declared | meant))


# --- aliases ----------------------------------------------------------------------------------


def aliases(found: Iterable[Alias], zone: Zone) -> Data:
    return {
        f"Alias{camel(one.name)}{camel(one.namespace)}{which}": resource(
            "Route53::RecordSet",
            {
                "HostedZoneId": zone.id,
                "Name": name,
                "Type": "CNAME",
                "TTL": str(ALIAS_TTL_S),
                "ResourceRecords": [one.target],
            },
        )
        for one in found
        for which, name in all_names(one, zone).items()
    }


# --- what is wrong ----------------------------------------------------------------------------


def problems(release: Release, zone: Zone | None) -> Iterator[Problem]:
    """Names that nobody would find."""
    hint = "name a private hosted zone with I2KIT_HOSTED_ZONE, such as cluster.local, which is made"
    for one in headless(release):
        if zone is None or not zone.private:
            yield Problem(
                f"service `{one.name}` is headless: its name stands for machines, which needs a private "
                "hosted zone",
                one.position,
                hint,
            )
    for alias in release.aliases if zone is None else ():
        yield Problem(
            f"service `{alias.name}` stands for {alias.target}, which needs a hosted zone",
            release.workload.position,
            hint,
        )
