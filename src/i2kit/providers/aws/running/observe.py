"""What runs: deployments as their stacks, groups and load balancers have them, and what machines write.

In: an account. Out: Deployments, and lines of logs. Only reads: `describe`, `list`, `get` and `filter`.
"""

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from i2kit.errors import NotReadyError, OperationError
from i2kit.events import Finished, Note, Progress, Replicas, Started, Watcher
from i2kit.model import Deployment, Endpoint, Instance, Job, spoken
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import code, explained
from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.design import jobs, record, template
from i2kit.providers.aws.design.balancing import balancers
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.running import health, stacks
from i2kit.providers.aws.running.health import Data, Machine
from i2kit.providers.aws.running.said import Said, said
from i2kit.providers.aws.running.stacks import DEFAULT_PACE, DEPLOYMENT, Pace, Stack
from i2kit.providers.aws.values import log_group, stack_name

WORKERS = 8
"""Calls at the same time, for what AWS tells of one thing only. So many connections the SDK keeps open."""

LISTENED_TO = 3
"""So many machines that are not ready are asked at a time for what they say of their pods."""

SAID_LINES = 100
"""How much of that counts."""

LAST_LINES = 10
"""How much of a machine's log an error carries."""

POLL_S = 2.0
"""How often logs are asked for more. All callers of an account together may ask ten times a second."""

OURS = "i2kit"
"""How the streams begin that are not of one machine."""

OVERLAP_MS = 120_000
"""How much of the log is asked for again: lines of one machine can arrive after later ones of others."""

MOST_SEEN = 20_000
"""How many events are kept in mind before those are forgotten that are not asked for again."""

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What could steer a terminal."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What AWS says of machines: groups by deployment, instances by id, targets by target group."""

    groups: Mapping[str, Sequence[Data]]
    vms: Mapping[str, Data]
    targets: Mapping[str, Sequence[Data]]


@dataclass(frozen=True, slots=True)
class Group:
    """The machines of one deployment, how many there should be, and those that powered themselves off."""

    machines: tuple[Machine, ...]
    wanted: int
    ended: tuple[Machine, ...] = ()


def group(account: Account, key: str, known: Sequence[Record]) -> Group:
    """As AWS has it now; machines that ended by themselves are those of the first record."""
    seen = _look(account, key)
    images = _images(account, seen, known)
    ended = health.ended(seen.vms, known[0].ami.id, images) if known else ()
    return Group(_machines(key, seen, images), _wanted(key, seen), ended)


def deployments(account: Account) -> Sequence[Deployment]:
    """All that there are, by key; also those that never served or are about to go."""
    all_ = stacks.deployments(account.cloudformation)
    # One that awaits review holds nothing yet, or is a killed run's.
    found = [stack for stack in all_ if stack.status != "REVIEW_IN_PROGRESS"]
    if not found:
        return ()
    with explained("looking at what runs"):
        known = records(account, found)
        seen = _look(account)
        images = _images(account, seen, known.values())
    made = [
        _deployment(
            stack,
            known.get(stack.id),
            Group(_machines(key, seen, images), _wanted(key, seen)),
            phase(account, known[stack.id]) if stack.id in known else "",
        )
        for stack in found
        for key in [_key(stack)]
    ]
    return sorted(made, key=lambda one: one.key)


def deployment(account: Account, stack: Stack, record: Record) -> Deployment:
    """The one that a stack is."""
    with explained(f"looking at what runs of {record.key}"):
        found = group(account, _key(stack), [record])
        return _deployment(stack, record, found, phase(account, record))


def records(account: Account, found: Sequence[Stack]) -> Mapping[str, Record]:
    """The records of these stacks by the stacks' ids, without those that this i2kit can't read."""
    client = account.cloudformation

    def read(stack: Stack) -> Record | None:
        with contextlib.suppress(OperationError):
            if told := stacks.template(client, stack):
                return record.of(told)
        return None

    with ThreadPoolExecutor(WORKERS, "template") as pool:
        pairs = zip(found, pool.map(read, found), strict=True)
        return {stack.id: one for stack, one in pairs if one}


def wait(
    account: Account,
    stack: Stack,
    record: Record,
    watch: Watcher,
    pace: Pace = DEFAULT_PACE,
    clock: Callable[[], float] | None = None,
) -> Deployment:
    """Until as many machines as wanted serve, all of the wanted image, and all others go.

    Raises NotReadyError where none gets ready, OperationError where only some do, with what AWS and the
    machines say. Leaves everything as it is.
    """
    with explained(f"waiting for the machines of {record.key}"):
        one = _Wait(account, stack, record, watch)
        if record.release.workload.job:
            return one.until_ended(record.release.workload.job, pace)
        return one.until_ready(pace, clock or pace.clock)


