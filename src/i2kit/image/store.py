"""The content-addressed store: blobs by digest, machine images by the hash of their files.

In: bytes with the digest they claim, folders of finished machine images. Out: paths that hold exactly
what their name says. Nothing appears under its final name before it is complete, verified and on
disk, so a crash at any point leaves only files that the next run continues or sweeps.

    blobs/sha256/HEX        manifests, configs, layers (an uncompressed layer's name is its diff_id)
    partial/sha256-HEX      downloads that were interrupted; continued by the next attempt
    machine-images/ID/      vmlinuz, kernel, initrd, root, sbom, image.json
    outputs/HEX/            a machine image in another form, such as a disk, and output.json
    builds/HEX              what a build key led to (JSON)
    names/ID/HEX            one name that a machine image was built for (JSON)
    scratch/, locks/        private folders and locks of running processes
    apt/, base/, kernels/   of the base; roots/, leases/, use.lock, gate.lock: of upkeep

What is damaged is found out by whoever reads it: it counts as absent, is told, and made anew.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from i2kit.errors import OperationError
from i2kit.events import Note, Watcher, ignore
from i2kit.model import MachineImage, Output, OutputFile, Pairs

CHUNK_BYTES = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FULL_HINT = "make room on this disk, or set I2KIT_STORE_DIR to a folder on another; then run it again"
_FOLDERS = ("blobs", "blobs/sha256", "partial", "machine-images", "outputs", "builds", "names")
_OF_RUNNING = ("scratch", "locks")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FILES = ("vmlinuz", "kernel", "initrd", "root", "sbom")
_SHARED = ("vmlinuz", "kernel", "initrd")
"""Files that many machine images have in common."""
_DERIVED = ("kernel", "sbom")
"""Files that follow from the others, so that the id need not tell of them."""


class WrongContent(OperationError):
    """Bytes that are not what their digest or size said. Nothing was stored."""


class Incoming:
    """A blob on its way into the store; `offset` bytes are there, of this attempt or an earlier one."""

    def __init__(self, path: Path, digest: str, size_bytes: int | None) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._digest = digest
        self._size = size_bytes
        self._hash = hashlib.sha256()
        self.offset = 0
        self.resumed = False
        while chunk := os.read(self._descriptor, CHUNK_BYTES):
            self._hash.update(chunk)
            self.offset += len(chunk)
        if size_bytes is not None and self.offset > size_bytes:
            self.restart()
        self.resumed = self.offset > 0

    def restart(self) -> None:
        """Forget what is there: the sender cannot continue, or what was there is wrong."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0
        self.resumed = False

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises WrongContent as soon as there are more than announced."""
        if self._size is not None and self.offset + len(chunk) > self._size:
            raise WrongContent(f"{self._digest} is larger than the announced {self._size} bytes")
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._hash.update(chunk)
        self.offset += len(chunk)

    def matches(self) -> bool:
        """Whether the bytes so far are the whole blob."""
        return f"sha256:{self._hash.hexdigest()}" == self._digest

    def seal(self) -> None:
        """Make it durable. Raises WrongContent when it is not what its digest or size says."""
        if self._size is not None and self.offset != self._size:
            raise WrongContent(
                f"{self._digest} has {self.offset} bytes instead of the announced {self._size}"
            )
        if not self.matches():
            raise WrongContent(
                f"the content of {self._digest} is different: its digest is sha256:{self._hash.hexdigest()}"
            )
        os.fchmod(self._descriptor, 0o444)
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Store:
    """A folder that holds content by hash; several processes and threads may use it at once.

    `watch` is told of what is damaged. Every method raises OperationError with the cause when the disk
    is full or cannot be written.
    """

    def __init__(self, root: Path, watch: Watcher = ignore) -> None:
        self.root = root
        self._watch = watch
        self._told: set[str] = set()
        with explained(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (*_FOLDERS, *_OF_RUNNING):
                (root / name).mkdir(mode=0o700, exist_ok=True)

    def _tell(self, what: str) -> None:
        """Say once that something is damaged, however often it is looked at."""
        if what not in self._told:
            self._told.add(what)
            self._watch(Note(f"{what} in the store is damaged: it is made or fetched again"))

    # Blobs

    def blob(self, digest: str) -> Path | None:
        """The file of this digest, `sha256:` and 64 hexadecimal digits; None when it is not here."""
        path = self._blob_path(digest)
        return path if path.is_file() else None

    def partial(self, digest: str) -> Path:
        """Where an unfinished download of this blob is kept; the file need not exist."""
        return self.root / "partial" / f"sha256-{_hex(digest)}"

    @contextmanager
    def incoming(self, digest: str, size_bytes: int | None = None) -> Iterator[Incoming]:
        """Write a blob: what is complete at the end is stored, what is not can be continued later.

        The caller holds `lock(digest)`. Raises WrongContent, after which nothing is left; leaving
        by any other exception keeps what was written, except when the disk is full.
        """
        path, partial = self._blob_path(digest), self.partial(digest)
        with explained(path):
            _clear_folder(partial)
            incoming = Incoming(partial, digest, size_bytes)
            try:
                yield incoming
                incoming.seal()
                _clear_folder(path)
                partial.rename(path)
                _sync(path.parent)
            except BaseException as error:
                full = isinstance(error, OSError) and error.errno in FULL
                if full or isinstance(error, WrongContent) or incoming.offset == 0:
                    partial.unlink(missing_ok=True)
                raise
            finally:
                incoming.close()

    def add_blob(self, chunks: Iterable[bytes], digest: str, size: int | None = None) -> Path:
        """Store bytes under their digest; `size` in bytes where it is announced.

        Raises WrongContent when digest or size differ, and then nothing is stored.
        """
        with self.lock(digest):
            if present := self.verified_blob(digest):
                return present
            with self.incoming(digest, size) as incoming:
                incoming.restart()
                try:
                    for chunk in chunks:
                        incoming.write(chunk)
                except BaseException:
                    # Nobody continues it: the next call starts over. A refused bomb would stay for good.
                    incoming.restart()
                    raise
        return self._blob_path(digest)

    def add_bytes(self, content: bytes) -> str:
        """Store a small blob such as a manifest. Returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.add_blob([content], digest, len(content))
        return digest

    def verified_blob(self, digest: str) -> Path | None:
        """Like `blob`, but reads and hashes it all: one that the disk has damaged is dropped and told."""
        path = self._blob_path(digest)
        if not os.path.lexists(path):
            return None
        with explained(path):
            if _holds(path, _hex(digest)):
                return path
            self._tell(digest[:19])
            _remove(path)
            return None

    def read_blob(self, digest: str) -> bytes | None:
        """A small blob's bytes, verified again."""
        path = self.verified_blob(digest)
        if path is None:
            return None
        with explained(path):
            return path.read_bytes()

    def remove_blob(self, digest: str) -> None:
        """Drop a blob if it is here. Whoever has it open keeps it until it is closed."""
        with explained(self.root):
            self._blob_path(digest).unlink(missing_ok=True)

    def _blob_path(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / _hex(digest)

    # Scratch folders and locks

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder on the store's file system, removed at the end.

        Folders of processes that died are removed on the way: a living owner holds a flock, which
        the kernel takes away with the process, whereas a pid could be someone else's by now.
        """
        self._sweep()
        name = secrets.token_hex(8)
        folder = self.root / "scratch" / name
        with self._flocked(folder.with_suffix(".lock")):
            with explained(folder):
                folder.mkdir(mode=0o700)
            try:
                yield folder
            finally:
                _remove_tree(folder)

    def dead_scratch(self) -> tuple[Path, ...]:
        """The folders of processes that died; the next `scratch` removes them."""
        folders = [lock.with_suffix("") for lock in _abandoned(self.root / "scratch", "*.lock")]
        return tuple(folder for folder in folders if folder.is_dir())

    def _sweep(self) -> None:
        for lock in _abandoned(self.root / "scratch", "*.lock"):
            with suppress(OSError):
                _remove_tree(lock.with_suffix(""))
                lock.unlink()

    @contextmanager
    def lock(self, name: str, whom: str = "") -> Iterator[None]:
        """Do one thing once: waits while another thread or process holds the lock of this name.

        Where that can take minutes, `whom` says who is waited for. Not reentrant. Released by the kernel
        when the holder dies.
        """
        with self._flocked(self.root / "locks" / quote(name, safe=":")[:200], whom):
            yield

    def sweep_locks(self) -> None:
        """Remove what processes that were killed have left of their locks."""
        for path in _abandoned(self.root / "locks", "*"):
            with suppress(OSError):
                path.unlink()

    @contextmanager
    def _flocked(self, path: Path, whom: str = "") -> Iterator[None]:
        def waits() -> None:
            if whom:
                self._watch(Note(f"waiting for {whom} to finish"))

        with explained(path):
            descriptor = _open_locked(path, waits)
        try:
            yield
        finally:
            # Unlinked while held: whoever waits for this file notices that it is gone and starts anew.
            path.unlink(missing_ok=True)
            os.close(descriptor)

    # Machine images

    def machine_image(self, build_key: str) -> MachineImage | None:
        """What this build key led to, if all its files are here and undamaged."""
        record = self.record(self._build_path(build_key))
        return self._load(record) if record else None

    def machine_image_by_id(self, id_: str) -> MachineImage | None:
        """The machine image of this id (64 hexadecimal digits), if its files are here and undamaged."""
        if not re.fullmatch(r"[0-9a-f]{64}", id_):
            return None
        record = self.record(self.root / "machine-images" / id_ / "image.json")
        return self._load(record) if record else None

    def add_machine_image(
        self,
        build_key: str,
        folder: Path,
        *,
        cmdline: str,
        memory_floor_bytes: int,
        containers: Pairs = (),
        images: Collection[str] = (),
        direct: bool = False,
    ) -> MachineImage:
        """Move `vmlinuz`, `initrd` and, if there, `kernel`, `root` and `sbom` of `folder` into the store.

        The id is the SHA-256 of their contents and the kernel's command line, nothing else: the
        same bytes have the same id wherever they are built. `folder` comes from `scratch`, `images`
        are the pinned references of all images that it was made of.
        """
        with explained(folder):
            files = {name: _described(folder / name) for name in _FILES if (folder / name).exists()}
            hashes = {name: file["sha256"] for name, file in files.items() if name not in _DERIVED}
            id_ = hashlib.sha256(canonical_json({"cmdline": cmdline, "files": hashes})).hexdigest()
            record = {
                "id": id_,
                "files": files,
                "cmdline": cmdline,
                "memory_floor_bytes": memory_floor_bytes,
                "containers": [list(pair) for pair in containers],
                "direct": direct,
                "images": sorted({*images, *(reference for _, reference in containers)}),
                "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            description = self.root / "machine-images" / id_ / "image.json"
            with self.lock(f"machine-image-{id_}"), self.scratch() as scratch:
                if self.machine_image_by_id(id_) is None:
                    self._place(folder, record, description, scratch, _SHARED)
                _write_aside(self._build_path(build_key), sealed(record), scratch)
        image = self._load(record, fresh=True)
        assert image is not None
        return image

    def kernel_of(self, vmlinuz_sha256: str) -> Path | None:
        """The `kernel` of a machine image with this `vmlinuz`: unpacking it anew takes longest of a build."""
        for description in (self.root / "machine-images").glob("*/image.json"):
            files = (read_record(description) or {}).get("files", {})
            if "kernel" in files and files["vmlinuz"]["sha256"] == vmlinuz_sha256:
                return self.verified_blob(f"sha256:{files['kernel']['sha256']}")
        return None

    def name_machine_image(self, id_: str, name: str) -> None:
        """Note a name that this machine image was built for. It is no part of the image."""
        path = self.root / "names" / id_ / hashlib.sha256(name.encode()).hexdigest()[:16]
        if self.record(path) != {"name": name}:
            self.write_record(path, {"name": name})

    def _place(
        self,
        folder: Path,
        record: Mapping[str, Any],
        description: Path,
        scratch: Path,
        shared: Collection[str] = (),
    ) -> None:
        """Move the files that `record` tells of to the folder of `description`, all at once."""
        staged = scratch / "staged"
        staged.mkdir(mode=0o700)
        for name, file in record["files"].items():
            (folder / name).chmod(0o444)
            _sync(folder / name)
            if name in shared:
                # One file for all images: on disk, and in the memory of the machines that map it.
                os.link(self._share(folder / name, file["sha256"], scratch), staged / name)
            else:
                (folder / name).rename(staged / name)
        (staged / description.name).write_bytes(sealed(record))
        _sync(staged / description.name)
        _sync(staged)
        final = description.parent
        if final.exists():  # damaged, or it would have been found
            final.rename(scratch / "damaged")
        staged.rename(final)
        _sync(final.parent)

    def _share(self, file: Path, sha256: str, scratch: Path) -> Path:
        """The blob of these bytes: `file` itself if there was none.

        Where there was one that the disk has damaged, so are all images that link it. Each would find
        out by itself when it is built, but a machine that starts again takes its files unread.
        """
        digest = f"sha256:{sha256}"
        if found := self.verified_blob(digest):
            return found
        blob = self._blob_path(digest)
        file.rename(blob)
        _sync(blob.parent)
        for record_name, folder in (("image.json", "machine-images"), ("output.json", "outputs")):
            for description in (self.root / folder).glob(f"*/{record_name}"):
                files = (read_record(description) or {}).get("files", {})
                for name in [name for name, one in files.items() if one["sha256"] == sha256]:
                    os.link(blob, scratch / "mended")
                    with suppress(OSError):  # its image is being replaced, or what is there is no file
                        (scratch / "mended").rename(description.with_name(name))
                    (scratch / "mended").unlink(missing_ok=True)
        return blob

    def _load(self, record: Mapping[str, Any], *, fresh: bool = False) -> MachineImage | None:
        """The machine image of a record, None if it is not whole; a `fresh` one was just written."""
        try:
            folder = self.root / "machine-images" / record["id"]
            files = record["files"]
            if not os.path.lexists(folder):
                return None
            whole = fresh or (
                read_record(folder / "image.json") is not None
                and all(_described(folder / name) == files[name] for name in files)
            )
            if not whole:
                raise ValueError
            vmlinuz = folder / "vmlinuz"
            return MachineImage(
                id=record["id"],
                vmlinuz=vmlinuz,
                kernel=folder / "kernel" if "kernel" in files else vmlinuz,
                initrd=folder / "initrd",
                root=folder / "root" if "root" in files else None,
                sbom=folder / "sbom" if "sbom" in files else None,
                cmdline=record["cmdline"],
                memory_floor_bytes=record["memory_floor_bytes"],
                containers=tuple((name, reference) for name, reference in record["containers"]),
                direct=record["direct"],
            )
        except (OSError, KeyError, TypeError, ValueError):
            self._tell(f"the machine image {str(record.get('id'))[:12]}")
            return None

    # Outputs

    def output(self, key: str, *, fresh: bool = False) -> Output | None:
        """The output of this key, if all its files are here and undamaged; a `fresh` one was just written."""
        folder = self._output_path(key)
        record = self.record(folder / "output.json")
        if record is None:
            return None
        try:
            files = tuple(
                OutputFile(name, folder / name, file["size_bytes"], file["sha256"])
                for name, file in record["files"].items()
            )
            if not fresh and any(_described(file.path) != record["files"][file.name] for file in files):
                raise ValueError
            return Output(record["id"], record["format"], files)
        except (OSError, KeyError, TypeError, ValueError):
            self._tell(f"the {record.get('format')} of the machine image {str(record.get('id'))[:12]}")
            return None

    def add_output(self, key: str, folder: Path, *, id_: str, format_: str) -> Output:
        """Move the files of `folder`, which comes from `scratch`, into the store as the output of `key`.

        A file may be a link to one of a machine image.
        """
        with explained(folder):
            files = {path.name: _described(path) for path in sorted(folder.iterdir())}
            record = {"id": id_, "format": format_, "files": files}
            with self.lock(f"output-{key}"), self.scratch() as scratch:
                if self.output(key) is None:
                    self._place(folder, record, self._output_path(key) / "output.json", scratch)
        output = self.output(key, fresh=True)
        assert output is not None
        return output

    def _output_path(self, key: str) -> Path:
        return self.root / "outputs" / hashlib.sha256(key.encode()).hexdigest()

    def _build_path(self, build_key: str) -> Path:
        return self.root / "builds" / hashlib.sha256(build_key.encode()).hexdigest()

    # Records

    def record(self, path: Path) -> dict[str, Any] | None:
        """What `sealed` made of a record, None where there is none or it is damaged, which is told."""
        record = read_record(path)
        if record is None and os.path.lexists(path):
            self._tell(f"the record {path.relative_to(self.root)}")
        return record

    def write_record(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write a record so that it is whole or not there."""
        with explained(path), self.scratch() as scratch:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_aside(path, sealed(record), scratch)


def _hex(digest: str) -> str:
    matched = _DIGEST.fullmatch(digest)
    if not matched:
        raise OperationError(
            f"`{digest[:100]}` is not a digest that can be stored", hint="sha256 is supported"
        )
    return matched[1]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _holds(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and sha256_of(path) == sha256
    except OSError as error:
        if error.errno == errno.EIO:  # how a disk says that it has lost these bytes
            return False
        raise


def _described(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}


def canonical_json(value: object) -> bytes:
    """JSON that is the same for the same value, to be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sealed(record: Mapping[str, Any]) -> bytes:
    """A record as text that shows whether it is as it was written."""
    seal = hashlib.sha256(canonical_json(record)).hexdigest()
    return canonical_json({"record": record, "sha256": seal})


def unsealed(text: bytes) -> dict[str, Any] | None:
    """The record in such a text; None for any other."""
    try:
        value = json.loads(text)
        record, seal = value["record"], value["sha256"]
        whole = isinstance(record, dict) and hashlib.sha256(canonical_json(record)).hexdigest() == seal
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if whole else None


def read_record(path: Path) -> dict[str, Any] | None:
    """What `sealed` made of a record, None where there is none or it is damaged."""
    try:
        return unsealed(path.read_bytes())
    except OSError:
        return None


def _write_aside(path: Path, content: bytes, scratch: Path) -> None:
    aside = scratch / path.name
    aside.write_bytes(content)
    _sync(aside)
    _clear_folder(path)
    aside.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_locked(path: Path, waits: Callable[[], None]) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waits()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _abandoned(folder: Path, pattern: str) -> Iterator[Path]:
    """The locks that processes have left that were killed. Each is held while the caller looks at it."""
    for path in folder.glob(pattern):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Else it was removed since it was opened, and whoever came next may hold one of this name.
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield path


def _clear_folder(path: Path) -> None:
    """Remove a folder that has come to be where only files belong."""
    if path.is_dir() and not path.is_symlink():
        _remove_tree(path)


def _remove(path: Path) -> None:
    _clear_folder(path)
    path.unlink(missing_ok=True)


def _remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # Folders of an image may be without permissions; their owner can give them back.
        for parent, names, _ in os.walk(folder):
            for name in names:
                if not (path := Path(parent, name)).is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an OSError into an OperationError that says what could not be written and what to do."""
    try:
        yield
    except OSError as error:
        hint = None
        if error.errno in FULL:
            hint = FULL_HINT
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "set I2KIT_STORE_DIR to a folder that you can write to"
        where = error.filename if isinstance(error.filename, str) else path
        raise OperationError(f"the store cannot use {where}: {error.strerror or error}", hint=hint) from error
