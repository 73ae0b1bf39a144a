"""Stacks: made, changed and removed by CloudFormation, watched from outside.

In: a template and tags. Out: the stack as it stands in the end, or the first cause why it does not.
Every change goes through a change set, so that nothing happens where nothing differs. An interrupted
call leaves an operation that AWS ends by itself; the next call waits for it and goes on from there.
Decides nothing about what a stack holds.

Sources, in the CloudFormation User Guide: "Stack status codes", "Stack failure options",
"Continue rolling back an update", "Troubleshooting"; CreateChangeSet and DescribeStackEvents in its
API Reference.
"""

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from i2kit.errors import FirstDeployError, I2kitError, OperationError, RolloutError
from i2kit.events import Finished, Note, Started, Warned, Watcher
from i2kit.providers.aws.access.calls import code, explained, hint_for
from i2kit.providers.aws.design.difference import KINDS

CAPABILITIES = ("CAPABILITY_IAM",)
"""Templates have roles; none has a name of its own."""

OURS = "i2kit:"
"""What the key of at least one tag of each stack of ours starts with."""

DEPLOYMENT = "i2kit:deployment"
"""The tag of stacks that are deployments."""

CHANGE_SET = "i2kit-"
"""What our change sets' names start with."""

SERVING = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
DEAD = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
"""Nothing of these ever served: they can only be removed, and then made again."""

CONSEQUENCE = re.compile(r"Resource \w+ cancell?ed")
"""The reason of what AWS gave up because something else had failed."""

NO_CHANGES = ("didn't contain changes", "No updates are to be performed")

CAUSES_SHOWN = 3

ROLLED_BACK = "failed and was rolled back: "
"""What stands before the cause of a RolloutError."""

STARTS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS")
"""What a stack's first event in an operation says."""

ATTEMPTS = 10
"""How often somebody else may come in between before we give up."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often AWS is asked. Pauses grow while nothing happens; news make them short again."""

    first_s: float = 1.0
    longest_s: float = 5.0
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def pauses(self) -> Iterator[float]:
        pause = self.first_s
        while True:
            yield pause
            pause = min(self.longest_s, pause * 1.5)


DEFAULT_PACE = Pace()

Look = Callable[[Sequence[Mapping[str, Any]]], str]
"""Asked with what has happened in an update so far, oldest first: why to end it, or nothing."""


def _let_it_be(events: Sequence[Mapping[str, Any]]) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as AWS describes it. `status` is AWS's word; `id` stays valid when it is gone."""

    id: str
    name: str
    status: str
    reason: str
    outputs: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def busy(self) -> bool:
        """Whether an operation runs on it. One that only awaits a review is idle."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def serves(self) -> bool:
        return self.status in SERVING


@dataclass(frozen=True, slots=True)
class Order:
    """What a stack should be. `token` comes back in the events of what is done to make it so."""

    template: str
    tags: Mapping[str, str]
    token: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a stack: its name in the template, its type and AWS's name for it."""

    logical: str
    type: str
    physical: str

    def __str__(self) -> str:
        return f"{kind(self.type)} {self.physical or self.logical}"


@dataclass(frozen=True, slots=True)
class Removed:
    """What came of a removal: what the stack's policy kept."""

    retained: tuple[Resource, ...] = ()


def kind(type_: str) -> str:
    """A resource type in words."""
    return KINDS[type_].noun if type_ in KINDS else type_


def find(client: Any, name: str) -> Stack | None:
    """The stack of this name (or id), None if there is none."""
    try:
        found = client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if _is_absent(error):
            return None
        raise
    return None if found["StackStatus"] == "DELETE_COMPLETE" else _stack(found)


def deployments(client: Any) -> Sequence[Stack]:
    """The stacks of all deployments in this region, by name."""
    return tagged(client, DEPLOYMENT)