def ended(account: Account, record: Record) -> Sequence[jobs.Ended]:
    """The machines of a job's run that have finished, and their statuses."""
    words = {"logGroupName": log_group(record.key), "logStreamName": jobs.stream(record.revision)}
    found: list[jobs.Ended] = []
    token: dict[str, str] = {}
    while True:
        try:
            answer = account.logs.get_log_events(**words, **token, startFromHead=True)
        except ClientError as error:
            if code(error) == "ResourceNotFoundException":  # none has finished yet
                return ()
            raise
        said = (event["message"].split() for event in answer["events"])
        found += [(one[0], int(one[1])) for one in said if len(one) == 2 and one[1].isdigit()]
        # At the end it is the one that was asked with.
        if not answer["events"] or answer["nextForwardToken"] == token.get("nextToken"):
            return found
        token = {"nextToken": answer["nextForwardToken"]}


def phase(account: Account, record: Record) -> jobs.Phase | Literal[""]:
    """What a job has come to; nothing for what is none."""
    job = record.release.workload.job
    if job is None:
        return ""
    # Of what has no run there is nothing to read.
    return jobs.phase(job, () if job.schedule or job.suspended else ended(account, record))


class JobFailedError(NotReadyError):
    """A job came to nothing: what its machines wrote stays."""


@dataclass(slots=True)
class _Wait:
    account: Account
    stack: Stack
    record: Record
    watch: Watcher
    told: str = ""
    shown: tuple[Instance, ...] | None = None
    last: Machine | None = None
    """One that was not ready when we looked last: its log tells why."""

    def until_ready(self, pace: Pace, clock: Callable[[], float]) -> Deployment:
        key, workload = self.record.key, self.record.release.workload
        self.watch(Started(key, f"waiting for the machines of {key}"))
        best, since = -1 << 30, clock()
        pauses = pace.pauses()
        while True:
            found = group(self.account, key, [self.record])
            wanted = found.wanted if workload.scaling else workload.replicas
            machines = heard(self.account, self.record, found.machines)
            self.show(machines, wanted)
            staying = [one for one in machines if one.stays]
            new = [one for one in staying if one.ami == self.record.ami.id]
            ready = sum(one.instance.ready for one in new)
            if ready == wanted == len(staying):
                self.watch(Finished(key, f"{ready} of {wanted} ready"))
                return _deployment(self.stack, self.record, found)
            # That others go is progress as well.
            if (score := 2 * min(ready, wanted) - max(0, len(staying) - wanted)) > best:
                best, since, pauses = score, clock(), pace.pauses()
                self.watch(Progress(key, min(ready, wanted), wanted, "items"))
            detail = self.detail(new, missing=len(staying) < wanted)
            if detail and detail != self.told:
                self.told = detail
                self.watch(Note(detail))
            hopeless = not ready and any(one.hopeless for one in new)
            if hopeless or clock() - since > workload.progress_deadline_s:
                few = f"it has {len(new)} of {wanted} machines" if len(new) < wanted else ""
                raise self.given_up(ready, wanted, detail or few)
            pace.wait(next(pauses))

    def until_ended(self, job: Job, pace: Pace) -> Deployment:
        """Until a job has come to something; one with a schedule is only noted."""
        key = self.record.key
        self.watch(Started(key, f"running {key}"))
        pauses = pace.pauses()
        done = -1
        while True:
            finished = ended(self.account, self.record) if not (job.schedule or job.suspended) else ()
            found = group(self.account, key, [self.record])
            self.show(found.machines, jobs.machines(job))
            well, _ = jobs.counted(finished)
            match jobs.phase(job, finished):
                case "scheduled" | "suspended" as phase:
                    self.watch(Finished(key, phase))
                    return _deployment(self.stack, self.record, found, phase)
                case "succeeded":
                    self.watch(Finished(key, f"{well} of {job.completions} succeeded"))
                    return _deployment(self.stack, self.record, found, "succeeded")
                case "failed":
                    instance, status = next(one for one in reversed(finished) if one[1])
                    said = [f"  {instance}: it ended with status {status}"]
                    said += [f"    {line}" for line in last_lines(self.account, key, instance)]
                    hint = f"see `i2kit logs {spoken(key)}`; mend the image or the "
                    raise JobFailedError(
                        "\n".join((f"{key} failed", *said)), hint=f"{hint}manifest and deploy again"
                    )
            if well > done:
                done, pauses = well, pace.pauses()
                self.watch(Progress(key, well, job.completions, "items"))
            machines = heard(self.account, self.record, found.machines)
            missing = len(found.machines) < found.wanted
            detail = self.detail(machines, missing=missing)
            if detail and detail != self.told:
                self.told = detail
                self.watch(Note(detail))
            pace.wait(next(pauses))

    def show(self, machines: Sequence[Machine], wanted: int) -> None:
        instances = tuple(one.instance for one in machines)
        if instances != self.shown:
            self.shown = instances
            self.watch(Replicas(self.record.key, wanted, instances))

    def detail(self, new: Sequence[Machine], *, missing: bool) -> str:
        """What holds it, as far as AWS says."""
        waiting = sorted((one for one in new if not one.instance.ready), key=severity)
        self.last = waiting[0] if waiting else self.last
        if waiting and waiting[0].instance.detail:
            return f"{waiting[0].instance.id}: {waiting[0].instance.detail}"
        return self.not_launched() if missing else ""

    def not_launched(self) -> str:
        """Why there are fewer machines than wanted."""
        groups = [one for id_, one in self.stack.outputs.items() if template.is_group(id_)]
        current = stacks.find(self.account.cloudformation, self.stack.id)
        if current is None:
            raise OperationError(f"{self.record.key} was removed by another command")
        return next(filter(None, (launch_failure(self.account, one) for one in groups)), "")

    def given_up(self, ready: int, wanted: int, detail: str) -> OperationError:
        key = self.record.key
        said = [f"  {detail or 'its machines do not say why'}"]
        if self.last:
            said += [f"    {line}" for line in last_lines(self.account, key, self.last.instance.id)]
        reason = "\n".join(said)
        hint = (
            f"see `i2kit logs {spoken(key)}`; mend the image or the manifest and "
            f"deploy again, or remove it with `i2kit destroy {spoken(key)}`"
        )
        if ready:
            return OperationError(
                f"only {ready} of {wanted} machines of {key} are ready\n{reason}", hint=hint
            )
        return NotReadyError(f"{key} did not become ready\n{reason}", hint=hint)


