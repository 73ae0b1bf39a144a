"""From how a deployment stands to how it should: records and templates, and whether they differ. Pure.

In: a Stand (record and template of a stack), what is wanted, and the other deployments. Out: a Stand; the
same one where nothing has to change. So a deploy that says the same again touches nothing, also when
deployments beside it have come or gone: machines are told of those when they are replaced anyway.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from i2kit.errors import InputError, OperationError, Problem
from i2kit.model import NetworkPolicy, Pairs, Release, Service, Workload
from i2kit.providers import Action, Front, Rollback
from i2kit.providers.aws.design import ingress, policies, record, template
from i2kit.providers.aws.design.balancing import balancers
from i2kit.providers.aws.design.difference import Change, difference
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.volumes import NEW as NEW_VOLUME
from i2kit.providers.aws.values import Ami, Ebs, Link, Network, Options, Peer, Zone

NEW_AMI = "ami-" + "0" * 17
"""Stands for an AMI that is still to be made."""

VERBS: Mapping[str, Any] = {"add": "create"}
"""Actions' words where those of changes are others."""

NEW_OF_INGRESS = re.compile(
    rf"{re.escape(ingress.NEW_GROUP)}\w+|{ingress.NEW_SECURITY_GROUP}|{re.escape(ingress.NEW_CERTIFICATE)}"
)
"""Stand for what comes with the stack of an Ingress."""

SCALED = re.compile(r"\d+ → \d+ machines")
"""What is said of a group that only gets more or fewer."""


