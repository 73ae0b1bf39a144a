"""What the store holds, by looking: machine images with their names and forms, and all the rest by kind.

In: the store. Out: a Contents: every file with its size and what it refers to. Hashes nothing, so it takes
milliseconds and says nothing about damage; what cannot be read refers to nothing. Changes nothing.
"""

import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from i2kit.image.sources import oci
from i2kit.image.store import Store, read_record
from i2kit.model import FORMATS, Pairs, Share

PACKAGE_MAGIC = b"!<arch>\n"
"""How a .deb begins; see deb(5)."""

IMAGES, FORMS, CONTAINERS = "machine images", "other forms of them", "container images"
COMPONENTS, PACKAGES, LISTS = "base components", "packages", "package lists"
PARTIAL, REST = "partial downloads", "everything else"
KINDS = (IMAGES, FORMS, CONTAINERS, COMPONENTS, PACKAGES, LISTS, PARTIAL, REST)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the store. `disk_bytes` is less than `size_bytes` where it has holes."""

    path: Path
    size_bytes: int
    disk_bytes: int
    inode: int
    links: int


@dataclass(frozen=True, slots=True)
class Form:
    """A machine image in another form. `image` is None where its record is damaged."""

    path: Path
    image: str | None
    format: str
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A machine image. Without `created_at` its record is damaged, or of another version of i2kit."""

    id: str
    path: Path
    files: tuple[File, ...]
    names: tuple[str, ...] = ()
    containers: Pairs = ()
    images: tuple[str, ...] = ()
    """The pinned references of the container images in it."""
    created_at: str = ""
    forms: tuple[Form, ...] = ()
    blobs: frozenset[str] = frozenset()
    """The digests of its files, some of which it shares with other machine images as blobs."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob, its kind as far as its first bytes tell, and the digests that its content names."""

    digest: str
    file: File
    package: bool = False
    manifest: bool = False
    index: bool = False
    refers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Contents:
    """All of the store at one time."""

    root: Path
    images: tuple[Stored, ...]
    forms: tuple[Form, ...]
    blobs: Mapping[str, Blob]
    notes: tuple[tuple[Path, str | None], ...]
    """Files that tell of a machine image (builds, names), and its id unless they are damaged."""
    memos: Mapping[Path, frozenset[str]]
    """What was made of which packages, and the digests of its components."""
    kernels: frozenset[str]
    """The digests of kernels of our own."""
    files: tuple[File, ...]

    @cached_property
    def referring(self) -> Mapping[str, frozenset[str]]:
        """Which indexes name a digest."""
        found: dict[str, set[str]] = {}
        for blob in self.blobs.values():
            for digest in blob.refers if blob.index else ():
                found.setdefault(digest, set()).add(blob.digest)
        return {digest: frozenset(indexes) for digest, indexes in found.items()}

    def reached(self, roots: Iterable[str]) -> frozenset[str]:
        """The digests that lead out from these, themselves included, of blobs that are here or not."""
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                # Who pinned an image by its index asks for that first.
                waiting += self.referring.get(digest, ())
                if (blob := self.blobs.get(digest)) and not blob.index:
                    waiting += blob.refers
        return frozenset(found)


def look(store: Store) -> Contents:
    """Everything that is in the store now. What others remove meanwhile is left out."""
    root = store.root
    forms = tuple(
        sorted(_forms(root / "outputs"), key=lambda form: (*FORMATS, form.format).index(form.format))
    )
    files = tuple(_files(root))
    blobs = [_blob(file) for file in files if file.path.parent == root / "blobs" / "sha256"]
    return Contents(
        root=root,
        images=tuple(_images(root, forms)),
        forms=forms,
        blobs={blob.digest: blob for blob in blobs},
        notes=tuple(_notes(root)),
        memos={path: _pinned(path) for path in sorted((root / "base").glob("*.json"))},
        kernels=frozenset(digest for path in (root / "kernels").glob("*.json") for digest in _kernel(path)),
        files=files,
    )


def shares(contents: Contents) -> tuple[Share, ...]:
    """What takes how much room, kind by kind. Pure."""
    kinds = kinds_of(contents)
    blobs = contents.blobs.values()
    counts = {kind: sum(one == kind for one in kinds.values()) for kind in (LISTS, PARTIAL, REST)} | {
        IMAGES: len(contents.images),
        FORMS: len(contents.forms),
        CONTAINERS: sum(blob.manifest and kinds[blob.file.path] == CONTAINERS for blob in blobs),
        COMPONENTS: sum(blob.manifest and kinds[blob.file.path] == COMPONENTS for blob in blobs),
        PACKAGES: sum(blob.package for blob in blobs),
    }
    sizes = dict.fromkeys(KINDS, 0)
    seen: set[int] = set()
    for file in sorted(contents.files, key=lambda file: KINDS.index(kinds[file.path])):
        if file.inode not in seen:
            seen.add(file.inode)
            sizes[kinds[file.path]] += file.disk_bytes
    return tuple(Share(kind, counts[kind], sizes[kind]) for kind in KINDS)


