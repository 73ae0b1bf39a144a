"""What a machine image is made of, as an SPDX document: images and the distribution packages in them.

In: the images that a machine is assembled from, with their trees. Out: the document's bytes, the same
for the same images: without time or chance. Licences and copyrights are not looked for in files.

Source: SPDX specification 2.3, JSON; package URLs of types oci, deb, apk and rpm.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from i2kit.image.assemble import MTIME_S, Assembly, SourceImage
from i2kit.image.linuxkit.values import Template
from i2kit.image.sbom import installed
from i2kit.image.sbom.installed import Distribution, Installed, Inventory
from i2kit.image.sources import nameless
from i2kit.image.store import canonical_json
from i2kit.image.tree import Content, Entry, Kind, Tree, sort_key
from i2kit.model import ResolvedImage

PATH = "sbom.spdx.json"
"""Where the document lies in the machine, as LinuxKit's does."""

BASE_ROLES = ("kernel", "init")
"""These are unpacked at the machine's root, one over the other; all others are containers."""

DOCUMENT, MACHINE = "SPDXRef-DOCUMENT", "SPDXRef-Machine"

LICENCES = """
0BSD Apache-2.0 Artistic-2.0 BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-4-Clause BSL-1.0 CC0-1.0 ISC IJG
GFDL-1.3-or-later GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later
LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later
MIT MPL-1.1 MPL-2.0 OFL-1.1 OpenSSL PSF-2.0 Python-2.0 Unlicense Vim X11 Zlib blessing curl libpng-2.0
"""
"""Those of SPDX's list that packages name most. Others are carried as text: a document is only valid with
identifiers that the list has."""

