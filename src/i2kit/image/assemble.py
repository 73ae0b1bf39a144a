"""A LinuxKit template and its images become one file tree: the machine's root filesystem.

In: a Template and a way to get an image's tree. Out: an Assembly in LinuxKit's layout. Never asks
a registry, and unpacks nothing to disk: contents stay where the images have them.

    /                                   the init images, unpacked one over the other
    /containers/onboot/NNN-NAME/        what runs once at boot, one after the other
    /containers/onshutdown/NNN-NAME/    the same before the machine goes off
    /containers/services/NAME/          what runs from boot on; all of them hold
        config.json, runtime.json       the container (OCI runtime spec), and how to mount its root
        lower, tmp, rootfs              the unpacked image, the writable layer, both together
        rootfs                          … or only the unpacked image, if it is read-only
    /containers/volumes/NAME/           folders that containers share
        lower, tmp, merged              what is in it at first, the writable layer, both together

An image that is used twice is unpacked once, and the others refer to it. Not in the tree, unlike
in LinuxKit's tar output, are boot/kernel and boot/cmdline: a machine gets these beside its disk
(`archive` adds them). Source: LinuxKit, src/cmd/linuxkit/moby/build/{build,image}.go. Where it is
at fault, this is not; docs/linuxkit.md says where.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from i2kit.errors import InputError, OperationError, Problem
from i2kit.image.base.kernel import MAX_BYTES as MAX_KERNEL_BYTES
from i2kit.image.linuxkit import LABEL, together
from i2kit.image.linuxkit.spec import Json, number, oci_config, runtime_config
from i2kit.image.linuxkit.text import as_text, expanded_reference
from i2kit.image.linuxkit.values import ContainerEntry, FileEntry, Runtime, Settings, Template, Volume
from i2kit.image.tree import Content, Entry, Kind, Tree, find, initramfs, read_file
from i2kit.image.tree.flatten import MAX_CONTENT_BYTES, flatten
from i2kit.image.tree.union import Union
from i2kit.model import ImageConfig

MTIME_S = 1492533000
"""Of everything that comes from no image; LinuxKit's, 2017-04-18."""

HOSTS = b"""\
127.0.0.1       localhost
::1     localhost ip6-localhost ip6-loopback
fe00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""
NO_RESOLV_CONF = b"\n# no resolv.conf configured\n"
RESOLV_CONF = "/run/resolvconf/resolv.conf"

DROPPED = (".dockerenv", "Dockerfile", "dev/console", "dev/pts", "dev/shm", "etc/hostname")
"""What builders and container runtimes leave behind in images."""
FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
"""What every unpacked image has to have."""
APK_DATABASE = "lib/apk/db/installed"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image as far as assembling needs it; `layers` are its uncompressed layers, bottom first."""

    tree: Tree
    config: ImageConfig
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Assembly:
    """The machine's root and what boots it. `sources` are the files that the contents lie in,
    those that change least often first.

    `boot` is what LinuxKit's tar has in addition: boot/kernel, boot/cmdline and boot/ucode.cpio.
    """

    tree: Tree
    boot: Tree
    cmdline: str
    sources: tuple[Path, ...]
    warnings: tuple[Problem, ...] = ()
    modules: Tree = ()
    """What the kernel image brings beside the kernel, as it is at the root."""

    @property
    def kernel(self) -> Content:
        """The kernel. Raises InputError for a template without one, which is good for a tar only."""
        kernel = next((entry.content for entry in self.boot if entry.path == "boot/kernel"), None)
        if kernel is None:
            hint = "add `kernel: {image: …}`, or write --format tar"
            raise InputError([Problem("the template has no kernel, so nothing can boot it", hint=hint)])
        return kernel

    @property
    def ucode(self) -> Content | None:
        """Microcode for the processor: an archive to put before the initrd."""
        return next((entry.content for entry in self.boot if entry.path == "boot/ucode.cpio"), None)


Fetch = Callable[[str], SourceImage]
FetchLayout = Callable[[str, tuple[str, ...]], Tree]
"""An image, for the platforms or for those that there are, as the tree of an OCI layout."""


