"""What the supervisor answers to `status`: desired state and VMs → JSON data. Pure."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from i2kit.providers.local.desired import Desired, Wanted, in_front
from i2kit.providers.local.machine import Vm


def deployment(
    wanted: Wanted,
    state: Desired,
    vms: Collection[Vm],
    *,
    unpublished: Collection[int],
    detail: str,
    complete: bool,
    stuck: str,
) -> dict[str, Any]:
    """One deployment. `detail`: why its last VM died; `complete`: whether all is as wanted; `stuck`: why what
    served before does not become so, where that is given up.
    """
    services = {backend.service for backend in wanted.backends}
    records = [record for record in state.services if record.key in services]
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
        "endpoints": [
            {
                "url": f"{'http' if port.http else 'tcp'}://127.0.0.1:{port.host_port}",
                "public": record.public,
                "service": record.key,
                "port": port.number,
            }
            for record in records
            for port in record.ports
        ],
        "unpublished": sorted(
            port.host_port for record in records for port in record.ports if port.host_port in unpublished
        ),
        "wanted": wanted.replicas,
        "ready": sum(one.state == "ready" for one in mine),
        "detail": detail,
        "instances": [instance(one) for one in mine],
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
