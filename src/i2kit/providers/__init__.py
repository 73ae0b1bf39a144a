"""Where releases run. Each provider is one folder that passes tests/vm/test_provider_contract.py.

In: a Release. Out: a Deployment that answers. `observe` looks, `plan` decides without I/O,
`apply` does what the plan says and nothing else. Providers do not know each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from i2kit.errors import OperationError
from i2kit.events import Watcher
from i2kit.model import Deployment, Release, Use
from i2kit.settings import Settings

NAMES = ("local",)


@dataclass(frozen=True, slots=True)
class Action:
    """One change, in words: `verb` what happens, `subject` to what, `reason` why."""

    verb: Literal["create", "replace", "scale", "change", "remove"]
    subject: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to change so that `wanted` holds; `wanted` None means the deployment goes away.

    Without actions there is nothing to do.
    """

    key: str
    wanted: Release | None
    found: Deployment | None
    actions: tuple[Action, ...]


class Provider(Protocol):
    """The five things that a place to run must be able to do. Keys are `namespace/name`."""

    name: str

    def observe(self, key: str) -> Deployment | None:
        """What runs under this key now; None if nothing does."""
        ...

    def list(self) -> Sequence[Deployment]:
        """Everything that runs here, by key."""
        ...

    def plan(self, key: str, wanted: Release | None, found: Deployment | None) -> Plan:
        """Compare wanted with found. Pure."""
        ...

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        """Make the plan true and wait until it is: every replica answers, or everything is gone.

        Raises NotReadyError (nothing served before), RolloutError (the previous revision serves)
        or another OperationError. Interrupted at any point, a second call continues.
        """
        ...

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        """Log lines as (instance id, container, line), oldest first; with `follow` until interrupted."""
        ...


def load(name: str, settings: Settings) -> Provider:
    """The provider of this name. Imports only that provider."""
    if name == "local":
        from i2kit.providers.local import LocalProvider

        return LocalProvider(settings)
    raise ValueError(name)


def place(name: str, settings: Settings) -> Path:
    """Where the provider of this name notes what it runs of the store's machine images."""
    if name == "local":
        return settings.state_dir
    raise ValueError(name)


def uses(name: str, place: Path) -> tuple[Use, ...]:
    """Which machine images are needed by what a provider has noted in a `place`, by this run or another.

    Raises OperationError where that cannot be told.
    """
    if name == "local":
        from i2kit.providers.local.uses import uses

        return uses(place)
    raise OperationError(f"this version of i2kit does not know the provider `{name}`, which uses {place}")