def tagged(client: Any, tag: str) -> Sequence[Stack]:
    """The stacks with this tag in this region, by name."""
    with explained("listing the stacks"):
        pages = client.get_paginator("describe_stacks").paginate()
        found = [_stack(one) for page in pages for one in page["Stacks"]]
    return sorted((one for one in found if tag in one.tags), key=lambda one: one.name)


def template(client: Any, stack: Stack) -> Mapping[str, Any] | None:
    """What a stack was last told to be; None for one that was never told, or is gone."""
    try:
        body = client.get_template(StackName=stack.id)["TemplateBody"]
    except ClientError as error:
        if code(error) in ("ValidationError", "ChangeSetNotFound"):
            return None
        raise
    found: Mapping[str, Any] = json.loads(body) if isinstance(body, str) else body
    return found if found.get("Resources") else None


def refuse_foreign(stack: Stack) -> None:
    """Raises OperationError for a stack that is not one of ours."""
    # A stack that awaits review may have lost its tags with its change set.
    ours = any(key.startswith(OURS) for key in stack.tags)
    if not ours and stack.status != "REVIEW_IN_PROGRESS":
        raise OperationError(
            f"there is a stack {stack.name} that i2kit did not make: no tag of it starts with {OURS}",
            hint="give the deployment another name, or remove that stack yourself",
        )


def deploy(
    client: Any,
    name: str,
    template: str,
    tags: Mapping[str, str],
    watch: Watcher,
    *,
    pace: Pace = DEFAULT_PACE,
) -> Stack:
    """Make the stack be what the template (JSON) says, and wait until it is.

    Raises RolloutError when an update was rolled back, FirstDeployError when a first deployment failed
    and was removed, OperationError for the rest.
    """
    return revise(client, name, lambda _: Order(template, tags), watch, pace=pace)


def revise(
    client: Any,
    name: str,
    order: Callable[[Stack | None], Order],
    watch: Watcher,
    *,
    pace: Pace = DEFAULT_PACE,
    look: Look = _let_it_be,
) -> Stack:
    """The same, where what should be depends on what there is once nothing happens to it any more.

    `order` is asked again where somebody else comes in between. None stands for a stack that holds nothing.
    An update that `look` gives up is cancelled.
    """
    with explained(f"deploying the stack {name}"):
        for _ in range(ATTEMPTS):
            stack = _made_ready(client, name, watch, pace)
            since = _newest_event(client, stack)
            wanted = order(stack if stack and stack.serves else None)
            change_set = _create_change_set(client, name, wanted, stack)
            if change_set is None or not _compared(client, change_set, pace):
                if change_set and stack and stack.serves:
                    _forget_change_sets(client, stack)
                    watch(Note(f"the stack {name} needs no change"))
                    return stack
                continue  # somebody else was faster: what they do comes first
            if _execute(client, change_set, wanted.token):
                outcome = _follow(client, change_set.stack_id, since, watch, pace, look)
                return _served(client, name, outcome)
        raise OperationError(
            f"somebody else changes the stack {name} again and again",
            hint="find out who, then run this again",
        )


def delete(client: Any, name: str, watch: Watcher, *, pace: Pace = DEFAULT_PACE) -> Removed | None:
    """Remove the stack and wait until it is gone. None if there was none.

    Raises OperationError naming what could not be removed and why.
    """
    with explained(f"removing the stack {name}"):
        stack = find(client, name)
        if stack is None:
            return None
        refuse_foreign(stack)
        if stack.busy and stack.status not in ("CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS"):
            stack = _wait_for(client, stack, watch, pace)
            if stack is None:
                return Removed()
        return _remove(client, stack, watch, pace)


# --- from whatever is there to what can be changed --------------------------------------------


