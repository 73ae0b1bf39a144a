"""Provider `aws`: one CloudFormation stack per deployment, and nothing of ours left running.

In: Releases with their disks. Out: groups of machines behind load balancers, each deployment one stack.

    steps      joins the rest: what a plan says, what apply does, in order
    design/    what a stack should be: records, templates, what differs, what it costs; does no I/O
    place/     the network and the hosted zone that it goes to, given, found or made
    amis/      the disk of a machine image → an AMI of which only changed blocks travel
    running/   stacks and what runs of them: made, changed, watched, removed
    access/    credentials, clients, AWS's errors in words
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from i2kit.events import Watcher
from i2kit.model import Architecture, Deployment, PlacedImage, Release, Revision, Workload
from i2kit.providers import Plan, Wanted
from i2kit.providers.aws.design import instances
from i2kit.settings import Settings

if TYPE_CHECKING:
    from i2kit.providers.aws.steps import Steps

# Everything that needs boto3 is in `steps`, and imported when AWS is to be reached.

OURS: dict[str, Architecture] = {"x86_64": "amd64", "arm64": "arm64"}


class AwsProvider:
    """Implements `i2kit.providers.Provider`."""

    name = "aws"
    form = "raw"

    ask = False
    """Whether plans are only looked at: then CloudFormation is asked what it would do, and without a network
    they are made from what this machine saw last."""
    volumes = False
    """Whether a deployment that goes away takes its volumes with it."""
    hurry = False
    together: Sequence[str] = ()

    pace: Any = None
    """How often AWS is asked, as stacks.Pace; None for the usual."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: Steps | None = None

    @property
    def _steps(self) -> "Steps":
        """Raises InputError where credentials or region are missing."""
        if self._made is None:
            from i2kit.providers.aws.access import session
            from i2kit.providers.aws.running.stacks import DEFAULT_PACE
            from i2kit.providers.aws.steps import Steps

            reached = session.connect(self._settings.aws)
            self._made = Steps(self._settings, reached, self.ask, self.pace or DEFAULT_PACE)
        self._made.volumes = self.volumes
        return self._made

    def architecture(self, workload: Workload) -> Architecture:
        """That of the instance type, where one is named."""
        named = workload.instance_type or self._settings.aws.instance_type
        found = instances.architecture_of(named) if named else None
        return OURS[found] if found else self._settings.architecture

    def observe(self, key: str) -> Deployment | None:
        """What runs under this key now; None if nothing does."""
        return self._steps.observe(key)

    def list(self) -> Sequence[Deployment]:
        """Everything that runs in this account and region, by key."""
        return self._steps.list()

    def plan(self, key: str, wanted: Wanted | None, found: Deployment | None) -> Plan:
        """Compare wanted with found. Only reads, but for the change set that is asked with `ask`.

        Raises InputError with all that is wrong with deploying this here; OperationError for a revision
        that is not kept.
        """
        return self._steps.plan(key, wanted, found)

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        """Make the plan true and wait until every machine answers, or everything is gone.

        Raises FirstDeployError (nothing serves), RolloutError (the previous revision serves) or another
        OperationError. Interrupted at any point, a second call continues.
        """
        return self._steps.apply(plan, watch)

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        """Log lines as (instance id, container, line), oldest first; with `follow` until interrupted."""
        return self._steps.logs(key, container=container, replica=replica, follow=follow)

    def history(self, key: str) -> Sequence[Revision]:
        """The revisions that are recorded and the failed ones that the stack's events tell, oldest first."""
        return self._steps.history(key)

    def images(self) -> Sequence[PlacedImage]:
        """The AMIs of ours, oldest first."""
        return self._steps.images()

    def remove_image(self, image: PlacedImage, watch: Watcher) -> None:
        """Remove one of these with its snapshots. Raises OperationError where something uses it."""
        self._steps.remove_image(image, watch)

    def render(self, release: Release) -> str:
        """The CloudFormation template (JSON) of a first deploy of this release.

        With what is there where AWS can be reached, else with ids that only stand for it.
        """
        from i2kit.providers.aws.access import session
        from i2kit.providers.aws.steps import render

        return render(release, self._settings, session.connect)