@dataclass(frozen=True, slots=True)
class Stand:
    """A deployment as its stack has it, or should have it. `outputs` are what AWS filled in."""

    record: Record
    template: Mapping[str, Any]
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> frozenset[str]:
        """The security groups that the policies of others may name, by their logical ids."""
        return frozenset(id_ for id_ in self.template.get("Outputs", {}) if id_.endswith("SecurityGroup"))

    @property
    def hosts(self) -> Mapping[str, str]:
        """The load balancers' names by the keys of the services that they are in front of."""
        told = self.template.get("Outputs", {})
        found = template.endpoints_of(
            {"Description": told[id_].get("Description", ""), "OutputValue": value}
            for id_, value in self.outputs.items()
            # What an Ingress leads to is not told to machines: they call services.
            if id_ in told and not id_.startswith("Ingress")
        )
        return {one.service: urlsplit(one.url).netloc.partition(":")[0] for one in found}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release goes."""

    network: Network
    zone: Zone | None
    ami: Ami
    options: Options
    secrets: str = ""
    """Record.secrets."""
    links: tuple[Link, ...] = ()
    """Record.links."""
    volumes: tuple[Ebs, ...] = ()
    """Record.volumes."""
    again: bool = False
    """Whether it is another revision in any case: a job that failed runs once more."""


def stand(one: Record) -> Stand:
    return Stand(one, template.of_record(one))


def same(one: Stand, other: Stand) -> bool:
    """Whether an update from one to the other has nothing to do."""
    return not changes(one.template, other.template) and not endpoints(one.template, other.template)


def changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Sequence[Change]:
    """To resources."""
    return difference(old, new)


def endpoints(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Sequence[Action]:
    """To what a stack says of where it is reached."""
    before, after = (one.get("Outputs", {}) if one else {} for one in (old, new))
    made = []
    for id_ in dict.fromkeys([*after, *before]):
        if before.get(id_) == after.get(id_):
            continue
        about = (after.get(id_) or before[id_]).get("Description")
        what = f"endpoint {about}" if about else f"output {id_}"
        if id_ not in before:
            made.append(Action("create", what))
        elif id_ not in after:
            made.append(Action("remove", what))
        else:
            made.append(Action("change", what, "its address is another one"))
    return made


def actions(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> tuple[Action, ...]:
    """What an update does, in words."""
    found = [action(one) for one in changes(old, new)]
    # What is new or goes altogether has its endpoints with it.
    return (*found, *(endpoints(old, new) if old and new else ()))


def action(one: Change) -> Action:
    reason = "; ".join(one.reasons).replace(NEW_AMI, "a new one").replace(NEW_VOLUME, "a new volume")
    reason = NEW_OF_INGRESS.sub("a new one", reason)
    verb: Any = "scale" if SCALED.fullmatch(reason) else VERBS.get(one.verb, one.verb)
    return Action(verb, f"{one.noun} {one.id}", reason)


# --- what is wanted ---------------------------------------------------------------------------


def released(
    before: Stand | None, release: Release, place: Place, others: Sequence[Stand] | None, created_at: str
) -> Stand:
    """The deployment as its files say. Services of other files stay in front of it, their network policies
    hold for it. `others` are None where nobody can be asked for them: then that stays as it was.
    """
    was = before.record if before else None
    asked, others = others is not None, others or ()
    release = replace(release, workload=_counted(release.workload, was))
    own = {service.key for service in release.services}
    implied = record.is_implied(release)
    attached = _selecting(release, record.keys_of(release, implied=implied), was, others)
    near = {one.key: one for one in release.neighbours if one.key not in own}
    fresh = Record(
        revision=1,
        created_at=created_at,
        release=release,
        ami=place.ami,
        options=place.options,
        network=place.network,
        zone=place.zone,
        attached=attached,
        implied=implied,
        secrets=place.secrets,
        links=place.links,
        volumes=place.volumes,
    )
    fresh = _governed(fresh, others) if asked else replace(fresh, peers=_peers(was), held=_held(was))
    if before and was:
        told = {one.key: one for one in was.release.neighbours if one.key not in own}
        hosts = _hosts(others)
        known = {key: hosts.get(key, host) for key, host in was.options.addresses}
        # What its own files have beside it is told as soon as it is there.
        known |= {key: hosts[key] for key in near if key in hosts}
        kept = _told(fresh, {**told, **near}, {} if place.zone else known)
        # The group of a job has the revision's number.
        if not place.again and same(before, stand(replace(kept, revision=was.revision))):
            return before
    seen = {
        service.key: service
        for service in (*(one for other in others for one in other.record.services), *attached)
        if service.namespace == release.workload.namespace and service.key not in own
    }
    told_all = _told(fresh, {**seen, **near}, {} if place.zone else _hosts(others))
    after = stand(record.after(was, told_all))
    if before and was and _same_machines(before, after):
        # A revision is what machines are made of; how many there are and what leads to them is not.
        return stand(replace(told_all, revision=was.revision, created_at=was.created_at, history=was.history))
    return after


def _counted(workload: Workload, was: Record | None) -> Workload:
    """With autoscaling the replicas of the files say only where to begin: what began stays as it is."""
    if workload.scaling is None:
        return workload
    replicas = was.release.workload.replicas if was else workload.replicas
    return replace(workload, replicas=workload.scaling.start(replicas))


def _same_machines(one: Stand, other: Stand) -> bool:
    """Whether machines are made of the same; numbered ones as far as both have them."""
    ours, theirs = template.machines(one.template), template.machines(other.template)
    both = ours.keys() & theirs.keys()
    return bool(both) and all(ours[id_] == theirs[id_] for id_ in both)


def fronted(before: Stand, wanted: Front) -> Stand:
    """The deployment with more or fewer services of other files in front of it."""
    was = before.record
    kept = {one.key: one for one in was.attached if one.key not in wanted.without}
    attached = {**kept, **{one.key: one for one in wanted.services}}
    after = stand(replace(was, attached=tuple(one for key, one in attached.items() if key not in was.own)))
    return before if same(before, after) else replace(after, outputs=before.outputs)


def peers(others: Iterable[Stand]) -> tuple[Peer, ...]:
    """Deployments as the network policies of others mean them."""
    found = (
        policies.peer(
            one.record.whole,
            balancers(one.record.whole, one.record.network, one.record.options.certificate),
            one.outputs,
        )
        for one in others
    )
    return tuple(one for one in found if one)


def governing(release: Release, others: Iterable[Stand]) -> tuple[NetworkPolicy, ...]:
    """The network policies that came with other deployments and select this one too.

    Its own files' count before those, and what was deployed last before what was deployed earlier.
    """
    own = {one.key for one in release.policies}
    found = {
        one.key: one
        for other in sorted(others, key=lambda one: (one.record.created_at, one.record.key))
        for one in other.record.release.policies
        if one.key not in own and one.selects(release.workload)
    }
    return tuple(found[key] for key in sorted(found))


def _governed(one: Record, others: Sequence[Stand]) -> Record:
    """With the network policies that hold for it beside these others, and whom they mean."""
    one = replace(one, held=governing(one.release, others))
    return replace(one, peers=policies.meant(one.governed, peers(others)))


def _peers(was: Record | None) -> tuple[Peer, ...]:
    return was.peers if was else ()


def _held(was: Record | None) -> tuple[NetworkPolicy, ...]:
    return was.held if was else ()


def newly_meant(release: Release, others: Iterable[Stand]) -> Iterable[str]:
    """What to know of deployments whose policies mean one that they did not know."""
    workload = release.workload
    one = Peer(workload.key, workload.labels, "", (), ())
    return [
        f"the network policies of {other.record.key} mean it: their security groups are changed"
        for other in others
        if policies.meant(other.record.whole, [one])
        and workload.key not in [peer.key for peer in other.record.peers]
    ]


def admitted(before: Stand, others: Sequence[Stand]) -> Stand:
    """A deployment for which the network policies of these others hold, and whose own mean them; the same one
    where nothing changes by that."""
    one = _governed(before.record, others)
    if not before.record.governed.policies and not one.held:
        return before
    after = stand(one)
    return before if same(before, after) else replace(after, outputs=before.outputs)


def also_changed(after: Stand | None, others: Sequence[Stand]) -> Mapping[str, tuple[Stand, str]]:
    """Which of the others get other rules by what a deployment should become, None where it goes, and why."""
    found = {}
    for one in others:
        beside = [each for each in (*others, after) if each and each is not one]
        will = admitted(one, beside)
        if will is one:
            continue
        was, now = ({each.key: each for each in side.record.held} for side in (one, will))
        come = [key for key in now if now[key] != was.get(key)]
        gone = [key for key in was if key not in now]
        said = [f"{key} holds for it" for key in come] + [f"{key} is gone" for key in gone]
        found[one.record.key] = (will, "; ".join(said) or "whom they mean is there or gone")
    return found


def linked(after: Stand, links: tuple[Link, ...]) -> Stand:
    """The same with these Ingresses."""
    if after.record.links == links:
        return after
    return replace(stand(replace(after.record, links=links)), outputs=after.outputs)


def scaled(before: Stand, replicas: int) -> Stand:
    """The deployment with another number of machines, and nothing else changed.

    Where AWS scales it, that number is the group's alone. Raises InputError for one that it may not have.
    """
    was = before.record
    if was.release.workload.job:
        message = f"{was.key} is a job: it has as many machines as it has completions"
        raise InputError([Problem(message, hint="change its files, and deploy them")])
    if scaling := was.release.workload.scaling:
        if not scaling.least <= replicas <= scaling.most:
            message = f"{was.key} scales by itself between {scaling.least} and {scaling.most} replicas"
            hint = f"give a number of these, or change its files; {replicas} is not one of them"
            raise InputError([Problem(message, hint=hint)])
        return before
    if was.release.workload.replicas == replicas:
        return before
    workload = replace(was.release.workload, replicas=replicas)
    after = replace(was, release=replace(was.release, workload=workload))
    if workload.stateful:
        return replace(stand(after), outputs=before.outputs)
    return Stand(after, template.scaled(before.template, after))


def with_volumes(before: Stand, after: Stand, kept: tuple[Ebs, ...]) -> Stand:
    """The same with these volumes, where anything changes at all."""
    if after is before or after.record.volumes == kept:
        return after
    one = replace(after.record, volumes=kept)
    return Stand(one, template.of_record(one), after.outputs)


def rolled_back(
    before: Stand, wanted: Rollback, others: Sequence[Stand], created_at: str, replicas: int | None = None
) -> Stand:
    """An earlier revision as the next one: as it was, with as many machines and such services of other files
    as there are now, in the same place.

    `replicas` are those that run, where AWS scales them. Alarms are the present ones: they are no part of
    the files.
    """
    was = before.record
    target = revision(was, wanted.to)
    if target.revision == was.revision:
        return before
    now = was.release.workload.replicas if replicas is None else replicas
    scaling = target.release.workload.scaling
    workload = replace(target.release.workload, replicas=scaling.start(now) if scaling else now)
    release = replace(target.release, workload=workload)
    fresh = replace(
        target,
        created_at=created_at,
        release=release,
        attached=tuple(one for one in was.attached if one.key not in target.own and one.selects(workload)),
        network=was.network,
        zone=was.zone,
        links=was.links,
        options=replace(
            target.options,
            alarms=was.options.alarms,
            bake_time_s=was.options.bake_time_s,
            addresses=tuple((key, _hosts(others).get(key, host)) for key, host in target.options.addresses),
        ),
    )
    after = stand(record.after(was, _governed(fresh, others)))
    return before if same(before, after) else after


def revision(one: Record, number: int | None) -> Record:
    """One of a deployment's revisions, the one before where none is named. Raises OperationError."""
    there = {each.revision: each for each in (*one.history, one)}
    numbers = ", ".join(str(each.revision) for each in one.history)
    hint = f"these are kept: {numbers}" if numbers else "no earlier one is kept"
    if number is None:
        if not one.history:
            raise OperationError(f"{one.key} has no earlier revision to go back to")
        return one.history[-1]
    if number not in there:
        raise OperationError(f"{one.key} has no revision {number} to go back to", hint=hint)
    return there[number]


