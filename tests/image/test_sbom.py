"""What a machine is made of: packages found in databases of all kinds, and the document that tells them."""

import json
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from i2kit.image import sbom
from i2kit.image.sbom import Part, document, installed, rpmdb
from i2kit.image.sbom.installed import Distribution, Installed, inventory
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key
from tests import golden

DEBIAN = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
DPKG = """\
Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u9
Description: shared libraries
 Version: 0 is part of the description
 .
 And so is this.

Package: nginx
Status: hold ok installed
Architecture: amd64
Version: 1:1.22.1-9

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: g++
Status: install ok unpacked
Source: gcc-defaults (1.203)
Architecture: amd64
Version: 4:12.2.0-3
"""
APK = """\
C:Q1abc=
P:musl
V:1.2.5-r0
A:x86_64
S:1
L:MIT
o:musl
m:Timo Teräs <timo.teras@iki.fi>
F:lib
R:ld-musl-x86_64.so.1

P:libcrypto3
V:3.3.1-r0
A:x86_64
L:Apache-2.0 WITH something
o:openssl
"""


def tree(files: Mapping[str, bytes | str]) -> Tree:
    """A tree of these files; a text that starts with an arrow is where a symlink leads to."""
    found = {"": Entry("", Kind.DIRECTORY, 0o755)}
    for path, content in files.items():
        parts = path.split("/")
        for end in range(1, len(parts)):
            folder = "/".join(parts[:end])
            found.setdefault(folder, Entry(folder, Kind.DIRECTORY, 0o755))
        if isinstance(content, str) and content.startswith("->"):
            found[path] = Entry(path, Kind.SYMLINK, 0o777, target=content[2:])
        else:
            data = content.encode() if isinstance(content, str) else content
            found[path] = Entry(path, Kind.FILE, 0o644, content=Content(len(data), data=data))
    return tuple(sorted(found.values(), key=lambda entry: sort_key(entry.path)))


def rpm_header(**values: str | int) -> bytes:
    """A package's header as rpm keeps it: the index, then the values."""
    tags = {name: tag for tag, name in rpmdb.TAGS.items()}
    index, data = [struct.pack(">4I", 63, 7, 0, 16)], b""
    for name, value in values.items():
        if isinstance(value, int):
            data += b"\0" * (-len(data) % 4)
            index.append(struct.pack(">4I", tags[name], 4, len(data), 1))
            data += struct.pack(">I", value)
        else:
            index.append(struct.pack(">4I", tags[name], 6, len(data), 1))
            data += value.encode() + b"\0"
    return struct.pack(">II", len(index), len(data)) + b"".join(index) + data


def rpm_database(folder: Path, *headers: bytes, wal: bool = True) -> bytes:
    """The file as rpm makes it (lib/backend/sqlite.c)."""
    path = folder / "rpmdb.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
    connection.commit()
    connection.close()
    return path.read_bytes()


BASH: dict[str, str | int] = {
    "name": "bash",
    "version": "5.2.26",
    "release": "3.fc40",
    "arch": "x86_64",
    "license": "GPLv3+",
}


def test_dpkg() -> None:
    found = inventory(tree({installed.DPKG: DPKG}))
    assert found.unread == ()
    assert found.packages == (
        Installed("deb", "g++", "4:12.2.0-3", "amd64", source="gcc-defaults 1.203"),
        Installed(
            "deb",
            "libc6",
            "2.36-9+deb12u9",
            "amd64",
            source="glibc 2.36-9+deb12u9",
            supplier="GNU Libc Maintainers <debian-glibc@lists.debian.org>",
        ),
        Installed("deb", "nginx", "1:1.22.1-9", "amd64"),
    )


def test_dpkg_itself_reads_the_same_of_this_machine() -> None:
    status = Path("/var/lib/dpkg/status")
    if shutil.which("dpkg-query") is None or not status.exists():
        pytest.skip("dpkg is not installed")
    format_ = (
        "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version} ${db:Status-Status}\n"
    )
    shown = subprocess.run(["dpkg-query", "-W", "-f", format_], capture_output=True, text=True, check=True)
    wanted = {tuple(line.split()[:5]) for line in shown.stdout.splitlines() if line.endswith(" installed")}
    found = inventory(tree({installed.DPKG: status.read_bytes()})).packages
    told = {
        (one.name, one.version, one.architecture, *(one.source or f"{one.name} {one.version}").split())
        for one in found
    }
    assert wanted <= told


