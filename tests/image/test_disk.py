"""The disk against sfdisk, fsck.fat and mtools; what varies in it, and what does not."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.image import disk
from i2kit.image.base import boot
from tests.image import programs

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 512 * KIB
IDENTITY = bytes(range(16))
NAME = "i2kit-0001020304050607"
CMDLINE = f"console=ttyS0 root=PARTLABEL={NAME} ro"
LOADER = boot.Loader(programs.pe(), bytes(range(256)) * 2, b"\xe9" * 100_000)
KERNEL = programs.pe() + bytes(range(1, 200)) * 7001
INITRD = b"070701" * 70_001
ROOT = b"r" * 1000 + bytes(300_000) + b"s" * (3 * MIB) + bytes(5 * MIB) + b"t" * 5000


@pytest.fixture
def parts(tmp_path: Path) -> disk.Parts:
    for name, content in {"kernel": KERNEL, "initrd": INITRD, "root": ROOT}.items():
        (tmp_path / name).write_bytes(content)
    return disk.Parts(tmp_path / "kernel", tmp_path / "initrd", tmp_path / "root", CMDLINE, IDENTITY, LOADER)


def written(parts: disk.Parts, folder: Path) -> bytes:
    folder.mkdir()
    return disk.write("raw", parts, folder).read_bytes()


def changed_blocks(one: bytes, another: bytes) -> set[int]:
    assert len(one) == len(another)
    return {
        at // BLOCK for at in range(0, len(one), BLOCK) if one[at : at + BLOCK] != another[at : at + BLOCK]
    }


@pytest.mark.skipif(not shutil.which("sfdisk"), reason="needs fdisk")
@pytest.mark.parametrize("has_root", [True, False])
def test_sfdisk_reads_the_table(parts: disk.Parts, tmp_path: Path, has_root: bool) -> None:
    out = tmp_path / "disk"
    disk.write_raw(parts if has_root else replace(parts, root=None), out)
    said = subprocess.run(["sfdisk", "--verify", out], capture_output=True, text=True)
    assert said.returncode == 0
    assert "No errors detected" in said.stdout, said
    assert out.stat().st_size % MIB == 0
    shown = subprocess.run(["sfdisk", "--json", out], check=True, capture_output=True).stdout
    table = json.loads(shown)["partitiontable"]
    assert table["label"] == "gpt"
    names = [partition["name"] for partition in table["partitions"]]
    assert names == ["bios", "esp", NAME][: 2 + has_root]
    starts = [partition["start"] * 512 for partition in table["partitions"]]
    assert starts[1] == 256 * KIB
    assert all(start % BLOCK == 0 for start in starts[2:])
    esp = table["partitions"][1]
    assert esp["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    assert (esp["start"] + esp["size"]) * 512 % BLOCK == 0
    guids = [table["id"], *(partition["uuid"] for partition in table["partitions"])]
    assert len(set(guids)) == len(guids)
    if has_root:
        assert out.read_bytes()[starts[2] : starts[2] + len(ROOT)] == ROOT


@pytest.mark.skipif(
    not (shutil.which("fsck.fat") and shutil.which("mcopy")), reason="needs dosfstools, mtools"
)
def test_the_efi_partition_holds_kernel_and_initramfs(parts: disk.Parts, tmp_path: Path) -> None:
    content = written(parts, tmp_path / "out")
    volume, program = tmp_path / "volume", tmp_path / "program"
    sectors = int.from_bytes(content[256 * KIB + 32 : 256 * KIB + 36], "little") or int.from_bytes(
        content[256 * KIB + 19 : 256 * KIB + 21], "little"
    )
    volume.write_bytes(content[256 * KIB : 256 * KIB + sectors * 512])
    checked = subprocess.run(["fsck.fat", "-n", volume], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    subprocess.run(["mcopy", "-i", volume, "::EFI/BOOT/BOOTX64.EFI", program], check=True)
    assert program.read_bytes() in content, "it lies in one piece"
    for part in (CMDLINE.encode(), KERNEL, INITRD):
        assert program.read_bytes().count(part) == 1
    assert content.index(KERNEL) == BLOCK, "where it is on every disk"


def test_grub_is_told_where_everything_is(parts: disk.Parts, tmp_path: Path) -> None:
    parts = replace(parts, cmdline=f'{CMDLINE} what="two words"')
    content = written(parts, tmp_path / "out")
    assert content[510:512] == b"\x55\xaa"
    first, core = content[:440], content[34 * 512 :]
    # The fields of include/grub/i386/pc/boot.h.
    assert int.from_bytes(first[0x5C:0x64], "little") == 34
    assert first[0x66:0x68] == b"\x90\x90"
    untouched = [*range(0x5C), *range(0x64, 0x66), *range(0x68, 440)]
    assert all(first[at] == LOADER.boot[at] for at in untouched)
    assert int.from_bytes(core[0x1F4:0x1FC], "little") == 35
    assert core[0x1FC : len(LOADER.core)] == LOADER.core[0x1FC:]

    at, length = map(int, re.findall(r"\d+", boot.CONFIG))
    config = content[at * 512 : (at + length) * 512].decode()
    assert config.endswith("\n\n"), "no bytes that GRUB's shell would stumble on"
    linux, initrd, last = config.split("\n", 3)[:3]
    assert last == "boot"
    assert linux.endswith(f" console=ttyS0 root=PARTLABEL={NAME} ro 'what=two words'")
    for line, expected in ((linux, KERNEL), (initrd, INITRD)):
        start, count = map(int, re.findall(r"\(\$root\)(\d+)\+(\d+)", line)[0])
        found = content[start * 512 : (start + count) * 512]
        assert found.rstrip(b"\0") == expected
        assert len(found) - len(expected) < 512


def test_the_same_parts_give_the_same_bytes(
    parts: disk.Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    for name in disk.FORMATS:
        disk.write(name, parts, first)
    monkeypatch.chdir(second)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    # The same, but holes where there were zeros.
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.write(ROOT[:1000])
        file.seek(301_000)
        file.write(ROOT[301_000:])
    umask = os.umask(0o077)
    try:
        for name in disk.FORMATS:
            disk.write(name, replace(parts, root=sparse), second)
    finally:
        os.umask(umask)
    assert {path.name for path in second.iterdir()} == {"disk.raw", "disk.qcow2", "disk.vhd"}
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_what_changes_with_what(parts: disk.Parts, tmp_path: Path) -> None:
    one = written(parts, tmp_path / "one")
    last = len(one) // BLOCK - 1
    other_arguments = written(replace(parts, cmdline="quiet " + CMDLINE), tmp_path / "arguments")
    assert changed_blocks(one, other_arguments) == {0}
    other_identity = written(replace(parts, identity=bytes(16)), tmp_path / "identity")
    assert changed_blocks(one, other_identity) == {0, last}
    other = bytearray(ROOT)
    other[2 * MIB] ^= 1
    assert parts.root
    parts.root.write_bytes(other)
    root_start = one.index(b"r" * 1000)
    assert changed_blocks(one, written(parts, tmp_path / "other")) == {(root_start + 2 * MIB) // BLOCK}
    parts.root.write_bytes(ROOT + b"u" * (2 * MIB))
    grown = written(parts, tmp_path / "grown")
    assert changed_blocks(one[BLOCK : root_start + len(ROOT)], grown[BLOCK : root_start + len(ROOT)]) == set()


def test_zeros_take_no_room(parts: disk.Parts, tmp_path: Path) -> None:
    out = tmp_path / "disk"
    disk.write_raw(parts, out)
    assert out.read_bytes().count(ROOT) == 1
    filled = len(KERNEL) + len(INITRD) + len(ROOT) - 5 * MIB
    assert out.stat().st_blocks * 512 < filled + 300 * KIB


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cmdline": "x" * 2048}, "the kernel arguments have 2048 bytes"),
        ({"cmdline": "name=it's"}, "cannot be given to GRUB"),
        ({"cmdline": "$ " * 1023}, "too long for the boot loader"),
        ({"loader": replace(LOADER, core=bytes(250_000))}, "GRUB has 250000 bytes"),
    ],
)
def test_what_does_not_fit(
    parts: disk.Parts, tmp_path: Path, change: dict[str, str | boot.Loader], message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        disk.write_raw(replace(parts, **change), tmp_path / "disk")  # type: ignore[arg-type]
    assert not (tmp_path / "disk").exists()


def test_an_initramfs_that_is_too_large(parts: disk.Parts, tmp_path: Path) -> None:
    assert parts.initrd
    os.truncate(parts.initrd, 600 * MIB)
    with pytest.raises(OperationError, match="a boot partition of 601 MiB is not possible, at most 512"):
        disk.write_raw(parts, tmp_path / "disk")
