"""The distribution packages that a file tree has installed, as its own package databases say.

In: a Tree. Out: an Inventory. Never fails over a tree: what cannot be read is named in the Inventory.
The databases come from strangers, so time and memory are bounded by the limits below.

Sources: dpkg's status file (deb822(5), dpkg-query(1)) and distroless' status.d; apk's installed database
(Alpine wiki, "Apk spec"); rpm's docs/manual/format_header.md; os-release(5); the package URL types.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from i2kit.image.sbom import rpmdb
from i2kit.image.tree import Entry, Kind, Tree, real_path

MAX_TEXT_BYTES = 16 << 20
"""Of all text of an image: the status of 3,000 Debian packages has 4 MB."""
MAX_OS_RELEASE_BYTES = 64 << 10
MAX_PACKAGES = 20_000
MAX_STANZAS = 100_000
"""Of one database, with those that name no package or a removed one."""
MAX_VALUE_BYTES = 500
"""Of a value in a database; what is longer is cut."""

DPKG, DPKG_FOLDER = "var/lib/dpkg/status", "var/lib/dpkg/status.d"
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
RPM_FOLDERS = ("var/lib/rpm", "usr/lib/sysimage/rpm")
RPM_SQLITE = "rpmdb.sqlite"
RPM_OTHERS = {"Packages": "Berkeley DB", "Packages.db": "ndb"}
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SOURCE = re.compile(r"(\S+) +\((.+)\)")


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the packages are from, such as `debian` and `12`; `version` can be a code name or empty."""

    id: str
    version: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Installed:
    """One installed package. `type` is the package URL's: deb, apk or rpm. Empty is what is not known.

    `source` is what it was built from, with its version; `licence` is as the database has it.
    """

    type: str
    name: str
    version: str
    architecture: str = ""
    epoch: str = ""
    source: str = ""
    licence: str = ""
    supplier: str = ""

    def purl(self, distribution: Distribution | None) -> str:
        """The package URL, such as `pkg:deb/debian/nginx@1.22.1-9?arch=amd64&distro=debian-12`."""
        namespace = distribution.id if distribution else {"deb": "debian", "apk": "alpine"}.get(self.type)
        name = self.name if self.type == "rpm" else self.name.lower()
        distro = "-".join(filter(None, (distribution.id, distribution.version))) if distribution else ""
        qualifiers = {"arch": self.architecture, "distro": distro, "epoch": self.epoch}
        return purl(self.type, namespace, name, self.version, qualifiers)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The packages, sorted and each once; `unread` says which databases could not be read, and why."""

    packages: tuple[Installed, ...]
    unread: tuple[str, ...] = ()


class _Unread(Exception):
    """Why a database is not read."""


class _TooMuch(_Unread):
    """Why neither it nor another one is read any further."""


def purl(type_: str, namespace: str | None, name: str, version: str, qualifiers: Mapping[str, str]) -> str:
    """A package URL; `qualifiers` are in order, those without a value are left out."""
    path = "/".join(_quoted(word) for word in (type_, namespace, name) if word)
    words = "&".join(f"{key}={_quoted(value, '/')}" for key, value in qualifiers.items() if value)
    return f"pkg:{path}@{_quoted(version)}" + (f"?{words}" if words else "")


def distribution(tree: Tree) -> Distribution | None:
    """What os-release says, if anything usable."""
    files = _Files(tree)
    for path in OS_RELEASE:
        try:
            data = files.read(path, MAX_OS_RELEASE_BYTES)
        except _Unread:
            continue
        text = (data or b"").decode(errors="replace")
        words = dict(re.findall(r"""^([A-Z_]+)=["']?(.*?)["']?\s*$""", text, re.MULTILINE))
        if _WORD.fullmatch(id_ := words.get("ID", "")[:MAX_VALUE_BYTES]):
            version = words.get("VERSION_ID") or words.get("VERSION_CODENAME", "")
            return Distribution(id_.lower(), version if _WORD.fullmatch(version[:MAX_VALUE_BYTES]) else "")
    return None


def inventory(tree: Tree) -> Inventory:
    """All packages that are installed in the tree. Raises OSError where its contents are gone."""
    files = _Files(tree)
    found: set[Installed] = set()
    unread = []
    for path, one_by_one in _databases(files):
        try:
            for package in one_by_one:
                # A name or a version can be of nothing that can be shown.
                if package.name and package.version:
                    found.add(package)
                if len(found) > MAX_PACKAGES:
                    raise _TooMuch(f"more than {MAX_PACKAGES:,} packages, the others are not told")
        except (_Unread, rpmdb.Damaged) as error:
            unread.append(f"/{path}: {error}")
            if isinstance(error, _TooMuch):
                break
    return Inventory(tuple(sorted(found)), tuple(unread))


class _Files:
    """Looks files up in a tree, which is quick where it has none of that name."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.names = {entry.path.rpartition("/")[2] for entry in tree}
        self.left_bytes = MAX_TEXT_BYTES

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        return {entry.path: entry for entry in self.tree}

    def find(self, path: str) -> Entry | None:
        if path.rpartition("/")[2] not in self.names:
            return None
        led = real_path(self.entries, path)
        return None if led is None else self.entries.get(led)

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        """The bytes of a regular file, None where there is none. Raises _Unread."""
        entry = self.find(path)
        if entry is None or entry.content is None:
            return None
        if entry.content.size_bytes > limit_bytes:
            raise _Unread(f"not read, it has {entry.content.size_bytes:,} bytes")
        return entry.content.read()

    def text(self, path: str) -> bytes | None:
        """The same of a database of text, as long as they are not too large together."""
        data = self.read(path, MAX_TEXT_BYTES)
        self.left_bytes -= len(data or b"")
        if self.left_bytes < 0:
            raise _TooMuch(f"not read, with others it has more than {MAX_TEXT_BYTES:,} bytes")
        return data

    def in_folder(self, path: str) -> list[str]:
        """The regular files right in this folder."""
        folder = self.find(path)
        if folder is None:
            return []
        start = f"{folder.path}/"
        return [
            entry.path
            for entry in self.tree
            if entry.kind is Kind.FILE
            and entry.path.startswith(start)
            and "/" not in entry.path[len(start) :]
        ]


def _databases(files: _Files) -> Iterator[tuple[str, Iterator[Installed]]]:
    """The databases that a tree can have, by path, each with what is in it. Nothing is read yet."""
    yield DPKG, _dpkg(files, DPKG)
    for path in files.in_folder(DPKG_FOLDER):
        # distroless has the packages' md5sums beside their status.
        if not path.endswith(".md5sums"):
            yield path, _dpkg(files, path)
    for path in APK:
        yield path, _apk(files, path)
    for folder in RPM_FOLDERS:
        yield f"{folder}/{RPM_SQLITE}", _rpm(files, f"{folder}/{RPM_SQLITE}")
        for name, kind in RPM_OTHERS.items():
            yield f"{folder}/{name}", _other_rpm(files, f"{folder}/{name}", kind)


def _dpkg(files: _Files, path: str) -> Iterator[Installed]:
    wanted = ("Package", "Version", "Architecture", "Source", "Maintainer", "Status")
    for fields in _stanzas(files.text(path), wanted):
        # No status at all is distroless'. Of others, all are there but those removed.
        if fields.get("Status", "").rpartition(" ")[2] in ("not-installed", "config-files"):
            continue
        if "Package" in fields and "Version" in fields:
            version = fields["Version"]
            source = fields.get("Source", "")
            if matched := _SOURCE.fullmatch(source):
                source = " ".join(matched.groups())
            elif source:
                source = f"{source} {version}"
            supplier = fields.get("Maintainer", "")
            architecture = fields.get("Architecture", "")
            yield Installed("deb", fields["Package"], version, architecture, "", source, "", supplier)


def _apk(files: _Files, path: str) -> Iterator[Installed]:
    for fields in _stanzas(files.text(path), ("P", "V", "A", "L", "o", "m")):
        if "P" in fields and "V" in fields:
            name, version = fields["P"], fields["V"]
            origin = fields.get("o", name)
            source = f"{origin} {version}" if origin != name else ""
            architecture, licence = fields.get("A", ""), fields.get("L", "")
            yield Installed("apk", name, version, architecture, "", source, licence, fields.get("m", ""))


def _rpm(files: _Files, path: str) -> Iterator[Installed]:
    data = files.read(path, rpmdb.MAX_BYTES)
    # Changes that no rpm run has merged yet; images are normally made without.
    if files.read(f"{path}-wal", rpmdb.MAX_BYTES):
        raise _Unread("not read, its last changes are still in its journal")
    for header in rpmdb.headers(data) if data else ():
        fields = {name: _text(value) for name, value in header.items()}
        # Public keys are kept as if they were packages.
        if fields.get("name") and fields.get("version") and fields["name"] != "gpg-pubkey":
            yield Installed(
                type="rpm",
                name=fields["name"],
                version="-".join(filter(None, (fields["version"], fields.get("release")))),
                architecture=fields.get("arch", ""),
                epoch=fields.get("epoch", ""),
                source=fields.get("sourcerpm", ""),
                licence=fields.get("license", ""),
                supplier=fields.get("vendor") or fields.get("packager", ""),
            )


def _other_rpm(files: _Files, path: str, kind: str) -> Iterator[Installed]:
    if files.read(path, rpmdb.MAX_BYTES):
        raise _Unread(f"not read, it is a database of rpm's {kind} form")
    yield from ()


def _stanzas(data: bytes | None, wanted: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Paragraphs of `KEY:value` lines; other lines and later ones of the same key are passed over."""
    keys = {key.encode(): key for key in wanted}
    found: dict[str, str] = {}
    count = 0
    for line in io.BytesIO(data or b""):
        if found and line in (b"\n", b"\r\n"):
            yield found
            found = {}
            count += 1
            if count > MAX_STANZAS:
                raise _Unread(f"more than {MAX_STANZAS:,} entries")
            continue
        key, colon, value = line.partition(b":")
        if colon and key in keys and keys[key] not in found:
            found[keys[key]] = _text(value)
    yield found


def _text(value: bytes) -> str:
    """A value as text of one line that can be shown."""
    text = value[:MAX_VALUE_BYTES].decode(errors="replace")
    return "".join(character for character in text if character.isprintable()).strip()


def _quoted(text: str, safe: str = "") -> str:
    return quote(text, safe=f":{safe}")