def numbered(before: Stand, after: Stand, least: int) -> Stand:
    """Not a number that a failed attempt has had."""
    if after is before or after.record.revision >= least:
        return after
    one = replace(after.record, revision=least)
    return replace(after, record=one, template=template.of_record(one))


def untold(one: Record) -> Iterable[str]:
    """The services beside it that its machines can't be told of, because nobody knows where they are."""
    if one.zone:
        return ()
    known = {key for key, _ in one.options.addresses} | {service.key for service in one.services}
    return [each.key for each in one.release.neighbours if each.ports and each.key not in known]


def _selecting(
    release: Release, own: frozenset[str], was: Record | None, others: Iterable[Stand]
) -> tuple[Service, ...]:
    """The services of other files that select this deployment.

    Those that its own files had and no longer have are gone for it, whoever else has them.
    """
    dropped = was.own - own if was else frozenset()
    found = {one.key: one for one in (was.attached if was else ())}
    found |= {one.key: one for other in others for one in other.record.written if one.key not in dropped}
    return tuple(
        one for key, one in sorted(found.items()) if key not in own and one.selects(release.workload)
    )


def _told(one: Record, neighbours: Mapping[str, Service], hosts: Mapping[str, str]) -> Record:
    """With these services beside it, of which machines are told."""
    addresses: Pairs = tuple((key, hosts[key]) for key in sorted(neighbours) if hosts.get(key))
    release = replace(one.release, neighbours=tuple(neighbours[key] for key in sorted(neighbours)))
    return replace(one, release=release, options=replace(one.options, addresses=addresses))


def _hosts(others: Iterable[Stand]) -> Mapping[str, str]:
    """Where services of other deployments are; of one over several, that of the first."""
    found: dict[str, str] = {}
    for other in others:
        for key, host in other.hosts.items():
            found.setdefault(key, host)
    return found
