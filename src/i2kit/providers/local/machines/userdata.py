"""What a VM is told when it boots, as the text that its metadata service hands out. Pure.

The format is the guest's: lines of `key=value`, the same here and on a cloud. Never holds secrets.
"""

from collections.abc import Mapping, Sequence

from i2kit.model import told_facts
from i2kit.providers.local.design.desired import ServiceRecord, Wanted
from i2kit.providers.local.reach.dns import CLUSTER_ZONE, OPTION, search

USER_NETWORK_HOST = "10.0.2.2"
"""How a guest in QEMU's user network reaches the host's loopback address."""


SECRETS_SERIAL = "secrets"
SCRATCH_SERIAL = "scratch"


def disk_serial(number: int) -> str:
    """What the guest knows the disk of Machine.disks with this index by."""
    return f"disk{number}"


def render(
    wanted: Wanted,
    instance: str,
    services: Sequence[ServiceRecord],
    *,
    namespace_network: bool,
) -> str:
    """The user data of one VM: its name, where names are looked up, when it is ready, its services."""
    lines = [f"hostname={instance}"]
    if namespace_network:
        lines += [f"search={search(wanted.namespace)}", f"dns_option={OPTION}"]
    lines += [f"ready_port={port}" for port in wanted.ready_ports]
    found = discovery(wanted.namespace, services, namespace_network=namespace_network)
    lines += [f"env={name}={value}" for name, value in found.items()]
    lines += told_facts(wanted.machine.facts)
    machine = wanted.machine
    if machine.stateful:
        lines.append("stable=1")
        if wanted.written.subdomain and namespace_network:
            zone = f"{wanted.namespace}.svc.{CLUSTER_ZONE}"
            lines.append(f"fqdn={instance}.{wanted.written.subdomain}.{zone}")
    if machine.secrets:
        lines.append("secrets=metadata" if namespace_network else "secrets=disk")
    lines += [f"disk={disk.volume}={disk_serial(number)}" for number, disk in enumerate(machine.disks)]
    if machine.scratch_bytes:
        lines.append(f"scratch={SCRATCH_SERIAL}")
    return "\n".join(lines) + "\n"


def discovery(
    namespace: str, services: Sequence[ServiceRecord], *, namespace_network: bool
) -> Mapping[str, str]:
    """NAME_SERVICE_HOST and NAME_SERVICE_PORT of the namespace's services, as Kubernetes sets them."""
    found = {}
    for service in services:
        if service.namespace != namespace or not service.ports:
            continue
        prefix = service.name.upper().replace("-", "_")
        found[f"{prefix}_SERVICE_HOST"] = service.vip if namespace_network else USER_NETWORK_HOST
        reached = [port.number if namespace_network else port.host_port for port in service.ports]
        found[f"{prefix}_SERVICE_PORT"] = str(reached[0])
        for port, number in zip(service.ports, reached, strict=True):
            if port.name:
                found[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(number)
    return found
