"""What a pod demands of its node: there are none, but some of it no machine could be.

In: the `nodeAffinity` of a pod. Out: a warning in the log, or a refusal where no term can be met. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from i2kit.manifest.log import Log
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described
from i2kit.manifest.tables.scalars import Definitions, Schema

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TERMS = "nodeSelectorTerms"
_SYSTEMS = ("kubernetes.io/os", "beta.kubernetes.io/os")


@dataclass(frozen=True, slots=True)
class NodeTerms:
    """Terms of which one has to be met; `impossible` are labels that no machine has, and what to say then."""

    impossible: Mapping[str, tuple[str, str]]

    def read(self, node: Node, path: str, log: Log) -> None:
        if not isinstance(node, MappingNode):
            log.problem(node.position, path, f"must be a mapping and is {described(node)}")
            return
        if not node.entries:
            return
        required = node.get(_REQUIRED)
        terms = required.get(_TERMS) if isinstance(required, MappingNode) else None
        each = [next(self._unmet(term), None) for term in _items(terms)]
        if each and (first := each[0]) and all(each):
            place, why, hint = first
            log.refuse(place.position, f"{path}.{_REQUIRED}", why, hint)
        else:
            log.warn(node.position, path, "has no effect: there are no nodes to choose from")

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "object"}

    def words(self) -> str:
        return "mapping"

    def _unmet(self, term: Node) -> Iterator[tuple[Node, str, str]]:
        """What a term asks for in vain."""
        for one in _items(term.get("matchExpressions") if isinstance(term, MappingNode) else None):
            key, operator = _text(one, "key"), _text(one, "operator")
            given = _items(one.get("values")) if isinstance(one, MappingNode) else ()
            values = [item.value for item in given if isinstance(item, ScalarNode)]
            if key in _SYSTEMS and (operator, "linux" in values) in (("In", False), ("NotIn", True)):
                yield one, "is not possible: machines run Linux", "leave it out, if the image is for Linux"
            elif isinstance(key, str) and key in self.impossible and operator in ("In", "Exists"):
                yield one, *self.impossible[key]


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, SequenceNode) else ()


def _text(node: Node, key: str) -> object:
    value = node.get(key) if isinstance(node, MappingNode) else None
    return value.value if isinstance(value, ScalarNode) else None
