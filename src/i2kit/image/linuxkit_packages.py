"""`@pkg:FOLDER` in place of an image: the name that LinuxKit gives the package in that folder.

In: a Template. Out: the same with names such as docker.io/linuxkit/init:HASH in place of folders, where
HASH is that of the folder in git. Reads the folders and asks git about them, and never builds a package:
its image has to be there, as `linuxkit pkg build` leaves it.

Source: LinuxKit, src/cmd/linuxkit/{buildtemplate,pkglib/pkglib,pkglib/git}.go. A package's own `tag`
counts for nothing here, as there.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from i2kit.errors import InputError, OperationError, Problem
from i2kit.image.linuxkit import Package, parse_package
from i2kit.image.linuxkit.reader import PACKAGE
from i2kit.image.linuxkit.text import expanded_reference
from i2kit.image.linuxkit.values import ContainerEntry, Template
from i2kit.process import run

BUILD_FILE = "build.yml"
NO_REPOSITORY = "not a git repository"
DIRTY_DIGITS = 7

GIT = ("git", "-c", "core.fsmonitor=false")
"""A repository may name a program there, which asking it something would run."""


def named(template: Template) -> Template:
    """The template with names for all packages. Raises InputError with each folder that is none."""
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for reference, position in template.positions.items():
        if not reference.startswith(PACKAGE):
            continue
        try:
            names[reference] = name_of(Path(reference.removeprefix(PACKAGE)))
        except InputError as error:
            problems += error.problems
        except OperationError as error:
            problems.append(Problem(error.message, position, error.hint))
    if problems:
        raise InputError(problems)
    return with_names(template, names) if names else template


def with_names(template: Template, names: Mapping[str, str]) -> Template:
    def renamed(entries: tuple[ContainerEntry, ...]) -> tuple[ContainerEntry, ...]:
        return tuple(replace(entry, image=names.get(entry.image, entry.image)) for entry in entries)

    return replace(
        template,
        kernel=names.get(template.kernel, template.kernel),
        init=tuple(names.get(reference, reference) for reference in template.init),
        onboot=renamed(template.onboot),
        onshutdown=renamed(template.onshutdown),
        services=renamed(template.services),
        volumes=tuple(replace(one, image=names.get(one.image, one.image)) for one in template.volumes),
        positions={names.get(name, name): place for name, place in template.positions.items()},
    )


def name_of(folder: Path) -> str:
    """The image of the package in `folder`, by the hash of what git has of it.

    Raises OperationError for a folder that is no package, InputError with the problems of its file.
    """
    file = folder / BUILD_FILE
    try:
        package = parse_package(str(file), file.read_bytes())
    except OSError as error:
        raise OperationError(
            f"cannot read {file}: {error.strerror}",
            hint="`@pkg:` takes the folder of a LinuxKit package, relative to that of the template",
        ) from error
    return expanded_reference(f"{package.org}/{package.image}:{tag_of(folder.absolute(), package)}")


def tag_of(folder: Path, package: Package) -> str:
    inside = run([*GIT, "-C", folder, "rev-parse", "--is-inside-work-tree"], check=False)
    if inside.status and NO_REPOSITORY in inside.stderr.decode(errors="replace"):
        return "latest"
    found = tree_hash(folder)
    if package.sources:
        others = [tree_hash(folder / source.partition(":")[0]) for source in package.sources]
        found = hashlib.sha1("".join([found, *others]).encode()).hexdigest()  # noqa: S324 (a name, not a proof)
    return f"{found}-dirty-{content_hash(folder)[:DIRTY_DIGITS]}" if is_dirty(folder) else found


def tree_hash(folder: Path) -> str:
    """The hash that git has of a folder. Raises OperationError where it has none."""
    asked = run([*GIT, "-C", folder, "rev-parse", "--verify", "--quiet", "HEAD:./"], check=False)
    if asked.status:
        raise OperationError(
            f"git has nothing of the folder {folder}",
            hint="commit it: a package's name is made of what git has of it",
        )
    return asked.text.strip()


def is_dirty(folder: Path) -> bool:
    """Whether the folder differs from what git has of it."""
    git = (*GIT, "-C", folder)
    changed = run([*git, "diff", "--no-ext-diff", "--quiet", "HEAD", "--", "."], check=False)
    return bool(changed.status or run([*git, "ls-files", "--exclude-standard", "--others", "--", "."]).stdout)


def content_hash(folder: Path) -> str:
    """The hash of all files that are there, known to git or not, in the order in which it tells them."""
    found = hashlib.sha256()
    known = run([*GIT, "-C", folder, "ls-files"]).text
    others = run([*GIT, "-C", folder, "ls-files", "--exclude-standard", "--others"]).text
    for name in f"{known}\n{others}".strip().split("\n"):
        file = folder / name
        if file.is_file() and not file.is_symlink():
            found.update(file.read_bytes())
    return found.hexdigest()
