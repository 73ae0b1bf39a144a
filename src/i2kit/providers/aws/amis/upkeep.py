"""The AMIs of an account: who needs each, and what goes when a deployment is gone.

In: an account, and for what is forgotten the record that its stack had. An AMI is needed by the deployments
whose record names it, for what runs or what can be gone back to, by machines and by launch templates; all
else may go, with its snapshots. Never touches what i2kit did not make.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from i2kit.errors import OperationError
from i2kit.events import Finished, Started, Warned, Watcher
from i2kit.model import Architecture, PlacedImage
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.amis.ami import Owned
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.running import observe, stacks
from i2kit.providers.aws.running.health import Data
from i2kit.providers.aws.running.stacks import DEPLOYMENT

ARCHITECTURES: Mapping[str, Architecture] = {"x86_64": "amd64", "arm64": "arm64"}
"""As EC2 names them, and as we do."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What deployments need: the AMIs that their records name, by their keys.

    Of those in `unknown` the record can't be read: they need every AMI that was made for them. `groups`
    are their groups of machines, as AWS describes them.
    """

    amis: Mapping[str, frozenset[str]]
    unknown: frozenset[str]
    groups: Mapping[str, Sequence[Data]]

    def of(self, owned: Owned) -> tuple[str, ...]:
        """The deployments that need this AMI."""
        made_for = dict(owned.tags).get(DEPLOYMENT)
        found = {key for key, amis in self.amis.items() if owned.ami.id in amis}
        return tuple(sorted(found | ({made_for} & self.unknown if made_for else set())))

    def parts(self, key: str) -> frozenset[str]:
        """A deployment's machines and launch templates."""
        groups = self.groups.get(key, ())
        machines = {member["InstanceId"] for group in groups for member in group["Instances"]}
        return frozenset(machines | {name for name, _ in _versions(groups)})

    @property
    def versions(self) -> Mapping[str, str]:
        """Which version of its launch template each group uses."""
        return dict(one for groups in self.groups.values() for one in _versions(groups))


def _versions(groups: Sequence[Data]) -> Iterator[tuple[str, str]]:
    for group in groups:
        if used := group.get("LaunchTemplate"):
            yield used["LaunchTemplateName"], used["Version"]


def images(account: Account) -> tuple[PlacedImage, ...]:
    """All AMIs of ours in this account and region, oldest first, and what would miss each."""
    owned = ami.owned(account.images)
    if not owned:
        return ()
    used = _users(account, owned, _needs(account))
    return tuple(
        PlacedImage(
            id=one.ami.id,
            image=one.ami.image,
            created_at=one.created_at,
            size_bytes=one.ami.size_bytes,
            architecture=ARCHITECTURES[one.architecture],
            keys=tuple(value for tag, value in one.tags if tag == DEPLOYMENT),
            used_by=used[one.ami.id],
        )
        for one in owned
    )


def remove_image(account: Account, image: PlacedImage, watch: Watcher) -> None:
    """Deregister an AMI and delete its snapshots. Does nothing where it is gone already.

    Raises OperationError where something uses it by now.
    """
    found = [one for one in ami.owned(account.images) if one.ami.id == image.id]
    if not found:
        return
    needs = _needs(account)
    if used := _users(account, found, needs)[image.id]:
        raise OperationError(
            f"{image.id} is in use by {', '.join(used)}",
            hint="destroy what uses it first; a deployment keeps its earlier revisions' images too",
        )
    _remove(account, image.id, needs, watch)


def forget(account: Account, key: str, record: Record | None, watch: Watcher) -> None:
    """Remove what was made for a deployment whose stack is gone, and is needed by nothing else: its AMIs with
    their snapshots, and what interrupted uploads have left.

    `record` is the one that its stack had; None where that is not known any more. What can't be removed is
    told, and stays.
    """
    try:
        owned = ami.owned(account.images)
        named = {one.ami.id for one in (record, *record.history)} if record else set()
        candidates = [one for one in owned if one.ami.id in named or (DEPLOYMENT, key) in one.tags]
        if candidates:
            needs = _needs(account)
            for one in candidates:
                if not needs.of(one):
                    _remove_or_tell(account, one.ami.id, needs, watch)
        ami.sweep(account.images, ((DEPLOYMENT, key),), watch=watch)
    except OperationError as error:
        watch(Warned(f"AMIs and snapshots of {key} may be left: {error}"))


def _remove_or_tell(account: Account, id_: str, needs: Needs, watch: Watcher) -> None:
    try:
        _remove(account, id_, needs, watch)
    except OperationError as error:
        watch(Warned(f"the AMI {id_} and its snapshot are left: {error}"))


def _remove(account: Account, id_: str, needs: Needs, watch: Watcher) -> None:
    step = f"remove {id_}"
    watch(Started(step, f"removing the AMI {id_}"))
    try:
        ami.remove(account.images, id_, versions=needs.versions, watch=watch)
    except BaseException:
        watch(Finished(step, "not removed"))
        raise
    watch(Finished(step, "removed"))


def _users(account: Account, owned: Sequence[Owned], needs: Needs) -> Mapping[str, tuple[str, ...]]:
    """By AMI: deployments, and the machines and launch templates that are none of these deployments'."""
    with explained("looking for what uses the AMIs"):
        running = ami.users(account.images, [one.ami.id for one in owned], needs.versions)
    found = {}
    for one in owned:
        deployments = needs.of(one)
        theirs = {part for key in deployments for part in needs.parts(key)}
        others = [user for user in running[one.ami.id] if user not in theirs]
        found[one.ami.id] = (*deployments, *others)
    return found


def _needs(account: Account) -> Needs:
    found = stacks.deployments(account.cloudformation)
    with explained("reading what deployments need"):
        known = observe.records(account, found)
        groups = observe.groups_of(account)
    amis = {one.key: frozenset(each.ami.id for each in (one, *one.history)) for one in known.values()}
    unknown = {stack.tags[DEPLOYMENT] for stack in found if stack.id not in known}
    return Needs(amis, frozenset(unknown), groups)
