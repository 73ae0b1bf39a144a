"""A machine image in the form that somebody boots it in.

In: a MachineImage of the store, or an Assembly. Out: files in a folder, the same bytes for the same
image. Never starts a machine, needs no privilege and mounts nothing.

    kernel+root     kernel, initrd, root.erofs, cmdline: for a VM that is started from files
    kernel+initrd   kernel, initrd.img, cmdline: the same without a disk, all in memory
    raw             disk.raw: a disk that UEFI and BIOS boot from, to upload to a cloud
    qcow2, vhd      disk.qcow2, disk.vhd: the same disk as QEMU has it, as Azure and Hyper-V do
    tar             image.tar: all files, with kernel and arguments in boot/, as LinuxKit's
"""

import os
import shutil
from pathlib import Path

from i2kit.errors import InputError, Problem
from i2kit.image import disk, sbom
from i2kit.image.assemble import Assembly
from i2kit.image.base.boot import Loader
from i2kit.image.tree import Content, Entry, Kind, archive, initramfs, tar
from i2kit.model import MachineImage, Output

VERSION = 2
"""Counts up when the same machine image leads to other bytes than before."""

FIRST_DISK = "/dev/vda"
"""Where `cmdline` has the root: the only disk of a VM with virtio."""


AT_TIMES = {"kernel+root": frozenset({"initrd"})}
"""The files that a form has with some kernels only. One that lies there from before must not stay."""


def key(image: str, format_: str, loader: str) -> str:
    """What an output depends on: an image's id, and the pinned reference of what boots a disk."""
    return f"{VERSION} {image} {format_} {loader}"


def write_disk(image: MachineImage, format_: str, loader: Loader, folder: Path) -> None:
    """Write `image` as the disk `folder`/disk.FORMAT."""
    identity = bytes.fromhex(image.id)[:16]
    arguments = image.arguments(f"PARTLABEL={disk.label(identity)}")
    parts = disk.Parts(
        kernel=image.vmlinuz,
        initrd=None if image.direct else image.initrd,
        root=image.root,
        # A kernel that mounts the root by itself has to be told that disks come late.
        cmdline=f"{arguments} rootwait" if image.root else arguments,
        identity=identity,
        loader=loader,
    )
    disk.write(format_, parts, folder)


def write_tar(assembly: Assembly, folder: Path) -> None:
    """Write all files of a machine as `folder`/image.tar."""
    archive.write_tar(archive.whole(assembly), folder / "image.tar")


def sbom_of(output: Output) -> str | None:
    """The list of parts in a tar, for what has no machine image; None where it carries none."""
    for file in output.files:
        for member in tar.members(file.path):
            if member.name == sbom.PATH:
                with file.path.open("rb") as archive_:
                    archive_.seek(member.offset_bytes)
                    return archive_.read(member.size_bytes).decode()
    return None


def write_files(image: MachineImage, format_: str, folder: Path) -> None:
    """Write the files of `image` in this form to the empty `folder`, which is on the store's disk.

    Raises InputError for a form that this image cannot have.
    """
    if format_ == "kernel+initrd":
        _write_initrd(image, folder)
    else:
        _write_root(image, folder)
    os.link(image.vmlinuz, folder / "kernel")
    # No newline, as LinuxKit has it: the file is what the kernel gets.
    (folder / "cmdline").write_text(image.arguments(FIRST_DISK))


def _write_root(image: MachineImage, folder: Path) -> None:
    if image.root is None:
        raise InputError(
            [
                Problem(
                    "this template's machine has no root filesystem: all of it is in its initramfs, as"
                    " with LinuxKit, because no image brings what mounts one",
                    hint="use --format kernel+initrd, or the kernel and init that i2kit render shows",
                )
            ]
        )
    os.link(image.root, folder / "root.erofs")
    if not image.direct:
        os.link(image.initrd, folder / "initrd")


def _write_initrd(image: MachineImage, folder: Path) -> None:
    """The initramfs with the root inside: the kernel unpacks archives that stand one behind the other."""
    target = folder / "initrd.img"
    if image.root is None:
        os.link(image.initrd, target)
        return
    shutil.copyfile(image.initrd, target)
    content = Content(image.root.stat().st_size, image.root)
    initramfs.write_cpio((Entry(initramfs.ROOT, Kind.FILE, 0o444, content=content),), target, behind=True)
