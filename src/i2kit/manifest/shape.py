"""What a value must look like: the kinds of value that the tables in `fields` are written with.

In: nodes with places. Out: plain checked values, and a problem or a warning for everything that
does not fit. Each kind can also describe itself, to JSON Schema and to a reader of the docs page,
so that the three never disagree. Pure.

Reading returns None both for what is absent and for what was wrong and is in the log by then: what
comes after must not complain a second time.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from i2kit.errors import Position, Problem
from i2kit.manifest import names, quantity
from i2kit.manifest.places import shown
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described
from i2kit.model import Pairs

Schema = dict[str, Any]
Definitions = dict[str, Schema]
Verdict = Literal["accepted", "silent", "warned", "refused"]

LATER = "is not supported yet"


class Log:
    """Collects what reading finds. Warnings about one kind of field become one line."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._warnings: dict[tuple[str, str], list[tuple[Position, str]]] = {}

    def problem(self, position: Position, path: str, message: str, hint: str | None = None) -> None:
        """Something is wrong with the value at `path`."""
        self.problems.append(Problem(f"{path}: {message}" if path else message, position, hint))

    def warn(self, position: Position, path: str, message: str) -> None:
        """Something has no effect that the user should know."""
        kind = re.sub(r"\[\d+\]", "[]", path)
        self._warnings.setdefault((kind, message), []).append((position, path))

    @property
    def warnings(self) -> tuple[str, ...]:
        lines = []
        for (_, message), places in self._warnings.items():
            position, path = places[0]
            more = f" (and in {len(places) - 1} more places)" if len(places) > 1 else ""
            lines.append(f"{position}: {path}: {message}{more}")
        return tuple(lines)


class Type(Protocol):
    """A kind of value."""

    def read(self, node: Node, path: str, log: Log) -> object | None:
        """The checked value, or None after a problem was logged."""
        ...

    def schema(self, definitions: Definitions) -> Schema:
        """JSON Schema 2020-12 for it; named objects are put into `definitions`."""
        ...

    def words(self) -> str:
        """What to write, for the docs page."""
        ...


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

    def record(self, name: str) -> "Record | None":
        value = self.values.get(name)
        return value if isinstance(value, Record) else None

    def items(self, name: str) -> tuple[Any, ...]:
        value = self.values.get(name)
        return value if isinstance(value, tuple) else ()

    def pairs(self, name: str) -> Pairs:
        return self.items(name)


def join(path: str, key: str) -> str:
    """The path of a key below another; keys that are not plain words stand in quotes."""
    step = key if re.fullmatch(r"[-\w]+", key) else f'"{shown(key)}"'
    return f"{path}.{step}" if path else step


@dataclass(frozen=True, slots=True)
class Text:
    """A string. A number or a boolean without quotes is an error, as in Kubernetes, never its text."""

    rule: names.Rule | None = None
    pattern: str | None = None
    longest: int | None = None
    means: str = "text"
    null: bool = False
    """Whether null means the empty text, as it does for values of variables and labels."""

    def read(self, node: Node, path: str, log: Log) -> str | None:
        if not isinstance(node, ScalarNode):
            log.problem(node.position, path, f"must be text and is {described(node)}")
            return None
        value = "" if node.value is None and self.null else node.value
        if not isinstance(value, str):
            message = f"must be text and is {described(node)} to YAML"
            log.problem(node.position, path, message, f'put it in quotes: "{shown(node.text)}"')
            return None
        if self.rule and (complaint := self.rule(value)):
            log.problem(node.position, path, *complaint)
            return None
        return value

    def schema(self, definitions: Definitions) -> Schema:
        found: Schema = {"type": ["string", "null"] if self.null else "string"}
        if self.pattern:
            found["pattern"] = f"^{self.pattern}$"
        if self.longest:
            found["maxLength"] = self.longest
        return found

    def words(self) -> str:
        return self.means


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer between two bounds."""

    least: int
    most: int
    beyond: str | None = None
    """Why there is an upper bound."""

    def read(self, node: Node, path: str, log: Log) -> int | None:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)  # 1e3 is 1000 to kubectl too
        if isinstance(value, int) and not isinstance(value, bool):
            if self.least <= value <= self.most:
                return value
            bound = f"at least {self.least}" if value < self.least else f"at most {self.most}"
            log.problem(
                node.position,
                path,
                f"must be {bound} and is {value}",
                self.beyond if value > self.most else None,
            )
            return None
        hint = None
        if isinstance(value, str):
            if complaint := names.placeholder(value):
                log.problem(node.position, path, *complaint)
                return None
            if re.fullmatch(r"-?[0-9]{1,9}", value):
                hint = f"remove the quotes: {value}"
        log.problem(node.position, path, f"must be a whole number and is {described(node)}", hint)
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def words(self) -> str:
        return f"whole number, {self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, node: Node, path: str, log: Log) -> bool | None:
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        log.problem(node.position, path, f"must be true or false and is {described(node)}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "boolean"}

    def words(self) -> str:
        return "true or false"


@dataclass(frozen=True, slots=True)
class Quantity:
    """CPU in millis or memory in bytes."""

    of: Literal["cpu", "memory"]

    def read(self, node: Node, path: str, log: Log) -> int | None:
        if not isinstance(node, ScalarNode) or isinstance(node.value, bool) or node.value is None:
            log.problem(node.position, path, f"must be a quantity and is {described(node)}")
            return None
        # The text, not the value: 0.1 as a float is something else.
        text = str(node.value) if isinstance(node.value, int) else node.text
        if complaint := names.placeholder(text):
            log.problem(node.position, path, *complaint)
            return None
        try:
            amount = quantity.millis(text) if self.of == "cpu" else quantity.bytes_(text)
        except quantity.QuantityError as error:
            log.problem(node.position, path, str(error), error.hint)
            return None
        if self.of == "memory" and text.endswith("m"):
            log.warn(
                node.position,
                path,
                f"`{shown(text)}` is in thousandths of a byte; M or Mi was probably meant",
            )
        return amount

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "number"], "pattern": quantity.PATTERN}

    def words(self) -> str:
        return (
            "quantity, such as `500m` or `0.5`" if self.of == "cpu" else "quantity, such as `128Mi` or `1G`"
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words; `others` are words that Kubernetes knows and why they cannot be had here."""

    accepted: tuple[str, ...]
    others: tuple[tuple[str, str, str | None], ...] = ()

    def read(self, node: Node, path: str, log: Log) -> str | None:
        value = Text().read(node, path, log)
        if value is None or value in self.accepted:
            return value
        for word, why, hint in self.others:
            if value == word:
                log.problem(node.position, path, f"`{word}` {why}", hint)
                return None
        known = (*self.accepted, *(word for word, _, _ in self.others))
        log.problem(
            node.position,
            path,
            f"`{shown(value)}` is not known",
            did_you_mean(value, known) or f"use {' or '.join(self.accepted)}",
        )
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "string", "enum": list(self.accepted)}

    def words(self) -> str:
        return " or ".join(f"`{word}`" for word in self.accepted)


