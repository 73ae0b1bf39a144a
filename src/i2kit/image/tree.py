"""A file tree as a value: what layers flatten to and what filesystem writers write.

Paths are relative, without leading or trailing slash; the root directory is "". Names that are
not UTF-8 are kept with surrogateescape. Contents stay where they are: a region of a local file.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


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


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the tree.

    `mode` holds the permission bits with setuid, setgid and sticky (0o7777). `link_group` is
    the same positive number for all names of one hardlinked file, 0 for files with one name.
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


Tree = tuple[Entry, ...]
"""All entries sorted by path components, the root first, every parent directory present."""


def sort_key(path: str) -> tuple[str, ...]:
    """Order paths so that a directory comes right before what is in it."""
    return tuple(path.split("/")) if path else ()
