"""Images in local files: OCI layouts, OCI archives, and what `docker save` writes.

In: the path of a folder or tar file, perhaps an image's name in it. Out: the digest of a manifest
whose blobs are now in the store, so that the file may change or go away. Reads nothing else.

Sources: OCI image spec, image-layout.md; containers-transports(5); Docker's image spec v1.2
("Combined Image JSON + Filesystem Changeset Format").
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from i2kit.errors import InputError, OperationError, Problem
from i2kit.image.sources import layers, oci
from i2kit.image.sources.oci import BadImage
from i2kit.image.store import CHUNK_BYTES, Store, WrongContent
from i2kit.image.tree import tar
from i2kit.model.reference import InvalidReference, Reference, parse

TRANSPORTS = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken in: the manifest's or index's digest, and a repository name made of the file's."""

    digest: str
    name: str


class _Files(Protocol):
    """The files of a layout, wherever they are. Names are relative, with slashes."""

    def find(self, name: str) -> tuple[Path, int, int] | None:
        """File, offset and size in bytes of a name's content; None where there is none."""
        ...


def is_local(reference: str) -> bool:
    """Whether a reference names a local file by a transport, such as oci:PATH."""
    return reference.partition(":")[0] in TRANSPORTS and ":" in reference


def find(wanted: Reference, files: Sequence[Path], store: Store) -> str | None:
    """The reference by transport of the image with this name in one of the files; None where none has it.

    A name is what `docker save`, skopeo and containerd write beside an image; a digest needs none.
    Raises InputError for a file that is missing, BadImage for one that holds no images.
    """
    for path in files:
        if not path.exists():
            raise InputError([Problem(f"{path}, which should hold images, does not exist")])
        try:
            for transport, name, digest in _names(path, store):
                if _is(wanted, name):
                    return f"{transport}:{path}:{name}"
                if wanted.digest and digest == wanted.digest:
                    return f"{transport}:{path}:@{digest}"
        except tar.DamagedTar as error:
            raise BadImage(f"{path} cannot be read as an archive: {error}") from error
        except OSError as error:
            raise OperationError(f"cannot read {path}: {error.strerror}") from error
    return None


def _is(wanted: Reference, name: str) -> bool:
    try:
        found = parse(name)
    except InvalidReference:
        return False
    return found == wanted or (wanted.digest is not None and found.digest == wanted.digest)


def _names(path: Path, store: Store) -> list[tuple[str, str, str]]:
    """Of all images in a file: the transport that reads it, its name and its digest; "" for none."""
    if path.is_dir():
        return [("oci", *one) for one in _names_in_layout(_Folder(path), path)]
    with _archive(path, store) as archive:
        content = _read(archive, "manifest.json")
        if content is None:
            return [("oci-archive", *one) for one in _names_in_layout(archive, path)]
        images = _saved(content, str(path))
        return [("docker-archive", tag, "") for one in images for tag in one.tags]


def _names_in_layout(files: _Files, path: Path) -> list[tuple[str, str]]:
    content = _read(files, "index.json")
    index = oci.read_manifest(content, str(path), oci.OCI_INDEX) if content is not None else None
    if not isinstance(index, oci.Index):
        raise BadImage(f"{path} holds no images: it is neither an OCI layout nor what docker save writes")
    return [(entry.full_name or entry.name, entry.digest) for entry in index.entries]


def take_in(reference: str, store: Store, platform: str) -> Imported:
    """Copy an image into the store; `reference` is TRANSPORT:PATH[:NAME] with one of TRANSPORTS.

    Raises InputError when there is no such file, BadImage when it does not hold one image for `platform`.
    """
    transport, _, rest = reference.partition(":")
    path, name = _split(rest)
    if not path.exists():
        raise InputError(
            [
                Problem(
                    f"the image {reference} is not there: {path} does not exist",
                    hint=f"{transport}:PATH[:NAME]",
                )
            ]
        )
    try:
        if transport == "oci":
            if not path.is_dir():
                raise BadImage(f"{path} is not a folder", hint=f"for a file, write oci-archive:{path}")
            digest = _take_in_layout(_Folder(path), name, reference, store, platform)
            return Imported(digest, _repository(path.name))
        with _archive(path, store) as archive:
            if transport == "oci-archive":
                digest = _take_in_layout(archive, name, reference, store, platform)
                return Imported(digest, _repository(path.name))
            return _take_in_docker(archive, name, reference, store, path)
    except tar.DamagedTar as error:
        raise BadImage(f"{path} cannot be read as an archive: {error}") from error
    except OSError as error:
        raise OperationError(f"cannot read {path}: {error.strerror}") from error