def kinds_of(contents: Contents) -> Mapping[Path, str]:
    """To which of KINDS each file belongs. Pure."""
    folders = {"machine-images": IMAGES, "outputs": FORMS, "apt": LISTS, "partial": PARTIAL}
    components = contents.reached(contents.kernels.union(*contents.memos.values()))
    of_images = frozenset(digest for image in contents.images for digest in image.blobs)
    kinds = {}
    for file in contents.files:
        kinds[file.path] = folders.get(file.path.relative_to(contents.root).parts[0], REST)
    for digest, blob in contents.blobs.items():
        if blob.package:
            kinds[blob.file.path] = PACKAGES
        elif digest in of_images:
            kinds[blob.file.path] = IMAGES
        else:
            kinds[blob.file.path] = COMPONENTS if digest in components else CONTAINERS
    return kinds


def room(image: Stored, everything: Sequence[Stored]) -> tuple[int, int]:
    """The bytes on disk that this image and its forms take alone, and those shared with others. Pure."""
    elsewhere = {file.inode for other in everything if other.id != image.id for file in files_of(other)}
    mine = {file.inode: file.disk_bytes for file in files_of(image)}
    own = sum(size for inode, size in mine.items() if inode not in elsewhere)
    return own, sum(mine.values()) - own


def files_of(image: Stored) -> Iterator[File]:
    """The files of a machine image and of its other forms."""
    yield from image.files
    for form in image.forms:
        yield from form.files


def _images(root: Path, forms: Sequence[Form]) -> Iterator[Stored]:
    for path in sorted((root / "machine-images").glob("*")):
        record = read_record(path / "image.json") or {}
        names = {(read_record(one.path) or {}).get("name") for one in _files(root / "names" / path.name)}
        yield Stored(
            id=path.name,
            path=path,
            files=tuple(file for file in _files(path) if file.path.name != "image.json"),
            names=tuple(sorted(name for name in names if name)),
            containers=tuple((name, reference) for name, reference in record.get("containers", ())),
            images=tuple(record.get("images", ())),
            created_at=record.get("created_at", ""),
            forms=tuple(form for form in forms if form.image == path.name),
            blobs=frozenset(f"sha256:{file['sha256']}" for file in record.get("files", {}).values()),
        )


def _forms(folder: Path) -> Iterator[Form]:
    for path in sorted(folder.glob("*")):
        record = read_record(path / "output.json") or {}
        files = tuple(file for file in _files(path) if file.path.name != "output.json")
        yield Form(path, record.get("id"), record.get("format", ""), files)


def _notes(root: Path) -> Iterator[tuple[Path, str | None]]:
    for path in sorted((root / "builds").glob("*")):
        yield path, (read_record(path) or {}).get("id")
    for path in sorted((root / "names").glob("*")):
        yield path, path.name


def _blob(file: File) -> Blob:
    digest = f"sha256:{file.path.name}"
    try:
        with file.path.open("rb") as content:
            head = content.read(len(PACKAGE_MAGIC))
            if head == PACKAGE_MAGIC:
                return Blob(digest, file, package=True)
            if not head.startswith(b"{") or file.size_bytes > oci.MAX_JSON_BYTES:
                return Blob(digest, file)
            document = json.loads(head + content.read())
    except (OSError, ValueError, RecursionError):
        return Blob(digest, file)
    lists = [*_list(document.get("layers")), *_list(document.get("manifests"))]
    parts = [part for part in (document.get("config"), *lists) if isinstance(part, dict)]
    refers = {part["digest"] for part in parts if isinstance(part.get("digest"), str)}
    if isinstance(filesystem := document.get("rootfs"), dict):
        refers |= {one for one in _list(filesystem.get("diff_ids")) if isinstance(one, str)}
    return Blob(
        digest, file, manifest="layers" in document, index="manifests" in document, refers=frozenset(refers)
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _pinned(path: Path) -> frozenset[str]:
    """The digests of the references in a memo of the base."""
    references = (read_record(path) or {}).get("references", {})
    return frozenset(reference.partition("@")[2] for reference in references.values())


def _kernel(path: Path) -> Iterator[str]:
    if digest := (read_record(path) or {}).get("image_sha256"):
        yield f"sha256:{digest}"


def _files(folder: Path) -> Iterator[File]:
    """All files below a folder, or the one file that is in its place."""
    try:
        found = folder.lstat()
        inside = sorted(folder.iterdir()) if stat.S_ISDIR(found.st_mode) else None
    except OSError:
        return
    if inside is None:
        yield File(folder, found.st_size, found.st_blocks * 512, found.st_ino, found.st_nlink)
        return
    for path in inside:
        yield from _files(path)
