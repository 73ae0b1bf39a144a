"""The kernel of our own: what holds of a machine with the distribution's holds with it, in less memory.

It is compiled once, beside other tests, and kept in a store of its own, since a base takes the kernel that
its store has.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import i2kit.image
from i2kit import settings
from i2kit.events import ignore
from i2kit.image import base, disk
from i2kit.image.base import boot, kernel_build
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Container, MachineImage, Workload
from i2kit.settings import Settings
from tests.vm import own_kernel
from tests.vm.machine import as_volume, booted, booted_disk, busybox_image, container

# The same tests again: in this module `build` means another kernel.
from tests.vm.test_guest import (
    WEB,
    test_containers_that_fail,
    test_log_lines,
    test_metadata_service,
    test_no_channels,
    test_pod,
    test_user_data_on_a_disk,
)

__all__ = (
    "test_containers_that_fail",
    "test_log_lines",
    "test_metadata_service",
    "test_no_channels",
    "test_pod",
    "test_user_data_on_a_disk",
)

# Compiling takes minutes, and a loaded machine much longer.
pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

Build = Callable[..., MachineImage]


@pytest.fixture(scope="module")
def own_settings(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    if missing := kernel_build.missing_packages():
        pytest.skip(f"compiling a kernel takes packages that `make setup` could not install: {missing}")
    return replace(
        settings.load(),
        store_dir=own_kernel.store_dir(pytestconfig),
        lock_file=tmp_path_factory.mktemp("lock") / "i2kit.lock",
    )


@pytest.fixture(scope="module")
def own_base(own_settings: Settings) -> Base:
    kernel = own_kernel.prepare(own_settings)
    store = Store(own_settings.store_dir)
    found = base.ensure(store=store, lock_file=own_settings.lock_file, locked=False, watch=ignore)
    assert found.kernel == kernel.image
    return found


@pytest.fixture(scope="module")
def build(own_settings: Settings, own_base: Base) -> Build:
    store = Store(own_settings.store_dir)

    def build(*containers: Container) -> MachineImage:
        pod = tuple(
            replace(one, image=busybox_image(store, own_base, one.image).pinned) for one in containers
        )
        return i2kit.image.build(Workload("test", pod), settings=own_settings)

    return build


def test_a_small_machine_without_an_initramfs(build: Build, tmp_path: Path) -> None:
    """The smallest machine that is promised, and the memory that it may use."""
    built = build(container("web", f"uname -r; ls /lib/modules 2>&1; {WEB}"))
    assert built.direct
    assert built.kernel.read_bytes()[:4] == b"\x7fELF"
    assert built.vmlinuz.stat().st_size < 6_500_000
    assert built.memory_floor_bytes == 48 << 20
    with booted(built, tmp_path, "ready_port=80\n", memory_mb=48) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("control", "ready")
        total_kb, available_kb = map(int, machine.wait_for("control", "memory").split()[1:])
        assert total_kb - available_kb < 16 << 10
        machine.wait_for("log", lambda line: line.endswith("-i2kit"))
        assert machine.console.read_text() == "", "nothing was missed: no module, no mount point"


def test_as_firmware_starts_it_with_an_initramfs(build: Build, tmp_path: Path) -> None:
    built = build(container("web", WEB))
    built = replace(built, kernel=built.vmlinuz, direct=False)
    with booted(built, tmp_path, "ready_port=80\n", memory_mb=64) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("control", "ready")


def test_on_a_disk_without_an_initramfs(
    build: Build, own_settings: Settings, own_base: Base, tmp_path: Path
) -> None:
    """As in EC2: UEFI, NVMe, and the kernel finds its root by the partition's name."""
    built = build(container("web", f"cat /proc/cmdline; {WEB}"))
    identity = bytes.fromhex(built.id)[:16]
    root = f"PARTLABEL={disk.label(identity)}"
    parts = disk.Parts(
        kernel=built.vmlinuz,
        initrd=None,
        root=built.root,
        cmdline=f"{built.arguments(root)} rootwait",
        identity=identity,
        loader=boot.load(Store(own_settings.store_dir), own_base.boot),
    )
    volume = as_volume(disk.write("raw", parts, tmp_path), tmp_path / "volume.raw")
    with booted_disk([volume], tmp_path, "hostname=on-disk\n", firmware="uefi", bus="nvme") as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("console", lambda line: root in line)
