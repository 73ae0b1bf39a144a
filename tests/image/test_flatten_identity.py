"""USER of an image, as Docker reads it."""

import tracemalloc

import pytest

from i2kit.errors import OperationError
from i2kit.image.sources.oci import BadImage
from i2kit.image.tree import Content, Entry, Kind, Tree, find, read_file
from i2kit.image.tree.identity import identity_of, lookup_user
from i2kit.model import Identity, Security

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment:x:1:1
broken
nginx:x:101:102:nginx:/nonexistent:/bin/false
nobody:x:65534:65534::/:
12:x:77:78::/:
odd:x:78:78::relative:
odder:x:79:79::/\x80:
"""
GROUP = b"root:x:0:root\nwww-data:x:33:nginx,other\nnginx:x:102:\nlog:x:4:nginx\nnologin:x:9:someone\n"


def file(path: str, data: bytes) -> Entry:
    return Entry(path, Kind.FILE, 0o644, content=Content(len(data), data=data))


TREE: Tree = (
    Entry("", Kind.DIRECTORY, 0o755),
    Entry("etc", Kind.DIRECTORY, 0o755),
    Entry("etc/group", Kind.SYMLINK, 0o777, target="../../usr/share/group"),
    Entry("etc/loop", Kind.SYMLINK, 0o777, target="loop"),
    file("etc/passwd", PASSWD),
    Entry("usr", Kind.DIRECTORY, 0o755),
    Entry("usr/share", Kind.DIRECTORY, 0o755),
    file("usr/share/group", GROUP),
)


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", Identity(0, 0, (0,), "/root")),
        ("root", Identity(0, 0, (0,), "/root")),
        ("nginx", Identity(101, 102, (4, 33), "/nonexistent")),
        ("101", Identity(101, 102, (4, 33), "/nonexistent")),
        ("nginx:www-data", Identity(101, 33, home="/nonexistent")),
        ("nginx:33", Identity(101, 33, home="/nonexistent")),
        ("1000", Identity(1000, 0)),
        ("1000:1000", Identity(1000, 1000)),
        ("1000:nginx", Identity(1000, 102)),
        ("nobody", Identity(65534, 65534)),
        ("12", Identity(12, 0)),
        ("odd", Identity(78, 78)),
        ("odder", Identity(79, 79)),
        (":33", Identity(0, 33, home="/root")),
    ],
)
def test_users(user: str, identity: Identity) -> None:
    assert lookup_user(TREE, user) == identity


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("nobdy", "the user `nobdy` is not in its /etc/passwd"),
        ("nginx:wheel", "the group `wheel` is not in its /etc/group"),
        ("4294967295", "out of range"),
        ("1:4294967295", "out of range"),
        ("99999999999999999999", "is not in its /etc/passwd"),
        ("-1", "is not in its /etc/passwd"),
    ],
)
def test_unknown_users_name_the_image(user: str, said: str) -> None:
    with pytest.raises(OperationError, match=r"docker\.io/library/app") as caught:
        lookup_user(TREE, user, image="docker.io/library/app")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("user", "security", "identity"),
    [
        ("nginx:www-data", Security(), Identity(101, 33, home="/nonexistent")),
        ("", Security(user=101), Identity(101, 102, (4, 33, 102), "/nonexistent")),
        ("", Security(user=101, group=7), Identity(101, 7, (4, 7, 33), "/nonexistent")),
        ("nginx:www-data", Security(group=7), Identity(101, 7, (4, 7, 33), "/nonexistent")),
        ("nginx", Security(user=0), Identity(0, 0, (0,), "/root")),
        ("nginx", Security(user=1000), Identity(1000, 0, (0,))),
        ("nginx", Security(groups=(9,), fs_group=7), Identity(101, 102, (4, 7, 9, 33, 102), "/nonexistent")),
        ("nginx", Security(groups=(9,), strict_groups=True), Identity(101, 102, (9, 102), "/nonexistent")),
        ("nginx:33", Security(fs_group=0), Identity(101, 33, (0, 33), "/nonexistent")),
        ("", Security(user_name="nginx"), Identity(101, 102, (4, 33), "/nonexistent")),
        ("odd", Security(user_name="1000:www-data"), Identity(1000, 33)),
        ("nginx", Security(group_names=("www-data",)), Identity(101, 102, (4, 33, 102), "/nonexistent")),
    ],
)  # fmt: skip
def test_what_a_security_context_makes_of_it(user: str, security: Security, identity: Identity) -> None:
    """As Kubernetes documents it: the groups of etc/group count for a number too, unless they are Strict."""
    assert identity_of(TREE, user, security) == identity


def test_an_image_without_passwd() -> None:
    empty = TREE[:1]
    assert lookup_user(empty, "") == Identity(0, 0)
    assert lookup_user(empty, "5:6") == Identity(5, 6)
    with pytest.raises(OperationError, match="it has no /etc/passwd"):
        lookup_user(empty, "nginx")


def test_reading_follows_symlinks_inside_the_root() -> None:
    assert read_file(TREE, "/etc/group") == GROUP
    assert read_file(TREE, "etc/../etc/passwd") == PASSWD
    assert read_file(TREE, "etc/loop") is None
    assert read_file(TREE, "etc") is None
    assert read_file(TREE, "etc/passwd/x") is None
    assert (found := find(TREE, "etc/group")) is not None and found.path == "usr/share/group"


def test_a_huge_passwd_is_not_read() -> None:
    huge = (*TREE[:2], Entry("etc/passwd", Kind.FILE, 0o644, content=Content(1 << 40)))
    with pytest.raises(OperationError, match="too much to read"):
        lookup_user(huge, "nginx")


def test_lists_of_users_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"".join(b"g:x:%d:other,root\n" % number for number in range(1001))
    with pytest.raises(OperationError, match="`root` of the image org/app is in more than 1,000 groups"):
        lookup_user((*TREE[:2], file("etc/group", many), file("etc/passwd", PASSWD)), "", image="org/app")
    monkeypatch.setattr("i2kit.image.tree.MAX_READ_BYTES", 100)
    with pytest.raises(BadImage, match="org/app: /etc/passwd of the image has 101 bytes"):
        lookup_user((*TREE[:2], file("etc/passwd", b"x" * 101)), "", image="org/app")


def test_a_list_of_users_is_read_line_by_line() -> None:
    tree = (*TREE[:2], file("etc/passwd", b"::::\n" * 200_000))
    tracemalloc.start()
    lookup_user(tree, "1000")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
