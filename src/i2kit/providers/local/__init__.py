"""Provider `local`: a small cloud on one Linux machine, without root.

In: Releases. Out: VMs behind HAProxy, with DNS, in a network namespace of their own.

    command line ─ client ─ control.sock ─┐
    watcher (waits for the keeper's end, and starts another)
    keeper (host network, holds the lock, opens published ports, runs the way out)
    └─ supervisor (first process of user+net+pid namespaces; makes `desired.json` true)
       └─ dnsmasq, HAProxy, QEMU × N

  design/    what should run, and what to do next so that it does (pure)
  machines/  VMs: QEMU, what their guests say, disks, secrets, metadata
  reach/     HAProxy, names, datagrams, and who may call whom

Commands order and watch: whether a rollout has failed, and what becomes of it, is the supervisor's to say.
"""

import heapq
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from i2kit import events
from i2kit.errors import (
    FirstDeployError,
    InputError,
    NotReadyError,
    OperationError,
    Problem,
    RolloutError,
)
from i2kit.events import Finished, Note, Progress, Replicas, Started, Warned, Watcher
from i2kit.model import (
    Architecture,
    Deployment,
    Endpoint,
    Instance,
    Job,
    PlacedImage,
    Release,
    Revision,
    Service,
    Workload,
    secrets_text,
    spoken,
)
from i2kit.plain import value_of
from i2kit.providers import Plan, Wanted
from i2kit.providers.local.client import Client
from i2kit.providers.local.design import claims, desired, jobs, orders, plan, room
from i2kit.providers.local.design.claims import KeptVolume
from i2kit.providers.local.kept import kept, missing
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machines import processes, secretsets, volumes
from i2kit.providers.local.reach import certificates
from i2kit.settings import Settings

LEAVING_S = 3.0
"""After this long it is told what `destroy` waits for."""

GONE_S = 30.0
"""How long is waited, after a rollout failed, until its VMs are gone."""


class Watched:
    """What a watcher was last told of a deployment's machines."""

    def __init__(self, key: str, watch: Watcher) -> None:
        self.watch = watch
        self._key = key
        self._last: Replicas | None = None

    def tell(self, wanted: int, instances: tuple[Instance, ...]) -> None:
        """Tell of the machines, if anything of them changed."""
        now = Replicas(self._key, wanted, instances)
        if now != self._last:
            self._last = now
            self.watch(now)


