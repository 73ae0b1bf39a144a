"""A disk's partition table, as firmware and Linux read it. Pure.

In: partitions with their places, an identity. Out: the bytes at the start and at the end of the disk.
All GUIDs follow from the identity, so the same disk has the same table on every machine.

Source: UEFI specification 2.10, chapter 5 (GUID Partition Table), with its protective MBR.
"""

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

SECTOR = 512
ENTRIES = 128
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")
TABLE_SECTORS = ENTRIES * ENTRY.size // SECTOR
FIRST_USABLE = 2 + TABLE_SECTORS
END_BYTES = (TABLE_SECTORS + 1) * SECTOR
"""What the copy of the table takes at the end of the disk."""

BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
"""Where GRUB looks for its own place: GRUB manual, "BIOS installation"."""
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_DATA = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


@dataclass(frozen=True, slots=True)
class Partition:
    """A region of the disk, in bytes, multiples of a sector's. `name` is what Linux calls PARTLABEL."""

    type: uuid.UUID
    name: str
    start_bytes: int
    size_bytes: int


def guid(identity: bytes, what: str) -> uuid.UUID:
    """The GUID that this identity has for this purpose (RFC 9562, version 5)."""
    return uuid.uuid5(uuid.UUID(bytes=identity[:16]), what)


def table(
    partitions: Sequence[Partition], size_bytes: int, identity: bytes, boot_code: bytes = b""
) -> tuple[bytes, bytes]:
    """The first 34 sectors and the last 33 of a disk of this size. `boot_code` is what a BIOS starts."""
    last = size_bytes // SECTOR - 1
    entries = b"".join(entry(partition, identity) for partition in partitions)
    entries = entries.ljust(ENTRIES * ENTRY.size, b"\0")
    disk = guid(identity, "disk").bytes_le

    def header(here: int, there: int, entries_at: int) -> bytes:
        def pack(checksum: int) -> bytes:
            return HEADER.pack(
                *(b"EFI PART", 0x10000, HEADER.size, checksum, 0),
                *(here, there, FIRST_USABLE, last - TABLE_SECTORS - 1, disk),
                *(entries_at, ENTRIES, ENTRY.size, zlib.crc32(entries)),
            )

        return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")

    head = protective_mbr(last, boot_code) + header(1, last, 2) + entries
    return head, entries + header(last, 1, last - TABLE_SECTORS)


def entry(partition: Partition, identity: bytes) -> bytes:
    start = partition.start_bytes // SECTOR
    return ENTRY.pack(
        partition.type.bytes_le,
        guid(identity, f"partition {partition.name}").bytes_le,
        start,
        start + partition.size_bytes // SECTOR - 1,
        0,
        partition.name.encode("utf-16-le"),
    )


def protective_mbr(last_sector: int, boot_code: bytes) -> bytes:
    """One partition over the whole disk, for programs that know no GPT (section 5.2.3)."""
    partition = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, min(last_sector, 0xFFFFFFFF))
    return boot_code[:440].ljust(446, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"
