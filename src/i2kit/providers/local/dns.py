"""Names of services and VMs → dnsmasq's configuration and its host files. Pure.

Names are Kubernetes': NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc, NAME.NAMESPACE.svc.cluster.local;
and NAME.i2kit.internal for people. The formats are dnsmasq(8)'s.
"""

from collections.abc import Sequence
from pathlib import Path

from i2kit.providers.local.desired import GATEWAY, INGRESS, ServiceRecord, Wanted, address, mac

ZONE = "i2kit.internal"
CLUSTER_ZONE = "cluster.local"
FORWARDER = "10.76.0.3"
"""Where slirp4netns and pasta answer DNS questions with the host's resolver."""


def search(namespace: str) -> str:
    """The search list of a VM in this namespace, as in a Kubernetes pod."""
    return f"{namespace}.svc.{CLUSTER_ZONE} svc.{CLUSTER_ZONE} {CLUSTER_ZONE} {ZONE}"


def configuration(*, hosts: Path, leases: Path, dhcp_hosts: Path) -> str:
    """dnsmasq.conf: answers DHCP and DNS on the bridge, forwards what is not ours."""
    return "\n".join(
        [
            "keep-in-foreground",
            "conf-file=",
            # One uid is mapped in the namespace: there is nobody else to become.
            "user=root",
            "group=",
            "pid-file=",
            "no-resolv",
            "no-hosts",
            "no-poll",
            f"server={FORWARDER}",
            f"listen-address={GATEWAY}",
            "bind-interfaces",
            f"local=/{CLUSTER_ZONE}/",
            f"local=/{ZONE}/",
            f"addn-hosts={hosts}",
            "local-ttl=1",
            "dhcp-authoritative",
            f"dhcp-range={GATEWAY.rsplit('.', 1)[0]}.0,static,255.255.0.0,1h",
            f"dhcp-option=option:router,{GATEWAY}",
            f"dhcp-option=option:dns-server,{GATEWAY}",
            f"dhcp-hostsfile={dhcp_hosts}",
            f"dhcp-leasefile={leases}",
            "",
        ]
    )


def host_lines(
    services: Sequence[ServiceRecord], machines: Sequence[tuple[str, str, str]], hosts: Sequence[str] = ()
) -> str:
    """The hosts file: services at their addresses, Ingresses' hosts, VMs as (address, id, namespace)."""
    lines = []
    for service in services:
        if service.key == INGRESS:
            lines += [f"{service.vip} {host}" for host in hosts]
            continue
        name, namespace = service.name, service.namespace
        names = [
            f"{name}.{namespace}.svc.{CLUSTER_ZONE}",
            f"{name}.{namespace}.svc",
            f"{name}.{namespace}",
        ]
        # Names without a namespace belong to `default`; others reach theirs by the search list.
        if namespace == "default":
            names += [name, f"{name}.{ZONE}"]
        lines.append(f"{service.vip} {' '.join(names)}")
    lines += [f"{where} {name}.{namespace}.pod.{CLUSTER_ZONE} {name}" for where, name, namespace in machines]
    return "\n".join(lines) + "\n"


def dhcp_lines(deployments: Sequence[tuple[Wanted, int]]) -> str:
    """dnsmasq's dhcp-hostsfile: which MAC address gets which address, in each of a deployment's slots."""
    return "".join(
        f"{mac(wanted, slot)},{address(wanted, slot)}\n"
        for wanted, slots in deployments
        for slot in range(slots)
    )
