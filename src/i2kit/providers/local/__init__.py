"""Provider `local`: a small cloud on one Linux machine, without root.

In: Releases. Out: VMs behind HAProxy, with DNS, in a network namespace of their own.

    command line ─ client ─ control.sock ─┐
    keeper (host network, holds the lock, opens published ports, runs the way out)
    └─ supervisor (first process of user+net+pid namespaces; makes `desired.json` true)
       └─ dnsmasq, HAProxy, QEMU × N

What to do is decided in `desired`, `plan`, `vm`, `haproxy`, `dns` and `userdata`, which do no I/O;
`supervisor`, `machine`, `balancer`, `network`, `metadata`, `keeper` and `client` do it.
"""

import heapq
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2kit import events
from i2kit.errors import NotReadyError, OperationError, RolloutError
from i2kit.events import Finished, Note, Progress, Started, Warned, Watcher
from i2kit.model import (
    Architecture,
    Deployment,
    Endpoint,
    Instance,
    PlacedImage,
    Revision,
    Workload,
)
from i2kit.providers import Plan, Wanted
from i2kit.providers.local import desired, orders, plan
from i2kit.providers.local.client import Client
from i2kit.settings import Settings

PROGRESS_DEADLINE_S = 300.0
"""A rollout in which nothing gets better for this long has failed."""

MOST_REASON = 300
"""How many characters of the reason for a failure are noted."""

MOST_CRASHES = 3
"""A new VM whose containers ended this often, or a slot whose VM did, will not become ready."""


class LocalProvider:
    """Implements `i2kit.providers.Provider`."""

    name = "local"
    form = "kernel+root"
    ask = False

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)

    def observe(self, key: str) -> Deployment | None:
        """What runs under this key now."""
        return next((one for one in self.list() if one.key == key), None)

    def list(self) -> Sequence[Deployment]:
        """Everything that runs here, by key."""
        return [_deployment(data) for data in self._client.deployments(events.ignore)]

    def architecture(self, workload: Workload) -> Architecture:
        """This machine's, whatever is built for others."""
        return "amd64"

    def plan(self, key: str, wanted: Wanted | None, found: Deployment | None) -> Plan:
        """Compare wanted with found. Reads what is noted of the revisions."""
        noted = self._client.noted()
        return plan.plan(key, wanted, found, noted, _kept(noted.deployment(key)))

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        """Make the plan true and wait until it is."""
        with self._client.alone(watch):
            if plan.wanted is None:
                self._remove(plan.key, watch)
                return None
            self._client.deployments(watch)  # brings back the others first
            noted = self._client.noted()
            kept = _kept(noted.deployment(plan.key))
            order = orders.order_for(noted, plan.key, plan.prepared or plan.wanted, kept)
            _check_that_it_fits(order)
            self._client.start(order.machine, watch)
            self._client.order(order)
            return self._wait(order, watch)

    def _remove(self, key: str, watch: Watcher) -> None:
        found = self._client.deployments(watch)
        if any(_key(data) == key for data in found):
            watch(Started(key, f"removing {key}"))
            self._client.ask({"do": "remove", "key": key})
            watch(Finished(key, "removed"))

    def _wait(self, order: desired.Order, watch: Watcher) -> Deployment:
        """Until every replica of this machine is ready and no other runs."""
        watch(Started(order.key, f"starting {order.key}"))
        best, since = -1, time.monotonic()
        told = ""
        before: dict[str, int] | None = None
        while True:
            data = next((one for one in self._client.deployments(watch) if _key(one) == order.key), None)
            if data is None:
                raise OperationError(f"{order.key} was removed by another command")
            instances = data["instances"]
            new = [one for one in instances if one["machine"] == order.machine.fingerprint]
            ready = sum(one["state"] == "ready" for one in new)
            if before is None:
                # Crashes before this deploy do not count: what was missing then may be there now.
                before = {one["id"]: one["failures"] for one in new}
            if ready == len(instances) == order.replicas:
                break
            # Fewer old ones is progress as well.
            score = 2 * ready - len(instances) + len(new)
            if score > best:
                best, since = score, time.monotonic()
                watch(Progress(order.key, ready, order.replicas, "items"))
            waits = _waits(new)
            if waits and not told:
                told = waits
                watch(Note(waits))
            late = time.monotonic() - since > PROGRESS_DEADLINE_S
            if late or data["failures"] >= MOST_CRASHES or _crashed(new, before):
                self._give_up(order, data)
            time.sleep(0.1)
        for port in data["unpublished"]:
            watch(Warned(f"port {port} of 127.0.0.1 is used by another program: {order.key} waits for it"))
        watch(Finished(order.key, f"{ready} of {order.replicas} ready"))
        return _deployment(data)

    def _give_up(self, order: desired.Order, data: Mapping[str, Any]) -> None:
        """Say why the new VMs do not become ready; if older ones serve, go back to them."""
        reason = _reason(order, data)
        first, *said = [line.strip() for line in reason.splitlines()]
        in_short = ": ".join((first, *said[-1:]))[:MOST_REASON]
        serving = [
            one
            for one in data["instances"]
            if one["machine"] != order.machine.fingerprint and one["state"] == "ready"
        ]
        if serving and data["has_previous"] and not data["served"]:
            self._client.ask({"do": "go-back", "key": order.key, "reason": in_short})
            raise RolloutError(
                f"{order.key} did not become ready, and the revision before serves on\n{reason}",
                hint="mend the image or the manifest, then deploy again",
            )
        self._client.ask({"do": "give-up", "key": order.key, "reason": in_short})
        raise NotReadyError(
            f"{order.key} did not become ready\n{reason}",
            hint=f"see `i2kit logs {order.name}`; mend the image or the manifest and deploy again,"
            f" or remove it with `i2kit destroy {order.name}`",
        )

    def history(self, key: str) -> Sequence[Revision]:
        """The last revisions, oldest first. Only those whose machine images are in the store are kept."""
        self._client.deployments(events.ignore)  # has it written down what serves
        now = self._client.noted().deployment(key)
        return orders.history(now, _kept(now)) if now else ()

    def images(self) -> Sequence[PlacedImage]:
        """Its machines use the store's."""
        return ()

    def remove_image(self, image: PlacedImage, watch: Watcher) -> None:
        """There is none to remove."""

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        """Log lines of all VMs that are kept, dead ones too; of living number `replica` if given."""
        namespace, name = key.split("/")
        folder = self._client.layout.deployment_logs(namespace, name)
        only: str | None = None
        if replica is not None:
            found = self.observe(key)
            living = found.instances if found else ()
            if replica >= len(living):
                raise OperationError(
                    f"{key} has no replica {replica}", hint=f"there are {len(living)}, from 0"
                )
            only = living[replica].id
        offsets: dict[Path, int] = {}
        while True:
            for _, instance, line in heapq.merge(*_new_lines(folder, only, offsets)):
                who, _, text = line.partition(" ")
                if container is None or who == container:
                    yield instance, who, text
            if not follow:
                return
            time.sleep(0.2)


