"""The stacks of Ingresses: looked at, made before a deployment, brought in line after it, removed.

In: a release and its Ingresses. Out: Links for the deployment's stack. `look` and `actions` change nothing.
Interrupted at any point, the next run goes on from what the stacks say.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from i2kit.errors import I2kitError, OperationError
from i2kit.events import Note, Watcher
from i2kit.model import Ingress, Release
from i2kit.providers import Action
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.design import ingress, revise
from i2kit.providers.aws.design.ingress import INGRESS, Entrance
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.running import certificates, stacks
from i2kit.providers.aws.running.stacks import DEPLOYMENT, Order, Pace, Stack
from i2kit.providers.aws.values import Link, Network, Zone

Weights = Callable[[], Mapping[str, int]]
"""How many calls each deployment should get, by its key; asked where it matters."""


@dataclass(frozen=True, slots=True)
class Found:
    """The stack of an Ingress and what it says; None for what is not there, or never came to be."""

    stack: Stack | None = None
    template: Mapping[str, Any] | None = None
    entrance: Entrance | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One deployment and one Ingress. `fresh` has what this deployment will have behind it, and no others."""

    key: str
    found: Found
    fresh: Entrance
    wanted: Mapping[str, certificates.Pair]
    """What has to be imported."""

    @property
    def prepared(self) -> Entrance:
        return ingress.prepared(self.found.entrance, self.fresh, self.key)

    @property
    def link(self) -> Link:
        """As it will be; what is not made yet has ids that only stand for it."""
        outputs = self.found.stack.outputs if self.found.stack else {}
        return ingress.link(self.fresh, outputs, self.fresh.backends)


def find(account: Account, key: str) -> Found:
    """Raises OperationError for a stack that is somebody else's, or that can't be read."""
    name = ingress.stack_name(key)
    with explained(f"looking for the stack {name}"):
        stack = stacks.find(account.cloudformation, name)
        if stack is None or stack.status == "REVIEW_IN_PROGRESS" or stack.status in stacks.DEAD:
            return Found(stack)
        stacks.refuse_foreign(stack)
        template = stacks.template(account.cloudformation, stack)
    return Found(stack, template, ingress.of(template) if template else None)


def passage(
    account: Account | None,
    release: Release,
    one: Ingress,
    network: Network,
    zone: Zone | None,
    certificate: str | None,
) -> Passage:
    """Reads what is there; nothing where AWS can't be asked."""
    found = find(account, one.key) if account else Found()
    given = one.certificate or certificate
    wanted = {} if given else certificates.pairs(one, release.secrets)
    there = found.entrance.certificates if found.entrance else ()
    if wanted and not there and account:
        there = certificates.look(account, one.key)
    fresh = Entrance(
        replace(one, position=None),
        network,
        zone,
        ingress.backends(release, one),
        given,
        certificates.planned(there, wanted),
    )
    return Passage(release.workload.key, found, fresh, wanted)


def again(account: Account, release: Release, link: Link) -> Passage | None:
    """For a deployment that has this Ingress already, as its stack says; None where that is gone."""
    found = find(account, link.key)
    if found.entrance is None:
        return None
    fresh = replace(found.entrance, backends=ingress.backends(release, found.entrance.ingress))
    return Passage(release.workload.key, found, fresh, {})


def make(account: Account, one: Passage, watch: Watcher, pace: Pace) -> Link:
    """Have the Ingress lead to what the deployment will be, beside all that is there."""
    key, fresh = one.fresh.ingress.key, one.fresh
    if one.wanted:
        fresh = replace(fresh, certificates=certificates.imported(account, key, one.wanted, watch))

    def made(there: Entrance | None) -> Entrance:
        return ingress.prepared(there, fresh, one.key)

    stack = _revised(account, key, made, watch, pace)
    found = ingress.link(fresh, stack.outputs, fresh.backends)
    if one.found.stack is None:
        watch(Note(f"the Ingress {key} has the load balancer {stack.outputs['Name']}"))
    return found


