"""Layers in, one file tree out: what a container runtime would see, without unpacking anything.

In: uncompressed layer tars, bottom first. Out: a Tree whose contents point into the tar files.
Never writes, never leaves the image's root: names, link targets and symlinked parents are resolved
inside it. Memory grows with the number of names, not with their contents.

Sources: OCI image spec, layer.md (whiteouts, opaque whiteouts, hardlinks). Where it leaves a choice
we do what containerd and Docker do, except that the order of entries inside one layer does not
decide what its whiteouts remove.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.image.tree import MAX_SYMLINKS, Content, Entry, Kind, Tree, tar

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MAX_ENTRIES = 300_000
"""Each takes a good kilobyte of memory until the image is written; images have tens of thousands."""
MAX_TEXT_BYTES, ENTRY_BYTES = 64 << 20, 150
"""Of all names, link targets and xattrs, which are kept in memory as well; also of the resulting paths.
Each entry counts as so many beside its own, lest there be as many as can be with names as long as can be."""
MAX_RECORDS = 3_000_000
"""Extended headers and what is in them; an entry has a handful. A megabyte can hold 170,000."""
MAX_STEPS = 10_000_000
"""Directories entered on the way to all entries, which symlinks can make 50,000 for each."""
MAX_SPECIAL_FILES = 10_000
"""Devices and pipes; /dev has a few hundred at most, and nothing limits what a flood of them costs."""
MAX_CONTENT_BYTES = 20 << 30
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4095
MAX_ID = 2**32 - 2
MAX_MTIME_S = 2**32 - 1
"""File systems such as squashfs keep 32 bits; other times are moved to the nearest that fits."""

MAX_MAJOR, MAX_MINOR = 2**12 - 1, 2**20 - 1
"""The numbers that Linux has for devices (linux/kdev_t.h)."""

MAX_XATTR_NAME_BYTES, MAX_XATTRS_BYTES = 255, 65_000
"""Linux has 64 KiB for a file's xattrs, their names and what keeps them apart."""

_SPECIAL = (tar.CHARACTER_DEVICE, tar.BLOCK_DEVICE, tar.FIFO)
_KINDS = {
    tar.REGULAR: Kind.FILE,
    tar.SYMLINK: Kind.SYMLINK,
    tar.DIRECTORY: Kind.DIRECTORY,
    tar.FIFO: Kind.FIFO,
    tar.CHARACTER_DEVICE: Kind.CHARACTER_DEVICE,
    tar.BLOCK_DEVICE: Kind.BLOCK_DEVICE,
}


class HostileLayer(OperationError):
    """A layer holds what no image should hold; the message names layer and entry."""


class _Refused(Exception):
    """Why an entry is refused; _apply adds the layer and the entry's name."""


@dataclass(slots=True, eq=False)
class _Inode:
    """A file or directory under construction. Hardlinks are several names for one _Inode."""

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    content: Content | None = None
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    children: dict[str, "_Inode"] = field(default_factory=dict)
    layer: Path | None = None
    names: int = 0
    link_group: int = 0


@dataclass(slots=True)
class _Budget:
    entries: int
    content_bytes: int
    special_files: int
    text_bytes: int
    records: int
    steps: int

    def spend(
        self, entries: int, *, content_bytes: int = 0, special_files: int = 0, text_bytes: int = 0
    ) -> None:
        self.entries -= entries
        self.content_bytes -= content_bytes
        self.special_files -= special_files
        self.text_bytes -= text_bytes + entries * ENTRY_BYTES
        if self.entries < 0:
            raise _Refused(f"the image has more than {MAX_ENTRIES:,} entries")
        if self.content_bytes < 0:
            raise _Refused(f"the image's files are larger than {MAX_CONTENT_BYTES >> 30} GiB")
        if self.special_files < 0:
            raise _Refused(f"the image has more than {MAX_SPECIAL_FILES:,} devices and pipes")
        if self.text_bytes < 0:
            raise _Refused(f"the image has more than {MAX_TEXT_BYTES >> 20} MiB of names and attributes")

    def spend_records(self, count: int) -> None:
        self.records -= count
        if self.records < 0:
            raise _Refused(f"the image has more than {MAX_RECORDS:,} records in extended headers")

    def spend_steps(self, count: int) -> None:
        self.steps -= count
        if self.steps < 0:
            raise _Refused(f"the directories of all entries lead through more than {MAX_STEPS:,} others")


