"""What reading finds is gathered here: problems, and warnings that become one line per kind. Pure."""

import re
from collections.abc import Sequence

from i2kit.errors import Position, Problem
from i2kit.manifest.places import shown

MAX_PROBLEMS = 1000
"""More are counted only: nobody reads them, and a hostile manifest could hold 200,000."""


class Log:
    """Collects what reading finds. Warnings about one kind of field become one line."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.full = False
        """Whether there is no room for more problems; working out hints can be left then."""
        self._warnings: dict[tuple[str, str], list[tuple[Position, str]]] = {}

    def problem(self, position: Position | None, path: str, message: str, hint: str | None = None) -> None:
        """Something is wrong with the value at `path`."""
        if not self.full:
            self.problems.append(Problem(f"{path}: {message}" if path else message, position, hint))
        if len(self.problems) == MAX_PROBLEMS and not self.full:
            self.full = True
            self.problems.append(Problem("there are more problems after this one", position))

    def warn(self, position: Position, path: str, message: str, *, kind: str | None = None) -> None:
        """Something has no effect that the user should know. Of one `kind` (the path) the first is shown."""
        kind = re.sub(r"\[\d+\]", "[]", path) if kind is None else kind
        self._warnings.setdefault((kind, message), []).append((position, path))

    @property
    def warnings(self) -> tuple[str, ...]:
        lines = []
        for (_, message), places in self._warnings.items():
            position, path = places[0]
            more = f" (and in {len(places) - 1} more places)" if len(places) > 1 else ""
            lines.append(f"{position}: {path}: {message}{more}")
        return tuple(lines)


def join(path: str, key: str) -> str:
    """The path of a key below another; keys that are not plain words stand in quotes."""
    step = key if re.fullmatch(r"[-\w]{1,64}", key) else f'"{shown(key)}"'
    return f"{path}.{step}" if path else step


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """The nearest of the known words, as a hint."""
    if len(word) > 64:  # comparing takes time with the square of the length
        return None
    import difflib  # only mistakes need it

    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f"did you mean `{by_lower[near[0]]}`?" if near else None
