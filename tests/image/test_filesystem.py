"""The erofs writer against two judges: a reader written from the format's text, and fsck.erofs."""

import errno
import os
import random
import shutil
import stat
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2kit.errors import OperationError
from i2kit.image.tree import Content, Entry, Kind, Tree, filesystem, sort_key
from i2kit.image.tree.filesystem import crc32c, write_erofs

XATTR_NAMES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
}
KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
}
DIRENT_KINDS = dict(
    enumerate((Kind.FILE, Kind.DIRECTORY, Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE, Kind.FIFO), start=1)
) | {7: Kind.SYMLINK}


@dataclass
class Found:
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_s: int
    links: int
    number: int
    data: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]


class Reader:
    """Reads what the image holds, checking on the way what Linux checks."""

    def __init__(self, path: Path) -> None:
        self.image = path.read_bytes()
        magic, checksum, compat, bits, slots, root = struct.unpack_from("<IIIBBH", self.image, 1024)
        assert (magic, compat, bits, slots) == (0xE0F5E1E2, 3, 12, 0)
        block = bytearray(self.image[1024:4096])
        block[4:8] = bytes(4)
        assert crc32c(bytes(block)) == checksum
        self.root = root
        (self.count,) = struct.unpack_from("<Q", self.image, 1024 + 16)
        blocks, self.metadata_block = struct.unpack_from("<II", self.image, 1024 + 36)
        assert len(self.image) == blocks * 4096

    def inode(self, number: int) -> Found:
        at = self.metadata_block * 4096 + number * 32
        form, icount, mode, size, union, _, uid, gid, mtime, nsec, links = struct.unpack_from(
            "<HHHxxQIIIIqII", self.image, at
        )
        assert form & 1
        assert nsec == 0
        layout = form >> 1
        xattr_bytes = 12 + 4 * (icount - 1) if icount else 0
        kind = KINDS[stat.S_IFMT(mode)]
        device = (0, 0)
        data = b""
        if kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE):
            device = (union >> 8 & 0xFFF, union & 0xFF | union >> 12 & 0xFFF00)
        elif layout == 0:
            data = self.image[union * 4096 :][:size] if size else b""
        else:
            assert layout == 2
            body = size // 4096 * 4096
            inline = at + 64 + xattr_bytes
            assert inline // 4096 == (inline + size - body - 1) // 4096, "inline data cross a block"
            data = self.image[union * 4096 :][:body] + self.image[inline:][: size - body]
        assert len(data) == size
        xattrs = tuple(self.xattrs(at + 64 + 12, at + 64 + xattr_bytes))
        return Found(kind, mode & 0o7777, uid, gid, mtime, links, number, data, device, xattrs)

    def xattrs(self, at: int, end: int) -> Iterator[tuple[str, bytes]]:
        while at < end:
            name_bytes, prefix, value_bytes = struct.unpack_from("<BBH", self.image, at)
            name = self.image[at + 4 :][:name_bytes].decode(errors="surrogateescape")
            yield XATTR_NAMES[prefix] + name, self.image[at + 4 + name_bytes :][:value_bytes]
            at += -(-(4 + name_bytes + value_bytes) // 4) * 4

    def names(self, directory: Found) -> Iterator[tuple[bytes, int, Kind]]:
        last = b""
        for start in range(0, len(directory.data), 4096):
            block = directory.data[start : start + 4096]
            (first_name,) = struct.unpack_from("<H", block, 8)
            heads = [struct.unpack_from("<QHB", block, offset) for offset in range(0, first_name, 12)]
            ends = [offset for _, offset, _ in heads[1:]] + [len(block)]
            for (number, offset, kind), end in zip(heads, ends, strict=True):
                name = block[offset:end].rstrip(b"\0")
                assert name > last, "the entries must be sorted: Linux searches them by halves"
                last = name
                yield name, number, DIRENT_KINDS[kind]

    def tree(self) -> dict[str, Found]:
        found: dict[str, Found] = {}

        def visit(path: str, number: int, parent: int) -> None:
            here = found[path] = self.inode(number)
            if here.kind is not Kind.DIRECTORY:
                return
            names = {name: (child, kind) for name, child, kind in self.names(here)}
            assert names.pop(b".") == (number, Kind.DIRECTORY)
            assert names.pop(b"..") == (parent, Kind.DIRECTORY)
            for name, (child, kind) in names.items():
                text = name.decode(errors="surrogateescape")
                visit(f"{path}/{text}" if path else text, child, number)
                assert found[f"{path}/{text}" if path else text].kind is kind

        visit("", self.root, self.root)
        return found


def bytes_of(entry: Entry) -> bytes:
    if entry.kind is Kind.SYMLINK:
        return os.fsencode(entry.target)
    content = entry.content
    if content is None:
        return b""
    if content.source is None:
        return content.data
    with content.source.open("rb") as source:
        source.seek(content.offset_bytes)
        return source.read(content.size_bytes)


def check(tree: Tree, image: Path) -> None:
    """The image holds exactly the tree."""
    reader = Reader(image)
    found = reader.tree()
    assert sorted(found) == sorted(entry.path for entry in tree)
    assert reader.count == len({there.number for there in found.values()})
    groups: dict[int, set[int]] = {}
    for entry in tree:
        there = found[entry.path]
        assert (there.kind, there.mode, there.uid, there.gid, there.mtime_s, there.device) == (
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime_s,
            entry.device,
        )
        assert there.xattrs == tuple(sorted(entry.xattrs))
        if entry.kind is Kind.DIRECTORY:
            inside = f"{entry.path}/" if entry.path else ""
            folders = [
                other.path
                for other in tree
                if other.kind is Kind.DIRECTORY
                and other.path.startswith(inside)
                and other.path != entry.path
                and "/" not in other.path[len(inside) :]
            ]
            assert there.links == 2 + len(folders)
        else:
            assert there.data == bytes_of(entry)
            group = [other for other in tree if entry.link_group and other.link_group == entry.link_group]
            assert there.links == max(1, len(group))
            if group:
                groups.setdefault(entry.link_group, set()).add(there.number)
    assert all(len(numbers) == 1 for numbers in groups.values())


def with_parents(entries: list[Entry]) -> Tree:
    paths = {"": Entry("", Kind.DIRECTORY, 0o755), **{entry.path: entry for entry in entries}}
    for entry in entries:
        path = entry.path
        while path:
            path = path.rpartition("/")[0]
            paths.setdefault(path, Entry(path, Kind.DIRECTORY, 0o755))
    return tuple(sorted(paths.values(), key=lambda entry: sort_key(entry.path)))


def file(path: str, data: bytes = b"", **fields: object) -> Entry:
    entry = Entry(path, Kind.FILE, 0o644, content=Content(len(data), data=data))
    return replace(entry, **fields)  # type: ignore[arg-type]


names = st.one_of(
    st.sampled_from(["a", "!", "-", ".x", "..y", "~", "ä", "日本", "with space", "\udcff\udc80", "n" * 255]),
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12),
).filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 255)
targets = st.one_of(
    names, st.sampled_from([3700, 4031, 4032, 4033, 4095]).map(lambda size: ("t/" * size)[-size:-1] + "t")
)
sizes = st.sampled_from([0, 1, 100, 2000, 4031, 4032, 4033, 4095, 4096, 4097, 8128, 8192, 12345, 100_000])
xattrs = st.lists(
    st.tuples(
        st.sampled_from(["user.a", "user.longer.name", "trusted.t", "security.capability", "security.x"]),
        st.binary(max_size=300),
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: tuple(sorted(pairs)))


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    directories = [""]
    entries: list[Entry] = []
    taken = {""}
    for _ in range(draw(st.integers(0, 14))):
        parent = draw(st.sampled_from(directories))
        name = draw(names)
        path = f"{parent}/{name}" if parent else name
        if path in taken:
            continue
        taken.add(path)
        kind = draw(st.sampled_from(list(Kind)))
        entry = Entry(
            path,
            kind,
            draw(st.integers(0, 0o7777)),
            uid=draw(st.sampled_from([0, 1000, 65535, 65536, 2**32 - 2])),
            gid=draw(st.sampled_from([0, 33, 2**31])),
            mtime_s=draw(st.sampled_from([0, 1492533000, 2**33, -5])),
            xattrs=draw(xattrs),
            layer=draw(st.sampled_from([None, Path("base"), Path("app")])),
        )
        if kind is Kind.DIRECTORY:
            directories.append(path)
        elif kind is Kind.FILE:
            size = draw(sizes)
            entry = replace(entry, content=Content(size, data=os.fsencode(path)[:1] * size))
        elif kind is Kind.SYMLINK:
            entry = replace(entry, target=draw(targets))
        elif kind is not Kind.FIFO:
            entry = replace(entry, device=draw(st.sampled_from([(1, 3), (8, 0), (254, 70000), (4095, 255)])))
        entries.append(entry)
        if kind is Kind.FILE and draw(st.booleans()):
            group = len(taken)
            entries[-1] = replace(entry, link_group=group)
            other = f"{parent}/{name[:60]}.link" if parent else f"{name[:60]}.link"
            if other not in taken:
                taken.add(other)
                entries.append(replace(entries[-1], path=other))
    return with_parents(entries)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees(), piece_bytes=st.sampled_from([None, 10_000, 50_000]))
