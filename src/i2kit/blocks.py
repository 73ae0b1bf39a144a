"""A disk as the blocks that a cloud stores: what is uploaded, and what two versions have in common.

In: a raw disk. Out: its blocks that are not all zero, with their SHA-256. Reads holes as what they are,
holds one block in memory at a time, and knows nothing of any cloud.

Size and hash are those of the EBS direct APIs (Amazon EBS User Guide, "PutSnapshotBlock").
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 512 << 10
_ZEROS = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Block:
    """`index` counts from the disk's start, `sha256` is in hexadecimal; the last block may be short."""

    index: int
    sha256: str


def blocks(disk: Path) -> Iterator[tuple[Block, bytes]]:
    """The disk's blocks that hold anything, in order, each with its bytes."""
    with disk.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        index = _next(file.fileno(), 0)
        while index is not None and index * BLOCK_BYTES < size:
            file.seek(index * BLOCK_BYTES)
            data = file.read(BLOCK_BYTES)
            if data != _ZEROS[: len(data)]:
                yield Block(index, digest(data)), data
            index = _next(file.fileno(), index + 1)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(disk: int, index: int) -> bytes:
    """One block of the disk that is open as this descriptor; threads may share it."""
    return os.pread(disk, BLOCK_BYTES, index * BLOCK_BYTES)


def changed(before: Path, after: Path) -> frozenset[int]:
    """The indexes of the blocks that have to travel when `before` is there: also those that became zero."""
    old, new = ({block.index: block.sha256 for block, _ in blocks(disk)} for disk in (before, after))
    return frozenset(index for index in old.keys() | new.keys() if old.get(index) != new.get(index))


def _next(descriptor: int, index: int) -> int | None:
    """The first block from `index` on that the file system keeps any data of."""
    try:
        return os.lseek(descriptor, index * BLOCK_BYTES, os.SEEK_DATA) // BLOCK_BYTES
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
