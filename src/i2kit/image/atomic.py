"""Small files that are whole or not there, whenever this program or the machine ends."""

import os
import tempfile
from pathlib import Path

from i2kit.errors import OperationError


def write(path: Path, text: str, hint: str | None = None) -> None:
    """Write a file that everyone may read, with the folders it lies in. Raises OperationError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            aside = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OperationError(f"cannot write {path}: {error.strerror}", hint=hint) from error