def test_the_image_holds_the_tree(tree: Tree, piece_bytes: int | None, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        if piece_bytes:
            small_pieces(patch, piece_bytes)
        write_erofs(tree, image, order=[Path("base"), Path("app")])
    check(tree, image)


def small_pieces(patch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    """Makes trees of few files as intricate as those of a hundred megabytes."""
    for name, value in {
        "PIECE_BYTES": piece_bytes,
        "PIECE_STEP": 16384,
        "PIECE_GAP_EVERY": piece_bytes // 2,
        "PART_BYTES": piece_bytes // 3,
        "PART_STEP": 8192,
        "PART_GAP_EVERY": piece_bytes // 6,
    }.items():
        patch.setattr(filesystem, name, value)


def judged(tree: Tree, folder: Path) -> Path:
    """Extract the tree by erofs-utils; skips the test where that is not installed."""
    if shutil.which("fsck.erofs") is None:
        pytest.skip("fsck.erofs is not installed")
    image, out = folder / "image", folder / "out"
    write_erofs(tree, image)
    # Not for root alone: else the modes are cut by the umask.
    subprocess.run(
        ["fsck.erofs", "--preserve-perms", f"--extract={out}", image], check=True, capture_output=True
    )
    return out


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees())
def test_erofs_utils_agrees(tree: Tree, tmp_path: Path) -> None:
    # Devices and other owners can be made by root alone, and a directory must stay readable.
    tree = tuple(
        replace(
            entry, mode=entry.mode & 0o777 | 0o700, uid=os.getuid(), gid=os.getgid(), mtime_s=7, xattrs=()
        )
        for entry in tree
        if entry.kind not in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
    )
    folder = tmp_path / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch, 20_000)
        out = judged(tree, folder)
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert found == sorted(entry.path for entry in tree if entry.path)
    for entry in tree:
        path = out / entry.path
        status = path.lstat()
        assert KINDS[stat.S_IFMT(status.st_mode)] is entry.kind
        if entry.kind is Kind.SYMLINK:
            assert str(path.readlink()) == entry.target
        elif entry.kind is Kind.FILE:
            assert path.read_bytes() == bytes_of(entry)
            assert stat.S_IMODE(status.st_mode) == entry.mode


