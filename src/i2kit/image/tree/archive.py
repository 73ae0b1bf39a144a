"""A machine's files as one tar file, such as LinuxKit's format tar has them.

In: a Tree, or an Assembly with its kernel. Out: a file with the same bytes on every machine. Never
unpacks anything and starts no program.

Entries are sorted by path, a directory before what is in it; of a hardlinked file the first name
has the contents. Extended headers are there only where the plain ones have no room, so the oldest
tar reads all of an ordinary tree. Python's tarfile is not used: what it writes depends on its version.
Sources: POSIX.1-2017 pax (ustar and extended headers); the xattrs are star's and GNU tar's.
"""

import os
from pathlib import Path

from i2kit.image.assemble import Assembly
from i2kit.image.tree import Entry, Kind, Tree, sort_key, tar

MAX_NAME_BYTES = 100
MAX_ID = 0o7777777
MAX_SIZE_BYTES = 0o77777777777

TYPES = {
    Kind.FILE: tar.REGULAR,
    Kind.DIRECTORY: tar.DIRECTORY,
    Kind.SYMLINK: tar.SYMLINK,
    Kind.CHARACTER_DEVICE: tar.CHARACTER_DEVICE,
    Kind.BLOCK_DEVICE: tar.BLOCK_DEVICE,
    Kind.FIFO: tar.FIFO,
}


def whole(assembly: Assembly) -> Tree:
    """All files of a machine, as LinuxKit's tar has them: with the kernel and its arguments in boot/."""
    entries = {entry.path: entry for entry in (*assembly.boot, *assembly.tree)}
    return tuple(sorted(entries.values(), key=lambda entry: sort_key(entry.path)))


def in_memory(assembly: Assembly) -> Tree:
    """All files of a machine, as LinuxKit's initramfs has them: of boot/ only the folder."""
    beside = {entry.path for entry in assembly.boot if entry.kind is not Kind.DIRECTORY}
    return tuple(entry for entry in whole(assembly) if entry.path not in beside)


def write_tar(tree: Tree, out: Path) -> None:
    """Write `tree`, without its root directory, to the new file `out`.

    Raises OperationError when contents end early.
    """
    first: dict[int, str] = {}
    with out.open("xb") as archive:
        for entry in tree:
            if not entry.path:
                continue
            before = first.setdefault(entry.link_group, entry.path) if entry.link_group else entry.path
            if before != entry.path:
                archive.write(headers(entry, tar.HARDLINK, before, 0))
                continue
            size = entry.content.size_bytes if entry.content else 0
            archive.write(headers(entry, TYPES[entry.kind], entry.target, size))
            if entry.content and size:
                archive.writelines(entry.content.chunks())
                archive.write(bytes(-size % tar.BLOCK_BYTES))
        archive.write(bytes(2 * tar.BLOCK_BYTES))
        archive.flush()
        os.fsync(archive.fileno())


def headers(entry: Entry, type_: str, target: str, size: int) -> bytes:
    """The header of an entry, an extended one before it where it is needed."""
    name = _encode(entry.path) + (b"/" if entry.kind is Kind.DIRECTORY else b"")
    link = _encode(target)
    extended: dict[bytes, bytes] = {}
    if not _fits(name):
        extended[b"path"] = name
    if not _fits(link):
        extended[b"linkpath"] = link
    if entry.uid > MAX_ID:
        extended[b"uid"] = b"%d" % entry.uid
    if entry.gid > MAX_ID:
        extended[b"gid"] = b"%d" % entry.gid
    if size > MAX_SIZE_BYTES:
        extended[b"size"] = b"%d" % size
    if type_ != tar.HARDLINK:
        extended |= {b"SCHILY.xattr." + _encode(key): value for key, value in entry.xattrs}
    if not all(_is_utf8(extended.get(key, b"")) for key in (b"path", b"linkpath")):
        extended = {b"hdrcharset": b"BINARY", **extended}
    plain = header(entry, type_, name, link, size)
    if not extended:
        return plain
    records = b"".join(record(key, value) for key, value in extended.items())
    described = Entry(entry.path, Kind.FILE, 0o644, mtime_s=entry.mtime_s)
    head = header(described, "x", b"PaxHeaders/" + name.rstrip(b"/")[-80:], b"", len(records))
    return head + records + bytes(-len(records) % tar.BLOCK_BYTES) + plain


def header(entry: Entry, type_: str, name: bytes, link: bytes, size: int) -> bytes:
    is_device = entry.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
    major, minor = entry.device if is_device else (0, 0)
    block = bytearray(tar.BLOCK_BYTES)

    def put(offset: int, value: bytes) -> None:
        block[offset : offset + len(value)] = value

    def number(offset: int, digits: int, value: int) -> None:
        put(offset, b"%0*o" % (digits, min(value, 8**digits - 1)))

    put(0, name[:MAX_NAME_BYTES])
    number(100, 7, entry.mode)
    number(108, 7, entry.uid)
    number(116, 7, entry.gid)
    number(124, 11, size)
    number(136, 11, entry.mtime_s)
    put(148, b" " * 8)
    put(156, type_.encode())
    put(157, link[:MAX_NAME_BYTES])
    put(257, b"ustar\00000")
    number(329, 7, major)
    number(337, 7, minor)
    put(148, b"%06o\0 " % sum(block))
    return bytes(block)


def record(key: bytes, value: bytes) -> bytes:
    """A record of an extended header, which begins with its own length."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _fits(name: bytes) -> bool:
    return len(name) <= MAX_NAME_BYTES and name.isascii()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