def test_distroless_has_one_file_for_each_package() -> None:
    found = inventory(
        tree(
            {
                "var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
                "var/lib/dpkg/status.d/base.md5sums": "0  Package: x\nPackage: y\nVersion: 1\n",
                "var/lib/dpkg/status.d/deeper/tz": "Package: z\nVersion: 1\n",
                "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a-0+deb12u1\n",
            }
        )
    )
    assert [package.name for package in found.packages] == ["base-files", "tzdata"]


@pytest.mark.parametrize("path", installed.APK)
def test_apk(path: str) -> None:
    found = inventory(tree({path: APK}))
    assert found.packages == (
        Installed(
            "apk",
            "libcrypto3",
            "3.3.1-r0",
            "x86_64",
            source="openssl 3.3.1-r0",
            licence="Apache-2.0 WITH something",
        ),
        Installed(
            "apk", "musl", "1.2.5-r0", "x86_64", licence="MIT", supplier="Timo Teräs <timo.teras@iki.fi>"
        ),
    )


def test_a_database_behind_symlinks_is_read_once() -> None:
    found = inventory(tree({"usr/lib/apk/db/installed": APK, "lib": "->usr/lib"}))
    assert len(found.packages) == 2
    assert found.unread == ()


@pytest.mark.parametrize("folder", installed.RPM_FOLDERS)
@pytest.mark.parametrize("wal", [True, False])
def test_rpm(tmp_path: Path, folder: str, wal: bool) -> None:
    dbus: dict[str, str | int] = {
        "name": "dbus",
        "version": "1.14",
        "release": "1",
        "epoch": 1,
        "arch": "x86_64",
    }
    key = {"name": "gpg-pubkey", "version": "a15b79cc", "release": "63d04c2c"}
    vendor = {"vendor": "Fedora Project", "sourcerpm": "bash-5.2.26-3.fc40.src.rpm"}
    headers = (rpm_header(**{**BASH, **vendor}), rpm_header(**dbus), rpm_header(**key))
    found = inventory(tree({f"{folder}/rpmdb.sqlite": rpm_database(tmp_path, *headers, wal=wal)}))
    assert found.unread == ()
    assert found.packages == (
        Installed(
            type="rpm",
            name="bash",
            version="5.2.26-3.fc40",
            architecture="x86_64",
            source="bash-5.2.26-3.fc40.src.rpm",
            licence="GPLv3+",
            supplier="Fedora Project",
        ),
        Installed("rpm", "dbus", "1.14-1", "x86_64", epoch="1"),
    )


def test_the_rpm_program_makes_such_databases(tmp_path: Path) -> None:
    if shutil.which("rpmbuild") is None or shutil.which("rpm") is None:
        pytest.skip("rpm is not installed")
    spec = tmp_path / "hello.spec"
    spec.write_text(
        "Name: hello\nVersion: 2.12\nRelease: 3\nEpoch: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n"
        "%description\nx\n%files\n"
    )
    run = {"check": True, "capture_output": True}
    subprocess.run(["rpmbuild", "--define", f"_topdir {tmp_path}", "-bb", spec], **run)  # type: ignore[call-overload]
    (package,) = tmp_path.glob("RPMS/*/*.rpm")
    database = ["--define", "_db_backend sqlite", "--dbpath", tmp_path / "db"]
    subprocess.run(["rpm", *database, "-i", "--justdb", "--nodeps", package], **run)  # type: ignore[call-overload]
    found = inventory(tree({"var/lib/rpm/rpmdb.sqlite": (tmp_path / "db" / "rpmdb.sqlite").read_bytes()}))
    assert found.packages == (
        Installed("rpm", "hello", "2.12-3", "noarch", "1", "hello-2.12-3.src.rpm", "MIT"),
    )


