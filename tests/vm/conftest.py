"""What machine tests share: the base, made once of the distribution's packages, and pods on it."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import i2kit.image
from i2kit import settings
from i2kit.events import ignore
from i2kit.image import base
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Container, MachineImage, Pairs, Workload
from i2kit.settings import Settings
from tests.vm.lua import Lua, unpacked
from tests.vm.machine import busybox_image

Build = Callable[..., MachineImage]


@pytest.fixture(scope="session")
def build_settings(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a store that outlives the run: packages are fetched once, and never into the user's."""
    return replace(
        settings.load(),
        store_dir=pytestconfig.cache.mkdir("store"),
        lock_file=tmp_path_factory.mktemp("lock") / "i2kit.lock",
    )


@pytest.fixture(scope="session")
def store(build_settings: Settings) -> Store:
    return Store(build_settings.store_dir)


@pytest.fixture(scope="session")
def the_base(store: Store, build_settings: Settings) -> Base:
    return base.ensure(store=store, lock_file=build_settings.lock_file, locked=False, watch=ignore)


@pytest.fixture(scope="session")
def lua(store: Store, the_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Lua:
    return unpacked(store, the_base, tmp_path_factory.mktemp("guest"))


@pytest.fixture(scope="session")
def image(store: Store, the_base: Base) -> str:
    """The reference of an image with the shell and its programs."""
    return busybox_image(store, the_base).pinned


@pytest.fixture(scope="session")
def build(store: Store, the_base: Base, build_settings: Settings) -> Build:
    """Make the machine image of containers that run busybox."""

    def build(*containers: Container, hosts: Pairs = ()) -> MachineImage:
        pod = tuple(
            replace(one, image=busybox_image(store, the_base, one.image).pinned) for one in containers
        )
        return i2kit.image.build(Workload("test", pod, hosts=hosts), settings=build_settings)

    return build


@pytest.fixture
def machine_settings(build_settings: Settings, the_base: Base) -> Iterator[Settings]:
    """Settings of a machine where nothing runs; at the end there is nothing left of it."""
    # Short: the folder holds Unix sockets.
    with tempfile.TemporaryDirectory(prefix="i2kit-") as folder:
        yield replace(build_settings, state_dir=Path(folder) / "state", run_dir=Path(folder) / "run")
        assert list(Path(folder).iterdir()) == []
        assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if mentions(path, folder)] == []


def mentions(cmdline: Path, text: str) -> bool:
    """Whether a process was started with this text in its arguments."""
    try:
        return text.encode() in cmdline.read_bytes()
    except OSError:
        return False