def _made_ready(client: Any, name: str, watch: Watcher, pace: Pace) -> Stack | None:
    """The stack in a state that a change set can be made for; None or awaiting review: a new one."""
    while True:
        stack = find(client, name)
        if stack is None:
            return None
        refuse_foreign(stack)
        if stack.busy:
            _wait_for(client, stack, watch, pace)
        elif stack.status in DEAD:
            watch(Note(f"removing the stack {name}, which is {stack.status}: nothing of it ever served"))
            _remove(client, stack, watch, pace)
        elif stack.status == "UPDATE_ROLLBACK_FAILED":
            _continue_rollback(client, stack, watch, pace)
        elif stack.serves:
            return stack
        elif stack.status == "REVIEW_IN_PROGRESS":
            _forget_change_sets(client, stack)
            return stack
        else:
            raise OperationError(
                f"the stack {name} is {stack.status}, and i2kit does not know how to go on from there",
                hint=f"roll it back: aws cloudformation rollback-stack --stack-name {name}",
            )


def _wait_for(client: Any, stack: Stack, watch: Watcher, pace: Pace) -> Stack | None:
    """Wait for an operation that this call did not begin: an interrupted run's, or somebody else's."""
    watch(Note(f"the stack {stack.name} is {stack.status}: waiting for that to end"))
    teller = Teller(watch)
    seen = _newest_event(client, stack)
    for pause in pace.pauses():
        new = _events_since(client, stack.id, seen)
        for event in new:
            teller.tell(event)
            seen = event["EventId"]
        found = find(client, stack.id)
        if found is None or not found.busy:
            return found
        pace.wait(pause)
    raise AssertionError


def _continue_rollback(client: Any, stack: Stack, watch: Watcher, pace: Pace) -> None:
    """Have AWS try again what it could not undo; what held it may have gone."""
    watch(Note(f"the stack {stack.name} is {stack.status}: rolling it back further"))
    since = _newest_event(client, stack)
    client.continue_update_rollback(StackName=stack.id)
    outcome = _follow(client, stack.id, since, watch, pace)
    if outcome.status != "UPDATE_ROLLBACK_COMPLETE":
        held = " ".join(event["LogicalResourceId"] for event in outcome.causes[:CAUSES_SHOWN])
        raise OperationError(
            f"the stack {stack.name} cannot be rolled back: {outcome.cause}",
            hint="repair that resource and run this again; or give it up: aws cloudformation "
            f"continue-update-rollback --stack-name {stack.name} --resources-to-skip {held}",
        )


def _remove(client: Any, stack: Stack, watch: Watcher, pace: Pace) -> Removed:
    since = _newest_event(client, stack)
    if stack.status == "DELETE_IN_PROGRESS":
        gone = _wait_for(client, stack, watch, pace) is None
        events = _events_since(client, stack.id, None)
        if gone:
            return Removed(_retained(events))
        since = _newest_event(client, stack)
    try:
        client.delete_stack(StackName=stack.id)
    except ClientError as error:
        if "TerminationProtection" in str(error):
            raise OperationError(
                f"the stack {stack.name} is protected against removal",
                hint="if it should go: aws cloudformation update-termination-protection "
                f"--no-enable-termination-protection --stack-name {stack.name}",
            ) from error
        raise
    outcome = _follow(client, stack.id, since, watch, pace)
    if outcome.status != "DELETE_COMPLETE":
        raise OperationError(
            f"the stack {stack.name} could not be removed: {outcome.cause}",
            hint=_first(hint_for(outcome.cause), "remove what holds that resource, then run this again"),
        )
    return Removed(_retained(outcome.events))


def _retained(events: Sequence[Mapping[str, Any]]) -> tuple[Resource, ...]:
    return tuple(
        Resource(event["LogicalResourceId"], event["ResourceType"], event.get("PhysicalResourceId", ""))
        for event in events
        if event["ResourceStatus"] == "DELETE_SKIPPED"
    )


# --- change sets ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """`new`: an empty stack came to be with it."""

    id: str
    stack_id: str
    new: bool


