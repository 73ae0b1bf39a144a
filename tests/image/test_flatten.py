"""Flattening: what a container runtime would see, from layers that are never unpacked."""

import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2kit.errors import OperationError
from i2kit.image.tree import Entry, Kind, Tree, read_file, sort_key
from i2kit.image.tree.flatten import HostileLayer, flatten
from tests.image.tars import Member, entry, hardlink, tar_bytes, write_tar


def layers(folder: Path, *contents: Sequence[Member]) -> list[Path]:
    return [write_tar(folder / f"layer{i}.tar", *content) for i, content in enumerate(contents)]


def tree_of(folder: Path, *contents: Sequence[Member]) -> Tree:
    return flatten(layers(folder, *contents))


def files(tree: Tree) -> dict[str, bytes | None]:
    """Path → content; None for what is no regular file."""
    return {item.path: read_file(tree, item.path) for item in tree if item.kind is not Kind.DIRECTORY}


def by_path(tree: Tree) -> dict[str, Entry]:
    return {item.path: item for item in tree}


def test_an_image_without_layers_is_an_empty_root() -> None:
    assert flatten([]) == (Entry("", Kind.DIRECTORY, 0o755),)


def test_metadata_and_implicit_parents(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [
            entry("./", mode=0o711, uid=3),
            entry("./usr/bin/su", b"ELF", mode=0o4755, uid=7, gid=8, mtime=1700000000.75),
            entry("/run/pipe", type=tarfile.FIFOTYPE, mode=0o600),
            entry("bin", link="usr/bin"),
            entry("etc/shadow", link="/run/../etc/real"),
        ],
    )
    found = by_path(tree)
    assert [item.path for item in tree] == sorted(found, key=sort_key)
    assert (found[""].mode, found[""].uid) == (0o711, 3)
    assert found["usr"] == Entry("usr", Kind.DIRECTORY, 0o755)
    su = found["usr/bin/su"]
    assert (su.kind, su.mode, su.uid, su.gid, su.mtime_s) == (Kind.FILE, 0o4755, 7, 8, 1700000000)
    assert found["run/pipe"].kind is Kind.FIFO
    assert found["bin"].target == "usr/bin"
    assert found["etc/shadow"].target == "/run/../etc/real"
    assert read_file(tree, "/bin/su") == b"ELF"


@pytest.mark.parametrize("order", [1, -1], ids=["whiteouts last", "whiteouts first"])
def test_whiteouts_remove_lower_entries_only(tmp_path: Path, order: int) -> None:
    lower = [entry("a/old", b"1"), entry("a/kept", b"2"), entry("b/old", b"3"), entry("gone", b"4")]
    upper = [
        entry("a/old", b"new"),
        entry("b/", mode=0o700),
        entry("b/new", b"5"),
        entry("a/.wh.old", b""),
        entry("b/.wh..wh..opq", b""),
        entry(".wh.gone", b""),
    ][::order]
    tree = tree_of(tmp_path, lower, upper)
    assert files(tree) == {"a/old": b"new", "a/kept": b"2", "b/new": b"5"}
    assert by_path(tree)["b"].mode == 0o700


def test_overlayfs_forms_of_whiteouts(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [entry("a/x", b"1"), entry("b/x", b"2")],
        [
            entry("a/x", type=tarfile.CHRTYPE),
            entry("b/", pax={"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.k": "v"}),
            entry("b/new", b"3"),
        ],
    )
    assert files(tree) == {"b/new": b"3"}
    # Left in place, overlayfs in the guest would obey them.
    assert by_path(tree)["b"].xattrs == (("user.k", b"v"),)


def test_a_directory_that_replaces_a_symlink_hides_nothing_elsewhere(tmp_path: Path) -> None:
    # overlayfs marks such a directory opaque; followed through the old link it would empty `target`.
    tree = tree_of(
        tmp_path,
        [entry("target/x", b"1"), entry("dir", link="target")],
        [entry("dir/"), entry("dir/.wh..wh..opq", b""), entry("dir/y", b"2")],
    )
    assert files(tree) == {"target/x": b"1", "dir/y": b"2"}


