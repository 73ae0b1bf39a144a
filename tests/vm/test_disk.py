"""One disk image boots wherever it is put, and its machine serves."""

from pathlib import Path
from typing import Literal

import pytest

from i2kit.image import disk
from i2kit.image.base import boot
from i2kit.image.store import Store
from i2kit.image.template import Base
from tests.vm.conftest import Build
from tests.vm.machine import VOLUME_BYTES, as_volume, booted_disk, container

pytestmark = pytest.mark.vm

WEB = "hostname; cat /proc/cmdline; cat /proc/partitions; echo that is all; httpd -f -p 80 -h /www"
SAID_LAST = "that is all"


@pytest.fixture(scope="module")
def parts(build: Build, store: Store, the_base: Base) -> disk.Parts:
    built = build(container("web", WEB))
    identity = bytes.fromhex(built.id)[:16]
    return disk.Parts(
        kernel=built.vmlinuz,
        initrd=built.initrd,
        root=built.root,
        cmdline=f"{built.arguments(f'PARTLABEL={disk.label(identity)}')} rootwait",
        identity=identity,
        loader=boot.load(store, the_base.boot),
    )


@pytest.mark.parametrize(
    ("firmware", "bus", "format_"),
    [
        ("uefi", "nvme", "raw"),
        ("uefi", "virtio-blk", "qcow2"),
        ("bios", "nvme", "raw"),
        ("bios", "virtio-blk", "vhd"),
    ],
)
def test_boots(
    parts: disk.Parts,
    tmp_path: Path,
    firmware: Literal["uefi", "bios"],
    bus: Literal["nvme", "virtio-blk"],
    format_: str,
) -> None:
    image = disk.write(format_, parts, tmp_path)
    with booted_disk([image], tmp_path, "hostname=from-metadata\n", firmware=firmware, bus=bus) as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("console", lambda line: SAID_LAST in line)
        said = machine.console.read_text(errors="replace")
        assert "web from-metadata" in said
        assert parts.cmdline in said, "the kernel has the arguments as they were given"
        assert {"nvme": "nvme0n1p3", "virtio-blk": "vda3"}[bus] in said


@pytest.mark.parametrize("firmware", ["uefi", "bios"])
def test_boots_from_what_is_uploaded(
    parts: disk.Parts, tmp_path: Path, firmware: Literal["uefi", "bios"]
) -> None:
    """What a cloud makes a volume of is less than the disk, and the volume is larger."""
    volume = as_volume(disk.write("raw", parts, tmp_path), tmp_path / "volume.raw")
    with booted_disk([volume], tmp_path, "hostname=in-ec2\n", firmware=firmware, bus="nvme") as machine:
        assert machine.get() == b"hello\n"
        machine.wait_for("console", lambda line: SAID_LAST in line)
        said = machine.console.read_text(errors="replace")
        assert "web in-ec2" in said, "it has reached the metadata service"
        assert f"{VOLUME_BYTES >> 10} nvme0n1\n" in said, "it is on the larger disk"
        assert "GPT" not in said, "that the table's copy is not at the end is no news"


def test_two_roots(parts: disk.Parts, tmp_path: Path) -> None:
    """A disk with its copy beside it: rather no machine than one that runs something else."""
    image = disk.write("raw", parts, tmp_path)
    with booted_disk([image, image], tmp_path, None, firmware="bios", bus="virtio-blk") as machine:
        assert machine.wait_for_end(60) == 0
        said = machine.console.read_text(errors="replace")
        assert f"there are two partitions {disk.label(parts.identity)}: /dev/vda3 and /dev/vdb3" in said
