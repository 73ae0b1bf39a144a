"""Provider `aws`: one CloudFormation stack per deployment, and nothing of ours left running.

`values`, `template`, `checks`, `difference`, `cost`, `instances` and `blockmap` decide and do no I/O.
`ami` makes AMIs of disks, by `snapshot`; both reach AWS through `session` and `calls`.
`session` and `calls` reach AWS and put its errors into words, `stacks` makes, changes and removes stacks.
"""

from collections.abc import Iterator, Sequence

from i2kit.events import Watcher
from i2kit.model import Architecture, Deployment, PlacedImage, Revision, Workload
from i2kit.providers import Plan, Wanted
from i2kit.settings import Settings


class AwsProvider:
    """Implements `i2kit.providers.Provider`."""

    name = "aws"
    form = "raw"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def architecture(self, workload: Workload) -> Architecture:
        raise NotImplementedError

    def observe(self, key: str) -> Deployment | None:
        raise NotImplementedError

    def list(self) -> Sequence[Deployment]:
        raise NotImplementedError

    def plan(self, key: str, wanted: Wanted | None, found: Deployment | None) -> Plan:
        raise NotImplementedError

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        raise NotImplementedError

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        raise NotImplementedError

    def history(self, key: str) -> Sequence[Revision]:
        raise NotImplementedError

    def images(self) -> Sequence[PlacedImage]:
        raise NotImplementedError

    def remove_image(self, image: PlacedImage, watch: Watcher) -> None:
        raise NotImplementedError