def launch_failure(account: Account, group: str) -> str:
    """Why a group has fewer machines than it should, as far as it may be known."""
    with contextlib.suppress(ClientError):  # not being told is no reason to stop waiting
        asked = {"AutoScalingGroupName": group, "MaxRecords": 10}
        return health.launch_failure(account.autoscaling.describe_scaling_activities(**asked)["Activities"])
    return ""


def severity(machine: Machine) -> tuple[bool, bool, bool]:
    """Those first that tell most."""
    return not machine.hopeless, machine.instance.state != "failed", not machine.instance.detail


# --- what machines write ----------------------------------------------------------------------


def lines(
    account: Account,
    key: str,
    *,
    container: str | None = None,
    replica: int | None = None,
    follow: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, str, str]]:
    """(instance id, container, line) of all machines, also those that are gone, oldest first.

    What a machine itself says is of the container `machine`. With `replica` of that machine alone, counted
    from 0 in the order of `Deployment.instances`; with `follow` until the deployment is destroyed.
    """
    words: dict[str, Any] = {"logGroupName": log_group(key)}
    if replica is not None:
        words["logStreamNamePrefix"] = f"{_replica(account, key, replica)}/"
    seen: dict[str, int] = {}
    for round_ in itertools.count():
        try:
            for event in _events(account, key, words):
                if event["eventId"] in seen:
                    continue
                if follow:
                    seen[event["eventId"]] = event["timestamp"]
                    if len(seen) > MOST_SEEN:
                        seen = _recent(seen)
                instance, _, who = event["logStreamName"].partition("/")
                if instance == OURS:
                    continue
                if container in (None, who):
                    yield instance, who, printable(event["message"])
        except LookupError as error:
            if round_:
                return
            raise OperationError(
                f"there are no logs of {key}: AWS has no log group {words['logGroupName']}",
                hint="it comes with the deployment; `i2kit status` lists what is deployed in this region",
            ) from error
        if not follow:
            return
        words["startTime"] = _again_from(seen)
        seen = _recent(seen)
        wait(POLL_S)


