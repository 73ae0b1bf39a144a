"""What can go wrong, in words a user can act on.

Every error that a user can cause is one of these; anything else that escapes is a bug.
The exit code of the command line is the error's `exit_code`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


def printable(text: str) -> str:
    """A text for a terminal, on one line: what would steer it, or is no character at all, is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in an input file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{printable(self.file)}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the input: where, what, and what to do instead."""

    message: str
    position: Position | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.position}: " if self.position else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}{self.message}{hint}"


class I2kitError(Exception):
    """The base of all errors that are explained to the user."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class OperationError(I2kitError):
    """The input was right, but doing it failed; the message says how far it got."""


class NotReadyError(OperationError):
    """It was started but does not become ready, or what it is to do failed."""


class FirstDeployError(NotReadyError):
    """The first revision could not be made or does not become ready: nothing serves."""

    exit_code: ClassVar[int] = 3


class RolloutError(I2kitError):
    """The new revision did not become ready; the previous one serves."""

    exit_code: ClassVar[int] = 3


class InputError(I2kitError):
    """The input is wrong and nothing was touched. Carries every problem found, in order of place."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
