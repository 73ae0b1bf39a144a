"""A base in a store whose disk loses bytes: the same is made again, with no word in the lock file."""

import os
import shutil
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.events import Event, Note, Warned
from i2kit.image import base
from i2kit.image.base import boot, lock
from i2kit.image.base.components import Files
from i2kit.image.base.packages import Index
from i2kit.image.store import Store
from i2kit.image.template import Base
from tests.image.repository import Repository, base_packages


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository(tmp_path / "repository", monkeypatch)
    base_packages(found)
    found.update()

    def core_image(store: Store, parts: Mapping[str, bytes], program: Files) -> bytes:
        return b"core of " + b" ".join(sorted(parts.values()))

    # The program that makes it is not in these packages.
    monkeypatch.setattr(boot, "core_image", core_image)
    return found


def memo_of(machine: "Machine") -> Path:
    recorded = lock.read(machine.lock_file)
    assert recorded
    return base._memo(Store(machine.root), recorded.packages, recorded.distribution)


class Machine:
    """One store and one lock file; `told` is what the last `ensure` said."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.lock_file = folder / "i2kit.lock"
        self.told: list[Event] = []

    def ensure(self) -> tuple[Base, str]:
        self.told = []
        store = Store(self.root, self.told.append)
        made = base.ensure(store=store, lock_file=self.lock_file, locked=False, watch=self.told.append)
        return made, self.lock_file.read_text()

    def notes(self) -> list[str]:
        return [event.message for event in self.told if isinstance(event, Note)]

    def files(self, *folders: str) -> list[Path]:
        paths = (path for name in folders for path in sorted((self.root / name).rglob("*")))
        return [path for path in paths if path.is_file() and path.stat().st_size]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARMS: tuple[Callable[[Path], None], ...] = (flip, cut, put_a_folder, Path.unlink)


def test_damage_to_any_part_of_the_base(repository: Repository, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    whole = machine.ensure()
    packages = {path for path in machine.files("blobs") if path.read_bytes().startswith(b"!<arch>")}
    assert len(packages) > 5
    needed = {path for path in packages if path.name in whole[1]}
    memos = machine.files("base")
    # Of two memos one was of all packages that were looked at, and nobody reads it again.
    unread = {path for path in memos if path.name != memo_of(machine).name} | packages - needed
    for path, harm in zip([*machine.files("blobs"), *memos], cycle(HARMS)):
        if path in unread:
            continue
        machine.ensure()
        path.chmod(0o600)
        harm(path)
        if path in packages:
            # A package is read when something is made of it.
            shutil.rmtree(machine.root / "base")
        assert machine.ensure() == whole, (path, harm)
        assert not [event for event in machine.told if isinstance(event, Warned)], (path, harm)
        if harm is not Path.unlink:
            assert any("damaged" in note for note in machine.notes()), (path, harm)
    assert machine.ensure() == whole
    assert machine.notes() == []


def test_a_damaged_package_that_no_mirror_has_any_more(repository: Repository, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    whole = machine.ensure()
    base_packages(repository, "2")
    for path in machine.files("blobs"):
        if path.read_bytes().startswith(b"!<arch>"):
            path.chmod(0o600)
            flip(path)
    assert machine.ensure() == whole, "what was made of it is there"
    shutil.rmtree(machine.root / "base")
    repository.update()
    newer, _ = machine.ensure()
    assert newer != whole[0]
    assert any("moved on" in event.message for event in machine.told if isinstance(event, Warned))


@pytest.mark.parametrize("harm", HARMS[:3])
def test_damaged_lists_of_packages(
    repository: Repository, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    machine = Machine(tmp_path)
    whole = machine.ensure()
    Index(Store(machine.root)).refresh()
    for path in machine.files("apt"):
        path.chmod(0o600)
        harm(path)
    for name in ("base", "blobs"):
        shutil.rmtree(machine.root / name)
    try:
        again = machine.ensure()
    except OperationError as error:
        pytest.fail(str(error))
    assert again == whole
