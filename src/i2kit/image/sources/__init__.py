"""From an image reference to files: which image it is, and its layers as uncompressed tars.

In: a reference as people write it (`nginx:1.27`, `oci:PATH`, `i2kit/NAME@sha256:…`), the store.
Out: a ResolvedImage pinned by digest; then its layers. A tag is asked for every time, content that
the store has is never fetched again. Nothing here looks inside layers.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.events import Finished, Note, Progress, Started, Watcher, ignore
from i2kit.image.sources import layouts, oci
from i2kit.image.sources.credentials import NO_LOGINS, Logins
from i2kit.image.sources.layers import Room, unpack
from i2kit.image.sources.oci import BadImage
from i2kit.image.sources.registry import Registry
from i2kit.image.store import CHUNK_BYTES, Store, canonical_json, sha256_of
from i2kit.model import Layer, ResolvedImage
from i2kit.model.reference import Reference, parse

DOWNLOADS = 3
"""Layers at a time, as docker does."""
OWN = "i2kit"
"""The repository folder of base components, which exist in the store only."""
LOCAL = "localhost"
"""The registry name of images that came from local files, as with podman."""
_LOCAL_NAME = re.compile(rf"\b{LOCAL}/[^@\s]+@")


def nameless(text: str) -> str:
    """The text with local images told by their digest alone: a file's name is no part of its image."""
    return _LOCAL_NAME.sub(f"{LOCAL}/image@", text)


def resolve(
    reference: str,
    *,
    store: Store,
    logins: Logins = NO_LOGINS,
    images: Sequence[Path] = (),
    platform: str = "linux/amd64",
    watch: Watcher = ignore,
) -> ResolvedImage:
    """Find out which image a reference means, and read its config.

    `logins` are asked where a registry wants one. `images` are
    OCI layouts and image archives: what has this name in one of them is asked of no registry. Raises
    InvalidReference, or OperationError: not found, login needed, unreachable, not an image for `platform`.
    """
    if _is_own(reference):
        return _own(reference, store, platform)
    key = f"resolve {reference}"
    watch(Started(key, f"resolve {reference}"))
    if local := _local(reference, images, store):
        taken = layouts.take_in(local, store, platform)
        name = f"{LOCAL}/{taken.name}" if local == reference else parse(reference).name
        image = _from_store(reference, name, taken.digest, store, platform)
    else:
        try:
            image = _from_registry(reference, store, logins, platform, watch)
        except OperationError as error:
            if images:
                nowhere = f"no image in {', '.join(map(str, images))} has this name"
                error.hint = f"{error.hint}; {nowhere}" if error.hint else nowhere
            raise
    if image is None:
        raise BadImage(f"{reference} is incomplete", hint="the image is damaged; build and push it again")
    watch(Finished(key, image.digest[:19]))
    return image


def pull(
    image: ResolvedImage,
    *,
    store: Store,
    logins: Logins = NO_LOGINS,
    images: Sequence[Path] = (),
    platform: str = "linux/amd64",
    watch: Watcher = ignore,
) -> tuple[Path, ...]:
    """The layers of an image as uncompressed tars, bottom first; each is verified against its diff_id.

    What is missing or was damaged on disk is fetched, from where `resolve` had it, several layers at a
    time. Raises OperationError; what is complete stays in the store and what is not is continued by the
    next call.
    """
    missing = {layer.diff_id: layer for layer in image.layers if store.verified_blob(layer.diff_id) is None}
    if missing:
        lost = any(store.verified_blob(layer.digest) is None for layer in missing.values())
        if lost and (local := _local(image.reference, images, store)):
            layouts.take_in(local, store, platform)
        key = f"pull {image.pinned}"
        watch(Started(key, f"pull {image.reference}"))
        _fetch(list(missing.values()), image, store, logins, key, watch)
        watch(Finished(key, f"{len(missing)} layers"))
    return tuple(_present(layer, image, store) for layer in image.layers)


def add_local_image(
    store: Store,
    layers: Sequence[Path],
    config: Mapping[str, object],
    name: str,
    *,
    platform: str = "linux/amd64",
) -> ResolvedImage:
    """Put an image of our own into the store; it is then known as `i2kit/NAME@sha256:…`.

    `layers` are uncompressed layers, bottom first; `config` is the `config` object of the OCI image
    config (Entrypoint, Cmd, Env, …). The same inputs give the same digest.
    """
    descriptors = []
    for path in layers:
        with path.open("rb") as file:
            digest = f"sha256:{sha256_of(path)}"
            store.add_blob(iter(lambda: file.read(CHUNK_BYTES), b""), digest)
        descriptors.append({"mediaType": oci.OCI_LAYER, "digest": digest, "size": path.stat().st_size})
    os_, _, architecture = platform.partition("/")
    image_config = canonical_json(
        {
            "architecture": architecture,
            "os": os_,
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [entry["digest"] for entry in descriptors]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": {
            "mediaType": oci.OCI_CONFIG,
            "digest": store.add_bytes(image_config),
            "size": len(image_config),
        },
        "layers": descriptors,
    }
    pinned = f"{OWN}/{name}@{store.add_bytes(canonical_json(manifest))}"
    return resolve(pinned, store=store, platform=platform)


def _is_own(reference: str) -> bool:
    return reference.startswith(f"{OWN}/") and "@" in reference


def _local(reference: str, images: Sequence[Path], store: Store) -> str | None:
    """Where a reference means an image in a local file, the reference by transport."""
    if layouts.is_local(reference):
        return reference
    return None if _is_own(reference) else layouts.find(parse(reference), images, store)


