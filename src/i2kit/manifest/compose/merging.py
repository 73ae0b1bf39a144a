"""Two compose files, or two services, as one: what is said later counts, and lists go on.

In: nodes. Out: nodes. `!reset` takes away what was said before, `!override` stands instead of it. Pure.

Sources: the Compose specification, 13-merge.md; compose-go, override/merge.go.
"""

from i2kit.errors import Position
from i2kit.manifest.compose.types import Malformed, meaning, volume_in_short, word
from i2kit.manifest.source import Dialect, MappingNode, Node, ScalarNode, SequenceNode

RESET = "!reset"
OVERRIDE = "!override"
DIALECT = Dialect(meaning, frozenset((RESET, OVERRIDE)))
"""How compose files are read."""

FREE = frozenset({"environment", "labels", "args", "extra_hosts", "sysctls", "annotations"})
"""Below these, any key is a name."""

_LISTS = frozenset({"env_file", "tmpfs", "dns", "dns_search"})
"""One of these may stand for a list of it."""

_NAMED = frozenset({"depends_on", "networks"})
"""Lists of names that may be mappings."""

_WHOLE = frozenset({"command", "entrypoint", "test"})
"""What a later file says of these replaces all of it."""

_TOLD_BY = {"volumes": ("target",), "configs": ("target", "source"), "secrets": ("target", "source")}
"""By which keys items of these lists are told from others; the first that is there counts."""


def merged(base: MappingNode, over: Node) -> MappingNode:
    """What two files say of one thing."""
    node = _joined(base, over, "")
    return node if isinstance(node, MappingNode) else base


def _joined(base: Node, over: Node, key: str) -> Node:
    if base.tag == RESET or over.tag in (RESET, OVERRIDE) or key in _WHOLE:
        return over
    if isinstance(over, ScalarNode) and over.value is None:
        return base
    if key in FREE and key != "extra_hosts":
        base, over = _as_mapping(base), _as_mapping(over)
        if isinstance(base, MappingNode) and isinstance(over, MappingNode):
            return MappingNode({**base.entries, **over.entries}, base.position)
    elif key in _NAMED and isinstance(base, MappingNode) != isinstance(over, MappingNode):
        base, over = _as_mapping(base), _as_mapping(over)
    elif key in _LISTS:
        base, over = _as_list(base), _as_list(over)
    elif key == "build" and isinstance(base, MappingNode) != isinstance(over, MappingNode):
        base, over = _as_build(base), _as_build(over)
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
    if isinstance(item, MappingNode):
        for name in _TOLD_BY.get(key, ()):
            if value := item.get(name):
                return word(value)
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


def _as_build(node: Node) -> Node:
    if not isinstance(node, ScalarNode):
        return node
    return MappingNode({"context": (node.position, node)}, node.position)
