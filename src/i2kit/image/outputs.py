"""A machine image in the form that somebody boots it in.

In: a MachineImage of the store. Out: files in a folder, the same bytes for the same image. Never
starts a machine, needs no privilege and mounts nothing.

    kernel+root     kernel, initrd, root.erofs, cmdline: for a VM that is started from files
    kernel+initrd   kernel, initrd.img, cmdline: the same without a disk, all in memory
"""

import os
import shutil
from pathlib import Path

from i2kit.errors import InputError, Problem
from i2kit.image import initramfs
from i2kit.image.tree import Content, Entry, Kind
from i2kit.model import MachineImage

VERSION = 1
"""Counts up when the same machine image leads to other bytes than before."""

FIRST_DISK = "/dev/vda"
"""Where `cmdline` has the root: the only disk of a VM with virtio."""


def key(image: MachineImage, format_: str, loader: str) -> str:
    """What an output depends on; `loader` is the pinned reference of what boots a disk."""
    return f"{VERSION} {image.id} {format_} {loader}"


def write(image: MachineImage, format_: str, folder: Path) -> None:
    """Write the files of `image` in this form to the empty `folder`, which is on the store's disk.

    Raises InputError for a form that this image cannot have.
    """
    if format_ == "kernel+initrd":
        _write_initrd(image, folder)
    else:
        _write_root(image, folder)
    os.link(image.vmlinuz, folder / "kernel")
    (folder / "cmdline").write_text(f"{image.arguments(FIRST_DISK)}\n")


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
