"""Packages of the distribution that this machine runs, without installing any and without root.

In: package names. Out: what the distribution has of them (version and SHA-256 as its signed index
says), the files in the store by that hash, and single members of a package. apt does the fetching, so
mirrors, proxies, credentials and signatures are the machine's own; its state is never changed. That
goes for packages of another architecture, too, which dpkg here need not know of.

Sources: deb822(5), deb-version(7), sources.list(5), os-release(5).
"""

import os
import re
import shutil
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.image.store import CHUNK_BYTES, FULL_HINT, Store, explained, sha256_of
from i2kit.model import Architecture
from i2kit.process import ProgramError, run

BUILDERS = ("amd64",)
"""The architectures of machines that can build, for whichever architecture."""

LISTS_BYTES = 128 << 20
"""Room that the package lists of Debian or Ubuntu fit into. On a full disk `apt-get update` never ends."""
FULL = ("(28: ", "(122: ")
"""How apt shows ENOSPC and EDQUOT, in any language."""


class Gone(OperationError):
    """The distribution does not have a package, or not in that version or with those bytes."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the packages are from: `debian` and `bookworm`, say. `family` decides on their names."""

    id: str
    codename: str
    architecture: Architecture

    @property
    def family(self) -> str:
        return "debian" if self.id == "debian" else "ubuntu"

    def __str__(self) -> str:
        return f"{self.id} {self.codename} {self.architecture}"


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One version of a package; `sha256` in hexadecimal is of its .deb file."""

    name: str
    version: str
    sha256: str

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the index says of a package: it, and the packages that it depends on (first alternatives)."""

    package: Package
    depends: tuple[str, ...]


def distribution(
    os_release: Path = Path("/etc/os-release"), architecture: Architecture = "amd64"
) -> Distribution:
    """The distribution of this machine, with packages for machines of this architecture.

    Raises OperationError where its packages cannot be used.
    """
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        text = ""
    words = dict(re.findall(r"""^([A-Z_]+)=["']?(.*?)["']?$""", text, re.MULTILINE))
    family = [words.get("ID", ""), *words.get("ID_LIKE", "").split()]
    if "ubuntu" in family:
        id_, codename = "ubuntu", words.get("UBUNTU_CODENAME") or words.get("VERSION_CODENAME")
    elif "debian" in family:
        id_, codename = "debian", words.get("DEBIAN_CODENAME") or words.get("VERSION_CODENAME")
    else:
        raise OperationError(
            f"the machines' kernel and programs come from packages of Debian or Ubuntu, and this is "
            f"{words.get('PRETTY_NAME', 'another system')}",
            hint="run i2kit on Debian 12 or later or Ubuntu 22.04 or later, a container of them will do",
        )
    here = run(["dpkg", "--print-architecture"]).text.strip()
    if here not in BUILDERS:
        raise OperationError(f"machines can be built on {', '.join(BUILDERS)} only, not {here}")
    return Distribution(id_, codename or "unstable", architecture)


