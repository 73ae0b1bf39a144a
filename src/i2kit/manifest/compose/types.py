"""The kinds of values that only compose files have: durations, sizes, short and long forms.

In: nodes whose variables are filled in. Out: plain checked values, or None and a problem in the log.
Compose is laxer than Kubernetes: a number where text is meant is its text, and a number may stand in
quotes, as it does after a variable. Pure.

Source: the Compose specification, 05-services.md and 11-extension.md, and its JSON Schema.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from i2kit.errors import Position
from i2kit.manifest.log import Log, join
from i2kit.manifest.places import shown
from i2kit.manifest.source import MappingNode, Node, ScalarNode, ScalarValue, SequenceNode, described, resolve
from i2kit.manifest.tables import names
from i2kit.manifest.tables.scalars import Definitions, Schema, Type
from i2kit.manifest.tables.shape import Object, Record


def meaning(text: str) -> ScalarValue:
    """What a scalar without quotes means to compose (YAML 1.2): `yes`, `no`, `on` and `off` are text."""
    found = resolve(text)
    return text if isinstance(found, bool) and text.lower() not in ("true", "false") else found


def word(node: Node) -> str | None:
    """The text of a scalar as compose understands it; None for null and what is no scalar."""
    if not isinstance(node, ScalarNode) or node.value is None:
        return None
    value = node.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e21
        return str(int(value)) if whole else repr(value)
    return str(value)


@dataclass(frozen=True, slots=True)
class Word:
    """Text; a number is its text."""

    rule: names.Rule | None = None
    means: str = "text"
    empty: bool = False
    """Whether empty text is text; else it is as good as absent, as after a variable that is not set."""

    def read(self, node: Node, path: str, log: Log) -> str | None:
        if not isinstance(node, ScalarNode):
            log.problem(node.position, path, f"must be text and is {described(node)}")
            return None
        # A version or a name is what was written: 1.10 is not 1.1.
        text = node.text if isinstance(node.value, int | float) else word(node)
        if text is None or (not text and not self.empty):
            return None
        if complaint := (self.rule and self.rule(text)) or names.no_nul(text):
            log.problem(node.position, path, *complaint)
            return None
        return text

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "number"]}

    def words(self) -> str:
        return self.means


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number, also in quotes."""

    least: int
    most: int

    def read(self, node: Node, path: str, log: Log) -> int | None:
        text = word(node) or ""
        if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
            log.problem(node.position, path, f"must be a whole number and is {described(node)}")
            return None
        if not self.least <= int(text) <= self.most:
            log.problem(node.position, path, f"must be {self.least} to {self.most} and is {int(text)}")
            return None
        return int(text)

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["integer", "string"]}

    def words(self) -> str:
        return f"whole number, {self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Switch:
    """true or false, also in quotes."""

    def read(self, node: Node, path: str, log: Log) -> bool | None:
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        text = (word(node) or "").lower()
        if text in ("true", "false", "yes", "no", "1", "0"):
            return text in ("true", "yes", "1")
        log.problem(node.position, path, f"must be true or false and is {described(node)}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["boolean", "string"]}

    def words(self) -> str:
        return "true or false"


_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?(?:ns|us|µs|ms|s|m|h|d))+|0")
_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class Duration:
    """A time such as 1m30s, read in whole seconds, rounded up."""

    def read(self, node: Node, path: str, log: Log) -> int | None:
        text = word(node) or ""
        if not _DURATION.fullmatch(text):
            hint = f"write {text}s" if text.isdecimal() else "such as 30s or 1m30s"
            log.problem(node.position, path, f"must be a duration and is {described(node)}", hint)
            return None
        seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))
        return min(-int(-seconds // 1), 2**31 - 1)

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "string", "pattern": "^([0-9.]+(ns|us|ms|s|m|h|d))+$"}

    def words(self) -> str:
        return "duration, such as `1m30s`"


_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?) ?([bkmgt]?)i?b?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Size:
    """An amount of memory such as 512m, read in bytes: units are powers of 1024, whatever they are called."""

    def read(self, node: Node, path: str, log: Log) -> int | None:
        text = word(node) or ""
        match = _SIZE.fullmatch(text)
        if (
            match is None
            or (amount := int(float(match[1]) * 1024 ** "bkmgt".find(match[2].lower() or "b"))) < 1
        ):
            log.problem(
                node.position, path, f"must be a size and is {described(node)}", "such as 512m or 1gb"
            )
            return None
        return amount

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "integer"]}

    def words(self) -> str:
        return "size, such as `512m`"