def test_files_and_directories_replace_each_other(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [entry("a/b/c", b"1"), entry("f", b"2"), entry("link", link="a"), entry("twice", b"3")],
        [
            entry("a", b"file"),
            entry("f/"),
            entry("f/in", b"4"),
            entry("link/"),
            entry("twice", b"5"),
            entry("twice", b"6"),
        ],
    )
    assert files(tree) == {"a": b"file", "f/in": b"4", "twice": b"6"}
    assert by_path(tree)["link"].kind is Kind.DIRECTORY


def test_a_directory_named_again_keeps_what_is_in_it(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [entry("d/x", b"1")], [entry("d/", mode=0o1777, uid=5)])
    assert files(tree) == {"d/x": b"1"}
    assert (by_path(tree)["d"].mode, by_path(tree)["d"].uid) == (0o1777, 5)


def test_hardlinks_share_one_inode(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [entry("bin/a", b"program"), hardlink("bin/b", "/bin/a"), entry("other", b"x")],
        [hardlink("c", "./bin/a"), entry("bin/a", b"newer")],
    )
    found = by_path(tree)
    assert files(tree) == {"bin/a": b"newer", "bin/b": b"program", "c": b"program", "other": b"x"}
    assert found["bin/b"].link_group == found["c"].link_group > 0
    assert found["bin/b"].content is found["c"].content
    assert found["bin/a"].link_group == found["other"].link_group == 0


def test_symlinked_parents_are_followed_inside_the_root(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [
            entry("opt/app/lib", link="/lib"),
            entry("lib", link="/usr/lib"),
            entry("up", link="../../../../up-there"),
            entry("usr/lib/a", b"1"),
        ],
        [
            entry("lib/b", b"2"),
            entry("lib/.wh.a", b""),
            entry("up/x", b"3"),
            hardlink("hard", "lib/b"),
            entry("opt/app/lib/c", b"4"),
        ],
    )
    assert {path: data for path, data in files(tree).items() if data} == {
        "usr/lib/b": b"2",
        "up-there/x": b"3",
        "hard": b"2",
        "usr/lib/c": b"4",
    }


def test_devices_are_kept_wherever_they_are(tmp_path: Path) -> None:
    node = entry("dev/null", type=tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    disk = entry("./srv/mapper/sda", type=tarfile.BLKTYPE, device=(4095, 1048575), uid=5)
    found = by_path(tree_of(tmp_path, [entry("dev/"), node, disk, hardlink("again", "dev/null")]))
    null = found["dev/null"]
    assert (null.kind, null.device, null.mode) == (Kind.CHARACTER_DEVICE, (1, 3), 0o666)
    assert found["again"].device == (1, 3)
    sda = found["srv/mapper/sda"]
    assert (sda.kind, sda.device, sda.uid) == (Kind.BLOCK_DEVICE, (4095, 1048575), 5)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([entry("../../etc/passwd", b"x")], "`../../etc/passwd` leads upwards"),
        ([entry("a/../b", b"x")], "leads upwards"),
        ([hardlink("shadow", "../../etc/shadow")], "leads upwards"),
        ([hardlink("a", "not/there")], "does not exist at this point"),
        ([entry("d/"), hardlink("a", "d")], "hardlink to the directory `d`"),
        ([entry("dev/x", type=tarfile.BLKTYPE, device=(4096, 0))], "a device 4096:0, which does not exist"),
        ([entry("dev/x", type=tarfile.CHRTYPE, device=(0, 1 << 20))], "device 0:1048576, which does not"),
        ([entry("socket", type=b"s")], "unknown type 's'"),
        ([entry("x" * 256, b"")], "longer than 255"),
        ([entry("x/" * 2100 + "y", b"")], "longer than 4095"),
        ([entry("f", b"x"), entry("f/x", b"y")], "lies below `f`, which is a file"),
        ([entry("a", link="b"), entry("b", link="a"), entry("a/x", b"y")], "more than 40 symlinks"),
        ([entry(".", b"x")], "the root is not a directory"),
        ([entry(".wh.", b"")], "names no file"),
        ([entry("d/.wh...", b"")], "names no file"),
        ([entry("nul", link="a\0b", pax={"linkpath": "a\0b"})], "NUL"),
        ([entry("who", b"", uid=2**40)], "does not exist on Linux"),
        ([entry("s", b"", type=b"S")], "sparse"),
        ([entry("s", b"", pax={"GNU.sparse.major": "1"})], "sparse"),
        ([entry("huge", b"", pax={"comment": "x" * (1 << 20)})], "extended header"),
        ([entry("evil\x1b[2J", type=b"s")], "`evil\\x1b[2J`"),
        ([entry("s", link="t" * 4096)], "entry `s`: a symlink whose target is empty or too long"),
        (
            [entry("s", link="n" * 256), entry("s/x", b"")],
            "entry `s/x`: a symlink on its way leads to a name",
        ),
        ([entry("x", b"", pax={"SCHILY.xattr.user." + "n" * 251: "v"})], "entry `x`: the name of an xattr"),
        ([entry("x", b"", pax={"SCHILY.xattr.user.n": "v" * 65_536})], "entry `x`: its xattrs have more"),
        ([entry("x", b"", pax={"SCHILY.xattr.user.a\0b": "v"})], "a damaged extended header"),
        ([entry("x", b"y", pax={"uid": "1.5"})], "`uid` is not a number"),
    ],
)
def test_hostile_layers_are_refused_by_name(tmp_path: Path, members: list[Member], said: str) -> None:
    with pytest.raises(HostileLayer) as caught:
        tree_of(tmp_path, [entry("fine", b"x")], members)
    assert said in caught.value.message
    assert "layer1.tar" in caught.value.message