def settle(
    account: Account,
    key: str,
    deployment: str,
    release: Release | None,
    watch: Watcher,
    pace: Pace,
    *,
    weights: Weights = dict,
    alive: Collection[str] | None = None,
) -> None:
    """Once a deployment is as it should be: the Ingress leads there and to the others, and nothing is left.

    `release` is None where the deployment has nothing to do with it any more, `alive` the deployments that
    there are, where others may have gone. Without any the Ingress goes.
    """
    found = find(account, key)
    if found.stack is None:
        return
    if found.entrance is None or _settled(found.entrance, deployment, release, weights, alive) is None:
        stacks.delete(account.cloudformation, ingress.stack_name(key), watch, pace=pace)
        if found.entrance is None or found.entrance.ingress.tls:
            certificates.remove(account, key, (), watch, pace)
        watch(Note(f"removed the Ingress {key}: no deployment has it any more"))
        return
    was = found.entrance

    def made(there: Entrance | None) -> Entrance:
        there = there or was
        return _settled(there, deployment, release, weights, alive) or there

    _revised(account, key, made, watch, pace)
    if was.ingress.tls:
        certificates.remove(account, key, was.certificates, watch, pace)


def _settled(
    there: Entrance,
    deployment: str,
    release: Release | None,
    weights: Weights,
    alive: Collection[str] | None,
) -> Entrance | None:
    fresh = replace(there, backends=ingress.backends(release, there.ingress)) if release else None
    keys = there.deployments if alive is None else alive
    shared = len(there.deployments | ({deployment} if fresh else set())) > 1
    return ingress.settled(there, fresh, deployment, weights() if shared else {}, keys)


def _revised(
    account: Account,
    key: str,
    wanted: Callable[[Entrance | None], Entrance],
    watch: Watcher,
    pace: Pace,
) -> Stack:
    """The stack with what is wanted of what it has then. Says and does nothing where nothing differs."""
    client = account.cloudformation

    def order(stack: Stack | None) -> Order:
        before = stacks.template(client, stack) if stack else None
        made = ingress.template(wanted(ingress.of(before) if before else None), before)
        return Order(dumps(made), {INGRESS: key})

    found = find(account, key)
    if found.stack and found.stack.serves and found.template == json.loads(order(found.stack).template):
        return found.stack
    try:
        return stacks.revise(client, ingress.stack_name(key), order, watch, pace=pace)
    except I2kitError as error:
        raise OperationError(error.message, hint=error.hint) from error


# --- in words ---------------------------------------------------------------------------------


def actions(
    account: Account,
    deployment: str,
    passages: Iterable[Passage],
    before: Iterable[Link],
    *,
    alive: Collection[str] | None = None,
) -> Sequence[Action]:
    """What happens to the stacks of Ingresses when a deployment changes, from what it has now to these."""
    found: list[Action] = []
    after = {one.fresh.ingress.key: one for one in passages}
    for key, one in after.items():
        there = one.found.entrance or replace(one.fresh, backends=())
        # The definition may have changed, and what others have behind it stays.
        now = replace(one.fresh, backends=there.backends)
        will = ingress.settled(now, one.fresh, one.key, {}, there.deployments)
        found += _differences(key, one.found, will)
    for link in before:
        if link.key in after:
            continue
        gone = find(account, link.key)
        if gone.entrance:
            keys = gone.entrance.deployments if alive is None else alive
            found += _differences(link.key, gone, ingress.settled(gone.entrance, None, deployment, {}, keys))
    return found


def _differences(key: str, found: Found, will: Entrance | None) -> Iterable[Action]:
    made = ingress.template(will, found.template) if will else None
    for change in revise.changes(found.template, made):
        one = revise.action(change)
        yield replace(one, reason="; ".join(filter(None, [f"of the Ingress {key}", one.reason])))


def added(passages: Iterable[Passage]) -> Mapping[str, Any]:
    """The resources of Ingresses that are still to be made, for what they cost."""
    return {
        f"{one.fresh.ingress.key} {id_}": resource
        for one in passages
        if one.found.template is None
        for id_, resource in ingress.template(one.prepared)["Resources"].items()
    }


# --- all of them ------------------------------------------------------------------------------


def having(account: Account, deployment: str) -> Sequence[str]:
    """The keys of Ingresses that lead to a deployment, or to nothing."""
    return [
        key
        for key in keys(account)
        for found in [find(account, key)]
        if found.entrance is None or deployment in found.entrance.deployments
    ]


def keys(account: Account) -> Sequence[str]:
    return sorted(one.tags[INGRESS] for one in stacks.tagged(account.cloudformation, INGRESS))


def alive(account: Account) -> frozenset[str]:
    """The deployments that have a stack."""
    return frozenset(one.tags[DEPLOYMENT] for one in stacks.deployments(account.cloudformation))
