"""What a compose file says, as another in another folder would say it: paths are relative to that one. Pure.

Source: compose-go, paths/resolve.go.
"""

import posixpath
from collections.abc import Callable, Mapping

from i2kit.manifest.compose.types import Malformed, volume_in_short, word
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode

Change = Callable[[Node], Node]


def path(text: str, folder: str) -> str:
    """A path relative to the folder, as one that is relative to where the folder is."""
    if text.startswith(("/", "~")) or is_remote(text):
        return text
    return posixpath.normpath(posixpath.join(folder, text))


def is_remote(text: str) -> bool:
    """Whether sources are fetched from there."""
    return "://" in text or text.startswith(("git@", "github.com/"))


def file(node: MappingNode, folder: str) -> MappingNode:
    """A whole file."""
    parts: Mapping[str, Change] = {
        "services": lambda each: service(each, folder),
        "configs": lambda each: _in(each, {"file": lambda one: _text(one, folder)}),
        "secrets": lambda each: _in(each, {"file": lambda one: _text(one, folder)}),
    }
    changes = {key: _each(change) for key, change in parts.items()}
    found = _in(node, changes)
    assert isinstance(found, MappingNode)
    return found


def service(node: Node, folder: str) -> Node:
    def moved(one: Node) -> Node:
        return _text(one, folder)

    build = {"context": moved, "additional_contexts": _each(moved)}
    changed = _in(
        node,
        {
            "build": lambda one: moved(one) if isinstance(one, ScalarNode) else _in(one, build),
            "env_file": _each(
                lambda one: moved(one) if isinstance(one, ScalarNode) else _in(one, {"path": moved})
            ),
            "extends": lambda one: _in(one, {"file": moved}),
            "volumes": _each(lambda one: _volume(one, folder)),
        },
    )
    made = changed.get("build") if isinstance(changed, MappingNode) else None
    if isinstance(made, MappingNode) and isinstance(changed, MappingNode) and made.get("context") is None:
        context = ScalarNode(folder, folder, made.position)
        entries = {**made.entries, "context": (made.position, context)}
        place, _ = changed.entries["build"]
        whole = {**changed.entries, "build": (place, MappingNode(entries, made.position))}
        return MappingNode(whole, changed.position)
    return changed


def _text(node: Node, folder: str) -> Node:
    text = word(node)
    return node if not text else _scalar(path(text, folder), node)


def _scalar(text: str, node: Node) -> ScalarNode:
    return ScalarNode(text, text, node.position)


def _volume(node: Node, folder: str) -> Node:
    if isinstance(node, MappingNode):
        kind = node.get("type")
        bind = kind is not None and word(kind) == "bind"
        return _in(node, {"source": lambda one: _text(one, folder)}) if bind else node
    text = word(node) or ""
    try:
        if volume_in_short(text)["type"] != "bind":
            return node
    except Malformed:
        return node
    source, _, rest = text.partition(":")
    moved = path(source, folder)
    return _scalar(f"{moved if moved.startswith(('/', '~', '.')) else f'./{moved}'}:{rest}", node)


def _in(node: Node, changes: Mapping[str, Change]) -> Node:
    """A mapping with some of its values changed."""
    if not isinstance(node, MappingNode):
        return node
    entries = {
        key: (place, changes[key](value) if key in changes else value)
        for key, (place, value) in node.entries.items()
    }
    return MappingNode(entries, node.position, node.tag)


def _each(change: Change) -> Change:
    """The change of all that a list or a mapping holds; of what is neither, of itself."""

    def changed(node: Node) -> Node:
        if isinstance(node, SequenceNode):
            return SequenceNode(tuple(map(change, node.items)), node.position, node.tag)
        if isinstance(node, MappingNode):
            entries = {key: (place, change(value)) for key, (place, value) in node.entries.items()}
            return MappingNode(entries, node.position, node.tag)
        return change(node)

    return changed
