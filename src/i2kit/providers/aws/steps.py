"""What provider `aws` does, step by step: reads what there is, has `revise` decide, and makes it so.

In: settings. Out: Plans and Deployments. The only module that joins the others that reach AWS.
"""

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from i2kit.errors import (
    FirstDeployError,
    I2kitError,
    InputError,
    NotReadyError,
    OperationError,
    Problem,
    RolloutError,
)
from i2kit.events import Note, Warned, Watcher
from i2kit.model import Deployment, PlacedImage, Release, Revision
from i2kit.providers import Action, Estimate, Front, Plan, Rollback, Scale, Wanted
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.access.session import Session
from i2kit.providers.aws.amis import ami, upkeep
from i2kit.providers.aws.design import (
    checks,
    cost,
    difference,
    ingress_checks,
    instances,
    parts,
    record,
    revise,
    template,
)
from i2kit.providers.aws.design import ingress as entrances
from i2kit.providers.aws.design import secrets as sets
from i2kit.providers.aws.design import volumes as disks
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.revise import NEW_AMI, Place, Stand
from i2kit.providers.aws.place import surroundings
from i2kit.providers.aws.place.surroundings import Surroundings
from i2kit.providers.aws.running import (
    foresight,
    ingress,
    names,
    observe,
    seen,
    stacks,
    update,
)
from i2kit.providers.aws.running.ingress import Passage
from i2kit.providers.aws.running.secrets import Sets
from i2kit.providers.aws.running.stacks import DEPLOYMENT, Order, Pace, Stack
from i2kit.providers.aws.running.update import Update
from i2kit.providers.aws.running.volumes import Volumes
from i2kit.providers.aws.values import NETWORK_STACK, Ami, Architecture, Link, Options, stack_name
from i2kit.settings import AwsSettings, Settings

THEIRS: dict[str, Architecture] = {"amd64": "x86_64", "arm64": "arm64"}

TOKEN = re.compile(r"i2kit-r(?P<revision>\d+)-(?P<image>[0-9a-f]*)-[0-9a-f]+")
"""What a deploy calls itself in a stack's events: the revision, and how its machine image begins."""

SHORT = 12
"""How much of a machine image's id is enough to tell it."""

WORKERS = 8

BRIEFLY = {"retries": {"total_max_attempts": 2}, "connect_timeout": 5, "read_timeout": 20}
"""For finding out whether there is a network at all."""


@dataclass(frozen=True, slots=True)
class Found:
    """A deployment's stack, and how it stands; None for what is not there or says nothing."""

    stack: Stack | None = None
    stand: Stand | None = None


def answers(reached: Session) -> bool:
    """Whether there is anybody, asked without patience; what is said does not matter."""
    with explained("connecting to AWS"):
        client = reached.client("cloudformation", **BRIEFLY)
    try:
        client.describe_stacks(StackName=NETWORK_STACK)
    except ClientError:
        return True
    except (ConnectionError, HTTPClientError):
        return False
    except BotoCoreError:  # of credentials: whoever needs AWS next explains it
        return True
    return True


def options(release: Release, settings: Settings, region: str) -> Options:
    """How this release differs from others; what its files say comes before what settings do."""
    workload, given = release.workload, settings.aws
    named = workload.instance_type or given.instance_type
    found = instances.architecture_of(named) if named else None
    return Options(
        region,
        found or THEIRS[settings.architecture],
        named,
        given.key_pair,
        workload.certificate or given.certificate,
        given.alarms,
        given.bake_time_s,
    )


def render(release: Release, settings: Settings, connect: Callable[[AwsSettings], Session]) -> str:
    """The template (JSON) of a first deploy, with what is there where AWS can be reached."""
    try:
        steps = Steps(settings, connect(settings.aws), True, stacks.DEFAULT_PACE)
    except InputError:
        steps = None
    if steps and steps.reachable:
        region = steps.account.region
        chosen = options(release, settings, region)
        where = surroundings.look(steps.account, settings.aws, types=types(chosen))
    else:
        region = steps.account.region if steps else settings.aws.region or surroundings.SOMEWHERE
        chosen, where = options(release, settings, region), surroundings.somewhere(settings.aws)
    account = steps.account if steps and steps.reachable else None
    passages = [
        ingress.passage(account, release, one, where.network, where.zone, settings.aws.certificate)
        for one in release.ingresses
    ]
    wrong = (
        *checks.problems(release, where.network, where.zone, chosen),
        *_of_ingresses(passages, release),
    )
    if wrong:
        raise InputError(wrong)
    links = tuple(one.link for one in passages)
    made = [entrances.template(one.prepared, one.found.template) for one in passages]
    made.append(template.template(release, unmade(release), where.network, where.zone, chosen, links=links))
    return "".join(json.dumps(one, indent=2) + "\n" for one in made)


def types(chosen: Options) -> tuple[str, ...]:
    return (chosen.instance_type,) if chosen.instance_type else ()


