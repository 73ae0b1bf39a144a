"""A file tree becomes an initramfs: the archive that the kernel unpacks into memory at boot.

In: a Tree, of which a part fits into memory. Out: a file with the same bytes on every machine. Never starts
a program.

The archive is not compressed. What a compressor writes differs between versions of zlib, liblzma
and zstd, an uncompressed archive boots as fast as the fastest of them, and the memory is free
again once the archive is unpacked; it costs two megabytes on disk.

Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst ("newc"). It has no
place for xattrs, so they are left out.
"""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from i2kit.errors import InputError, Problem
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key

LIST = "usr/lib/i2kit/initramfs.list"
INIT = "usr/lib/i2kit/initramfs-init"
ROOT = "root.erofs"
"""Where that script finds the machine's root when it is in the initramfs as well."""

MAGIC = b"070701"
TRAILER = b"TRAILER!!!"
MAX_FILE_BYTES = (1 << 32) - 1
MAX_PATH_BYTES = 4095
"""Linux passes over longer ones without a word."""
MAX_LIST_BYTES = 1 << 20

TYPE_BITS = {
    Kind.FILE: 0o100000,
    Kind.DIRECTORY: 0o040000,
    Kind.CHARACTER_DEVICE: 0o020000,
    Kind.BLOCK_DEVICE: 0o060000,
    Kind.FIFO: 0o010000,
    Kind.SYMLINK: 0o120000,
}


def select(tree: Tree) -> Tree:
    """The part of a machine's root that belongs into its initramfs.

    The file `usr/lib/i2kit/initramfs.list` names it, one path per line; each keeps its path, but
    the script `usr/lib/i2kit/initramfs-init` becomes `/init`. Raises InputError where a named
    file is not in the tree.
    """
    entries = {entry.path: entry for entry in tree}
    missing = [path for path in (LIST, INIT) if path not in entries]
    if missing:
        raise _cannot_boot(f"it has no /{missing[0]}")
    chosen = {"": entries[""], "init": replace(entries[INIT], path="init", link_group=0)}
    listed = entries[LIST].content or Content(0)
    if listed.size_bytes > MAX_LIST_BYTES:
        raise _cannot_boot(f"/{LIST} has {listed.size_bytes:,} bytes")
    for path in listed.read().decode("utf-8", "surrogateescape").splitlines():
        if path not in entries:
            named = ascii(path)[1:-1]
            raise _cannot_boot(f"/{LIST} names /{named}, which is not there")
        while path not in chosen:
            chosen[path] = entries[path]
            path = path.rpartition("/")[0]
    return tuple(sorted(chosen.values(), key=lambda entry: sort_key(entry.path)))


def _cannot_boot(why: str) -> InputError:
    hint = "one of the kernel and init images has to bring it, as those of i2kit do"
    return InputError([Problem(f"the machine image cannot boot: {why}", hint=hint)])


def write_cpio(tree: Tree, out: Path, *, behind: bool = False) -> None:
    """Write `tree`, without its root directory, as a newc archive to the new file `out`.

    With `behind`, it goes to the end of the file: the kernel unpacks archives one after the other.
    Raises OperationError for a source that ends early, InputError for what the format cannot hold.
    """
    names_of_group = Counter(entry.link_group for entry in tree)
    inode_of_group: dict[int, int] = {}
    with out.open("ab" if behind else "xb") as archive:
        for number, entry in enumerate(tree):
            if not entry.path:
                continue
            # Names of one file are told by the inode's number; its bytes stand at the first of them.
            inode = inode_of_group.setdefault(entry.link_group, number) if entry.link_group else number
            links = names_of_group[entry.link_group] if entry.link_group else 1
            name = entry.path.encode("utf-8", "surrogateescape")
            if len(name) > MAX_PATH_BYTES or name == TRAILER:
                shown = ascii(entry.path)[1:-1]
                shown = f"{shown[:100]}…{shown[-100:]}" if len(shown) > 200 else shown
                message = f"an initramfs cannot hold /{shown}"
                hint = "an image has paths that are too long for a machine without a root filesystem"
                raise InputError([Problem(message, hint=hint)])
            if entry.kind is Kind.SYMLINK:
                target = entry.target.encode("utf-8", "surrogateescape")
                archive.write(head(name, entry, inode, links, len(target)) + padded(target))
                continue
            size = entry.content.size_bytes if entry.content and inode == number else 0
            if size > MAX_FILE_BYTES:
                message = f"/{entry.path} is too large for an initramfs, which holds files up to 4 GiB"
                raise InputError([Problem(message)])
            archive.write(head(name, entry, inode, links, size))
            if entry.content and size:
                archive.writelines(entry.content.chunks())
                archive.write(bytes(-size % 4))
        archive.write(head(TRAILER, Entry("", Kind.FILE, 0), 0, 1, 0, type_bits=0))
        archive.flush()
        os.fsync(archive.fileno())


def head(name: bytes, entry: Entry, inode: int, links: int, size: int, type_bits: int | None = None) -> bytes:
    fields = (
        inode,
        (TYPE_BITS[entry.kind] if type_bits is None else type_bits) | entry.mode,
        entry.uid,
        entry.gid,
        links,
        max(0, min(entry.mtime_s, 0xFFFFFFFF)),
        size,
        0,
        0,
        *entry.device,
        len(name) + 1,
        0,
    )
    return padded(MAGIC + b"".join(b"%08X" % value for value in fields) + name + b"\0")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
