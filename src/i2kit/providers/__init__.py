"""Where releases run. Each provider is one folder that passes tests/vm/test_provider_contract.py.

In: a Release. Out: a Deployment that answers. `observe` looks, `plan` decides and changes nothing,
`apply` does what the plan says and nothing else. Providers do not know each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from i2kit.errors import OperationError
from i2kit.events import Watcher
from i2kit.model import Architecture, Deployment, PlacedImage, Release, Revision, Service, Use, Workload
from i2kit.settings import PROVIDERS, Settings

NAMES = PROVIDERS

PACES_S = {"local": 0.3, "aws": 5.0}
"""How often each may be looked at by who waits for a change: AWS counts calls."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """An earlier revision as it was, with as many replicas as there are now; without `to` the one before."""

    to: int | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """What runs, in another number."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Front:
    """What runs, with these services of other files in front of it, and without those named by key."""

    services: tuple[Service, ...] = ()
    without: tuple[str, ...] = ()


Wanted = Release | Rollback | Scale | Front
"""What a deployment should become. All but a Release need one that runs."""


@dataclass(frozen=True, slots=True)
class Action:
    """One change, in words: `verb` what happens, `subject` to what, `reason` why."""

    verb: Literal["create", "replace", "scale", "change", "remove", "keep"]
    subject: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CostLine:
    """`usd` is for all of them in a month; None where the price is not known."""

    count: int
    what: str
    usd: float | None

    def __str__(self) -> str:
        return f"{self.count} × {self.what}: {self._price}"

    @property
    def _price(self) -> str:
        if self.usd is None:
            return "unknown"
        return "less than $0.01" if 0 < self.usd < 0.005 else f"${self.usd:.2f}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a deployment costs in a month. `as_of`, `region`: when and where these prices held."""

    lines: tuple[CostLine, ...]
    as_of: str
    region: str
    source: str
    not_counted: str

    @property
    def usd(self) -> float:
        """Of all lines whose price is known."""
        return round(sum(line.usd or 0 for line in self.lines), 2)

    @property
    def complete(self) -> bool:
        return all(line.usd is not None for line in self.lines)

    def __str__(self) -> str:
        least = "" if self.complete else "at least "
        return (
            f"{least}${self.usd:.2f} a month (prices of {self.region}, {self.as_of}, {self.source}; "
            f"without {self.not_counted})"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to change so that `wanted` holds; `wanted` None means the deployment goes away.

    Without actions there is nothing to do.
    """

    key: str
    wanted: Wanted | None
    found: Deployment | None
    actions: tuple[Action, ...]
    images: tuple[str, ...] = ()
    """How the machine image differs and the containers in it, as lines."""
    cost: Estimate | None = None
    """Of the deployment as it will be, where that costs anything by itself."""
    notes: tuple[str, ...] = ()
    """What to know of this plan, such as what it could not be compared with."""
    again: bool = False
    """Whether to plan it once more after the others of the same files: it may then be told where they are."""
    prepared: Any = field(default=None, compare=False, repr=False)
    """What the provider that made the plan needs to apply it."""


class Provider(Protocol):
    """What a place to run must be able to do. Keys are `namespace/name`."""

    name: str
    form: str
    """In which of model.FORMATS it needs machine images."""
    ask: bool
    """Set where plans are only looked at: then they may take longer to be exact, or do with less."""
    volumes: bool
    """Set where a deployment that goes away takes its volumes with it, also those of one that is gone."""
    hurry: bool
    """Set where what goes away need not finish what it does, as far as that is the provider's to say."""
    together: Sequence[str]
    """Set to the keys of all that goes away in one command: a provider may end them at the same time."""

    def architecture(self, workload: Workload) -> Architecture:
        """Of the machines that this workload gets."""
        ...

    def observe(self, key: str) -> Deployment | None:
        """What runs under this key now; None if nothing does."""
        ...

    def list(self) -> Sequence[Deployment]:
        """Everything that runs here, by key."""
        ...

    def plan(self, key: str, wanted: Wanted | None, found: Deployment | None) -> Plan:
        """Compare wanted with found. Changes nothing.

        Raises InputError with all that is wrong with deploying this here; OperationError for a revision
        that is not kept.
        """
        ...

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        """Make the plan true and wait until it is: every replica answers, or everything is gone.

        Raises FirstDeployError (nothing serves), RolloutError (the previous revision serves), NotReadyError
        (a job failed, or a number of machines is not reached) or another OperationError. Interrupted at any
        point, a second call continues.
        """
        ...

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        """Log lines as (instance id, container, line), oldest first; with `follow` until interrupted."""
        ...

    def history(self, key: str) -> Sequence[Revision]:
        """The revisions that are kept and the failed ones that are known, oldest first."""
        ...

    def images(self) -> Sequence[PlacedImage]:
        """The machine images that are kept in this place, oldest first; none where it uses the store's."""
        ...

    def remove_image(self, image: PlacedImage, watch: Watcher) -> None:
        """Remove one of these. Raises OperationError where something uses it."""
        ...


def load(name: str, settings: Settings) -> Provider:
    """The provider of this name. Imports only that provider."""
    if name == "local":
        from i2kit.providers.local import LocalProvider

        return LocalProvider(settings)
    if name == "aws":
        from i2kit.providers.aws import AwsProvider

        return AwsProvider(settings)
    raise ValueError(name)


def place(name: str, settings: Settings) -> Path:
    """Where the provider of this name notes what it runs of the store's machine images."""
    if name in NAMES:
        return settings.state_dir
    raise ValueError(name)


def uses(name: str, place: Path) -> tuple[Use, ...]:
    """Which machine images are needed by what a provider has noted in a `place`, by this run or another.

    Raises OperationError where that cannot be told.
    """
    if name == "local":
        from i2kit.providers.local.uses import uses

        return uses(place)
    if name == "aws":
        return ()  # what runs there has images of its own
    raise OperationError(f"this version of i2kit does not know the provider `{name}`, which uses {place}")