def test_regions_of_files(tmp_path: Path) -> None:
    """Contents come from regions of a layer's tar; equal regions are stored once."""
    layer = tmp_path / "layer.tar"
    layer.write_bytes(bytes(range(256)) * 400)
    region = Content(50_000, layer, 512)
    tree = with_parents(
        [
            Entry("a", Kind.FILE, 0o644, content=region),
            Entry("b", Kind.FILE, 0o644, content=replace(region)),
            Entry("c", Kind.FILE, 0o644, content=Content(9000, layer, 70_001)),
            Entry("d", Kind.FILE, 0o644, content=Content(10, layer, 3)),
        ]
    )
    image = tmp_path / "image"
    write_erofs(tree, image)
    check(tree, image)
    once = tmp_path / "once"
    write_erofs(tree[:2] + tree[3:], once)
    assert image.stat().st_size == once.stat().st_size


def test_big_directory_and_deep_paths(tmp_path: Path) -> None:
    many = [file(f"many/{number:05}-{'x' * (number % 200)}", b"%d" % number) for number in range(10_000)]
    deep = file("/".join("d" * 60), b"deep")
    tree = with_parents([*many, deep])
    image = tmp_path / "image"
    write_erofs(tree, image)
    found = Reader(image).tree()
    assert len(found) == len(tree)
    assert all(found[entry.path].data == bytes_of(entry) for entry in many)


