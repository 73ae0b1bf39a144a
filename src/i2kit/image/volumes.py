"""A pod's volumes, as the machine's files, the binds of its containers, and lines for the guest. Pure.

In: a Workload. Out: entries of LinuxKit's `files` and `binds`, and lines of /etc/i2kit/pod.

    /etc/i2kit/volumes/VOLUME       text that all machines of the image have; what the guest makes the rest
                                    from, where the volume has other files as well
    /run/i2kit/volumes/VOLUME       what only a machine that runs has: files with secrets, with fields of its
                                    pod or other data than text, folders in memory and on disks
    /run/i2kit/mounts/CONTAINER/N   one file or folder of that, which the guest looks up when the container
                                    starts: what a container wrote must not lead out of the volume
"""

import base64
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from i2kit.model import FIELD, Claim, Container, File, Files, Mount, Scratch, Volume, Workload

FOLDER = "etc/i2kit/volumes"
MADE = "/run/i2kit/volumes"
MOUNTED = "/run/i2kit/mounts"
GROUP_READS = 0o440
"""What files for a group get in addition, as in Kubernetes (pkg/volume/volume_linux.go)."""


@dataclass(frozen=True, slots=True)
class Fill:
    """What a new disk begins with: a folder of a container's image, or where it has none, just an owner."""

    uid: int
    gid: int
    container: str = ""
    path: str = ""


def group(workload: Workload) -> int | None:
    """The group that the pod's volumes belong to, if any."""
    containers = (*workload.init, *workload.containers)
    return next((one.security.fs_group for one in containers if one.security.fs_group is not None), None)


def on_disk(workload: Workload) -> bool:
    """Whether the machine needs what makes and checks file systems."""
    return any(
        isinstance(one.source, Claim) or (isinstance(one.source, Scratch) and not one.source.memory)
        for one in workload.volumes
    )


def is_fixed(source: Files | Scratch | Claim) -> bool:
    """Whether all of the volume can be in the image as it is."""
    return isinstance(source, Files) and all(
        file.text is None and file.secret is None and text_of(file) is not None for file in source.files
    )


def text_of(file: File) -> str | None:
    """What a file of the image holds, None where that is no text. Zero bytes are none to some tools."""
    if file.text is not None:
        return file.text
    try:
        return None if b"\0" in file.data else file.data.decode()
    except UnicodeDecodeError:
        return None


def files(workload: Workload) -> Iterator[dict[str, Any]]:
    """The entries of LinuxKit's `files`: folders first, so that nothing decides on their modes."""
    gid = group(workload)
    owner = {"gid": gid} if gid is not None else {}
    for volume in workload.volumes:
        if not isinstance(volume.source, Files):
            continue
        parts = [file for file in volume.source.files if file.secret is None]
        folders = {posixpath.dirname(normal(file.path)) for file in parts}
        below = nested(workload, volume)
        if is_fixed(volume.source):
            folders |= missing(workload, volume)
            folders |= {path if folder else posixpath.dirname(path) for path, folder in below.items()}
            parts += [File(path) for path, folder in below.items() if not folder]
        for folder in with_parents(folders):
            path = posixpath.normpath(f"{FOLDER}/{volume.name}/{folder}")
            yield {"path": path, "directory": True, "mode": "0755", **owner}
        for file in parts:
            text = text_of(file)
            yield {
                "path": f"{FOLDER}/{volume.name}/{normal(file.path)}",
                "contents": base64.encodebytes(file.data).decode() if text is None else text,
                "mode": f"{mode(file, gid):04o}",
                **owner,
            }


def missing(workload: Workload, volume: Volume) -> set[str]:
    """What containers mount of a volume and it does not have: as in Kubernetes they see an empty folder."""
    assert isinstance(volume.source, Files)
    paths = {normal(file.path) for file in volume.source.files}
    known = {*paths, *with_parents({posixpath.dirname(path) for path in paths})}
    wanted = {
        normal(mount.sub_path)
        for container in (*workload.init, *workload.containers)
        for mount in container.mounts
        if mount.volume == volume.name and FIELD not in mount.sub_path
    }
    return wanted - known