def test_limits_on_entries_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.tree.flatten.MAX_ENTRIES", 10)
    monkeypatch.setattr("i2kit.image.tree.flatten.MAX_CONTENT_BYTES", 1000)
    with pytest.raises(HostileLayer, match="entries"):
        tree_of(tmp_path, [entry(f"f{i}", b"") for i in range(6)], [entry(f"g{i}", b"") for i in range(6)])
    with pytest.raises(HostileLayer, match="larger than"):
        tree_of(tmp_path, [entry("a", bytes(600))], [entry("a", bytes(600))])
    # Directories that one short entry makes through a symlink count as well.
    with pytest.raises(HostileLayer, match="entries"):
        tree_of(tmp_path, [entry("deep", link="d/" * 50), entry("deep/x", b"")])


def test_a_flood_of_devices_and_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.tree.flatten.MAX_SPECIAL_FILES", 2)
    null = entry("dev/null", type=tarfile.CHRTYPE, device=(1, 3))
    pipe = entry("run/pipe", type=tarfile.FIFOTYPE)
    assert len(tree_of(tmp_path, [null], [pipe])) == 5
    with pytest.raises(HostileLayer, match=r"layer1.tar, entry `run/pipe`: .* 2 devices and pipes"):
        tree_of(tmp_path, [null, entry("f", b"")], [null, pipe])


def test_extended_headers_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.tree.flatten.MAX_RECORDS", 20)
    few = entry("few", b"", pax={f"k{number}": "v" for number in range(15)})
    assert len(tree_of(tmp_path, [few])) == 2
    with pytest.raises(HostileLayer, match=r"layer1.tar, entry .*: .* more than 20 records"):
        tree_of(tmp_path, [few], [few])
    # Nothing says that an entry must follow.
    header = tar_bytes([entry("x", b"", pax={"k": "v"})])[:1024]
    (tmp_path / "headers.tar").write_bytes(header * 20)
    with pytest.raises(HostileLayer, match="more than 20 records"):
        flatten([tmp_path / "headers.tar"])


def test_symlinks_that_lead_far_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.tree.flatten.MAX_STEPS", 4000)
    long = [entry("d/"), entry("s", link="d/../" * 500 + "d"), entry("s/a", b"")]
    assert len(tree_of(tmp_path, long)) == 4
    for again in ([entry(f"s/{number}", b"") for number in range(5)], [hardlink("h", "s/a")] * 5):
        with pytest.raises(HostileLayer, match=r"layer1.tar, entry .* lead through more than 4,000"):
            tree_of(tmp_path, long, again)