@dataclass(frozen=True, slots=True)
class Cores:
    """Processor time such as 0.5, read in thousandths; 0 says nothing."""

    def read(self, node: Node, path: str, log: Log) -> int | None:
        text = node.text if isinstance(node, ScalarNode) else ""
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text):
            message = f"must be a number of processors and is {described(node)}"
            log.problem(node.position, path, message, "such as 0.5")
            return None
        return -int(-float(text) * 1000 // 1) or None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": ["string", "number"]}

    def words(self) -> str:
        return "number of processors, such as `0.5`"


@dataclass(frozen=True, slots=True)
class Command:
    """The words of a command: a list, or one line that is parted as a shell would, with no shell."""

    def read(self, node: Node, path: str, log: Log) -> tuple[str, ...] | None:
        if isinstance(node, SequenceNode):
            read = (Word(empty=True).read(item, f"{path}[{i}]", log) for i, item in enumerate(node.items))
            return tuple("" if one is None else one for one in read)
        text = word(node)
        if text is None:
            if not isinstance(node, ScalarNode):
                log.problem(node.position, path, f"must be a list or text and is {described(node)}")
            return None
        if complaint := names.no_nul(text):
            log.problem(node.position, path, *complaint)
            return None
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            message = f"`{shown(text)}` cannot be parted into words: {str(error).lower()}"
            log.problem(node.position, path, message, "write a list: [sh, -c, …]")
            return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]}

    def words(self) -> str:
        return "text, or list of text"


@dataclass(frozen=True, slots=True)
class Several:
    """A list, or one item without a list. Read as a tuple."""

    item: Type

    def read(self, node: Node, path: str, log: Log) -> tuple[object, ...] | None:
        if not isinstance(node, SequenceNode):
            one = self.item.read(node, path, log)
            return None if one is None else (one,)
        read = (self.item.read(item, f"{path}[{index}]", log) for index, item in enumerate(node.items))
        return tuple(value for value in read if value is not None)

    def schema(self, definitions: Definitions) -> Schema:
        item = self.item.schema(definitions)
        return {"anyOf": [item, {"type": "array", "items": item}]}

    def words(self) -> str:
        return f"{self.item.words()}, or list of it"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name and its value; None where it has none and another place gives it."""

    name: str
    value: str | None
    position: Position
    path: str


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping of names to values, or a list of NAME=VALUE. Read as a tuple of Entries."""

    rule: names.Rule | None = None
    separators: str = "="
    example: str = "NAME=VALUE"

    def read(self, node: Node, path: str, log: Log) -> tuple[Entry, ...] | None:
        if isinstance(node, ScalarNode):
            message = f"must be a mapping or a list and is {described(node)}"
            log.problem(node.position, path, message, f"write - {self.example}")
            return None
        found: dict[str, Entry] = {}
        for name, value, position, place in self._parted(node, path, log):
            if complaint := (self.rule and self.rule(name)) or names.no_nul(value or ""):
                log.problem(position, place, *complaint)
            else:
                found[name] = Entry(name, value, position, place)
        return tuple(found.values())

    def _parted(
        self, node: MappingNode | SequenceNode, path: str, log: Log
    ) -> "Sequence[tuple[str, str | None, Position, str]]":
        found: list[tuple[str, str | None, Position, str]] = []
        pairs = (
            [(join(path, key), key, value) for key, (_, value) in node.entries.items()]
            if isinstance(node, MappingNode)
            else [(f"{path}[{index}]", "", item) for index, item in enumerate(node.items)]
        )
        for place, key, value in pairs:
            text = word(value)
            if not isinstance(value, ScalarNode) or (text is None and not key):
                log.problem(value.position, place, f"must be text and is {described(value)}")
            elif isinstance(node, MappingNode):
                found.append((key, text, value.position, place))
            else:
                assert text is not None
                at = next((text.find(mark) for mark in self.separators if mark in text), -1)
                name, given = (text, None) if at < 0 else (text[:at], text[at + 1 :])
                found.append((name, given, value.position, place))
        return found

    def schema(self, definitions: Definitions) -> Schema:
        scalar: Schema = {"type": ["string", "number", "boolean", "null"]}
        listed: Schema = {"type": "array", "items": {"type": "string"}}
        return {"oneOf": [{"type": "object", "additionalProperties": scalar}, listed]}

    def words(self) -> str:
        return f"mapping, or list of `{self.example}`"


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping from names to more about each, or just a list of names. Read as pairs of name and Record."""

    long: Object
    listed: bool = True
    """Whether it may be a list."""

    def read(self, node: Node, path: str, log: Log) -> tuple[tuple[str, Record], ...] | None:
        found: dict[str, Record] = {}
        if self.listed and isinstance(node, SequenceNode):
            for index, item in enumerate(node.items):
                place = f"{path}[{index}]"
                if name := Word().read(item, place, log):
                    found[name] = Record(item.position, place, {}, {})
        elif isinstance(node, MappingNode):
            for key, (position, value) in node.entries.items():
                place = join(path, key)
                nothing = isinstance(value, ScalarNode) and value.value is None
                record = Record(position, place, {}, {}) if nothing else self.long.read(value, place, log)
                if record:
                    found[key] = Record(position, place, record.values, record.places)
        else:
            wanted = "a list or a mapping" if self.listed else "a mapping"
            log.problem(node.position, path, f"must be {wanted} and is {described(node)}")
            return None
        return tuple(found.items())

    def schema(self, definitions: Definitions) -> Schema:
        inner = {"anyOf": [self.long.schema(definitions), {"type": "null"}]}
        mapping: Schema = {"type": "object", "additionalProperties": inner}
        return (
            {"oneOf": [{"type": "array", "items": {"type": "string"}}, mapping]} if self.listed else mapping
        )

    def words(self) -> str:
        return f"{'list of names, or ' if self.listed else ''}mapping of name to {self.long.words()}"


class Malformed(Exception):
    """A short form that cannot be read: what is wrong, and a hint."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Short:
    """A record, or in short one text that `parse` takes apart into the same values (raises Malformed)."""

    long: Object
    parse: Callable[[str], Mapping[str, object]]
    example: str

    def read(self, node: Node, path: str, log: Log) -> Record | None:
        if not isinstance(node, ScalarNode):
            return self.long.read(node, path, log)
        text = word(node)
        if not text:
            log.problem(node.position, path, "is empty", f"such as {self.example}")
            return None
        try:
            values = self.parse(text)
        except Malformed as error:
            log.problem(node.position, path, error.message, error.hint)
            return None
        return Record(node.position, path, values, dict.fromkeys(values, node.position))

    def schema(self, definitions: Definitions) -> Schema:
        return {"oneOf": [{"type": ["string", "number"]}, self.long.schema(definitions)]}

    def words(self) -> str:
        return f"text such as `{self.example}`, or {self.long.words()}"