class Index:
    """The distribution's index of packages: the system's lists, or own ones where those are of no use.

    Own lists are kept in the store's folder `apt`, one for each architecture but the first below it;
    nothing outside of it is written.
    """

    def __init__(self, store: Store, architecture: Architecture = "amd64") -> None:
        self._store = store
        self.architecture = architecture
        self._folder = store.root / "apt"
        if architecture not in BUILDERS:
            self._folder /= architecture
        lists = self._folder / "lists"
        self._lists = lists if (lists / "complete").exists() else None

    def offers(self, names: Collection[str]) -> Mapping[str, Offer]:
        """What the index has of these names now; unknown names are left out."""
        if not names:
            return {}
        shown = self._apt("apt-cache", "show", "--no-all-versions", *sorted(names), check=False)
        return {offer.package.name: offer for offer in parse(shown)}

    def closure(self, name: str, follow: Callable[[str], bool]) -> tuple[Package, ...]:
        """The package and all it depends on through names that `follow` takes, sorted. Raises Gone."""
        found: dict[str, Package] = {}
        wanted = {name}
        while wanted:
            offers = self.offers(wanted)
            if name in wanted and name not in offers:
                raise Gone(f"the distribution has no package `{name}`", hint=self._hint())
            found |= {offer.package.name: offer.package for offer in offers.values()}
            depends = {needed for offer in offers.values() for needed in offer.depends if follow(needed)}
            wanted = depends - found.keys()
        return tuple(sorted(found.values()))

    def fetch(self, packages: Sequence[Package]) -> None:
        """Bring the packages into the store, each verified against its hash.

        Raises Gone when the distribution does not have all of them, in these versions, any more.
        """
        present = self._store.verified_blob
        missing = {package.sha256: package for package in packages if not present(package.digest)}
        if not missing:
            return
        versions = [f"{package.name}={package.version}" for package in missing.values()]
        with self._store.scratch() as folder:
            try:
                self._apt("apt-get", "download", *versions, cwd=folder)
            except ProgramError as error:
                raise Gone(
                    f"the distribution does not have all of {', '.join(versions)}: "
                    f"{error.message.splitlines()[-1].strip()}",
                    hint=self._hint(),
                ) from error
            for file in folder.glob("*.deb"):
                if found := missing.pop(sha256_of(file), None):
                    self._store.add_blob(_chunks(file), found.digest)
        if missing:
            names = ", ".join(f"{package.name} {package.version}" for package in missing.values())
            raise Gone(f"the distribution has other bytes than before of {names}")

    def refresh(self) -> None:
        """Get the index anew, for this and later runs. Raises ProgramError when no mirror answers.

        One source that fails, such as a third party's, does not matter if others are there.
        """
        # Beside those that are there, which may be damaged: apt gets anew only what it finds to be old.
        fresh, lists = self._folder / "fresh", self._folder / "lists"
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "partial").mkdir(parents=True)
        if shutil.disk_usage(fresh).free < LISTS_BYTES:
            raise self._full()
        self._lists = fresh
        try:
            self._apt("apt-get", "update")
        except ProgramError:
            if not any(fresh.glob("*_Packages*")):
                raise
        (fresh / "complete").touch()
        for cache in self._folder.glob("*pkgcache.bin"):
            cache.unlink()
        shutil.rmtree(lists, ignore_errors=True)
        self._lists = fresh.rename(lists)

    def _apt(self, program: str, *words: str, cwd: Path | None = None, check: bool = True) -> str:
        (self._folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        options = [
            "Dir::State::status=/dev/null",  # as if nothing were installed: versions are the mirror's
            f"APT::Architecture={self.architecture}",
            f"APT::Architectures::={self.architecture}",  # else apt asks dpkg which others there are
            f"Dir::Cache={self._folder}",
            f"Dir::Cache::archives={self._folder}/archives/",
            "APT::Sandbox::User=root",  # no change to a user who could not write here
            "Acquire::Retries=2",
        ]
        if self._lists:
            options += [f"Dir::State={self._folder}", f"Dir::State::lists={self._lists}/"]
        flags = [word for option in options for word in ("-o", option)]
        try:
            return run([program, "-qq", *flags, *words], cwd=cwd, check=check).text
        except ProgramError as error:
            if any(mark in error.message for mark in FULL):
                raise self._full() from error
            raise

    def _hint(self) -> str:
        usual = "check the network and the system's package sources (/etc/apt)"
        if self.architecture in BUILDERS:
            return usual
        return (
            f"{usual}: one must serve {self.architecture}, so without [arch=…] or Architectures: of others;"
            f" of Ubuntu that is http://ports.ubuntu.com/ubuntu-ports with [arch={self.architecture}]"
        )

    def _full(self) -> OperationError:
        return OperationError(f"no room for the distribution's packages in {self._folder}", hint=FULL_HINT)


def parse(shown: str) -> Iterator[Offer]:
    """Read what `apt-cache show` prints: paragraphs of fields (deb822)."""
    for paragraph in re.split(r"\n{2,}", shown.strip()):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", paragraph, re.MULTILINE))
        if not {"Package", "Version", "SHA256"} <= fields.keys():
            continue
        relations = ",".join(fields.get(key, "") for key in ("Pre-Depends", "Depends")).split(",")
        depends = [re.split(r"[ (|:\[]", relation.strip(), maxsplit=1)[0] for relation in relations]
        yield Offer(
            Package(fields["Package"], fields["Version"], fields["SHA256"]),
            tuple(dict.fromkeys(name for name in depends if name)),
        )


@contextmanager
def opened(store: Store, package: Package) -> Iterator[tarfile.TarFile]:
    """The files of a package that is in the store, names as `./usr/bin/…`. Nothing is unpacked."""
    path = _path(store, package)
    with store.scratch() as folder:
        data = folder / "data.tar"
        with explained(data), data.open("wb") as file:
            try:
                run(["dpkg-deb", "--fsys-tarfile", path], stdout=file)
            except ProgramError:
                # It does not say why it could not write; on a full disk this does.
                file.seek(0, os.SEEK_END)
                file.write(bytes(CHUNK_BYTES))
                file.flush()
                raise
        with tarfile.open(data, "r:") as archive:
            yield archive


def control(store: Store, package: Package) -> Mapping[str, str]:
    """The fields of one line that a package in the store has about itself, such as Source."""
    shown = run(["dpkg-deb", "--field", _path(store, package)]).text
    return dict(re.findall(r"^([A-Za-z-]+): (.*)$", shown, re.MULTILINE))


def _path(store: Store, package: Package) -> Path:
    path = store.blob(package.digest)
    if path is None:
        raise OperationError(f"{package.name} {package.version} is no longer in the store", hint="try again")
    return path


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
