"""Where deployments go: the network and the hosted zone that were given, found, or are to be made.

In: settings. Out: Surroundings, or InputError with all that is wrong with what was given. `look` and
`problems` only read; `make` makes the shared network and nothing else; `somewhere` asks nobody.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from i2kit.errors import I2kitError, InputError, OperationError, Problem
from i2kit.events import Watcher
from i2kit.model import Release
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import DENIED, code, explained, hint_for
from i2kit.providers.aws.design.names import CLUSTER
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.place import hosted_zones, reality, vpc
from i2kit.providers.aws.place.network import (
    NO_VPC,
    NO_ZONE,
    TAGS,
    best,
    network_of,
    network_template,
    not_made_yet,
    with_zone,
)
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.values import NETWORK_STACK, Network, Options, Subnet, Zone
from i2kit.settings import AwsSettings

COMMON_TYPES = ("t3.micro", "t4g.micro", "m7i.large", "m7g.large")
"""One of each family that is chosen from: a shared network is rather in zones that have all of them."""

SOMEWHERE = "us-east-1"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where one deployment goes.

    While `to_make` (the shared network's template) is not None, `network` and `zone` may have ids that
    only stand for what is made. `there` is the template of the shared network that is added to. `notes` are
    for people.
    """

    network: Network
    zone: Zone | None
    to_make: Mapping[str, Any] | None = None
    there: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def look(account: Account, given: AwsSettings, *, types: Collection[str] = ()) -> Surroundings:
    """What was given, else the shared network as it is or as it would be made. Changes nothing.

    `types` are the instance types that are wanted, as far as they are known; else the given one is.
    Raises InputError with every problem at once.
    """
    wrong = [*vpc.malformed(given)]
    if given.hosted_zone and (problem := hosted_zones.malformed(given.hosted_zone)):
        wrong.append(problem)
    if wrong:
        raise InputError(wrong)
    wanted = frozenset(types or filter(None, [given.instance_type]))
    if given.vpc or given.subnets or given.security_group:
        return _given(account, given, wanted)
    return _shared(account, given, wanted)


def make(
    account: Account,
    found: Surroundings,
    given: AwsSettings,
    watch: Watcher,
    *,
    pace: stacks.Pace = stacks.DEFAULT_PACE,
) -> Surroundings:
    """Make what `look` found to be missing, and wait for it. Any number of runs may do so at once.

    Raises OperationError with the cause; nothing of a first attempt stays.
    """
    if found.to_make is None:
        return found
    for _ in range(stacks.ATTEMPTS):
        if _deployed(account.cloudformation, found, watch, pace):
            made = look(account, given)
            if made.network.vpc != NO_VPC and _missing(made.zone) is None:
                # Another run may be adding to it: what this one needs is there.
                return replace(made, to_make=None)
    raise OperationError(
        f"somebody else changes or removes the stack {NETWORK_STACK} again and again",
        hint="find out who, then run this again",
    )


def problems(
    account: Account, release: Release, found: Surroundings, options: Options
) -> tuple[Problem, ...]:
    """What is wrong with deploying this release there as far as only AWS knows. Changes nothing."""
    return reality.problems(account, release, found.network, options)


def notes(account: Account, options: Options) -> tuple[str, ...]:
    """What AWS knows that would end an update now. Changes nothing."""
    return reality.notes(account, options)


