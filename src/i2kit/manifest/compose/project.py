"""Compose files as one project: variables filled in, files merged, `include`, `extends`, profiles followed.

In: documents of compose files, and what lies beside the first of them. Out: a Project, whose services are
nodes still. What is wrong is in the log, or in that of the service. Pure.

Sources: the Compose specification, 12-interpolation.md to 15-profiles.md; compose-go, loader/.
"""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from i2kit.errors import Position
from i2kit.manifest.around import Around, TooMuch, contents
from i2kit.manifest.compose import moving
from i2kit.manifest.compose.filling import Fill, escaped
from i2kit.manifest.compose.interpolation import BadText, Lookup, variables
from i2kit.manifest.compose.merging import DIALECT, RESET, merged
from i2kit.manifest.compose.types import word
from i2kit.manifest.files import STDIN
from i2kit.manifest.log import Log, did_you_mean, join
from i2kit.manifest.places import shown
from i2kit.manifest.source import MappingNode, Node, SequenceNode, described, documents
from i2kit.manifest.tables import compose_fields
from i2kit.manifest.tables.shape import Record

MAX_SERVICES = 1000

_LATER = 5
"""How deep a service extends another, and a file includes another."""

_MAX_FILES = 100
"""Files that others name."""

_SHARED = ("services", "networks", "volumes", "secrets", "configs")
"""What of an included file becomes a part of the other one."""


@dataclass(slots=True)
class Project:
    """Compose files as one. `folder` is what paths are relative to."""

    name: str
    folder: str
    position: Position
    services: Mapping[str, tuple[Position, MappingNode]]
    top: Record
    lookup: Callable[[str], str | None]
    left_out: frozenset[str] = frozenset()
    """Services whose profiles nobody asked for."""
    logs: dict[str, Log] = field(default_factory=dict)
    """What is wrong with the text of each service."""


@dataclass(frozen=True, slots=True)
class _Within:
    """The services of a file (empty: of the project), and the folder that paths in it are relative to."""

    file: str
    folder: str
    services: MappingNode


def project(nodes: Sequence[MappingNode], around: Around, log: Log) -> Project:
    """The project that these files are, in their order. `nodes` has one at least."""
    file = nodes[0].position.file
    folder = "." if file == STDIN else str(PurePosixPath(file).parent)
    lookup = _lookup([str(PurePosixPath(folder, ".env"))], around.environ.get, around, log)
    others = _Others(around, log)
    whole = others.with_included(nodes[0], folder, lookup, (), log)
    for node in nodes[1:]:
        whole = merged(whole, others.with_included(node, folder, lookup, (), log))
    services = _services(whole)
    rest = {key: entry for key, entry in whole.entries.items() if key not in ("services", "include")}
    filled_in = others.fill.node(MappingNode(rest, whole.position), "", "", lookup, log)
    top = compose_fields.AROUND.read(filled_in, "", log) or Record(whole.position, "", {}, {})
    found: dict[str, tuple[Position, MappingNode]] = {}
    logs: dict[str, Log] = {}
    for name, (position, each) in services.entries.items():
        if each.tag == RESET:
            continue
        logs[name] = Log(accepted=log.accepted)
        extended = others.extended(name, _Within("", folder, services), lookup, (), logs[name])
        if extended is not None:
            read = others.fill.node(extended, join("services", name), "", lookup, logs[name])
            if isinstance(read, MappingNode):
                found[name] = position, read
    if len(services.entries) > MAX_SERVICES:
        log.problem(
            services.position, "services", f"has more than {MAX_SERVICES:,} services", "split the file"
        )
        found = {}
    asked = {one.strip() for one in (lookup("COMPOSE_PROFILES") or "").split(",")}
    return Project(
        name=label(top.text("name") or lookup("COMPOSE_PROJECT_NAME") or _own_name(folder, around)),
        folder=folder,
        position=services.position,
        services=found,
        top=top,
        lookup=lookup,
        left_out=frozenset(name for name, (_, node) in found.items() if _is_left_out(node, asked)),
        logs=logs,
    )


def _own_name(folder: str, around: Around) -> str:
    """The name of the folder: for a relative one, of what it is in."""
    parts = PurePosixPath(folder).parts
    absolute = parts if folder.startswith("/") else (*PurePosixPath(around.folder).parts, *parts)
    there: list[str] = []
    for part in absolute:
        there = there[:-1] if part == ".." else [*there, part]
    return there[-1] if there else "default"


