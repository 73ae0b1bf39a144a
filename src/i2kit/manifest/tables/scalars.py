"""Single values: the half of the vocabulary of `fields` that needs no other values.

In: a node with a place. Out: a plain checked value, or None and a problem in the log. Each kind
also describes itself, to JSON Schema and to a reader of the docs page, so that the three never
disagree. Pure.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.source import Node, ScalarNode, described
from i2kit.manifest.tables import names, quantity
from i2kit.model import Amount

INT32 = 2**31 - 1
"""The largest number of most of Kubernetes' fields."""

Schema = dict[str, Any]
Definitions = dict[str, Schema]


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
class Opaque:
    """A value that must not be seen, wherever a record of it is shown."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hidden:
    """Text that no message may quote, read as Opaque."""

    def read(self, node: Node, path: str, log: Log) -> Opaque | None:
        if isinstance(node, ScalarNode) and node.value is None:
            return Opaque(b"")
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return Opaque(node.value.encode(errors="surrogatepass"))
        hint = "put it in quotes" if isinstance(node, ScalarNode) else None
        log.problem(node.position, path, f"must be text and is {_without_value(node)}", hint)
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "null"]}

    def words(self) -> str:
        return "text"


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes in base64 (RFC 4648, section 4, with line breaks), read as Opaque; no message quotes it."""

    def read(self, node: Node, path: str, log: Log) -> Opaque | None:
        text = Hidden().read(node, path, log)
        if text is None:
            return None
        import binascii  # only Secrets need it

        try:
            return Opaque(binascii.a2b_base64(text.value.translate(None, b"\r\n"), strict_mode=True))
        except binascii.Error:
            hint = "`base64 -w0 FILE` writes it; a Secret takes plain text in stringData"
            log.problem(node.position, path, "is not base64", hint)
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "null"], "pattern": "^[A-Za-z0-9+/\\r\\n]*={0,2}[\\r\\n]*$"}

    def words(self) -> str:
        return "base64"


def _without_value(node: Node) -> str:
    """What a value is, without telling it."""
    if not isinstance(node, ScalarNode):
        return described(node)
    return "a boolean to YAML" if isinstance(node.value, bool) else "a number to YAML"


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer between two bounds."""

    least: int
    most: int
    beyond: str | None = None
    """Why there is an upper bound."""
    below: str | None = None
    """Why there is a lower one."""

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
                self.beyond if value > self.most else self.below,
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
        bounds = f"at least {self.least}" if self.most == INT32 else f"{self.least} to {self.most}"
        return f"whole number, {bounds}"


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
    """CPU in millis or memory in bytes; `either` is in thousandths of the unit, whichever it is."""

    of: Literal["cpu", "memory", "either"]
    zero: bool = False

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
            read = quantity.bytes_ if self.of == "memory" else quantity.millis
            amount = read(text, zero=self.zero)
        except quantity.QuantityError as error:
            log.problem(node.position, path, str(error), error.hint)
            return None
        if self.of == "memory" and amount and text.endswith("m"):
            log.warn(
                node.position,
                path,
                f"`{shown(text)}` is in thousandths of a byte; M or Mi was probably meant",
            )
        return amount

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "number"], "pattern": quantity.PATTERN}

    def words(self) -> str:
        examples = {"cpu": "`500m` or `0.5`", "memory": "`128Mi` or `1G`", "either": "`500m` or `128Mi`"}
        return f"quantity, such as {examples[self.of]}"


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
                log.refuse(node.position, path, f"`{word}` {why}", hint)
                return None
        known = (*self.accepted, *(word for word, _, _ in self.others))
        hint = did_you_mean(value, known) or f"use {' or '.join(self.accepted)}"
        complaint = names.placeholder(value) or (f"`{shown(value)}` is not known", hint)
        log.problem(node.position, path, *complaint)
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


_PERCENT = re.compile(r"([0-9]{1,9})%")


@dataclass(frozen=True, slots=True)
class CountOrPercent:
    """A number of replicas, or a percentage of them, read as an Amount."""

    most_percent: int | None = None

    def read(self, node: Node, path: str, log: Log) -> Amount | None:
        value = node.value if isinstance(node, ScalarNode) else None
        if not isinstance(value, str):
            if isinstance(value, int | float) and not isinstance(value, bool):
                number = Whole(0, INT32).read(node, path, log)
                return None if number is None else Amount(number)
            message = f"must be a whole number or a percentage and is {described(node)}"
            log.problem(node.position, path, message, "such as 1 or 25%")
            return None
        if complaint := names.placeholder(value):
            log.problem(node.position, path, *complaint)
        elif (match := _PERCENT.fullmatch(value)) is None:
            hint = f"remove the quotes: {value}, or write {value}%" if value.isdecimal() else "such as 25%"
            log.problem(node.position, path, f"`{shown(value)}` is not a percentage", hint)
        elif self.most_percent is not None and int(match[1]) > self.most_percent:
            log.problem(node.position, path, f"must be at most {self.most_percent}% and is {value}")
        else:
            return Amount(int(match[1]), percent=True)
        return None

    def schema(self, definitions: Definitions) -> Schema:
        percent = {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}
        return {"oneOf": [Whole(0, INT32).schema(definitions), percent]}

    def words(self) -> str:
        return "whole number, or percentage such as `25%`"


@dataclass(frozen=True, slots=True)
class Load:
    """A percentage of what is requested, or a quantity for each machine, read as an Amount."""

    of: Literal["cpu", "memory"]

    def read(self, node: Node, path: str, log: Log) -> Amount | None:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
            if int(match[1]) > 0:
                return Amount(int(match[1]), percent=True)
            log.problem(node.position, path, "must be at least 1%", "such as 80%")
            return None
        amount = Quantity(self.of).read(node, path, log)
        return None if amount is None else Amount(amount)

    def schema(self, definitions: Definitions) -> Schema:
        percent = {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}
        return {"anyOf": [percent, Quantity(self.of).schema(definitions)]}

    def words(self) -> str:
        return f"percentage such as `80%`, or {Quantity(self.of).words()}"
