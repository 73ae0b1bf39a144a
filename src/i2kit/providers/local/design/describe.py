"""What the supervisor answers to `status`: desired state and VMs → JSON data. Pure."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from i2kit.providers.local.design import claims, jobs
from i2kit.providers.local.design.desired import INGRESS, Desired, ServiceRecord, Wanted, in_front
from i2kit.providers.local.machines.machine import Vm
from i2kit.providers.local.reach import firewall, ingress


def deployment(
    wanted: Wanted,
    state: Desired,
    vms: Collection[Vm],
    *,
    unpublished: Collection[int],
    usual: bool,
    detail: str,
    complete: bool,
    stuck: str,
) -> dict[str, Any]:
    """One deployment. `usual`: whether Ingresses answer on ports 80 and 443 of this machine; `detail`: why
    its last VM died; `complete`: whether all is as wanted; `stuck`: why what served before does not become
    so, where that is given up.
    """
    services = {backend.service for backend in wanted.backends}
    records = [record for record in state.services if record.key in services]
    routed = [
        {"url": url, "public": one.public, "service": target.service, "port": target.number}
        for url, one, target in ingress.endpoints(state, wanted, ingress.record_ports(state, usual=usual))
    ]
    gates = [record for record in state.services if record.key == INGRESS and routed and not usual]
    job = wanted.policy.job
    mine = sorted((one for one in vms if one.key == wanted.key), key=lambda one: one.slot)
    return {
        "name": wanted.name,
        "namespace": wanted.namespace,
        "revision": wanted.revision,
        "image": wanted.machine.image,
        "machine": wanted.machine.fingerprint,
        "fingerprint": wanted.fingerprint,
        "containers": [name for name, _ in wanted.machine.containers],
        "labels": wanted.written.labels,
        "services": [asdict(one) for one in in_front(wanted.key, wanted.written, wanted.attached)],
        "served": wanted.served,
        "failed": [
            {"revision": one.revision, "story": one.story or one.reason}
            for one in (*wanted.past, wanted)
            if one.reason
        ],
        "complete": complete,
        "stuck": stuck,
        "endpoints": [*endpoints(state, records), *routed],
        "unpublished": sorted(
            port.host_port
            for record in (*records, *gates)
            for port in record.ports
            if port.host_port in unpublished
        ),
        "wanted": sum(jobs.vms(job, wanted.runs).values()) if job else wanted.replicas,
        "phase": jobs.phase(job, wanted.runs) if job else "",
        "runs": [asdict(one) for one in wanted.runs],
        "ready": sum(one.state == "ready" for one in mine),
        "detail": detail,
        "volumes": claims.names(wanted),
        "instances": [instance(one) for one in mine],
    }


def endpoints(state: Desired, records: Iterable[ServiceRecord]) -> Iterator[dict[str, Any]]:
    """Where the ports of services answer on this machine."""
    for record in records:
        for port in record.ports:
            if not firewall.is_published(state, record.key, port.number, port.protocol):
                continue
            scheme = "http" if port.http else port.protocol.lower()
            yield {
                "url": f"{scheme}://127.0.0.1:{port.host_port}",
                "public": record.public,
                "service": record.key,
                "port": port.number,
            }


def instance(vm: Vm) -> dict[str, Any]:
    """One VM."""
    return {
        "id": vm.id,
        "address": vm.address,
        "state": vm.shown_state,
        "image": vm.image,
        "machine": vm.machine,
        "started_at": vm.started_at,
        "detail": vm.detail,
        "failures": vm.failures,
        "memory_kb": vm.memory_kb,
        "usage": vm.usage,
    }