# What keeps its place when something changes

APP = "containers/services/web/lower/srv/node_modules"


@dataclass(frozen=True)
class Machine:
    """A base, an application and a generated file, with contents that are nowhere the same."""

    folder: Path
    entries: tuple[Entry, ...]

    def blocks(self, entries: Sequence[Entry] = (), *, uuid: int = 0) -> list[int]:
        """Checksums of the 512 KiB blocks of the image, with these entries instead of its own."""
        image = self.folder / "image"
        image.unlink(missing_ok=True)
        write_erofs(
            with_parents(list(entries or self.entries)),
            image,
            uuid=bytes([uuid]) * 16,
            order=[self.folder / "base", self.folder / "app"],
        )
        with image.open("rb") as file:
            return [zlib.crc32(block) for block in iter(lambda: file.read(512 << 10), b"")]

    def changed(self, change: Callable[[Entry], list[Entry]], path: str) -> list[int]:
        """Which blocks differ after one entry has become these; as in builds, the image's id does too."""
        entries = [new for one in self.entries for new in (change(one) if one.path == path else [one])]
        before, after = self.blocks(), self.blocks(entries, uuid=1)
        return [n for n, block in enumerate(after) if n >= len(before) or block != before[n]]


def machine(folder: Path, base_bytes: int, app_bytes: int, app_files: int) -> Machine:
    chance = random.Random(7)
    entries = [file("containers/services/web/config.json", b"{}" * 900)]
    base_files = app_files // 2
    for name, files, size in (("base", base_files, base_bytes), ("app", app_files, app_bytes)):
        source = folder / name
        source.write_bytes(chance.randbytes(size))
        # Sizes as in real images: most are a few kilobytes, few are most of the bytes.
        weights = [chance.lognormvariate(8, 1.5) for _ in range(files)]
        at = 0
        for number, weight in enumerate(weights):
            path = f"{APP}/p{number // 10:03}/f{number}.js" if name == "app" else f"usr/lib/{number}.so"
            content = Content(int(weight * size / sum(weights)), source, at)
            at += content.size_bytes
            entries.append(Entry(path, Kind.FILE, 0o644, content=content, layer=source))
    return Machine(folder, tuple(entries))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return machine(tmp_path_factory.mktemp("large"), 100_000_000, 30_000_000, 3000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return machine(tmp_path_factory.mktemp("small"), 1_000_000, 1_000_000, 30)


def of_size(grow: int) -> Callable[[Entry], list[Entry]]:
    """The entry with other contents and another size."""

    def change(entry: Entry) -> list[Entry]:
        assert entry.content
        size = entry.content.size_bytes + grow
        return [replace(entry, content=Content(size, data=b"other" * size))]

    return change


CHANGES: dict[str, Callable[[Entry], list[Entry]]] = {
    "same size": of_size(0),
    "one byte more": of_size(1),
    "64 KiB more": of_size(64 << 10),
    "removed": lambda entry: [],
    "added": lambda entry: [entry, *of_size(500)(replace(entry, path=f"{entry.path}.new"))],
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_in_the_last_layer_changes_few_blocks(large: Machine, what: str) -> None:
    # What outgrows the gap behind its piece moves the rest of its layer: with 64 KiB, one file in eight.
    changed = large.changed(CHANGES[what], f"{APP}/p210/f2100.js")
    blocks = len(large.blocks())
    assert len(changed) <= max(8, blocks * 5 // 100)
    # The base is in the first three quarters of the image. Before it is what changes with everything.
    assert changed[0] == 0
    assert all(number > 100e6 / (512 << 10) for number in changed[1:])


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_in_a_small_image_changes_few_blocks(small: Machine, what: str) -> None:
    assert len(small.changed(CHANGES[what], f"{APP}/p001/f15.js")) <= 4


def test_a_change_of_the_configuration_changes_the_ends(large: Machine) -> None:
    changed = large.changed(of_size(30), "containers/services/web/config.json")
    blocks = len(large.blocks())
    assert changed[0] == 0
    assert all(number >= blocks - 2 for number in changed[1:])


def test_gaps_are_few(large: Machine, small: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def size(machine: Machine) -> int:
        machine.blocks()
        return (machine.folder / "image").stat().st_size

    with_gaps = size(large), size(small)
    for name in ("PIECE_STEP", "PART_STEP"):
        monkeypatch.setattr(filesystem, name, 4096)
    without = size(large), size(small)
    assert with_gaps[0] <= without[0] * 1.06
    assert with_gaps[1] <= without[1] + (128 << 10)


def test_same_bytes_whatever_the_folder(tmp_path: Path) -> None:
    images = []
    for folder in (tmp_path / "one", tmp_path / "two" / "deeper"):
        folder.mkdir(parents=True)
        (folder / "layer").write_bytes(b"layer" * 5000)
        tree = with_parents([Entry("x", Kind.FILE, 0o644, content=Content(25_000, folder / "layer"))])
        write_erofs(tree, folder / "image", label="i2kit", uuid=bytes(range(16)))
        images.append((folder / "image").read_bytes())
    assert images[0] == images[1]
    assert images[0][1024 + 48 : 1024 + 48 + 21] == bytes(range(16)) + b"i2kit"


def test_unknown_xattrs_are_left_out(tmp_path: Path) -> None:
    entry = file(
        "a", xattrs=(("com.apple.provenance", b"1"), ("security.capability", b"\1\0\0\2" + bytes(16)))
    )
    write_erofs(with_parents([entry]), tmp_path / "image")
    found = Reader(tmp_path / "image").tree()["a"]
    assert found.xattrs == (("security.capability", b"\1\0\0\2" + bytes(16)),)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (file("n" * 256), "longer than 255 bytes"),
        (Entry("l", Kind.SYMLINK, 0o777, target="t" * 4096), "too long"),
        (file("x", xattrs=(("user.a", bytes(70_000)),)), "`user.a` of `x` is too long"),
    ],
)
def test_what_erofs_cannot_hold(entry: Entry, message: str, tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=message):
        write_erofs(with_parents([entry]), tmp_path / "image")


def test_copies_where_the_kernel_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "layer").write_bytes(os.urandom(3_000_000))
    entry = Entry("a", Kind.FILE, 0o644, content=Content(2_999_000, tmp_path / "layer", 1000))
    write_erofs(with_parents([entry]), tmp_path / "image")
    check(with_parents([entry]), tmp_path / "image")


@pytest.mark.parametrize(("offset", "size"), [(0, 10_001), (9_990, 11), (10_001, 8192)])
def test_a_source_that_ends_early(offset: int, size: int, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(bytes(10_000))
    entry = Entry("usr", Kind.FILE, 0o644, content=Content(size, tmp_path / "layer", offset))
    with pytest.raises(OperationError, match=r"`usr` from .*layer: the file ends too early"):
        write_erofs(with_parents([entry]), tmp_path / "image")


def test_crc32c() -> None:
    # The check value of CRC-32C (RFC 3720, B.4), which is inverted at the end.
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283
