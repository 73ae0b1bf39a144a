"""What is on a disk block by block: its name, how alike two are, what has to travel. Pure.

A snapshot of EBS tells which blocks it has, but not their hashes; without those nobody knows what has
changed. So ours carry them: a table in the last block of the volume, behind the end of the disk, where no
partition is. A disk's name is the table's hash, thus a table that was read back can be trusted.

    i2kit-blocks 1 x86_64 41943040 2\\n    version, architecture, the disk's bytes, number of rows
    00000000 <32 bytes>                   a block's number, big endian, and its SHA-256
    00000001 <32 bytes>
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from i2kit.blocks import BLOCK_BYTES
from i2kit.providers.aws.values import Architecture

VERSION = 1
"""Counts up when the same disk becomes another AMI than before."""

BLOCKS_PER_GIB = (1 << 30) // BLOCK_BYTES
ZEROS = hashlib.sha256(bytes(BLOCK_BYTES)).hexdigest()
_ROW = struct.Struct(">I32s")

SKETCH_WORDS = 32
WORD_DIGITS = 8
"""A sketch fills a tag's 256 characters."""


@dataclass(frozen=True, slots=True)
class BlockMap:
    """The hashes of the blocks that hold anything, in hexadecimal by number, each block filled up."""

    architecture: Architecture
    size_bytes: int
    hashes: Mapping[int, str]

    @property
    def volume_gib(self) -> int:
        """EBS volumes have whole GiB."""
        return max(1, -(-self.size_bytes // (1 << 30)))

    @property
    def table(self) -> bytes:
        head = f"i2kit-blocks {VERSION} {self.architecture} {self.size_bytes} {len(self.hashes)}\n"
        rows = (_ROW.pack(index, bytes.fromhex(hash_)) for index, hash_ in sorted(self.hashes.items()))
        return head.encode() + b"".join(rows)

    @property
    def name(self) -> str:
        """Equal for two disks exactly when they have the same bytes and architecture."""
        return hashlib.sha256(self.table).hexdigest()

    @property
    def table_index(self) -> int | None:
        """Where the table is; None where there is no room: no other can build upon that disk."""
        last = self.volume_gib * BLOCKS_PER_GIB - 1
        fits = self.size_bytes <= last * BLOCK_BYTES and len(self.table) <= BLOCK_BYTES
        return last if fits else None

    @property
    def volume(self) -> Mapping[int, str]:
        """The hashes of what the volume has: the disk's, and the table's where there is one."""
        if self.table_index is None:
            return self.hashes
        return {**self.hashes, self.table_index: hashlib.sha256(filled(self.table)).hexdigest()}

    @property
    def sketch(self) -> str:
        """The smallest of the hashes of all blocks: two disks that share much share most of these."""
        words = (hashlib.sha256(f"{index} {hash_}".encode()) for index, hash_ in self.hashes.items())
        return "".join(sorted(word.hexdigest()[:WORD_DIGITS] for word in words)[:SKETCH_WORDS])


def filled(data: bytes) -> bytes:
    """The data as a whole block, with zeros behind it."""
    return data.ljust(BLOCK_BYTES, b"\0")


def parse(block: bytes, name: str) -> BlockMap | None:
    """The map whose table is in this block; None where that is not the table of the disk of this name."""
    head, newline, rest = block.partition(b"\n")
    words = head.split(b" ")
    if not newline or len(words) != 5 or words[:2] != [b"i2kit-blocks", b"%d" % VERSION]:
        return None
    architecture: Architecture = "arm64" if words[2] == b"arm64" else "x86_64"
    if not (words[3].isdigit() and words[4].isdigit()) or len(rest) < int(words[4]) * _ROW.size:
        return None
    rows = _ROW.iter_unpack(rest[: int(words[4]) * _ROW.size])
    found = BlockMap(architecture, int(words[3]), {index: hash_.hex() for index, hash_ in rows})
    return found if found.name == name else None


def changes(before: BlockMap | None, after: BlockMap) -> Mapping[int, str]:
    """What has to be written where `before` is there already: also zeros over what it had."""
    old = before.volume if before else {}
    new = after.volume
    return {
        index: new.get(index, ZEROS)
        for index in sorted(old.keys() | new.keys())
        if old.get(index) != new.get(index)
    }


def likeness(one: str, other: str) -> int:
    """How many words two sketches have in common."""
    return len(_words(one) & _words(other))


def _words(sketch: str) -> frozenset[str]:
    return frozenset(sketch[at : at + WORD_DIGITS] for at in range(0, len(sketch), WORD_DIGITS))
