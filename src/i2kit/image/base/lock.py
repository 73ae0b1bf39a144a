"""The lock file: what the base was made of, so that the next machine makes the same.

In: the file's text. Out: a Lock for each architecture, and text that is the same for the same Locks.
Holds no host names: where the packages come from is the machine's own business. Format: TOML 1.0; what
is of another architecture than amd64 stands in a table of its name.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2kit.errors import InputError, Position, Problem
from i2kit.image import atomic
from i2kit.image.base.packages import Distribution, Package
from i2kit.model import Architecture

VERSION = 1
PREFIXES: Mapping[Architecture, str] = {"amd64": "", "arm64": "arm64."}
"""What the names of an architecture's tables begin with."""
_HEADER = """\
# The packages that the base of all machines is made of: its kernel and its few programs.
# Written by i2kit. Keep it with your manifests, so that every machine builds the same bytes.
"""
_HINT = "restore the file, or delete it to record the packages that the distribution has now"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of our own: its source, and the SHA-256 of its configuration and of its image's manifest."""

    source: Package
    config_sha256: str
    image_sha256: str

    @property
    def image(self) -> str:
        """The pinned reference of the component image."""
        return f"i2kit/kernel@sha256:{self.image_sha256}"


@dataclass(frozen=True, slots=True)
class Lock:
    """Packages of one architecture, the distribution that they are from, the kernel if it is our own."""

    distribution: Distribution
    packages: tuple[Package, ...]
    kernel: Kernel | None = None


def render(*locks: Lock) -> str:
    """The lock file's text, with one lock at most for each architecture."""
    by_architecture = {lock.distribution.architecture: lock for lock in locks}
    found = [
        _part(by_architecture[name], prefix) for name, prefix in PREFIXES.items() if name in by_architecture
    ]
    return "\n\n".join([f"{_HEADER}\nversion = {VERSION}", *found]) + "\n"


def _part(lock: Lock, prefix: str) -> str:
    distribution = lock.distribution
    parts = [
        f"[{prefix}distribution]",
        f'id = "{distribution.id}"',
        f'codename = "{distribution.codename}"',
        f'architecture = "{distribution.architecture}"',
    ]
    if kernel := lock.kernel:
        parts += [
            "\n# The kernel that `i2kit kernel build` makes of the distribution's source.",
            f"[{prefix}kernel]",
            f'source = "{kernel.source.name}"',
            f'version = "{kernel.source.version}"',
            f'sha256 = "{kernel.source.sha256}"',
            f'config_sha256 = "{kernel.config_sha256}"',
            f'image_sha256 = "{kernel.image_sha256}"',
        ]
    for package in sorted(lock.packages):
        parts += [
            f"\n[[{prefix}package]]",
            f'name = "{package.name}"',
            f'version = "{package.version}"',
            f'sha256 = "{package.sha256}"',
        ]
    return "\n".join(parts)


