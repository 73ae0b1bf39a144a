"""A machine image's parts become a disk that boots anywhere: by UEFI and by BIOS, from virtio and NVMe.

In: kernel, initramfs, root, arguments and boot loaders. Out: a raw disk as a sparse file, or the same
disk as qcow2 or VHD. Needs no privilege, mounts nothing and starts no program.

    0         protective MBR with GRUB's first sector, GPT
    17 KiB    BIOS boot partition: GRUB, and at its end what GRUB has to do
    256 KiB   EFI system partition: FAT, in it EFI/BOOT/BOOTX64.EFI or BOOTAA64.EFI, which is kernel,
              initramfs and arguments in one file
    512 KiB   that file's kernel, then its initramfs: GRUB reads them from here by their sectors
    …         root partition, from a multiple of 512 KiB on
    end       the copy of the GPT

Machines of arm64 have no BIOS, so their disks are without GRUB and its partition.

512 KiB are a block of an EBS snapshot. What varies between machines with one kernel is in the first
one, in the root and in the last one; the rest is at the same place with the same bytes.

Sources: GRUB, include/grub/i386/pc/boot.h and grub-core/boot/i386/pc/diskboot.S (fields to fill in);
GRUB manual, "Block list syntax".
"""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.image.base import boot
from i2kit.image.disk import fat, gpt, uki, virtualdisk
from i2kit.image.disk.gpt import SECTOR, Partition
from i2kit.image.disk.virtualdisk import data_positions
from i2kit.image.tree.filesystem import BLOCK, COPY_BYTES, up, write_at

FORMATS = ("raw", "qcow2", "vhd")
SNAPSHOT_BLOCK = 512 << 10
SIZE_STEP = 1 << 20
"""What clouds want a disk's size to be a multiple of."""
ESP_START = 256 << 10
KERNEL_START = SNAPSHOT_BLOCK
UEFI_PROGRAMS = {"amd64": "EFI/BOOT/BOOTX64.EFI", "arm64": "EFI/BOOT/BOOTAA64.EFI"}
"""What firmware starts from a disk that it has not seen before (UEFI specification 2.10, 3.5.1.1)."""

CORE_START = gpt.FIRST_USABLE * SECTOR
CONFIG_START = boot.CONFIG_SECTOR * SECTOR
CONFIG_BYTES = boot.CONFIG_SECTORS * SECTOR

# Fields of boot.img: where the next sector is, and a jump that trusts the BIOS' number of the disk only
# if it is one of a hard disk. Field of the next sector, diskboot.img: where those behind it are.
BOOT_NEXT, BOOT_CHECK, CORE_NEXT = 0x5C, 0x66, 0x1F4
NO_OPERATION = b"\x90\x90"

_PLAIN = re.compile(r"[A-Za-z0-9_=.,:/@%+-]+")
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')


@dataclass(frozen=True, slots=True)
class Parts:
    """What a disk is made of.

    `kernel` is a UEFI program as well, such as a bzImage; `cmdline` is complete, with root=. `identity`
    has 16 bytes, of which the partitions' GUIDs follow. `root` is a filesystem for a partition of the
    name `label(identity)`.
    """

    kernel: Path
    initrd: Path | None
    root: Path | None
    cmdline: str
    identity: bytes
    loader: boot.Loader


def label(identity: bytes) -> str:
    """The root partition's name, by which root=PARTLABEL=… finds it."""
    return f"i2kit-{identity[:8].hex()}"


def write(format_: str, parts: Parts, folder: Path) -> Path:
    """Write the disk in one of FORMATS as the new file `disk.FORMAT` of `folder`. Returns its path.

    Raises OperationError for what does not fit and for what cannot be booted, OSError for a full disk.
    """
    out = folder / f"disk.{format_}"
    if format_ == "qcow2":
        raw = folder / "disk.qcow2.raw"
        write_raw(parts, raw)
        virtualdisk.write_qcow2(raw, out)
        raw.unlink()
        return out
    write_raw(parts, out)
    if format_ == "vhd":
        virtualdisk.make_vhd(out, gpt.guid(parts.identity, "vhd"))
    return out


