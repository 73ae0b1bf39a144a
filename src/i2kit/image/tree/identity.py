"""Who a container runs as: the image's or manifest's USER turned into numbers.

In: the image's file tree and text such as "nginx:www-data". Out: an Identity, or a BadImage error
that names the image. Reads only etc/passwd and etc/group of the tree.

Source of the rules: Docker's and runc's user package (GetExecUser): names first match etc/passwd,
numbers are themselves; without an explicit group the user's own and supplementary groups count.
"""

import io
import re
from collections.abc import Iterator

from i2kit.errors import InputError
from i2kit.image.sources.oci import BadImage
from i2kit.image.tree import Tree, read_file
from i2kit.model import Identity, Security

MAX_ID = 2**31 - 1
"""runc's limit for user and group ids."""
MAX_COLUMNS = 10
"""etc/passwd has seven."""
MAX_GROUPS = 1_000
"""Of one user. Linux takes 65,536, and each is in the machine's configuration."""


def lookup_user(tree: Tree, user: str, *, image: str = "") -> Identity:
    """The identity of `user`: "", "1000", "1000:1000", "nginx" or "nginx:www-data".

    `image` is how errors call the image. Raises BadImage for unknown names, ids out of range, and files
    that are no such lists.
    """
    name, _, group = user.partition(":")
    passwd = _lines(tree, "etc/passwd", image, fields=4)
    uid = _id(name or "0")
    gid = 0
    matched = ""
    home = "/"
    for line in passwd:
        if (line[0] == name) if uid is None else (_id(line[2]) == uid):
            matched, uid, gid = line[0], _id(line[2]), _id(line[3]) or 0
            home = line[5] if len(line) > 5 and re.fullmatch(r"/[\x20-\x7e]*", line[5]) else "/"
            break
    if uid is None:
        raise _unknown("user", name, user, image, tree)

    groups = _lines(tree, "etc/group", image, fields=3)
    if not group:
        additional: set[int | None] = set()
        for line in groups if matched else ():
            if len(line) > 3 and f",{matched}," in f",{line[3]},":
                additional.add(_id(line[2]))
                if len(additional) > MAX_GROUPS:
                    raise BadImage(f"the user `{matched}`{_of(image)} is in more than {MAX_GROUPS:,} groups")
        return Identity(
            _valid(uid, user, image), gid, tuple(sorted(id_ for id_ in additional if id_ is not None)), home
        )
    wanted = _id(group)
    for line in groups:
        if (line[0] == group) if wanted is None else (_id(line[2]) == wanted):
            wanted = _id(line[2])
            break
    if wanted is None:
        raise _unknown("group", group, user, image, tree)
    return Identity(_valid(uid, user, image), _valid(wanted, user, image), home=home)


def identity_of(tree: Tree, user: str, security: Security, *, image: str = "") -> Identity:
    """The identity of a container whose image's USER is `user`, with what its securityContext says of it.

    As containerd has it: a user without a group has the one in etc/passwd, a group is one of the process's
    groups as well, and those of etc/group count also for a number. Raises as `lookup_user`.
    """
    named = (lookup_user(tree, f":{name}", image=image).gid for name in security.group_names)
    asked = (*security.groups, *named, *(() if security.fs_group is None else (security.fs_group,)))
    if security.user_name:
        user = security.user_name
    elif security.user is not None:
        user = str(security.user)
    elif security.group is not None:
        user = user.partition(":")[0]
    found = lookup_user(tree, user, image=image)
    said = security.user is not None or security.group is not None
    if not (said or asked or security.strict_groups):
        return found
    gid = found.gid if security.group is None else security.group
    of_image = () if security.strict_groups else found.additional_gids
    return Identity(found.uid, gid, tuple(sorted({gid, *of_image, *asked})), found.home)


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _valid(number: int, user: str, image: str) -> int:
    if number > MAX_ID:
        raise BadImage(f"the user `{user}`{_of(image)} is out of range", hint=f"ids go from 0 to {MAX_ID}")
    return number


def _lines(tree: Tree, path: str, image: str, *, fields: int) -> Iterator[list[str]]:
    try:
        data = read_file(tree, path) or b""
    except InputError as error:
        problem = error.problems[0]
        raise BadImage(f"{image or 'the image'}: {problem.message}", hint=problem.hint) from error
    # Line by line: of a hostile file, all lines in columns take sixty times its size.
    for line in io.BytesIO(data):
        columns = line.decode("utf-8", "surrogateescape").strip().split(":", MAX_COLUMNS)
        if len(columns) >= fields and not columns[0].startswith("#"):
            yield columns


def _of(image: str) -> str:
    return f" of the image {image}" if image else ""


def _unknown(what: str, name: str, user: str, image: str, tree: Tree) -> BadImage:
    file = "etc/passwd" if what == "user" else "etc/group"
    why = (
        f"is not in its /{file}"
        if read_file(tree, file) is not None
        else f"cannot be looked up: it has no /{file}"
    )
    whose = f"the image {image}" if image else "the image"
    return BadImage(
        f"{whose} is to run as `{user}`, but the {what} `{name}` {why}",
        hint="use numbers, such as 1000:1000, or an image that has this name",
    )
