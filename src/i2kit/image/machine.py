"""From a pod or a LinuxKit template to its machine image: resolve, base, template, assemble, write, store.

In: a Workload or a Template, and the settings. Out: the template's text, a MachineImage in the store, or
an Output: the same in another form. Decides nothing about what is in the image: that is the template's
business.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from i2kit.errors import InputError, OperationError, Position, Problem
from i2kit.events import Finished, Started, Warned, Watcher, ignore
from i2kit.image import base, disk, linuxkit, linuxkit_builder, outputs, sbom, sources, template
from i2kit.image.assemble import Assembly, SourceImage, assemble, with_sources
from i2kit.image.base import boot, components, kernel
from i2kit.image.base.boot import Loader
from i2kit.image.linuxkit.text import as_text, expanded_reference
from i2kit.image.linuxkit.values import Template
from i2kit.image.linuxkit_packages import named
from i2kit.image.sources.build import build as built
from i2kit.image.sources.credentials import Logins
from i2kit.image.sources.oci import BadImage
from i2kit.image.sources.oci_layout import Stored, fetcher
from i2kit.image.sources.registry import ImageNotFound, Unauthorized
from i2kit.image.store import FULL, FULL_HINT, Store, canonical_json
from i2kit.image.template import Base, ContainerImage
from i2kit.image.tree import Content, Kind, Tree, initramfs, real_path
from i2kit.image.tree.archive import in_memory
from i2kit.image.tree.filesystem import write_erofs
from i2kit.image.tree.flatten import HostileLayer, flatten
from i2kit.image.tree.identity import identity_of
from i2kit.image.tree.initramfs import select, write_cpio
from i2kit.model import (
    Architecture,
    Build,
    Container,
    Identity,
    MachineImage,
    Output,
    Pairs,
    ResolvedImage,
    Security,
    Workload,
)
from i2kit.settings import Settings

FORMAT = 9
"""Counts up when the same template leads to other bytes than before."""

Builder = Literal["i2kit", "linuxkit"]
"""What puts a template's images together: this, or the real LinuxKit."""

Resolved = Mapping[str, ResolvedImage]
"""Images by the reference that names them."""


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
    stage = _Stage(settings, watch)
    return stage.machine_image(stage.of_workload(workload))


