"""A file tree becomes an erofs image: read-only, uncompressed, the same bytes on every machine.

In: a Tree and where to write. Out: a file that Linux 5.4 or later mounts as erofs. Never
unpacks the tree to disk, needs no privilege and starts no program: the distributions' mkfs.erofs
differ in what they can do and in the bytes they write.

Format: Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. From front to back:

    block 0       superblock at byte 1024
    data          full blocks of the files' contents, each file starting at a block
    inodes        64 bytes each, then xattrs, then the end of the contents if it is short
    directories   blocks of the directories that do not fit behind their inode

What keeps its place when something changes: contents are ordered by the file they come from (a
layer), then by their place in it, so a changed layer moves nothing that lies in the layers
before it. Metadata stands behind all data because its size changes with every change.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.image.tree import Content, Entry, Kind, Tree

BLOCK = 4096
SLOT = 32
"""An inode's number is its distance from the start of the metadata, in slots."""

SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sI44x")
SUPERBLOCK_OFFSET = 1024
MAGIC = 0xE0F5E1E2
HAS_CHECKSUM, HAS_MTIME = 1, 2

INODE = struct.Struct("<HHHxxQIIIIqII16x")
EXTENDED = 1
FLAT_PLAIN, FLAT_INLINE = 0, 2

INLINE_BYTES = BLOCK // 2
"""Up to this size an inode has the end of its contents behind it; above, a block of its own wastes less."""

DIRENT = struct.Struct("<QHBx")
NAME_MAX = 255

XATTR_HEADER = bytes(12)
XATTR_ENTRY = struct.Struct("<BBH")

COPY_BYTES = 1 << 20

# File type bits of st_mode and the directory entry's type: linux/stat.h, linux/fs_types.h.
TYPES = {
    Kind.FILE: (0o100000, 1),
    Kind.DIRECTORY: (0o040000, 2),
    Kind.CHARACTER_DEVICE: (0o020000, 3),
    Kind.BLOCK_DEVICE: (0o060000, 4),
    Kind.FIFO: (0o010000, 5),
    Kind.SYMLINK: (0o120000, 7),
}

# erofs keeps a number for the start of an xattr's name; an ACL's name has nothing behind it.
XATTR_PREFIXES = {
    b"user.": 1,
    b"system.posix_acl_access": 2,
    b"system.posix_acl_default": 3,
    b"trusted.": 4,
    b"security.": 6,
}


@dataclass(slots=True, eq=False)
class Inode:
    """One file while the image is laid out, whatever the number of its names."""

    entry: Entry
    parent: "Inode | None"
    head: int
    """Bytes of the inode and its xattrs."""
    links: int = 1
    children: list[tuple[bytes, "Inode"]] = field(default_factory=list)
    dirents: list[list[tuple[bytes, "Inode"]]] = field(default_factory=list)
    """A directory's entries, with `.` and `..`, as they are spread over blocks."""
    size: int = 0
    inline: int = 0
    """How many bytes at the end of the contents stand right behind the head."""
    block: int = 0
    """Where the other contents start."""
    offset: int = 0
    """Where the inode starts, from the start of the metadata."""

    @property
    def number(self) -> int:
        return self.offset // SLOT

    @property
    def blocks(self) -> int:
        return up(self.size - self.inline, BLOCK) // BLOCK


def write_erofs(
    tree: Tree, out: Path, *, label: str = "", uuid: bytes = bytes(16), order: Sequence[Path] = ()
) -> None:
    """Write `tree` as an erofs image to the new file `out`.

    `order` are source files whose contents come first, in this order; those of other sources
    follow in the tree's order. `uuid` has 16 bytes, `label` at most 15. Xattrs outside the name
    spaces of Linux are left out, since no filesystem could hold them. Raises OperationError for
    what erofs cannot hold and for sources that end early.
    """
    inodes = collect(tree)
    contents = in_data_order(inodes, order)
    metadata_block, end_block = lay_out(inodes, contents)
    metadata = metadata_block * BLOCK
    with out.open("xb") as file:
        image = file.fileno()
        file.truncate(end_block * BLOCK)
        head = superblock(inodes, end_block, metadata_block, label, uuid)
        write_at(image, head, SUPERBLOCK_OFFSET)
        for position, inode in enumerate(inodes, start=1):
            write_at(image, encode_inode(inode, position), metadata + inode.offset)
            write_own_contents(inode, image, metadata)
        copy_contents(contents, image, metadata)
        os.fsync(image)


