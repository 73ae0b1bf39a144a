"""Who needs what is in the store, and who works in it right now.

In: places where deployments and lock files are kept, images that a deploy is about to start. Out: the
same when somebody asks what may go, and the two ways to hold the store: many that build, or the one
that prunes. Knows nothing of what the places hold. Everything held is a flock, which the kernel takes
from a process that is killed.

    roots/HEX         a folder of a provider's state, or a lock file, that refers to the store (JSON)
    leases/HEX        the images of a deploy that runs, until it has noted them in its own state
    use.lock          shared by those who build, exclusive while something is removed
    gate.lock         held by who waits to remove: those who come later stand behind
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from i2kit.errors import OperationError
from i2kit.events import Note, Watcher
from i2kit.image.store import Store, explained, sealed, unsealed
from i2kit.model import Use


@dataclass(frozen=True, slots=True)
class Root:
    """A place that refers to the store: `kind` is `lock file` or a provider's name, `path` is absolute."""

    kind: str
    path: Path


LOCK_FILE = "lock file"


def register(store: Store, root: Root) -> None:
    """Have this place asked before anything is removed, as long as it exists."""
    record = {"kind": root.kind, "path": str(root.path)}
    path = store.root / "roots" / hashlib.sha256(f"{root.kind} {root.path}".encode()).hexdigest()[:32]
    if store.record(path) != record:
        store.write_record(path, record)


def registered(store: Store) -> Mapping[Path, Root]:
    """The places by the file that registers each. Raises OperationError for a file that is damaged."""
    found = {}
    for path in sorted((store.root / "roots").glob("*")):
        record = store.record(path)
        if record is None:
            if not os.path.lexists(path):
                continue
            raise OperationError(
                f"{path}, which tells of a place with deployments, is damaged",
                hint="remove it; each place registers itself again with the next deploy or build from there",
            )
        found[path] = Root(record["kind"], Path(record["path"]))
    return found


@contextmanager
def leased(store: Store, uses: Sequence[Use]) -> Iterator[None]:
    """Keep these images while the block runs, without holding up anybody who removes others.

    The caller holds the store with `shared` when this begins.
    """
    path = store.root / "leases" / secrets.token_hex(8)
    with explained(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with explained(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, sealed({"uses": [asdict(use) for use in uses]}))
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def leases(store: Store) -> tuple[Use, ...]:
    """What deploys that run need."""
    found: list[Use] = []
    for path in sorted((store.root / "leases").glob("*")):
        with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
            if not _take(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB):
                found += (Use(**use) for use in (unsealed(file.read()) or {"uses": []})["uses"])
    return tuple(found)


def dead(store: Store) -> tuple[Path, ...]:
    """The leases of processes that were killed, and what registers places that are no more.

    The caller holds the store with `alone`.
    """
    found = [path for path, root in registered(store).items() if not exists(root.path)]
    for path in sorted((store.root / "leases").glob("*")):
        with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
            if _take(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB):
                found.append(path)
    return tuple(found)


def exists(place: Path) -> bool:
    """Whether a place is there. Raises OperationError where that cannot be told."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OperationError(
            f"cannot tell what {place} needs of the store: {error.strerror}",
            hint="run it as a user who can read that",
        ) from error
    return True


@contextmanager
def shared(store: Store, watch: Watcher) -> Iterator[None]:
    """Build in the store: nothing is removed from it meanwhile. Not reentrant."""
    with _file(store, "use") as use:
        with _file(store, "gate") as gate:
            _wait(gate, fcntl.LOCK_SH, "i2kit images prune", watch)
            _wait(use, fcntl.LOCK_SH, "i2kit images prune", watch)
        yield


@contextmanager
def alone(store: Store, watch: Watcher) -> Iterator[None]:
    """Remove from the store: waits for those who build in it, and those who come later wait here."""
    with _file(store, "gate") as gate, _file(store, "use") as use:
        _wait(gate, fcntl.LOCK_EX, "another i2kit images prune", watch)
        _wait(use, fcntl.LOCK_EX, "builds that are running", watch)
        yield


@contextmanager
def _file(store: Store, name: Literal["use", "gate"]) -> Iterator[int]:
    path = store.root / f"{name}.lock"
    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, how: int, whom: str, watch: Watcher) -> None:
    if not _take(descriptor, how | fcntl.LOCK_NB):
        watch(Note(f"waiting for {whom} to finish"))
        fcntl.flock(descriptor, how)


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