def with_sources(template: Template) -> Template:
    """The template with the contents of its files' sources.

    An optional one that is not there is marked as absent. Raises InputError naming every one that
    cannot be read.
    """
    problems: list[Problem] = []
    files = []
    for file in template.files:
        if not file.source or file.data is not None or file.absent:
            files.append(file)
            continue
        path = file.folder / file.source
        if file.source.startswith("~/"):
            # As LinuxKit has it: the home of whoever builds.
            path = Path(os.path.expanduser(file.source))  # noqa: PTH111 (the other one raises without a home)
        try:
            # Opening a pipe would wait for ever, and some devices have no end.
            if not path.is_file() and path.exists() and not path.is_dir():
                message = f"cannot read {path}, the source of /{file.place}: it is not a regular file"
                problems.append(Problem(message, file.position))
                continue
            files.append(replace(file, data=path.read_bytes()))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            if missing and file.optional:
                files.append(replace(file, absent=True))
            else:
                message = f"cannot read {path}, the source of /{file.place}: {error.strerror}"
                hint = "sources are relative to the template's folder" if missing else None
                problems.append(Problem(message, file.position, hint))
    if problems:
        raise InputError(problems)
    return replace(template, files=tuple(files))


def assemble(
    template: Template, fetch: Fetch, scratch: Path, *, fetch_layout: FetchLayout | None = None
) -> Assembly:
    """Put the template's images together. `fetch` gets an image by its reference in the template.

    The tree refers to files in `scratch` and to those of the images. Raises InputError where an
    image is not what the template uses it for.
    """
    template = with_sources(template)
    builder = _Builder(template, fetch, scratch)
    boot = builder.kernel() if template.kernel else ()
    builder.init()
    for volume in template.volumes:
        builder.volume(volume, fetch_layout)
    for section, entries in template.sections:
        for index, entry in enumerate(entries):
            prefix = "" if section == "services" else f"{index:03}-"
            builder.container(f"containers/{section}/{prefix}{entry.name}", entry)
    for file in template.files:
        if not file.absent:
            builder.file(file)
    return Assembly(
        builder.root.tree(),
        boot,
        template.cmdline,
        tuple(dict.fromkeys(builder.sources)),
        (*template.warnings, *builder.all_warnings()),
        builder.modules,
    )


_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