def _own(reference: str, store: Store, platform: str) -> ResolvedImage:
    parsed = parse(reference)
    assert parsed.digest is not None
    name = parsed.name.removeprefix("docker.io/")
    image = _from_store(reference, name, parsed.digest, store, platform)
    if image is None or any(store.blob(layer.diff_id) is None for layer in image.layers):
        raise OperationError(
            f"the base component {reference} is not in the store {store.root}",
            hint="base components are made on this machine; build again without naming this digest",
        )
    return image


def _from_registry(
    text: str, store: Store, logins: Logins, platform: str, watch: Watcher
) -> ResolvedImage | None:
    reference = parse(text)
    if reference.digest and (image := _from_store(text, reference.name, reference.digest, store, platform)):
        return image
    registry = Registry(reference.registry, logins=logins, tell=lambda message: watch(Note(message)))
    raw = registry.manifest(reference)
    manifest = oci.read_manifest(raw.content, str(reference), raw.media_type)
    if isinstance(manifest, oci.Index):
        store.add_bytes(raw.content)
        entry = oci.choose(manifest, platform, str(reference))
        raw = registry.manifest(reference, entry.digest)
        if len(raw.content) != entry.size_bytes:
            raise BadImage(
                f"the index of {reference} says that its manifest has {entry.size_bytes} bytes,"
                f" but it has {len(raw.content)}"
            )
        manifest = oci.read_manifest(raw.content, str(reference), raw.media_type)
    if isinstance(manifest, oci.Index):
        raise BadImage(f"{reference} has an index in an index")
    registry.blob(reference, manifest.config, store)
    digest = store.add_bytes(raw.content)
    return _from_store(text, reference.name, digest, store, platform)


def _from_store(text: str, name: str, digest: str, store: Store, platform: str) -> ResolvedImage | None:
    """The image that the store's manifest or index of this digest describes; None if parts are missing."""
    content = store.read_blob(digest)
    manifest = oci.read_manifest(content, text) if content is not None else None
    if isinstance(manifest, oci.Index):
        digest = oci.choose(manifest, platform, text).digest
        content = store.read_blob(digest)
        manifest = oci.read_manifest(content, text) if content is not None else None
    if not isinstance(manifest, oci.Manifest):
        return None
    config_content = store.read_blob(manifest.config.digest)
    if config_content is None:
        return None
    config = oci.read_config(config_content, text)
    if config.platform and config.platform.split("/")[:2] != platform.split("/")[:2]:
        raise oci.wrong_platform(text, platform, [config.platform])
    if len(config.diff_ids) != len(manifest.layers):
        raise BadImage(
            f"{text} has {len(manifest.layers)} layers, but its config names {len(config.diff_ids)}"
        )
    found = tuple(
        Layer(layer.digest, diff_id, layer.media_type, layer.size_bytes)
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
    return ResolvedImage(
        reference=text,
        pinned=f"{name}@{digest}",
        digest=digest,
        config=config.start,
        layers=found,
        size_bytes=sum(layer.size_bytes for layer in found),
    )


class _Stopped(Exception):
    """Another layer failed, or the user interrupted: this one ends as well."""


def _fetch(
    missing: Sequence[Layer],
    image: ResolvedImage,
    store: Store,
    logins: Logins,
    key: str,
    watch: Watcher,
) -> None:
    reference = parse(image.pinned)
    total = sum(layer.size_bytes for layer in missing)
    stopped, telling, done = threading.Event(), threading.Lock(), 0

    def check() -> None:
        if stopped.is_set():
            raise _Stopped

    def arrived(count: int) -> None:
        nonlocal done
        check()
        with telling:
            done += count
            watch(Progress(key, done, total, "bytes"))

    def pause(delay_s: float) -> None:
        stopped.wait(delay_s)
        check()

    def tell(message: str) -> None:
        with telling:
            watch(Note(message))

    registry = Registry(reference.registry, logins=logins, pause=pause, tell=tell)
    room = Room(image.reference, image.size_bytes)
    for digest in {layer.diff_id for layer in image.layers} - {layer.diff_id for layer in missing}:
        if path := store.blob(digest):
            room.take(path.stat().st_size)

    def fetch(layer: Layer) -> None:
        with store.lock(f"layer-{layer.diff_id}"):
            if store.blob(layer.diff_id):
                arrived(layer.size_bytes)
                return
            blob = store.verified_blob(layer.digest)
            if blob is None:
                blob = _download(layer, image, reference, registry, store, arrived)
            else:
                arrived(layer.size_bytes)
            unpack(blob, layer, image.reference, store, room, check)

    with ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="pull") as pool:
        futures = [pool.submit(fetch, layer) for layer in missing]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _download(
    layer: Layer,
    image: ResolvedImage,
    reference: Reference,
    registry: Registry,
    store: Store,
    arrived: Callable[[int], None],
) -> Path:
    if image.pinned.startswith(f"{OWN}/") or layouts.is_local(image.reference):
        return _present(layer, image, store)
    descriptor = oci.Descriptor(layer.media_type, layer.digest, layer.size_bytes)
    return registry.blob(reference, descriptor, store, arrived)


def _present(layer: Layer, image: ResolvedImage, store: Store) -> Path:
    path = store.blob(layer.diff_id)
    if path is None:
        raise OperationError(
            f"the layer {layer.diff_id} of {image.reference} is no longer in the store {store.root}",
            hint="run the same command again",
        )
    return path
