"""The AMIs of an account: who needs each, and what goes when a deployment is gone.

In: an account, and for what is forgotten the record that its stack had. An AMI is needed by the deployments
whose record names it, for what runs or what can be gone back to, by machines and by launch templates; all
else may go, with its snapshots. Never touches what i2kit did not make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from i2kit.errors import OperationError
from i2kit.events import Finished, Started, Warned, Watcher
from i2kit.model import Architecture, PlacedImage
from i2kit.providers.aws import ami, observe, stacks
from i2kit.providers.aws.account import Account
from i2kit.providers.aws.ami import Owned
from i2kit.providers.aws.calls import explained
from i2kit.providers.aws.record import Record
from i2kit.providers.aws.stacks import DEPLOYMENT

ARCHITECTURES: Mapping[str, Architecture] = {"x86_64": "amd64", "arm64": "arm64"}
"""As EC2 names them, and as we do."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What deployments need: the AMIs that their records name, by their keys.

    Of those in `unknown` the record can't be read: they need every AMI that was made for them.
    """

    amis: Mapping[str, frozenset[str]]
    unknown: frozenset[str]

    def of(self, owned: Owned) -> tuple[str, ...]:
        """The deployments that need this AMI."""
        made_for = dict(owned.tags).get(DEPLOYMENT)
        found = {key for key, amis in self.amis.items() if owned.ami.id in amis}
        return tuple(sorted(found | ({made_for} & self.unknown if made_for else set())))


def images(account: Account) -> tuple[PlacedImage, ...]:
    """All AMIs of ours in this account and region, oldest first, and what would miss each."""
    owned = ami.owned(account.images)
    if not owned:
        return ()
    used = _users(account, owned)
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
    if used := _users(account, found)[image.id]:
        raise OperationError(
            f"{image.id} is in use by {', '.join(used)}",
            hint="destroy what uses it first; a deployment keeps its earlier revisions' images too",
        )
    _remove(account, image.id, watch)


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
        needs = _needs(account) if candidates else Needs({}, frozenset())
        for one in candidates:
            if not needs.of(one):
                _remove_or_tell(account, one.ami.id, watch)
        ami.sweep(account.images, ((DEPLOYMENT, key),), watch=watch)
    except OperationError as error:
        watch(Warned(f"AMIs and snapshots of {key} may be left: {error}"))


def _remove_or_tell(account: Account, id_: str, watch: Watcher) -> None:
    try:
        _remove(account, id_, watch)
    except OperationError as error:
        watch(Warned(f"the AMI {id_} and its snapshot are left: {error}"))


def _remove(account: Account, id_: str, watch: Watcher) -> None:
    step = f"remove {id_}"
    watch(Started(step, f"removing the AMI {id_}"))
    try:
        ami.remove(account.images, id_, watch=watch)
    except BaseException:
        watch(Finished(step, "not removed"))
        raise
    watch(Finished(step, "removed"))


def _users(account: Account, owned: Sequence[Owned]) -> Mapping[str, tuple[str, ...]]:
    """By AMI: deployments, and the machines and launch templates that are none of these deployments'."""
    needs = _needs(account)
    with explained("looking for what uses the AMIs"):
        running = ami.users(account.images, [one.ami.id for one in owned])
        groups = observe.groups_of(account)
    found = {}
    for one in owned:
        deployments = needs.of(one)
        theirs = set()
        for group in (group for key in deployments for group in groups.get(key, ())):
            theirs |= {member["InstanceId"] for member in group["Instances"]}
            theirs.add(group.get("LaunchTemplate", {}).get("LaunchTemplateName"))
        others = [user for user in running[one.ami.id] if user not in theirs]
        found[one.ami.id] = (*deployments, *others)
    return found


def _needs(account: Account) -> Needs:
    found = stacks.deployments(account.cloudformation)
    with explained("reading what deployments need"):
        known = observe.records(account, found)
    amis = {one.key: frozenset(each.ami.id for each in (one, *one.history)) for one in known.values()}
    unknown = {stack.tags[DEPLOYMENT] for stack in found if stack.id not in known}
    return Needs(amis, frozenset(unknown))