def test_letters_count_as_what_they_take_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.tree.flatten.MAX_TEXT_BYTES", 2000)
    assert len(tree_of(tmp_path, [entry("n" * 250, b"")] * 3)) == 2
    with pytest.raises(HostileLayer, match="names and attributes"):
        tree_of(tmp_path, [entry("n" * 199 + "😀", b"")] * 3)


def test_a_path_that_grows_through_symlinks_is_refused(tmp_path: Path) -> None:
    long = "d" * 200
    members = [entry("s0", link=f"{long}/" * 15)]
    members += [entry(f"s{i}", link=f"s{i - 1}/" + f"{long}/" * 15) for i in range(1, 5)]
    with pytest.raises(HostileLayer, match=r"layer0.tar, entry `d.*: its path has more than 4095 bytes"):
        tree_of(tmp_path, [*members, entry("s4/x", b"")])


def test_a_deep_tree_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [entry("d/" * 2000 + "f", b"x")], [entry(".wh.d", b"")])
    assert len(tree) == 1
    assert len(tree_of(tmp_path, [entry("d/" * 2000 + "f", b"x")])) == 2002


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_formats_of_tar(tmp_path: Path, format: int) -> None:
    long = "/".join(["directory-with-a-long-name"] * 4) + "/file"
    # ustar has no room for long link targets.
    target = long if format != tarfile.USTAR_FORMAT else "short"
    path = write_tar(tmp_path / "l.tar", entry(long, b"x"), entry("link", link=target), format=format)
    tree = flatten([path])
    assert read_file(tree, long) == b"x"
    assert by_path(tree)["link"].target == target


def test_of_several_names_for_one_entry_the_one_that_runtimes_take(tmp_path: Path) -> None:
    def headers(name: str, format: int) -> bytes:
        return tar_bytes([entry(name, b"")], format)[:-1024].partition(bytes(8192))[0][:1536][:-512]

    pax = headers("p" * 150, tarfile.PAX_FORMAT)
    gnu = headers("g" * 150, tarfile.GNU_FORMAT)
    plain = tar_bytes([entry("plain", b"")])
    found = {}
    for what, before in {"gnu before": gnu + pax, "gnu behind": pax + gnu, "pax": pax}.items():
        (tmp_path / "layer.tar").write_bytes(before + plain)
        found[what] = flatten([tmp_path / "layer.tar"])[1].path[0]
    assert found == {"gnu before": "g", "gnu behind": "g", "pax": "p"}
    other = headers("q" * 150, tarfile.PAX_FORMAT)
    (tmp_path / "layer.tar").write_bytes(other + pax + plain)
    assert flatten([tmp_path / "layer.tar"])[1].path == "p" * 150


def test_a_slash_at_the_end_of_a_file_s_name(tmp_path: Path) -> None:
    file, old = entry("file/", b"x", type=tarfile.REGTYPE), entry("folder/", type=tarfile.AREGTYPE)
    tree = tree_of(tmp_path, [file, old])
    assert files(tree) == {"file": b"x"}
    assert by_path(tree)["folder"].kind is Kind.DIRECTORY


def test_names_that_are_not_utf8_and_numbers_beyond_octal(tmp_path: Path) -> None:
    member = entry("caf\udce9", b"x", uid=4_000_000_000, mtime=-5)
    path = write_tar(tmp_path / "gnu.tar", member, format=tarfile.GNU_FORMAT)
    found = by_path(flatten([path]))["caf\udce9"]
    assert (found.uid, found.mtime_s) == (4_000_000_000, 0)


def test_xattrs_are_kept(tmp_path: Path) -> None:
    capability = "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    tree = tree_of(tmp_path, [entry("ping", b"x", pax={"SCHILY.xattr.security.capability": capability})])
    assert by_path(tree)["ping"].xattrs == (("security.capability", capability.encode()),)


