"""Images of the store as an OCI layout: what a volume with `format: oci` holds, what other tools import.

In: images whose layers are in the store. Out: a Tree, the same for the same images. Asks no registry.

Layers are there uncompressed, since the store keeps them so and no compressor writes the same bytes
everywhere; the manifests are made anew for that, so their digests are not those of the registry.
Source: OCI image spec, image-layout.md.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2kit.errors import OperationError
from i2kit.image.linuxkit.text import expanded_reference
from i2kit.image.sources import oci
from i2kit.image.store import Store, canonical_json
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key
from i2kit.model import ResolvedImage

MTIME_S = 1492533000
"""LinuxKit's, as of everything else that comes from no image."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image and its layers as uncompressed tars, bottom first."""

    image: ResolvedImage
    layers: tuple[Path, ...]


def fetcher(
    resolve: Callable[[str, str], ResolvedImage],
    pull: Callable[[ResolvedImage, str], tuple[Path, ...]],
    store: Store,
    platform: str,
) -> Callable[[str, tuple[str, ...]], Tree]:
    """How `assemble` gets volumes with `format: oci`. `resolve` takes a reference and a platform, `pull`
    an image and its platform.

    Without platforms it is the machine's own, `platform`; LinuxKit takes all that there are.
    """

    def fetch(reference: str, platforms: tuple[str, ...]) -> Tree:
        images = [(resolve(reference, one), one) for one in platforms or (platform,)]
        stored = [Stored(image, pull(image, one)) for image, one in images]
        return layout(expanded_reference(reference), stored, store)

    return fetch


def layout(name: str, images: Sequence[Stored], store: Store) -> Tree:
    """An index of `images`, one for each platform, under `name`. Raises OperationError for missing blobs."""
    blobs: dict[str, Entry] = {}

    def add(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = _file(f"blobs/sha256/{digest}", Content(len(content), data=content))
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    manifests = []
    for stored in images:
        content = _config(stored.image, store)
        layers = []
        for layer, path in zip(stored.image.layers, stored.layers, strict=True):
            digest, size = layer.diff_id.partition(":")[2], path.stat().st_size
            blobs[digest] = _file(f"blobs/sha256/{digest}", Content(size, source=path))
            layers.append({"mediaType": oci.OCI_LAYER, "digest": layer.diff_id, "size": size})
        manifest = {
            "schemaVersion": 2,
            "mediaType": oci.OCI_MANIFEST,
            "config": add(content, oci.OCI_CONFIG),
            "layers": layers,
        }
        config = json.loads(content)
        platform = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
        manifests.append({**add(canonical_json(manifest), oci.OCI_MANIFEST), "platform": platform})
    index = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": manifests}
    named = {
        **add(canonical_json(index), oci.OCI_INDEX),
        # The second is what LinuxKit's and containerd's import go by.
        "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name},
    }
    outer = canonical_json({"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": [named]})
    version = b'{"imageLayoutVersion":"1.0.0"}'
    entries = [
        *(Entry(path, Kind.DIRECTORY, 0o755, mtime_s=MTIME_S) for path in ("", "blobs", "blobs/sha256")),
        *blobs.values(),
        _file("index.json", Content(len(outer), data=outer)),
        _file("oci-layout", Content(len(version), data=version)),
    ]
    return tuple(sorted(entries, key=lambda entry: sort_key(entry.path)))


def _config(image: ResolvedImage, store: Store) -> bytes:
    manifest = store.read_blob(image.digest)
    parsed = oci.read_manifest(manifest, image.reference) if manifest is not None else None
    content = store.read_blob(parsed.config.digest) if isinstance(parsed, oci.Manifest) else None
    if content is None:
        raise OperationError(
            f"the manifest or config of {image.reference} is no longer in the store {store.root}",
            hint="run the same command again",
        )
    return content


def _file(path: str, content: Content) -> Entry:
    return Entry(path, Kind.FILE, 0o644, mtime_s=MTIME_S, content=content)