class _Builder:
    def __init__(self, template: Template, fetch: Fetch, scratch: Path) -> None:
        self.template = template
        self.fetch = fetch
        self.scratch = scratch
        self.root = Union(_folder(""))
        self.sources: list[Path] = []
        self.warnings: list[Problem] = []
        self.ids = template.ids()
        self.volumes = {volume.name: f"/{volume.folder}/merged" for volume in template.volumes}
        self.modules: Tree = ()
        self.own_guest = False
        """Whether i2kit's init starts the containers, not LinuxKit's."""
        self._unpacked: dict[str, str] = {}

    def all_warnings(self) -> list[Problem]:
        if not self.root.lost:
            return self.warnings
        some = ", ".join(f"/{path}" for path in self.root.lost[:3])
        more = f" and {len(self.root.lost) - 3} more" if len(self.root.lost) > 3 else ""
        message = f"files are hidden by what a later image or `files` has in place of a folder: {some}{more}"
        return [*self.warnings, Problem(message)]

    def kernel(self) -> Tree:
        """Unpack the kernel's modules; the kernel itself and what belongs to it.

        A kernel image is a pair of files: `kernel`, and `kernel.tar` with its modules.
        """
        image = self.fetch(self.template.kernel)
        name = self.template.binary or "kernel"
        kernel = self._part(image, name)
        assert kernel is not None
        modules = "kernel.tar" if self.template.kernel_tar is None else self.template.kernel_tar
        if modules not in ("", "none"):
            found = self._part(image, modules, limit_bytes=MAX_CONTENT_BYTES)
            assert found is not None and found.content is not None
            archive = self.scratch / "modules" / Path(modules).name
            archive.parent.mkdir(exist_ok=True)
            with archive.open("wb") as out:
                out.writelines(found.content.chunks())
            try:
                self.modules = flatten([archive])
            except OperationError as error:
                place = self.template.positions.get(self.template.kernel)
                message = f"the image `{self.template.kernel}`: {error.message.removeprefix('layer ')}"
                raise InputError([Problem(message, place, error.hint)]) from error
            self.root.unpack("", self.modules)
            self.sources.append(archive)
        boot = [_folder("boot"), _regular("boot/cmdline", self.template.cmdline.encode())]
        boot.append(replace(kernel, path="boot/kernel", mtime_s=MTIME_S, link_group=0))
        if self.template.ucode and (ucode := self._part(image, self.template.ucode, optional=True)):
            boot.append(replace(ucode, path="boot/ucode.cpio", mtime_s=MTIME_S, link_group=0))
        return tuple(boot)

    def _part(
        self, image: SourceImage, name: str, *, optional: bool = False, limit_bytes: int = MAX_KERNEL_BYTES
    ) -> Entry | None:
        found = find(image.tree, name)
        reference = self.template.kernel
        place = self.template.positions.get(reference)
        if found is not None and found.content is not None:
            size = found.content.size_bytes
            if size > limit_bytes:
                message = f"the file `{name}` of the kernel image `{reference}` has {size:,} bytes"
                raise InputError([Problem(message, place, f"{limit_bytes:,} are the most that are read")])
            return found
        if optional:
            self.warnings.append(Problem(f"the kernel image `{reference}` has no file `{name}`", place))
            return None
        raise InputError(
            [Problem(f"the image `{reference}` is no kernel image: it has no file `{name}`", place)]
        )

    def init(self) -> None:
        databases = []
        for reference in self.template.init:
            image = self.fetch(reference)
            with self._placed(reference):
                self._unpack("", image, resolv_conf=RESOLV_CONF)
                if (database := read_file(image.tree, APK_DATABASE)) is not None:
                    databases.append(database)
            self.own_guest = self.own_guest or find(image.tree, initramfs.LIST) is not None
        if len(databases) > 1:
            # Each image knows of its own packages only.
            self.root.put(_regular(APK_DATABASE, b"".join(data + b"\n\n" for data in databases)))

    def volume(self, volume: Volume, fetch_layout: FetchLayout | None) -> None:
        lower = f"{volume.folder}/lower"
        self.root.put(_folder(lower))
        if volume.image and volume.format == "oci":
            if fetch_layout is None:
                message = f"volumes: `{volume.name}`: the format oci is not supported here"
                raise InputError([Problem(message, volume.position)])
            self.root.unpack(lower, fetch_layout(volume.image, volume.platforms))
        elif volume.image:
            image = self.fetch(volume.image)
            with self._placed(volume.image):
                self._unpack(lower, image, resolv_conf=RESOLV_CONF)
        for name in ("tmp", "merged"):
            self.root.put(_folder(f"{volume.folder}/{name}"))

    def container(self, folder: str, entry: ContainerEntry) -> None:
        image = self.fetch(entry.image)
        settings = together(entry, dict(image.config.labels).get(LABEL, ""), self.template)
        if self.own_guest and (problem := _beyond_own_guest(entry, settings)):
            self.warnings.append(problem)
        readonly = bool(settings.readonly)
        place = f"{folder}/rootfs" if readonly else f"{folder}/lower"
        key = expanded_reference(entry.image)
        if key not in self._unpacked:
            self._unpacked[key] = place
            with self._placed(entry.image):
                self._unpack(place, image, resolv_conf=None)
        self.root.put(_folder(f"{folder}/rootfs"), keep=True)
        if not readonly:
            self.root.put(_folder(f"{folder}/tmp"))  # noqa: S108 (a folder in the image)
        config = oci_config(settings, image.config, ids=self.ids, volumes=self.volumes)
        if "args" not in config["process"]:
            message = f"`{entry.name}` has nothing to run: neither it nor its image says a command"
            self.warnings.append(Problem(message, entry.position, "add `command`"))
        runtime = runtime_config(
            f"/{folder}",
            f"/{self._unpacked[key]}",
            readonly=readonly,
            runtime=settings.runtime,
            volumes=self.volumes,
        )
        self.root.put(_json(f"{folder}/config.json", config))
        self.root.put(_json(f"{folder}/runtime.json", runtime))

    def file(self, file: FileEntry) -> None:
        if file.directory:
            entry, mode = _folder(file.place), 0o700
        elif file.symlink:
            entry, mode = _link(file.place, file.symlink, 0), 0o600
        else:
            entry, mode = Entry(file.place, Kind.FILE, 0, mtime_s=MTIME_S, content=self._content(file)), 0o600
        mode = int(file.mode, 8) if file.mode else mode
        uid, gid = number(file.uid, self.ids), number(file.gid, self.ids)
        # A new directory above it can be entered by whom the file is for.
        above = mode
        for bits in (0o700, 0o070, 0o007):
            above |= 0o111 & bits if above & bits else 0
        folder = replace(_folder(""), mode=above, uid=uid, gid=gid)
        self.root.put(replace(entry, mode=mode, uid=uid, gid=gid), folder=folder)

    def _content(self, file: FileEntry) -> Content:
        data = file.data
        if data is None:
            text = as_text(self.template, file.metadata) if file.metadata else file.contents or ""
            data = text.encode()
        return Content(len(data), data=data)

    @contextmanager
    def _placed(self, reference: str) -> Iterator[None]:
        """Tells which image an error is about, and where it is named."""
        try:
            yield
        except InputError as error:
            place = self.template.positions.get(reference)
            raise InputError(
                replace(
                    problem,
                    position=problem.position or place,
                    message=f"the image `{reference}`: {problem.message}",
                )
                for problem in error.problems
            ) from error

    def _unpack(self, place: str, image: SourceImage, *, resolv_conf: str | None) -> None:
        """Unpack an image and add what LinuxKit adds; `resolv_conf` is a link's target, None is a file."""
        self.root.unpack(place, image.tree, DROPPED)
        self.sources += image.layers
        added = [_folder(folder) for folder in FOLDERS]
        added.append(_regular("etc/hosts", HOSTS))
        if resolv_conf:
            added.append(_link("etc/resolv.conf", resolv_conf, 0o644))
        else:
            added.append(_regular("etc/resolv.conf", NO_RESOLV_CONF))
        for entry in added:
            self.root.put(replace(entry, path=f"{place}/{entry.path}" if place else entry.path), top=place)
        if not any(entry.path == "etc/mtab" for entry in image.tree):
            mtab = _link(f"{place}/etc/mtab" if place else "etc/mtab", "/proc/mounts", 0o755)
            self.root.put(mtab, top=place)