def collect(tree: Tree) -> list[Inode]:
    """One Inode for each file in the tree's order, the root first, with sizes and children known."""
    inodes: list[Inode] = []
    directories: dict[str, Inode] = {}
    linked: dict[int, Inode] = {}
    for entry in tree:
        folder, _, name = entry.path.rpartition("/")
        parent = directories[folder] if entry.path else None
        inode = linked.get(entry.link_group)
        if inode:
            inode.links += 1
        else:
            inode = Inode(entry, parent, INODE.size + len(encode_xattrs(entry)))
            inodes.append(inode)
            if entry.link_group:
                linked[entry.link_group] = inode
        if parent:
            if len(encode(name)) > NAME_MAX:
                raise OperationError(f"the name of `{entry.path}` is longer than {NAME_MAX} bytes")
            parent.children.append((encode(name), inode))
        if entry.kind is Kind.DIRECTORY:
            directories[entry.path] = inode
            inode.links = 2
            if parent:
                parent.links += 1
    for inode in inodes:
        measure(inode)
    return inodes


def measure(inode: Inode) -> None:
    """Find out how many bytes a file's contents have and how many of them go behind its inode."""
    entry = inode.entry
    if entry.kind is Kind.DIRECTORY:
        names = [(b".", inode), (b"..", inode.parent or inode), *inode.children]
        inode.dirents = [[]]
        used = 0
        for name, child in sorted(names, key=lambda pair: pair[0]):
            if used + DIRENT.size + len(name) > BLOCK:
                inode.dirents.append([])
                used = 0
            inode.dirents[-1].append((name, child))
            used += DIRENT.size + len(name)
        inode.size = (len(inode.dirents) - 1) * BLOCK + used
    elif entry.kind is Kind.SYMLINK:
        inode.size = len(encode(entry.target))
    elif entry.kind is Kind.FILE and entry.content:
        inode.size = entry.content.size_bytes
    tail = inode.size % BLOCK
    # Linux reads short targets from behind the inode only; other ends go there if two find place in a block.
    if inode.head + tail <= (BLOCK if entry.kind is Kind.SYMLINK else INLINE_BYTES):
        inode.inline = tail
    elif entry.kind is Kind.SYMLINK:
        raise OperationError(f"the target of the symbolic link `{entry.path}` is too long")


def in_data_order(inodes: Sequence[Inode], order: Sequence[Path]) -> list[Inode]:
    """The files with contents in the order in which these are stored: by source, then place in it."""
    filled = [inode for inode in inodes if inode.entry.kind is Kind.FILE and inode.size]
    rank: dict[Path | None, int] = {source: number for number, source in enumerate(order)}
    for inode in filled:
        rank.setdefault(content_of(inode).source, len(rank))
    return sorted(filled, key=lambda inode: (rank[content_of(inode).source], content_of(inode).offset_bytes))


def lay_out(inodes: Sequence[Inode], contents: Sequence[Inode]) -> tuple[int, int]:
    """Give everything its place; the first block of the metadata, and the first behind the end."""
    block = 1
    placed: dict[tuple[Content, int], int] = {}
    for inode in contents:
        if inode.blocks:
            # The same bytes of the same source are stored once, such as a layer that two images share.
            inode.block = placed.setdefault((content_of(inode), inode.blocks), block)
            if inode.block == block:
                block += inode.blocks
    metadata_block = block

    # Number 0 stays unused: the C library takes a directory entry with it for a deleted one.
    end = INODE.size
    for inode in inodes:
        need = inode.head + inode.inline
        # Linux refuses inline contents that cross a block's end.
        if end % BLOCK + need > BLOCK:
            end = up(end, BLOCK)
        inode.offset = end
        end = up(end + need, SLOT)

    block += up(end, BLOCK) // BLOCK
    for inode in inodes:
        if inode.entry.kind is Kind.DIRECTORY:
            inode.block = block
            block += inode.blocks
    return metadata_block, block


def encode_inode(inode: Inode, position: int) -> bytes:
    entry = inode.entry
    place = inode.block
    if entry.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE):
        major, minor = entry.device
        # new_encode_dev() of linux/kdev_t.h
        place = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    xattrs = encode_xattrs(entry)
    head = INODE.pack(
        EXTENDED | (FLAT_INLINE if inode.inline else FLAT_PLAIN) << 1,
        1 + (len(xattrs) - len(XATTR_HEADER)) // 4 if xattrs else 0,
        TYPES[entry.kind][0] | entry.mode,
        inode.size,
        place,
        position,
        entry.uid,
        entry.gid,
        entry.mtime_s,
        0,
        inode.links,
    )
    return head + xattrs


