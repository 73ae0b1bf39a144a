"""Images: as registries have them, as machines boot them, as the store and clouds keep them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from i2kit.model.words import Architecture, Pairs
from i2kit.model.workload import Port


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an OCI image's config that decides how a container starts."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Pairs = ()
    working_dir: str = "/"
    user: str = ""
    labels: Pairs = ()
    stop_signal: str = ""
    """Such as SIGQUIT; empty for the usual one."""
    ports: tuple[Port, ...] = ()
    """What Docker calls exposed."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer blob of an image: the digest of the blob as stored, and of its uncompressed tar."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image pinned by content. `reference` is as written, `digest` the manifest's sha256:….

    `pinned` is the canonical reference with the digest, such as
    `docker.io/library/nginx@sha256:…`: it is what templates and status show.
    """

    reference: str
    pinned: str
    digest: str
    config: ImageConfig
    layers: tuple[Layer, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Identity:
    """The numeric identity that a container runs as (image USER, names looked up in the image).

    `home` is its home directory, the root for a user that the image does not know.
    """

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class MachineImage:
    """A bootable image in the store. `id` is the hash of its files' contents and its arguments.

    `vmlinuz` is the kernel as firmware starts it, `kernel` the same as a virtual machine starts it
    best: an ELF with a PVH note where there is one inside. `root` is a read-only erofs filesystem,
    which `initrd` finds; an image whose kernel cannot mount that has no `root`, and all its files
    are in `initrd`. `cmdline` are the kernel arguments that the image needs on any machine.
    `memory_floor_bytes` is what the image itself needs beside the containers.
    """

    id: str
    vmlinuz: Path
    kernel: Path
    initrd: Path
    root: Path | None
    cmdline: str
    memory_floor_bytes: int
    containers: Pairs = ()
    """Container name → pinned image reference."""
    sbom: Path | None = None
    """An SPDX document of what is in it, as /sbom.spdx.json of its root."""
    direct: bool = False
    """Whether the kernel has all it takes to mount `root`, so that it starts without `initrd`."""
    cached: bool = field(default=False, compare=False)
    """Whether the build that gave this value found all of it in the store."""

    @property
    def size_bytes(self) -> int:
        """What a machine needs of it: kernel, initrd and root."""
        files = (self.vmlinuz, *([] if self.direct else [self.initrd]), *([self.root] if self.root else []))
        return sum(path.stat().st_size for path in files)

    def arguments(self, root: str) -> str:
        """The kernel's whole command line when `root` is on this device, such as `/dev/vda`."""
        return f"{self.cmdline} root={root} rootfstype=erofs ro init=/init" if self.root else self.cmdline


FORMATS = ("kernel+root", "kernel+initrd", "raw", "qcow2", "vhd", "tar")
"""What a machine image can be written as; image.outputs tells what each holds."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of an Output; `sha256` is in hexadecimal."""

    name: str
    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Output:
    """A machine image in the form that was asked for, such as a disk. `id` is the machine image's."""

    id: str
    format: str
    files: tuple[OutputFile, ...]
    cached: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """A machine image as a provider keeps it outside of the store, such as an AMI."""

    id: str
    """As its place names it."""
    image: str
    """The machine image's id."""
    created_at: str
    """RFC 3339, UTC."""
    size_bytes: int
    architecture: Architecture
    keys: tuple[str, ...] = ()
    """The deployments that it was made for."""
    used_by: tuple[str, ...] = ()
    """What would miss it: deployments that run it or can go back to it, machines, launch templates."""


@dataclass(frozen=True, slots=True)
class Use:
    """A deployment that needs a machine image: it runs, it is about to, or one could go back to it."""

    image: str
    """The machine image's id."""
    provider: str
    key: str
    place: str
    """Which of several, for a provider that keeps its state in folders."""
    why: Literal["runs", "can go back to", "is about to start"] = "runs"
    revision: int = 0
    """Which of the deployment's revisions has it, where it is no longer the one that runs."""


@dataclass(frozen=True, slots=True)
class StoredForm:
    """A machine image's other form as it is in the store; `disk_bytes` is less where it has holes."""

    format: str
    size_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A machine image as it is in the store.

    Where `created_at` is empty its record is damaged, or of another version of i2kit.
    """

    id: str
    names: tuple[str, ...]
    """What it was built for: keys of workloads, names of templates."""
    containers: Pairs
    images: tuple[str, ...]
    """The pinned references of all container images in it."""
    created_at: str
    """RFC 3339, UTC."""
    size_bytes: int
    own_bytes: int
    """What is on disk for it and its other forms alone; `shared_bytes` is there for other images too."""
    shared_bytes: int
    forms: tuple[StoredForm, ...]
    used_by: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """How many things of a kind the store has, and the room that they take on disk. No byte counts twice."""

    kind: str
    count: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Stock:
    """What the store holds: machine images, newest first, and everything by kind."""

    images: tuple[StoredImage, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went from the store, or would go: machine images, and files of the rest by kind.

    `room` are the bytes on disk that each image frees; `unknown` are words that name no image.
    """

    images: tuple[StoredImage, ...]
    room: tuple[int, ...]
    others: tuple[Share, ...]
    unknown: tuple[str, ...] = ()
    kept: tuple[StoredImage, ...] = ()
    """The machine images that stay because somebody uses them, where none was named."""

    @property
    def freed_bytes(self) -> int:
        return sum(self.room) + sum(share.disk_bytes for share in self.others)
