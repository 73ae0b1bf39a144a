"""What a compose file refers to beside itself, as values and functions: the environment, files, folders.

In: paths. Out: bytes, names. Opens nothing itself: `files` hands over a Around that does. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

MAX_FILE_BYTES = 2**20
"""What is put into a machine image, of one file or one folder: as much as a ConfigMap may hold."""

MAX_FILES = 1000
"""Of one folder."""

MAX_DEPTH = 20

Kind = Literal["file", "folder", "other", "none"]


def _nothing(path: str) -> Kind:
    return "none"


def _no_file(path: str, most: int) -> tuple[bool, bytes]:
    raise FileNotFoundError(2, "there is no file", path)


def _no_names(path: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Around:
    """Variables by name, and what is at a path: its kind, a file's contents, a folder's names.

    `read` gives whether a file can be executed, and at most so many bytes; both raise OSError.
    """

    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: str = "/"
    """What relative paths are relative to, from the root."""
    kind: Callable[[str], Kind] = _nothing
    read: Callable[[str, int], tuple[bool, bytes]] = _no_file
    names: Callable[[str], Sequence[str]] = _no_names


NOTHING = Around()


class TooMuch(Exception):
    """More than is put into a machine image; says what there is too much of."""


def contents(path: str, around: Around) -> tuple[bool, bytes]:
    """A file, and whether it can be executed. Raises TooMuch and OSError."""
    executable, data = around.read(path, MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise TooMuch(f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    return executable, data


def tree(path: str, around: Around) -> list[tuple[str, bool, bytes]]:
    """All files below a folder, by path below it, as `contents` has them. Raises TooMuch and OSError."""
    found: list[tuple[str, bool, bytes]] = []
    size = 0
    folders = [PurePosixPath()]
    while folders:
        folder = folders.pop()
        for name in sorted(around.names(str(PurePosixPath(path, folder)))):
            below = folder / name
            full = str(PurePosixPath(path, below))
            kind = around.kind(full)
            if kind == "folder":
                if len(below.parts) > MAX_DEPTH or len(folders) > MAX_FILES:
                    raise TooMuch(f"has more than {MAX_FILES:,} files or {MAX_DEPTH} levels")
                folders.append(below)
            elif kind == "file":
                executable, data = around.read(full, MAX_FILE_BYTES + 1)
                size += len(data)
                if size > MAX_FILE_BYTES:
                    raise TooMuch(f"holds more than {MAX_FILE_BYTES // 2**20} MiB")
                if len(found) == MAX_FILES:
                    raise TooMuch(f"holds more than {MAX_FILES:,} files")
                found.append((str(below), executable, data))
            elif kind == "other":
                raise TooMuch(f"holds `{below}`, which is no regular file")
    return sorted(found)
