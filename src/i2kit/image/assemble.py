"""A LinuxKit template and its images become one file tree: the machine's root filesystem.

In: a Template and a way to get an image's tree. Out: an Assembly in LinuxKit's layout. Never asks
a registry, and unpacks nothing to disk: contents stay where the images have them.

    /                                   the init images, unpacked one over the other
    /containers/onboot/NNN-NAME/        what runs once at boot, one after the other
    /containers/services/NAME/          what runs from then on; both hold
        config.json, runtime.json       the container (OCI runtime spec), and how to mount its root
        lower, tmp, rootfs              the unpacked image, the writable layer, both together
        rootfs                          … or only the unpacked image, if it is read-only

An image that is used twice is unpacked once, and the others refer to it. Not in the tree, unlike
in LinuxKit's tar output, are boot/kernel and boot/cmdline: a machine gets these beside its disk.
Source: LinuxKit, src/cmd/linuxkit/moby/{build,image}.go. Its known faults are not followed:
`files` keep the modes of directories that exist, and directories that they need are 0755.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from i2kit.errors import InputError, Problem
from i2kit.image.flatten import flatten
from i2kit.image.linuxkit import ContainerEntry, FileEntry, Template
from i2kit.image.spec import Json, oci_config, runtime_config
from i2kit.image.tree import Content, Entry, Kind, Tree, find, sort_key
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
FOLDERS = ("dev", "dev/pts", "dev/shm", "proc", "sys")
"""The mount points that every unpacked image has to have."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image as far as assembling needs it; `layers` are its uncompressed layers, bottom first."""

    tree: Tree
    config: ImageConfig
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Assembly:
    """The machine's root and what boots it. `sources` are the files that the contents lie in,
    those that change least often first."""

    tree: Tree
    kernel: Content
    cmdline: str
    sources: tuple[Path, ...]


def assemble(template: Template, fetch: Callable[[str], SourceImage], scratch: Path) -> Assembly:
    """Put the template's images together. `fetch` gets an image by its reference in the template.

    The tree refers to files in `scratch` and to those of the images. Raises InputError where an
    image is not what the template uses it for.
    """
    root = _Root()
    kernel = _unpack_kernel(template, fetch(template.kernel), root, scratch)
    for reference in template.init:
        image = fetch(reference)
        root.unpack("", image)
        root.finish_image("", image, resolv_conf=RESOLV_CONF)
    unpacked: dict[str, str] = {}
    for number, entry in enumerate(template.onboot):
        _container(root, f"containers/onboot/{number:03}-{entry.name}", entry, fetch(entry.image), unpacked)
    for entry in template.services:
        _container(root, f"containers/services/{entry.name}", entry, fetch(entry.image), unpacked)
    for file in template.files:
        root.put(_file(file))
    return Assembly(root.tree(), kernel, template.cmdline, tuple(dict.fromkeys(root.sources)))


def _unpack_kernel(template: Template, image: SourceImage, root: "_Root", scratch: Path) -> Content:
    """A kernel image is a pair of files: `kernel`, and `kernel.tar` with its modules."""
    files = {entry.path: entry.content for entry in image.tree if entry.content}
    kernel, modules = files.get("kernel"), files.get("kernel.tar")
    if kernel is None or modules is None:
        missing = "kernel" if kernel is None else "kernel.tar"
        message = f"the image `{template.kernel}` is no kernel image: it has no file `{missing}`"
        raise InputError([Problem(message, template.positions.get(template.kernel))])
    archive = scratch / "kernel.tar"
    archive.write_bytes(modules.read())
    root.unpack("", SourceImage(flatten([archive]), ImageConfig(), (archive,)))
    return kernel


def _container(
    root: "_Root", folder: str, entry: ContainerEntry, image: SourceImage, unpacked: dict[str, str]
) -> None:
    place = f"{folder}/rootfs" if entry.readonly else f"{folder}/lower"
    if entry.image not in unpacked:
        unpacked[entry.image] = place
        root.unpack(place, image)
        root.finish_image(place, image, resolv_conf=None)
    root.put(_folder(f"{folder}/rootfs"), keep=True)
    if not entry.readonly:
        root.put(_folder(f"{folder}/tmp"))  # noqa: S108 (a folder in the image)
    root.put(_json(f"{folder}/config.json", oci_config(entry, image.config)))
    lower = f"/{unpacked[entry.image]}"
    root.put(_json(f"{folder}/runtime.json", runtime_config(f"/{folder}", lower, readonly=entry.readonly)))


class _Root:
    """The tree under construction: what comes later wins, as when tars are unpacked over each other."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {"": _folder("")}
        self.sources: list[Path] = []
        self._groups = 0

    def unpack(self, place: str, image: SourceImage) -> None:
        """Put an image's tree below `place`, without what does not belong into images."""
        groups = self._groups
        for entry in image.tree:
            if _is_below(entry.path, DROPPED) or (entry.path == "" and not place):
                continue
            # The numbers of hardlinked files count anew in each image.
            group = entry.link_group + groups if entry.link_group else 0
            self._groups = max(self._groups, group)
            self.put(replace(entry, path=_join(place, entry.path), link_group=group))
        self.sources += image.layers

    def finish_image(self, place: str, image: SourceImage, *, resolv_conf: str | None) -> None:
        """Add what LinuxKit adds to every image; `resolv_conf` is a link's target, None is a file."""
        for folder in FOLDERS:
            self.put(_folder(_join(place, folder)))
        # Unlike LinuxKit, an /etc that is a symlink is followed: its target has the image's passwd.
        found = find(image.tree, "etc")
        etc = _join(place, found.path if found and found.kind is Kind.DIRECTORY else "etc")
        self.put(_folder(etc))
        self.put(_regular(f"{etc}/hosts", HOSTS))
        if resolv_conf:
            self.put(_link(f"{etc}/resolv.conf", resolv_conf))
        else:
            self.put(_regular(f"{etc}/resolv.conf", NO_RESOLV_CONF))
        self.put(_link(f"{etc}/mtab", "/proc/mounts"), keep=True)

    def put(self, entry: Entry, *, keep: bool = False) -> None:
        """Add an entry and the folders above it; with `keep`, only if there is none."""
        if keep and entry.path in self.entries:
            return
        folder = entry.path.rpartition("/")[0]
        above = self.entries.get(folder)
        if above is None or above.kind is not Kind.DIRECTORY:
            self.put(_folder(folder))
        before = self.entries.get(entry.path)
        if before and before.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
            inside = f"{entry.path}/"
            for path in [path for path in self.entries if path.startswith(inside)]:
                del self.entries[path]
        self.entries[entry.path] = entry

    def tree(self) -> Tree:
        return tuple(sorted(self.entries.values(), key=lambda entry: sort_key(entry.path)))


def _file(file: FileEntry) -> Entry:
    if file.directory:
        entry, mode = _folder(file.path), 0o700
    elif file.symlink:
        entry, mode = _link(file.path, file.symlink), 0o777
    else:
        entry, mode = _regular(file.path, file.contents.encode()), 0o600
    return replace(entry, mode=mode if file.mode is None else file.mode, uid=file.uid, gid=file.gid)


def _folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0o755, mtime_s=MTIME_S)


def _regular(path: str, data: bytes) -> Entry:
    return Entry(path, Kind.FILE, 0o644, mtime_s=MTIME_S, content=Content(len(data), data=data))


def _link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, mtime_s=MTIME_S, target=target)


def _json(path: str, value: Json) -> Entry:
    return _regular(path, (json.dumps(value, indent=4) + "\n").encode())


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
