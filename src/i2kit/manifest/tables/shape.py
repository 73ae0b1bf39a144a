"""Values made of values: the other half of the vocabulary of `fields`, with the verdict on each key.

In: nodes with places. Out: tuples and Records of checked values, and a problem or a warning for
everything that does not fit. Pure.

Reading returns None both for what is absent and for what was wrong and is in the log by then: what
comes after must not complain a second time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from i2kit.errors import Position
from i2kit.manifest.log import Log, did_you_mean, join
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described
from i2kit.manifest.tables import names
from i2kit.manifest.tables.scalars import Choice, Definitions, Schema, Text, Type
from i2kit.model import Amount, Pairs

Verdict = Literal["accepted", "silent", "warned", "refused"]


_TOLD = 13
"""How many fields a hint names."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a mapping: what it means here. `unless` are values that say nothing.

    `why` is the effect or its absence, in words that follow the path: "is not supported yet".
    """

    name: str
    type: Type
    about: str
    verdict: Verdict = "accepted"
    required: bool = False
    hint: str | None = None
    unless: tuple[str | int | bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping as read: the values of the known keys, and where each stands."""

    position: Position
    path: str
    values: Mapping[str, object]
    places: Mapping[str, Position]

    def place(self, name: str) -> Position:
        """Where a value stands; the mapping itself where it is absent."""
        return self.places.get(name, self.position)

    def at(self, name: str) -> str:
        """The path of a key."""
        return join(self.path, name)

    def has(self, name: str) -> bool:
        """Whether the key was written and is not null, right or wrong."""
        return name in self.places

    def is_wrong(self, name: str) -> bool:
        """Whether the key was written and its value cannot be used, which is in the log."""
        return name in self.places and name not in self.values

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def whole(self, name: str) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        return value if isinstance(value, bool) else None

    def amount(self, name: str) -> Amount | None:
        value = self.values.get(name)
        return value if isinstance(value, Amount) else None

    def record(self, name: str) -> "Record | None":
        value = self.values.get(name)
        return value if isinstance(value, Record) else None

    def items(self, name: str) -> tuple[Any, ...]:
        value = self.values.get(name)
        return value if isinstance(value, tuple) else ()

    def pairs(self, name: str) -> Pairs:
        return self.items(name)

    def named(self, name: str) -> "tuple[tuple[str, Record], ...]":
        return self.items(name)


def named(record: Record, field_name: str) -> tuple[tuple[str, Record], ...]:
    """The records of a list by what each says is its `name`, or of a mapping by their keys."""
    return tuple(
        (one.text("name") or "", one) if isinstance(one, Record) else one for one in record.items(field_name)
    )


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, read as a tuple without the items that were wrong."""

    item: Type
    least: int = 0
    hint: str | None = None
    """What to write where something else than a list is found."""

    def read(self, node: Node, path: str, log: Log) -> tuple[object, ...] | None:
        if not isinstance(node, SequenceNode):
            log.problem(node.position, path, f"must be a list and is {described(node)}", self.hint)
            return None
        if len(node.items) < self.least:
            log.problem(node.position, path, "is an empty list", self.hint)
        read = (self.item.read(item, f"{path}[{index}]", log) for index, item in enumerate(node.items))
        return tuple(value for value in read if value is not None)

    def schema(self, definitions: Definitions) -> Schema:
        found: Schema = {"type": "array", "items": self.item.schema(definitions)}
        if self.least:
            found["minItems"] = self.least
        return found

    def words(self) -> str:
        return f"list of {self.item.words()}"


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from free names to values of one kind, read as a tuple of pairs."""

    value: Type
    key: names.Rule | None = None
    key_pattern: str | None = None
    least: int = 0
    hint: str | None = None
    whole: bool = False
    """Whether one wrong entry spoils the mapping, as it does for labels: what is left would select else."""

    def read(self, node: Node, path: str, log: Log) -> tuple[tuple[str, object], ...] | None:
        if not isinstance(node, MappingNode):
            log.problem(node.position, path, f"must be a mapping and is {described(node)}", self.hint)
            return None
        if len(node.entries) < self.least:
            log.problem(node.position, path, "is empty", self.hint)
        pairs: list[tuple[str, object]] = []
        for key, (position, value) in node.entries.items():
            if self.key and (complaint := self.key(key)):
                log.problem(position, path, *complaint)
            elif (read := self.value.read(value, join(path, key), log)) is not None:
                pairs.append((key, read))
        return None if self.whole and len(pairs) < len(node.entries) else tuple(pairs)

    def schema(self, definitions: Definitions) -> Schema:
        found: Schema = {"type": "object", "additionalProperties": self.value.schema(definitions)}
        if self.key_pattern:
            found["propertyNames"] = {"pattern": f"^{self.key_pattern}$"}
        if self.least:
            found["minProperties"] = self.least
        return found

    def words(self) -> str:
        return f"mapping of name to {self.value.words()}"


@dataclass(frozen=True, slots=True)
class Either:
    """A record, or in short the value of the one key that it needs. Read as a Record in both cases."""

    short: Type
    long: "Object"
    key: str

    def read(self, node: Node, path: str, log: Log) -> Record | None:
        if not isinstance(node, ScalarNode):
            return self.long.read(node, path, log)
        value = self.short.read(node, path, log)
        return (
            None
            if value is None
            else Record(node.position, path, {self.key: value}, {self.key: node.position})
        )

    def schema(self, definitions: Definitions) -> Schema:
        return {"oneOf": [self.short.schema(definitions), self.long.schema(definitions)]}

    def words(self) -> str:
        return f"{self.short.words()}, or {self.long.words()}"


