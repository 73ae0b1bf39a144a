"""A raw disk in the formats of virtual machine monitors: qcow2 and VHD. The same bytes everywhere.

In: a raw disk, sparse or not. Out: a file with what of it is not zero. Never starts a program: what
qemu-img writes differs between its versions.

Sources: QEMU, docs/interop/qcow2.rst (version 3); Microsoft, Virtual Hard Disk Image Format
Specification 1.0.
"""

import errno
import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

from i2kit.image.tree.filesystem import up, write_at

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
QCOW2 = struct.Struct(">4sIQIIQIIQQIIQQQQII")
COPIED = 1 << 63
"""Says that a cluster is used once, so that it may be written in place."""
REFERENCES = CLUSTER // 2
"""How many clusters a block of reference counts, 16 bits each, is about."""
POINTERS = CLUSTER // 8

VHD = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
FIXED = 2


def write_qcow2(raw: Path, out: Path) -> None:
    """Write the raw disk as qcow2 to the new file `out`, without the clusters that are zero."""
    with raw.open("rb", buffering=0) as source, out.open("xb") as file:
        size = os.fstat(source.fileno()).st_size
        image = file.fileno()
        used = list(clusters_with_data(source.fileno()))
        tables = sorted({number // POINTERS for number in used})
        # From front to back: header, table of the tables, tables, data, reference counts.
        level1_bytes = up(-(-size // (CLUSTER * POINTERS)) * 8, CLUSTER)
        level2_start = CLUSTER + level1_bytes
        data_start = level2_start + len(tables) * CLUSTER
        counts_start = data_start + len(used) * CLUSTER
        counts_table_bytes, counts_bytes = reference_room(counts_start // CLUSTER)

        place = {table: level2_start + index * CLUSTER for index, table in enumerate(tables)}
        for table, offset in place.items():
            write_at(image, (offset | COPIED).to_bytes(8), CLUSTER + table * 8)
        for index, number in enumerate(used):
            target = data_start + index * CLUSTER
            write_at(
                image,
                (target | COPIED).to_bytes(8),
                place[number // POINTERS] + number % POINTERS * 8,
            )
            write_at(image, os.pread(source.fileno(), CLUSTER, number * CLUSTER), target)

        blocks_start = counts_start + counts_table_bytes
        blocks = range(blocks_start, blocks_start + counts_bytes, CLUSTER)
        write_at(image, b"".join(block.to_bytes(8) for block in blocks), counts_start)
        end = blocks_start + counts_bytes
        write_at(image, b"\0\1" * (end // CLUSTER), blocks_start)
        file.truncate(end)
        header = QCOW2.pack(
            *(b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, size, 0),
            *(-(-size // (CLUSTER * POINTERS)), CLUSTER, counts_start, counts_table_bytes // CLUSTER),
            *(0, 0, 0, 0, 0, 4, QCOW2.size),
        )
        write_at(image, header, 0)
        os.fsync(image)


def reference_room(clusters: int) -> tuple[int, int]:
    """The bytes of the table and of the blocks of reference counts, which count themselves as well."""
    table = blocks = 1
    while (total := clusters + table + blocks) > blocks * REFERENCES or blocks > table * POINTERS:
        blocks = -(-total // REFERENCES)
        table = -(-blocks // POINTERS)
    return table * CLUSTER, blocks * CLUSTER


def clusters_with_data(source: int) -> Iterator[int]:
    """The numbers of the clusters that are not all zero."""
    zeros = bytes(CLUSTER)
    for position in data_positions(source, CLUSTER):
        data = os.pread(source, CLUSTER, position)
        if data != zeros[: len(data)]:
            yield position // CLUSTER


def data_positions(file: int, step: int) -> Iterator[int]:
    """Every multiple of `step` behind which the open file has data, holes left out."""
    position = 0
    while True:
        try:
            position = os.lseek(file, position, os.SEEK_DATA) // step * step
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        yield position
        position += step


def make_vhd(disk: Path, id_: uuid.UUID) -> None:
    """Turn a raw disk into a fixed VHD, which is the disk with a footer."""
    with disk.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        write_at(file.fileno(), footer(size, id_), size)
        os.fsync(file.fileno())


def footer(size: int, id_: uuid.UUID) -> bytes:
    # Made by "win": of others QEMU takes the size from cylinders, heads and sectors, which is not exact.
    def pack(checksum: int) -> bytes:
        return VHD.pack(
            *(b"conectix", 2, 0x10000, 0xFFFFFFFFFFFFFFFF, 0, b"win ", 0x60001, b"Wi2k", size, size),
            *geometry(size),
            *(FIXED, checksum, id_.bytes, 0),
        )

    return pack(~sum(pack(0)) & 0xFFFFFFFF)


def geometry(size: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track, as the specification's appendix computes them."""
    total = min(size // 512, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        sectors, heads = 255, 16
        tracks = total // sectors
    else:
        sectors = 17
        tracks = total // sectors
        heads = max((tracks + 1023) // 1024, 4)
        if tracks >= heads * 1024 or heads > 16:
            sectors, heads = 31, 16
            tracks = total // sectors
        if tracks >= heads * 1024:
            sectors, heads = 63, 16
            tracks = total // sectors
    return tracks // heads, heads, sectors