@dataclass(slots=True)
class _Layer:
    """One layer, read and sorted by what it does."""

    whiteouts: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)
    """(directory, name to remove), or None for everything in it."""
    additions: list[tar.Member] = field(default_factory=list)


def flatten(layers: Sequence[Path]) -> Tree:
    """The file tree of an image. `layers` are uncompressed tars, bottom first, and must outlive it.

    Directories that no layer mentions are root's with mode 0755. Raises HostileLayer naming the
    layer (its file) and the entry, OperationError when a layer cannot be read.
    """
    root = _Inode(Kind.DIRECTORY)
    budget = _Budget(
        MAX_ENTRIES, MAX_CONTENT_BYTES, MAX_SPECIAL_FILES, MAX_TEXT_BYTES, MAX_RECORDS, MAX_STEPS
    )
    for path in layers:
        _apply(root, path, budget)
    return _entries(root)


def _apply(root: _Inode, path: Path, budget: _Budget) -> None:
    entry = ""
    try:
        layer = _Layer()
        for member in tar.members(path, budget.spend_records):
            entry = member.name
            budget.spend(
                1,
                content_bytes=member.size_bytes if member.type == tar.REGULAR else 0,
                special_files=int(member.type in _SPECIAL),
                text_bytes=_text_bytes(member),
            )
            _sort(member, layer)
        redefined = (
            {"/".join(_parts(member.name)) for member in layer.additions} if layer.whiteouts else set()
        )
        for parts, name in layer.whiteouts:
            entry = "/".join((*parts, name or OPAQUE))
            _remove(root, parts, name, redefined, budget)
        for member in layer.additions:
            entry = member.name
            _add(root, member, path, budget)
    except _Refused as error:
        raise _hostile(path, entry, str(error)) from None
    except tar.DamagedTar as error:
        raise HostileLayer(
            f"layer {_name(path)} cannot be read: {error}" + (f" (after {_shown(entry)})" if entry else ""),
            hint="the image is damaged; build and push it again",
        ) from None
    except OSError as error:
        raise OperationError(f"cannot read the layer {path}: {error.strerror}") from error


def _sort(member: tar.Member, layer: _Layer) -> None:
    parts = _parts(member.name)
    name = parts[-1] if parts else ""
    opaque, xattrs = _without_overlay_xattrs(member.xattrs)
    if name == OPAQUE:
        layer.whiteouts.append((parts[:-1], None))
    elif name.startswith(WHITEOUT + WHITEOUT):
        pass  # aufs' own bookkeeping; runtimes leave it out
    elif name.startswith(WHITEOUT):
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise _Refused("a whiteout that names no file")
        layer.whiteouts.append((parts[:-1], hidden))
    elif member.type == tar.CHARACTER_DEVICE and member.device == (0, 0) and parts:
        layer.whiteouts.append((parts[:-1], name))  # overlayfs' form of the same
    else:
        if opaque and member.type == tar.DIRECTORY:
            layer.whiteouts.append((parts, None))
        if xattrs is not member.xattrs:
            member = replace(member, xattrs=xattrs)
        layer.additions.append(member)


def _text_bytes(member: tar.Member) -> int:
    xattrs = sum(len(key) + len(value) for key, value in member.xattrs)
    return _memory_bytes(member.name) + _memory_bytes(member.linkname) + xattrs


def _memory_bytes(text: str) -> int:
    """What a text takes at most: one letter that is not ASCII makes all of its others as large."""
    return len(text) * (1 if text.isascii() else 4)


def _without_overlay_xattrs(
    xattrs: tuple[tuple[str, bytes], ...],
) -> tuple[bool, tuple[tuple[str, bytes], ...]]:
    """Whether they mark an opaque directory, and the rest.

    They must not reach the image: a lower directory with `redirect` would send overlayfs elsewhere.
    """
    if not any(".overlay." in key for key, _ in xattrs):
        return False, xattrs
    opaque = any(key.endswith(".overlay.opaque") and value in (b"y", b"x") for key, value in xattrs)
    return opaque, tuple(
        pair for pair in xattrs if not pair[0].startswith(("trusted.overlay.", "user.overlay."))
    )