@dataclass(frozen=True, slots=True)
class Object:
    """A mapping with known keys, read as a Record. `others` is the verdict on keys not listed.

    Of those, `families` have verdicts of their own, by what the keys begin with.
    """

    title: str
    fields: Sequence[Field]
    others: Field | None = None
    hint: str | None = None
    families: tuple[tuple[str, Field], ...] = ()
    _known: dict[str, Field] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._known.update({known.name: known for known in self.fields})

    def read(self, node: Node, path: str, log: Log) -> Record | None:
        if not isinstance(node, MappingNode):
            log.problem(node.position, path, f"must be a mapping and is {described(node)}", self.hint)
            return None
        values: dict[str, object] = {}
        places: dict[str, Position] = {}
        for key, (position, value) in node.entries.items():
            known = self._known.get(key) or self._family(key)
            if known is None:
                self._unknown(key, position, path, log)
            elif not (isinstance(value, ScalarNode) and value.value is None and not _takes_null(known.type)):
                places[key] = value.position
                read = read_field(known, value, position, join(path, key), log)
                if read is not None:
                    values[key] = read
        for known in self.fields:
            if known.required and known.name not in places:
                log.problem(node.position, path, f"`{known.name}` is missing", known.hint)
        return Record(node.position, path, values, places)

    def _family(self, key: str) -> Field | None:
        return next((known for prefix, known in self.families if key.startswith(prefix)), self.others)

    def _unknown(self, key: str, position: Position, path: str, log: Log) -> None:
        if log.full:
            return
        hint = did_you_mean(key, [known.name for known in self.fields])
        if hint is None:
            accepted = [known.name for known in self.fields if known.verdict == "accepted"]
            rest = f" and {len(accepted) - _TOLD} more" if len(accepted) > _TOLD + 1 else ""
            told = ", ".join(accepted[:_TOLD] if rest else accepted)
            hint = f"the fields here are {told}{rest}" if accepted else None
        log.problem(position, join(path, key), "is not a known field", hint)

    def schema(self, definitions: Definitions) -> Schema:
        if self.title not in definitions:
            definitions[self.title] = {}
            found: Schema = {"type": "object", "title": self.title, "properties": {}}
            for known in self.fields:
                found["properties"][known.name] = _field_schema(known, definitions)
            for prefix, known in self.families:
                pattern = self._pattern(prefix)
                found.setdefault("patternProperties", {})[pattern] = _field_schema(known, definitions)
            if required := [known.name for known in self.fields if known.required]:
                found["required"] = required
            found["additionalProperties"] = _field_schema(self.others, definitions) if self.others else False
            definitions[self.title] = found
        return {"$ref": f"#/$defs/{self.title}"}

    def _pattern(self, prefix: str) -> str:
        """The keys of a family: those that have a verdict of their own would need to please both, else."""
        own = [
            f"{known.name.removeprefix(prefix)}$" for known in self.fields if known.name.startswith(prefix)
        ]
        own += [
            one.removeprefix(prefix) for one, _ in self.families if one.startswith(prefix) and one != prefix
        ]
        rest = "|".join(re.escape(one.removesuffix("$")) + "$" * one.endswith("$") for one in own)
        return f"^{re.escape(prefix)}(?!{rest})" if rest else f"^{re.escape(prefix)}"

    def words(self) -> str:
        return f"[{self.title}](#{self.title.lower()})"


def _takes_null(type_: Type) -> bool:
    return isinstance(type_, Text) and type_.null


def read_field(known: Field, node: Node, key: Position, path: str, log: Log) -> object | None:
    """The value of a field that is present and not null; refusals and warnings point at its key."""
    if known.verdict in ("refused", "warned"):
        if _says_nothing(node, known.unless):
            return None
        if known.verdict == "refused":
            log.refuse(key, path, known.about, known.hint)
        else:
            log.warn(key, path, known.about, kind=None if known.name else "")
            known.type.read(node, path, log)
        return None
    firm, log.firm = log.firm, known.required and isinstance(known.type, Choice)
    read = known.type.read(node, path, log)
    log.firm = firm
    return read


def _says_nothing(node: Node, unless: Sequence[str | int | bool]) -> bool:
    """Whether a value is as good as absent: empty, or what would be the case anyway."""
    if isinstance(node, MappingNode):
        return not node.entries
    if isinstance(node, SequenceNode):
        return all(isinstance(item, ScalarNode) and item.value in unless for item in node.items)
    return (
        node.value is None
        or node.value == ""
        or any(type(node.value) is type(value) and node.value == value for value in unless)
    )


def _field_schema(known: Field, definitions: Definitions) -> Schema:
    if known.verdict == "refused":
        nothing: list[object] = [None, "", [], {}, *known.unless]
        hint = f" Hint: {known.hint}." if known.hint else ""
        return {"enum": nothing, "description": f"Refused: {known.about}.{hint}", "doNotSuggest": True}
    about = {
        "accepted": sentence(known.about),
        "silent": f"No effect: {known.about}.",
        "warned": f"No effect, with a warning: {known.about}.",
    }
    found = known.type.schema(definitions)
    if found and not known.required:  # null is as good as absent
        found = {"anyOf": [found, {"type": "null"}]}
    return {**found, "description": about[known.verdict]}


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")
