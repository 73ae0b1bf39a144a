"""Trees unpacked one over the other, as tar does it, without unpacking anything.

In: trees, and single entries. Out: one Tree, or InputError where they take too long. What comes later
wins. Symlinks to directories are followed inside the root they belong to, so that nothing gets lost where
one image has a directory and another a symlink of that name (/lib and /lib → usr/lib): a directory over a
symlink fills what the symlink leads to; a symlink over a directory takes what was in it along.
"""

from collections.abc import Iterable
from dataclasses import replace

from i2kit.errors import InputError, Problem
from i2kit.image.tree import Entry, Kind, Tree, real_path, sort_key

MAX_STEPS = 5_000_000
"""Names looked up where a symlink of one image meets a directory of another, which is rare."""
ENTRIES_PER_STEP = 10
"""Of those that are passed over, which takes less than to look one up."""


class Union:
    """The tree under construction. `folder` is what directories are like that nobody describes."""

    def __init__(self, folder: Entry) -> None:
        self.entries: dict[str, Entry] = {"": folder}
        self.lost: list[str] = []
        """Paths that nothing leads to any more, because a symlink that leads nowhere took their place."""
        self._folder = folder
        self._groups = 0
        self._steps = 0

    def tree(self) -> Tree:
        return tuple(sorted(self.entries.values(), key=lambda entry: sort_key(entry.path)))

    def unpack(self, place: str, tree: Tree, dropped: Iterable[str] = ()) -> None:
        """Put a tree below `place`, where its symlinks end as well, but not the entries `dropped`."""
        dropped = frozenset(dropped)
        groups = self._groups
        links = []
        for entry in tree:
            if entry.path in dropped or (entry.path == "" and not place):
                continue
            # The numbers of hardlinked files count anew in each image.
            group = entry.link_group + groups if entry.link_group else 0
            self._groups = max(self._groups, group)
            moved = entry
            if place or group != entry.link_group:
                moved = replace(entry, path=_join(place, entry.path), link_group=group)
            before = self.entries.get(moved.path)
            if entry.kind is Kind.SYMLINK and before and before.kind is Kind.DIRECTORY:
                # What it leads to may still come.
                links.append(moved)
            else:
                self.put(moved, top=place)
        for link in links:
            self.put(link, top=place)

    def put(self, entry: Entry, *, top: str = "", keep: bool = False, folder: Entry | None = None) -> None:
        """Add an entry and the directories above it, such as `folder`; with `keep`, only if there is none.

        `top` is the root for absolute symlinks on the way.
        """
        parent, _, name = entry.path.rpartition("/")
        path = _join(self._directory(parent, top, folder or self._folder), name)
        before = self.entries.get(path)
        if keep and before:
            return
        if entry.kind is Kind.DIRECTORY and before and before.kind is Kind.SYMLINK:
            led = self.find(path, top)
            if led is not None and self.entries[led].kind is Kind.DIRECTORY:
                path = led
        if path != entry.path:
            entry = replace(entry, path=path)
        if before and before.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
            self._put_over_directory(entry, top)
        else:
            self.entries[path] = entry

    def find(self, path: str, top: str = "") -> str | None:
        """The real path of what is at `path`, symlinks followed inside `top`; None where there is nothing."""
        return real_path(self.entries, path, top, self._spend)

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            message = f"images that are unpacked one over the other meet in more than {MAX_STEPS:,} names"
            raise InputError([Problem(message, hint="one of them is damaged or was made to do harm")])

    def _directory(self, path: str, top: str, like: Entry) -> str:
        """The real path of a directory, which is made where it is missing."""
        known = self.entries.get(path)
        if known and known.kind is Kind.DIRECTORY:
            return path
        here = ""
        for part in path.split("/"):
            at = _join(here, part)
            led = self.find(at, top)
            if led is None or self.entries[led].kind is not Kind.DIRECTORY:
                self.entries[at] = replace(like, path=at)
                led = at
            here = led
        return here

    def _put_over_directory(self, entry: Entry, top: str) -> None:
        start = len(entry.path) + 1
        self._spend(len(self.entries) // ENTRIES_PER_STEP)
        inside = [path for path in self.entries if path.startswith(f"{entry.path}/")]
        displaced = [self.entries.pop(path) for path in sorted(inside, key=sort_key)]
        self.entries[entry.path] = entry
        led = self.find(entry.path, top) if entry.kind is Kind.SYMLINK else None
        for old in displaced:
            if led is None or self.entries[led].kind is not Kind.DIRECTORY:
                self.lost.append(old.path)
                continue
            path = f"{led}/{old.path[start:]}" if led else old.path[start:]
            parent = self.find(path.rpartition("/")[0], top)
            if parent is None or self.entries[parent].kind is not Kind.DIRECTORY:
                self.lost.append(old.path)
            elif self.find(path, top) is None:
                self.put(replace(old, path=path), top=top, keep=True)


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path
