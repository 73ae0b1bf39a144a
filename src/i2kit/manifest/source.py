"""Text to data that knows its places: what every later step reads instead of YAML or JSON.

In: the name and the bytes of one file. Out: its documents as nodes with a line and column for
every key and value, and the problems found. Never: opens files, recurses into input, expands
aliases by copying, or lets a document past the limits below, whatever it contains.

The events come from PyYAML's parser; what is built from them is ours, because loaders lose places,
keep the last of two equal keys, and can be killed by nesting (libyaml composes recursively).
Plain scalars mean what they mean to kubectl (go-yaml v2, resolve.go): no sexagesimals, no dates.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from i2kit.errors import Position, Problem
from i2kit.manifest.jsontext import NotJson, json_events
from i2kit.manifest.places import Lines, shown

MAX_BYTES = 10_000_000
"""Five times the largest manifest in common use (Argo CD's, 1.9 MB)."""

MAX_DEPTH = 100
"""A Deployment needs 12 levels; later steps recurse once per level."""

MAX_NODES = 200_000
"""Keys and values of a file, each use of an alias counted as if written out."""

MAX_PROBLEMS = 100
"""Per file; nobody reads more, and a hostile file could hold one per byte."""

TEXT_TAG = "tag:yaml.org,2002:str"
"""`!!str`: what quotes say as well."""

MERGE_TAG = "tag:yaml.org,2002:merge"
"""`!!merge`: what `<<` means without it."""

ScalarValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value: `text` as written (without quotes), `value` as YAML understands it."""

    text: str
    value: ScalarValue
    position: Position
    tag: str = ""
    """One that the reader asked for, such as `!reset`."""


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    items: tuple["Node", ...]
    position: Position
    tag: str = ""


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping: key → (place of the key, value), in the order written."""

    entries: Mapping[str, tuple[Position, "Node"]]
    position: Position
    tag: str = ""

    def get(self, key: str) -> "Node | None":
        """The value of a key, None where it is absent."""
        entry = self.entries.get(key)
        return entry[1] if entry else None


Node = ScalarNode | SequenceNode | MappingNode

# The C parser is ten times as fast; PyYAML builds without it where libyaml's headers are missing.
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEMPLATE = re.compile(
    r"\{\{-?\s*(?:[.$]|/\*|\"|\(|(?:if|else|end|range|with|define|include|template|block|tpl|toYaml|quote"
    r"|default|printf|required|not|and|or|eq|lookup)\b)"
)

_OTHER_TEMPLATE = re.compile(r"\{\{[^{}\n]*\}\}|\{%")
"""Jinja's and the like."""


class _Stop(Exception):
    """The rest of the file cannot be read; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file holds: its documents without the empty ones, and what is wrong within them.

    `end` is why the rest of the file could not be read, if so: documents from there on are missing.
    """

    documents: tuple[Node, ...]
    problems: tuple[Problem, ...] = ()
    end: Problem | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """What those whom a file is for have agreed on: what a scalar without quotes means, and tags."""

    meaning: Callable[[str], ScalarValue]
    tags: frozenset[str] = frozenset()


def documents(
    name: str, data: bytes, *, dialect: Dialect | None = None
) -> tuple[tuple[Node, ...], tuple[Problem, ...]]:
    """The documents of a file, without the empty ones, and what is wrong with it.

    Without a dialect scalars mean what `resolve` says, and tags are problems.
    Documents before a syntax error are returned too, so that their problems can be told as well;
    none of a template, which is something else as a whole.
    """
    found = load(name, data, dialect=dialect)
    problems = (*found.problems, found.end) if found.end else found.problems
    if len(problems) > MAX_PROBLEMS:
        rest = len(problems) - MAX_PROBLEMS
        last = Problem(f"{rest} more problems of this kind follow", problems[MAX_PROBLEMS].position)
        problems = (*problems[:MAX_PROBLEMS], last)
    return found.documents, problems


def load(name: str, data: bytes, *, dialect: Dialect | None = None) -> Loaded:
    """As `documents`, but telling apart what is wrong within a document and what ends the file."""
    end: Problem | None = None
    try:
        text = _decode(name, data)
    except _Stop as stop:
        return Loaded((), end=stop.problem)
    build = _Build(name, dialect or Dialect(resolve))
    try:
        _feed(build, name, text)
    except _Stop as stop:
        end = stop.problem
    if build.malformed and (problem := _template(name, text, build.malformed)):
        return Loaded((), end=problem)
    return Loaded(tuple(build.documents), tuple(build.problems), end)


def _template(name: str, text: str, line: int) -> Problem | None:
    """What to say of a file that is malformed in this line if it is a template.

    `{{ .Values.x }}` is a mapping as a key to YAML; what helps is to say what it is.
    """
    if match := _TEMPLATE.search(text):
        hint = "render it first: helm template . | i2kit deploy -f -"
        place = Lines(name, text).position(match.start())
        return Problem("looks like a Helm template, which is no manifest yet", place, hint)
    lines = text.split("\n", line)
    if line <= len(lines) and (match := _OTHER_TEMPLATE.search(lines[line - 1])):
        place = Position(name, line, match.start() + 1)
        return Problem("looks like a template, which is no manifest yet", place, "fill it in first")
    return None


def is_template(text: str) -> bool:
    """Whether a value holds an expression of Helm's templates."""
    return "{{" in text and _TEMPLATE.search(text) is not None


def _decode(name: str, data: bytes) -> str:
    start = Position(name, 1, 1)
    if len(data) > MAX_BYTES:
        message = f"is larger than {MAX_BYTES // 1_000_000} MB"
        raise _Stop(Problem(message, start, "give only the documents to deploy"))
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        if encoding == "utf-16":
            raise _Stop(Problem("is not valid UTF-16", Lines(name, before).position(len(before)))) from None
        byte = data[error.start : error.start + 1]
        hint = "save the file as UTF-8"
        if (meant := byte.decode("cp1252", "replace")).isprintable() and meant != "\ufffd":
            hint += f" (in Windows-1252 this byte is `{meant}`)"
        position = Lines(name, before).position(len(before))
        raise _Stop(Problem(f"is not UTF-8: the byte 0x{byte.hex()}", position, hint)) from None
    if match := _NOT_YAML.search(text):
        code = ord(match.group())
        what = "a NUL character" if code == 0 else f"the control character U+{code:04X}"
        hint = 'write it as an escape in double quotes, such as "\\x1b"'
        if "\0" in text:
            hint = "is it a text file?"
        raise _Stop(Problem(f"contains {what}", Lines(name, text).position(match.start()), hint))
    return text


def _feed(build: "_Build", name: str, text: str) -> None:
    if name.endswith(".json") or text.lstrip()[:1] == "{":
        attempt = _Build(name, build.dialect)
        try:
            for event in json_events(name, text):
                attempt.take(event)
        except NotJson as error:
            # YAML's flow style begins with a brace too; only the file's name says that JSON was meant.
            if name.endswith(".json"):
                raise _Stop(Problem(f"is not valid JSON: {error}", error.position)) from None
        else:
            build.documents, build.problems = attempt.documents, attempt.problems
            return
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            build.take(event)
    except yaml.MarkedYAMLError as error:
        problem = _syntax_problem(name, text, error)
        build.malformed = build.malformed or (problem.position.line if problem.position else 0)
        raise _Stop(problem) from None
    except yaml.YAMLError as error:
        raise _Stop(Problem(f"is not valid YAML: {shown(str(error))}", Position(name, 1, 1))) from None
    except ValueError as error:  # PyYAML's own, for escapes such as "\UFFFFFFFF"
        raise _Stop(Problem(f"is not valid YAML: {shown(str(error))}", Position(name, 1, 1))) from None


def _syntax_problem(name: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(f"is not valid YAML: {error.problem}", Position(name, 1, 1))
    position = Position(name, mark.line + 1, mark.column + 1)
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
        tab = Position(name, mark.line + 1, line.index("\t") + 1)
        return Problem("a tab is used where YAML wants spaces", tab, "indent with spaces")
    context = ""
    if error.context and error.context_mark and error.context_mark.line != mark.line:
        context = f" ({error.context} that begins in line {error.context_mark.line + 1})"
    hint = (
        "fill in the variables first, such as: envsubst < FILE | i2kit deploy -f -" if "${" in line else None
    )
    return Problem(f"is not valid YAML: {error.problem}{context}", position, hint)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet. `size` and `height` are as if aliases were written out."""

    position: Position
    anchor: str | None
    mapping: bool
    tag: str = ""
    items: list[Node] = field(default_factory=list)
    entries: dict[str, tuple[Position, Node]] = field(default_factory=dict)
    merged: list[MappingNode] = field(default_factory=list)
    key: "_Key | None" = None
    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Key:
    """A key that waits for its value; `text` is None for one that cannot be used."""

    text: str | None
    position: Position
    merge: bool = False


class _Build:
    """Nodes out of a stream of events, without recursion. Stops at the first broken limit."""

    def __init__(self, name: str, dialect: Dialect) -> None:
        self.dialect = dialect
        self.documents: list[Node] = []
        self.problems: list[Problem] = []
        self.malformed = 0
        """The first line in which something stands where only an unrendered template would put it."""
        self._name = name
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._nodes = 0
        self._take: Mapping[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.DocumentStartEvent: self._document,
        }

    def take(self, event: yaml.Event) -> None:
        if handler := self._take.get(type(event)):
            handler(event)

    def _document(self, event: yaml.Event) -> None:
        self._anchors.clear()

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        position = self._position(event)
        self._count(1, position)
        plain = event.style is None or event.style == ""
        tag = ""
        if event.tag == TEXT_TAG:
            plain = False
        elif not (event.tag == MERGE_TAG and event.value == "<<"):
            tag = self._tag(event, position)
        value = self.dialect.meaning(event.value) if plain else event.value
        self._place(ScalarNode(event.value, value, position, tag), 1, 0, event.anchor, plain)

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        position = self._position(event)
        self._count(1, position)
        tag = self._tag(event, position)
        self._open.append(_Open(position, event.anchor, isinstance(event, yaml.MappingStartEvent), tag))
        self._check_depth(0, position)
        if event.anchor:
            self._anchors.pop(event.anchor, None)

    def _end(self, event: yaml.Event) -> None:
        done = self._open.pop()
        node: Node
        if done.mapping:
            for source in done.merged:
                for key, entry in source.entries.items():
                    done.entries.setdefault(key, entry)
            node = MappingNode(done.entries, done.position, done.tag)
        else:
            node = SequenceNode(tuple(done.items), done.position, done.tag)
        self._place(node, done.size, done.height, done.anchor, False)

    def _alias(self, event: yaml.AliasEvent) -> None:
        position = self._position(event)
        if any(above.anchor == event.anchor for above in self._open) and event.anchor not in self._anchors:
            raise _Stop(Problem(f"`*{shown(event.anchor or '')}` refers to itself", position))
        if event.anchor not in self._anchors:
            raise _Stop(Problem(f"`*{shown(event.anchor or '')}` has no anchor before it", position))
        node, size, height = self._anchors[event.anchor]
        self._count(size, position)
        self._check_depth(height, position)
        self._place(node, size, height, None, False)

    def _place(self, node: Node, size: int, height: int, anchor: str | None, plain: bool) -> None:
        if anchor:
            self._anchors[anchor] = (node, size, height)
        if not self._open:
            if not (isinstance(node, ScalarNode) and node.value is None):
                self.documents.append(node)
            return
        above = self._open[-1]
        above.size += size
        above.height = max(above.height, height + 1)
        if not above.mapping:
            above.items.append(node)
        elif above.key is None:
            above.key = self._as_key(node, plain)
        else:
            self._enter(above, above.key, node)
            above.key = None

    def _as_key(self, node: Node, plain: bool) -> _Key:
        if not isinstance(node, ScalarNode):
            self.malformed = self.malformed or node.position.line
            hint = "text that begins with { or [ needs quotes"
            self.problems.append(Problem(f"{described(node)} cannot be a key", node.position, hint))
            return _Key(None, node.position)
        if not isinstance(node.value, str):
            written = node.text or "the empty key"
            hint = f'put it in quotes: "{shown(node.text)}"'
            message = f"the key `{shown(written)}` is {described(node)} to YAML, and keys are text"
            self.problems.append(Problem(message, node.position, hint))
            return _Key(None, node.position)
        return _Key(node.value, node.position, merge=plain and node.value == "<<")

    def _enter(self, above: _Open, key: _Key, node: Node) -> None:
        if key.text is None:
            return
        if key.merge:
            sources = node.items if isinstance(node, SequenceNode) else (node,)
            for source in sources:
                if isinstance(source, MappingNode):
                    above.merged.append(source)
                else:
                    self.problems.append(Problem("`<<` merges mappings only", source.position))
            return
        if first := above.entries.get(key.text):
            message = f"`{shown(key.text)}` is given twice; the first is at {first[0]}"
            hint = "remove one of them"
            if len(self._open) == 1 and not self._name.endswith(".json"):
                hint += ", or write --- between two documents"
            self.problems.append(Problem(message, key.position, hint))
            return
        above.entries[key.text] = (key.position, node)

    def _tag(self, event: yaml.NodeEvent, position: Position) -> str:
        """The tag of a value where it is one of the dialect; any other is a problem."""
        tag: str | None = getattr(event, "tag", None)
        if tag in self.dialect.tags:
            return tag or ""
        if tag is not None:
            written = tag.replace("tag:yaml.org,2002:", "!!")
            message = f"the tag `{shown(written)}` is not accepted"
            self.problems.append(Problem(message, position, "remove it; text goes in quotes"))
        return ""

    def _count(self, nodes: int, position: Position) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            message = f"more than {MAX_NODES:,} keys and values, aliases written out"
            raise _Stop(Problem(message, position, "split the file, or use fewer aliases"))

    def _check_depth(self, height: int, position: Position) -> None:
        if len(self._open) + height > MAX_DEPTH:
            raise _Stop(Problem(f"nested deeper than {MAX_DEPTH} levels", position))

    def _position(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        assert mark is not None  # parsers always say where
        return Position(self._name, mark.line + 1, mark.column + 1)


def _spelled(*words: str) -> Iterable[str]:
    return (form for word in words for form in (word, word.capitalize(), word.upper()))


_WORDS: Mapping[str, ScalarValue] = {
    **dict.fromkeys(("", "~", *_spelled("null")), None),
    **dict.fromkeys(_spelled("y", "yes", "true", "on"), True),
    **dict.fromkeys(_spelled("n", "no", "false", "off"), False),
    **dict.fromkeys(_spelled(".inf", "+.inf"), float("inf")),
    **dict.fromkeys((".Inf", "+.Inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?(?:0[oO]?([0-7]+)|0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|(0|[1-9][0-9]*))\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")


def resolve(text: str) -> ScalarValue:
    """What a scalar without quotes means (go-yaml v2, as kubectl reads it): `0644` is 420, `22:22` text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if match := _INTEGER.match(digits):
        for base, found in zip((8, 16, 2, 10), match.groups(), strict=True):
            # Beyond 64 bits go-yaml has no integers, and Python refuses 5,000 digits with a ValueError.
            if found and len(found) <= 64 and (number := int(found, base)) < 2**64:
                return -number if digits[0] == "-" else number
    if _FLOAT.match(digits):
        return float(digits)
    return text


def described(node: Node) -> str:
    """What a value is, in words: "the number 5", "a list"."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    value = node.value
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the text `{shown(value)}`"
    return f"the number {shown(node.text)}"
