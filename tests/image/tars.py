"""Tar files made in the test, entry by entry, so that each test shows what its layer holds."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

Member = tuple[tarfile.TarInfo, bytes | None]


def entry(
    name: str,
    data: bytes | None = None,
    *,
    type: bytes | None = None,
    link: str = "",
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    mtime: float = 0,
    device: tuple[int, int] = (0, 0),
    pax: dict[str, str] | None = None,
) -> Member:
    """A regular file when there is data, a directory when the name ends in a slash, else `type`."""
    info = tarfile.TarInfo(name)
    if type is not None:
        info.type = type
    elif name.endswith("/"):
        info.type = tarfile.DIRTYPE
    elif link:
        info.type = tarfile.SYMTYPE
    info.linkname = link
    info.mode = mode if mode is not None else (0o755 if info.type == tarfile.DIRTYPE else 0o644)
    info.uid, info.gid = uid, gid
    info.mtime = mtime
    info.devmajor, info.devminor = device
    info.pax_headers = pax or {}
    if data is not None:
        info.size = len(data)
    return info, data


def hardlink(name: str, target: str) -> Member:
    return entry(name, type=tarfile.LNKTYPE, link=target)


def tar_bytes(entries: Iterable[Member], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if data is not None else None)
    return buffer.getvalue()


def write_tar(path: Path, *entries: Member, format: int = tarfile.PAX_FORMAT) -> Path:
    path.write_bytes(tar_bytes(entries, format))
    return path