ROLES = {"onboot": "onboot", "onshutdown": "onshutdown", "services": "service"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One image of a machine. `role` is where the template has it: kernel, init, onboot, service, …

    `name` is the container's, or empty; `reference` is pinned.
    """

    role: str
    name: str
    reference: str
    tree: Tree


def carried(
    assembly: Assembly,
    template: Template,
    images: Mapping[str, ResolvedImage],
    fetch: Callable[[str], SourceImage],
) -> Assembly:
    """The same machine with its document in it. `images` and `fetch` are by reference in the template."""

    def part(role: str, name: str, reference: str) -> Part:
        return Part(role, name, nameless(images[reference].pinned), fetch(reference).tree)

    parts = [part("init", "", reference) for reference in template.init]
    if template.kernel:
        parts.insert(0, replace(part("kernel", "", template.kernel), tree=assembly.modules))
    for section, entries in template.sections:
        parts += [part(ROLES[section], entry.name, entry.image) for entry in entries]
    parts += [part("volume", volume.name, volume.image) for volume in template.volumes if volume.image]
    data = document("i2kit machine image", parts)
    entry = Entry(PATH, Kind.FILE, 0o644, mtime_s=MTIME_S, content=Content(len(data), data=data))
    kept = [one for one in assembly.tree if one.path != PATH]
    return replace(assembly, tree=tuple(sorted([*kept, entry], key=lambda one: sort_key(one.path))))


def document(name: str, parts: Sequence[Part]) -> bytes:
    """The SPDX document of the machine image `name`.

    The machine contains its images, and each of these the packages that it has installed. A package
    in several images is described once. What could not be read of an image is in its comment.
    """
    images: dict[str, list[Part]] = {}
    for part in parts:
        images.setdefault(part.reference, []).append(part)
    shared = _base_distribution(parts)
    described: dict[str, Json] = {MACHINE: _package(MACHINE, name, primaryPackagePurpose="OPERATING-SYSTEM")}
    relationships = [_relationship(DOCUMENT, "DESCRIBES", MACHINE)]
    for reference, uses in images.items():
        tree = uses[0].tree
        distribution = installed.distribution(tree)
        if distribution is None and uses[0].role in BASE_ROLES:
            distribution = shared
        inventory = installed.inventory(tree)
        image = _image(reference, uses, inventory)
        described[image["SPDXID"]] = image
        relationships.append(_relationship(MACHINE, "CONTAINS", image["SPDXID"]))
        for package in inventory.packages:
            entry = _distribution_package(package, distribution)
            described[entry["SPDXID"]] = entry
            relationships.append(_relationship(image["SPDXID"], "CONTAINS", entry["SPDXID"]))
    content: Json = {
        "SPDXID": DOCUMENT,
        "creationInfo": {
            "created": datetime.fromtimestamp(MTIME_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: i2kit"],
        },
        "dataLicense": "CC0-1.0",
        "name": name,
        "packages": list(described.values()),
        "relationships": relationships,
        "spdxVersion": "SPDX-2.3",
    }
    unique = hashlib.sha256(canonical_json(content)).hexdigest()
    content["documentNamespace"] = f"https://spdx.org/spdxdocs/i2kit-{unique}"
    return canonical_json(content) + b"\n"


def _base_distribution(parts: Iterable[Part]) -> Distribution | None:
    """The first that an image of the machine's root names: it is that of the others, too."""
    found = (installed.distribution(part.tree) for part in parts if part.role in BASE_ROLES)
    return next((distribution for distribution in found if distribution), None)


def _image(reference: str, uses: Sequence[Part], inventory: Inventory) -> Json:
    name, _, digest = reference.partition("@")
    registry = name.partition("/")[0]
    # Images that were made here, such as i2kit/kernel, are in no registry.
    url = name if "." in registry or ":" in registry else ""
    short = name.rpartition("/")[2].lower()
    remarks = ["used as " + ", ".join(f"{use.role} {use.name}".strip() for use in uses), *inventory.unread]
    if not inventory.packages and not inventory.unread:
        remarks.append("no distribution packages are installed in it")
    return _package(
        _identifier(short, reference),
        name,
        version=digest,
        purl=installed.purl("oci", None, short, digest, {"repository_url": url}),
        primaryPackagePurpose="CONTAINER",
        comment="; ".join(remarks),
    )


def _distribution_package(package: Installed, distribution: Distribution | None) -> Json:
    purl = package.purl(distribution)
    fields = {}
    if package.source:
        fields["sourceInfo"] = f"built package from: {package.source}"
    if supplier := _supplier(package.supplier):
        fields["supplier"] = f"Organization: {supplier}"
    if package.licence:
        words = re.split(r" (?:AND|OR) ", package.licence)
        listed = set(LICENCES.split()).issuperset(words)
        fields["licenseDeclared" if listed else "licenseComments"] = package.licence
    version = f"{package.epoch}:{package.version}" if package.epoch.strip("0") else package.version
    identifier = _identifier(package.name, purl, *astuple(package))
    return _package(identifier, package.name, version=version, purl=purl, **fields)


def _package(identifier: str, name: str, *, version: str = "", purl: str = "", **fields: str) -> Json:
    found: Json = {
        "SPDXID": identifier,
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        **fields,
    }
    if version:
        found["versionInfo"] = version
    if purl:
        found["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceLocator": purl,
                "referenceType": "purl",
            }
        ]
    return found


def _relationship(one: str, type_: str, other: str) -> Json:
    return {"spdxElementId": one, "relationshipType": type_, "relatedSpdxElement": other}


def _identifier(name: str, *words: str) -> str:
    """An SPDX identifier that people can tell and that only these words lead to."""
    shown = re.sub(r"[^A-Za-z0-9.-]", "-", name)[:40]
    return f"SPDXRef-{shown}-{hashlib.sha256(canonical_json(words)).hexdigest()[:12]}"


def _supplier(maintainer: str) -> str:
    """`NAME <MAIL>` as SPDX writes it; parentheses of the name would be taken for the mail's."""
    matched = re.fullmatch(r"([^<>]*)<([^<>\s]+)>", maintainer)
    name, mail = matched.groups() if matched else (maintainer, "")
    name = re.sub(r"[()<>]", "", name).strip() or mail
    return f"{name} ({mail})" if mail else name
