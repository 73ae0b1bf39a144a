"""What a long operation tells about itself while it runs.

Stages call a `Watcher` with events; `report` turns them into progress bars, lines or JSON.
Nothing here prints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from i2kit.model import Instance


@dataclass(frozen=True, slots=True)
class Started:
    """A step began. `key` names the step in later events, `title` is for people."""

    key: str
    title: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is; `total` is None where it is not known beforehand."""

    key: str
    done: int
    total: int | None
    unit: Literal["bytes", "items"]


@dataclass(frozen=True, slots=True)
class Finished:
    """A step ended well; `result` says what came of it in a few words."""

    key: str
    result: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth one line that needs no action."""

    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know before trusting the result."""

    message: str


@dataclass(frozen=True, slots=True)
class Replicas:
    """The machines of a deployment as they are now, told whenever one changes. `key` is the deployment's."""

    key: str
    wanted: int
    instances: tuple[Instance, ...]


Event = Started | Progress | Finished | Note | Warned | Replicas
Watcher = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A Watcher for callers that do not want to know."""
