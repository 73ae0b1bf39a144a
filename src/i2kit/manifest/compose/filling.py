"""Nodes of a compose file with variables in their values. Pure."""

from i2kit.manifest.compose.interpolation import MAX_TEXT, BadText, Lookup, filled
from i2kit.manifest.compose.merging import FREE, RESET
from i2kit.manifest.log import Log, join
from i2kit.manifest.places import shown
from i2kit.manifest.source import MAX_NODES, MappingNode, Node, ScalarNode, SequenceNode


class Fill:
    """Fills variables into values; keys stay as they are. Drops what is reset, and the keys x-… ."""

    def __init__(self) -> None:
        self._room = 10 * MAX_TEXT
        self._nodes = MAX_NODES

    def node(self, node: Node, path: str, key: str, lookup: Lookup, log: Log) -> Node:
        self._nodes -= 1
        if self._nodes <= 0:  # many services can extend a large one
            if self._nodes == 0:
                message = f"more than {MAX_NODES:,} keys and values, `extends` written out"
                log.problem(node.position, path, message, "split the file")
            return ScalarNode("", None, node.position)
        if isinstance(node, SequenceNode):
            items = (
                self.node(item, f"{path}[{index}]", key, lookup, log)
                for index, item in enumerate(node.items)
                if item.tag != RESET
            )
            return SequenceNode(tuple(items), node.position)
        if isinstance(node, MappingNode):
            return MappingNode(
                {
                    name: (place, self.node(value, join(path, name), name, lookup, log))
                    for name, (place, value) in node.entries.items()
                    if value.tag != RESET and (key in FREE or not name.startswith("x-"))
                },
                node.position,
            )
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        return self._scalar(node, node.value, path, lookup, log)

    def _scalar(self, node: ScalarNode, value: str, path: str, lookup: Lookup, log: Log) -> ScalarNode:
        try:
            done = filled(value, lookup)
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


def escaped(node: Node) -> Node:
    """What is filled in, such that filling it in again changes nothing."""
    if isinstance(node, SequenceNode):
        return SequenceNode(tuple(map(escaped, node.items)), node.position)
    if isinstance(node, MappingNode):
        entries = {name: (place, escaped(value)) for name, (place, value) in node.entries.items()}
        return MappingNode(entries, node.position)
    if not isinstance(node.value, str) or "$" not in node.value:
        return node
    text = node.value.replace("$", "$$")
    return ScalarNode(text, text, node.position)