class LocalProvider:
    """Implements `i2kit.providers.Provider`."""

    name = "local"
    form = "kernel+root"
    ask = False
    volumes = False
    hurry = False
    together: Sequence[str] = ()

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        self._planned: dict[str, int] = {}
        """The memory that deployments are to have which were planned, by key."""

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
        """Compare wanted with found. Reads what is noted of the revisions, and what is kept of data."""
        noted = self._client.noted()
        here, _ = self._here(key, wanted)
        before = kept(noted.deployment(key))
        made = plan.plan(key, wanted, found, noted, before, here, volumes=self.volumes)
        if wanted is None or not made.actions:
            return made
        order = orders.order_for(noted, key, made.prepared or wanted, before, here)
        told = room.told(order, room.promised(noted), self._planned, here.host)
        self._planned[key] = order.replicas * order.machine.memory_bytes
        return replace(made, notes=(*made.notes, *told))

    def _here(self, key: str, wanted: Wanted | None) -> tuple[orders.Here, Mapping[str, str]]:
        """What is on this machine; also the sets of secrets that are wanted and new, by their names."""
        layout, new = self._client.layout, {}
        names = {"secrets": "", "certificates": ""}
        if isinstance(wanted, Release):
            for kind, text in (("secrets", _secrets_text(wanted)), ("certificates", _certificates(wanted))):
                names[kind] = (secretsets.name_of(layout, key, text) if text else "") or ""
                if text and not names[kind]:
                    names[kind] = secretsets.new_name()
                    new[names[kind]] = text
        obstacle = self._client.network_obstacle() if orders.needs_network(wanted) else ""
        return orders.Here(volumes.found(layout), **names, obstacle=obstacle, host=processes.host()), new

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        """Make the plan true and wait until it is."""
        with self._client.alone(watch):
            if plan.wanted is None:
                self._remove(plan.key, plan.prepared, watch)
                return None
            self._client.deployments(watch)  # brings back the others first
            noted = self._client.noted()
            before = noted.deployment(plan.key)
            wanted = plan.prepared or plan.wanted
            here, new_secrets = self._here(plan.key, wanted)
            order = orders.order_for(noted, plan.key, wanted, kept(before), here)
            for path in missing(order.machine):
                raise OperationError(
                    f"the machine image's file {path} is gone", hint="deploy again to rebuild it"
                )
            for short in room.told(order, room.promised(noted), {}, here.host):
                watch(Warned(short))
            if short := _short_of_room(self._client.layout, order, here):
                watch(Warned(short))
            if failed := _failed_before(order, before):
                watch(Note(failed))
            self._client.start(order.machine, watch)
            revision = self._client.order(order, new_secrets)
        if order.policy.job:
            return self._wait_for_job(order, order.policy.job, revision, watch)
        return self._wait(order, revision, watch)

    def _wait_for_job(self, order: desired.Order, job: Job, revision: int, watch: Watcher) -> Deployment:
        """Until it has ended; one with a schedule is only noted. Ended before that, nothing changes.

        What is tried for ever is waited for no longer once it has failed again and again.
        """
        watch(Started(order.key, f"running {order.key}"))
        told = Watched(order.key, watch)
        before: int | None = None
        while True:
            data = self._told(order.key, told)
            if data is None:
                raise OperationError(f"{order.key} was removed by another command")
            self._check_newer(order, revision, data)
            runs = [value_of(jobs.Run, one) for one in data["runs"]]
            match data["phase"]:
                case "scheduled" | "suspended" as phase:
                    watch(Finished(order.key, phase))
                    return _deployment(data)
                case "succeeded":
                    watch(Finished(order.key, f"{runs[-1].succeeded} of {job.completions} succeeded"))
                    return _deployment(data)
                case "failed":
                    hint = f"see `i2kit logs {spoken(order.key)}`; mend it and deploy again"
                    raise NotReadyError(f"{order.key} failed\n{runs[-1].story}", hint=hint)
            failures = sum(one["failures"] for one in data["instances"])
            before = failures if before is None else min(before, failures)
            if not jobs.goes_on(job, before, failures):
                said = "".join(f"\n  {one['id']}: {one['detail']}" for one in data["instances"])
                hint = f"see `i2kit logs {spoken(order.key)}`; mend it and deploy again, or wait"
                raise NotReadyError(f"{order.key} fails again and again, and is tried on{said}", hint=hint)
            watch(Progress(order.key, runs[-1].succeeded, job.completions, "items"))
            time.sleep(0.1)

    def _remove(self, key: str, disks: Sequence[KeptVolume], watch: Watcher) -> None:
        """End a deployment, and once its machines are gone remove these disks."""
        running = {_key(data) for data in self._client.deployments(watch)}
        going = [one for one in dict.fromkeys((key, *self.together)) if one in running]
        for one in going:
            watch(Started(one, f"removing {one}"))
            self._client.ask({"do": "remove", "key": one, "hurry": self.hurry})
        told_s = time.monotonic() + LEAVING_S
        # Also what an interrupted command removed; ended before that, all of them go on to end.
        for one in (*going, *([] if key in going else [key])):
            while self._client.is_leaving(one):
                if time.monotonic() > told_s:
                    told_s = float("inf")
                    watch(Note(f"{one} has its grace period to end (`destroy --now` gives none)"))
                time.sleep(0.1)
            if one in going:
                watch(Finished(one, "removed"))
        if disks:
            watch(Started(key, f"removing {len(disks)} volume(s) of {key}"))
            volumes.remove(self._client.layout, disks)
            watch(Finished(key, "volumes removed"))

    def _wait(self, order: desired.Order, revision: int, watch: Watcher) -> Deployment:
        """Until every replica is available and no other machine runs. Ended before that, nothing changes."""
        watch(Started(order.key, f"starting {order.key}"))
        told = Watched(order.key, watch)
        while True:
            data = self._told(order.key, told)
            if data is None:
                raise OperationError(f"{order.key} was removed by another command")
            self._check(order, revision, data, told)
            if data["complete"] and len(data["instances"]) == data["wanted"]:
                break
            new = [one for one in data["instances"] if one["machine"] == order.machine.fingerprint]
            watch(Progress(order.key, sum(one["state"] == "ready" for one in new), data["wanted"], "items"))
            time.sleep(0.1)
        for port in data["unpublished"]:
            watch(Warned(f"port {port} of 127.0.0.1 is used by another program: {order.key} waits for it"))
        watch(Finished(order.key, f"{data['ready']} of {data['wanted']} ready"))
        return _deployment(data)

    def _told(self, key: str, told: "Watched") -> dict[str, Any] | None:
        """What the supervisor says of a deployment now; its machines are told of where they changed."""
        data = next((one for one in self._client.deployments(told.watch) if _key(one) == key), None)
        if data is not None:
            told.tell(data["wanted"], _deployment(data).instances)
        return data

    def _check(self, order: desired.Order, revision: int, data: Mapping[str, Any], told: "Watched") -> None:
        """Raise what the supervisor says of a rollout that failed, or was replaced by another."""
        key, newer = order.key, data["revision"] > revision
        story = next((one["story"] for one in data["failed"] if one["revision"] == revision), None)
        if newer and story is not None:
            self._wait_until_back(key, told)
            raise RolloutError(
                f"{key} did not become ready, and the revision before serves on\n{story}",
                hint="mend the image or the manifest, then deploy again",
            )
        self._check_newer(order, revision, data)
        if story is not None or data["stuck"]:
            # What is stuck did serve, with another number of VMs.
            kind = FirstDeployError if story is not None else NotReadyError
            raise kind(
                f"{key} did not become ready\n{story or data['stuck']}",
                hint=f"see `i2kit logs {spoken(order.key)}`; mend the image or the manifest and deploy again,"
                f" or remove it with `i2kit destroy {spoken(order.key)}`",
            )

    def _check_newer(self, order: desired.Order, revision: int, data: Mapping[str, Any]) -> None:
        if data["revision"] > revision:
            raise OperationError(
                f"another command replaced revision {revision} of {order.key} by revision {data['revision']}",
                hint=f"see `i2kit history {spoken(order.key)}`",
            )

    def _wait_until_back(self, key: str, told: "Watched") -> None:
        """Until a failed rollout's machines are gone and what served before is whole again, for a while."""
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline:
            data = self._told(key, told)
            if data is None or (data["complete"] and len(data["instances"]) == data["wanted"]):
                return
            time.sleep(0.1)

    def history(self, key: str) -> Sequence[Revision]:
        """The last revisions, oldest first. Only those whose machine images are in the store are kept."""
        self._client.deployments(events.ignore)  # has it written down what serves
        now = self._client.noted().deployment(key)
        return orders.history(now, kept(now)) if now else ()

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
        noted = self._client.noted().deployment(key)
        if replica is not None and noted and noted.machine.stateful and replica < noted.replicas:
            only = desired.instance_of(noted, replica, "")
        elif replica is not None:
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