def output(
    source: Workload | Template,
    format_: str,
    *,
    settings: Settings,
    sbom: bool = True,
    builder: Builder = "i2kit",
    watch: Watcher = ignore,
) -> tuple[MachineImage | None, Output]:
    """The machine image of a pod or of a LinuxKit template, and its files in one of model.FORMATS.

    With `sbom` the image carries a list of what it is made of. A template without a kernel has no
    machine image, only a tar. Raises as `render` does, and InputError for a form that it cannot have.
    """
    stage = _Stage(settings, watch)
    recipe = (
        stage.of_template(source, sbom, builder)
        if isinstance(source, Template)
        else stage.of_workload(source, sbom, builder)
    )
    return stage.output(recipe, format_)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that is known before anything is pulled. `images` are those that `template` will name."""

    name: str
    key: str
    images: Resolved
    template: Callable[[], Template]
    sbom: bool
    builder: Builder
    memory_floor_bytes: int
    bootable: bool = True
    containers: Pairs = ()
    labels: bool = True
    """Whether images may say by LinuxKit's label how they are run. A pod's are strangers: they may not."""


class _Stage:
    """What all steps of one run need: the settings, the store and whom to tell."""

    def __init__(self, settings: Settings, watch: Watcher) -> None:
        self.settings = settings
        self.store = Store(settings.store_dir, watch)
        self.watch = watch
        self.platform = components.platform_of(settings.architecture)
        self._images: dict[str, SourceImage] = {}
        self._told: set[Problem] = set()
        self._made_base: Base | None = None

    def template(self, workload: Workload) -> str:
        return self._template(workload, self._resolve(workload), self._base())

    def of_workload(self, workload: Workload, sbom: bool = True, builder: Builder = "i2kit") -> _Recipe:
        images, base = self._resolve(workload), self._base()
        return _Recipe(
            name=workload.key,
            key=build_key(workload, images, base, sbom, builder, self.settings.architecture),
            images={image.pinned: image for image in images.values()},
            template=lambda: linuxkit.parse(
                f"{workload.name}.linuxkit.yml", self._template(workload, images, base)
            ),
            sbom=sbom,
            builder=builder,
            memory_floor_bytes=base.memory_floor_bytes,
            containers=tuple(
                (one.name, images[one.image].pinned) for one in (*workload.init, *workload.containers)
            ),
            labels=False,
        )

    def of_template(self, found: Template, sbom: bool, builder: Builder) -> _Recipe:
        for warning in found.warnings:
            self.watch(Warned(str(warning)))
        found = with_sources(named(found))
        images: dict[str, ResolvedImage] = {}
        problems: list[Problem] = []
        for reference, position in found.positions.items():
            try:
                with placed(position):
                    images[reference] = self._resolve_one(reference)
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        pinned = {reference: sources.nameless(image.pinned) for reference, image in images.items()}
        data = [
            hashlib.sha256(file.data).hexdigest() if file.data is not None else file.absent
            for file in found.files
        ]
        text = as_text(found, "json", pinned)
        content: list[object] = [FORMAT, self.settings.architecture, sbom, builder, text, data]
        names = [entry.image for _, entries in found.sections for entry in entries]
        content += _unpacked_apart(names, [pinned[name] for name in names])
        if any(file.metadata for file in found.files):
            # The machine then holds the names as well.
            content.append(as_text(found, "json"))
        return _Recipe(
            name=found.name,
            key=hashlib.sha256(canonical_json(content)).hexdigest(),
            images=images,
            template=lambda: found,
            sbom=sbom,
            builder=builder,
            memory_floor_bytes=base.MEMORY_FLOOR_BYTES,
            bootable=bool(found.kernel),
        )

    def machine_image(self, recipe: _Recipe) -> MachineImage:
        step = f"build {recipe.name}"
        self.watch(Started(step, f"machine image of {recipe.name.rpartition('/')[2]}"))
        found = self.store.machine_image(recipe.key)
        if found is None:
            with self.store.lock(f"build-{recipe.key}"):
                # Another run may have made it while this one waited.
                found = self.store.machine_image(recipe.key)
                if found is None:
                    made = self._build(recipe)
                    self.store.name_machine_image(made.id, recipe.name)
                    self.watch(Finished(step, f"{made.size_bytes / 1e6:.1f} MB"))
                    return made
        self.store.name_machine_image(found.id, recipe.name)
        self.watch(Finished(step, "cached"))
        return replace(found, cached=True)

    def output(self, recipe: _Recipe, format_: str) -> tuple[MachineImage | None, Output]:
        image = self.machine_image(recipe) if recipe.bootable or format_ != "tar" else None
        loader = self._base().boot if format_ in disk.FORMATS else ""
        key = outputs.key(image.id if image else recipe.key, format_, loader)
        found = self.store.output(key)
        if found is not None:
            return image, replace(found, cached=True)
        step = f"write {format_} {recipe.name}"
        self.watch(Started(step, f"{format_} of {recipe.name.rpartition('/')[2]}"))
        with explained(recipe.name), self.store.scratch() as scratch:
            files = scratch / "files"
            files.mkdir()
            if image is None or format_ == "tar":
                outputs.write_tar(self._assemble(recipe, scratch), files)
            elif loader:
                outputs.write_disk(image, format_, self._loader(loader), files)
            else:
                outputs.write_files(image, format_, files)
            made = self.store.add_output(key, files, id_=image.id if image else recipe.key, format_=format_)
        self.watch(Finished(step, f"{sum(file.size_bytes for file in made.files) / 1e6:.1f} MB"))
        return image, made

    def _loader(self, reference: str) -> Loader:
        return boot.load(self.store, reference, self.settings.architecture)

    def _base(self) -> Base:
        if self._made_base is None:
            self._made_base = base.ensure(
                store=self.store,
                lock_file=self.settings.lock_file,
                locked=self.settings.locked,
                architecture=self.settings.architecture,
                watch=self.watch,
            )
        return self._made_base

    def _resolve(self, workload: Workload) -> Resolved:
        """Pin every image of the pod. Collects what is wrong with any of them."""
        found: dict[str, ResolvedImage] = {}
        problems: list[Problem] = []
        for container in (*workload.init, *workload.containers):
            try:
                with placed(container.position):
                    if container.build:
                        found[container.image] = self._built(container.image, container.build)
                    elif container.image not in found:
                        found[container.image] = self._resolve_one(container.image)
            except InputError as error:
                problems += error.problems
        # Told here, before the base is fetched, which can take a minute.
        configs = {reference: image.config for reference, image in found.items()}
        usable = tuple(one for one in (*workload.init, *workload.containers) if one.image in found)
        problems += template.nothing_to_run(replace(workload, init=(), containers=usable), configs)
        if problems:
            raise InputError(sorted(problems, key=lambda problem: problem.position or Position("", 0, 0)))
        return found

    def _built(self, name: str, wanted: Build) -> ResolvedImage:
        """The image that is made here. Once its parts are in the store, the file with it is not needed."""
        with self.store.scratch() as scratch:
            reference = built(name, wanted, scratch, platform=self.platform, watch=self.watch)
            return replace(self._resolve_one(reference), reference=name)

    def _resolve_one(self, reference: str, platform: str = "") -> ResolvedImage:
        """The image that this means, for the machine's platform or another one."""
        return sources.resolve(
            reference,
            store=self.store,
            logins=Logins(self.settings.docker_config, self.settings.logins),
            images=self.settings.images,
            platform=platform or self.platform,
            watch=self.watch,
        )

    def _template(self, workload: Workload, images: Resolved, base: Base) -> str:
        """The template with the identity of each container, for which images are pulled."""
        identified = {}
        problems: list[Problem] = []
        for container in (*workload.init, *workload.containers):
            image = images[container.image]
            with placed(container.position):
                tree = self._fetch(image).tree
                identity = identity_of(tree, image.config.user, container.security, image=image.reference)
                folders = _folders(tree, container)
            identified[container.name] = ContainerImage(image, identity, folders)
            problems += template.must_not_be_root(container, identified[container.name])
        if problems:
            raise InputError(problems)
        return template.render(workload, identified, base)

    def _fetch(self, image: ResolvedImage) -> SourceImage:
        """An image's file tree, pulled where it is not in the store."""
        if image.pinned not in self._images:
            layers = self._pull(image)
            try:
                tree = flatten(layers)
            except HostileLayer as error:
                raise HostileLayer(f"{image.reference}: {error.message}", hint=error.hint) from error
            self._images[image.pinned] = SourceImage(tree, image.config, layers)
        return self._images[image.pinned]

    def _pull(self, image: ResolvedImage, platform: str = "") -> tuple[Path, ...]:
        return sources.pull(
            image,
            store=self.store,
            logins=Logins(self.settings.docker_config, self.settings.logins),
            images=self.settings.images,
            platform=platform or self.platform,
            watch=self.watch,
        )

    def _assemble(self, recipe: _Recipe, scratch: Path) -> Assembly:
        found = recipe.template()
        images = {
            reference: recipe.images.get(reference) or self._resolve_one(reference)
            for reference in found.positions
        }

        def fetch(reference: str) -> SourceImage:
            with placed(found.positions[reference]):
                image = self._fetch(images[reference])
                return image if recipe.labels else _without_label(image)

        of_volume = fetcher(self._resolve_one, self._pull, self.store, self.platform)

        def fetch_layout(reference: str, platforms: tuple[str, ...]) -> Tree:
            with placed(found.positions[reference]):
                return of_volume(reference, platforms)

        if recipe.builder == "linuxkit":
            if not recipe.labels:
                _refuse_labels(found, images)
            stored = {name: Stored(image, self._pull(image)) for name, image in images.items()}
            made = linuxkit_builder.build(
                found, stored, self.store, scratch, architecture=self.settings.architecture
            )
        else:
            made = assemble(found, fetch, scratch, fetch_layout=fetch_layout)
        for warning in made.warnings:
            # A template's own are told when it is read; one run may assemble it twice.
            if warning not in found.warnings and warning not in self._told:
                self._told.add(warning)
                self.watch(Warned(str(warning)))
        return sbom.carried(made, found, images, fetch) if recipe.sbom else made

    def _build(self, recipe: _Recipe) -> MachineImage:
        with explained(recipe.name), self.store.scratch() as scratch:
            assembly = self._assemble(recipe, scratch)
            files = scratch / "files"
            files.mkdir()
            try:
                direct = write(
                    assembly, files, uuid=bytes.fromhex(recipe.key)[:16], unpacked=self.store.kernel_of
                )
            except kernel.BadKernel as error:
                found = recipe.template()
                message = f"the kernel of the image `{found.kernel}` cannot be used: {error.message}"
                place = found.positions.get(found.kernel)
                raise InputError([Problem(message, place, "build that image again")]) from error
            return self.store.add_machine_image(
                recipe.key,
                files,
                cmdline=assembly.cmdline,
                memory_floor_bytes=recipe.memory_floor_bytes,
                containers=recipe.containers,
                images=[image.pinned for image in recipe.images.values()],
                direct=direct,
            )