def _split(rest: str) -> tuple[Path, str]:
    # As with skopeo, the first colon ends the path; one in an existing path's name is forgiven.
    if Path(rest).exists():
        return Path(rest), ""
    path, _, name = rest.partition(":")
    return Path(path), name


def _repository(file: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", file.lower().removesuffix(".tar")).strip("-") or "image"


# OCI layouts


def _take_in_layout(files: _Files, name: str, image: str, store: Store, platform: str) -> str:
    content = _read(files, "index.json")
    if content is None:
        raise BadImage(
            f"{image} is not an OCI layout: it has no index.json",
            hint="for what docker save wrote, write docker-archive:FILE",
        )
    index = oci.read_manifest(content, image, oci.OCI_INDEX)
    if not isinstance(index, oci.Index):
        raise BadImage(f"{image}: its index.json is not an index")
    entry = _named(index, name, image, platform)
    manifest = _manifest(files, entry, image, store)
    if isinstance(manifest, oci.Index):
        manifest = _manifest(files, oci.choose(manifest, platform, image), image, store)
    if isinstance(manifest, oci.Index):
        raise BadImage(f"{image} has an index in an index in an index")
    config_content = _copy(files, manifest.config, image, store)
    diff_ids = oci.read_config(config_content.read_bytes(), image).diff_ids
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=False):
        if store.blob(diff_id) is None:
            _copy(files, layer, image, store)
    return entry.digest


def _named(index: oci.Index, name: str, image: str, platform: str) -> oci.Descriptor:
    entries = [
        entry
        for entry in index.entries
        if not name or name in (entry.name, entry.full_name, f"@{entry.digest}")
    ]
    # One image may be there under several names.
    if len({entry.digest for entry in entries}) == 1:
        return entries[0]
    if entries and all(entry.platform for entry in entries):
        return oci.choose(oci.Index(tuple(entries)), platform, image)
    names = ", ".join(sorted({entry.name for entry in index.entries if entry.name})) or "none with a name"
    problem = f"holds no image named `{name}`" if name and not entries else "holds several images"
    if not index.entries:
        problem = "holds no image"
    raise BadImage(f"{image} {problem}", hint=f"its images: {names}; choose one with :NAME at the end")


def _manifest(files: _Files, entry: oci.Descriptor, image: str, store: Store) -> oci.Index | oci.Manifest:
    if entry.size_bytes > oci.MAX_JSON_BYTES:
        raise BadImage(f"the manifest of {image} is larger than {oci.MAX_JSON_BYTES >> 20} MiB")
    path = _copy(files, entry, image, store)
    return oci.read_manifest(path.read_bytes(), image, entry.media_type)


def _copy(files: _Files, entry: oci.Descriptor, image: str, store: Store) -> Path:
    name = f"blobs/{entry.digest.replace(':', '/')}"
    found = files.find(name)
    if found is None:
        raise BadImage(f"{image} is incomplete: {name} is missing")
    try:
        return store.add_blob(_chunks(*found), entry.digest, entry.size_bytes)
    except WrongContent as error:
        raise BadImage(f"{image} is damaged: {error.message}", hint="write it again") from error


# docker save