def _parts(name: str) -> tuple[str, ...]:
    """A name's components inside the root; leading slashes and dots are dropped as Docker does."""
    if len(name.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise _Refused(f"its name is longer than {MAX_PATH_BYTES} bytes")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    for part in parts:
        if part == "..":
            raise _Refused(f"{_shown(name)} leads upwards")
        # A character has up to four bytes, so short names need not be encoded to be measured.
        if len(part) > MAX_NAME_BYTES // 4 and len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise _Refused(f"a part of its name is longer than {MAX_NAME_BYTES} bytes")
    return parts


def _remove(
    root: _Inode, parts: tuple[str, ...], name: str | None, redefined: Collection[str], budget: _Budget
) -> None:
    directory = _directory(root, parts, budget, redefined=redefined)
    if directory is None:
        return
    if name is None:
        directory.children.clear()
    else:
        directory.children.pop(name, None)


def _add(root: _Inode, member: tar.Member, source: Path, budget: _Budget) -> None:
    parts = _parts(member.name)
    if not parts:
        if member.type != tar.DIRECTORY:
            raise _Refused("the root is not a directory")
        _describe(root, member, source)
        return
    directory = _directory(root, parts[:-1], budget, create=True)
    assert directory is not None
    name = parts[-1]
    if member.type == tar.HARDLINK:
        directory.children[name] = _linked(root, member, budget)
        return
    if member.type not in _KINDS:
        raise _Refused(f"an entry of the unknown type {member.type!r}")
    inode = _Inode(_KINDS[member.type])
    if inode.kind is Kind.DIRECTORY:
        present = directory.children.get(name)
        if present is not None and present.kind is Kind.DIRECTORY:
            inode = present
    elif inode.kind is Kind.FILE:
        inode.content = Content(member.size_bytes, source, member.offset_bytes)
    elif inode.kind is Kind.SYMLINK:
        target = member.linkname
        if not target or len(target.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
            raise _Refused("a symlink whose target is empty or too long")
        inode.target = target
    elif member.type in _SPECIAL:
        major, minor = inode.device = member.device
        if not (0 <= major <= MAX_MAJOR and 0 <= minor <= MAX_MINOR):
            raise _Refused(f"a device {major}:{minor}, which does not exist on Linux")
    _describe(inode, member, source)
    directory.children[name] = inode


def _describe(inode: _Inode, member: tar.Member, source: Path) -> None:
    if not (0 <= member.uid <= MAX_ID and 0 <= member.gid <= MAX_ID):
        raise _Refused(f"its owner {member.uid}:{member.gid} does not exist on Linux")
    # Measured as erofs encodes them: each with four bytes before it, and up to a multiple of four.
    encoded = [(len(key.encode("utf-8", "surrogateescape")), len(value)) for key, value in member.xattrs]
    if any(key > MAX_XATTR_NAME_BYTES for key, _ in encoded):
        raise _Refused(f"the name of an xattr is longer than {MAX_XATTR_NAME_BYTES} bytes")
    if sum(key + value + 8 for key, value in encoded) > MAX_XATTRS_BYTES:
        raise _Refused(f"its xattrs have more than {MAX_XATTRS_BYTES:,} bytes")
    inode.mode = member.mode & 0o7777
    inode.uid, inode.gid = member.uid, member.gid
    inode.mtime_s = min(max(member.mtime_s, 0), MAX_MTIME_S)
    inode.xattrs = member.xattrs
    inode.layer = source


def _linked(root: _Inode, member: tar.Member, budget: _Budget) -> _Inode:
    parts = _parts(member.linkname)
    directory = _directory(root, parts[:-1], budget) if parts else None
    found = directory.children.get(parts[-1]) if directory else None
    if found is None:
        raise _Refused(f"a hardlink to {_shown(member.linkname)}, which does not exist at this point")
    if found.kind is Kind.DIRECTORY:
        raise _Refused(f"a hardlink to the directory {_shown(member.linkname)}")
    return found


def _directory(
    root: _Inode,
    parts: Sequence[str],
    budget: _Budget,
    *,
    create: bool = False,
    redefined: Collection[str] = (),
) -> _Inode | None:
    """The directory at `parts`, symlinks followed inside the root; None where there is none.

    With `create`, missing directories are made. Where the layer itself redefines a name that is
    no directory yet, there is nothing below it: an old symlink there must not be followed.
    """
    way: list[tuple[str, _Inode]] = [("", root)]
    todo = list(reversed(parts))
    budget.spend_steps(len(todo))
    symlinks = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if len(way) > 1:
                way.pop()
            continue
        here = way[-1][1]
        child = here.children.get(part)
        if child is None:
            if not create:
                return None
            if len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
                raise _Refused(f"a symlink on its way leads to a name longer than {MAX_NAME_BYTES} bytes")
            budget.spend(1)
            child = here.children[part] = _Inode(Kind.DIRECTORY)
        elif child.kind is not Kind.DIRECTORY:
            at = "/".join([*(name for name, _ in way[1:]), part])
            if at in redefined:
                return None
            if child.kind is not Kind.SYMLINK:
                if not create:
                    return None
                raise _Refused(f"it lies below {_shown(at)}, which is a {child.kind}")
            symlinks += 1
            if symlinks > MAX_SYMLINKS:
                raise _Refused(f"its directory leads through more than {MAX_SYMLINKS} symlinks")
            if child.target.startswith("/"):
                del way[1:]
            led = [part for part in reversed(child.target.split("/")) if part not in ("", ".")]
            budget.spend_steps(len(led))
            todo += led
            continue
        way.append((part, child))
    return way[-1][1]


def _entries(root: _Inode) -> Tree:
    # Both walks keep their own stack: a hostile tree is deeper than Python recurses.
    pending = [root]
    while pending:
        for child in pending.pop().children.values():
            child.names += 1
            if child.children:
                pending.append(child)
    entries = []
    groups = 0
    path_bytes = 0
    ahead: list[tuple[str, _Inode]] = [("", root)]
    while ahead:
        path, inode = ahead.pop()
        if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
            raise _hostile(_layer_of(inode), path, f"its path has more than {MAX_PATH_BYTES} bytes")
        # A short name can lead deep through a symlink.
        plain = path.isascii()
        path_bytes += sum(
            (len(path) + len(name)) * (1 if plain and name.isascii() else 4) for name in inode.children
        )
        if path_bytes > MAX_TEXT_BYTES:
            why = f"the image's paths have more than {MAX_TEXT_BYTES >> 20} MiB together"
            raise _hostile(_layer_of(inode), path, why)
        if inode.kind is Kind.FILE and inode.names > 1 and not inode.link_group:
            groups += 1
            inode.link_group = groups
        entries.append(
            Entry(
                path=path,
                kind=inode.kind,
                mode=inode.mode,
                uid=inode.uid,
                gid=inode.gid,
                mtime_s=inode.mtime_s,
                content=inode.content,
                target=inode.target,
                device=inode.device,
                xattrs=inode.xattrs,
                link_group=inode.link_group,
                layer=inode.layer,
            )
        )
        ahead.extend(
            (f"{path}/{name}" if path else name, inode.children[name])
            for name in sorted(inode.children, reverse=True)
        )
    return tuple(entries)


def _layer_of(inode: _Inode) -> Path | None:
    """The layer that a directory is from, or, where none mentions it, what is in it."""
    while inode.layer is None and inode.children:
        inode = next(iter(inode.children.values()))
    return inode.layer


def _hostile(layer: Path | None, entry: str, why: str) -> HostileLayer:
    where = f"layer {_name(layer)}, entry" if layer else "entry"
    return HostileLayer(
        f"{where} {_shown(entry)}: {why}",
        hint="the image is damaged or was made to do harm; build it again, or use another",
    )


def _name(path: Path) -> str:
    return f"sha256:{path.name}" if path.parent.name == "sha256" else path.name


def _shown(name: str) -> str:
    """A name from a layer, made safe for a terminal and short enough for a line."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return f"`{text}`" if len(text) <= 200 else f"`{text[:200]}…`"