def _without_label(image: SourceImage) -> SourceImage:
    kept = tuple(label for label in image.config.labels if label[0] != linuxkit.LABEL)
    return replace(image, config=replace(image.config, labels=kept))


def _refuse_labels(found: Template, images: Resolved) -> None:
    """The real tool takes from the label what the template does not say."""
    problems = [
        Problem(
            f"the image `{image.reference}` says by its label {linuxkit.LABEL} how it is run",
            found.positions[reference],
            "leave --builder linuxkit out: i2kit's own builder takes that from the manifest alone",
        )
        for reference, image in images.items()
        if linuxkit.LABEL in dict(image.config.labels)
    ]
    if problems:
        raise InputError(problems)


def _folders(tree: Tree, container: Container) -> Mapping[str, str]:
    """Where the image has the folders that new disks begin with, by the path that they are mounted at."""
    wanted = [mount.path for mount in container.mounts if mount.filled]
    entries = {entry.path: entry for entry in tree} if wanted else {}
    led = {path: real_path(entries, path) for path in wanted}
    return {
        path: real
        for path, real in led.items()
        if real and real.isprintable() and entries[real].kind is Kind.DIRECTORY
    }


def build_key(
    workload: Workload,
    images: Resolved,
    base: Base,
    sbom: bool = True,
    builder: Builder = "i2kit",
    architecture: Architecture = "amd64",
) -> str:
    """What a machine image depends on, as 64 hexadecimal digits.

    It is known before any image is pulled: the identities in the template follow from the images'
    digests and what the containers say of it, so a template without them tells as much.
    """
    containers = (*workload.init, *workload.containers)
    anyone = {one.name: ContainerImage(images[one.image], Identity()) for one in containers}
    text = sources.nameless(template.render(workload, anyone, base))
    for one in containers:
        if one.security != Security():
            # Whether it may be root is decided anew for another pod with the same image.
            text += f"{one.name} {one.security!r}\n"
    names = [images[one.image].pinned for one in containers]
    text += "".join(map(str, _unpacked_apart(names, list(map(sources.nameless, names)))))
    return hashlib.sha256(f"{FORMAT} {architecture}\n{sbom} {builder}\n{text}".encode()).hexdigest()