def unmade(release: Release) -> Ami:
    """Stands for the AMI of a release until it is made."""
    size = release.disk.stat().st_size if release.disk else 0
    return Ami(NEW_AMI, release.image.id, size)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Steps:
    """One account and region. `ask`: as AwsProvider.ask."""

    def __init__(self, settings: Settings, reached: Session, ask: bool, pace: Pace) -> None:
        self.settings, self.ask, self.pace = settings, ask, pace
        self.volumes = False
        self.account = Account(reached)
        self._session = reached
        self._folder = settings.state_dir / "aws" / reached.region

    @cached_property
    def reachable(self) -> bool:
        """Whether AWS answers at all; asked once, and without patience."""
        return answers(self._session)

    @property
    def offline(self) -> bool:
        return self.ask and not self.reachable

    # --- looking ------------------------------------------------------------------------------

    def observe(self, key: str) -> Deployment | None:
        if self.offline:
            return None
        found = self.find(key)
        if found.stack is None or found.stack.status == "REVIEW_IN_PROGRESS":
            return None
        if found.stand is None:
            return next((one for one in self.list() if one.key == key), None)
        return observe.deployment(self.account, found.stack, found.stand.record)

    def list(self) -> Sequence[Deployment]:
        return () if self.offline else observe.deployments(self.account)

    def find(self, key: str) -> Found:
        """The stack of this deployment. Raises OperationError for one that is somebody else's."""
        name = stack_name(key)
        with explained(f"looking for the stack {name}"):
            stack = stacks.find(self.account.cloudformation, name)
        if stack is None:
            seen.forget(self._folder, name)
            return Found()
        stacks.refuse_foreign(stack)
        found = self.stand(stack)
        if found:
            seen.remember(self._folder, name, found.template)
        return Found(stack, found)

    def stand(self, stack: Stack) -> Stand | None:
        """How a deployment's stack stands; None for one that holds nothing."""
        with explained(f"reading the template of the stack {stack.name}"):
            found = stacks.template(self.account.cloudformation, stack)
        return Stand(record.of(found), found, stack.outputs) if found else None

    def others(self, key: str) -> Sequence[Stand]:
        """The other deployments that serve, by their stacks' names."""
        near = [
            one
            for one in stacks.deployments(self.account.cloudformation)
            if one.tags[DEPLOYMENT] != key and (one.serves or one.busy) and "DELETE" not in one.status
        ]

        def read(stack: Stack) -> Stand | None:
            try:
                return self.stand(stack)
            except OperationError:  # of another version of i2kit
                return None

        if not near:
            return ()
        with ThreadPoolExecutor(WORKERS, "others") as pool:
            return [one for one in pool.map(read, near) if one]

    def logs(
        self, key: str, *, container: str | None, replica: int | None, follow: bool
    ) -> Iterator[tuple[str, str, str]]:
        return observe.lines(self.account, key, container=container, replica=replica, follow=follow)

    def images(self) -> Sequence[PlacedImage]:
        return upkeep.images(self.account)

    def remove_image(self, image: PlacedImage, watch: Watcher) -> None:
        upkeep.remove_image(self.account, image, watch)

    # --- history ------------------------------------------------------------------------------

    def history(self, key: str) -> Sequence[Revision]:
        found = self.find(key)
        if found.stack is None or found.stand is None:
            return ()
        one = found.stand.record
        there = {each.ami.id for each in ami.owned(self.account.images)}
        attempts = self.attempts(found.stack)
        running = [number for number, _, done in attempts if not done.ended and not done.failed]
        known = seen.failures(self._folder, found.stack.name)
        failed = {
            number: known.get(number, done.outcome.cause)
            for number, _, done in reversed(attempts)
            if done.failed
        }
        # A stack that could not be rolled back, or is being, still says what it should have become.
        serving = one.history[-1] if one.revision in failed and one.history else one
        made = [
            _revision(each, "serving" if each is serving else "superseded", kept=each.ami.id in there)
            for each in one.history
        ]
        latest = _revision(
            one, "rolling out" if one.revision in running else "serving", kept=one.ami.id in there
        )
        if one.revision in failed:
            latest = replace(latest, outcome="failed", reason=failed[one.revision])
        made.append(latest)
        for number, image, done in attempts:
            if number != one.revision and (done.failed or not done.ended):
                made.append(
                    Revision(
                        number,
                        image,
                        (),
                        "",
                        done.began_at,
                        "failed" if done.failed else "rolling out",
                        kept=False,
                        reason=failed.get(number, ""),
                    )
                )
        return sorted(made, key=lambda each: (each.created_at, each.number))

    def attempts(self, stack: Stack) -> Sequence[tuple[int, str, stacks.Operation]]:
        """The deploys of new revisions: number, how the machine image begins, and what came of it."""
        return [
            (int(match["revision"]), match["image"], one)
            for one in stacks.operations(self.account.cloudformation, stack)
            if (match := TOKEN.fullmatch(one.token))
        ]

    # --- planning -----------------------------------------------------------------------------

    def plan(self, key: str, wanted: Wanted | None, found: Deployment | None) -> Plan:
        if self.offline:
            if isinstance(wanted, Release):
                return self.plan_offline(key, wanted)
            raise OperationError("AWS cannot be reached", hint="only new releases can be planned without it")
        there = self.find(key)
        if wanted is None:
            return self.plan_removal(key, found, there)
        if isinstance(wanted, Release):
            return self.plan_release(key, wanted, found, there)
        if there.stack is None or there.stand is None:
            raise OperationError(f"nothing named {key} runs on provider aws")
        if self.usable(there) is None:
            raise OperationError(
                f"{key} never served: its stack is {there.stack.status}",
                hint="deploy it again, from its files",
            )
        after = self.changed(there.stand, wanted)
        where = Surroundings(after.record.network, after.record.zone)
        passages = self.passages_again(after.record)
        decided = self.decided(key, after)
        after = revise.with_volumes(there.stand, after, decided.kept)
        if after is not there.stand and (wrong := self.problems(there.stand, after, where, decided)):
            raise InputError(wrong)
        planned = self.planned(key, wanted, found, there, after, where, decided, passages)
        if isinstance(wanted, Scale) and after.record.release.workload.scaling:
            return replace(planned, **self.sized(there.stack, after, wanted))
        return planned

    def sized(self, stack: Stack, after: Stand, wanted: Scale) -> dict[str, Any]:
        """What a plan says of another number of machines where AWS scales them."""
        was = self.scaled_to(after)
        if was == wanted.replicas:
            return {"actions": ()}
        made = Action("scale", f"group of machines {template.GROUP}", f"{was} → {wanted.replicas} machines")
        return {"actions": (*_first(stack), made), "notes": ("autoscaling goes on from there",)}

    def plan_release(self, key: str, wanted: Release, found: Deployment | None, there: Found) -> Plan:
        chosen = options(wanted, self.settings, self.account.region)
        try:
            where = surroundings.look(self.account, self.settings.aws, types=types(chosen))
        except InputError as error:
            # All at once: what else is wrong, wherever it goes.
            anywhere = surroundings.somewhere(self.settings.aws)
            more = checks.problems(wanted, anywhere.network, anywhere.zone, chosen)
            raise InputError(dict.fromkeys((*error.problems, *more))) from error
        before = self.usable(there)
        kept = Sets(self.account, key, sets.parameters(wanted))
        told = kept.planned(before.record if before else None)
        others = self.others(key)
        passages = self.passages(wanted, where, chosen, others)
        links = tuple(one.link for one in passages)
        there_now = Volumes(self.account, key).found(wanted.workload)
        decided = disks.decide(wanted.workload, where.network, there_now)
        image = self.ami(wanted, chosen, before)
        again = self.failed_job(before, wanted)
        place = Place(where.network, where.zone, image, chosen, told, links, decided.kept, again)
        after = revise.released(before, wanted, place, others, now())
        beside = revise.also_changed(after, others)
        wrong = (
            *(
                problem
                for one, _ in beside.values()
                for problem in checks.of_policies(one.record, one.template)
            ),
            *self.problems(before, after, where, decided, place),
            *_of_ingresses(passages, wanted),
        )
        if wrong:
            raise InputError(wrong)
        if again:
            where = replace(where, notes=(*where.notes, "it failed last time, and runs once more"))
        if after is not before and chosen.alarms:
            where = replace(where, notes=(*where.notes, *surroundings.notes(self.account, chosen)))
        where = replace(where, notes=(*where.notes, *revise.newly_meant(wanted, others)))
        planned = self.planned(key, wanted, found, there, after, where, decided, passages)
        return replace(planned, actions=(*planned.actions, *_beside(beside)))

    def passages(
        self, wanted: Release, where: Surroundings, chosen: Options, others: Sequence[Stand]
    ) -> tuple[Passage, ...]:
        """A release and its Ingresses, as they are and will be."""
        given = self.settings.aws.certificate
        wanted = replace(wanted, policies=(*wanted.policies, *revise.governing(wanted, others)))
        return tuple(
            ingress.passage(self.account, wanted, one, where.network, where.zone, given)
            for one in wanted.ingresses
        )

    def passages_again(self, one: Record) -> tuple[Passage, ...]:
        """The same of what has its Ingresses already, as their stacks say."""
        found = (ingress.again(self.account, one.governed, link) for link in one.links)
        return tuple(each for each in found if each)

    def plan_removal(self, key: str, found: Deployment | None, there: Found) -> Plan:
        """What goes, and which volumes stay."""
        kept = Volumes(self.account, key).theirs()
        actions = self.removals(key, there)
        if self.volumes:
            lost = "with all that is on it"
            actions += tuple(Action("remove", f"volume {one.claim} ({one.id})", lost) for one in kept)
            return Plan(key, None, found, actions)
        notes = tuple(f"the volume of the claim {one.claim} ({one.id}) stays" for one in kept)
        return Plan(key, None, found, actions, notes=notes)

    def failed_job(self, before: Stand | None, wanted: Release) -> bool:
        """Whether this is a job that failed, and so runs once more."""
        if before is None or wanted.workload.job is None or before.record.release.workload.job is None:
            return False
        with explained(f"looking at what runs of {before.record.key}"):
            return observe.phase(self.account, before.record) == "failed"

    def decided(self, key: str, after: Stand) -> disks.Decision:
        """What becomes of the volumes of a deployment that is changed."""
        workload = after.record.release.workload
        if not any(True for _ in disks.claims(workload)):
            return disks.Decision()
        there = Volumes(self.account, key).found(workload)
        return disks.decide(workload, after.record.network, there)

    def plan_offline(self, key: str, wanted: Release) -> Plan:
        """Compared with what this machine saw last, or with nothing."""
        chosen = options(wanted, self.settings, self.account.region)
        before = None
        if remembered := seen.recall(self._folder, stack_name(key)):
            with contextlib.suppress(OperationError):  # of another version of i2kit
                before = Stand(record.of(remembered), remembered)
        where = surroundings.somewhere(self.settings.aws)
        network, zone, notes = where.network, where.zone, where.notes
        if before:
            network, zone, notes = before.record.network, before.record.zone, ()
        same_image = before is not None and before.record.release.image.id == wanted.image.id
        found_ami = before.record.ami if before and same_image else unmade(wanted)
        told = ((before and before.record.secrets) or sets.NEW) if wanted.workload.secrets else ""
        given = self.settings.aws.certificate
        passages = [ingress.passage(None, wanted, one, network, zone, given) for one in wanted.ingresses]
        links = before.record.links if before else tuple(one.link for one in passages)
        there = {one.claim: one for one in before.record.volumes} if before else {}
        decided = disks.decide(wanted.workload, network, there)
        place = Place(network, zone, found_ami, chosen, told, links, decided.kept)
        after = revise.released(before, wanted, place, None, now())
        wrong = (
            *checks.problems(after.record.whole, network, zone, after.record.options),
            *_of_ingresses(passages, wanted),
        )
        if wrong:
            raise InputError(wrong)
        compared = (
            f"what this machine saw of it last, revision {before.record.revision}"
            if before
            else "nothing: this machine has never seen it"
        )
        said = f"AWS cannot be reached: compared with {compared}"
        if told and told != sets.NEW:
            said += "; whether secrets are others now is not known"
        old = before.template if before else None
        return Plan(
            key,
            wanted,
            None,
            (*_disks(decided), *revise.actions(old, after.template)),
            difference.images(old, after.template),
            cost.estimate(after.template),
            (
                said,
                *(f"the Ingress {one.key} is not compared" for one in wanted.ingresses),
                *notes,
                *(template.notes(after.record) if after is not before else ()),
                *_untold(after.record),
            ),
        )

    def planned(
        self,
        key: str,
        wanted: Wanted,
        found: Deployment | None,
        there: Found,
        after: Stand,
        where: Surroundings,
        decided: disks.Decision,
        passages: Sequence[Passage] = (),
    ) -> Plan:
        """In words, and with what CloudFormation says where that is wanted."""
        before = self.usable(there)
        old = before.template if before else None
        changed, notes = revise.changes(old, after.template), where.notes
        was = before.record.links if before else ()
        fronts = ingress.actions(self.account, key, passages, was)
        notes = (*notes, *(note for one in passages for note in entrances.notes(one.fresh)))
        made = where.to_make is None and not fronts
        if self.ask and after is not before and made and not _held(there.stack):
            order = Order(parts.dumps(after.template), template.tags(after.record.release))
            said = foresight.ask(self.account.cloudformation, stack_name(key), order, there.stack, self.pace)
            changed, more = foresight.judged(changed, said)
            notes = (*notes, *more)
        actions = [revise.action(one) for one in changed]
        actions += revise.endpoints(old, after.template) if old else []
        return Plan(
            key,
            wanted,
            found,
            (*_first(there.stack), *_network(where), *_disks(decided), *fronts, *actions),
            difference.images(old, after.template),
            _estimate(after, where, ingress.added(passages)),
            (
                *notes,
                *decided.notes,
                *(template.notes(after.record) if after is not before else ()),
                *_untold(after.record),
            ),
            again=isinstance(wanted, Release) and bool(list(revise.untold(after.record))),
        )

    def changed(self, before: Stand, wanted: Rollback | Scale | Front, watch: Watcher | None = None) -> Stand:
        """What runs, as it should be; with `watch`, Ingresses are made to lead there too.

        Raises OperationError for a revision that is not kept.
        """
        if isinstance(wanted, Scale):
            return revise.scaled(before, wanted.replicas)
        if isinstance(wanted, Front):
            return revise.fronted(before, wanted)
        after = self.gone_back(before, wanted)
        if after is before:
            return before
        return self.led(after, watch)

    def led(self, after: Stand, watch: Watcher | None) -> Stand:
        """With its Ingresses as they are led to it then; with `watch`, they are made to."""
        links = (
            ingress.make(self.account, one, watch, self.pace) if watch else one.link
            for one in self.passages_again(after.record)
        )
        return revise.linked(after, tuple(links))

    def gone_back(self, before: Stand, wanted: Rollback) -> Stand:
        target = revise.revision(before.record, wanted.to)
        there = {one.ami.id for one in ami.owned(self.account.images)}
        if target.ami.id not in there:
            kept = [str(one.revision) for one in before.record.history if one.ami.id in there]
            raise OperationError(
                f"{target.key} cannot go back to revision {target.revision}: its AMI {target.ami.id} is gone",
                hint=f"these are kept: {', '.join(kept)}" if kept else "deploy it again, from its files",
            )
        if target.secrets and target.secrets not in Sets(self.account, target.key).names():
            raise OperationError(
                f"{target.key} cannot go back to revision {target.revision}: its secrets are gone from "
                "Parameter Store",
                hint="deploy it again, from its files",
            )
        return revise.rolled_back(before, wanted, self.others(target.key), now(), self.scaled_to(before))

    def scaled_to(self, before: Stand) -> int | None:
        """How many machines there are of what AWS scales."""
        if before.record.release.workload.scaling is None:
            return None
        with explained(f"looking at what runs of {before.record.key}"):
            return observe.group(self.account, before.record.key, (before.record,)).wanted or None

    def problems(
        self,
        before: Stand | None,
        after: Stand,
        where: Surroundings,
        decided: disks.Decision,
        place: Place | None = None,
    ) -> tuple[Problem, ...]:
        """All that is wrong with this deployment, as far as that can be told beforehand."""
        one = after.record
        chosen = place.options if place else one.options
        wrong = [
            *(
                checks.problems(one.whole, where.network, where.zone, chosen)
                or checks.of_policies(one, after.template)
            ),
            *decided.problems,
        ]
        if place:
            wrong += surroundings.problems(self.account, one.whole, where, chosen)
            wrong += checks.of_update(before.template, after.template) if before else ()
        return tuple(dict.fromkeys(wrong))

    def ami(self, wanted: Release, chosen: Options, before: Stand | None) -> Ami:
        """The AMI of a release, as far as there is one."""
        if wanted.disk is None:
            there = before.record.ami if before else None
            return there if there and there.image == wanted.image.id else unmade(wanted)
        found = ami.find(self.account.images, ami.survey(wanted.disk, chosen.architecture))
        return replace(unmade(wanted), id=found.id) if found else unmade(wanted)

    def usable(self, found: Found) -> Stand | None:
        """What a deploy starts from: nothing of a stack that never served."""
        return None if found.stack is None or found.stack.status in stacks.DEAD else found.stand

    def removals(self, key: str, found: Found) -> tuple[Action, ...]:
        """What goes with a deployment; what an interrupted run has left of one that is gone."""
        if found.stack:
            made = [Action("remove", f"stack {found.stack.name}")] if found.stand is None else []
            if found.stand:
                made += revise.actions(found.stand.template, None)
                one = found.stand.record
                made += ingress.actions(self.account, key, (), one.links)
                made += _beside(revise.also_changed(None, self.others(key)))
                for id_ in dict.fromkeys(each.ami.id for each in (*one.history, one)):
                    made.append(Action("remove", f"AMI {id_}", "unless another deployment needs it"))
                if any(each.secrets for each in (*one.history, one)):
                    made.append(Action("remove", f"secrets {sets.folder(key)}"))
            return tuple(made)
        return tuple(Action("remove", what, "an interrupted run has left it") for what in self.left(key))

    def left(self, key: str) -> Iterator[str]:
        """What is there of a deployment without a stack, and the shared network where nobody needs it."""
        for one in ingress.having(self.account, key):
            yield f"target groups of {key} in the Ingress {one}"
        for image in upkeep.images(self.account):
            if key in image.keys and not image.used_by:
                yield f"AMI {image.id}"
        yield from (f"secrets {sets.path(key, id_)}" for id_ in Sets(self.account, key).names())
        kept = {id_ for one in ami.owned(self.account.images) for id_ in one.snapshots}
        with explained(f"looking for snapshots of {key}"):
            pages = self.account.ec2.get_paginator("describe_snapshots").paginate(
                OwnerIds=["self"], Filters=[{"Name": f"tag:{DEPLOYMENT}", "Values": [key]}]
            )
            yield from (
                f"snapshot {one['SnapshotId']}"
                for page in pages
                for one in page["Snapshots"]
                if one["SnapshotId"] not in kept
            )
            network = stacks.find(self.account.cloudformation, NETWORK_STACK)
        if network and not self.network_users(network):
            yield f"shared network {NETWORK_STACK}"

    # --- applying -----------------------------------------------------------------------------

    def apply(self, plan: Plan, watch: Watcher) -> Deployment | None:
        if plan.wanted is None:
            self.remove(plan.key, watch)
            return None
        try:
            return self.make(plan, watch)
        except FirstDeployError:
            raise
        except NotReadyError as error:
            raise FirstDeployError(error.message, hint=error.hint) from error

    def make(self, plan: Plan, watch: Watcher) -> Deployment:
        wanted, key = plan.wanted, plan.key
        assert wanted is not None
        if not plan.actions:
            found = self.find(key)
            if found.stack is None or found.stand is None:
                raise OperationError(f"{key} was removed by somebody else meanwhile")
            return self.awaited(found.stack, found.stand, watch)
        if isinstance(wanted, Scale) and (sized := self.find(key)).stand and sized.stack:
            scaling = sized.stand.record.release.workload.scaling
            if scaling:
                self.size(sized.stack, wanted.replicas)
                return self.awaited(sized.stack, sized.stand, watch)
        published: Ami | None = None
        where: Surroundings | None = None
        chosen: Options | None = None
        if isinstance(wanted, Release):
            chosen = options(wanted, self.settings, self.account.region)
            where = surroundings.look(self.account, self.settings.aws, types=types(chosen))
            published = self.published(wanted, chosen, watch)
        kept = Sets(self.account, key, sets.parameters(wanted) if isinstance(wanted, Release) else {})
        volumes = Volumes(self.account, key)
        after: Stand | None = None
        first = False
        running: Update | None = None

        links: tuple[Link, ...] = ()
        was: tuple[Link, ...] = ()

        def order(stack: Stack | None) -> Order:
            nonlocal after, first, running, was
            before = self.stand(stack) if stack else None
            first = before is None
            was = before.record.links if before else ()
            if isinstance(wanted, Release):
                assert published and where and chosen
                told = kept.placed(before.record if before else None, watch)
                decided = disks.decide(wanted.workload, where.network, volumes.found(wanted.workload))
                if decided.problems:
                    raise InputError(decided.problems)
                ours = volumes.place(decided, watch)
                again = self.failed_job(before, wanted)
                place = Place(where.network, where.zone, published, chosen, told, links, ours, again)
                after = revise.released(before, wanted, place, self.others(key), now())
            elif before is None or wanted is None:
                raise OperationError(f"{key} was removed by somebody else meanwhile")
            else:
                after = self.changed(before, wanted, watch)
                decided = self.decided(key, after)
                if decided.problems:
                    raise InputError(decided.problems)
                after = revise.with_volumes(before, after, volumes.place(decided, watch))
            if before and before.groups - after.groups:
                # What others name cannot be removed.
                self.admit(watch, without=key)
            if stack and before and after.record.revision > before.record.revision:
                numbers = [number for number, _, one in self.attempts(stack) if one.failed]
                after = revise.numbered(before, after, max(numbers, default=0) + 1)
                running = update.begun(self.account, after.record, watch, self.pace)
            return Order(
                parts.dumps(after.template), template.tags(after.record.release), _token(before, after)
            )

        try:
            if where:
                # Late, so that nobody removes it as unused while the upload takes its time.
                where = surroundings.make(self.account, where, self.settings.aws, watch, pace=self.pace)
            if isinstance(wanted, Release) and where and chosen:
                links = tuple(
                    ingress.make(self.account, one, watch, self.pace)
                    for one in self.passages(wanted, where, chosen, self.others(key))
                )
            stack = stacks.revise(
                self.account.cloudformation,
                stack_name(key),
                order,
                watch,
                pace=self.pace,
                look=lambda events: running.look(events) if running else "",
            )
        except I2kitError as error:
            if published:
                self.take_back(key, after, kept, watch)
                if first:
                    self.drop(volumes, watch)
            if isinstance(error, RolloutError) and running:
                raise self.told(error, running) from error
            raise
        made = self.stand(stack)
        if made is None:
            raise OperationError(f"{key} was removed by somebody else meanwhile")
        kept.tidy(made.record)
        self.admit(watch)
        self.settle(made.record, was, watch)
        workload = made.record.release.workload
        if first and workload.scaling and workload.scaling.least < workload.replicas:
            # A number in the template would be brought back by each update, however many there are then.
            self.size(stack, workload.replicas)
        try:
            return self.awaited(stack, made, watch)
        except observe.JobFailedError:
            raise
        except NotReadyError as error:
            if first:
                failed = self.undone(key, error, watch)
                self.drop(volumes, watch)
                raise failed from error
            raise

    def admit(self, watch: Watcher, *, without: str = "") -> None:
        """Have network policies hold for, and mean, all deployments that there are now, but for one."""
        there = self.others("")
        for one in there:
            others = [each for each in there if each.record.key not in (one.record.key, without)]
            if one.record.key == without or revise.admitted(one, others) is one:
                continue

            def order(stack: Stack | None, others: Sequence[Stand] = others) -> Order:
                before = self.stand(stack) if stack else None
                if before is None:
                    raise OperationError("a deployment was removed by somebody else meanwhile")
                after = revise.admitted(before, others)
                after = self.led(after, watch)
                made = parts.dumps(after.template)
                return Order(made, template.tags(after.record.release), _token(before, after))

            watch(Note(f"the network policies of {one.record.key} change with that"))
            client = self.account.cloudformation
            stacks.revise(client, stack_name(one.record.key), order, watch, pace=self.pace)
            self.settle(revise.admitted(one, others).record, (), watch)

    def tidy_names(self, one: Record, serving: Deployment, watch: Watcher) -> None:
        """Remove the records of machines that are no more."""
        workload = one.release.workload
        there = {each.id for each in serving.instances} | {workload.hostname}
        if workload.stateful:
            there |= {f"{workload.name}-{number}" for number in range(workload.replicas)}
        names.tidy(self.account, one, there.__contains__, watch)

    def settle(self, one: Record, was: Sequence[Link], watch: Watcher) -> None:
        """Have Ingresses lead to what there is now, and those go that nothing has any more."""
        there = {each.key for each in one.links}
        for key in sorted({each.key for each in was} | there):
            release = one.governed if key in there else None
            weights = lambda: self.weights(one.key)  # noqa: E731
            ingress.settle(self.account, key, one.key, release, watch, self.pace, weights=weights)

    def weights(self, key: str) -> Mapping[str, int]:
        """How many calls the other deployments should get."""
        return {one.record.key: parts.weight(one.record.release.workload) for one in self.others(key)}

    def size(self, stack: Stack, replicas: int) -> None:
        """Have a group that AWS scales go on from so many machines."""
        with explained(f"scaling the group of the stack {stack.name}"):
            self.account.autoscaling.set_desired_capacity(
                AutoScalingGroupName=stack.outputs[template.GROUP], DesiredCapacity=replicas
            )

    def told(self, error: RolloutError, running: Update) -> RolloutError:
        """With what the new machines said, which `history` has then too."""
        cause = error.message.rpartition(stacks.ROLLED_BACK)[2]
        about, *log = running.last_words() or ("",)
        more = [about] if about and about not in cause else []
        one = running.record
        reason = "; ".join((cause, *more, *log[-1:]))
        seen.note_failure(self._folder, stack_name(one.key), one.revision, reason)
        lines = (*(f"  {line}" for line in more), *(f"    {line}" for line in log))
        return RolloutError("\n".join((error.message, *lines)), hint=error.hint)

    def undone(self, key: str, error: NotReadyError, watch: Watcher) -> FirstDeployError:
        """Take down what never served, so that a failed first deploy leaves and costs nothing."""
        watch(Note(f"{key} is taken down again: nothing of it ever served"))
        try:
            self.remove(key, watch)
        except OperationError as failed:
            watch(Warned(failed.message))
            return FirstDeployError(error.message, hint=failed.hint)
        hint = "mend the image or the manifest and deploy again; nothing of it is left"
        return FirstDeployError(error.message, hint=hint)

    def published(self, wanted: Release, chosen: Options, watch: Watcher) -> Ami:
        if wanted.disk is None:
            raise OperationError(f"{wanted.workload.key} has no disk to make an AMI of")
        made = ami.publish(
            self.account.images,
            wanted.disk,
            image=wanted.image.id,
            architecture=chosen.architecture,
            tags=((DEPLOYMENT, wanted.workload.key),),
            watch=watch,
        )
        return replace(unmade(wanted), id=made.ami.id)

    def awaited(self, stack: Stack, stand: Stand, watch: Watcher) -> Deployment:
        """Until all machines serve; then no name leads to one that is gone."""
        seen.remember(self._folder, stack.name, stand.template)
        try:
            serving = observe.wait(self.account, stack, stand.record, watch, self.pace)
        except observe.JobFailedError:
            # What of it still runs is of no use.
            group = next(value for id_, value in stack.outputs.items() if template.is_group(id_))
            with explained(f"ending the machines of {stand.record.key}"):
                self.account.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)
            raise
        self.tidy_names(stand.record, serving, watch)
        return serving

    def take_back(self, key: str, after: Stand | None, kept: Sets, watch: Watcher) -> None:
        """After a failed deploy, remove AMI and secrets that were made for it, unless something needs them.

        Where an operation still runs, or AWS can't be reached, everything stays for the next run.
        """
        with contextlib.suppress(OperationError):
            found = self.find(key)
            if found.stack and found.stack.busy:
                return
            upkeep.forget(self.account, key, after.record if after else None, watch)
            kept.tidy(found.stand.record if found.stand else None, own=True)
            if found.stack is None:
                self.leave(key, watch)
            elif found.stand:
                self.settle(found.stand.record, (), watch)
            if found.stack is None and stacks.find(self.account.cloudformation, NETWORK_STACK):
                watch(Note(f"the shared network {NETWORK_STACK} stays; its hosted zone costs $0.50 a month"))

    def drop(self, volumes: Volumes, watch: Watcher) -> None:
        """After a failed first deploy, remove the volumes that it made: nothing that counts is on them."""
        with contextlib.suppress(OperationError):
            if self.find(volumes.key).stack is None:
                volumes.remove(volumes.made, watch, self.pace)

    def remove(self, key: str, watch: Watcher) -> None:
        name = stack_name(key)
        client = self.account.cloudformation
        found = self.find(key)
        # Twice: nobody would know of these names after an interruption, and machines may still come.
        if found.stand:
            names.tidy(self.account, found.stand.record, lambda _: False, watch)
        if found.stack:
            self.admit(watch, without=key)
            stacks.delete(client, name, watch, pace=self.pace)
        if found.stand:
            names.tidy(self.account, found.stand.record, lambda _: False, watch)
        self.leave(key, watch)
        seen.forget(self._folder, name)
        Sets(self.account, key).remove()
        volumes = Volumes(self.account, key)
        if self.volumes:
            volumes.remove(volumes.theirs(), watch, self.pace)
        upkeep.forget(self.account, key, found.stand.record if found.stand else None, watch)
        self.remove_network(watch)

    def leave(self, key: str, watch: Watcher) -> None:
        """Have Ingresses forget a deployment that is gone, and those go that nothing has any more."""
        there = ingress.alive(self.account) - {key}
        for one in ingress.having(self.account, key):
            ingress.settle(self.account, one, key, None, watch, self.pace, alive=there)

    def remove_network(self, watch: Watcher) -> None:
        """The shared network goes with the last deployment."""
        client = self.account.cloudformation
        with explained(f"looking for the stack {NETWORK_STACK}"):
            network = stacks.find(client, NETWORK_STACK)
        if network is None:
            return
        if users := self.network_users(network):
            watch(Note(f"the shared network {NETWORK_STACK} stays: it is used by {', '.join(users)}"))
            return
        try:
            stacks.delete(client, NETWORK_STACK, watch, pace=self.pace)
        except OperationError as error:
            watch(Note(f"the shared network {NETWORK_STACK} stays: {error.message}"))
        else:
            watch(Note(f"removed the shared network {NETWORK_STACK}: no deployment is left"))

    def network_users(self, network: Stack) -> Sequence[str]:
        """What would miss it: deployments, and whatever else has an address there."""
        found = [one.tags[DEPLOYMENT] for one in stacks.deployments(self.account.cloudformation)]
        found += [f"the Ingress {one}" for one in ingress.keys(self.account)]
        if found:
            return found
        if "i2kit:network" not in network.tags:
            return ["whoever made it: it has no tag of i2kit's"]
        vpc = network.outputs.get("Vpc")
        if vpc is None:
            return ()
        with explained(f"looking for what is in the network {vpc}"):
            pages = self.account.ec2.get_paginator("describe_network_interfaces").paginate(
                Filters=[{"Name": "vpc-id", "Values": [vpc]}]
            )
            return [one["NetworkInterfaceId"] for page in pages for one in page["NetworkInterfaces"]]