def write_own_contents(inode: Inode, image: int, metadata: int) -> None:
    """Write the contents that come from no file: a symlink's target, a directory's entries."""
    behind = metadata + inode.offset + inode.head
    if inode.entry.kind is Kind.SYMLINK:
        write_at(image, encode(inode.entry.target), behind)
    for index, dirents in enumerate(inode.dirents):
        heads, names = bytearray(), bytearray()
        for name, child in dirents:
            name_offset = DIRENT.size * len(dirents) + len(names)
            heads += DIRENT.pack(child.number, name_offset, TYPES[child.entry.kind][1])
            names += name
        is_inline = inode.inline and index == len(inode.dirents) - 1
        write_at(image, bytes(heads + names), behind if is_inline else (inode.block + index) * BLOCK)


def encode_xattrs(entry: Entry) -> bytes:
    """The xattrs as they stand behind the inode, or nothing."""
    encoded = bytearray()
    for name_text, value in sorted(entry.xattrs):
        name = encode(name_text)
        for prefix, number in XATTR_PREFIXES.items():
            if name.startswith(prefix):
                rest = name.removeprefix(prefix)
                if len(rest) > NAME_MAX or len(value) > 0xFFFF:
                    raise OperationError(f"the xattr `{name_text}` of `{entry.path}` is too long")
                encoded += XATTR_ENTRY.pack(len(rest), number, len(value)) + rest + value
                encoded += bytes(-len(encoded) % 4)
                break
    if len(encoded) > 0xFFFF:
        raise OperationError(f"the xattrs of `{entry.path}` are too long together")
    return XATTR_HEADER + bytes(encoded) if encoded else b""


def copy_contents(contents: Sequence[Inode], image: int, metadata: int) -> None:
    """Copy the files' contents to their blocks, and their ends behind their inodes."""
    written = {0}
    for source, group in groupby(contents, key=lambda inode: content_of(inode).source):
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC) if source else None
        try:
            for inode in group:
                content = content_of(inode)
                body = inode.size - inode.inline
                parts = [(body, inode.inline, metadata + inode.offset + inode.head)]
                if inode.block not in written:
                    written.add(inode.block)
                    parts.append((0, body, inode.block * BLOCK))
                for start, size, target in parts:
                    if descriptor is None:
                        write_at(image, content.data[start : start + size], target)
                    elif not copy(descriptor, content.offset_bytes + start, image, target, size):
                        raise too_short(inode)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def copy(source: int, source_offset: int, target: int, target_offset: int, size: int) -> bool:
    """Copy between open files, in the kernel where it can; whether the source was long enough."""
    in_kernel = size >= BLOCK
    while size:
        if in_kernel:
            try:
                done = os.copy_file_range(source, target, size, source_offset, target_offset)
            except OSError:
                # Which pairs of filesystems can do it differs between kernels (EXDEV, EINVAL, …).
                in_kernel = False
                continue
        else:
            data = os.pread(source, min(size, COPY_BYTES), source_offset)
            write_at(target, data, target_offset)
            done = len(data)
        if not done:
            return False
        source_offset += done
        target_offset += done
        size -= done
    return True


def write_at(image: int, data: bytes, offset: int) -> None:
    while data:
        done = os.pwrite(image, data, offset)
        data, offset = data[done:], offset + done


def superblock(inodes: Sequence[Inode], blocks: int, metadata_block: int, label: str, uuid: bytes) -> bytes:
    """The rest of block 0 from the superblock on, as its checksum covers it."""

    def pack(checksum: int) -> bytes:
        return SUPERBLOCK.pack(
            MAGIC,
            checksum,
            HAS_CHECKSUM | HAS_MTIME,
            BLOCK.bit_length() - 1,
            0,
            inodes[0].number,
            len(inodes),
            0,
            0,
            blocks,
            metadata_block,
            0,
            uuid,
            label.encode(),
            0,
        ).ljust(BLOCK - SUPERBLOCK_OFFSET, b"\0")

    return pack(crc32c(pack(0)))


def crc32c(data: bytes) -> int:
    """CRC-32C from all ones and without the final inversion, as Linux' crc32c(~0, …) has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def content_of(inode: Inode) -> Content:
    assert inode.entry.content is not None
    return inode.entry.content


def too_short(inode: Inode) -> OperationError:
    return OperationError(
        f"cannot read `{inode.entry.path}` from {content_of(inode).source}: the file ends too early",
        hint="the store is damaged: remove that file and build again",
    )


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def up(number: int, step: int) -> int:
    """The next multiple of `step`, or the number itself."""
    return -(-number // step) * step
