"""Golden files: generated text as it stood at the last review, so that a change shows as a diff.

UPDATE_GOLDEN=1 writes them anew.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")


def check(name: str, text: str) -> None:
    """Compare `text` with tests/golden/NAME."""
    file = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert file.exists(), f"{file} is missing; UPDATE_GOLDEN=1 pytest writes it"
    assert text == file.read_text(), f"differs from {file}; if that is meant: UPDATE_GOLDEN=1 pytest"
