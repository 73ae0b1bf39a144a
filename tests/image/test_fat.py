"""The FAT writer against two judges: fsck.fat and mtools."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import OperationError
from i2kit.image.disk import fat

PATH = "EFI/BOOT/BOOTX64.EFI"
MIB = 1 << 20


def write(folder: Path, size: int, contents: bytes, path: str = PATH) -> Path:
    volume = folder / "volume"
    head = fat.head(size, path, len(contents), serial=b"\x78\x56\x34\x12", first_sector=512)
    assert len(head) == fat.contents_offset(size, path)
    volume.write_bytes(head + contents)
    os.truncate(volume, size)
    return volume


@pytest.mark.skipif(
    not (shutil.which("fsck.fat") and shutil.which("mcopy")), reason="needs dosfstools, mtools"
)
@pytest.mark.parametrize("path", ["FILE.BIN", "EFI/FILE.BIN", PATH])
@pytest.mark.parametrize("size", [4 * MIB, 16 * MIB + 256 * 1024, 512 * MIB])
def test_fsck_and_mtools_read_it(tmp_path: Path, size: int, path: str) -> None:
    contents = os.urandom(MIB + 1)
    volume = write(tmp_path, size, contents, path)
    said = subprocess.run(["fsck.fat", "-n", "-v", volume], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
    assert "FAT size is 16" in said.stdout or "16 bit" in said.stdout, said.stdout
    copy = tmp_path / "copy"
    subprocess.run(["mcopy", "-i", volume, f"::{path}", copy], check=True)
    assert copy.read_bytes() == contents
    listed = subprocess.run(["mdir", "-i", volume, "-/", "::"], check=True, capture_output=True, text=True)
    assert "1234-5678" in listed.stdout


@pytest.mark.skipif(not shutil.which("fsck.fat"), reason="needs dosfstools")
def test_a_volume_can_be_full(tmp_path: Path) -> None:
    size = 5 * MIB
    room = size - fat.contents_offset(size, PATH)
    found = fat.shape(size)
    volume = write(tmp_path, size, bytes(room // found.cluster * found.cluster))
    assert subprocess.run(["fsck.fat", "-n", volume], capture_output=True).returncode == 0
    with pytest.raises(OperationError, match="more than its volume can hold"):
        fat.head(size, PATH, room + found.cluster, serial=bytes(4), first_sector=0)


@given(st.integers(fat.MIN_BYTES // 512, fat.MAX_BYTES // 512))
def test_every_size_is_a_fat16_volume(sectors: int) -> None:
    """Which of the three FATs a volume has follows from its clusters' number alone."""
    found = fat.shape(sectors * 512)
    assert fat.CLUSTERS[0] <= found.clusters <= fat.CLUSTERS[1]
    assert (found.clusters + 2) * 2 <= found.fat <= 33 << 10
    assert found.cluster <= 32 << 10


@pytest.mark.parametrize("size", [fat.MIN_BYTES - 512, fat.MAX_BYTES + 512])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(OperationError, match="a boot partition of"):
        fat.shape(size)