def test_truncated_layers(tmp_path: Path) -> None:
    whole = tar_bytes([entry("a", b"x" * 700), entry("b", b"y" * 100)])
    path = tmp_path / "layer.tar"
    # Without trailer and padding, as `umoci insert` of Debian 12 writes them.
    path.write_bytes(whole[: 512 + 1024 + 512 + 100])
    assert files(flatten([path])) == {"a": b"x" * 700, "b": b"y" * 100}
    for cut in (100, 512 + 600, 512 + 1024 + 300, 512 + 1024 + 512 + 99):
        path.write_bytes(whole[:cut])
        with pytest.raises(HostileLayer, match=r"layer.tar cannot be read: cut off"):
            flatten([path])
    path.write_bytes(b"<html>" * 200)
    with pytest.raises(HostileLayer, match="cannot be read: no tar header"):
        flatten([path])
    with pytest.raises(OperationError, match="No such file"):
        flatten([tmp_path / "missing"])


@given(st.binary(max_size=3000), st.integers(0, 2000))
@settings(max_examples=100, deadline=None)
def test_damage_is_always_explained(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    whole = bytearray(
        tar_bytes([entry("a/b", b"x" * 10), hardlink("c", "a/b"), entry("p", b"", pax={"k": "v"})])
    )
    whole[at : at + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(whole)
    with suppress(HostileLayer):
        flatten([path])


# The reference model: paths in a dictionary, one layer laid over the other.

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
OPERATIONS = st.one_of(
    st.tuples(st.just("file"), PATHS, st.binary(max_size=4)),
    st.tuples(st.just("directory"), PATHS, st.just(b"")),
    st.tuples(st.just("whiteout"), PATHS, st.just(b"")),
    st.tuples(st.just("opaque"), PATHS, st.just(b"")),
    st.tuples(st.just("hardlink"), PATHS, PATHS.map(str.encode)),
)


class Refused(Exception):
    pass


def overlay(stack: list[list[tuple[str, str, bytes]]]) -> dict[str, bytes | None]:
    """Path → content, None for directories."""
    state: dict[str, bytes | None] = {}

    def drop(path: str) -> None:
        for known in [known for known in state if known.startswith(path + "/")]:
            del state[known]

    for layer in stack:
        for what, path, _ in layer:
            if what == "whiteout":
                drop(path)
                state.pop(path, None)
            if what == "opaque":
                drop(path)
        for what, path, data in layer:
            if what in ("whiteout", "opaque"):
                continue
            parents = ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]
            for parent in parents:
                if state.setdefault(parent, None) is not None:
                    raise Refused
            if what == "directory":
                state[path] = None
                continue
            if what == "hardlink":
                found = state.get(data.decode())
                if found is None:
                    raise Refused
                data = found
            drop(path)
            state[path] = data
    return state


def as_member(what: str, path: str, data: bytes) -> Member:
    parent, _, name = path.rpartition("/")
    match what:
        case "file":
            return entry(path, data)
        case "directory":
            return entry(path + "/")
        case "whiteout":
            return entry(f"{parent}/.wh.{name}", b"")
        case "opaque":
            return entry(f"{path}/.wh..wh..opq", b"")
        case _:
            return hardlink(path, data.decode())


@given(st.lists(st.lists(OPERATIONS, max_size=6), max_size=4))
@settings(max_examples=200, deadline=None)
def test_flatten_equals_the_model(
    tmp_path_factory: pytest.TempPathFactory, stack: list[list[tuple[str, str, bytes]]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    paths = layers(folder, *([as_member(*operation) for operation in layer] for layer in stack))
    try:
        expected = overlay(stack)
    except Refused:
        with pytest.raises(HostileLayer):
            flatten(paths)
        return
    tree = flatten(paths)
    found = {item.path: item for item in tree}
    assert set(found) == {"", *expected}
    for path, data in expected.items():
        assert (found[path].kind is Kind.DIRECTORY) == (data is None)
        if data is not None:
            assert read_file(tree, path) == data
