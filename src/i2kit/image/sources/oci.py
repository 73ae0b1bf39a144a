"""The JSON of images: manifests, indexes and configs, checked before anything believes them.

In: bytes of unknown origin. Out: frozen values with verified types and sane sizes, or BadImage.
Pure: fetches nothing, verifies no content against a digest.

Sources: OCI image spec (descriptor.md, manifest.md, image-index.md, config.md), Docker Image
Manifest V2 Schema 2.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from i2kit.errors import OperationError
from i2kit.model import ImageConfig, Pairs, Port

MAX_JSON_BYTES = 4 << 20
"""Largest manifest or config; the size that registries are asked to accept (distribution spec)."""
MAX_LAYERS = 500
"""Docker builds at most 127."""
MAX_IMAGE_BYTES = 20 << 30

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
ACCEPTED = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
_LAYERS = {
    f"{kind}{compression}"
    for kind, compressions in (
        (OCI_LAYER, ("", "+gzip", "+zstd")),
        (DOCKER_LAYER, ("", ".gzip", ".zstd")),
    )
    for compression in compressions
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class BadImage(OperationError):
    """What was found is not an image that can run here; the message says what it is instead."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or "build it and push or save it again, or use another image")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to a blob. `platform` and the names (annotations) only stand in indexes."""

    media_type: str
    digest: str
    size_bytes: int
    platform: str = ""
    """os/architecture[/variant], such as linux/arm64/v8."""
    name: str = ""
    full_name: str = ""
    """With registry and repository: containerd's annotation, beside which `name` may be just a tag."""


@dataclass(frozen=True, slots=True)
class Index:
    """A list of images, one per platform; attestations and other companions are left out."""

    entries: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its config and its layers, bottom first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """An image's config: how to start it, what it was built for, and its layers' diff_ids."""

    start: ImageConfig
    platform: str
    diff_ids: tuple[str, ...]


def parse_json(content: bytes, what: str) -> Any:
    """Any JSON of limited size. Raises BadImage that begins with `what`."""
    if len(content) > MAX_JSON_BYTES:
        raise BadImage(f"{what} is larger than {MAX_JSON_BYTES >> 20} MiB")
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadImage(f"{what} is not JSON: {error}") from None
    except RecursionError:
        raise BadImage(f"{what} is nested too deeply") from None
    except ValueError:
        raise BadImage(f"{what} holds a number of too many digits") from None


