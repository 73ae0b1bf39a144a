"""What reading finds is gathered here: problems, and warnings that become one line per kind. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from i2kit.errors import Position, Problem
from i2kit.manifest.places import shown

MAX_PROBLEMS = 1000
"""More are counted only: nobody reads them, and a hostile manifest could hold 200,000."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell about the value at `path`, which is empty for a document as a whole."""

    reason: str
    position: Position | None = None
    path: str = ""
    hint: str | None = None
    refused: bool = True
    """False for a warning."""

    @property
    def problem(self) -> Problem:
        return Problem(f"{self.path}: {self.reason}" if self.path else self.reason, self.position, self.hint)


class Accepted:
    """The refusals that the user accepts: paths of fields with or without indexes, and names of kinds."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = frozenset(words)
        self._used: set[str] = set()
        self._seen: dict[str, None] = {}
        """The paths that are refused without it."""

    def takes(self, path: str, name: str | None) -> bool:
        """Whether the refusal at a path, or of something by its name, is accepted."""
        plain = re.sub(r"\[\d+\]", "", path)
        found = self._words & {path, plain, *([name] if name else ())}
        self._used |= found
        if not found and len(self._seen) < MAX_PROBLEMS:
            self._seen[name or plain] = None
        return bool(found)

    def unused(self) -> Iterable[Finding]:
        """What is wrong with those that are about nothing."""
        for word in sorted(self._words - self._used):
            near = did_you_mean(word, list(self._seen))
            what = f"refused are {', '.join(list(self._seen)[:5])}" if self._seen else "nothing is refused"
            yield Finding(f"--accept {shown(word)} is about nothing that is refused here", hint=near or what)


class Log:
    """Collects what reading finds. Warnings about one kind of field become one line."""

    def __init__(self, limit: int = MAX_PROBLEMS, accepted: Accepted | None = None) -> None:
        self.full = False
        """Whether there is no room for more problems; working out hints can be left then."""
        self.firm = False
        """Whether no refusal is accepted, since a value is needed."""
        self.accepted = accepted
        self._limit = limit
        self._refused: list[Finding] = []
        self._warned: dict[tuple[str, str], tuple[Finding, int]] = {}

    def problem(self, position: Position | None, path: str, message: str, hint: str | None = None) -> None:
        """Something is wrong with the value at `path`."""
        if not self.full:
            self._refused.append(Finding(message, position, path, hint))
        if len(self._refused) == self._limit and not self.full:
            self.full = True
            self._refused.append(Finding("there are more problems after this one", position))

    def refuse(
        self,
        position: Position | None,
        path: str,
        message: str,
        hint: str | None = None,
        *,
        name: str | None = None,
    ) -> bool:
        """Something is right in Kubernetes and cannot be had here. True if the user accepts that.

        `name` is another word for it than the path: the name of a kind.
        """
        if not self.firm and self.accepted and self.accepted.takes(path, name):
            self.warn(position, path, f"{message}: ignored, since --accept says so")
            return True
        self.problem(position, path, message, hint)
        return False

    def add(self, problems: Iterable[Problem]) -> None:
        """What another stage has found."""
        for one in problems:
            self.problem(one.position, "", one.message, one.hint)

    def warn(self, position: Position | None, path: str, message: str, *, kind: str | None = None) -> None:
        """Something has no effect that the user should know. Of one `kind` (the path) the first is shown."""
        kind = re.sub(r"\[\d+\]", "[]", path) if kind is None else kind
        first, count = self._warned.get((kind, message), (None, 0))
        first = first or Finding(message, position, path, refused=False)
        self._warned[kind, message] = (first, count + 1)

    def take(self, other: "Log") -> None:
        """All that another log has."""
        for finding in other._refused:
            self.problem(finding.position, finding.path, finding.reason, finding.hint)
        for key, (finding, count) in other._warned.items():
            first, before = self._warned.get(key, (finding, 0))
            self._warned[key] = (first, before + count)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(finding.problem for finding in self._refused)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(str(finding.problem) for finding in self._warnings())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Problems and warnings."""
        return (*self._refused, *self._warnings())

    def _warnings(self) -> Iterable[Finding]:
        for first, count in self._warned.values():
            more = f" (and in {count - 1} more places)" if count > 1 else ""
            yield replace(first, reason=first.reason + more)


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