def _key(data: Mapping[str, Any]) -> str:
    return f"{data['namespace']}/{data['name']}"


def _failed_before(order: desired.Order, now: desired.Wanted | None) -> str:
    """What to know of a deploy whose like failed last time; "" where it did not."""
    fingerprint = order.machine.fingerprint
    same = [one for one in ((*now.past, now) if now else ()) if one.machine.fingerprint == fingerprint]
    if not same or not same[-1].reason:
        return ""
    last = same[-1]
    return f"revision {last.revision} was the same and failed, it is tried again: {last.reason}"


def _secrets_text(release: Release) -> str:
    """What the machines are told of their secrets."""
    workload = release.workload
    mine = [one for one in release.secrets if one.namespace == workload.namespace]
    try:
        return secrets_text(workload.secrets, mine)
    except KeyError as error:
        secret, name = error.args[0]
        problem = f"{workload.key} needs the key `{name}` of secret `{secret}`, which has no value"
        raise InputError([Problem(problem, workload.position, "give it with --secret")]) from error


def _certificates(release: Release) -> str:
    """What its Ingresses end TLS with, as far as it is given."""
    namespace = release.workload.namespace
    secrets = [secret for one in release.ingresses for _, secret in one.tls]
    mine = [one for one in release.secrets if one.namespace == namespace]
    given = {(one.secret, one.key) for one in mine}
    keys = [one for one in certificates.keys_of(secrets) if (one.secret, one.key) in given]
    return secrets_text(keys, mine)


def _short_of_room(layout: Layout, order: desired.Order, here: orders.Here) -> str:
    """What to know where the disks of all its VMs may come to need more room than there is."""
    there = {one.key: one.size_bytes for one in here.volumes}
    new = 0
    for disk in order.machine.disks:
        for slot in range(order.replicas if disk.each else 1):
            claim = f"{order.namespace}/{claims.claim_of(disk, order.name, slot)}"
            new += max(0, disk.size_bytes - there.get(claim, 0))
    new += order.machine.scratch_bytes * order.replicas
    if not new:
        return ""
    layout.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(layout.state_dir).free
    if new <= free:
        return ""
    return (
        f"the new disks of {order.key} may grow to {new >> 20} MiB as they are written to,"
        f" and {layout.state_dir} has {free >> 20} MiB free"
    )


def _deployment(data: Mapping[str, Any]) -> Deployment:
    return Deployment(
        name=data["name"],
        namespace=data["namespace"],
        provider=LocalProvider.name,
        revision=data["revision"],
        image=data["image"],
        endpoints=tuple(value_of(Endpoint, one) for one in data["endpoints"]),
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
        phase=data["phase"],
        volumes=tuple(data["volumes"]),
        labels=tuple((name, value) for name, value in data["labels"]),
        services=tuple(value_of(Service, one) for one in data["services"]),
    )