def _revision(one: Record, outcome: str, *, kept: bool) -> Revision:
    return Revision(
        number=one.revision,
        image=one.release.image.id,
        containers=one.release.image.containers,
        manifest=one.manifest,
        created_at=one.created_at,
        outcome=outcome,  # type: ignore[arg-type]
        kept=kept,
    )


def _token(before: Stand | None, after: Stand) -> str:
    """Another one each time: AWS takes a token once."""
    once = secrets.token_hex(4)
    if before and before.record.revision == after.record.revision:
        return f"i2kit-change-{once}"
    return f"i2kit-r{after.record.revision}-{after.record.release.image.id[:SHORT]}-{once}"


def _beside(found: Mapping[str, tuple[Stand, str]]) -> tuple[Action, ...]:
    """Other deployments that change with one."""
    return tuple(Action("change", f"network policies of {key}", reason) for key, (_, reason) in found.items())


def _held(stack: Stack | None) -> bool:
    """Whether CloudFormation would not take a change set for it now."""
    return stack is not None and not stack.serves and stack.status != "REVIEW_IN_PROGRESS"


def _disks(decided: disks.Decision) -> Sequence[Action]:
    """The volumes that are made or grow."""
    made = [
        Action("create", f"volume {one.claim}", f"{one.gib} GiB of {one.type} in {one.zone}")
        for one in decided.made
    ]
    sizes = {one.id: one.gib for one in decided.kept}
    return [
        *made,
        *(
            Action("change", f"volume {one.claim} ({one.id})", f"{one.gib} → {sizes[one.id]} GiB")
            for one in decided.grown
        ),
    ]


