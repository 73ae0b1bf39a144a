"""What a machine is told when it boots, as EC2's metadata service hands it out. Pure.

The format is the guest's (guest/supervisor/usr/lib/i2kit/network): lines of `key=value`, the same for all
machines of a group. Never holds secrets: whoever may describe the launch template can read it.
"""

from collections.abc import Iterable, Mapping, Sequence

from i2kit.model import Release, Service, Workload, told_facts
from i2kit.providers.aws.design import names
from i2kit.providers.aws.design.balancing import leads
from i2kit.providers.aws.design.secrets import path
from i2kit.providers.aws.values import Zone, log_group

LIMIT_BYTES = 16 << 10
"""Of EC2, before base64."""


def render(
    release: Release,
    zone: Zone | None,
    addresses: Mapping[str, str],
    region: str,
    secrets: str = "",
    number: int | None = None,
) -> str:
    """Name, where names are looked up, when it is ready, where logs and secrets are, which services it has.

    `addresses` are load balancers' names by the services' keys: what is told where there is no zone.
    `secrets` is the id of a set in Parameter Store, `number` that of a machine that is numbered.
    """
    workload = release.workload
    lines = [f"hostname={name_of(workload, number)}"]
    if number is not None:
        lines.append("stable=1")
    if zone:
        lines += [
            f"search={names.searched(workload.namespace, zone)}",
            f"dns_option=ndots:{names.ndots(zone)}",
        ]
        stable = None if number is None else name_of(workload, number)
        lines += names.registration(release, zone, stable)
    lines += [f"ready_port={port}" for port in ready_ports(release)]
    lines += [f"region={region}", f"log_group={log_group(workload.key)}"]
    if secrets:
        lines.append(f"secrets=ssm:{path(workload.key, secrets)}")
    found = discovery(workload.namespace, (*release.services, *release.neighbours), zone, addresses)
    lines += [f"env={name}={value}" for name, value in found.items()]
    lines += told_facts(workload.facts)
    return "\n".join(lines) + "\n"


def name_of(workload: Workload, number: int | None) -> str:
    """What a machine is called; one that is not numbered adds something of its own."""
    return workload.name if number is None else f"{workload.name}-{number}"


def ready_ports(release: Release) -> tuple[int, ...]:
    """What a machine listens on when it is ready: the ports of TCP that services lead to.

    The deployment's own service, which has all declared ports, counts only where there is no other.
    """

    def ports(services: Iterable[Service]) -> set[int]:
        return {to for one in services for port, to in leads(release, one) if port.protocol == "TCP"}

    explicit = [service for service in release.services if service.name != release.workload.name]
    return tuple(sorted(ports(explicit) or ports(release.services)))


def discovery(
    namespace: str, services: Sequence[Service], zone: Zone | None, addresses: Mapping[str, str]
) -> Mapping[str, str]:
    """NAME_SERVICE_HOST and NAME_SERVICE_PORT of the namespace's services, as Kubernetes sets them."""
    found = {}
    for service in sorted(services, key=lambda one: one.key):
        host = names.record_name(service, zone) if zone else addresses.get(service.key)
        if service.headless or service.namespace != namespace or not service.ports or host is None:
            continue
        prefix = _variable(service.name)
        found[f"{prefix}_SERVICE_HOST"] = host
        found[f"{prefix}_SERVICE_PORT"] = str(service.ports[0].number)
        for port in service.ports:
            if port.name:
                found[f"{prefix}_SERVICE_PORT_{_variable(port.name)}"] = str(port.number)
    return found


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