def somewhere(given: AwsSettings) -> Surroundings:
    """What could be there, for showing a template without asking AWS."""
    region = given.region or SOMEWHERE
    subnets = tuple(
        Subnet(id_, f"{region}{letter}") for id_, letter in zip(given.subnets, "abcdef", strict=False)
    )
    made = not_made_yet([f"{region}a", f"{region}b"])
    network = Network(given.vpc or NO_VPC, made.cidrs, subnets or made.subnets, given.security_group)
    notes = ["nothing was asked of AWS: ids, zones and what is public are only assumed"]
    ours = not (given.vpc or given.subnets or given.security_group)
    inner = Zone(NO_ZONE, CLUSTER, private=True) if ours else None
    zone = None if given.hosted_zone else inner
    if given.hosted_zone and hosted_zones.is_id(given.hosted_zone):
        zone = Zone(hosted_zones.plain(given.hosted_zone), "example.com", private=False, inner=inner)
        notes.append(f"the hosted zone {zone.id} is taken to be {zone.name}")
    elif given.hosted_zone:
        name = hosted_zones.plain(given.hosted_zone)
        private = hosted_zones.is_ours(name)
        zone = Zone(NO_ZONE, name, private, None if private else inner)
    return Surroundings(network, zone, notes=tuple(notes))


# --- a network that was given -----------------------------------------------------------------


def _given(account: Account, given: AwsSettings, types: Collection[str]) -> Surroundings:
    zones = _zones(account)
    offering = _offering(account, zones, types)
    nowhere = [] if offering else [_nowhere(account, types)]
    facts = vpc.read(account, given, zones, offering or zones, types)
    choice = vpc.choose(given, facts, account.region)
    zone = _named(account, given, choice.network, ours=False)
    wrong = [*nowhere, *choice.problems, *([zone.problem] if zone.problem else [])]
    if choice.network and zone.zone and zone.zone.private:
        problem = hosted_zones.names_work(account, choice.network.vpc)
        wrong += [problem] if problem else []
    if wrong or choice.network is None:
        raise InputError(wrong)
    if not (zone.zone and zone.zone.private):
        zone = _beside(account, choice.network, zone)
    return Surroundings(choice.network, zone.zone, notes=(*choice.notes, *zone.notes))


def _beside(account: Account, network: Network, named: hosted_zones.Choice) -> hosted_zones.Choice:
    """With the private zone of Kubernetes' names, where the network has one and we may look."""
    try:
        found = _named(account, AwsSettings(hosted_zone=CLUSTER), network, ours=False)
    except OperationError as error:
        if error.__cause__ and code(error.__cause__) in DENIED:
            return named
        raise
    inner = found.zone if found.zone and found.zone.private else None
    problem = hosted_zones.names_work(account, network.vpc) if inner else found.problem
    if inner and problem is None:
        return replace(named, zone=replace(named.zone, inner=inner) if named.zone else inner)
    note = "machines do not find services by the names that they have in Kubernetes"
    hint = f". For that, {problem.hint}" if problem and problem.hint else ""
    return replace(named, notes=(*named.notes, note + hint))


def _missing(zone: Zone | None) -> str | None:
    """The name of what has to be made."""
    return next((one.name for one in (zone, zone and zone.inner) if one and one.id == NO_ZONE), None)


def _named(
    account: Account, given: AwsSettings, network: Network | None, *, ours: bool
) -> hosted_zones.Choice:
    """The hosted zone that was named. Without a network all that can be said is whether there is one."""
    if not given.hosted_zone:
        return hosted_zones.Choice(None)
    candidates, others = hosted_zones.read(account, given.hosted_zone)
    if network is None:
        if candidates:
            return hosted_zones.Choice(None)
        network = not_made_yet([])
    return hosted_zones.choose(given.hosted_zone, candidates, others, network, account.region, ours=ours)


# --- the shared network -----------------------------------------------------------------------