def _new_lines(
    folder: Path, only: str | None, offsets: dict[Path, int]
) -> Sequence[Sequence[tuple[str, str, str]]]:
    """For every log file, what was added since `offsets`, as (time, instance, line)."""
    found = []
    files = [*folder.glob("*/containers.log.1"), *folder.glob("*/containers.log")]
    for path in sorted(files):
        instance = path.parent.name
        if only is not None and instance != only:
            continue
        with path.open("rb") as file:
            start = offsets.get(path, 0)
            if start > os.fstat(file.fileno()).st_size:
                start = 0  # the file began anew
            file.seek(start)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        offsets[path] = start + len(whole)
        lines = whole.decode(errors="replace").splitlines()
        found.append([(stamp, instance, line) for stamp, _, line in (one.partition(" ") for one in lines)])
    return found


def _kept(now: desired.Wanted | None) -> frozenset[int]:
    """The revisions of a deployment whose machine images are there."""
    revisions = (*now.past, now) if now else ()
    return frozenset(one.revision for one in revisions if not list(_missing(one.machine)))


def _missing(machine: desired.Machine) -> Iterator[str]:
    """The files of a machine image that are gone."""
    for path in (machine.kernel, machine.initrd, machine.root):
        if path and not Path(path).is_file():
            yield path


def _key(data: Mapping[str, Any]) -> str:
    return f"{data['namespace']}/{data['name']}"


def _crashed(instances: Sequence[Mapping[str, Any]], before: Mapping[str, int]) -> bool:
    """Whether containers of one VM ended too often since the deploy began."""
    return any(
        one["failures"] - before.get(one["id"], 0) >= MOST_CRASHES and one["state"] != "ready"
        for one in instances
    )


def _waits(instances: Sequence[Mapping[str, Any]]) -> str:
    """What a VM that never failed says that it waits for; "" if none does."""
    waiting = (
        one for one in instances if one["state"] == "starting" and one["detail"] and not one["failures"]
    )
    return next((f"{one['id']}: {one['detail']}" for one in waiting), "")


def _reason(order: desired.Order, data: Mapping[str, Any]) -> str:
    """Why, as far as it is known: what ended how, and its last words."""
    new = [one for one in data["instances"] if one["machine"] == order.machine.fingerprint]
    worst = max(new, key=lambda one: one["failures"], default=None)
    if worst and worst["failures"]:
        said = "".join(f"\n    {line}" for line in worst["last_lines"])
        return f"  {worst['id']}: {worst['detail']}{said}"
    if data["detail"]:
        return f"  {data['detail']}"
    if waits := _waits(new):
        return f"  {waits}"
    return "  its VMs did not say that they are ready"


def _check_that_it_fits(order: desired.Order) -> None:
    """Refuse a VM that this machine can never hold."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpus = os.cpu_count() or 1
    if order.machine.memory_bytes > memory:
        raise OperationError(
            f"{order.key} asks for {order.machine.memory_bytes >> 20} MiB of memory a VM,"
            f" this machine has {memory >> 20} MiB",
            hint="lower resources.requests.memory or limits.memory",
        )
    if order.machine.cpus > cpus:
        raise OperationError(
            f"{order.key} asks for {order.machine.cpus} CPUs a VM, this machine has {cpus}",
            hint="lower resources.requests.cpu or limits.cpu",
        )
    for path in _missing(order.machine):
        raise OperationError(f"the machine image's file {path} is gone", hint="deploy again to rebuild it")


def _deployment(data: Mapping[str, Any]) -> Deployment:
    return Deployment(
        name=data["name"],
        namespace=data["namespace"],
        provider=LocalProvider.name,
        revision=data["revision"],
        image=data["image"],
        endpoints=tuple(Endpoint(**one) for one in data["endpoints"]),
        replicas_wanted=data["wanted"],
        replicas_ready=data["ready"],
        instances=tuple(
            Instance(
                id=one["id"],
                address=one["address"],
                ready=one["state"] == "ready",
                image=one["image"],
                started_at=one["started_at"],
                state=one["state"],
                detail=one["detail"],
            )
            for one in data["instances"]
        ),
        fingerprint=data["fingerprint"],
        machine=data["machine"],
        containers=tuple(data["containers"]),
        labels=tuple((name, value) for name, value in data["labels"]),
        services=desired.services_from_data(data["services"]),
    )
