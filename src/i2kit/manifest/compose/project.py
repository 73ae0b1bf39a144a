"""Compose files as one project: variables filled in, files merged, `extends` and profiles followed.

In: documents with a top-level `services`, and what lies beside the first of them. Out: a Project, whose
services are nodes still. What is wrong is in the log, or in that of the service. Pure.

Sources: the Compose specification, 12-interpolation.md, 13-merge.md, 15-profiles.md.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from i2kit.errors import Position
from i2kit.manifest.around import Around, TooMuch, contents
from i2kit.manifest.compose.interpolation import MAX_TEXT, BadText, filled, variables
from i2kit.manifest.compose.types import Malformed, volume_in_short, word
from i2kit.manifest.files import STDIN
from i2kit.manifest.log import Log, did_you_mean, join
from i2kit.manifest.places import shown
from i2kit.manifest.source import MAX_NODES, MappingNode, Node, ScalarNode, SequenceNode, described
from i2kit.manifest.tables import compose_fields
from i2kit.manifest.tables.shape import Record

MAX_SERVICES = 1000

_FREE = frozenset({"environment", "labels", "args", "extra_hosts", "sysctls", "annotations"})
"""Below these, any key is a name."""

_LISTS = frozenset({"env_file", "tmpfs", "dns", "dns_search"})
"""One of these may stand for a list of it."""

_NAMED = frozenset({"depends_on", "networks"})
"""Lists of names that may be mappings."""

_WHOLE = frozenset({"command", "entrypoint", "test"})
"""What a later file says of these replaces all of it."""

_LATER = 5
"""How deep a service extends another."""


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


def project(nodes: Sequence[MappingNode], around: Around, log: Log) -> Project:
    """The project that these files are, in their order. `nodes` has one at least."""
    file = nodes[0].position.file
    folder = "." if file == STDIN else str(PurePosixPath(file).parent)
    lookup = _lookup(folder, around, log)
    merged = nodes[0]
    for node in nodes[1:]:
        merged = _merged(merged, node, "")
    services = merged.get("services")
    assert isinstance(services, MappingNode)
    fill = _Fill(lookup)
    others = {key: entry for key, entry in merged.entries.items() if key != "services"}
    filled_in = fill.node(MappingNode(others, merged.position), "", "", log)
    top = compose_fields.AROUND.read(filled_in, "", log) or Record(merged.position, "", {}, {})
    found: dict[str, tuple[Position, MappingNode]] = {}
    logs: dict[str, Log] = {}
    for name, (position, _) in services.entries.items():
        logs[name] = Log(accepted=log.accepted)
        whole = _extended(name, services, (), logs[name])
        if whole is not None:
            read = fill.node(whole, join("services", name), "", logs[name])
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


def _lookup(folder: str, around: Around, log: Log) -> Callable[[str], str | None]:
    """Variables: those of the environment, then those of the file .env beside."""
    path = str(PurePosixPath(folder, ".env"))
    found: dict[str, str] = {}
    if around.kind(path) == "file":
        try:
            text = contents(path, around)[1].decode()
            found = {name: value for name, value in variables(text, around.environ.get) if value is not None}
        except BadText as bad:
            log.problem(Position(path, bad.line or 1, 1), "", bad.message, bad.hint)
        except UnicodeDecodeError:
            log.problem(Position(path, 1, 1), "", "is not UTF-8 text")
        except (OSError, TooMuch) as error:
            log.problem(Position(path, 1, 1), "", _why(error))

    def lookup(name: str) -> str | None:
        given = around.environ.get(name)
        return found.get(name) if given is None else given

    return lookup


def _why(error: OSError | TooMuch) -> str:
    return (
        f"cannot be read: {(error.strerror or str(error)).lower()}"
        if isinstance(error, OSError)
        else str(error)
    )


class _Fill:
    """Fills variables into values; keys stay as they are. Drops the keys that extend compose files (x-…)."""

    def __init__(self, lookup: Callable[[str], str | None]) -> None:
        self._lookup = lookup
        self._room = 10 * MAX_TEXT
        self._nodes = MAX_NODES

    def node(self, node: Node, path: str, key: str, log: Log) -> Node:
        self._nodes -= 1
        if self._nodes <= 0:  # many services can extend a large one
            if self._nodes == 0:
                message = f"more than {MAX_NODES:,} keys and values, `extends` written out"
                log.problem(node.position, path, message, "split the file")
            return ScalarNode("", None, node.position)
        if isinstance(node, SequenceNode):
            items = (self.node(item, f"{path}[{index}]", key, log) for index, item in enumerate(node.items))
            return SequenceNode(tuple(items), node.position)
        if isinstance(node, MappingNode):
            return MappingNode(
                {
                    name: (place, self.node(value, join(path, name), name, log))
                    for name, (place, value) in node.entries.items()
                    if key in _FREE or not name.startswith("x-")
                },
                node.position,
            )
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        return self._scalar(node, node.value, path, log)

    def _scalar(self, node: ScalarNode, value: str, path: str, log: Log) -> ScalarNode:
        try:
            done = filled(value, self._lookup)
            self._room -= len(done.text)
            if self._room < 0:
                raise BadText(f"all values together have more than {10 * MAX_TEXT:,} characters")
        except BadText as bad:
            log.problem(node.position, path, bad.message, bad.hint)
            return ScalarNode("", "", node.position)
        for name in done.unset:
            message = f"the variable `{shown(name)}` is not set, and empty is used"
            log.warn(node.position, path, message, kind="")
        return ScalarNode(done.text, done.text, node.position)


def _extended(name: str, services: MappingNode, above: tuple[str, ...], log: Log) -> MappingNode | None:
    """A service with what it goes on with; None, with a problem in the log, where it is no mapping."""
    node = services.get(name)
    path = join("services", name)
    if not isinstance(node, MappingNode):
        if node is not None:
            log.problem(
                node.position, path, f"must be a mapping and is {described(node)}", "give it an image"
            )
        return None
    extends = node.get("extends")
    if isinstance(extends, MappingNode):
        if extends.get("file") is not None:
            return node  # which the table refuses
        extends = extends.get("service")
    base = word(extends) if extends is not None else None
    if base is None or extends is None:
        return node
    if base in (*above, name) or len(above) > _LATER:
        message = (
            "extends itself" if base in (*above, name) else f"extends more than {_LATER} others in a row"
        )
        log.problem(extends.position, f"{path}.extends", message)
        return node
    if not isinstance(services.get(base), MappingNode):
        hint = did_you_mean(base, list(services.entries))
        log.problem(extends.position, f"{path}.extends", f"there is no service `{shown(base)}`", hint)
        return node
    found = _extended(base, services, (*above, name), log)
    merged = _merged(found, node, "") if found else node
    own = {key: entry for key, entry in merged.entries.items() if key != "extends" or key in node.entries}
    return MappingNode(own, node.position)


def _is_left_out(node: MappingNode, asked: set[str]) -> bool:
    profiles = node.get("profiles")
    if not isinstance(profiles, SequenceNode) or not profiles.items:
        return False
    return "*" not in asked and asked.isdisjoint(filter(None, map(word, profiles.items)))


def _merged(base: Node, over: Node, key: str) -> "MappingNode":
    """What two files say of one thing: mappings are joined, lists go on, and else the later counts."""
    node = _joined(base, over, key)
    assert isinstance(node, MappingNode)
    return node


def _joined(base: Node, over: Node, key: str) -> Node:
    if key in _WHOLE or (isinstance(over, ScalarNode) and over.value is None and key):
        return over
    if (key in _FREE and key != "extra_hosts") or (
        key in _NAMED and isinstance(base, MappingNode) != isinstance(over, MappingNode)
    ):
        base, over = _as_mapping(base), _as_mapping(over)
    elif key in _LISTS:
        base, over = _as_list(base), _as_list(over)
    if isinstance(base, MappingNode) and isinstance(over, MappingNode):
        entries = dict(base.entries)
        for name, (place, value) in over.entries.items():
            before = base.get(name)
            entries[name] = (place, value if before is None else _joined(before, value, name))
        return MappingNode(entries, base.position)
    if isinstance(base, SequenceNode) and isinstance(over, SequenceNode):
        said = {_identity(item, key) for item in over.items}
        kept = tuple(item for item in base.items if _identity(item, key) not in said)
        return SequenceNode((*kept, *over.items), over.position)
    return over


def _identity(item: Node, key: str) -> object:
    """What an item of a list is told by: two with the same are one."""
    if isinstance(item, ScalarNode):
        text = word(item)
        if key == "volumes" and text:
            try:
                return volume_in_short(text)["target"]
            except Malformed:
                return text
        return text
    if isinstance(item, MappingNode) and key == "volumes":
        target = item.get("target")
        return word(target) if target is not None else id(item)
    return id(item)


def _as_mapping(node: Node) -> Node:
    if not isinstance(node, SequenceNode):
        return node
    entries: dict[str, tuple[Position, Node]] = {}
    for item in node.items:
        name, equals, value = (word(item) or "").partition("=")
        text = value if equals else None
        entries[name] = item.position, ScalarNode(value, text, item.position)
    return MappingNode(entries, node.position)


def _as_list(node: Node) -> Node:
    return SequenceNode((node,), node.position) if isinstance(node, ScalarNode) else node
