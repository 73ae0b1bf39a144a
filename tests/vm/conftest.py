"""What machine tests share: the base, made once of the distribution's packages, and an image on it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit import settings
from i2kit.events import ignore
from i2kit.image import base
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Container, Identity, ResolvedImage
from tests.vm import machine
from tests.vm.machine import Built

Build = Callable[..., Built]


@pytest.fixture(scope="session")
def store() -> Store:
    """The user's own store: packages are fetched once on a machine, not once a run."""
    return Store(settings.load().store_dir)


@pytest.fixture(scope="session")
def the_base(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Base:
    lock_file = tmp_path_factory.mktemp("lock") / "i2kit.lock"
    return base.ensure(store=store, lock_file=lock_file, locked=False, watch=ignore)


@pytest.fixture(scope="session")
def busybox(store: Store, the_base: Base) -> ResolvedImage:
    return machine.busybox_image(store, the_base)


@pytest.fixture(scope="session")
def build(
    store: Store, the_base: Base, busybox: ResolvedImage, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """Make a machine image of containers that run busybox."""

    def build(containers: Sequence[Container], identities: dict[str, Identity] | None = None) -> Built:
        folder: Path = tmp_path_factory.mktemp("machine") / "image"
        return machine.build(store, the_base, folder, containers, busybox, identities)

    return build


@pytest.fixture
def machine_settings(
    store: Store, the_base: Base, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[settings.Settings]:
    """Settings of a machine where nothing runs; at the end there is nothing left of it."""
    # Short: the folder holds Unix sockets.
    with tempfile.TemporaryDirectory(prefix="i2kit-") as folder:
        lock_file = tmp_path_factory.getbasetemp() / "i2kit.lock"
        yield replace(
            settings.load(),
            state_dir=Path(folder) / "state",
            run_dir=Path(folder) / "run",
            lock_file=lock_file,
        )
        assert list(Path(folder).iterdir()) == []
        assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if mentions(path, folder)] == []


def mentions(cmdline: Path, text: str) -> bool:
    """Whether a process was started with this text in its arguments."""
    try:
        return text.encode() in cmdline.read_bytes()
    except OSError:
        return False


@pytest.fixture(scope="session")
def image(busybox: ResolvedImage) -> str:
    """The reference of an image with the shell and its programs."""
    return busybox.pinned