def _beyond_own_guest(entry: ContainerEntry, settings: Settings) -> Problem | None:
    """What LinuxKit's guest does and i2kit's does not."""
    runtime = settings.runtime or Runtime()
    wanted = {
        "a name with other characters than letters, digits, - _ and .": not _PLAIN.fullmatch(entry.name),
        "cgroupsPath": settings.cgroups_path,
        "runtime.interfaces": runtime.interfaces,
        "runtime.bindNS": any(runtime.bind_ns.values()),
        "runtime.namespace": runtime.namespace,
    }
    unmet = ", ".join(key for key, asked in wanted.items() if asked)
    if not unmet:
        return None
    message = f"`{entry.name}`: has no effect with i2kit's own init: {unmet}"
    return Problem(message, entry.position, "use LinuxKit's init, runc and containerd where it is needed")


def _folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0o755, mtime_s=MTIME_S)


def _regular(path: str, data: bytes) -> Entry:
    return Entry(path, Kind.FILE, 0o644, mtime_s=MTIME_S, content=Content(len(data), data=data))


def _link(path: str, target: str, mode: int) -> Entry:
    # Nothing asks for a symlink's mode; those here are LinuxKit's.
    return Entry(path, Kind.SYMLINK, mode, mtime_s=MTIME_S, target=target)


def _json(path: str, value: Json) -> Entry:
    return _regular(path, (json.dumps(value, indent=4) + "\n").encode())
