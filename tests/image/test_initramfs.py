"""The cpio writer, judged by cpio itself and by busybox, whichever is installed."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key
from i2kit.image.tree.initramfs import INIT, LIST, select, write_cpio


def tree(source: Path) -> Tree:
    source.write_bytes(b"0123456789")
    entries = (
        Entry("", Kind.DIRECTORY, 0o755),
        Entry("bin", Kind.DIRECTORY, 0o755),
        Entry("bin/busybox", Kind.FILE, 0o755, content=Content(5, source, 3), link_group=7),
        Entry("bin/empty", Kind.FILE, 0o600, content=Content(0)),
        Entry("bin/sh", Kind.FILE, 0o755, content=Content(5, source, 3), link_group=7),
        Entry("init", Kind.SYMLINK, 0o777, target="bin/sh"),
        Entry("n\udcff", Kind.FILE, 0o444, content=Content(3, data=b"abc")),
        Entry("pipe", Kind.FIFO, 0o640),
    )
    return tuple(replace(entry, uid=os.getuid(), gid=os.getgid(), mtime_s=1492533000) for entry in entries)


def cpio() -> list[str]:
    if shutil.which("cpio"):
        return ["cpio"]
    if shutil.which("busybox"):
        return ["busybox", "cpio"]
    pytest.skip("neither cpio nor busybox is installed")


def test_cpio_extracts_the_tree(tmp_path: Path) -> None:
    archive, out = tmp_path / "initrd", tmp_path / "out"
    out.mkdir()
    write_cpio(tree(tmp_path / "source"), archive)
    with archive.open("rb") as data:
        subprocess.run([*cpio(), "-i", "-d", "-m"], stdin=data, cwd=out, check=True, capture_output=True)
    assert sorted(os.fsencode(path.relative_to(out)) for path in out.rglob("*")) == [
        b"bin",
        b"bin/busybox",
        b"bin/empty",
        b"bin/sh",
        b"init",
        b"n\xff",
        b"pipe",
    ]
    assert (out / "bin/busybox").read_bytes() == b"34567"
    assert (out / "bin/busybox").stat().st_mode == 0o100755
    assert (out / "bin/busybox").stat().st_mtime == 1492533000
    assert (out / "bin/busybox").samefile(out / "bin/sh")
    assert (out / "bin/empty").stat().st_size == 0
    assert (out / "init").readlink() == Path("bin/sh")
    assert (out / "pipe").stat().st_mode == 0o010640


def test_devices_and_the_trailer(tmp_path: Path) -> None:
    console = Entry("console", Kind.CHARACTER_DEVICE, 0o600, device=(5, 1))
    write_cpio((Entry("", Kind.DIRECTORY, 0o755), console), tmp_path / "initrd")
    data = (tmp_path / "initrd").read_bytes()
    assert data.startswith(b"070701" + b"00000001" + b"00002180")
    assert data[78:94] == b"0000000500000001"
    assert data.endswith(b"TRAILER!!!\0\0\0\0")
    assert len(data) % 4 == 0


def test_same_bytes_whatever_the_folder(tmp_path: Path) -> None:
    archives = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write_cpio(tree(folder / "source"), folder / "initrd")
        archives.append((folder / "initrd").read_bytes())
    assert archives[0] == archives[1]


def root(listed: bytes) -> Tree:
    folders = ("", "bin", "lib", "lib/modules", "usr", "usr/lib", "usr/lib/i2kit")
    entries = [Entry(path, Kind.DIRECTORY, 0o755) for path in folders]
    for path in ("bin/busybox", "bin/other", "lib/modules/erofs.ko", INIT):
        entries.append(Entry(path, Kind.FILE, 0o755, content=Content(1, data=b"x")))
    entries.append(Entry(LIST, Kind.FILE, 0o644, content=Content(len(listed), data=listed)))
    return tuple(sorted(entries, key=lambda entry: sort_key(entry.path)))


def test_the_list_selects_files_and_the_folders_above_them() -> None:
    chosen = select(root(b"bin/busybox\nlib/modules/erofs.ko\n"))
    assert [entry.path for entry in chosen] == [
        "",
        "bin",
        "bin/busybox",
        "init",
        "lib",
        "lib/modules",
        "lib/modules/erofs.ko",
    ]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (root(b"bin/missing\n"), "names /bin/missing, which is not there"),
        (tuple(entry for entry in root(b"") if entry.path != INIT), f"it has no /{INIT}"),
        (tuple(entry for entry in root(b"") if entry.path != LIST), f"it has no /{LIST}"),
        (root(b"\xff\x1b[2J\n"), r"names /\\udcff\\x1b\[2J, which is not there"),
        (root(bytes((1 << 20) + 1)), f"/{LIST} has 1,048,577 bytes"),
    ],
)
def test_a_root_that_cannot_boot(tree: Tree, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(tree)


@pytest.mark.parametrize("path", ["d/" * 2047 + "ff", "TRAILER!!!"])
def test_names_that_linux_would_pass_over(path: str, tmp_path: Path) -> None:
    entry = Entry(path, Kind.FILE, 0o644, content=Content(1, data=b"x"))
    with pytest.raises(InputError, match="an initramfs cannot hold /"):
        write_cpio((Entry("", Kind.DIRECTORY, 0o755), entry), tmp_path / "initrd")
