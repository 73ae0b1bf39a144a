"""Places in a text, and pieces of it that are fit to be quoted in a message. Pure."""

from bisect import bisect_right

from i2kit.errors import Position, printable

_SHOWN = 60


class Lines:
    """Offsets in one text → line and column, both from 1."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._starts = [0]
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def position(self, offset: int) -> Position:
        """The place of the character at `offset`."""
        line = bisect_right(self._starts, offset)
        return Position(self._name, line, offset - self._starts[line - 1] + 1)


def shown(text: str) -> str:
    """A value for a message: on one line, without control characters, not longer than a line."""
    head = text[: _SHOWN + 1]
    clean = printable(head)
    return clean if len(clean) <= _SHOWN else clean[: _SHOWN - 1] + "…"
