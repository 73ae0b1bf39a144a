"""JSON as the same stream of events that the YAML parser gives, so that one builder serves both.

In: a text with one or several JSON values (RFC 8259). Out: PyYAML events with places. Never builds
anything and never recurses. YAML parsers cannot be used for this: JSON writes characters outside
the BMP as two escapes, and tabs may indent.
"""

import re
from collections.abc import Iterator
from typing import Literal

import yaml

from i2kit.errors import Position
from i2kit.manifest.places import Lines, shown

_SPACE = re.compile(r"[ \t\r\n]*")
# Possessive (*+): a string of 10 MB leaves no trail of places to come back to.
_PIECE = re.compile(
    r'(?P<mark>[{}\[\],:])|(?P<string>"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+")'
    r"|(?P<plain>true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(?![\w.+-])"
)
_CLOSING = {"{": "}", "[": "]"}


class NotJson(Exception):
    """The text is not JSON, and where that shows."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.position = position


def json_events(name: str, text: str) -> Iterator[yaml.Event]:
    """The events of every JSON value in the text. Raises NotJson at the first thing that is not JSON."""
    lines = Lines(name, text)
    open_: list[str] = []
    wanted: Literal["value", "key", "colon", "next"] = "value"
    opened = False  # by the piece before: only then may a collection end where a value is wanted
    at = _end_of(_SPACE.match(text))
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            raise NotJson(f"`{shown(text[at : at + 10])}` was not expected", lines.position(at))
        piece, kind = match.group(), match.lastgroup
        if wanted == "colon" and piece == ":":
            wanted = "value"
        elif wanted == "next" and piece == "," and open_:
            wanted = "key" if open_[-1] == "{" else "value"
        else:
            position = lines.position(at)
            mark = yaml.Mark(name, at, position.line - 1, position.column - 1, None, 0)
            if open_ and piece == _CLOSING[open_[-1]] and (wanted == "next" or opened):
                end = yaml.MappingEndEvent if open_.pop() == "{" else yaml.SequenceEndEvent
                yield end(mark, mark)
                wanted = "next"
            elif piece in _CLOSING and (wanted == "value" or (wanted == "next" and not open_)):
                start = yaml.MappingStartEvent if piece == "{" else yaml.SequenceStartEvent
                yield start(None, None, True, mark, mark)
                open_.append(piece)
                wanted = "key" if piece == "{" else "value"
            elif kind == "string" and wanted in ("value", "key"):
                yield yaml.ScalarEvent(None, None, (False, True), _unquoted(piece, position), mark, mark, '"')
                wanted = "colon" if wanted == "key" else "next"
            elif kind == "plain" and wanted == "value":
                yield yaml.ScalarEvent(None, None, (True, False), piece, mark, mark, None)
                wanted = "next"
            else:
                raise NotJson(f"`{shown(piece)}` was not expected", position)
        opened = piece in _CLOSING
        at = _end_of(_SPACE.match(text, match.end()))
    if open_:
        raise NotJson(f"the last `{open_[-1]}` is not closed", lines.position(len(text)))


def _end_of(match: re.Match[str] | None) -> int:
    assert match is not None  # _SPACE matches the empty text
    return match.end()


def _unquoted(piece: str, position: Position) -> str:
    if "\\" not in piece:
        return piece[1:-1]
    import json  # only texts with escapes need it

    try:
        text: str = json.loads(piece)
        text.encode()
    except ValueError as error:  # JSONDecodeError, or half of a surrogate pair
        raise NotJson(f"{shown(piece)} has an escape that is no character", position) from error
    return text