def _again_from(seen: Mapping[str, int]) -> int:
    return max(0, max(seen.values(), default=0) - OVERLAP_MS)


def _recent(seen: Mapping[str, int]) -> dict[str, int]:
    """The events that are asked for again, with their times."""
    since = _again_from(seen)
    return {id_: at for id_, at in seen.items() if at >= since}


def _events(account: Account, key: str, words: Mapping[str, Any]) -> Iterator[Data]:
    """By their time, over all streams. Raises LookupError where there is no log group."""
    pages = iter(account.logs.get_paginator("filter_log_events").paginate(**words))
    while True:
        with explained(f"reading the logs of {key}"):
            try:
                page = next(pages, None)
            except ClientError as error:
                if code(error) != "ResourceNotFoundException":
                    raise
                if "log stream" in str(error):  # nothing was written yet
                    return
                raise LookupError from error
        if page is None:
            return
        yield from page["events"]


def _replica(account: Account, key: str, number: int) -> str:
    with explained(f"looking for the machines of {key}"):
        stack = stacks.find(account.cloudformation, stack_name(key))
        found = group(account, key, ()).machines if stack else ()
    if not 0 <= number < len(found):
        raise OperationError(f"{key} has no replica {number}", hint=f"there are {len(found)}, from 0")
    return found[number].instance.id


def heard(
    account: Account, one: Record, found: Sequence[Machine], old: Collection[str] = ()
) -> list[Machine]:
    """The same machines; some of the new ones that are not ready with what they say of their pods.

    Where no load balancer asks them, also those that only seem to be ready: they run.
    """
    checked = bool(balancers(one.whole, one.network, one.options.certificate))
    made, left = [], LISTENED_TO
    for machine in found:
        instance = machine.instance
        if not left or instance.id in old or not machine.stays or (checked and instance.ready):
            made.append(machine)
            continue
        left -= 1
        words = _said(account, one.key, instance.id)
        if words.crashes or words.broken:
            instance = replace(instance, detail=words.detail, state="failed", ready=False)
        elif words.detail:
            instance = replace(instance, detail=words.detail)
        made.append(replace(machine, instance=instance, hopeless=words.hopeless))
    return made


def _said(account: Account, key: str, instance: str) -> Said:
    """What a machine says of its pod; nothing where that can't be read."""
    words = {"logGroupName": log_group(key), "logStreamName": f"{instance}/machine", "limit": SAID_LINES}
    with contextlib.suppress(ClientError, BotoCoreError):
        events = account.logs.get_log_events(**words, startFromHead=False)["events"]
        return said(printable(event["message"]) for event in events)
    return Said()


def last_lines(account: Account, key: str, instance: str) -> Sequence[str]:
    """The end of what a machine wrote: to its log, else to its console; nothing where neither can be read."""
    for read in (_last_logged, _last_on_console):
        with contextlib.suppress(ClientError, BotoCoreError):
            if found := read(account, key, instance):
                return found
    return ()


def _last_logged(account: Account, key: str, instance: str) -> Sequence[str]:
    logs, group = account.logs, log_group(key)
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix=f"{instance}/"
    )
    found = []
    for name in [stream["logStreamName"] for page in pages for stream in page["logStreams"]]:
        answer = logs.get_log_events(
            logGroupName=group, logStreamName=name, limit=LAST_LINES, startFromHead=False
        )
        who = name.partition("/")[2]
        found += [(event["timestamp"], f"{who}: {printable(event['message'])}") for event in answer["events"]]
    return [line for _, line in sorted(found, key=lambda one: one[0])[-LAST_LINES:]]


def _last_on_console(account: Account, key: str, instance: str) -> Sequence[str]:
    try:
        answer = account.ec2.get_console_output(InstanceId=instance, Latest=True)
    except ClientError as error:
        if code(error) != "UnsupportedOperation":  # of types before Nitro
            raise
        answer = account.ec2.get_console_output(InstanceId=instance)
    found = [printable(line) for line in (answer.get("Output") or "").splitlines()]
    return [line for line in found if line.strip()][-LAST_LINES:]


def printable(text: str) -> str:
    """One line, without what could steer a terminal."""
    return UNPRINTABLE.sub("?", text.rstrip("\r\n").replace("\n", " "))


# --- AWS's answers ----------------------------------------------------------------------------