def nested(workload: Workload, volume: Volume) -> dict[str, bool]:
    """Where in a read-only volume containers mount others, and it has nothing: whether that is a folder."""
    assert isinstance(volume.source, Files)
    paths = {normal(file.path) for file in volume.source.files}
    known = {*paths, *with_parents({posixpath.dirname(path) for path in paths})}
    sources = {one.name: one.source for one in workload.volumes}
    found: dict[str, bool] = {}
    for container in (*workload.init, *workload.containers):
        for above in container.mounts:
            if above.volume != volume.name:
                continue
            start = normal(above.sub_path)
            for one in container.mounts:
                if not target(one).startswith(f"{target(above)}/"):
                    continue
                path = posixpath.join(start, posixpath.relpath(target(one), target(above)))
                source, part = sources[one.volume], normal(one.sub_path)
                is_file = isinstance(source, Files) and any(
                    normal(file.path) == part for file in source.files
                )
                if path not in known and start not in paths:
                    found.setdefault(path, not is_file)
    return found


def with_parents(folders: set[str]) -> list[str]:
    """The folders and all above them, the volume itself (empty) first."""
    found = {""}
    for folder in folders:
        while folder:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return sorted(found)


def binds(workload: Workload, container: Container) -> list[str]:
    """What LinuxKit's `binds` say of a container's volumes."""
    sources = {volume.name: volume.source for volume in workload.volumes}
    found = []
    for number, mount in enumerate(container.mounts):
        source = sources[mount.volume]
        read_only = mount.read_only or isinstance(source, Files)
        place = f"{MADE}/{mount.volume}"
        if is_looked_up(mount, source):
            place = f"{MOUNTED}/{container.name}/{number}"
        elif is_fixed(source):
            place = posixpath.normpath(f"/{FOLDER}/{mount.volume}/{mount.sub_path}")
        found.append(f"{place}:{target(mount)}:{'ro' if read_only else 'rw'},rprivate")
    return found


def target(mount: Mount) -> str:
    """Where in the container it is."""
    return posixpath.normpath(f"/{mount.path.lstrip('/')}")


def is_looked_up(mount: Mount, source: Files | Scratch | Claim) -> bool:
    """Whether the guest has to find what is mounted: only a machine that runs has it, or knows its name."""
    if not normal(mount.sub_path):
        return False
    return not is_fixed(source) or FIELD in mount.sub_path or ":" in mount.sub_path


def told(workload: Workload, fills: Mapping[str, Fill]) -> Iterator[str]:
    """The lines of /etc/i2kit/pod about volumes. `fills` are by the volume's name."""
    gid = group(workload)
    owner = "-" if gid is None else str(gid)
    sources = {volume.name: volume.source for volume in workload.volumes}
    for name, source in sources.items():
        match source:
            case Claim(claim):
                fill = fills.get(name)
                begins = f" {fill.uid}:{fill.gid} {fill.container} {fill.path}".rstrip() if fill else ""
                yield f"volume={name} claim {owner} {escaped(claim)}{begins}"
            case Scratch(memory, limit):
                yield f"volume={name} {'memory' if memory else 'scratch'} {owner} {limit or '-'}"
            case Files(parts):
                if not is_fixed(source):
                    yield f"volume={name} files {owner}"
                    yield from (f"file={name} {line}" for file in parts if (line := how_made(file, gid)))
    for container in (*workload.init, *workload.containers):
        for number, mount in enumerate(container.mounts):
            if is_looked_up(mount, sources[mount.volume]):
                path = escaped(normal(mount.sub_path))
                yield f"mount={container.name} {number} {mount.volume} {path}"


def how_made(file: File, gid: int | None) -> str | None:
    """How the guest makes a file that the image does not hold as it is."""
    path = f"{mode(file, gid):04o} {escaped(normal(file.path))}"
    if file.secret:
        return f"secret {path} {escaped(file.secret.secret)}/{escaped(file.secret.key)}"
    if file.text is not None:
        return f"text {path}"
    return f"base64 {path}" if text_of(file) is None else None


def mode(file: File, gid: int | None) -> int:
    return file.mode | (0 if gid is None else GROUP_READS)


def normal(path: str) -> str:
    """A path below a volume, in the one way; empty for the volume itself."""
    plain = posixpath.normpath(f"/{path}").lstrip("/")
    return "" if plain == "." else plain


def escaped(text: str) -> str:
    """Any text as one word."""
    return quote(text, safe="-_./")
