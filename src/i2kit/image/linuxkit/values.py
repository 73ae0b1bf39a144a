"""LinuxKit's YAML as values. None stands for what is not said; "" and 0 are said.

Source: LinuxKit, src/cmd/linuxkit/moby/schema.go and config.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2kit.errors import Position, Problem
from i2kit.model import Pairs

Id = int | str
"""A number, or the name of an entry whose own number is meant."""


@dataclass(frozen=True, slots=True)
class IdMapping:
    host_id: int = 0
    container_id: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Mount:
    """An OCI mount as written; what is absent follows from the rest (see `spec`)."""

    type: str = ""
    source: str = ""
    destination: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """A device node in the container; the path `all` is every device of the type."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface that the guest makes or moves before it starts a container."""

    name: str = ""
    add: str = ""
    peer: str = ""
    create_in_root: bool = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the guest does around a container; all of it goes into `runtime.json`."""

    cgroups: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] | None = None
    mkdir: tuple[str, ...] | None = None
    interfaces: tuple[Interface, ...] | None = None
    bind_ns: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What an entry of `onboot`, `onshutdown` or `services` says, or the label of an image."""

    capabilities: tuple[str, ...] | None = None
    capabilities_add: tuple[str, ...] | None = None
    ambient: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] | None = None
    binds: tuple[str, ...] | None = None
    binds_add: tuple[str, ...] | None = None
    devices: tuple[Device, ...] | None = None
    tmpfs: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    cwd: str | None = None
    net: str | None = None
    pid: str | None = None
    ipc: str | None = None
    uts: str | None = None
    userns: str | None = None
    hostname: str | None = None
    readonly: bool | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    uid: Id | None = None
    gid: Id | None = None
    additional_gids: tuple[Id, ...] | None = None
    no_new_privileges: bool | None = None
    oom_score_adj: int | None = None
    rootfs_propagation: str | None = None
    cgroups_path: str | None = None
    resources: Mapping[str, Any] | None = None
    """With LinuxKit's keys, which are the OCI's but for `blockio`."""
    sysctl: Pairs | None = None
    rlimits: tuple[str, ...] | None = None
    uid_mappings: tuple[IdMapping, ...] | None = None
    gid_mappings: tuple[IdMapping, ...] | None = None
    annotations: Pairs | None = None
    runtime: Runtime | None = None


UNSAID_IF_EMPTY = frozenset({"cwd", "net", "pid", "ipc", "uts", "userns", "hostname"})
"""Fields where "" says nothing: there are words for all that they can be."""


@dataclass(frozen=True, slots=True)
class ContainerEntry:
    """An entry of `onboot`, `onshutdown` or `services`."""

    name: str
    image: str
    position: Position
    """Where the image is named."""
    settings: Settings = Settings()


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder that containers share, filled from an image if there is one.

    `format` oci keeps the image as it is, for the `platforms` or all of them.
    """

    name: str
    position: Position
    image: str = ""
    readonly: bool = False
    format: str = ""
    platforms: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where it is in the machine, as a path of the tree."""
        return f"containers/volumes/{self.name}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of `files`: a directory, a symlink, or a file with text, of a source, or of metadata."""

    path: str
    position: Position
    directory: bool = False
    symlink: str = ""
    contents: str | None = None
    source: str = ""
    """A path on the machine that builds, as written."""
    folder: Path = Path()
    """What `source` is relative to: the template's folder."""
    data: bytes | None = None
    """What was read from `source`."""
    absent: bool = False
    """Whether an optional `source` was not there when it was looked for."""
    metadata: str = ""
    optional: bool = False
    mode: str = ""
    """In octal, as written; "" for the default of its kind."""
    uid: Id | None = None
    gid: Id | None = None

    @property
    def place(self) -> str:
        """Its path in the tree."""
        return "/".join(part for part in self.path.split("/") if part not in ("", "."))


@dataclass(frozen=True, slots=True)
class Package:
    """What names the image of a LinuxKit package; `sources` are what it is built from besides its folder."""

    image: str
    org: str = "linuxkit"
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """One LinuxKit template, of one file or several. `positions` says where each image is named.

    `kernel` is the image, "" for a template that boots nothing. `name` is the last file's.
    """

    name: str
    kernel: str = ""
    cmdline: str = ""
    binary: str = ""
    kernel_tar: str | None = None
    ucode: str | None = None
    init: tuple[str, ...] = ()
    onboot: tuple[ContainerEntry, ...] = ()
    onshutdown: tuple[ContainerEntry, ...] = ()
    services: tuple[ContainerEntry, ...] = ()
    files: tuple[FileEntry, ...] = ()
    volumes: tuple[Volume, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    @property
    def sections(self) -> tuple[tuple[str, tuple[ContainerEntry, ...]], ...]:
        """The sections with containers, in the order in which their entries get numbers."""
        return (("onboot", self.onboot), ("onshutdown", self.onshutdown), ("services", self.services))

    def ids(self) -> dict[str, int]:
        """The number that each entry has as a user and group, by its name; the last of a name counts."""
        names = [entry.name for _, entries in self.sections for entry in entries]
        return {name: number for number, name in enumerate(names, start=100)}
