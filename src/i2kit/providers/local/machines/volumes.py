"""The disks of VMs as files: those of claims, which outlive all else here, and those that go with a VM.

In: names and sizes. Out: open files for QEMU. Nothing here removes a claim's disk but `remove`, which only
`destroy --volumes` asks for. A claim's file is locked as long as a VM has it: QEMU inherits the lock.
"""

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.providers.local.design.claims import KeptVolume
from i2kit.providers.local.layout import Layout

ENDING = ".raw"


def found(layout: Layout) -> tuple[KeptVolume, ...]:
    """All claims' disks that are there, by namespace and name."""
    return tuple(_found(layout))


def _found(layout: Layout) -> Iterator[KeptVolume]:
    for path in sorted(layout.volumes.glob(f"*/*{ENDING}")):
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            yield KeptVolume(path.parent.name, path.stem, size, _owner(path), str(path))


def _owner(path: Path) -> str:
    try:
        return str(json.loads(path.with_suffix(".json").read_text())["deployment"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def attach(layout: Layout, namespace: str, claim: str, size_bytes: int, deployment: str) -> int:
    """The open file of a claim's disk, at least so large, locked: made empty where there was none.

    Raises OperationError where another VM has it, OSError where it cannot be had, as on a full disk.
    """
    path = layout.volumes / namespace / f"{claim}{ENDING}"
    for folder in (layout.volumes, path.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _owner(path) != deployment:
        _note_owner(path.with_suffix(".json"), deployment)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not _lock(fd):
            problem = f"volume {claim} is still attached to another VM"
            raise OperationError(problem, hint="wait until that one is gone")
        if os.fstat(fd).st_size < size_bytes:
            os.ftruncate(fd, size_bytes)
            os.fsync(fd)
        _sync(path.parent)
    except (OSError, OperationError):
        os.close(fd)
        raise
    return fd


def _note_owner(path: Path, deployment: str) -> None:
    aside = path.with_suffix(".new")
    with aside.open("w") as file:
        json.dump({"deployment": deployment}, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def is_attached(layout: Layout, namespace: str, claim: str) -> bool:
    """Whether some process has a claim's disk: QEMU lives a little longer than what confines it."""
    try:
        with (layout.volumes / namespace / f"{claim}{ENDING}").open("rb") as file:
            return not _lock(file.fileno())
    except OSError:
        return False


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(layout: Layout, gone: Sequence[KeptVolume], *, patience_s: float = 15.0) -> None:
    """Remove these disks for good. OperationError where a VM has one yet: that one stays, and those after."""
    deadline = time.monotonic() + patience_s
    for one in gone:
        path = Path(one.path)
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            while not _lock(file.fileno()):
                if time.monotonic() > deadline:
                    problem = f"volume {one.key} is still attached to a VM"
                    raise OperationError(problem, hint="wait until that one is gone")
                time.sleep(0.05)
            path.unlink()
        path.with_suffix(".json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
            layout.volumes.rmdir()


def scratch(layout: Layout, size_bytes: int) -> int:
    """The open file of a disk without a name, which is gone with the last who has it open."""
    fd, path = tempfile.mkstemp(prefix=".scratch-", dir=layout.state_dir)
    Path(path).unlink()
    try:
        os.ftruncate(fd, size_bytes)
    except OSError:
        os.close(fd)
        raise
    return fd


def in_memory(text: str) -> int:
    """An open file with this text that is on no disk, for reading."""
    made = os.memfd_create("text", os.MFD_CLOEXEC)
    with os.fdopen(made, "wb") as file:
        file.write(text.encode())
        file.flush()
        return os.open(f"/proc/self/fd/{made}", os.O_RDONLY | os.O_CLOEXEC)