@dataclass(frozen=True, slots=True)
class Anything:
    """A value that nobody here looks at."""

    def read(self, node: Node, path: str, log: Log) -> None:
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {}

    def words(self) -> str:
        return ""


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
class NumberOrName:
    """A port by number or by the name that the pod gives it."""

    def read(self, node: Node, path: str, log: Log) -> int | str | None:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return Text(names.port_name).read(node, path, log)
        return Whole(1, 65535).read(node, path, log)

    def schema(self, definitions: Definitions) -> Schema:
        name = {"type": "string", "pattern": f"^{names.PORT_NAME}$", "maxLength": 15}
        return {"oneOf": [Whole(1, 65535).schema(definitions), name]}

    def words(self) -> str:
        return "port number or name"


@dataclass(frozen=True, slots=True)
class Object:
    """A mapping with known keys, read as a Record. `others` is the verdict on keys not listed."""

    title: str
    fields: Sequence[Field]
    others: Field | None = None
    hint: str | None = None
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
            known = self._known.get(key, self.others)
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

    def _unknown(self, key: str, position: Position, path: str, log: Log) -> None:
        hint = did_you_mean(key, [known.name for known in self.fields])
        if hint is None:
            accepted = [known.name for known in self.fields if known.verdict == "accepted"]
            hint = f"the fields here are {', '.join(accepted)}" if accepted else None
        log.problem(position, join(path, key), "is not a known field", hint)

    def schema(self, definitions: Definitions) -> Schema:
        if self.title not in definitions:
            definitions[self.title] = {}
            found: Schema = {"type": "object", "title": self.title, "properties": {}}
            for known in self.fields:
                found["properties"][known.name] = _field_schema(known, definitions)
            if required := [known.name for known in self.fields if known.required]:
                found["required"] = required
            found["additionalProperties"] = _field_schema(self.others, definitions) if self.others else False
            definitions[self.title] = found
        return {"$ref": f"#/$defs/{self.title}"}

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
            log.problem(key, path, known.about, known.hint)
        else:
            log.warn(key, path, known.about)
        return None
    return known.type.read(node, path, log)


def _says_nothing(node: Node, unless: Sequence[str | int | bool]) -> bool:
    """Whether a value is as good as absent: empty, or what would be the case anyway."""
    if isinstance(node, MappingNode):
        return not node.entries
    if isinstance(node, SequenceNode):
        return not node.items
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
    found = Anything().schema(definitions) if known.verdict == "warned" else known.type.schema(definitions)
    if not known.required and isinstance(found.get("type"), str):
        found = {**found, "type": [found["type"], "null"]}
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return {**found, "description": about[known.verdict]}


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """The nearest of the known words, as a hint."""
    if len(word) > 64:  # comparing takes time with the square of the length
        return None
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f"did you mean `{by_lower[near[0]]}`?" if near else None
