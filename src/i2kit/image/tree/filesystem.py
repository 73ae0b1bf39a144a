"""A file tree becomes an erofs image: read-only, uncompressed, the same bytes on every machine.

In: a Tree and where to write. Out: a file that Linux 5.4 or later mounts as erofs. Never
unpacks the tree to disk, needs no privilege and starts no program: the distributions' mkfs.erofs
differ in what they can do and in the bytes they write.

Format: Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. From front to back:

    block 0       superblock at byte 1024
    shared        inodes of the directories whose files lie in several pieces
    pieces        each with inodes (64 bytes, then xattrs, then the end of the contents if it is
                  short), then blocks of directories, then full blocks of contents, each file
                  starting at a block
    directories   entries of the shared directories

A new image differs from the last in few places, so that storing both, or uploading the new one
where the old one is, costs little. That needs no knowledge of the last image:

- What comes from a layer lies before what comes from the layers above it, data and inodes alike,
  so it does not move when these change. An inode's number is its place, and is in the entries of its
  directory and of the directories in this one. Hence the shared directories: their inodes in front,
  where they stay, and their entries at the end, where all that changes with everything is together.
- Inside a layer, files are in the order of their paths, cut into pieces and these into parts at
  names that a hash chooses. A piece starts at a multiple of 512 KiB, what block storage such as EBS
  stores and compares; a part at one of 32 KiB. What grows uses up the gap before the next of them.
"""

import hashlib
import os
import struct
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.image.tree import Content, Entry, Kind, Tree

BLOCK = 4096
SLOT = 32
"""An inode's number is its distance from the start of the image, in slots."""

PIECE_BYTES, PIECE_STEP, PIECE_GAP_EVERY = 6 << 20, 512 << 10, 4 << 20
PART_BYTES, PART_STEP, PART_GAP_EVERY = 3 << 19, 32 << 10, 512 << 10
"""Most bytes in a piece of several files, what its start is a multiple of, and how many bytes there
are at least between two gaps. The larger the pieces, the more moves when a file in one grows; the
smaller, the more gaps: these take about a twentieth of a large image. What outgrows the gap behind
its piece moves the rest of its layer, which is rare: g bytes do so once in 512 KiB / g times."""

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
    first: int = 0
    """Number of the piece that it lies in; of directories, the first of those that their files lie in."""
    last: int = 0
    links: int = 1
    children: Sequence[tuple[bytes, "Inode"]] = ()
    dirents: Sequence[Sequence[tuple[bytes, "Inode"]]] = ()
    """A directory's entries, with `.` and `..`, as they are spread over blocks."""
    size: int = 0
    inline: int = 0
    """How many bytes at the end of the contents stand right behind the head."""
    block: int = 0
    """Where the other contents start."""
    offset: int = 0
    """Where the inode starts."""

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

    `order` are the layers that come first, in this order; others follow in the tree's order, and
    what comes from no layer is last. `uuid` has 16 bytes, `label` at most 15. Xattrs outside the name
    spaces of Linux are left out, since no filesystem could hold them. Raises OperationError for
    what erofs cannot hold and for sources that end early.
    """
    inodes = collect(tree)
    pieces = divide(inodes, order)
    end_block = lay_out(inodes, pieces)
    with out.open("xb") as file:
        image = file.fileno()
        file.truncate(end_block * BLOCK)
        write_at(image, superblock(inodes, end_block, label, uuid), SUPERBLOCK_OFFSET)
        for inode in inodes:
            write_at(image, encode_inode(inode), inode.offset)
            write_own_contents(inode, image)
        copy_contents([inode for piece in pieces for part in piece for inode in part], image)
        os.fsync(image)


def collect(tree: Tree) -> list[Inode]:
    """One Inode for each file in the tree's order, the root first, with sizes and children known."""
    inodes: list[Inode] = []
    directories: dict[str, Inode] = {}
    inside: dict[str, list[tuple[bytes, Inode]]] = {}
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
            inside[folder].append((encode(name), inode))
        if entry.kind is Kind.DIRECTORY:
            directories[entry.path] = inode
            inode.children = inside[entry.path] = []
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
        dirents: list[list[tuple[bytes, Inode]]] = [[]]
        used = 0
        for name, child in sorted(names, key=lambda pair: pair[0]):
            if used + DIRENT.size + len(name) > BLOCK:
                dirents.append([])
                used = 0
            dirents[-1].append((name, child))
            used += DIRENT.size + len(name)
        inode.dirents = dirents
        inode.size = (len(dirents) - 1) * BLOCK + used
    elif entry.kind is Kind.SYMLINK:
        inode.size = len(encode(entry.target))
        if inode.size >= BLOCK:
            raise OperationError(f"the target of the symbolic link `{entry.path}` is too long")
    elif entry.kind is Kind.FILE and entry.content:
        inode.size = entry.content.size_bytes
    tail = inode.size % BLOCK
    # A target is read fastest from behind the inode; other ends go there if two find place in a block.
    if inode.head + tail <= (BLOCK if entry.kind is Kind.SYMLINK else INLINE_BYTES):
        inode.inline = tail


def divide(inodes: Sequence[Inode], order: Sequence[Path]) -> list[list[list[Inode]]]:
    """The pieces in the order in which they are stored, each as parts: all but directories with files."""
    ranks: dict[Path | None, int] = {layer: number for number, layer in enumerate(order)}
    layers: dict[int, list[Inode]] = {}
    for inode in inodes:
        if not inode.children:
            layer = layer_of(inode.entry)
            rank = ranks.setdefault(layer, len(ranks)) if layer else len(inodes) + len(order)
            layers.setdefault(rank, []).append(inode)
    pieces: list[list[list[Inode]]] = []
    for _, files in sorted(layers.items()):
        of_pieces, of_parts = cuts(files)
        for start, end in pairwise(of_parts):
            if start in of_pieces:
                pieces.append([])
            pieces[-1].append(files[start:end])
            for inode in files[start:end]:
                inode.first = inode.last = len(pieces) - 1
    for inode in reversed(inodes):
        if inode.children:
            inode.first = min(child.first for _, child in inode.children)
            inode.last = max(child.last for _, child in inode.children)
    return pieces