def network_mode(text: str) -> names.Complaint | None:
    """There is one way for a container to be in a network: with its machine."""
    if text in ("bridge", "default"):
        return None
    kind = text.partition(":")[0]
    if kind == "host":
        hint = "leave it out, and publish ports with `ports`"
        return "`host` is not possible: there is no host that containers share", hint
    if kind in ("service", "container"):
        return f"`{shown(text)}` is not possible: each service has machines of its own", "use its name"
    if kind == "none":
        return "`none` is not supported yet", "leave it out, and publish no ports"
    return f"`{shown(text)}` is not known", "leave it out"


def port_in_short(text: str) -> Mapping[str, object]:
    """`[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, host and container ports also as ranges."""
    rest, slash, protocol = text.partition("/")
    address = ""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise Malformed(f"`{shown(text)}` is not a port", "such as 8080:80")
        rest = rest[1:]
    parts = rest.split(":")
    if len(parts) > (2 if address else 3):
        raise Malformed(f"`{shown(text)}` is not a port", "such as 8080:80")
    values: dict[str, object] = {"target": parts[-1]}
    if len(parts) > 1 and parts[-2]:
        values["published"] = parts[-2]
    if address or len(parts) == 3:
        values["host_ip"] = address or parts[0]
    if slash:
        values["protocol"] = protocol.lower()
    return values


_NO_EFFECT = re.compile("rw|z|Z|cached|delegated|consistent|r?private|r?shared|r?slave")
"""Options of a volume about folders that a host and its containers share."""

_DRIVE = re.compile(r"[A-Za-z]:\\")


def volume_in_short(text: str) -> Mapping[str, object]:
    """`[SOURCE:]PATH[:OPTIONS]`: the source is a volume's name, or a path when it has a slash or a dot."""
    if _DRIVE.match(text):
        raise Malformed(
            f"`{shown(text)}` is a path of Windows", "write it relative to the file: ./FOLDER:/PATH"
        )
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise Malformed(
            f"`{shown(text)}` is not a volume", "such as data:/var/lib/data or ./app.conf:/etc/app.conf:ro"
        )
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    values: dict[str, object] = {
        "type": "bind" if parts[0].startswith((".", "/", "~")) or "/" in parts[0] else "volume",
        "source": parts[0],
        "target": parts[1],
    }
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "readonly"):
            values["read_only"] = True
        elif option == "nocopy":
            values["nocopy"] = True
        elif not _NO_EFFECT.fullmatch(option):
            raise Malformed(f"the option `{shown(option)}` of a volume is not supported", "ro and rw are")
    return values


def tmpfs_in_short(text: str) -> Mapping[str, object]:
    """`PATH[:OPTIONS]`; of the options, the size counts."""
    path, _, options = text.partition(":")
    values: dict[str, object] = {"target": path}
    for option in options.split(",") if options else ():
        name, _, value = option.partition("=")
        if name == "size":
            match = _SIZE.fullmatch(value)
            if match is None:
                raise Malformed(f"`{shown(value)}` is not a size", "such as 64m")
            values["size"] = int(float(match[1]) * 1024 ** "bkmgt".find(match[2].lower() or "b"))
        elif name not in ("rw", "noexec", "exec", "nosuid", "suid", "nodev", "dev", "mode", "uid", "gid"):
            raise Malformed(f"the option `{shown(option)}` of a tmpfs is not supported", "size=64m is")
    return values
