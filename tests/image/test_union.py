"""Trees over each other: what comes later wins, and nothing gets lost behind symlinks."""

import pytest

from i2kit.errors import InputError
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key
from i2kit.image.tree.union import Union

FOLDER = Entry("", Kind.DIRECTORY, 0o755)


def file(path: str, data: bytes = b"") -> Entry:
    return Entry(path, Kind.FILE, 0o644, content=Content(len(data), data=data))


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, target=target)


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, Kind.DIRECTORY, mode)


def tree(*entries: Entry) -> Tree:
    return tuple(sorted((FOLDER, *entries), key=lambda entry: sort_key(entry.path)))


def united(*trees: Tree, place: str = "") -> tuple[Union, dict[str, str]]:
    """The union, and path → content, target or kind of everything in it but directories."""
    union = Union(FOLDER)
    for one in trees:
        union.unpack(place, one)
    paths = [entry.path for entry in union.tree()]
    assert len(paths) == len(set(paths))
    assert all(path.rpartition("/")[0] in paths for path in paths)
    found = {}
    for entry in union.tree():
        assert entry == union.entries[entry.path]
        if entry.kind is not Kind.DIRECTORY:
            found[entry.path] = entry.content.data.decode() if entry.content else f"→ {entry.target}"
    return union, found


SPLIT = tree(
    folder("lib", 0o700), folder("lib/modules"), file("lib/modules/a", b"1"), file("lib/ld.so", b"old")
)
MERGED = tree(
    link("lib", "usr/lib"),
    folder("usr"),
    folder("usr/lib", 0o711),
    file("usr/lib/ld.so", b"new"),
    file("usr/lib/b", b"2"),
)


def test_a_symlink_over_a_directory_takes_what_was_in_it_along() -> None:
    union, found = united(SPLIT, MERGED)
    assert found == {
        "lib": "→ usr/lib",
        "usr/lib/modules/a": "1",
        "usr/lib/ld.so": "new",
        "usr/lib/b": "2",
    }
    assert union.lost == []
    assert union.entries["usr/lib"].mode == 0o711


def test_a_directory_over_a_symlink_fills_what_it_leads_to() -> None:
    union, found = united(MERGED, SPLIT)
    assert found == {
        "lib": "→ usr/lib",
        "usr/lib/modules/a": "1",
        "usr/lib/ld.so": "old",
        "usr/lib/b": "2",
    }
    assert union.entries["usr/lib"].mode == 0o700


def test_symlinks_on_the_way_of_what_moves() -> None:
    old = tree(folder("lib"), folder("lib/x"), file("lib/x/a", b"1"), folder("lib/y"), file("lib/y/b", b"2"))
    new = tree(
        link("lib", "/usr/lib"),
        folder("usr"),
        folder("usr/lib"),
        link("usr/lib/x", "../z"),
        folder("usr/z"),
        file("usr/lib/y", b"3"),
    )
    union, found = united(old, new)
    assert found == {"lib": "→ /usr/lib", "usr/lib/x": "→ ../z", "usr/lib/y": "3", "usr/z/a": "1"}
    assert union.lost == ["lib/y/b"]


@pytest.mark.parametrize("target", ["nowhere", "file", "lib", "../.."])
def test_a_symlink_that_leads_to_no_directory_hides_what_was_there(target: str) -> None:
    union, found = united(tree(folder("lib"), file("lib/a", b"1"), file("file")), tree(link("lib", target)))
    if target == "../..":
        # It leads to the root, as everything that leads out of it.
        assert found == {"lib": "→ ../..", "file": "", "a": "1"}
    else:
        assert found == {"lib": f"→ {target}", "file": ""}
        assert union.lost == ["lib/a"]


def test_a_directory_over_what_leads_to_none_takes_its_place() -> None:
    first = tree(link("a", "nowhere"), link("b", "file"), file("file"), link("c", "c"), file("d"))
    second = tree(*(entry for name in "abcd" for entry in (folder(name), file(f"{name}/x", b"x"))))
    _, found = united(first, second)
    assert found == {"file": "", **{f"{name}/x": "x" for name in "abcd"}}


def test_absolute_symlinks_stay_below_their_place() -> None:
    first = tree(link("etc", "/usr/etc"), folder("usr"), folder("usr/etc"), link("up", "../../usr"))
    union, _ = united(first, place="containers/services/a/lower")
    union.put(file("containers/services/a/lower/etc/hosts"), top="containers/services/a/lower")
    union.put(file("containers/services/a/lower/up/x"), top="containers/services/a/lower")
    added = {path for path, entry in union.entries.items() if entry.kind is Kind.FILE}
    assert added == {"containers/services/a/lower/usr/etc/hosts", "containers/services/a/lower/usr/x"}


def test_hardlinks_of_different_trees_stay_apart() -> None:
    content = Content(1, data=b"x")
    one = Entry("a", Kind.FILE, 0o644, content=content, link_group=1)
    two = Entry("b", Kind.FILE, 0o644, content=content, link_group=1)
    union = Union(FOLDER)
    union.unpack("x", tree(one, two))
    union.unpack("y", tree(one, two))
    groups = {path: entry.link_group for path, entry in union.entries.items() if entry.content}
    assert groups["x/a"] == groups["x/b"] != groups["y/a"] == groups["y/b"]


def test_new_directories_are_like_what_was_asked_for() -> None:
    union = Union(FOLDER)
    union.put(file("a/b/c"), folder=folder("", 0o700))
    union.put(file("a/d/e"))
    modes = {path: union.entries[path].mode for path in ("a", "a/b", "a/d")}
    assert modes == {"a": 0o700, "a/b": 0o700, "a/d": 0o755}
    union.put(file("a/b/c", b"again"), keep=True)
    assert union.entries["a/b/c"].content == Content(0)


@pytest.mark.parametrize(
    "hostile",
    [
        [link(f"d{number}", "elsewhere") for number in range(20)],
        [link("s", "d0/../" * 40 + "d0"), *(file(f"s/{number}") for number in range(3))],
    ],
    ids=["many symlinks over directories", "a symlink that leads far round"],
)
def test_trees_that_take_too_long(hostile: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2kit.image.tree.union.MAX_STEPS", 100)
    lower = tree(*(folder(f"d{number}") for number in range(50)))
    united(lower, tree(link("d0", "elsewhere"), link("s", "d1"), file("s/x")))
    with pytest.raises(InputError, match="meet in more than 100 names"):
        united(lower, tree(*hostile))