def label(text: str, most: int = 40) -> str:
    """A text as a DNS label, at most so many characters of it."""
    return re.sub(r"[^a-z0-9]+", "-", text[:1000].lower()).strip("-")[:most].strip("-") or "default"


def _lookup(files: Sequence[str], above: Lookup, around: Around, log: Log) -> Lookup:
    """Variables: those that are known above, then those of the files, the last of which counts."""
    found: dict[str, str] = {}
    for path in files:
        if around.kind(path) != "file":
            continue
        try:
            text = contents(path, around)[1].decode()
            found.update((name, value) for name, value in variables(text, above) if value is not None)
        except BadText as bad:
            log.problem(Position(path, bad.line or 1, 1), "", bad.message, bad.hint)
        except UnicodeDecodeError:
            log.problem(Position(path, 1, 1), "", "is not UTF-8 text")
        except (OSError, TooMuch) as error:
            log.problem(Position(path, 1, 1), "", _why(error))

    def lookup(name: str) -> str | None:
        given = above(name)
        return found.get(name) if given is None else given

    return lookup


def _why(error: OSError | TooMuch) -> str:
    return (
        f"cannot be read: {(error.strerror or str(error)).lower()}"
        if isinstance(error, OSError)
        else str(error)
    )


class _Others:
    """The compose files that others name, and the services of them all with what they go on with.

    What is taken from another file has its variables filled in, and paths as this one would write them.
    """

    def __init__(self, around: Around, log: Log) -> None:
        self.fill = Fill()
        self._around = around
        self._log = log
        self._read: dict[str, MappingNode | None] = {}

    def with_included(
        self, node: MappingNode, folder: str, lookup: Lookup, above: tuple[str, ...], log: Log
    ) -> MappingNode:
        """The file with those that it includes. What both have is a problem."""
        include = node.get("include")
        if include is None:
            return node
        read = compose_fields.INCLUDE.read(
            self.fill.node(include, "include", "", lookup, log), "include", log
        )
        found = MappingNode({}, node.position)
        for one in read or ():
            assert isinstance(one, Record)
            other = self._included(one, folder, lookup, above, log)
            for each in (found, node):
                _differ(each, other, one, log)
            found = merged(found, other)
        return merged(found, node)

    def _included(
        self, one: Record, folder: str, lookup: Lookup, above: tuple[str, ...], log: Log
    ) -> MappingNode:
        nothing = MappingNode({}, one.position)
        if remote := next(filter(moving.is_remote, one.items("path")), None):
            log.problem(one.position, one.path, f"`{shown(remote)}` is not on this machine", "get it first")
            return nothing
        paths = [str(PurePosixPath(folder, path)) for path in one.items("path")]
        if not paths:
            return nothing
        own = one.text("project_directory")
        place = str(PurePosixPath(folder, own)) if own else str(PurePosixPath(paths[0]).parent)
        if paths[0] in above or len(above) > _LATER:
            message = "includes itself" if paths[0] in above else f"is more than {_LATER} files deep"
            log.problem(one.position, one.path, message)
            return nothing
        given = [str(PurePosixPath(folder, path)) for path in one.items("env_file")]
        for path in given:
            if self._around.kind(path) == "none" and path != "/dev/null":
                message = f"the file `{shown(path)}` does not exist"
                log.problem(one.place("env_file"), one.at("env_file"), message)
        inner = _lookup(given or [str(PurePosixPath(place, ".env"))], lookup, self._around, log)
        whole: MappingNode | None = None
        for path in paths:
            if (read := self.file(path, one.position, one.path, log)) is None:
                continue
            read = self.with_included(read, place, inner, (*above, *paths), log)
            whole = read if whole is None else merged(whole, read)
        if whole is None:
            return nothing
        kept = {key: entry for key, entry in whole.entries.items() if key in _SHARED}
        others = {key: entry for key, entry in whole.entries.items() if key not in (*_SHARED, "include")}
        told = self.fill.node(MappingNode(others, whole.position), "", "", inner, log)
        compose_fields.AROUND.read(told, "", log)
        filled_in = self.fill.node(MappingNode(kept, whole.position), "", "", inner, log)
        assert isinstance(filled_in, MappingNode)
        moved = escaped(moving.file(filled_in, _from(place, folder)))
        assert isinstance(moved, MappingNode)
        return moved

    def extended(
        self, name: str, within: _Within, lookup: Lookup, above: tuple[tuple[str, str], ...], log: Log
    ) -> MappingNode | None:
        """A service with what it goes on with; None, with a problem in the log, where it is no mapping."""
        node = within.services.get(name)
        path = join("services", name)
        if not isinstance(node, MappingNode):
            if node is not None:
                message = f"must be a mapping and is {described(node)}"
                log.problem(node.position, path, message, "give it an image")
            return None
        extends = node.get("extends")
        if extends is None or extends.tag == RESET:
            return node
        path = f"{path}.extends"
        named = self.fill.node(extends, path, "", lookup, log)
        base = named.get("service") if isinstance(named, MappingNode) else named
        other = named.get("file") if isinstance(named, MappingNode) else None
        file = word(other) if other is not None else None
        base_name = word(base) if base is not None else None
        if base_name is None:
            return node  # which the table refuses
        there = within
        if file and moving.is_remote(file):
            log.problem(extends.position, path, f"`{shown(file)}` is not on this machine", "get it first")
            return node
        if file:
            full = str(PurePosixPath(within.folder, file))
            read = self.file(full, extends.position, path, log)
            if read is None:
                return node
            there = _Within(full, str(PurePosixPath(full).parent), _services(read))
        above = (*above, (within.file, name))
        if (there.file, base_name) in above or len(above) > _LATER + 1:
            again = (there.file, base_name) in above
            message = "extends itself" if again else f"extends more than {_LATER} others in a row"
            log.problem(extends.position, path, message)
            return node
        if not isinstance(there.services.get(base_name), MappingNode):
            hint = did_you_mean(base_name, list(there.services.entries))
            where = f" in {shown(file)}" if file else ""
            log.problem(extends.position, path, f"there is no service `{shown(base_name)}`{where}", hint)
            return node
        found = self.extended(base_name, there, lookup, above, log)
        if found is None:
            return node
        if file:
            filled_in = self.fill.node(found, join("services", base_name), "", lookup, log)
            moved = escaped(moving.service(filled_in, _from(there.folder, within.folder)))
            assert isinstance(moved, MappingNode)
            found = moved
        own = {key: entry for key, entry in found.entries.items() if key != "extends"}
        return merged(MappingNode(own, node.position), node)

    def file(self, path: str, position: Position, place: str, log: Log) -> MappingNode | None:
        """The compose file at this path; None after a problem."""
        if path not in self._read:
            self._read[path] = self._load(path, position, place, log)
        return self._read[path]

    def _load(self, path: str, position: Position, place: str, log: Log) -> MappingNode | None:
        if len(self._read) >= _MAX_FILES:
            log.problem(position, place, f"more than {_MAX_FILES} files are named by others")
            return None
        try:
            if self._around.kind(path) != "file":
                log.problem(position, place, f"the file `{shown(path)}` does not exist")
                return None
            data = contents(path, self._around)[1]
        except (OSError, TooMuch) as error:
            log.problem(position, place, f"the file `{shown(path)}` {_why(error)}")
            return None
        found, problems = documents(path, data, dialect=DIALECT)
        self._log.add(problems)
        if len(found) == 1 and isinstance(found[0], MappingNode):
            return found[0]
        if not problems:
            log.problem(position, place, f"`{shown(path)}` is no compose file")
        return None


