"""LinuxKit's YAML, of one file or several, and the labels of images that complete it.

In: texts. Out: a Template, or the settings of an entry together with its image's label; an
InputError has every problem. Pure. The schema is in `linuxkit_reader`, the values are in
`linuxkit_values`.

Source: LinuxKit, docs/yaml.md and src/cmd/linuxkit/moby/config.go.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from i2kit.errors import InputError, Position, Problem
from i2kit.image.linuxkit.reader import IdUse, Reader, VolumeUse, resolve_core
from i2kit.image.linuxkit.spec import expanded
from i2kit.image.linuxkit.values import (
    UNSAID_IF_EMPTY,
    ContainerEntry,
    FileEntry,
    Mount,
    Package,
    Runtime,
    Settings,
    Template,
)
from i2kit.manifest.source import Dialect, MappingNode, Node, documents

__all__ = [
    "ContainerEntry",
    "FileEntry",
    "Mount",
    "Package",
    "Settings",
    "Template",
    "parse",
    "parse_all",
    "parse_package",
    "together",
]

LABEL = "org.mobyproject.config"


def parse(name: str, text: str | bytes) -> Template:
    """Read the template `text` of the file `name`. Raises InputError with all problems."""
    return parse_all([(name, text)])


def parse_all(files: Sequence[tuple[str, str | bytes]]) -> Template:
    """Read several files, each with its name, as one template: lists go on, the last kernel counts.

    Volumes of all files can be used by all. Raises InputError with the problems of all files.
    """
    problems: list[Problem] = []
    template = Template(Path(files[-1][0]).stem)
    volume_uses: list[VolumeUse] = []
    id_uses: list[IdUse] = []
    places: list[tuple[str, str, Position]] = []
    for name, text in files:
        reader = Reader(Path(name).parent)
        found = _sections(reader, name, text)
        template = _appended(template, found, reader)
        problems += reader.problems
        volume_uses += reader.volume_uses
        id_uses += reader.id_uses
        places += reader.places
    problems += _duplicates(places)
    template = replace(template, positions=_used(template))
    volumes = {volume.name: volume.readonly for volume in template.volumes}
    # Where an entry cannot be read, its name is not known either.
    names = {name for section, name, _ in places if section != "volumes"}
    problems += _unknown(volume_uses, id_uses, volumes, names)
    if problems:
        order = {name: number for number, (name, _) in enumerate(files)}
        raise InputError(sorted(problems, key=lambda problem: _place(problem, order)))
    return template


def _sections(reader: Reader, name: str, text: str | bytes) -> Mapping[str, Any]:
    data = text if isinstance(text, bytes) else text.encode()
    found, problems = documents(name, data, dialect=Dialect(resolve_core))
    reader.problems += problems
    if problems:
        return {}
    if len(found) != 1 and not _is_manifest(found):
        start = found[1].position if found else Position(name, 1, 1)
        what = "is only one of several documents" if found else "is empty"
        hint = "give each document in a file of its own" if found else "give one template"
        reader.problems.append(Problem(f"the LinuxKit template {what}", start, hint))
        return {}
    if _is_manifest(found):
        message = "looks like a manifest, which is no LinuxKit template"
        hint = f"to build its machine image: i2kit build -f {name}"
        reader.problems.append(Problem(message, found[0].position, hint))
        return {}
    return reader.template(found[0])


def _is_manifest(found: Sequence[Node]) -> bool:
    first = found[0] if found else None
    return isinstance(first, MappingNode) and bool({"containers", "apiVersion"} & first.entries.keys())


def _appended(template: Template, found: Mapping[str, Any], reader: Reader) -> Template:
    kernel: Mapping[str, str] = found.get("kernel", {})
    lists: dict[str, Any] = {
        section: (*getattr(template, section), *found.get(section, ()))
        for section in ("init", "onboot", "onshutdown", "services", "files", "volumes")
    }
    return replace(
        template,
        **lists,
        kernel=kernel.get("image") or template.kernel,
        cmdline=kernel.get("cmdline") or template.cmdline,
        binary=kernel.get("binary") or template.binary,
        kernel_tar=kernel.get("tar", template.kernel_tar),
        ucode=kernel.get("ucode", template.ucode),
        positions={**reader.positions, **template.positions},
        warnings=(*template.warnings, *reader.warnings),
    )


def _used(template: Template) -> Mapping[str, Position]:
    """Without the kernel that a later file replaces."""
    entries = [entry.image for _, section in template.sections for entry in section]
    volumes = [volume.image for volume in template.volumes]
    used = {template.kernel, *template.init, *entries, *volumes}
    return {name: place for name, place in template.positions.items() if name in used}


def _duplicates(places: Sequence[tuple[str, str, Position]]) -> list[Problem]:
    """Services run at the same time and volumes at the same place, so each name is taken once."""
    first: dict[tuple[str, str], Position] = {}
    problems = []
    for section, name, position in places:
        if section not in ("services", "volumes"):
            continue
        before = first.get((section, name))
        if before is None:
            first[section, name] = position
            continue
        same = "the same entry is there again, by an alias or in a file that is given twice"
        hint = f"the first is at {before}" if before != position else same
        problems.append(Problem(f"{section}: has two entries with the name `{name}`", position, hint))
    return problems


def _unknown(
    volume_uses: Sequence[VolumeUse],
    id_uses: Sequence[IdUse],
    volumes: Mapping[str, bool],
    names: Container[str],
) -> list[Problem]:
    problems = []
    for use in volume_uses:
        if use.name not in volumes:
            hint = "add it to `volumes`; folders of the machine begin with /"
            problems.append(Problem(f"{use.path}: there is no volume `{use.name}`", use.position, hint))
        elif volumes[use.name] and use.writable:
            message = f"{use.path}: the volume `{use.name}` is read-only"
            problems.append(Problem(message, use.position, "mount it with the option ro"))
    for user in id_uses:
        if user.name not in names:
            hint = "write a number" + (" without quotes" if user.name.isdigit() else "")
            message = f"{user.path}: there is no entry `{user.name}` whose number this could be"
            problems.append(Problem(message, user.position, hint))
    return problems


def _place(problem: Problem, order: Mapping[str, int]) -> tuple[int, int, int]:
    place = problem.position or Position("", 0, 0)
    return order.get(place.file, 0), place.line, place.column


_OF_BUILDING = (
    "arches",
    "buildArgs",
    "config",
    "depends",
    "disable-cache",
    "dockerfile",
    "gitrepo",
    "network",
    "tag",
)
"""Keys of a package that its name does not depend on."""


def parse_package(name: str, data: bytes) -> Package:
    """Read the `build.yml` of a package. Raises InputError with all problems."""
    found, problems = documents(name, data, dialect=Dialect(resolve_core))
    reader = Reader()
    reader.problems += problems
    start = found[0] if found else None
    values: dict[str, Any] = {}
    if isinstance(start, MappingNode):
        texts = dict.fromkeys(("image", "org"), reader.text)
        others = dict.fromkeys(_OF_BUILDING, lambda node, path: None)
        values = reader.table(start, "", {**texts, "extra-sources": reader.list_of(reader.text), **others})
    if not values.get("image") and not reader.problems:
        position = start.position if start else Position(name, 1, 1)
        reader.problems.append(Problem("the package must have `image`", position))
    if reader.problems:
        raise InputError(reader.problems)
    return Package(values["image"], values.get("org", "linuxkit"), values.get("extra-sources", ()))


def together(entry: ContainerEntry, label: str, template: Template) -> Settings:
    """What an entry says, completed by the text of its image's LABEL.

    Raises InputError with every problem of the label, at the place where the image is named.
    """
    if not label:
        return _over(Settings(), entry.settings)
    where = f"`{entry.name}`: the label {LABEL} of the image `{entry.image}`"
    found, problems = documents("label", label.encode(), dialect=Dialect(resolve_core))
    reader = Reader()
    reader.problems += problems
    if not problems and len(found) == 1 and isinstance(found[0], MappingNode):
        settings = reader.label(found[0])
        volumes = {volume.name: volume.readonly for volume in template.volumes}
        reader.problems += _unknown(reader.volume_uses, reader.id_uses, volumes, template.ids())
        if not reader.problems:
            return _over(settings, entry.settings)
    elif not problems:
        reader.problems.append(Problem("must be a mapping"))
    raise InputError(reader.in_label(where, entry.position))


def _over(label: Settings, entry: Settings) -> Settings:
    """Field by field what the entry says, or else the label."""
    merged: dict[str, Any] = {}
    for field in fields(Settings):
        said, default = getattr(entry, field.name), getattr(label, field.name)
        nothing = said is None or (said == "" and field.name in UNSAID_IF_EMPTY)
        merged[field.name] = default if nothing else said
    # LinuxKit drops `….add` in labels, and in entries that say both.
    merged["capabilities"] = _added(
        *(
            part and tuple(expanded(part))
            for part in (merged["capabilities"], _add(label, entry, "capabilities"))
        )
    )
    merged["binds"] = _added(merged["binds"], _add(label, entry, "binds"))
    merged["runtime"] = _runtime(label.runtime or Runtime(), entry.runtime or Runtime())
    return Settings(**{**merged, "capabilities_add": None, "binds_add": None})


def _add(label: Settings, entry: Settings, field: str) -> tuple[str, ...] | None:
    from_label = () if getattr(entry, field) is not None else getattr(label, f"{field}_add") or ()
    return (*from_label, *(getattr(entry, f"{field}_add") or ()))


def _added(first: tuple[str, ...] | None, more: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return (*(first or ()), *more) if more else first


def _runtime(label: Runtime, entry: Runtime) -> Runtime:
    merged = {
        field.name: getattr(label if getattr(entry, field.name) is None else entry, field.name)
        for field in fields(Runtime)
    }
    return Runtime(**{**merged, "bind_ns": {**label.bind_ns, **entry.bind_ns}})