@pytest.mark.parametrize(
    ("package", "distribution", "wanted"),
    [
        # The first of each type is an example of the package URL specification.
        (
            Installed("deb", "curl", "7.50.3-1", "i386"),
            Distribution("debian", "jessie"),
            "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=debian-jessie",
        ),
        (Installed("deb", "g++", "4:12.2", "amd64"), None, "pkg:deb/debian/g%2B%2B@4:12.2?arch=amd64"),
        (
            Installed("apk", "curl", "7.83.0-r0", "x86"),
            Distribution("alpine"),
            "pkg:apk/alpine/curl@7.83.0-r0?arch=x86&distro=alpine",
        ),
        (
            Installed("rpm", "curl", "7.50.3-1.fc25", "i386", "1"),
            Distribution("fedora", "25"),
            "pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25&epoch=1",
        ),
        (Installed("rpm", "ImageMagick", "7"), None, "pkg:rpm/ImageMagick@7"),
    ],
)
def test_package_urls(package: Installed, distribution: Distribution | None, wanted: str) -> None:
    assert package.purl(distribution) == wanted


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"etc/os-release": DEBIAN}, Distribution("debian", "12")),
        (
            {"usr/lib/os-release": DEBIAN, "etc/os-release": "->../usr/lib/os-release"},
            Distribution("debian", "12"),
        ),
        ({"usr/lib/os-release": "ID=alpine\nVERSION_CODENAME=x\n"}, Distribution("alpine", "x")),
        ({"etc/os-release": "ID='arch'\r\nVERSION_ID=a b\n"}, Distribution("arch")),
        ({"etc/os-release": "ID=../../etc\n", "usr/lib/os-release": b"ID=\xff\n"}, None),
        ({"etc/os-release": b"ID=" + b"x" * 100_000}, None),
        ({}, None),
    ],
)
def test_distribution(files: dict[str, bytes | str], wanted: Distribution | None) -> None:
    assert installed.distribution(tree(files)) == wanted


def sqlite_file(folder: Path, *statements: str) -> bytes:
    path = folder / "hostile.sqlite"
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS blob FROM n"
TABLE = "CREATE TABLE t (x BLOB)"
ROWS = "INSERT INTO t SELECT zeroblob(9) FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4)"


@pytest.mark.parametrize(
    "statements",
    [
        [f"CREATE VIEW Packages AS {ENDLESS}"],
        [TABLE, ROWS, "CREATE VIEW Packages AS SELECT t.x AS blob FROM t, t AS u, t AS v"],
        ["CREATE TABLE Packages (a, blob AS(hex(a)))", "INSERT INTO Packages VALUES (1)"],
        ["CREATE VIRTUAL TABLE Packages USING fts5(blob)"],
        ["CREATE TABLE Packages (blob)", "INSERT INTO Packages VALUES (7)"],
        ["CREATE TABLE Packages (blob)", "INSERT INTO Packages VALUES (zeroblob(17000000))"],
        ["CREATE TABLE Packages (blob)", "INSERT INTO Packages VALUES (x'ffffffffffffffff')"],
        ["CREATE TABLE Packages (blob)", "INSERT INTO Packages VALUES (x'00')"],
        [TABLE],
    ],
)
def test_hostile_rpm_databases(tmp_path: Path, statements: list[str]) -> None:
    found = inventory(tree({"var/lib/rpm/rpmdb.sqlite": sqlite_file(tmp_path, *statements)}))
    assert found.packages == ()
    assert found.unread == ("/var/lib/rpm/rpmdb.sqlite: not read to its end, it is damaged",)


def test_what_comes_before_the_damage_is_told(tmp_path: Path) -> None:
    database = rpm_database(tmp_path, rpm_header(**BASH), b"short")
    found = inventory(tree({"var/lib/rpm/rpmdb.sqlite": database}))
    assert [package.name for package in found.packages] == ["bash"]
    assert len(found.unread) == 1


@pytest.mark.parametrize("cut", [0, 17, 100, 4096, 6000])
def test_cut_off_rpm_databases(tmp_path: Path, cut: int) -> None:
    database = rpm_database(tmp_path, rpm_header(**BASH))[:cut]
    found = inventory(tree({"var/lib/rpm/rpmdb.sqlite": database}))
    assert found.packages == ()
    assert len(found.unread) == bool(cut)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"var/lib/rpm/Packages": b"\0" * 12 + b"\x61\x15\x06\0"},
            "/var/lib/rpm/Packages: not read, it is a",
        ),
        ({"usr/lib/sysimage/rpm/Packages.db": b"RpmP"}, "it is a database of rpm's ndb form"),
        (
            {"var/lib/rpm/rpmdb.sqlite": b"x", "var/lib/rpm/rpmdb.sqlite-wal": b"x"},
            "its last changes are still in its journal",
        ),
    ],
)
def test_databases_that_are_not_read_are_named(files: dict[str, bytes], says: str) -> None:
    found = inventory(tree(files))
    assert found.packages == ()
    (reason,) = found.unread
    assert says in reason