def _shared(account: Account, given: AwsSettings, types: Collection[str]) -> Surroundings:
    """The stack as it is, else as it would be made. A private zone that it lacks is added to it."""
    stack, template = _stack(account)
    there = template
    if stack and template:
        network, _ = network_of(template, stack.outputs)
    else:
        template = network_template(_best_zones(account, types))
        descriptions = {id_: one.get("Description", "") for id_, one in template["Outputs"].items()}
        network = not_made_yet([zone for id_, zone in descriptions.items() if id_.startswith("Subnet")])

    def named(name: str) -> hosted_zones.Choice:
        if stack and there and (known := network_of(there, stack.outputs, hosted_zones.plain(name))[1]):
            return hosted_zones.Choice(known)
        return _named(account, replace(given, hosted_zone=name), network, ours=True)

    choice = named(given.hosted_zone or CLUSTER)
    if choice.zone and not choice.zone.private:
        beside = named(CLUSTER)
        notes = (*choice.notes, *beside.notes)
        choice = replace(choice, zone=replace(choice.zone, inner=beside.zone), notes=notes)
    if choice.problem:
        raise InputError([choice.problem])
    missing = _missing(choice.zone)
    whole = stack is not None and stack.serves and missing is None
    to_make = None if whole else with_zone(template, missing) if missing else template
    return Surroundings(network, choice.zone, to_make, there, choice.notes)


def _stack(account: Account) -> tuple[stacks.Stack | None, Mapping[str, Any] | None]:
    """The shared network's stack, and its template where it has come to be once."""
    with explained(f"looking for the stack {NETWORK_STACK}"):
        stack = stacks.find(account.cloudformation, NETWORK_STACK)
        if stack is None or stack.status == "REVIEW_IN_PROGRESS":
            return stack, None
        if not stack.tags.keys() & TAGS.keys():
            message = f"there is a stack {NETWORK_STACK} that i2kit did not make: it lacks our tag"
            raise InputError([Problem(message, hint="remove it, or give subnets with I2KIT_SUBNET")])
        there = stack.serves or stack.status.startswith("UPDATE_")
        return stack, stacks.template(account.cloudformation, stack) if there else None


def _deployed(client: Any, found: Surroundings, watch: Watcher, pace: stacks.Pace) -> bool:
    """False where another run, which began at the same moment, removed this one's change set."""
    missing = _missing(found.zone)

    def order(stack: stacks.Stack | None) -> stacks.Order:
        """Nothing goes of what is there by now: others may have made it in other zones, or added to it."""
        wanted = (stacks.template(client, stack) if stack else None) or found.to_make
        assert wanted
        return stacks.Order(dumps(with_zone(wanted, missing) if missing else wanted), TAGS)

    try:
        stacks.revise(client, NETWORK_STACK, order, watch, pace=pace)
    except I2kitError as error:
        if error.__cause__ and code(error.__cause__) == "ChangeSetNotFound":
            return False
        raise OperationError(error.message, hint=hint_for(error.message) or error.hint) from error
    return True


# --- availability zones -----------------------------------------------------------------------


def _zones(account: Account, *states: str) -> list[str]:
    """The ordinary zones of the region: Local Zones and Wavelength Zones lack most of what we need."""
    with explained("listing the availability zones"):
        found = account.ec2.describe_availability_zones()["AvailabilityZones"]
    return sorted(
        one["ZoneName"]
        for one in found
        if one.get("ZoneType", "availability-zone") == "availability-zone"
        and (not states or one["State"] in states)
    )


def _offering(account: Account, zones: Sequence[str], types: Collection[str]) -> list[str]:
    """The zones that have all of these instance types."""
    if not types:
        return list(zones)
    offers = reality.offers(account, types)
    return [zone for zone in zones if offers is None or set(types) <= offers.get(zone, set())]


def _best_zones(account: Account, types: Collection[str]) -> list[str]:
    """For a new network: zones that have the wanted types, and before others those with all common ones."""
    zones = _offering(account, _zones(account, "available"), types)
    if not zones:
        raise InputError([_nowhere(account, types)])
    common = _offering(account, zones, COMMON_TYPES)
    return best(zones, common)


def _nowhere(account: Account, types: Collection[str]) -> Problem:
    return Problem(
        f"no availability zone of {account.region} has {' and '.join(sorted(types)) or 'machines'}",
        hint="name another instance type, or another region",
    )
