"""The real `linuxkit` as another way from a template to an Assembly.

In: a Template and its images from the store. Out: the same value that `assemble` makes, of the tar
that the program writes. It gets all images from us, into a cache of its own below `scratch`, so it
builds from the same digests and needs no network.

What it does differently stands in docs/linuxkit.md. Besides, `metadata` shows the names under which
it got the images and the sources of files. Source: LinuxKit v1.8, src/cmd/linuxkit/{build,cache_import}.go.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.image.assemble import Assembly, with_sources
from i2kit.image.linuxkit.text import as_text
from i2kit.image.linuxkit.values import Template
from i2kit.image.sources.oci_layout import Stored, layout
from i2kit.image.store import Store
from i2kit.image.tree import Tree
from i2kit.image.tree.archive import write_tar
from i2kit.image.tree.flatten import HostileLayer, flatten
from i2kit.model import Architecture
from i2kit.process import run, which

REGISTRY = "i2kit.invalid"
"""No host can have this name (RFC 6761): should the cache lack an image, nothing is asked anywhere."""
OTHER = "build without --builder linuxkit"
BOOT = ("boot/kernel", "boot/cmdline", "boot/ucode.cpio")


def build(
    template: Template,
    images: Mapping[str, Stored],
    store: Store,
    scratch: Path,
    *,
    architecture: Architecture = "amd64",
) -> Assembly:
    """Have `linuxkit` build the template. `images` are all that it names, by their reference there.

    Raises OperationError where the program is missing, fails, or writes what cannot be read.
    """
    if which("linuxkit") is None:
        raise OperationError(
            "the program `linuxkit` is not installed",
            hint="get it from github.com/linuxkit/linuxkit/releases, or leave out --builder linuxkit",
        )
    cache = scratch / "cache"
    names = {reference: name_of(stored) for reference, stored in images.items()}
    for reference, stored in images.items():
        archive = scratch / f"{stored.image.digest.partition(':')[2]}.tar"
        if not archive.exists():
            write_tar(layout(names[reference], [stored], store), archive)
            run(["linuxkit", "--cache", cache, "cache", "import", archive])
    source = scratch / "template.yml"
    source.write_text(as_text(with_copied_sources(template, scratch), "yaml", names))
    where: list[str | Path] = ["--cache", cache, "--dir", scratch, "--name", "machine"]
    what = ["--no-sbom", "--format", "tar", "--arch", architecture]
    run(["linuxkit", "build", *what, *where, source], cwd=scratch)
    return read(scratch / "machine.tar", template)


def name_of(stored: Stored) -> str:
    """A name for an image that nothing else has, and that says what is in it."""
    return f"{REGISTRY}/image:{stored.image.digest.partition(':')[2][:32]}"


def with_copied_sources(template: Template, folder: Path) -> Template:
    """The template with the contents of its files' sources in `folder`, named as they are from there.

    `metadata` shows these names: with the folder in them no two builds would be the same.
    """
    files = []
    for number, file in enumerate(with_sources(template).files):
        if file.data is None:
            files.append(file)
            continue
        copy = f"source-{number}"
        (folder / copy).write_bytes(file.data)
        files.append(replace(file, source=copy, data=None))
    return replace(template, files=tuple(files))


def read(archive: Path, template: Template) -> Assembly:
    """What LinuxKit's tar holds: later entries win, the kernel and its arguments stand in boot/."""
    if not archive.exists():
        raise OperationError(
            f"linuxkit ended without an error and without writing {archive.name}", hint=OTHER
        )
    try:
        tree = flatten([archive])
    except HostileLayer as error:
        raise OperationError(
            f"what linuxkit built cannot be read: {error.message}",
            hint=f"it can write a hardlink before its file: {OTHER}"
            if "hardlink" in error.message
            else OTHER,
        ) from error
    boot = tuple(entry for entry in tree if entry.path in BOOT)
    if template.kernel and not any(entry.path == BOOT[0] for entry in boot):
        raise OperationError(f"what linuxkit built has no {BOOT[0]}", hint=OTHER)
    rest = tuple(entry for entry in tree if entry.path not in BOOT)
    cmdline = next((entry.content for entry in boot if entry.path == "boot/cmdline"), None)
    if boot:
        parent = next(entry for entry in tree if entry.path == "boot")
        boot, rest = (parent, *boot), _without_empty(rest, "boot")
    return Assembly(
        tree=rest,
        boot=boot,
        cmdline=cmdline.read().decode() if cmdline else template.cmdline,
        sources=(archive,),
        warnings=template.warnings,
    )


def _without_empty(tree: Tree, folder: str) -> Tree:
    if any(entry.path.startswith(f"{folder}/") for entry in tree):
        return tree
    return tuple(entry for entry in tree if entry.path != folder)