def _create_change_set(client: Any, name: str, order: Order, stack: Stack | None) -> ChangeSet | None:
    """Hand in what should be; None where the stack is no longer as it was when we looked."""
    new = stack is None or stack.status == "REVIEW_IN_PROGRESS"
    words: dict[str, Any] = {"OnStackFailure": "DELETE"} if new else {}
    try:
        made = client.create_change_set(
            StackName=name,
            ChangeSetName=f"{CHANGE_SET}{secrets.token_hex(8)}",
            ChangeSetType="CREATE" if new else "UPDATE",
            Capabilities=list(CAPABILITIES),
            TemplateBody=order.template,
            Tags=[{"Key": key, "Value": value} for key, value in order.tags.items()],
            **words,
        )
    except ClientError as error:
        if _is_overtaken(error):
            return None
        raise
    return ChangeSet(made["Id"], made["StackId"], new)


def _compared(client: Any, change_set: ChangeSet, pace: Pace) -> bool:
    """Wait for AWS to compare; whether something differs. Only what differs is left to be executed."""
    differs = False
    try:
        differs = _differs(client, change_set, pace)
    finally:
        if not differs:
            _discard(client, change_set)
    return differs


def _discard(client: Any, change_set: ChangeSet) -> None:
    """Remove what was never executed, with the empty stack that came with it.

    What stays after a failure of this does no harm: the next deployment removes it.
    """
    with contextlib.suppress(ClientError, BotoCoreError):
        client.delete_change_set(ChangeSetName=change_set.id)
        if change_set.new:
            client.delete_stack(StackName=change_set.stack_id)


def _differs(client: Any, change_set: ChangeSet, pace: Pace) -> bool:
    """Raises OperationError when AWS refuses the template."""
    for pause in pace.pauses():
        found = client.describe_change_set(ChangeSetName=change_set.id)
        reason = found.get("StatusReason") or ""
        if found["Status"] == "CREATE_COMPLETE":
            return True
        if found["Status"] == "FAILED":
            if any(text in reason for text in NO_CHANGES):
                return False
            raise OperationError(f"CloudFormation refuses the change: {reason}")
        pace.wait(pause)
    raise AssertionError


def _execute(client: Any, change_set: ChangeSet, token: str) -> bool:
    """Start the change; False where another operation came in between, or an answer was lost."""
    words = {"ClientRequestToken": token} if token else {}
    try:
        client.execute_change_set(ChangeSetName=change_set.id, **words)
    except ClientError as error:
        if code(error) in ("InvalidChangeSetStatus", "ChangeSetNotFound", "OperationInProgressException"):
            return False
        if _is_overtaken(error):
            _discard(client, change_set)
            return False
        raise
    return True


def _forget_change_sets(client: Any, stack: Stack) -> None:
    """Remove change sets that an interrupted run left."""
    pages = client.get_paginator("list_change_sets").paginate(StackName=stack.id)
    left = [one for page in pages for one in page["Summaries"]]
    for one in left:
        if one["ChangeSetName"].startswith(CHANGE_SET):
            client.delete_change_set(ChangeSetName=one["ChangeSetId"])


# --- watching ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended, and everything that happened in it, oldest first."""

    status: str
    events: Sequence[Mapping[str, Any]]
    given_up: str = ""
    """Why we ended it ourselves."""

    @property
    def causes(self) -> Sequence[Mapping[str, Any]]:
        """What failed by itself, first things first; what was only given up as a consequence is not."""
        failed = [one for one in self.events if one["ResourceStatus"].endswith("_FAILED")]
        own = [one for one in failed if not _is_of_stack(one)]
        return [one for one in own if not _is_consequence(one)] or own or failed

    @property
    def cause(self) -> str:
        if self.given_up:
            return self.given_up
        if not self.causes:
            said = [one for one in self.events if "ROLLBACK_IN_PROGRESS" in one["ResourceStatus"]]
            reason = said[0].get("ResourceStatusReason") if said else ""
            return reason or f"it is {self.status}, and AWS gives no reason"
        first = self.causes[0]
        reason = first.get("ResourceStatusReason") or "AWS gives no reason"
        return f"{kind(first['ResourceType'])} {first['LogicalResourceId']}: {reason}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on a stack as its events tell. `outcome` has the status that it ended with or has."""

    token: str
    began_at: str
    """RFC 3339, UTC."""
    outcome: Outcome

    @property
    def ended(self) -> bool:
        return not self.outcome.status.endswith("_IN_PROGRESS")

    @property
    def failed(self) -> bool:
        """Whether what was wanted did not come to be, or is being taken back."""
        status = self.outcome.status
        return "ROLLBACK" in status or status.endswith("_FAILED")