def write_raw(parts: Parts, out: Path) -> None:
    """Write the disk to the new file `out`; what is zero stays a hole. Raises as `write` does."""
    place = lay_out(parts)
    program = place.program
    partitions = [Partition(gpt.EFI_SYSTEM, "esp", ESP_START, place.esp_bytes)]
    boot_sector = core = commands = b""
    if parts.loader.core:
        partitions.insert(0, Partition(gpt.BIOS_BOOT, "bios", CORE_START, ESP_START - CORE_START))
        boot_sector, core = bios_loader(parts.loader)
        commands = bios_commands(parts.cmdline, place)
    if parts.root:
        partitions.append(
            Partition(gpt.LINUX_DATA, label(parts.identity), place.root_start, place.root_bytes)
        )
    table, table_copy = gpt.table(partitions, place.size_bytes, parts.identity, boot_sector)
    volume = fat.head(
        place.esp_bytes,
        place.program_path,
        program.size_bytes,
        serial=gpt.guid(parts.identity, "FAT").bytes[:4],
        first_sector=ESP_START // SECTOR,
    )
    with out.open("xb") as file:
        file.truncate(place.size_bytes)
        disk = file.fileno()
        write_at(disk, table, 0)
        write_at(disk, core, CORE_START)
        write_at(disk, commands, CONFIG_START)
        write_at(disk, volume, ESP_START)
        write_at(disk, program.head, place.program_start)
        write_at(disk, table_copy, place.size_bytes - len(table_copy))
        copy_data(parts.kernel, disk, KERNEL_START)
        if parts.initrd:
            copy_data(parts.initrd, disk, place.initrd_start)
        if parts.root:
            copy_data(parts.root, disk, place.root_start)
        os.fsync(disk)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes, in bytes from the start of the disk, and how much there is of it."""

    program: uki.Unified
    program_path: str
    program_start: int
    kernel_bytes: int
    initrd_bytes: int
    esp_bytes: int
    root_start: int
    root_bytes: int
    size_bytes: int

    @property
    def initrd_start(self) -> int:
        return self.program_start + self.program.initrd_offset


def lay_out(parts: Parts) -> Layout:
    """Give everything its place, for which only the parts' sizes matter."""
    kernel_bytes, initrd_bytes, root_bytes = (
        path.stat().st_size if path else 0 for path in (parts.kernel, parts.initrd, parts.root)
    )
    with parts.kernel.open("rb") as kernel:
        kernel_head = kernel.read(uki.PAGE)
    # The room for kernel and initramfs as uki.unify places them.
    program_end = KERNEL_START + up(kernel_bytes, uki.PAGE) + up(initrd_bytes, uki.PAGE)
    root_start = up(max(program_end, ESP_START + fat.MIN_BYTES), SNAPSHOT_BLOCK)
    esp_bytes = root_start - ESP_START
    program_path = UEFI_PROGRAMS[uki.architecture(parts.loader.stub)]
    program_start = ESP_START + fat.contents_offset(esp_bytes, program_path)
    program = uki.unify(
        parts.loader.stub,
        parts.cmdline,
        kernel_head=kernel_head,
        kernel_bytes=kernel_bytes,
        initrd_bytes=initrd_bytes,
        kernel_offset=KERNEL_START - program_start,
    )
    root_bytes = up(root_bytes, BLOCK)
    size_bytes = up(root_start + root_bytes + gpt.END_BYTES, SIZE_STEP)
    return Layout(
        program=program,
        program_path=program_path,
        program_start=program_start,
        kernel_bytes=kernel_bytes,
        initrd_bytes=initrd_bytes,
        esp_bytes=esp_bytes,
        root_start=root_start,
        root_bytes=root_bytes,
        size_bytes=size_bytes,
    )


def bios_loader(loader: boot.Loader) -> tuple[bytes, bytes]:
    """GRUB's first sector and the rest of it, each told where the next one is."""
    if CORE_START + len(loader.core) > CONFIG_START:
        raise OperationError(f"GRUB has {len(loader.core)} bytes, more than there is room for")
    first, core = bytearray(loader.boot), bytearray(loader.core)
    struct.pack_into("<Q", first, BOOT_NEXT, CORE_START // SECTOR)
    first[BOOT_CHECK : BOOT_CHECK + 2] = NO_OPERATION
    struct.pack_into("<Q", core, CORE_NEXT, CORE_START // SECTOR + 1)
    return bytes(first), bytes(core)


def bios_commands(cmdline: str, place: Layout) -> bytes:
    """What GRUB has to do, as long as its place: it reads that to the end."""
    words = " ".join(quoted(word) for word in _WORD.findall(cmdline))
    lines = [f"linux {sectors(KERNEL_START, place.kernel_bytes)} {words}"]
    if place.initrd_bytes:
        lines.append(f"initrd {sectors(place.initrd_start, place.initrd_bytes)}")
    text = "".join(f"{line}\n" for line in [*lines, "boot"]).encode()
    if len(text) > CONFIG_BYTES:
        raise OperationError("the kernel arguments are too long for the boot loader")
    return text.ljust(CONFIG_BYTES, b"\n")


def sectors(start_bytes: int, size_bytes: int) -> str:
    """A file for GRUB that has no name: its sectors on the disk that was booted."""
    return f"($root){start_bytes // SECTOR}+{up(size_bytes, SECTOR) // SECTOR}"


def quoted(word: str) -> str:
    """A kernel argument as a word of GRUB's shell. GRUB puts quotes around words with spaces itself."""
    bare = word.replace('"', "")
    if "'" in bare or "\\" in bare:
        raise OperationError(
            f"the kernel argument {word} cannot be given to GRUB",
            hint="leave ' and \\ out of the kernel arguments",
        )
    return bare if _PLAIN.fullmatch(bare) else f"'{bare}'"


def copy_data(source: Path, disk: int, offset: int) -> None:
    """Copy a file without its holes and blocks of zeros."""
    zeros = bytes(BLOCK)
    with source.open("rb", buffering=0) as file:
        for position in data_positions(file.fileno(), COPY_BYTES):
            piece = os.pread(file.fileno(), COPY_BYTES, position)
            start = 0
            for block in range(0, len(piece), BLOCK):
                if piece[block : block + BLOCK] == zeros[: len(piece) - block]:
                    write_at(disk, piece[start:block], offset + position + start)
                    start = block + BLOCK
            write_at(disk, piece[start:], offset + position + start)
