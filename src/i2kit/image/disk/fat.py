"""A FAT16 volume with one file: the partition that UEFI firmware starts from. Pure.

In: the volume's size, the path and size of its file. Out: all that stands before the file's contents,
and where these go. The file lies in one piece, so whoever knows its place can read it without
knowing FAT, as GRUB does here.

Source: Microsoft, FAT: General Overview of On-Disk Format 1.03; UEFI specification 2.10, 13.3.
"""

import struct
from dataclasses import dataclass

from i2kit.errors import OperationError

SECTOR = 512
CLUSTERS = (4085, 65524)
"""What makes a volume a FAT16 one."""
MANY_CLUSTERS = 16384
"""Clusters grow rather than become more, so that both copies of the FAT take 64 KiB at most."""
MAX_CLUSTER = 32768
MIN_BYTES = 4 << 20
MAX_BYTES = MANY_CLUSTERS * MAX_CLUSTER
ROOT_ENTRIES = 512
COPIES = 2

BOOT_SECTOR = struct.Struct("<3s8sHBHBHHBHHHIIBBBI11s8s")
ENTRY = struct.Struct("<11sBBBHHHHHHHI")
DIRECTORY, ARCHIVE = 0x10, 0x20
DATE = 1 << 5 | 1  # 1980-01-01, the first that there is
END_OF_CHAIN = 0xFFFF
MEDIA = 0xF8


@dataclass(frozen=True, slots=True)
class Shape:
    """How a volume of some size is divided, in bytes."""

    size: int
    cluster: int
    fat: int

    @property
    def data(self) -> int:
        return SECTOR + COPIES * self.fat + ROOT_ENTRIES * ENTRY.size

    @property
    def clusters(self) -> int:
        return (self.size - self.data) // self.cluster


def shape(size_bytes: int) -> Shape:
    """The shape of a volume. Raises OperationError where it would be too large or too small for FAT16."""
    if not MIN_BYTES <= size_bytes <= MAX_BYTES:
        raise OperationError(
            f"a boot partition of {size_bytes >> 20} MiB is not possible, at most {MAX_BYTES >> 20}",
            hint="kernel and initramfs have to fit into it",
        )
    cluster = SECTOR
    while size_bytes // cluster > MANY_CLUSTERS:
        cluster *= 2
    fat = -(-(size_bytes // cluster + 2) * 2 // SECTOR) * SECTOR
    return Shape(size_bytes, cluster, fat)


def contents_offset(size_bytes: int, path: str) -> int:
    """Where the contents of the file of this path start in a volume of this size."""
    found = shape(size_bytes)
    return found.data + found.cluster * path.count("/")


def head(size_bytes: int, path: str, file_bytes: int, *, serial: bytes, first_sector: int) -> bytes:
    """The volume up to the contents of its only file, whose names have to be 8.3 in upper case.

    `serial` has 4 bytes; `first_sector` is the volume's place on the disk.
    """
    found = shape(size_bytes)
    *folders, name = path.split("/")
    clusters = -(-file_bytes // found.cluster)
    first = 2 + len(folders)
    if not 0 < clusters <= found.clusters - len(folders):
        raise OperationError(f"{path} has {file_bytes} bytes, more than its volume can hold")
    chain = [END_OF_CHAIN] * len(folders)
    chain += [*range(first + 1, first + clusters), END_OF_CHAIN]
    fat = struct.pack(f"<HH{len(chain)}H", 0xFF00 | MEDIA, END_OF_CHAIN, *chain).ljust(found.fat, b"\0")
    # The first entry is the root directory's, and what each folder has in it is the next one.
    entries = [named(folder, DIRECTORY, number) for number, folder in enumerate(folders, start=2)]
    entries.append(named(name, ARCHIVE, first, file_bytes))
    out = boot_sector(found, serial, first_sector) + fat * COPIES
    out += entries[0].ljust(ROOT_ENTRIES * ENTRY.size, b"\0")
    for number, inside in enumerate(entries[1:], start=2):
        above = number - 1 if number > 2 else 0  # the root has no number
        folder = encoded(b".", DIRECTORY, number) + encoded(b"..", DIRECTORY, above) + inside
        out += folder.ljust(found.cluster, b"\0")
    return out


def boot_sector(found: Shape, serial: bytes, first_sector: int) -> bytes:
    sectors = found.size // SECTOR
    return (
        BOOT_SECTOR.pack(
            *(b"\xeb\x3c\x90", b"I2KIT   ", SECTOR, found.cluster // SECTOR, 1, COPIES, ROOT_ENTRIES),
            *(sectors if sectors < 1 << 16 else 0, MEDIA, found.fat // SECTOR, 63, 255, first_sector),
            *(sectors if sectors >= 1 << 16 else 0, 0x80, 0, 0x29),
            *(int.from_bytes(serial, "little"), b"NO NAME    ", b"FAT16   "),
        ).ljust(SECTOR - 2, b"\0")
        + b"\x55\xaa"
    )


def named(name: str, attributes: int, cluster: int, size_bytes: int = 0) -> bytes:
    base, _, extension = name.partition(".")
    return encoded(f"{base:8}{extension:3}".encode(), attributes, cluster, size_bytes)


def encoded(name: bytes, attributes: int, cluster: int, size_bytes: int = 0) -> bytes:
    return ENTRY.pack(name.ljust(11), attributes, 0, 0, 0, DATE, DATE, 0, 0, DATE, cluster, size_bytes)
