"""Images that were made to do harm, from an OCI layout to the machine's filesystem.

Each runs in a process of its own that may have no more than 512 MB of address space, beside a folder
that nothing may be written to. test_flatten.py and test_sources.py have more kinds, one by one.
"""

import gzip
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.registries import digest_of, make_image, write_layout
from tests.image.tars import Member, entry, hardlink, tar_bytes
from tests.image.test_filesystem import Found, Reader

MEMORY_BYTES = 512_000_000

BUILD = """
import json, resource, sys
from pathlib import Path

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)

from i2kit.errors import I2kitError
from i2kit.image import sources
from i2kit.image.sources import layers
from i2kit.image.tree.filesystem import write_erofs
from i2kit.image.tree.flatten import flatten
from i2kit.image.store import Store

# The real limits for what is unpacked would take a minute and 20 GB.
layers.UNSUSPICIOUS_BYTES = 128 << 20

folder = Path(sys.argv[1])
store = Store(folder / "store")
message = ""
try:
    image = sources.resolve(sys.argv[2], store=store)
    paths = sources.pull(image, store=store)
    write_erofs(flatten(paths), folder / "root", order=paths)
except I2kitError as error:
    message = str(error)
# Not RUSAGE_SELF: that counts what the tests' own process had before this program took its place.
status = Path("/proc/self/status").read_text()
own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(json.dumps({"message": message, "peak_bytes": peak * 1024}))
"""


@dataclass(frozen=True)
class Outcome:
    message: str
    """Why the image was refused, or empty."""
    root: Path
    outside: Path


def build(folder: Path, layers: Iterable[bytes], compress: Callable[[bytes], bytes] = bytes) -> Outcome:
    """Make the root filesystem of an image with these layers, with everything that must hold of it."""
    outside, inside = folder / "outside", folder / "inside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    inside.mkdir()
    layout = write_layout(folder / "layout", {"1": make_image(list(layers), compress=compress)})
    before = files(folder, but=inside)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, inside, f"oci:{layout}", str(MEMORY_BYTES)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=outside,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["peak_bytes"] < MEMORY_BYTES
    assert files(folder, but=inside) == before
    assert set(inside.iterdir()) <= {inside / "store", inside / "root"}
    return Outcome(answer["message"], inside / "root", outside)


