"""qcow2 and VHD against qemu-img."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from i2kit.image.disk.virtualdisk import (
    CLUSTER,
    data_positions,
    geometry,
    make_vhd,
    reference_room,
    write_qcow2,
)

MIB = 1 << 20
ID = uuid.UUID(int=7)

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-utils")


def qemu_img(*words: str | Path) -> Any:
    done = subprocess.run(["qemu-img", *words, "--output=json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def disk(path: Path, size: int, *places: int) -> Path:
    """A raw disk with 4 KiB of data at each of the places, and zeros that are no hole at 1 MiB."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(MIB)
        file.write(bytes(2 * CLUSTER))
        for place in places:
            file.seek(place)
            file.write(b"data" * 1024)
    return path


@needs_qemu_img
@pytest.mark.parametrize(
    ("size", "places"),
    [
        (2 * MIB, ()),
        (3 * MIB, (0, 70_000, 3 * MIB - 4096)),
        # More than one table: one is about 512 MiB.
        (3 << 30, (5, 512 * MIB - 4096, 512 * MIB, (3 << 30) - 4096)),
    ],
)
def test_qcow2(tmp_path: Path, size: int, places: tuple[int, ...]) -> None:
    raw, out = disk(tmp_path / "raw", size, *places), tmp_path / "qcow2"
    write_qcow2(raw, out)
    checked = qemu_img("check", "-f", "qcow2", out)
    assert checked["check-errors"] == 0
    assert not {"leaks", "corruptions"} & checked.keys()
    assert qemu_img("info", out)["virtual-size"] == size
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out], check=True)
    assert out.stat().st_size <= (len(places) * 3 + 5) * CLUSTER, "zeros take no room"


def test_reference_counts_count_themselves() -> None:
    for clusters in (1, 32_766, 32_767, 32_768, 10_000_000, 300_000_000):
        table, blocks = reference_room(clusters)
        assert blocks // CLUSTER * (CLUSTER // 2) >= clusters + (table + blocks) // CLUSTER
        assert table // 8 >= blocks // CLUSTER
        assert blocks // CLUSTER * (CLUSTER // 2) - clusters < CLUSTER, "no more than needed"


@needs_qemu_img
@pytest.mark.parametrize("size", [2 * MIB, 27 * MIB, 600 * MIB, 3 << 30])
def test_vhd(tmp_path: Path, size: int) -> None:
    raw, vhd = disk(tmp_path / "raw", size), disk(tmp_path / "vhd", size)
    make_vhd(vhd, ID)
    # Neither kilobytes nor a track are lost: clouds refuse sizes that are no whole megabytes.
    assert qemu_img("info", "-f", "vpc", vhd)["virtual-size"] == size
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "vpc", raw, vhd], check=True)
    with vhd.open("rb") as file:
        file.seek(size)
        footer = file.read()
    assert len(footer) == 512
    assert footer.startswith(b"conectix")
    assert int.from_bytes(footer[64:68]) == ~sum(footer[:64] + footer[68:]) & 0xFFFFFFFF
    assert footer[68:84] == ID.bytes


def test_geometry_is_the_one_of_the_specification() -> None:
    # From the appendix' rules, computed by hand for a 27 MiB and a 40 GiB disk.
    assert geometry(27 * MIB) == (813, 4, 17)
    assert geometry(40 << 30) == (20560, 16, 255)


def test_positions_skip_holes(tmp_path: Path) -> None:
    with disk(tmp_path / "raw", 64 * MIB, 40 * MIB).open("rb") as file:
        found = list(data_positions(file.fileno(), MIB))
    assert found == [MIB, 40 * MIB] or len(found) == 64, "a file system without holes has data everywhere"
