"""What may go from the store: everything that nothing needs any more, found by mark and sweep.

In: what is in the store, who uses which machine image, which lock files name its packages. Out: what
goes, as a value; then its removal. Between any two steps of that, and after a power failure, the store
is consistent: whatever is still there is whole, and what is missing is fetched or made again.

    machine images   stay while a deployment uses them, and with them their names and other forms
    container images, layers   stay while a machine image that stays was made of them
    packages, base components  stay while a lock file names them; kernels of our own always stay
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.events import Watcher
from i2kit.image.store import Store, explained
from i2kit.image.upkeep import inventory, roots
from i2kit.image.upkeep.inventory import Contents, Stored
from i2kit.model import Share, Use

DIGITS = 12
"""How many digits of an id tell it from all others; fewer are not accepted."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What stays whatever uses machine images: the digests of packages and base components."""

    packages: frozenset[str] = frozenset()
    components: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Going:
    """What goes: machine images, each with the bytes on disk that this frees; the rest by kind; all paths."""

    images: tuple[tuple[Stored, int], ...]
    others: tuple[Share, ...]
    paths: tuple[Path, ...]
    unknown: tuple[str, ...] = ()
    """Words that name no machine image."""
    kept: tuple[tuple[Stored, tuple[Use, ...]], ...] = ()
    """The machine images that stay, with what uses each, where none was named."""


def prune(
    store: Store,
    words: Sequence[str],
    *,
    uses: Callable[[], Sequence[Use]],
    needed: Callable[[], Needed],
    dry_run: bool,
    watch: Watcher,
) -> tuple[Contents, Going]:
    """Remove what nothing needs; with `words`, only the machine images of these names and what is theirs.

    `uses` and `needed` are asked when nobody builds any more, and may raise: then nothing is removed.
    Raises OperationError for a named machine image that is in use. Returns what was there, and what went.
    """
    with nullcontext() if dry_run else roots.alone(store, watch):
        litter = () if words else store.dead_scratch()
        contents = inventory.look(store)
        going = decide(contents, words, uses(), needed(), litter)
        if not dry_run:
            _remove(store, going.paths)
            if not words:
                _remove(store, roots.dead(store))
                store.sweep_locks()
    return contents, going


def decide(
    contents: Contents,
    words: Sequence[str],
    uses: Sequence[Use],
    needed: Needed,
    litter: Iterable[Path] = (),
) -> Going:
    """What goes, with what killed processes have left. Pure."""
    users: dict[str, list[Use]] = {}
    for use in uses:
        users.setdefault(use.image, []).append(use)
    if words:
        named = {word: [image for image in contents.images if is_named(image, word)] for word in words}
        ids = {image.id for images in named.values() for image in images}
        _refuse_used([image for image in contents.images if image.id in ids], users)
        unknown = tuple(word for word in words if not named[word])
    else:
        ids, unknown = {image.id for image in contents.images if image.id not in users}, ()
    gone = [image for image in contents.images if image.id in ids]
    left = [image for image in contents.images if image.id not in ids]
    marked = _marked(contents, left, needed)
    if words:
        blobs = _reached(contents, gone) - marked
        paths = [*_of_images(contents, ids.__contains__), *_blobs(contents, blobs)]
    else:
        paths = [*litter, *_of_images(contents, lambda id_: id_ not in users)]
        paths += [path for path, made in contents.memos.items() if not made or made - needed.components]
        paths += _blobs(contents, contents.blobs.keys() - marked)
        paths += (file.path for file in contents.files if file.path.parent == contents.root / "partial")
    freed, others = _room(contents, gone, paths)
    images = tuple((image, freed.get(image.id, 0)) for image in gone)
    kept = () if words else tuple((image, tuple(users[image.id])) for image in left)
    return Going(images, others, tuple(paths), unknown, kept)


def is_named(image: Stored, word: str) -> bool:
    """Whether a word means this machine image: its id or the beginning of that, or what it was built for."""
    prefix = re.fullmatch(rf"[0-9a-f]{{{DIGITS},64}}", word) is not None
    return (prefix and image.id.startswith(word)) or word in image.names or f"default/{word}" in image.names


def _refuse_used(images: Iterable[Stored], users: Mapping[str, Sequence[Use]]) -> None:
    used = [image for image in images if image.id in users]
    if used:
        lines = [
            f"{title(image)} is used by {', '.join(dict.fromkeys(use.key for use in users[image.id]))}"
            for image in used
        ]
        raise OperationError(
            "\n".join([*lines, "nothing was removed"]),
            hint="first take down what uses it, with i2kit destroy",
        )


def title(image: Stored) -> str:
    """A machine image in words, such as `image 0123456789ab (default/web)`."""
    return f"image {image.id[:DIGITS]}" + (f" ({', '.join(image.names)})" if image.names else "")


def _reached(contents: Contents, images: Iterable[Stored]) -> frozenset[str]:
    pinned = {reference.partition("@")[2] for image in images for reference in image.images}
    return contents.reached(pinned.union(*(image.blobs for image in images)))


def _marked(contents: Contents, images: Sequence[Stored], needed: Needed) -> frozenset[str]:
    base = contents.reached(needed.components | contents.kernels)
    return _reached(contents, images) | base | needed.packages


def _of_images(contents: Contents, goes: Callable[[str], bool]) -> Iterator[Path]:
    """The files and folders of machine images that go; first what leads to them."""
    for path, id_ in contents.notes:
        if goes(id_ or ""):
            yield path
    for form in contents.forms:
        if goes(form.image or ""):
            yield form.path
    for image in contents.images:
        if goes(image.id):
            yield image.path


def _blobs(contents: Contents, digests: Collection[str]) -> list[Path]:
    """The files of blobs, manifests and configs first: what refers goes before what it refers to."""
    blobs = [blob for digest, blob in contents.blobs.items() if digest in digests]
    return [blob.file.path for blob in sorted(blobs, key=lambda blob: not blob.refers)]


def _room(
    contents: Contents, gone: Sequence[Stored], paths: Sequence[Path]
) -> tuple[Mapping[str, int], tuple[Share, ...]]:
    """The bytes on disk that become free: of each machine image, and of the rest by kind.

    A file that several share is free only when the last of them goes, and counts with the first.
    """
    tops = frozenset(paths)
    files = [file for file in contents.files if not tops.isdisjoint((file.path, *file.path.parents))]
    links = Counter(file.inode for file in files)
    owners = {file.inode: image.id for image in reversed(gone) for file in inventory.files_of(image)}
    folders = {image.path: image.id for image in gone}
    folders |= {form.path: image.id for image in gone for form in image.forms}
    kinds = inventory.kinds_of(contents)
    freed: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    seen: set[int] = set()
    for file in files:
        size = 0 if file.inode in seen or links[file.inode] < file.links else file.disk_bytes
        seen.add(file.inode)
        if owner := owners.get(file.inode) or folders.get(file.path.parent):
            freed[owner] += size
        else:
            counts[kinds[file.path]] += 1
            sizes[kinds[file.path]] += size
    others = tuple(Share(kind, counts[kind], sizes[kind]) for kind in inventory.KINDS if counts[kind])
    return freed, others


def _remove(store: Store, paths: Iterable[Path]) -> None:
    """Each in one step: what is renamed into a scratch folder is gone, and swept if we die on the way."""
    with explained(store.root), store.scratch() as scratch:
        for number, path in enumerate(paths):
            with suppress(FileNotFoundError):
                path.rename(scratch / str(number))