def _take_in_docker(files: _Files, name: str, image: str, store: Store, path: Path) -> Imported:
    content = _read(files, "manifest.json")
    if content is None:
        raise BadImage(
            f"{image} is not what docker save writes: it has no manifest.json",
            hint="for an OCI archive, write oci-archive:FILE; for an exported file system, import it first",
        )
    chosen, tag = _chosen(_saved(content, image), name, image)
    config_content = _read(files, chosen.config)
    if config_content is None:
        raise BadImage(f"{image} is incomplete: its config {chosen.config} is missing", hint="write it again")
    config = oci.read_config(config_content, image)
    if len(chosen.layers) != len(config.diff_ids):
        raise BadImage(
            f"{image}: its manifest.json and its config do not have the same layers", hint="write it again"
        )
    descriptors = []
    for layer, diff_id in zip(chosen.layers, config.diff_ids, strict=True):
        found = files.find(layer)
        if found is None:
            raise BadImage(f"{image} is incomplete: its layer {layer} is missing")
        descriptors.append(_take_in_docker_layer(found, diff_id, image, store))
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.DOCKER_MANIFEST,
        "config": {
            "mediaType": oci.DOCKER_CONFIG,
            "digest": store.add_bytes(config_content),
            "size": len(config_content),
        },
        "layers": descriptors,
    }
    digest = store.add_bytes(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
    try:
        repository = parse(tag).repository.rpartition("/")[2]
    except InvalidReference:
        repository = _repository(path.name)
    return Imported(digest, repository)


@dataclass(frozen=True, slots=True)
class _Saved:
    """One image in a manifest.json: names of its files, and its own."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def _saved(content: bytes, image: str) -> tuple[_Saved, ...]:
    what = f"the manifest.json of {image}"
    images = oci.parse_json(content, what)
    if not isinstance(images, list) or not all(isinstance(one, dict) for one in images):
        raise BadImage(f"{what} is not a list of images", hint="write it again")
    return tuple(
        _Saved(
            oci.string(one.get("Config"), f"{what}: Config"),
            oci.strings(one.get("Layers"), f"{what}: Layers"),
            oci.strings(one.get("RepoTags"), f"{what}: RepoTags"),
        )
        for one in images
    )


def _chosen(images: Sequence[_Saved], name: str, image: str) -> tuple[_Saved, str]:
    tagged = [(one, tag) for one in images for tag in one.tags or ("",)]
    if name:
        wanted = parse(name)
        for one, tag in tagged:
            if tag and _is(wanted, tag):
                return one, tag
    elif len(images) == 1:
        return tagged[0]
    tags = ", ".join(tag for _, tag in tagged if tag) or "none with a name"
    problem = f"holds no image named `{name}`" if name else f"holds {len(images)} images"
    raise BadImage(f"{image} {problem}", hint=f"its images: {tags}; choose one with :NAME at the end")


def _take_in_docker_layer(
    found: tuple[Path, int, int], diff_id: str, image: str, store: Store
) -> dict[str, object]:
    path, offset, size = found
    with path.open("rb") as file:
        file.seek(offset)
        compression = layers.media_suffix(file.read(min(size, 6)), f"{image}: the layer {diff_id}")
    digest = hashlib.sha256()
    for chunk in _chunks(path, offset, size):
        digest.update(chunk)
    name = f"sha256:{digest.hexdigest()}"
    if store.blob(diff_id) is None:
        store.add_blob(_chunks(path, offset, size), name, size)
    return {
        "mediaType": oci.DOCKER_LAYER + (f".{compression}" if compression else ""),
        "digest": name,
        "size": size,
    }


# Files in folders and archives


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path

    def find(self, name: str) -> tuple[Path, int, int] | None:
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            return None
        path = self.path / name
        return (path, 0, path.stat().st_size) if path.is_file() else None


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    members: dict[str, tar.Member]

    def find(self, name: str) -> tuple[Path, int, int] | None:
        for _ in range(8):
            member = self.members.get(name)
            if member is None or member.type not in (tar.REGULAR, tar.SYMLINK, tar.HARDLINK):
                return None
            if member.type == tar.REGULAR:
                return self.path, member.offset_bytes, member.size_bytes
            # Older versions of docker save point from one image's layer to another's.
            start = PurePosixPath(name).parent if member.type == tar.SYMLINK else PurePosixPath()
            name = _normal(str(start / member.linkname))
        return None


@contextmanager
def _archive(path: Path, store: Store) -> Iterator[_Archive]:
    """A tar file's members by name; one compressed as a whole is decompressed for the time."""
    if path.is_dir():
        raise BadImage(f"{path} is a folder", hint=f"for an OCI layout, write oci:{path}")
    if not path.is_file():
        # A pipe can be read once, and images are looked for by name first.
        raise BadImage(f"{path} is not a regular file", hint="write what a pipe brings to a file first")
    with store.scratch() as scratch:
        plain = layers.decompressed(path, scratch)
        members = {}
        for count, member in enumerate(tar.members(plain)):
            if count == 100_000:
                raise BadImage(f"{path} has too many entries for an image archive")
            members[_normal(member.name)] = member
        yield _Archive(plain, members)


def _normal(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _read(files: _Files, name: str) -> bytes | None:
    found = files.find(name)
    if found is None:
        return None
    if found[2] > oci.MAX_JSON_BYTES:
        raise BadImage(f"{found[0]}: {name} is larger than {oci.MAX_JSON_BYTES >> 20} MiB")
    return b"".join(_chunks(*found))


def _chunks(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while size and (chunk := file.read(min(size, CHUNK_BYTES))):
            size -= len(chunk)
            yield chunk