def _unpacked_apart(names: Sequence[str], pinned: Sequence[str]) -> list[list[int]]:
    """Which containers share an unpacked image, where these are not just those that are of the same one.

    As with LinuxKit, an image that goes by two names in a template is unpacked twice.
    """
    expanded = list(map(expanded_reference, names))
    shared = [expanded.index(name) for name in expanded]
    return [shared] if shared != [pinned.index(one) for one in pinned] else []


def write(assembly: Assembly, folder: Path, *, uuid: bytes, unpacked: Callable[[str], Path | None]) -> bool:
    """Write an assembly as the files of a machine image: `vmlinuz`, `kernel`, `initrd`, `root`, `sbom`.

    `unpacked` may know the `kernel` that belongs to a vmlinuz of this SHA-256.
    Where machines start the kernel as firmware does there is no `kernel`. A tree that says nothing of an
    initramfs is one itself, as with LinuxKit, and there is no `root`. Returns whether the kernel can
    mount the root alone: it has no modules, so all that it can do is built in.
    """
    _write_kernel(assembly.kernel, folder, unpacked)
    entries = {entry.path: entry for entry in assembly.tree}
    if (document := entries.get(sbom.PATH)) and document.content:
        with (folder / "sbom").open("wb") as out:
            out.writelines(document.content.chunks())
    if assembly.ucode:
        (folder / "initrd").write_bytes(initramfs.padded(assembly.ucode.read()))
    rooted = initramfs.LIST in entries
    early = select(assembly.tree) if rooted else in_memory(assembly)
    write_cpio(early, folder / "initrd", behind=assembly.ucode is not None)
    if not rooted:
        return False
    write_erofs(assembly.tree, folder / "root", label="i2kit", uuid=uuid, order=assembly.sources)
    return "lib/modules" not in entries


def _write_kernel(content: Content, folder: Path, unpacked: Callable[[str], Path | None]) -> None:
    vmlinuz = kernel.for_firmware(content.read())
    (folder / "vmlinuz").write_bytes(vmlinuz)
    if known := unpacked(hashlib.sha256(vmlinuz).hexdigest()):
        os.link(known, folder / "kernel")
    elif (inner := kernel.for_machine(vmlinuz)) is not vmlinuz:
        (folder / "kernel").write_bytes(inner)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turns an OSError, such as a full disk, into an OperationError."""
    try:
        yield
    except OSError as error:
        raise OperationError(
            f"cannot write the machine image of {name}: {error.strerror or error}",
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