def cuts(files: Sequence[Inode]) -> tuple[set[int], list[int]]:
    """Where pieces start, and where parts start, with the end.

    What is too large is cut near its middle, before the file with the least hash there, and so on.
    Files that come, go or change their size seldom change which that is.
    """
    sums = list(accumulate((inode.head + inode.inline + inode.blocks * BLOCK for inode in files), initial=0))
    is_small = sums[-1] <= PART_BYTES
    hashes = [] if is_small else [hashlib.sha256(encode(inode.entry.path)).digest() for inode in files]
    pieces, parts = {0}, [0, len(files)]
    todo = [(0, len(files))]
    while todo:
        start, end = todo.pop()
        size = sums[end] - sums[start]
        if size <= PART_BYTES or end - start < 2:
            continue
        low, middle, high = (bisect(sums, sums[start] + size * eighths // 8) for eighths in (3, 4, 5))
        near = range(max(low, start + 1), min(high, end))
        cut = min(near, key=hashes.__getitem__) if near else min(max(middle, start + 1), end - 1)
        parts.append(cut)
        if size > PIECE_BYTES:
            pieces.add(cut)
        todo += [(start, cut), (cut, end)]
    return pieces, sorted(parts)


def lay_out(inodes: Sequence[Inode], pieces: Sequence[Sequence[Sequence[Inode]]]) -> int:
    """Give everything its place; the number of blocks."""
    shared = [inode for inode in inodes if inode.first != inode.last]
    own: list[list[Inode]] = [[] for _ in pieces]
    for inode in inodes:
        if inode.first == inode.last:
            own[inode.first].append(inode)
    # By piece, lest a directory of an upper layer moves one of a lower. The root stays the first of all.
    shared.sort(key=lambda inode: inode.first)
    for inode in shared:
        inode.inline = 0
    end = place_inodes(shared, BLOCK)
    if shared:
        end = up(end, PART_STEP)
    placed: dict[tuple[Content, int], int] = {}
    piece_gap = part_gap = 0
    for members, parts in zip(own, pieces, strict=True):
        if end - piece_gap >= PIECE_GAP_EVERY:
            end = piece_gap = part_gap = up(end, PIECE_STEP)
        end = place_inodes(members, end)
        end = place_directories(members, end)
        for part in parts:
            if end - part_gap >= PART_GAP_EVERY:
                end = part_gap = up(end, PART_STEP)
            for inode in part:
                if inode.entry.kind is Kind.SYMLINK and inode.blocks:
                    inode.block = end // BLOCK
                    end += inode.blocks * BLOCK
                if inode.entry.kind is Kind.FILE and inode.blocks:
                    # The same bytes of the same source are stored once.
                    inode.block = placed.setdefault((content_of(inode), inode.blocks), end // BLOCK)
                    if inode.block == end // BLOCK:
                        end += inode.blocks * BLOCK
    return place_directories(shared, end) // BLOCK


def place_inodes(inodes: Sequence[Inode], end: int) -> int:
    """Give inodes their places from `end` on; the end of the last block of them."""
    for inode in inodes:
        need = inode.head + inode.inline
        # Linux refuses inline contents that cross a block's end.
        if end % BLOCK + need > BLOCK:
            end = up(end, BLOCK)
        inode.offset = end
        end = up(end + need, SLOT)
    return up(end, BLOCK)


def place_directories(inodes: Sequence[Inode], end: int) -> int:
    """Give blocks of directories' entries their places from `end` on; the end of the last."""
    for inode in inodes:
        if inode.entry.kind is Kind.DIRECTORY:
            inode.block = end // BLOCK
            end += inode.blocks * BLOCK
    return end


def encode_inode(inode: Inode) -> bytes:
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
        # What stat() gives where numbers have 32 bits.
        inode.number & 0xFFFFFFFF,
        entry.uid,
        entry.gid,
        entry.mtime_s,
        0,
        inode.links,
    )
    return head + xattrs


def write_own_contents(inode: Inode, image: int) -> None:
    """Write the contents that come from no file: a symlink's target, a directory's entries."""
    behind = inode.offset + inode.head
    if inode.entry.kind is Kind.SYMLINK:
        write_at(image, encode(inode.entry.target), behind if inode.inline else inode.block * BLOCK)
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
    if len(XATTR_HEADER) + len(encoded) > 0xFFFF:
        raise OperationError(f"the xattrs of `{entry.path}` are too long together")
    return XATTR_HEADER + bytes(encoded) if encoded else b""


def copy_contents(inodes: Sequence[Inode], image: int) -> None:
    """Copy the files' contents to their blocks, and their ends behind their inodes."""
    filled = [inode for inode in inodes if inode.entry.kind is Kind.FILE and inode.size]
    written = {0}
    for source, group in groupby(filled, key=lambda inode: content_of(inode).source):
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC) if source else None
        try:
            for inode in group:
                content = content_of(inode)
                body = inode.size - inode.inline
                parts = [(body, inode.inline, inode.offset + inode.head)]
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


def superblock(inodes: Sequence[Inode], blocks: int, label: str, uuid: bytes) -> bytes:
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
            0,  # where inodes are numbered from
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


def layer_of(entry: Entry) -> Path | None:
    return entry.layer or (entry.content.source if entry.content else None)


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
