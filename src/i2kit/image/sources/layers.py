"""Layer blobs to uncompressed tars in the store.

In: a blob as its registry or archive had it. Out: the path of the tar whose digest is the layer's
diff_id. What the blob is, its first bytes say; the media type is not trusted. Memory stays bounded,
and so does the disk: a layer that grows beyond all proportion is refused.

Sources: OCI image spec, layer.md; RFC 1952 (gzip), RFC 8878 (zstd).
"""

import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from i2kit.image.sources.oci import BadImage
from i2kit.image.store import CHUNK_BYTES, FULL, Store, WrongContent
from i2kit.model import Layer
from i2kit.process import run

MAX_LAYER_BYTES = 20 << 30
UNSUSPICIOUS_BYTES = 1 << 30
MAX_RATIO = 100
"""Real layers shrink to a third or a tenth; zeros shrink a thousandfold. Small ones may do as they like."""

PIECE_BYTES = 16 << 10
"""What is read of gzip at a time: one member may end, and its rest is copied, every twenty bytes."""
MAX_MEMBERS = 400_000
"""Of gzip. Layers that can be read lazily have one for each file."""
ZSTD_MEMORY_BYTES = 400 << 20
"""Of the program. A window takes up to 128 MiB; what else it unpacks, such as xz, has no limit of its own."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""How a frame begins that holds no contents (RFC 8878, 3.1.2)."""
_REFUSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


def media_suffix(head: bytes, what: str) -> str:
    """How the first bytes of `what` say that it is compressed: "", "gzip" or "zstd".

    Raises BadImage for compressions that images do not have.
    """
    for magic, name in _REFUSED.items():
        if head.startswith(magic):
            raise BadImage(
                f"{what} is compressed with {name}", hint="push or save it again with gzip or zstd"
            )
    if head.startswith(_GZIP):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD) or _SKIPPABLE.match(head) else ""


class Room:
    """What the layers of an image may unpack to together: each of many can be a small bomb.

    Several threads may use it at once.
    """

    def __init__(self, image: str, packed_bytes: int) -> None:
        self._image = image
        self._packed_bytes = packed_bytes
        self._limit = self._left = limit_of(packed_bytes)
        self._taking = threading.Lock()

    def take(self, count: int) -> None:
        """Count bytes that were unpacked. Raises BadImage when they are too many."""
        with self._taking:
            self._left -= count
            if self._left < 0:
                raise BadImage(
                    f"{self._image}: its layers of {self._packed_bytes} bytes unpack to more than"
                    f" {self._limit} bytes together",
                    hint="the image is damaged or was made to do harm",
                )


def limit_of(packed_bytes: int) -> int:
    """The most that so many bytes may unpack to."""
    return min(MAX_LAYER_BYTES, max(UNSUSPICIOUS_BYTES, packed_bytes * MAX_RATIO))


def unpack(
    blob: Path, layer: Layer, image: str, store: Store, room: Room, check: Callable[[], None] = lambda: None
) -> Path:
    """Store a layer's uncompressed tar under its diff_id; the compressed blob is dropped afterwards.

    `check` is called again and again, and may raise to stop.
    Raises BadImage when it is damaged, does not become what its diff_id says, or grows too large.
    """

    def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            check()
            room.take(len(chunk))
            yield chunk

    with blob.open("rb") as file:
        compression = media_suffix(file.read(6), f"{image}: the layer {layer.digest}")
    size = blob.stat().st_size
    limit = limit_of(size)
    try:
        if not compression:
            if layer.digest != layer.diff_id:
                raise WrongContent(f"its digest is {layer.digest}")
            return blob
        if compression == "gzip":
            path = store.add_blob(counted(_bounded(_gunzip(blob), limit)), layer.diff_id)
        else:
            with store.scratch() as scratch:
                path = store.add_blob(counted(_unzstd(blob, limit, scratch)), layer.diff_id)
    except WrongContent as error:
        raise BadImage(
            f"{image}: the layer {layer.digest} does not hold what the image's config says"
            f" (diff_id {layer.diff_id}): {error.message}",
            hint="the image is damaged; build and push it again",
        ) from error
    except zlib.error as error:
        raise BadImage(
            f"{image}: the layer {layer.digest} cannot be decompressed: {error}",
            hint="the image is damaged; build and push it again",
        ) from error
    except _TooLarge:
        raise BadImage(
            f"{image}: the layer {layer.digest} of {size} bytes unpacks to more than {limit} bytes",
            hint="the image is damaged or was made to do harm",
        ) from None
    store.remove_blob(layer.digest)
    return path


def decompressed(path: Path, scratch: Path) -> Path:
    """A whole image archive without its compression, in `scratch` if it has one. Raises BadImage."""
    with path.open("rb") as file:
        compression = media_suffix(file.read(6), str(path))
    if not compression:
        return path
    limit = limit_of(path.stat().st_size)
    target = scratch / "archive.tar"
    chunks = _bounded(_gunzip(path), limit) if compression == "gzip" else _unzstd(path, limit, scratch)
    try:
        with target.open("wb") as output:
            output.writelines(chunks)
    except zlib.error as error:
        raise BadImage(f"{path} cannot be decompressed: {error}", hint="write it again") from error
    except _TooLarge:
        raise BadImage(
            f"{path} unpacks to more than {limit} bytes", hint="it is damaged or was made to do harm"
        ) from None
    return target


class _TooLarge(Exception):
    pass


def _bounded(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    for chunk in chunks:
        limit -= len(chunk)
        if limit < 0:
            raise _TooLarge
        yield chunk


def _gunzip(path: Path) -> Iterator[bytes]:
    """The contents of all gzip members one after the other, as gunzip gives them."""
    inflate = zlib.decompressobj(wbits=31)
    members = 1
    with path.open("rb") as file:
        pending = file.read(PIECE_BYTES)
        while pending:
            yield inflate.decompress(pending, CHUNK_BYTES)
            pending = inflate.unconsumed_tail
            if inflate.eof:
                # Zeros after the last member are padding, as gunzip has it.
                pending = inflate.unused_data.lstrip(b"\0")
                while not pending and (more := file.read(PIECE_BYTES)):
                    pending = more.lstrip(b"\0")
                if not pending:
                    return
                members += 1
                if members > MAX_MEMBERS:
                    raise zlib.error(f"it has more than {MAX_MEMBERS:,} members")
                inflate = zlib.decompressobj(wbits=31)
            elif not pending:
                pending = file.read(PIECE_BYTES)
    raise zlib.error("it is cut off")


def _unzstd(path: Path, limit: int, scratch: Path) -> Iterator[bytes]:
    target = scratch / "layer.tar"
    # prlimit keeps a bomb from filling the disk; zstd itself keeps its window below 128 MiB.
    with path.open("rb") as source, target.open("wb") as output:
        done = run(
            ["prlimit", f"--fsize={limit}", f"--as={ZSTD_MEMORY_BYTES}", "zstd", "-dcq", "--no-sparse"],
            stdin=source,
            stdout=output,
            check=False,
        )
    if done.status != 0:
        if target.stat().st_size >= limit:
            raise _TooLarge
        said = done.stderr.decode(errors="replace").strip()[-300:]
        for full in FULL:
            if os.strerror(full) in said:  # of the disk, not of the image
                raise OSError(full, os.strerror(full))
        raise zlib.error(said or f"zstd was ended by signal {-done.status}")
    with target.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
