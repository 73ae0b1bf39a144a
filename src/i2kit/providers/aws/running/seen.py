"""The templates that this machine saw last, for plans without a network. One file per region and stack.

Templates hold no secrets. What can't be written or read is as if it had never been seen.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def remember(folder: Path, stack: str, template: Mapping[str, Any]) -> None:
    """Note what a stack was told to be; whole, or not at all."""
    _write(_file(folder, stack), template)


def _write(file: Path, data: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        text = json.dumps(data)
        with contextlib.suppress(OSError):
            if file.read_text() == text:
                return
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w") as writing:
                writing.write(text)
                writing.flush()
                os.fsync(descriptor)
            Path(aside).replace(file)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def recall(folder: Path, stack: str) -> Mapping[str, Any] | None:
    """What a stack was when this machine saw it last; None where it did not."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_file(folder, stack).read_text())
        if isinstance(found, dict):
            return found
    return None


def note_failure(folder: Path, stack: str, revision: int, reason: str) -> None:
    """Note why a revision failed, where this machine knows more of it than a stack's events tell."""
    known = {str(number): text for number, text in failures(folder, stack).items()}
    _write(_failures(folder, stack), {**known, str(revision): reason})


def failures(folder: Path, stack: str) -> Mapping[int, str]:
    """The reasons that this machine noted, by revision."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_failures(folder, stack).read_text())
        if isinstance(found, dict):
            return {int(number): str(text) for number, text in found.items()}
    return {}


def forget(folder: Path, stack: str) -> None:
    """And leave no empty folders: `folder` is a region's in the provider's in that of all state."""
    with contextlib.suppress(OSError):
        _file(folder, stack).unlink(missing_ok=True)
        _failures(folder, stack).unlink(missing_ok=True)
        for one in (folder, *folder.parents[:2]):
            one.rmdir()


def _file(folder: Path, stack: str) -> Path:
    return folder / f"{stack}.json"


def _failures(folder: Path, stack: str) -> Path:
    """Beside the template: no stack's name has a dot."""
    return folder / f"{stack}.failures.json"