def operations(client: Any, stack: Stack) -> Sequence[Operation]:
    """What was done to a stack, oldest first."""
    with explained(f"reading the events of the stack {stack.name}"):
        events = _events_since(client, stack.id, None)
    groups: list[list[Mapping[str, Any]]] = []
    for event in events:
        if _is_of_stack(event) and event["ResourceStatus"] in STARTS:
            groups.append([])
        if groups:
            groups[-1].append(event)
    return [_operation(group) for group in groups]


def _operation(events: Sequence[Mapping[str, Any]]) -> Operation:
    own = [event for event in events if _is_of_stack(event)]
    return Operation(
        events[0].get("ClientRequestToken") or "",
        events[0]["Timestamp"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        Outcome(own[-1]["ResourceStatus"], events),
    )


def _is_consequence(event: Mapping[str, Any]) -> bool:
    return bool(CONSEQUENCE.match(event.get("ResourceStatusReason") or ""))


def _is_of_stack(event: Mapping[str, Any]) -> bool:
    return bool(event.get("PhysicalResourceId") == event["StackId"])


def _served(client: Any, name: str, outcome: Outcome) -> Stack:
    """The stack after an operation that went well; else what to say of it."""
    if outcome.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        stack = find(client, name)
        if stack is None:
            raise OperationError(f"the stack {name} was made, and removed by somebody else at once")
        return stack
    raise _failure(name, outcome)


def _failure(name: str, outcome: Outcome) -> I2kitError:
    if outcome.status == "UPDATE_ROLLBACK_COMPLETE":
        return RolloutError(
            f"the update of the stack {name} {ROLLED_BACK}{outcome.cause}",
            hint=hint_for(outcome.cause)
            or "the previous revision serves; correct the cause and deploy again",
        )
    if outcome.status == "UPDATE_ROLLBACK_FAILED":
        return OperationError(
            f"the update of the stack {name} failed, and so did its roll back: {outcome.cause}",
            hint=_first(hint_for(outcome.cause), "run this again: it goes on with the roll back first"),
        )
    if outcome.status == "DELETE_COMPLETE":
        return FirstDeployError(
            f"the stack {name} could not be made and was removed, so that nothing serves: {outcome.cause}",
            hint=hint_for(outcome.cause),
        )
    return FirstDeployError(
        f"the stack {name} could not be made and is {outcome.status}: {outcome.cause}",
        hint=_first(
            hint_for(outcome.cause), "destroy it, or deploy again: what is left of it is removed first"
        ),
    )


def _first(hint: str | None, then: str) -> str:
    return f"{hint}; then {then}" if hint else then


def _newest_event(client: Any, stack: Stack | None) -> str | None:
    """The id of the last thing that happened so far; None where there is no stack yet."""
    if stack is None:
        return None
    found = client.describe_stack_events(StackName=stack.id)["StackEvents"]
    return str(found[0]["EventId"]) if found else None


def _events_since(client: Any, stack_id: str, seen: str | None) -> list[Mapping[str, Any]]:
    """What happened after the event `seen`, oldest first."""
    new: list[Mapping[str, Any]] = []
    for page in client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
        for event in page["StackEvents"]:
            if event["EventId"] == seen:
                return new[::-1]
            new.append(event)
    return new[::-1]


def _follow(
    client: Any,
    stack_id: str,
    since: str | None,
    watch: Watcher,
    pace: Pace,
    look: Look = _let_it_be,
) -> Outcome:
    """Tell what happens until the operation that began after `since` has ended.

    The events alone say so: right after a start, the stack's own status can still be the old one.
    """
    events: list[Mapping[str, Any]] = []
    teller = Teller(watch)
    pauses = pace.pauses()
    given_up = ""
    while True:
        new = _events_since(client, stack_id, since)
        for event in new:
            teller.tell(event)
            if _is_of_stack(event) and not event["ResourceStatus"].endswith("_IN_PROGRESS"):
                return Outcome(event["ResourceStatus"], [*events, *new], given_up)
        if new:
            since, pauses = new[-1]["EventId"], pace.pauses()
            events += new
        if not given_up and (reason := look(events)) and _cancelled(client, stack_id):
            given_up = reason
            watch(Warned(f"the update is given up: {reason}"))
        pace.wait(next(pauses))


def _cancelled(client: Any, stack_id: str) -> bool:
    """Whether the update goes back now because of us; it may have ended by itself meanwhile."""
    try:
        client.cancel_update_stack(StackName=stack_id)
    except ClientError as error:
        if code(error) == "ValidationError":
            return False
        raise
    return True


VERBS = {"CREATE": "created", "UPDATE": "changed", "DELETE": "removed", "IMPORT": "imported"}
DOING = {"CREATE": "creating", "UPDATE": "changing", "DELETE": "removing", "IMPORT": "importing"}


@dataclass(slots=True)
class Teller:
    """Turns a stack's events into a run's: each resource starts once and ends once per operation."""

    watch: Watcher
    _open: set[str] = field(default_factory=set)

    def tell(self, event: Mapping[str, Any]) -> None:
        if _is_of_stack(event):
            self._tell_of_stack(event)
            return
        verb, _, state = event["ResourceStatus"].partition("_")
        if verb not in VERBS:
            return
        what = f"{kind(event['ResourceType'])} {event['LogicalResourceId']}"
        key = f"{event['StackId']} {event['LogicalResourceId']} {verb}"
        if state == "IN_PROGRESS":
            if key not in self._open:
                self._open.add(key)
                self.watch(Started(key, f"{DOING[verb]} {what}"))
        elif state == "SKIPPED":
            self.watch(Note(f"keeping {what}: {event.get('PhysicalResourceId', '')}"))
        elif state == "COMPLETE":
            self._close(key, f"{DOING[verb]} {what}", VERBS[verb])
        elif state == "FAILED":
            if not _is_consequence(event):
                self.watch(Warned(f"{what}: {event.get('ResourceStatusReason') or 'AWS gives no reason'}"))
            self._close(key, f"{DOING[verb]} {what}", "failed")

    def _close(self, key: str, title: str, result: str) -> None:
        if key not in self._open:
            self.watch(Started(key, title))
        self._open.discard(key)
        self.watch(Finished(key, result))

    def _tell_of_stack(self, event: Mapping[str, Any]) -> None:
        status = event["ResourceStatus"]
        if "ROLLBACK_IN_PROGRESS" in status:
            self.watch(Note("something failed: AWS brings back what was there before"))
        # What a failure left open ends with the operation.
        if not status.endswith("_IN_PROGRESS"):
            for key in sorted(self._open):
                self.watch(Finished(key, "given up"))
            self._open.clear()


# --- AWS's answers ----------------------------------------------------------------------------


def _is_overtaken(error: ClientError) -> bool:
    """Whether the stack is in another state by now than when we looked."""
    texts = ("state and can not be updated", "cannot be created again", "does not exist", "already exists")
    return code(error) in ("ValidationError", "AlreadyExistsException") and any(
        text in str(error) for text in texts
    )


def _is_absent(error: ClientError) -> bool:
    return code(error) == "ValidationError" and "does not exist" in str(error)


def _stack(found: Mapping[str, Any]) -> Stack:
    return Stack(
        id=found["StackId"],
        name=found["StackName"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason") or "",
        outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs") or ()},
        tags={one["Key"]: one["Value"] for one in found.get("Tags") or ()},
    )