@pytest.mark.parametrize("path", ["var/lib/dpkg/status", *installed.APK, "var/lib/rpm/rpmdb.sqlite"])
def test_huge_databases_are_not_read(path: str) -> None:
    entry = Entry(path, Kind.FILE, 0o644, content=Content(1 << 40, Path("/dev/zero")))
    folders = tuple(one for one in tree({path: b""}) if one.kind is Kind.DIRECTORY)
    assert inventory((*folders, entry)).unread == (f"/{path}: not read, it has 1,099,511,627,776 bytes",)


def test_hostile_text() -> None:
    many = "".join(f"P:p{number}\nV:1\n\n" for number in range(installed.MAX_PACKAGES + 9))
    found = inventory(tree({installed.APK[0]: many}))
    assert len(found.packages) == installed.MAX_PACKAGES + 1
    assert found.unread == ("/lib/apk/db/installed: more than 20,000 packages, the others are not told",)
    endless = b"P:\xff\x00\x1b[2J" + b"a" * 5_000_000 + b"\nV:1\nX\n:\n::\nP:second\n"
    (package,) = inventory(tree({installed.APK[0]: endless})).packages
    assert package.name.startswith("�[2Jaaa")
    assert len(package.name) < 600


def test_limits_are_of_all_databases_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distroless images have one for each package, and hostile ones as many as they like."""
    monkeypatch.setattr(installed, "MAX_PACKAGES", 50)
    each = {f"{installed.DPKG_FOLDER}/p{number}": f"Package: p{number}\nVersion: 1\n" for number in range(90)}
    found = inventory(tree(each))
    assert len(found.packages) == 51
    assert len(found.unread) == 1

    large = Content(7 << 20, Path("/dev/zero"))
    files = [Entry(path, Kind.FILE, 0o644, content=large) for path in each]
    found = inventory((*(one for one in tree(each) if one.kind is Kind.DIRECTORY), *files))
    (reason,) = found.unread
    assert "not read, with others it has more than 16,777,216 bytes" in reason


def test_entries_that_name_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        inventory(tree({installed.DPKG: "Package: \x01\nVersion: 1\n\nPackage: a\nVersion:\n"})).packages
        == ()
    )
    monkeypatch.setattr(installed, "MAX_STANZAS", 50)
    found = inventory(tree({installed.APK[0]: "P:\n\n" * 60 + "\n" * 60 + "P:a\nV:1\n"}))
    assert found.unread == ("/lib/apk/db/installed: more than 50 entries",)
    found = inventory(tree({installed.APK[0]: "\n" * 60 + "P:a\nV:1\n"}))
    assert [package.name for package in found.packages] == ["a"]


def test_a_supplier_without_a_name_is_none() -> None:
    """SPDX wants a name after `Organization:`, or nothing at all."""
    status = "Package: a\nVersion: 1\nMaintainer: <>\n"
    made = json.loads(
        document("x", [Part("service", "web", "a@sha256:" + "1" * 64, tree({installed.DPKG: status}))])
    )
    assert made["packages"][-1]["versionInfo"] == "1"
    assert "supplier" not in made["packages"][-1]


def machine(tmp_path: Path) -> tuple[Part, ...]:
    record = "Package: linux-image-6.1.0-1\nSource: linux (6.1)\nVersion: 6.1-1\nArchitecture: amd64\n"
    debian = tree(
        {
            "var/lib/dpkg/status": DPKG,
            "usr/lib/os-release": DEBIAN,
            "etc/os-release": "->../usr/lib/os-release",
        }
    )
    rpm = rpm_database(tmp_path, rpm_header(**BASH))
    return (
        Part(
            "kernel",
            "",
            "i2kit/kernel@sha256:" + "1" * 64,
            tree({"kernel": b"x", "var/lib/dpkg/status.d/linux": record}),
        ),
        Part(
            "init",
            "",
            "i2kit/crun@sha256:" + "2" * 64,
            tree(
                {
                    "var/lib/dpkg/status.d/libc6": DPKG.partition("\n\n")[0],
                    "usr/lib/os-release": "ID=debian\nVERSION_ID=12\n",
                }
            ),
        ),
        Part("onboot", "setup", "docker.io/library/nginx@sha256:" + "3" * 64, debian),
        Part("service", "web", "docker.io/library/nginx@sha256:" + "3" * 64, debian),
        Part(
            "service",
            "alpine",
            "localhost:5000/app@sha256:" + "4" * 64,
            tree({"lib/apk/db/installed": APK, "etc/os-release": "ID=alpine\nVERSION_ID=3.20.1\n"}),
        ),
        Part(
            "service",
            "fedora",
            "quay.io/fedora/app@sha256:" + "5" * 64,
            tree(
                {
                    "usr/lib/sysimage/rpm/rpmdb.sqlite": rpm,
                    "var/lib/rpm/Packages": b"x",
                    "etc/os-release": "ID=fedora\nVERSION_ID=40\n",
                }
            ),
        ),
        Part("service", "scratch", "ghcr.io/org/scratch@sha256:" + "6" * 64, tree({"app": b"x"})),
    )


def test_the_document(tmp_path: Path) -> None:
    made = json.loads(document("default/web", machine(tmp_path)))
    golden.check("sbom/machine.json", json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def test_the_document_keeps_the_rules_of_spdx(tmp_path: Path) -> None:
    made = json.loads(document("default/web", machine(tmp_path)))
    names = [package["SPDXID"] for package in made["packages"]]
    assert len(set(names)) == len(names)
    ends = {(one["spdxElementId"], one["relatedSpdxElement"]) for one in made["relationships"]}
    assert len(ends) == len(made["relationships"])
    # Everything is in something, and nothing is named that is not there.
    assert {one for pair in ends for one in pair} == {sbom.DOCUMENT, *names}
    assert {inner for _, inner in ends} == set(names)


def test_spdx_tools_accept_the_document(tmp_path: Path) -> None:
    if shutil.which("pyspdxtools") is None:
        pytest.skip("pyspdxtools is not installed")
    file = tmp_path / "machine.spdx.json"
    file.write_bytes(document("default/web", machine(tmp_path)))
    subprocess.run(["pyspdxtools", "--infile", file], check=True, capture_output=True)


def packages_of(made: dict[str, Any], reference: str) -> set[str]:
    """The names of the packages that an image contains."""
    named = {package["SPDXID"]: package for package in made["packages"]}
    (image,) = (key for key, package in named.items() if package["name"] == reference)
    return {
        named[one["relatedSpdxElement"]]["name"]
        for one in made["relationships"]
        if one["spdxElementId"] == image and one["relationshipType"] == "CONTAINS"
    }


def test_base_and_application_are_told_apart(tmp_path: Path) -> None:
    made = json.loads(document("default/web", machine(tmp_path)))
    assert packages_of(made, "i2kit/crun") == {"libc6"}
    assert packages_of(made, "docker.io/library/nginx") == {"g++", "libc6", "nginx"}
    # The same package in both is one.
    assert [package["name"] for package in made["packages"]].count("libc6") == 1


def test_the_same_images_are_the_same_bytes(tmp_path: Path) -> None:
    parts = machine(tmp_path)
    assert document("default/web", parts) == document("default/web", machine(tmp_path))
    other = json.loads(document("default/web", parts[:-1]))
    assert other["documentNamespace"] != json.loads(document("default/web", parts))["documentNamespace"]


def test_a_hostile_name_stays_a_value(tmp_path: Path) -> None:
    """No package can pass for another one, nor break the document."""
    hostile = 'P:a"},{"SPDXID": "SPDXRef-Machine\nV:1\n\nP:../../x?arch=y#z\nV:1@2/3\n'
    part = Part("service", "web", "localhost/app@sha256:" + "1" * 64, tree({installed.APK[0]: hostile}))
    made = json.loads(document("x", [part]))
    assert [package["SPDXID"] for package in made["packages"]].count(sbom.MACHINE) == 1
    (purl,) = (
        package["externalRefs"][0]["referenceLocator"]
        for package in made["packages"]
        if package["name"].startswith("..")
    )
    assert purl == "pkg:apk/alpine/..%2F..%2Fx%3Farch%3Dy%23z@1%402%2F3"
