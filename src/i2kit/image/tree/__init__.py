"""A file tree as a value: what layers flatten to and what filesystem writers write.

Paths are relative, without leading or trailing slash; the root directory is "". Names that are
not UTF-8 are kept with surrogateescape. Contents stay where they are: a region of a local file.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from pathlib import Path

from i2kit.errors import InputError, OperationError, Problem

CHUNK_BYTES = 1 << 20


class Kind(StrEnum):
    """What an entry is."""

    DIRECTORY = "directory"
    FILE = "file"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a regular file: `size_bytes` from `offset_bytes` of `source`, or given in memory.

    Two entries with the same Content object and the same `Entry.link_group` are one inode.
    """

    size_bytes: int
    source: Path | None = None
    offset_bytes: int = 0
    data: bytes = b""

    def read(self) -> bytes:
        """All bytes, for small files. Raises OSError; gives less when the source ends early."""
        if self.source is None:
            return self.data
        with self.source.open("rb") as source:
            source.seek(self.offset_bytes)
            return source.read(self.size_bytes)

    def chunks(self) -> Iterator[bytes]:
        """All bytes piece by piece. Raises OSError, OperationError when the source ends early."""
        if self.source is None:
            yield self.data
            return
        left = self.size_bytes
        with self.source.open("rb") as source:
            source.seek(self.offset_bytes)
            while left:
                chunk = source.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise OperationError(f"{self.source} ends early", hint="build again")
                left -= len(chunk)
                yield chunk


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the tree.

    `mode` holds the permission bits with setuid, setgid and sticky (0o7777). `link_group` is
    the same positive number for all names of one hardlinked file, 0 for files with one name.
    `layer` is the file that the entry comes from, None for what was made by us.
    """

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    content: Content | None = None
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    link_group: int = 0
    layer: Path | None = None


Tree = tuple[Entry, ...]
"""All entries sorted by path components, the root first, every parent directory present."""


def sort_key(path: str) -> str:
    """Order paths so that a directory comes right before what is in it: no letter is less than NUL."""
    return path.replace("/", "\0")


MAX_READ_BYTES = 16 << 20
"""Most that read_file reads: files such as etc/passwd are small, a hostile one is not."""


MAX_SYMLINKS = 40
"""How many symlinks one path may lead through, as in Linux."""


def real_path(
    entries: Mapping[str, Entry], path: str, top: str = "", spend: Callable[[int], None] = lambda _: None
) -> str | None:
    """Where `path` (leading slash or not) leads, symlinks followed inside the directory `top`, also the last.

    None where there is nothing. `spend` is told how many names there are to look up, and may raise.
    """
    # The directories on the way, each with its whole path.
    root = list(accumulate(top.split("/"), "{}/{}".format)) if top else []
    here: list[str] = []
    todo = path.split("/")[::-1]
    spend(len(todo))
    symlinks = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if len(here) > len(root):
                here.pop()
            continue
        at = f"{here[-1]}/{part}" if here else part
        entry = entries.get(at)
        if entry is None:
            return None
        if entry.kind is not Kind.SYMLINK:
            here.append(at)
            continue
        symlinks += 1
        if symlinks > MAX_SYMLINKS:
            return None
        if entry.target.startswith("/"):
            here = root.copy()
        led = entry.target.split("/")[::-1]
        spend(len(led))
        todo += led
    return here[-1] if here else ""


def find(tree: Tree, path: str) -> Entry | None:
    """The entry that `path` leads to, as real_path says."""
    entries = {entry.path: entry for entry in tree}
    led = real_path(entries, path)
    return None if led is None else entries.get(led)


def read_file(tree: Tree, path: str) -> bytes | None:
    """The bytes of a regular file, symlinks followed inside the root; None where there is none.

    Raises InputError when it is larger than MAX_READ_BYTES, OperationError when its source cannot be read.
    """
    entry = find(tree, path)
    if entry is None or entry.content is None:
        return None
    content = entry.content
    if content.size_bytes > MAX_READ_BYTES:
        message = f"/{entry.path} of the image has {content.size_bytes:,} bytes, which is too much to read"
        raise InputError([Problem(message, hint="the image is damaged or was made to do harm")])
    if content.source is None:
        return content.data
    try:
        with content.source.open("rb") as file:
            file.seek(content.offset_bytes)
            return file.read(content.size_bytes)
    except OSError as error:
        raise OperationError(f"cannot read {content.source}: {error.strerror}") from error
