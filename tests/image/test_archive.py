"""Tar files that every tar reads, with the same bytes everywhere."""

import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2kit.errors import OperationError
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key
from i2kit.image.tree.archive import write_tar
from i2kit.image.tree.flatten import flatten

ROOT = Entry("", Kind.DIRECTORY, 0o755)


def file(path: str, data: bytes = b"", **fields: object) -> Entry:
    return Entry(path, Kind.FILE, 0o644, content=Content(len(data), data=data), **fields)  # type: ignore[arg-type]


def written(folder: Path, *entries: Entry) -> Path:
    out = folder / "out.tar"
    write_tar((ROOT, *sorted(entries, key=lambda entry: sort_key(entry.path))), out)
    return out


def everything(folder: Path) -> Tree:
    source = folder / "source"
    source.write_bytes(b"-" * 7 + b"x" * 3000)
    shared = Content(4, data=b"same")
    return (
        Entry("dev", Kind.DIRECTORY, 0o1777, uid=1, gid=2, mtime_s=3),
        Entry("dev/null", Kind.CHARACTER_DEVICE, 0o666, device=(1, 3)),
        Entry("dev/sda", Kind.BLOCK_DEVICE, 0o660, device=(4095, 1048575)),
        Entry("dev/pipe", Kind.FIFO, 0o600),
        Entry("link", Kind.SYMLINK, 0o777, target="dev/null"),
        Entry("far", Kind.SYMLINK, 0o777, target="long/" * 40),
        Entry("from", Kind.FILE, 0o4755, content=Content(3000, source, 7)),
        file("a", b"same", link_group=1),
        Entry("b", Kind.FILE, 0o644, content=shared, link_group=1),
        file("n" * 100, b"1"),
        file("n" * 101, b"2"),
        file("ü", b"3"),
        file("caf\udce9", b"4", xattrs=(("user.x", b"\x00\xff"), ("security.capability", b"cap"))),
        file("who", b"5", uid=2**32 - 2, gid=2**21, mtime_s=2**32 - 1),
    )


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    out = written(tmp_path, *everything(tmp_path))
    assert out.stat().st_size % 512 == 0
    found = {entry.path: entry for entry in flatten([out])}
    for entry in everything(tmp_path):
        read = found.pop(entry.path)
        for name in ("kind", "mode", "uid", "gid", "mtime_s", "target", "device"):
            assert getattr(read, name) == getattr(entry, name), (entry.path, name)
        assert read.xattrs == tuple(sorted(entry.xattrs))
        assert (read.content.read() if read.content else b"") == (
            entry.content.read() if entry.content else b""
        )
    assert set(found) == {""}
    entries = {entry.path: entry for entry in flatten([out])}
    assert entries["a"].link_group == entries["b"].link_group > 0


def test_others_read_the_same(tmp_path: Path) -> None:
    out = written(tmp_path, *everything(tmp_path))
    with tarfile.open(out) as archive:
        assert [member.name for member in archive] == sorted(
            (entry.path for entry in everything(tmp_path)), key=sort_key
        )
        assert archive.getmember("b").linkname == "a"
        assert archive.getmember("who").uid == 2**32 - 2
    listing = subprocess.run(["tar", "-tf", out], capture_output=True, check=True).stdout
    assert listing.count(b"\n") == len(everything(tmp_path))
    assert b"\ndev/\n" in listing


def test_plain_trees_need_no_extended_headers(tmp_path: Path) -> None:
    out = written(tmp_path, Entry("etc", Kind.DIRECTORY, 0o755), file("etc/" + "n" * 96, b"hello"))
    data = out.read_bytes()
    assert len(data) == (2 + 1 + 2) * 512
    assert (data[156:157], data[512 + 156 : 512 + 157]) == (b"5", b"0")


def test_a_source_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"short")
    entry = Entry("a", Kind.FILE, 0o644, content=Content(6, tmp_path / "source"))
    with pytest.raises(OperationError, match="ends early"):
        written(tmp_path, entry)


NAMES = st.binary(min_size=1, max_size=200).filter(lambda name: b"/" not in name and b"\0" not in name)


@given(NAMES, NAMES, st.binary(max_size=50))
@settings(max_examples=100, deadline=None)
def test_any_name(tmp_path_factory: pytest.TempPathFactory, name: bytes, target: bytes, value: bytes) -> None:
    path, leads = (text.decode("utf-8", "surrogateescape") for text in (name, target))
    if path in (".", "..") or path.startswith(".wh."):
        return
    out = tmp_path_factory.getbasetemp() / "any.tar"
    out.unlink(missing_ok=True)
    write_tar((ROOT, Entry(path, Kind.SYMLINK, 0o777, target=leads, xattrs=(("user.x", value),))), out)
    _, found = flatten([out])
    assert (found.path, found.target, found.xattrs) == (path, leads, (("user.x", value),))