def groups_of(account: Account, key: str | None = None) -> Mapping[str, Sequence[Data]]:
    """The groups of machines by deployment; with a key those of this one."""
    found: dict[str, list[Data]] = {}
    pages = account.autoscaling.get_paginator("describe_auto_scaling_groups")
    for page in pages.paginate(Filters=[_tagged(key)]):
        for group in page["AutoScalingGroups"]:
            name = next(tag["Value"] for tag in group["Tags"] if tag["Key"] == DEPLOYMENT)
            found.setdefault(name, []).append(group)
    return found


def _look(account: Account, key: str | None = None) -> Seen:
    """Everything about the machines of all deployments, or of one."""
    groups = groups_of(account, key)
    vms: dict[str, Data] = {}
    if any(group["Instances"] for each in groups.values() for group in each):
        pages = account.ec2.get_paginator("describe_instances").paginate(Filters=[_tagged(key)])
        for page in pages:
            for reservation in page["Reservations"]:
                vms |= {one["InstanceId"]: one for one in reservation["Instances"]}
    arns = [arn for each in groups.values() for group in each for arn in group.get("TargetGroupARNs", ())]
    balancing = account.elbv2 if arns else None

    def targets(arn: str) -> Sequence[Data]:
        assert balancing
        try:
            answer = balancing.describe_target_health(TargetGroupArn=arn)
        except ClientError as error:
            if code(error) == "TargetGroupNotFound":  # the stack is being removed
                return ()
            raise
        found: Sequence[Data] = answer["TargetHealthDescriptions"]
        return found

    with ThreadPoolExecutor(WORKERS, "targets") as pool:
        return Seen(groups, vms, dict(zip(arns, pool.map(targets, arns), strict=True)))


def _tagged(key: str | None) -> Data:
    if key is None:
        return {"Name": "tag-key", "Values": [DEPLOYMENT]}
    return {"Name": f"tag:{DEPLOYMENT}", "Values": [key]}


def _images(account: Account, seen: Seen, known: Iterable[Record]) -> Mapping[str, str]:
    """The machine images of the AMIs that run: as records say, and AWS where they do not."""
    found = {one.ami.id: one.ami.image for each in known for one in (each, *each.history)}
    groups = [group for each in seen.groups.values() for group in each]
    running = {member["InstanceId"] for group in groups for member in group["Instances"]}
    unknown = {vm["ImageId"] for id_, vm in seen.vms.items() if id_ in running} - set(found)
    return {**found, **(ami.images_of(account.images, sorted(unknown)) if unknown else {})}


def _key(stack: Stack) -> str:
    return stack.tags.get(DEPLOYMENT, "")


def _machines(key: str, seen: Seen, images: Mapping[str, str]) -> tuple[Machine, ...]:
    return health.machines(seen.groups.get(key, ()), seen.vms, seen.targets, images, datetime.now(UTC))


def _wanted(key: str, seen: Seen) -> int:
    """How many machines AWS keeps to: what autoscaling came to, where there is any."""
    return sum(one.get("DesiredCapacity", 0) for one in seen.groups.get(key, ()))


def _deployment(
    stack: Stack, known: Record | None, found: Group, phase: jobs.Phase | Literal[""] = ""
) -> Deployment:
    """As `status` shows it. Without a record there is what tags tell."""
    namespace, _, name = _key(stack).partition("/")
    instances = tuple(one.instance for one in found.machines)
    workload = known.release.workload if known else None
    scaled = workload is None or workload.job or (workload.scaling and found.wanted)
    return Deployment(
        name=name,
        namespace=namespace,
        provider="aws",
        revision=known.revision if known else 0,
        image=known.ami.image if known else "",
        endpoints=_endpoints(stack, known) if known else (),
        replicas_wanted=found.wanted if scaled or workload is None else workload.replicas,
        phase=phase,
        replicas_ready=sum(one.ready for one in instances),
        instances=instances,
        containers=tuple(one.name for one in known.release.workload.containers) if known else (),
        labels=known.release.workload.labels if known else template.labels_of(stack.tags),
        services=known.written if known else (),
        volumes=tuple(one.claim for one in known.volumes) if known else (),
    )


def _endpoints(stack: Stack, known: Record) -> tuple[Endpoint, ...]:
    """What the template's outputs mean, and what they came to be."""
    release = known.whole
    found = balancers(release, known.network, known.options.certificate)
    made = template.endpoint_outputs(release, found, known.zone) | template.link_outputs(known.links)
    return template.endpoints_of(
        {"Description": one["Description"], "OutputValue": stack.outputs[id_]}
        for id_, one in made.items()
        if id_ in stack.outputs
    )
