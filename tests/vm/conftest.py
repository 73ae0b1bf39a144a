"""What machine tests share: the base, made once of the distribution's packages, and pods on it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

import i2kit.image
from i2kit import settings
from i2kit.events import ignore
from i2kit.image import base
from i2kit.image.store import Store
from i2kit.model import Container, MachineImage, Workload
from i2kit.settings import Settings
from tests.vm.machine import busybox_image

Build = Callable[..., MachineImage]


@pytest.fixture(scope="session")
def vm_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The user's own store, where packages are fetched once on a machine, not once a run."""
    return replace(settings.load(), lock_file=tmp_path_factory.mktemp("lock") / "i2kit.lock")


@pytest.fixture(scope="session")
def build(vm_settings: Settings) -> Build:
    """Make the machine image of containers that run busybox."""
    store = Store(vm_settings.store_dir)
    found = base.ensure(store=store, lock_file=vm_settings.lock_file, locked=False, watch=ignore)

    def build(*containers: Container) -> MachineImage:
        pod = tuple(replace(one, image=busybox_image(store, found, one.image)) for one in containers)
        return i2kit.image.build(Workload("test", pod), settings=vm_settings)

    return build