def parse(text: str, file: str) -> Mapping[Architecture, Lock]:
    """Read a lock file; `file` names it in errors. Raises InputError with the line that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (text.count("\n") + 1, 1)
        raise _broken(file, line, column, f"not TOML: {str(error).split(' (at')[0]}") from error
    if document.get("version") != VERSION:
        raise _broken(
            file,
            _line_of(text, "version"),
            1,
            f"the lock file has version {document.get('version')!r}, this i2kit reads version {VERSION}",
        )
    parts = {name: document[name] for name, prefix in PREFIXES.items() if prefix and name in document}
    if not parts or {"distribution", "package", "kernel"} & document.keys():
        parts["amd64"] = document
    return {architecture: _parse_part(part, architecture, text, file) for architecture, part in parts.items()}


def _parse_part(table: Any, architecture: Architecture, text: str, file: str) -> Lock:
    prefix = PREFIXES[architecture]
    source = table.get("distribution") if isinstance(table, dict) else None
    line = _line_of(text, rf"\[{re.escape(prefix)}distribution")
    words = ("id", "codename", "architecture")
    if not isinstance(source, dict) or any(not _is_word(source.get(word)) for word in words):
        raise _broken(file, line, 1, f"[{prefix}distribution] needs id, codename and architecture")
    if source["architecture"] != architecture:
        raise _broken(file, line, 1, f"the architecture of [{prefix}distribution] is not {architecture}")
    entries = table.get("package")
    if not isinstance(entries, list) or not entries:
        raise _broken(file, text.count("\n") + 1, 1, f"the lock file names no [[{prefix}package]]")
    packages = tuple(_package(entry, number, prefix, text, file) for number, entry in enumerate(entries))
    return Lock(
        Distribution(source["id"], source["codename"], architecture),
        tuple(sorted(packages)),
        _kernel(table["kernel"], prefix, text, file) if "kernel" in table else None,
    )


def write(path: Path, lock: Lock) -> None:
    """Write the lock file; what it has for other architectures stays. Raises OperationError."""
    elsewhere = "change to a folder of yours, or name another file with I2KIT_LOCK_FILE"
    own = lock.distribution.architecture
    others = [other for architecture, other in read_all(path).items() if architecture != own]
    atomic.write(path, render(*others, lock), hint=elsewhere)


def read(path: Path, architecture: Architecture = "amd64") -> Lock | None:
    """What the lock file has for this architecture, if anything. Raises InputError as `parse` does."""
    return read_all(path).get(architecture)


def read_all(path: Path) -> Mapping[Architecture, Lock]:
    """The lock file's content, nothing where there is no such file. Raises InputError as `parse` does."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(str(path), 1, 1, f"the lock file cannot be read: {error}") from error


def changes(old: tuple[Package, ...], new: tuple[Package, ...]) -> tuple[str, ...]:
    """What differs, in words such as `crun 1.8 -> 1.9`. Kernel packages carry their version in the name."""
    before = {package.name: package for package in old}
    after = {package.name: package for package in new}
    words = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if was is None or now is None:
            words.append(f"{name} {'added' if was is None else 'removed'}")
        elif was.version == now.version:
            words.append(f"{name} {now.version} with other bytes")
        else:
            words.append(f"{name} {was.version} -> {now.version}")
    return tuple(words)


def _package(entry: Any, number: int, prefix: str, text: str, file: str) -> Package:
    heading = rf"^\[\[\s*{re.escape(prefix)}package"
    starts = [match.start() for match in re.finditer(heading, text, re.MULTILINE)]
    line = text.count("\n", 0, starts[number]) + 1 if number < len(starts) else 1
    if not isinstance(entry, dict) or any(not _is_word(entry.get(key)) for key in ("name", "version")):
        raise _broken(file, line, 1, f"a [[{prefix}package]] needs name, version and sha256")
    if not _is_sha256(entry.get("sha256")):
        raise _broken(file, line, 1, f"the sha256 of `{entry['name']}` is not 64 hexadecimal digits")
    return Package(entry["name"], entry["version"], entry["sha256"])


def _kernel(entry: Any, prefix: str, text: str, file: str) -> Kernel:
    line, name = _line_of(text, rf"\[\s*{re.escape(prefix)}kernel"), f"[{prefix}kernel]"
    if not isinstance(entry, dict) or any(not _is_word(entry.get(key)) for key in ("source", "version")):
        raise _broken(file, line, 1, f"{name} needs source, version, sha256, config_sha256 and image_sha256")
    for key in ("sha256", "config_sha256", "image_sha256"):
        if not _is_sha256(entry.get(key)):
            raise _broken(file, line, 1, f"{key} of {name} is not 64 hexadecimal digits")
    source = Package(entry["source"], entry["version"], entry["sha256"])
    return Kernel(source, entry["config_sha256"], entry["image_sha256"])


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_word(value: object) -> bool:
    # What apt is called with: nothing that could be an option or part a word.
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]*", value) is not None


def _line_of(text: str, pattern: str) -> int:
    match = re.search(rf"^{pattern}", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _broken(file: str, line: int, column: int, message: str) -> InputError:
    return InputError([Problem(message, Position(file, line, column), _HINT)])
