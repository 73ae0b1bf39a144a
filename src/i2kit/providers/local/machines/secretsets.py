"""The secrets of deployments on disk: for each set of values one file that only its user can read.

In: `model.secrets_text`. Out: the name of a set, which is random and says nothing of the values. Each
revision of a deployment keeps its set for as long as it can be gone back to.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.providers.local.layout import Layout


def new_name() -> str:
    """The name for a set that is not kept yet."""
    return secrets.token_hex(8)


def name_of(layout: Layout, key: str, text: str) -> str | None:
    """The name of the deployment's set that holds just this."""
    for path in _kept(layout.secrets / key):
        with contextlib.suppress(OSError):
            if secrets.compare_digest(path.read_bytes(), text.encode()):
                return path.name
    return None


def read(layout: Layout, key: str, name: str) -> str:
    """What a set holds. OperationError where it is gone."""
    path = layout.secrets / key / name
    try:
        return path.read_text()
    except OSError as error:
        raise OperationError(
            f"the secrets of {key} cannot be read: {path}: {error.strerror}", hint="deploy it again"
        ) from error


def keep(layout: Layout, key: str, name: str, text: str) -> None:
    """Write a set aside, sync it, and give it its name. OSError where that cannot be done."""
    folder = layout.secrets / key
    for one in (layout.secrets, folder.parent, folder):
        one.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = folder / f"{name}.new"
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / name)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def forget_others(layout: Layout, needed: Mapping[str, Collection[str]]) -> None:
    """Remove every set that no deployment needs, by key, and the folders that are empty then."""
    for folder in layout.secrets.glob("*/*"):
        key = f"{folder.parent.name}/{folder.name}"
        if key not in needed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for path in folder.iterdir():
                if path.name not in needed[key]:
                    path.unlink(missing_ok=True)
        for empty in (folder, folder.parent, layout.secrets):
            with contextlib.suppress(OSError):
                empty.rmdir()


def _kept(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if not path.suffix)
    return []