def read_json(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object of limited size. Raises BadImage that begins with `what`."""
    value = parse_json(content, what)
    if not isinstance(value, dict):
        raise BadImage(f"{what} is not a JSON object")
    return value


def read_manifest(content: bytes, image: str, media_type: str = "") -> Index | Manifest:
    """Read a manifest or an index; `media_type` is what its sender called it.

    Raises BadImage for schema 1, artifacts that are no container images, and absurd sizes.
    """
    what = f"the manifest of {image}"
    value = read_json(content, what)
    if value.get("schemaVersion") == 1 or "fsLayers" in value:
        raise BadImage(
            f"{image} has the manifest format schema 1, which registries gave up in 2019",
            hint="pull and push it again with a current docker, podman or skopeo",
        )
    kind = string(value.get("mediaType"), f"{what}: mediaType") or media_type.partition(";")[0].strip()
    if "layers" in value and "manifests" in value:
        # Two readers could see two different images (CVE-2021-41190).
        raise BadImage(f"{what} claims to be both an image and an index")
    if "manifests" in value and kind not in (OCI_MANIFEST, DOCKER_MANIFEST):
        entries = _list(value["manifests"], f"{what}: manifests")
        if len(entries) > MAX_LAYERS:
            raise BadImage(f"{what} lists {len(entries)} images")
        found = (_descriptor(entry, f"{what}: manifests[{i}]") for i, entry in enumerate(entries))
        return Index(tuple(entry for entry in found if not entry.platform.startswith("unknown/")))
    if "layers" not in value or kind in (OCI_INDEX, DOCKER_INDEX):
        raise BadImage(f"{image} is not a container image" + (f" but {kind}" if kind else ""))
    return _manifest(value, image, what)


def _manifest(value: dict[str, Any], image: str, what: str) -> Manifest:
    config = _descriptor(value.get("config"), f"{what}: config")
    if config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        kind = string(value.get("artifactType"), f"{what}: artifactType") or config.media_type
        raise BadImage(
            f"{image} is not a container image but {kind}",
            hint="Helm charts, signatures and other artifacts share registries with images",
        )
    entries = _list(value["layers"], f"{what}: layers")
    if len(entries) > MAX_LAYERS:
        raise BadImage(f"{image} has {len(entries)} layers; {MAX_LAYERS} are the most that is accepted")
    layers = tuple(_descriptor(entry, f"{what}: layers[{i}]") for i, entry in enumerate(entries))
    for layer in layers:
        if layer.media_type not in _LAYERS:
            raise BadImage(
                f"{image}: the layer {layer.digest} has the unsupported type {layer.media_type}",
                hint="encrypted layers, and layers that may not be distributed, cannot be used",
            )
    if config.size_bytes > MAX_JSON_BYTES:
        raise BadImage(f"{image}: its config has {config.size_bytes} bytes")
    if (total := sum(layer.size_bytes for layer in layers)) > MAX_IMAGE_BYTES:
        raise BadImage(
            f"{image}: its layers have {total} bytes; {MAX_IMAGE_BYTES >> 30} GiB are the most accepted"
        )
    return Manifest(config, layers)


def choose(index: Index, platform: str, image: str) -> Descriptor:
    """The index's entry for a platform such as linux/amd64. Raises BadImage listing what there is."""
    for wanted in (platform, f"{platform}/v8" if platform == "linux/arm64" else f"{platform}/v1"):
        for entry in index.entries:
            if entry.platform == wanted:
                return entry
    if len(index.entries) == 1 and not index.entries[0].platform:
        return index.entries[0]
    raise wrong_platform(image, platform, [entry.platform for entry in index.entries if entry.platform])


def wrong_platform(image: str, platform: str, found: Sequence[str]) -> BadImage:
    """The error for an image of another architecture."""
    there = ", ".join(dict.fromkeys(found)) or "nothing that says what it is for"
    return BadImage(
        f"{image} is not built for {platform}; there is: {there}",
        hint=f"build it for {platform}, or use another image",
    )


def read_config(content: bytes, image: str) -> Config:
    """Read an image's config. Raises BadImage naming the field that is wrong."""
    what = f"the config of {image}"
    value = read_json(content, what)
    rootfs = _object(value.get("rootfs"), f"{what}: rootfs")
    diff_ids = strings(rootfs.get("diff_ids"), f"{what}: rootfs.diff_ids")
    for diff_id in diff_ids:
        if not _DIGEST.fullmatch(diff_id):
            raise BadImage(f"{what}: `{diff_id[:100]}` is not a sha256 digest")
    names = [string(value.get(key), f"{what}: {key}") for key in ("os", "architecture", "variant")]
    return Config(
        _image_config(_object(value.get("config"), f"{what}: config"), what),
        "/".join(name for name in names if name),
        diff_ids,
    )


def _image_config(value: dict[str, Any], what: str) -> ImageConfig:
    env = []
    for variable in strings(value.get("Env"), f"{what}: config.Env"):
        name, _, content = variable.partition("=")
        if not name:
            raise BadImage(f"{what}: config.Env: `{variable[:100]}` is not NAME=VALUE")
        env.append((name, content))
    directory = string(value.get("WorkingDir"), f"{what}: config.WorkingDir") or "/"
    labels = _object(value.get("Labels"), f"{what}: config.Labels")
    return ImageConfig(
        entrypoint=strings(value.get("Entrypoint"), f"{what}: config.Entrypoint"),
        cmd=strings(value.get("Cmd"), f"{what}: config.Cmd"),
        # A name that occurs twice has the value of its last occurrence, at the place of its first.
        env=tuple(dict(env).items()),
        working_dir=directory if directory.startswith("/") else f"/{directory}",
        user=string(value.get("User"), f"{what}: config.User"),
        labels=_labels(labels, what),
        stop_signal=string(value.get("StopSignal"), f"{what}: config.StopSignal"),
        ports=_ports(_object(value.get("ExposedPorts"), f"{what}: config.ExposedPorts")),
    )


def _ports(exposed: dict[str, Any]) -> tuple[Port, ...]:
    """What is said such as 80/tcp, in the order of numbers; what is said in other words is for nobody."""
    found = set()
    for text in exposed:
        number, _, protocol = text.partition("/")
        if number.isascii() and number.isdigit() and 0 < int(number[:6]) < 65536:
            if protocol in ("", "tcp"):
                found.add((int(number), False))
            elif protocol == "udp":
                found.add((int(number), True))
    return tuple(Port(number, protocol="UDP" if udp else "TCP") for number, udp in sorted(found))


def _labels(value: dict[str, Any], what: str) -> Pairs:
    return tuple((key, string(value[key], f"{what}: config.Labels.{key}")) for key in sorted(value))


def _descriptor(value: object, what: str) -> Descriptor:
    entry = _object(value, what)
    digest = string(entry.get("digest"), f"{what}.digest")
    if not _DIGEST.fullmatch(digest):
        raise BadImage(f"{what}: `{digest[:100]}` is not a sha256 digest")
    size = entry.get("size")
    if type(size) is not int or size < 0:
        raise BadImage(f"{what}: the size is {str(size)[:100]}")
    platform = _object(entry.get("platform"), f"{what}.platform")
    names = [string(platform.get(key), f"{what}.platform") for key in ("os", "architecture", "variant")]
    annotations = _object(entry.get("annotations"), f"{what}.annotations")
    return Descriptor(
        media_type=string(entry.get("mediaType"), f"{what}.mediaType"),
        digest=digest,
        size_bytes=size,
        platform="/".join(name for name in names if name),
        name=string(annotations.get("org.opencontainers.image.ref.name"), f"{what}.annotations"),
        full_name=string(annotations.get("io.containerd.image.name"), f"{what}.annotations"),
    )


# null stands for "not there" in the JSON that Go programs write.


def _object(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadImage(f"{what} is not an object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadImage(f"{what} is not a list")
    return value


def string(value: object, what: str) -> str:
    """A string, empty for null. Raises BadImage that begins with `what`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadImage(f"{what} is not a string")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise BadImage(f"{what} holds a character that no program can be given")
    return value


def strings(value: object, what: str) -> tuple[str, ...]:
    """Several of them. Raises BadImage that begins with `what`."""
    return tuple(string(item, f"{what}[{i}]") for i, item in enumerate(_list(value, what)))
