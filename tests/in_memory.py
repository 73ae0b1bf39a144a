"""A provider that keeps deployments in a dictionary: for tests of what stands before providers."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit import image, providers
from i2kit.errors import FirstDeployError, InputError, OperationError, Problem, RolloutError
from i2kit.events import Finished, Started, Watcher
from i2kit.model import (
    Architecture,
    Deployment,
    Endpoint,
    Instance,
    MachineImage,
    Output,
    OutputFile,
    PlacedImage,
    Release,
    Revision,
    Workload,
)
from i2kit.providers import Action, Front, Plan, Rollback, Scale, Wanted
from i2kit.settings import Settings

STARTED_AT = "2026-01-02T03:04:05Z"


class InMemoryProvider:
    """Lives as the real ones do, see test_in_memory.py.

    A container whose command is `false` never becomes ready, one whose command is `needs` and a key
    only once a deployment of that key runs.
    """

    name = "local"
    form = "kernel+root"
    ask = False
    volumes = False
    hurry = False
    together: Sequence[str] = ()

    def __init__(self) -> None:
        self.deployments: dict[str, Deployment] = {}
        self.releases: dict[str, list[Release]] = {}
        """The releases of each deployment's revisions."""
        self.placed: list[PlacedImage] = []
        self.applied: list[Plan] = []
        self.lines: list[tuple[str, str, str]] = []

    def get(self, url: str) -> bytes:
        """What an address answers; OSError where nothing does."""
        if any(endpoint.url == url for found in self.list() for endpoint in found.endpoints):
            return b"hello\n"
        raise OSError(f"nothing answers at {url}")

    def observe(self, key: str) -> Deployment | None:
        return self.deployments.get(key)

    def list(self) -> Sequence[Deployment]:
        return [self.deployments[key] for key in sorted(self.deployments)]

    def architecture(self, workload: Workload) -> Architecture:
        return "arm64" if workload.instance_type == "t4g.micro" else "amd64"

    def plan(self, key: str, wanted: Wanted | None, found: Deployment | None) -> Plan:
        actions: tuple[Action, ...] = ()
        if wanted is None:
            actions = (Action("remove", key),) if found else ()
        elif found is None:
            actions = (Action("create", key),)
        elif found.fingerprint != fingerprint(self.release(key, wanted)):
            actions = (
                Action("scale" if isinstance(wanted, Scale) else "replace", key, "the release differs"),
            )
        return Plan(key, wanted, found, actions, notes=("as far as it remembers",) if found else ())

    def release(self, key: str, wanted: Wanted) -> Release:
        """What is wanted, as a whole release."""
        if isinstance(wanted, Release):
            return wanted
        revisions = self.releases[key]
        now = revisions[-1]
        match wanted:
            case Scale(replicas):
                return replace(now, workload=replace(now.workload, replicas=replicas))
            case Front(services, without):
                stay = tuple(one for one in now.services if one.key not in without and one not in services)
                return replace(now, services=(*stay, *services))
            case Rollback(to):
                number = to or len(revisions) - 1
                if not 0 < number <= len(revisions):
                    raise OperationError(f"{key} has no revision {number}")
                return revisions[number - 1]

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        self.applied.append(plan)
        if plan.wanted is None:
            self.deployments.pop(plan.key, None)
            self.releases.pop(plan.key, None)
            return None
        release = self.release(plan.key, plan.wanted)
        replicas = release.workload.replicas
        watch(Started(plan.key, f"starting {plan.key}"))
        for container in release.workload.containers:
            match container.command:
                case ("needs", key) if key in self.deployments:
                    pass
                case ("false",) | ("needs", _):
                    failed = f"{plan.key} did not become ready"
                    raise RolloutError(failed) if plan.found else FirstDeployError(failed)
        revisions = self.releases.setdefault(plan.key, [])
        if isinstance(plan.wanted, Scale | Front):
            revisions.pop()
        revisions.append(release)
        deployment = Deployment(
            name=release.workload.name,
            namespace=release.workload.namespace,
            provider=self.name,
            revision=len(revisions),
            image=release.image.id,
            endpoints=tuple(
                Endpoint(f"http://127.0.0.1:{30000 + port.number}", service.public, service.name, port.number)
                for service in release.services
                for port in service.ports
            ),
            replicas_wanted=replicas,
            replicas_ready=replicas,
            instances=tuple(
                Instance(
                    id=f"{release.workload.name}-{index}",
                    address=f"10.0.0.{index + 2}",
                    ready=True,
                    image=release.image.id,
                    started_at=STARTED_AT,
                    state="ready",
                )
                for index in range(replicas)
            ),
            fingerprint=fingerprint(release),
            containers=tuple(container.name for container in release.workload.containers),
            labels=release.workload.labels,
            services=tuple(one for one in release.services if one.name != release.workload.name),
        )
        self.lines = [
            (one.id, release.workload.containers[0].name, "serving") for one in deployment.instances
        ]
        watch(Finished(plan.key, f"{replicas} of {replicas} ready"))
        self.deployments[plan.key] = deployment
        return deployment

    def history(self, key: str) -> Sequence[Revision]:
        releases = self.releases[key]
        return [
            Revision(
                number,
                release.image.id,
                release.image.containers,
                release.manifest,
                STARTED_AT,
                "serving" if number == len(releases) else "superseded",
            )
            for number, release in enumerate(releases, start=1)
        ]

    def images(self) -> Sequence[PlacedImage]:
        return self.placed

    def remove_image(self, image: PlacedImage, watch: Watcher) -> None:
        self.placed.remove(image)

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        wanted = None
        if replica is not None:
            instances = self.deployments[key].instances
            if replica >= len(instances):
                raise OperationError(f"{key} has no replica {replica}")
            wanted = instances[replica].id
        for instance, source, line in self.lines:
            if container in (None, source) and wanted in (None, instance):
                yield instance, source, line


def fingerprint(release: Release) -> str:
    return repr((release.workload, release.image.id, release.services))


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> InMemoryProvider:
    """Have i2kit use one of these, and images that need no packages; an image `absent` does not exist."""
    provider = InMemoryProvider()

    def build(workload: Workload, *, settings: Settings, watch: Watcher) -> MachineImage:
        container = workload.containers[0]
        if container.image == "absent":
            raise InputError([Problem("there is no image `absent`", container.position)])
        for name in ("kernel", "initrd", "root"):
            (folder / name).write_text(name)
        pinned = f"{container.image}@sha256:{'0' * 64}"
        return MachineImage(
            id=f"image-of-{container.image}",
            vmlinuz=folder / "kernel",
            kernel=folder / "kernel",
            initrd=folder / "initrd",
            root=folder / "root",
            cmdline="quiet",
            memory_floor_bytes=1,
            containers=((container.name, pinned),),
        )

    def output(
        workload: Workload, format_: str, *, settings: Settings, watch: Watcher, sbom: bool, builder: str
    ) -> tuple[MachineImage, Output]:
        made = build(workload, settings=settings, watch=watch)
        files = []
        for name in ("kernel", "initrd", "root"):
            digest = hashlib.sha256(name.encode()).hexdigest()
            files.append(OutputFile(name, folder / name, len(name), digest))
        return made, Output(made.id, format_, tuple(files))

    def render(workload: Workload, *, settings: Settings, watch: Watcher) -> str:
        return f"# template of {build(workload, settings=settings, watch=watch).id}\n"

    monkeypatch.setattr(image, "build", build)
    monkeypatch.setattr(image, "output", output)
    monkeypatch.setattr(image, "render", render)
    monkeypatch.setattr(providers, "load", lambda name, settings: provider)
    return provider
