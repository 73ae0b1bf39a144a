"""Paths to bytes: files, folders and stdin, and what cannot be read of them.

In: paths as given with -f. Out: names and contents, and problems. The only module here that opens
files; never reads more of one than is accepted, and never waits for one.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from i2kit.errors import InputError, Position, Problem
from i2kit.manifest.around import Around, Kind
from i2kit.manifest.source import MAX_BYTES

STDIN = "stdin"
"""What `-` is called in positions."""

_SUFFIXES = (".yml", ".yaml", ".json")

_COMPOSE = re.compile(r"(?:docker-)?compose(?:[-._].*)?\.ya?ml")
_DEFAULTS = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""What docker looks for in a folder, in this order; of compose files there, only the first counts."""

_OVERRIDES = tuple(name.replace("compose.", "compose.override.") for name in _DEFAULTS)

_OPEN = re.compile(r"/dev/stdin|(/dev|/proc/self)/fd/[0-9]+")
"""What is open already: a shell's `<(command)` is the reading end of a pipe under such a name."""


def sources(
    paths: Sequence[str], stdin: bytes | None, problems: list[Problem]
) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each file that the paths stand for, each once, one at a time.

    What cannot be read is added to the problems.
    """
    found: set[str] = set()
    for path in paths:
        try:
            names = [path] if path == "-" else _files(path)
        except InputError as error:
            problems.extend(error.problems)
            continue
        for name in names:
            # `-f web.yml -f .` names a file twice but means it once.
            real = name if name == "-" else os.path.realpath(name)
            if real in found:
                continue
            found.add(real)
            try:
                yield STDIN if name == "-" else name, contents(name, stdin)
            except InputError as error:
                problems.extend(error.problems)


@dataclass(frozen=True, slots=True)
class File:
    """A file among others. `together` are those that a deploy with the same -f reads as one."""

    path: str
    folder: str
    together: bool
    overrides: tuple[str, ...] = ()
    """What is read with it, of a compose file."""
    below: str = ""
    """The folder that was named, of a file in it or below."""

    @property
    def name(self) -> str:
        """What it is called in positions."""
        return STDIN if self.path == "-" else self.path


def walk(paths: Sequence[str]) -> tuple[tuple[File, ...], tuple[Problem, ...]]:
    """The files that the paths stand for, with all below folders, each once, and what cannot be looked into.

    What is hidden is left out, and links to folders are not followed.
    """
    found: dict[str, File] = {}
    problems: list[Problem] = []

    def complain(error: OSError) -> None:
        problems.extend(_unreadable(error.filename, error).problems)

    def add(key: str, file: File) -> None:
        before = found.setdefault(key, file)
        if file.together and not before.together:  # named after a folder that it is far below
            found[key] = replace(before, together=True)

    for path in paths:
        if path == "-":
            add(path, File(path, "", True))
            continue
        if not Path(path).is_dir():
            add(os.path.realpath(path), File(path, _folder(path), True))
            continue
        for folder, below, names in os.walk(path, onerror=complain):
            below[:] = sorted(name for name in below if not name.startswith("."))
            chosen = _composed(names)
            for name in sorted(filter(_is_manifest, names)):
                file = str(Path(folder, name))
                if Path(file).is_dir() or name in chosen[1:]:
                    continue
                overrides = tuple(str(Path(folder, one)) for one in chosen[1:] if name == chosen[0])
                together = folder == path and (name in chosen or not (chosen and _COMPOSE.fullmatch(name)))
                root = os.path.realpath(path)
                add(os.path.realpath(file), File(file, _folder(file), together, overrides, root))
    return tuple(found.values()), tuple(problems)


def around() -> Around:
    """What compose files may refer to beside themselves, as it is on this machine."""
    return Around(os.environ, str(Path.cwd()), _kind, _read, os.listdir)


def _kind(path: str) -> Kind:
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # a NUL in it
        return "none"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def _read(path: str, most: int) -> tuple[bool, bytes]:
    with Path(path).open("rb") as opened:
        return bool(os.fstat(opened.fileno()).st_mode & 0o111), opened.read(most)


def _folder(path: str) -> str:
    return os.path.realpath(Path(path).parent)


def _composed(names: Sequence[str]) -> list[str]:
    """Of the files in a folder, docker's compose file and what overrides it; none where there is no such."""
    first = [name for name in _DEFAULTS if name in names][:1]
    return [*first, *[name for name in _OVERRIDES if name in names][:1]] if first else []


def _is_manifest(name: str) -> bool:
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def _files(path: str) -> list[str]:
    """The files that a path stands for, at least one. Raises InputError where there is nothing."""
    try:
        if not stat.S_ISDIR(Path(path).stat().st_mode):
            return [path]
        names = sorted(entry.name for entry in Path(path).iterdir() if not entry.is_dir())
    except OSError as error:
        raise _unreadable(path, error) from error
    chosen = _composed(names)
    kept = (name for name in names if not (chosen and _COMPOSE.fullmatch(name)))
    found = [*chosen, *filter(_is_manifest, kept)]
    if not found:
        message = "there are no .yml, .yaml or .json files in this folder"
        hint = "folders below it are not searched: name them"
        raise InputError([Problem(message, Position(path, 1, 1), hint)])
    return [str(Path(path, name)) for name in found]


def _given(stdin: bytes | None) -> bytes:
    if stdin is None:
        raise InputError([Problem("nothing was given on stdin", Position(STDIN, 1, 1))])
    return stdin


def contents(file: str, stdin: bytes | None) -> bytes:
    """The bytes of a file, one more than is accepted where it is too large; `stdin` is `-`.

    Raises InputError.
    """
    if file == "-":
        return _given(stdin)
    try:
        # Opening a FIFO by its name waits for a writer, and /dev/zero never ends: look before.
        mode = Path(file).stat().st_mode
        if not (stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and _OPEN.fullmatch(file))):
            hint = "pipe it in: … | i2kit deploy -f -"
            raise InputError([Problem("is not a regular file", Position(file, 1, 1), hint)])
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error


def held(path: str, problems: list[Problem]) -> bytes | dict[str, bytes] | None:
    """The bytes of a file, or those of all files in a folder by their names; None where it cannot be read."""
    try:
        if not Path(path).is_dir():
            return contents(path, None)
        # Kubernetes keeps what it mounts twice, once in a folder that begins with two dots.
        files = sorted(file for file in Path(path).iterdir() if not file.name.startswith(".."))
        return {file.name: contents(str(file), None) for file in files if file.is_file()}
    except InputError as error:
        problems.extend(error.problems)
    except OSError as error:
        problems.extend(_unreadable(path, error).problems)
    return None


CUSTOMIZED = "kustomize may make it whole: kustomize build DIR | i2kit deploy -f -"
"""What to do where it does, of a part of a manifest."""


def is_customized(file: str) -> bool:
    """Whether something beside a file, or above it, says that kustomize makes the manifests."""
    folder = Path(file).parent
    return any(
        (place / name).is_file()
        for place in (folder, folder.parent, folder.parent.parent)
        for name in ("kustomization.yaml", "kustomization.yml", "Kustomization")
    )


def _unreadable(path: str, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    words = reason[:1].lower() + reason[1:]
    return InputError([Problem(f"cannot be read: {words}", Position(path, 1, 1))])
