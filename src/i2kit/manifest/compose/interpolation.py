"""Variables in the values of compose files, and the files that give variables.

In: texts, and what looks a name up. Out: texts with the values in them, pairs. Pure.

Sources: the Compose specification, 12-interpolation.md; compose-go, template/template.go and dotenv/.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from i2kit.manifest.places import shown

Lookup = Callable[[str], str | None]

MAX_TEXT = 1_000_000
"""Characters of one value with its variables in it; a hostile file could ask for gigabytes."""

MAX_NESTED = 20

_NAME = re.compile(r"[_A-Za-z][_A-Za-z0-9]*")
_OPERATOR = re.compile(r":?[-?+]")
_BRACES = re.compile(r"\$\{|\}")


class BadText(Exception):
    """The text cannot be filled in; carries what to say of it, and a hint."""

    def __init__(self, message: str, hint: str | None = None, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.line = line


@dataclass(slots=True)
class Filled:
    """A text with its variables in it, and the names of those that are not set."""

    text: str
    unset: list[str] = field(default_factory=list)


def filled(text: str, lookup: Lookup, *, strict: bool = True) -> Filled:
    """Replace `$NAME` and `${NAME…}`; `$$` is a `$`. Raises BadText.

    A `$` before anything else is wrong, or, unless it is `strict`, itself.
    """
    done = Filled("")
    done.text = _fill(text, lookup, strict, done.unset, 0)
    return done


def _fill(text: str, lookup: Lookup, strict: bool, unset: list[str], depth: int) -> str:
    if depth > MAX_NESTED:
        raise BadText(f"variables are nested deeper than {MAX_NESTED} levels")
    parts: list[str] = []
    size = at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        after = text[dollar + 1 : dollar + 2]
        if after == "$":
            parts.append("$")
            at = dollar + 2
        elif after == "{":
            end = _closing(text, dollar + 2)
            parts.append(_braced(text[dollar + 2 : end], lookup, strict, unset, depth))
            at = end + 1
        elif match := _NAME.match(text, dollar + 1):
            parts.append(_value(match.group(), lookup, unset))
            at = match.end()
        elif strict:
            hint = "write $$ for a dollar"
            raise BadText(f"`{shown(text[dollar:])}` is no variable", hint)
        else:
            parts.append("$")
            at = dollar + 1
        size += len(parts[-1])
        if size > MAX_TEXT:
            raise BadText(f"has more than {MAX_TEXT:,} characters with its variables")
    return "".join([*parts, text[at:]])


def _closing(text: str, start: int) -> int:
    """Where the brace is that ends what begins at `start`."""
    depth = 1
    for match in _BRACES.finditer(text, start):
        depth += 1 if match.group() == "${" else -1
        if depth == 0:
            return match.start()
    raise BadText(f"`{shown(text[start - 2 :])}` has no closing brace", "write $$ for a dollar")


def _braced(inside: str, lookup: Lookup, strict: bool, unset: list[str], depth: int) -> str:
    match = _NAME.match(inside)
    name = match.group() if match else ""
    rest = inside[len(name) :]
    operator = _OPERATOR.match(rest)
    if not name or (rest and not operator):
        message = f"`${{{shown(inside)}}}` is no variable"
        raise BadText(message, "such as ${NAME} or ${NAME:-default}; write $$ for a dollar")
    if operator is None:
        return _value(name, lookup, unset)
    word = rest[operator.end() :]
    value = lookup(name)
    there = value is not None and (bool(value) or not operator.group().startswith(":"))
    match operator.group()[-1]:
        case "+":
            return _fill(word, lookup, strict, unset, depth + 1) if there else ""
        case "-":
            return value or "" if there else _fill(word, lookup, strict, unset, depth + 1)
        case _:
            if there:
                return value or ""
            why = _fill(word, lookup, strict, unset, depth + 1)
            message = f"the variable `{name}` is required" + (f": {shown(why)}" if why else "")
            raise BadText(message, f"set it: {name}=VALUE i2kit …, or write it into the file .env")


def _value(name: str, lookup: Lookup, unset: list[str]) -> str:
    value = lookup(name)
    if value is None:
        unset.append(name)
    return value or ""


# Names may hold what programs accept; a colon is as good as an equals sign.
_ENTRY = re.compile(r"(?:export[ \t]+)?([A-Za-z0-9_.\[\]-]+)[ \t]*(?:[=:][ \t]*|(?=#|$))")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def variables(text: str, lookup: Lookup) -> list[tuple[str, str | None]]:
    """What a file of NAME=VALUE lines says, in order; None for a name alone. Raises BadText with its line.

    Values may stand in quotes, also over several lines, and may use variables, those before them first.
    """
    found: list[tuple[str, str | None]] = []
    known: dict[str, str] = {}

    def look(name: str) -> str | None:
        given = lookup(name)
        return known.get(name) if given is None else given

    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    number = 0
    while number < len(lines):
        line = lines[number].strip(" \t")
        number += 1
        if not line or line.startswith("#"):
            continue
        match = _ENTRY.match(line)
        if match is None:
            raise BadText(f"`{shown(line)}` is no variable", "write NAME=VALUE", number)
        name, rest = match.group(1), line[match.end() :]
        if not any(mark in match.group() for mark in "=:"):
            found.append((name, None))
            continue
        start = number
        try:
            if rest[:1] in ("'", '"'):
                value, number = _quoted(rest, lines, number)
                if rest[0] == '"':
                    value = filled(_unescaped(value), look, strict=False).text
            else:
                value = filled(
                    re.split(r"(?:^|[ \t])#", rest, maxsplit=1)[0].rstrip(), look, strict=False
                ).text
        except BadText as bad:
            raise BadText(bad.message, bad.hint, start) from None
        known[name] = value
        found.append((name, value))
    return found


def plain_variables(text: str) -> list[tuple[str, str | None]]:
    """As `variables`, of a file in which quotes, `$` and `#` mean nothing (format: raw)."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    parted = (line.partition("=") for line in lines)
    return [(name.strip(), value if equals else None) for name, equals, value in parted]


def _quoted(rest: str, lines: list[str], number: int) -> tuple[str, int]:
    """The text between quotes, which may go on in the next lines, and the number of the line after it."""
    quote = rest[0]
    text, first = rest[1:], number
    ending = re.compile(rf"((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL)
    parts = [text]
    while True:
        if quote in parts[-1] and (match := ending.match("\n".join(parts))):
            return match.group(1), number
        if number >= len(lines) or number - first > 1000:
            raise BadText(f"`{shown(rest)}` has no closing quote", "close it in the same value")
        parts.append(lines[number])
        number += 1


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        letter = match.group(1)
        # An escaped dollar starts no variable.
        return "$$" if letter == "$" else _ESCAPES.get(letter, letter)

    return _ESCAPE.sub(one, text)
