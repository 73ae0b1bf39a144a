"""From a Workload to its machine image, step by step: resolve, base, template, assemble, write, store.

In: a Workload and the settings. Out: the template's text, or a MachineImage in the store. Decides
nothing about what is in the image: that is the template's business.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from i2kit.errors import InputError, OperationError, Position, Problem
from i2kit.events import Finished, Started, Watcher, ignore
from i2kit.image import base, linuxkit, sources, template
from i2kit.image.assemble import Assembly, SourceImage, assemble
from i2kit.image.filesystem import write_erofs
from i2kit.image.flatten import HostileLayer, flatten
from i2kit.image.identity import lookup_user
from i2kit.image.initramfs import select, write_cpio
from i2kit.image.oci import BadImage
from i2kit.image.registry import ImageNotFound, Unauthorized
from i2kit.image.store import FULL, FULL_HINT, Store
from i2kit.image.template import Base, ContainerImage
from i2kit.model import Identity, MachineImage, ResolvedImage, Workload
from i2kit.settings import Settings

FORMAT = 2
"""Counts up when the same template leads to other bytes than before."""

Resolved = Mapping[str, ResolvedImage]
"""The images of a pod by the reference in its containers."""


def render(workload: Workload, *, settings: Settings, watch: Watcher = ignore) -> str:
    """The LinuxKit template of the workload's pod, with every image pinned by its digest.

    Raises InputError with the places of all containers whose image cannot be used, OperationError
    when an image or a package of the base cannot be had.
    """
    return _Stage(settings, watch).template(workload)


def build(workload: Workload, *, settings: Settings, watch: Watcher = ignore) -> MachineImage:
    """The machine image of the workload's pod; made only if the store does not have it.

    Raises as `render` does. Whoever else builds the same at the same time waits and gets the same.
    """
    return _Stage(settings, watch).machine_image(workload)


class _Stage:
    """What all steps of one run need: the settings, the store and whom to tell."""

    def __init__(self, settings: Settings, watch: Watcher) -> None:
        self.settings = settings
        self.store = Store(settings.store_dir)
        self.watch = watch
        self._images: dict[str, SourceImage] = {}

    def template(self, workload: Workload) -> str:
        return self._template(workload, self._resolve(workload), self._base())

    def machine_image(self, workload: Workload) -> MachineImage:
        images, base = self._resolve(workload), self._base()
        key = build_key(workload, images, base)
        step = f"build {workload.key}"
        self.watch(Started(step, f"machine image of {workload.name}"))
        found = self.store.machine_image(key)
        if found is None:
            with self.store.lock(f"build-{key}"):
                # Another run may have made it while this one waited.
                found = self.store.machine_image(key)
                if found is None:
                    made = self._build(workload, images, base, key)
                    self.watch(Finished(step, f"{made.size_bytes / 1e6:.1f} MB"))
                    return made
        self.watch(Finished(step, "cached"))
        return replace(found, cached=True)

    def _base(self) -> Base:
        return base.ensure(
            store=self.store,
            lock_file=self.settings.lock_file,
            locked=self.settings.locked,
            watch=self.watch,
        )

    def _resolve(self, workload: Workload) -> Resolved:
        """Pin every image of the pod. Collects what is wrong with any of them."""
        found: dict[str, ResolvedImage] = {}
        problems: list[Problem] = []
        for container in workload.containers:
            try:
                with placed(container.position):
                    if container.image not in found:
                        found[container.image] = sources.resolve(
                            container.image,
                            store=self.store,
                            docker_config=self.settings.docker_config,
                            watch=self.watch,
                        )
            except InputError as error:
                problems += error.problems
        # Told here, before the base is fetched, which can take a minute.
        configs = {reference: image.config for reference, image in found.items()}
        usable = tuple(one for one in workload.containers if one.image in found)
        problems += template.nothing_to_run(replace(workload, containers=usable), configs)
        if problems:
            raise InputError(sorted(problems, key=lambda problem: problem.position or Position("", 0, 0)))
        return found

    def _template(self, workload: Workload, images: Resolved, base: Base) -> str:
        """The template with the identity that each image's USER means, for which images are pulled."""
        identified = {}
        for container in workload.containers:
            image = images[container.image]
            if container.image not in identified:
                with placed(container.position):
                    tree = self._fetch(image).tree
                    identity = lookup_user(tree, image.config.user, image=image.reference)
                identified[container.image] = ContainerImage(image, identity)
        return template.render(workload, identified, base)

    def _fetch(self, image: ResolvedImage) -> SourceImage:
        """An image's file tree, pulled where it is not in the store."""
        if image.pinned not in self._images:
            layers = sources.pull(
                image, store=self.store, docker_config=self.settings.docker_config, watch=self.watch
            )
            self._images[image.pinned] = SourceImage(flatten(layers), image.config, layers)
        return self._images[image.pinned]

    def _build(self, workload: Workload, images: Resolved, base: Base, key: str) -> MachineImage:
        text = self._template(workload, images, base)
        pinned = {image.pinned: image for image in images.values()}

        def fetch(reference: str) -> SourceImage:
            image = pinned.get(reference) or sources.resolve(
                reference, store=self.store, docker_config=self.settings.docker_config
            )
            return self._fetch(image)

        with explained(workload), self.store.scratch() as scratch:
            assembly = assemble(linuxkit.parse(f"{workload.name}.linuxkit.yml", text), fetch, scratch)
            files = scratch / "files"
            files.mkdir()
            write(assembly, files, uuid=bytes.fromhex(key)[:16])
            return self.store.add_machine_image(
                key,
                files,
                cmdline=assembly.cmdline,
                memory_floor_bytes=base.memory_floor_bytes,
                containers=tuple((one.name, images[one.image].pinned) for one in workload.containers),
            )


def build_key(workload: Workload, images: Resolved, base: Base) -> str:
    """What a machine image depends on, as 64 hexadecimal digits.

    It is known before any image is pulled: the identities in the template follow from the images'
    digests, so a template without them tells as much.
    """
    anyone = {reference: ContainerImage(image, Identity()) for reference, image in images.items()}
    text = template.render(workload, anyone, base)
    return hashlib.sha256(f"{FORMAT}\n{text}".encode()).hexdigest()


def write(assembly: Assembly, folder: Path, *, uuid: bytes) -> None:
    """Write an assembly as the files `kernel`, `initrd` and `root` of a machine image."""
    (folder / "kernel").write_bytes(assembly.kernel.read())
    write_cpio(select(assembly.tree), folder / "initrd")
    write_erofs(assembly.tree, folder / "root", label="i2kit", uuid=uuid, order=assembly.sources)


@contextmanager
def explained(workload: Workload) -> Iterator[None]:
    """Turns an OSError, such as a full disk, into an OperationError."""
    try:
        yield
    except OSError as error:
        raise OperationError(
            f"cannot write the machine image of {workload.name}: {error.strerror or error}",
            hint=FULL_HINT if error.errno in FULL else None,
        ) from error


@contextmanager
def placed(position: Position | None) -> Iterator[None]:
    """Tells where the image is named that an error is about.

    What the user can put right there becomes an InputError; the rest fails as it did.
    """
    try:
        yield
    except InputError as error:
        raise InputError(
            replace(problem, position=problem.position or position) for problem in error.problems
        ) from error
    except (ImageNotFound, Unauthorized, BadImage, HostileLayer) as error:
        raise InputError([Problem(error.message, position, error.hint)]) from error
    except OperationError as error:
        if position is None:
            raise
        raise OperationError(f"{position}: {error.message}", hint=error.hint) from error