def files(folder: Path, *, but: Path) -> dict[Path, tuple[int, int]]:
    """All files below a folder, with what changes if they are written to."""
    return {
        path: (path.lstat().st_mode, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if but not in (path, *path.parents)
    }


def held(outcome: Outcome) -> dict[str, Found]:
    assert outcome.message == ""
    return Reader(outcome.root).tree()


# Ways out


def test_names_stay_inside(tmp_path: Path) -> None:
    outside = f"{tmp_path}/outside"
    members = [
        entry(f"{outside}/absolute", b"1"),
        entry("link", link=outside),
        entry("link/through", b"2"),
        entry("up", link="../../../../../../../../.." + outside),
        entry("up/above", b"3"),
        hardlink("own", "link/through"),
    ]
    found = held(build(tmp_path, [tar_bytes(members)]))
    inside = outside.lstrip("/")
    for path, data in {"absolute": b"1", "through": b"2", "above": b"3"}.items():
        assert found[f"{inside}/{path}"].data == data
    assert found["own"].number == found[f"{inside}/through"].number


@pytest.mark.parametrize(
    "member",
    [
        entry("../outside/escaped", b"x"),
        entry("a/../../outside/escaped", b"x"),
        entry("../outside/secret", link="/dev/null"),
        entry("../outside/.wh.secret", b""),
        hardlink("stolen", "../outside/secret"),
    ],
    ids=["name", "name inside", "symlink", "whiteout", "hardlink"],
)
def test_a_way_upwards_is_refused(tmp_path: Path, member: Member) -> None:
    assert "leads upwards" in build(tmp_path, [tar_bytes([member])]).message


def test_a_hardlink_to_a_file_of_this_machine(tmp_path: Path) -> None:
    secret = f"{tmp_path}/outside/secret"
    direct = build(tmp_path, [tar_bytes([hardlink("stolen", secret)])])
    assert "does not exist at this point" in direct.message


def test_a_whiteout_through_a_symlink_removes_inside(tmp_path: Path) -> None:
    lower = [entry("d/secret", b""), entry("link", link="/d"), entry("out", link=f"{tmp_path}/outside")]
    upper = [entry("link/.wh.secret", b""), entry("out/.wh.secret", b"")]
    assert set(held(build(tmp_path, [tar_bytes(lower), tar_bytes(upper)]))) == {"", "d", "link", "out"}


# Floods


def tar_of(members: Iterator[tarfile.TarInfo]) -> bytes:
    return b"".join(member.tobuf() for member in members) + bytes(1024)


def members(count: int, name: str, type: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """A tar of empty entries, faster than by tarfile; `{}` in the name is the entry's number."""

    def each() -> Iterator[tarfile.TarInfo]:
        for number in range(count):
            member = tarfile.TarInfo(name.format(number))
            member.type = type
            for key, value in fields.items():
                setattr(member, key, value)
            yield member

    return tar_of(each())


@pytest.mark.parametrize("type", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_flood_of_special_files(tmp_path: Path, type: bytes) -> None:
    outcome = build(tmp_path, [members(10_001, "dev/{}", type, devmajor=8, devminor=1)])
    assert "entry `dev/10000`: the image has more than 10,000 devices and pipes" in outcome.message


def test_a_hundred_thousand_files(tmp_path: Path) -> None:
    outcome = build(tmp_path, [members(100_000, "srv/{}")])
    assert outcome.message == ""
    assert Reader(outcome.root).count == 100_002


def test_more_files_than_memory(tmp_path: Path) -> None:
    outcome = build(tmp_path, [tarfile.TarInfo("again").tobuf() * 300_001])
    assert "more than 300,000 entries" in outcome.message


def test_long_names_through_a_symlink(tmp_path: Path) -> None:
    # 100,000 paths of 2,000 bytes each, in a layer that has none of them.
    deep = "/".join(["d" * 200] * 10)
    layers = [tar_bytes([entry(f"{deep}/"), entry("s", link=deep)]), members(100_000, "s/{}")]
    assert "the image's paths have more than 64 MiB" in build(tmp_path, layers, gzip_fast).message


def test_a_flood_of_attributes(tmp_path: Path) -> None:
    value = "x" * 60_000
    many = (entry(f"f{number}", b"", pax={"SCHILY.xattr.user.x": value}) for number in range(1200))
    assert "more than 64 MiB of names and attributes" in build(tmp_path, [tar_bytes(many)], gzip_fast).message


# Bombs


def gzip_fast(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)


def zstd(data: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-qc", *options], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("squeeze", [gzip_fast, zstd], ids=["gzip", "zstd"])
def test_a_bomb(tmp_path: Path, squeeze: Callable[[bytes], bytes]) -> None:
    # Both formats may be concatenated, so a gigabyte of zeros takes no gigabyte to make.
    bomb = squeeze(bytes(64 << 20)) * 16
    outcome = build(tmp_path, [b"not known before"], lambda _: bomb)
    assert "unpacks to more than" in outcome.message
    store = tmp_path / "inside/store"
    assert sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) < 10 << 20


def test_a_zstd_layer_that_asks_for_two_gigabytes_of_memory(tmp_path: Path) -> None:
    # RFC 8878, 3.1.1: a frame with a window of 2 GiB (exponent 21), and a block that repeats one byte.
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 21 << 3]) + (1 << 20 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    outcome = build(tmp_path, [b"not known before"], lambda _: frame)
    assert "cannot be decompressed" in outcome.message and "memory" in outcome.message


def test_a_file_that_claims_to_be_large(tmp_path: Path) -> None:
    member = tarfile.TarInfo("large")
    member.size = 1 << 60
    assert "cut off" in build(tmp_path, [member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)]).message


# Damage


@pytest.mark.parametrize("cut", [100, 512 + 3000, 8192])
def test_a_truncated_layer(tmp_path: Path, cut: int) -> None:
    whole = tar_bytes([entry("a", b"x" * 6000), entry("b", b"y" * 6000)])
    assert "cannot be read: cut off" in build(tmp_path, [whole[:cut]]).message


@pytest.mark.parametrize("squeeze", [gzip_fast, zstd], ids=["gzip", "zstd"])
def test_a_compressed_layer_that_is_another(tmp_path: Path, squeeze: Callable[[bytes], bytes]) -> None:
    other = tar_bytes([entry("other", b"")])
    outcome = build(tmp_path, [tar_bytes([entry("a", b"")])], lambda _: squeeze(other))
    assert "does not hold what the image's config says" in outcome.message
    assert not list((tmp_path / "inside/store").rglob(digest_of(other).removeprefix("sha256:")))


# Oddities that are no attack


def test_duplicate_entries(tmp_path: Path) -> None:
    twice = [
        entry("file", b"first"),
        entry("file", b"second", mode=0o600),
        entry("both/inside", b""),
        entry("both", b"a file"),
        entry("other", b"a file"),
        entry("other/"),
        entry("target", b"old"),
        hardlink("link", "target"),
        entry("target", b"new"),
    ]
    found = held(build(tmp_path, [tar_bytes(twice)]))
    assert set(found) == {"", "file", "both", "other", "target", "link"}
    assert (found["file"].data, found["file"].mode) == (b"second", 0o600)
    assert found["both"].data == b"a file"
    assert found["other"].kind == "directory"
    assert (found["target"].data, found["link"].data) == (b"new", b"old")
    assert (found["target"].links, found["link"].links) == (1, 1)


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = ["caf\udce9", "\udcff\udcfe", "new\nline", "\x1b[2J", "back\\slash", "'\"$(x)", "日本", " "]
    layer = tar_bytes([entry(f"d/{name}", name.encode(errors="surrogateescape")) for name in names])
    found = held(build(tmp_path, [layer]))
    assert {path for path in found if path.startswith("d/")} == {f"d/{name}" for name in names}
    assert all(found[f"d/{name}"].data == name.encode(errors="surrogateescape") for name in names)


def test_long_names(tmp_path: Path) -> None:
    longest, path = "n" * 255, "/".join(["p" * 130, "q" * 130])
    (tmp_path / "held").mkdir()
    found = held(build(tmp_path / "held", [tar_bytes([entry(longest, b"1"), entry(path, b"2")])]))
    assert (found[longest].data, found[path].data) == (b"1", b"2")
    outcome = build(tmp_path, [tar_bytes([entry("n" * 260, b"")])])
    assert "a part of its name is longer than 255 bytes" in outcome.message