def _services(node: MappingNode) -> MappingNode:
    services = node.get("services")
    return services if isinstance(services, MappingNode) else MappingNode({}, node.position)


def _from(place: str, folder: str) -> str:
    """The one folder as seen from the other."""
    return place if place.startswith("/") else posixpath.relpath(place, folder)


def _differ(mine: MappingNode, other: MappingNode, one: Record, log: Log) -> None:
    """What two files say of one name must be the same."""
    for key in _SHARED:
        ours, theirs = mine.get(key), other.get(key)
        if not (isinstance(ours, MappingNode) and isinstance(theirs, MappingNode)):
            continue
        for name, (position, value) in ours.entries.items():
            here = theirs.get(name)
            if here is not None and _plain(here) != _plain(value):
                message = f"has a `{shown(name)}` in `{key}` that is not as the one at {position}"
                log.problem(
                    one.position, one.path, message, "change it with an override file beside it in path"
                )


def _plain(node: Node) -> object:
    """What a node says, without its place."""
    if isinstance(node, MappingNode):
        return {name: _plain(value) for name, (_, value) in node.entries.items()}
    return [_plain(item) for item in node.items] if isinstance(node, SequenceNode) else node.value


def _is_left_out(node: MappingNode, asked: set[str]) -> bool:
    profiles = node.get("profiles")
    if not isinstance(profiles, SequenceNode) or not profiles.items:
        return False
    return "*" not in asked and asked.isdisjoint(filter(None, map(word, profiles.items)))
