"""Names in the hosted zone: of services, of machines that register themselves, and aliases. Pure.

A service's name leads to its load balancer. A headless one's leads to its machines: each of them, once it is
ready, tells Route 53 where it is (guest/aws: register), with a name of its own where it has a stable one.

`NAME.NAMESPACE.svc.ZONE` is what machines look up as NAME, NAME.NAMESPACE and NAME.NAMESPACE.svc. What ends
in cluster.local they look up as it is in a zone of that name; in others below the zone, by their search list.

Sources: Kubernetes, "DNS for Services and Pods"; Route 53 developer guide, "Multivalue answer routing" and
"Using IAM policy conditions for fine-grained access control" (normalized names: small letters, no last dot).
"""

from collections.abc import Iterable, Iterator

from i2kit.errors import Problem
from i2kit.model import Alias, Release, Service, Workload
from i2kit.providers.aws.design.balancing import leads
from i2kit.providers.aws.design.parts import Data, camel, resource
from i2kit.providers.aws.values import Zone

CLUSTER = "cluster.local"
"""The domain that services are in, in Kubernetes."""

NDOTS = 5
"""As in pods: names with fewer dots are looked up in the namespace first. Some C libraries do not do so once
they have looked for the name as it is."""
NDOTS_BELOW = 6
"""Where db-0.db.shop.svc.cluster.local, too, is looked up below the zone."""

TTL_S = 5
"""Of machines' records: how long who calls may go on with one that is gone."""
ALIAS_TTL_S = 60


def record_name(service: Service | Alias, zone: Zone) -> str:
    """The service's name in the zone; its namespace shows unless that is the default one."""
    middle = "" if service.namespace == "default" else f".{service.namespace}"
    return f"{service.name}{middle}.{zone.name}"


def clusters(zone: Zone) -> dict[str, str]:
    """What a whole name in Kubernetes ends with in a private zone, by what stands last in logical ids."""
    below = {} if zone.name == CLUSTER else {"BelowZone": f"svc.{CLUSTER}.{zone.name}"}
    return {"InCluster": f"svc.{zone.name}", **below}


def in_cluster(service: Service | Alias, zone: Zone) -> dict[str, str]:
    """Its whole names, as Kubernetes has them."""
    return {id_: f"{service.name}.{service.namespace}.{end}" for id_, end in clusters(zone).items()}


def all_names(service: Service | Alias, zone: Zone) -> dict[str, str]:
    """By what stands last in their logical ids. A private zone has those that machines look up."""
    made = {"": record_name(service, zone)}
    if zone.private:
        if service.namespace == "default":
            made["InNamespace"] = f"{service.name}.{service.namespace}.{zone.name}"
        made |= in_cluster(service, zone)
    return made


def records(service: Service | Alias, zone: Zone) -> Iterator[tuple[str, str, str]]:
    """What stands last in their logical ids, the zone's id, and the name."""
    for end, name in all_names(service, zone).items():
        yield end, zone.id, name
    if inner := zone.inner:
        for end, name in all_names(service, inner).items():
            yield f"Inner{end}", inner.id, name


def searched(namespace: str, zone: Zone) -> str:
    """Where machines look names up, as pods do."""
    zone = zone.looked_up or zone
    if not zone.private:
        return f"{namespace}.{zone.name} {zone.name}"
    return f"{namespace}.svc.{zone.name} svc.{zone.name} {zone.name}"


def ndots(zone: Zone) -> int:
    zone = zone.looked_up or zone
    return NDOTS_BELOW if zone.private and zone.name != CLUSTER else NDOTS


# --- machines that are called by name ---------------------------------------------------------


def headless(release: Release) -> tuple[Service, ...]:
    return tuple(one for one in release.services if one.headless)


def own_names(workload: Workload, host: str, zone: Zone) -> tuple[str, ...]:
    """The first is what the machine calls itself."""
    return tuple(f"{host}.{workload.subdomain}.{workload.namespace}.{end}" for end in clusters(zone).values())


def registration(release: Release, zone: Zone | None, host: str | None = None) -> tuple[str, ...]:
    """Lines of user data. `host` is the machine's stable name, such as web-0.

    `register=ZONE NAME… NAME=ID…`: names that are this machine's alone, and such that several share, with
    what tells it from the others there; without one that is the instance's id.
    """
    found = headless(release)
    zone = zone and zone.looked_up
    if zone is None or not found:
        return ()
    workload = release.workload
    # All machines of a group have the hostname of their pod, and their ids tell them apart.
    words = [f"{name}={host or ''}" for one in found for name in _shared(one, zone)]
    host = host or workload.hostname
    lines = []
    if host and any(one.name == workload.subdomain for one in found):
        own = own_names(workload, host, zone)
        words = [*own, *words]
        lines.append(f"fqdn={own[0]}")
    lines.append(f"register={zone.id} {' '.join(words)}")
    if any(one.unready for one in found):
        lines.append("register_unready=1")
    return tuple(lines)


def _shared(service: Service, zone: Zone) -> tuple[str, ...]:
    return tuple(dict.fromkeys((record_name(service, zone), *in_cluster(service, zone).values())))


def registered(release: Release, zone: Zone | None) -> tuple[str, ...]:
    """The names that machines may have; `*` is for what one of them is called."""
    zone = zone and zone.looked_up
    if zone is None:
        return ()
    workload, found = release.workload, headless(release)
    names = [name for one in found for name in _shared(one, zone)]
    if any(one.name == workload.subdomain for one in found):
        host = f"{workload.name}-*" if workload.stateful else workload.hostname
        if host:
            names += own_names(workload, host, zone)
    return tuple(names)


def statement(release: Release, zone: Zone) -> Data:
    """What machines may do: say where they are, by these names and no others."""
    key = "route53:ChangeResourceRecordSets"
    place = f"hostedzone/{(zone.looked_up or zone).id}"
    return {
        "Effect": "Allow",
        "Action": [key],
        "Resource": {"Fn::Sub": f"arn:${{AWS::Partition}}:route53:::{place}"},
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
                "HostedZoneId": place,
                "Name": name,
                "Type": "CNAME",
                "TTL": str(ALIAS_TTL_S),
                "ResourceRecords": [one.target],
            },
        )
        for one in found
        for which, place, name in records(one, zone)
    }


# --- what is wrong ----------------------------------------------------------------------------


def problems(release: Release, zone: Zone | None) -> Iterator[Problem]:
    """Names that nobody would find."""
    hint = "name a private hosted zone with I2KIT_HOSTED_ZONE, such as cluster.local, which is made"
    for one in headless(release):
        if zone is None or zone.looked_up is None:
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