def _first(stack: Stack | None) -> Sequence[Action]:
    """What has to happen to a stack before it can be changed."""
    if stack is None or stack.serves or stack.status == "REVIEW_IN_PROGRESS":
        return ()
    what = f"stack {stack.name}"
    if stack.status in stacks.DEAD:
        return (Action("remove", what, f"it is {stack.status}: nothing of it ever served"),)
    if stack.busy:
        return (Action("keep", what, f"it is {stack.status}: that is waited for first"),)
    return (Action("change", what, f"it is {stack.status}: that is put right first"),)


def _network(where: Surroundings) -> Sequence[Action]:
    """The shared network, or what it lacks, where that is to be made."""
    if where.to_make is None:
        return ()
    made = (revise.action(one) for one in revise.changes(where.there, where.to_make))
    return [replace(one, reason=f"of the shared network {NETWORK_STACK}") for one in made]


def _of_ingresses(passages: Sequence[Passage], wanted: Release) -> Iterator[Problem]:
    """All that is wrong with them: each by itself, its secrets, and one host in two of them."""
    hosts: dict[str, str] = {}
    for one in passages:
        entrance, there = one.prepared, one.found.entrance
        yield from ingress_checks.problems(entrance, there, wanted.services)
        yield from ingress_checks.of_secrets(entrance)
        for host in entrances.named(entrance):
            if hosts.setdefault(host, entrance.ingress.name) != entrance.ingress.name:
                yield ingress_checks.twice(entrance, host, hosts[host])


def _estimate(after: Stand, where: Surroundings, more: Mapping[str, Any]) -> Estimate:
    """With what is made for it beside its own stack."""
    there = where.there["Resources"] if where.there else {}
    to_make = where.to_make["Resources"] if where.to_make else {}
    added = {id_: one for id_, one in to_make.items() if id_ not in there}
    resources = {**added, **more, **after.template["Resources"]}
    return cost.estimate({**after.template, "Resources": resources})


def _untold(one: Record) -> Sequence[str]:
    return [
        f"machines of {one.key} are not told where {key} is: deploy that first, or name a hosted zone"
        for key in revise.untold(one)
    ]
