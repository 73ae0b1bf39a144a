"""What CloudFormation says that an update would do: a change set that is never executed.

In: a template and tags. Out: per resource what happens to it, in AWS's words. Leaves nothing: neither the
change set nor the empty stack that a first one comes with, also when interrupted.

Source: CloudFormation API reference, CreateChangeSet, ResourceChange.
"""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from i2kit.errors import OperationError
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.design.difference import Change, Verb
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.running.stacks import CAPABILITIES, DEFAULT_PACE, NO_CHANGES, Order, Pace, Stack

CHANGE_SET = "plan-i2kit-"
"""Begins its name. Not as those of deploys do: they remove each other's."""

ABANDONED = timedelta(hours=1)
"""After this a change set of ours is one of a plan that was killed."""

VERBS: Mapping[tuple[str, str], Verb] = {
    ("Add", ""): "add",
    ("Modify", "False"): "change",
    ("Modify", "True"): "replace",
    ("Remove", ""): "remove",
}


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What happens to a resource: `verb` None where that depends on what comes of others."""

    id: str
    noun: str
    verb: Verb | None


def ask(
    client: Any, name: str, order: Order, stack: Stack | None, pace: Pace = DEFAULT_PACE
) -> Sequence[Foreseen]:
    """Of the stack of this name, which is idle or not there. Raises OperationError where AWS refuses."""
    new = stack is None or stack.status == "REVIEW_IN_PROGRESS"
    made: Mapping[str, str] = {}
    called = f"{CHANGE_SET}{secrets.token_hex(8)}"
    with explained(f"asking CloudFormation what would change in the stack {name}"):
        try:
            made = client.create_change_set(
                StackName=name,
                ChangeSetName=called,
                ChangeSetType="CREATE" if new else "UPDATE",
                Capabilities=list(CAPABILITIES),
                TemplateBody=order.template,
                Tags=[{"Key": key, "Value": value} for key, value in order.tags.items()],
            )
            return _compared(client, made["Id"], pace)
        finally:
            with contextlib.suppress(ClientError, BotoCoreError):
                # By name: an interrupted call has made it without telling its id.
                client.delete_change_set(StackName=made.get("StackId", name), ChangeSetName=called)
                _sweep(client, made.get("StackId", name))


def judged(ours: Sequence[Change], theirs: Sequence[Foreseen]) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Our changes, corrected where CloudFormation knows better, and what it said otherwise. Pure."""
    said = {one.id: one for one in theirs}
    made, notes = [], []
    for one in ours:
        found = said.get(one.id)
        if found and found.verb is None:
            notes.append(f"{one.noun} {one.id}: CloudFormation can't tell yet whether it is replaced")
        elif found and found.verb and {found.verb, one.verb} == {"change", "replace"}:
            how = "replaced" if found.verb == "replace" else "changed in place"
            notes.append(f"{one.noun} {one.id}: CloudFormation says that it is {how}")
            one = replace(one, verb=found.verb)
        made.append(one)
    ids = {one.id for one in ours}
    for each in theirs:
        # AWS names each that refers to what changes, though nothing may come of it.
        if each.id not in ids and each.verb and each.verb != "change":
            notes.append(f"{each.noun} {each.id}: CloudFormation says {each.verb}")
            made.append(Change(each.verb, each.id, each.noun))
    return tuple(made), tuple(notes)


def _compared(client: Any, id_: str, pace: Pace) -> Sequence[Foreseen]:
    for pause in pace.pauses():
        found = client.describe_change_set(ChangeSetName=id_)
        reason = found.get("StatusReason") or ""
        if found["Status"] == "FAILED":
            if any(text in reason for text in NO_CHANGES):
                return ()
            raise OperationError(f"CloudFormation refuses the change: {reason}")
        if found["Status"] == "CREATE_COMPLETE":
            break
        pace.wait(pause)
    said = list(found["Changes"])
    while token := found.get("NextToken"):
        found = client.describe_change_set(ChangeSetName=id_, NextToken=token)
        said += found["Changes"]
    return [
        Foreseen(
            one["LogicalResourceId"],
            stacks.kind(one["ResourceType"]),
            VERBS.get((one["Action"], one.get("Replacement") or "")),
        )
        for one in (each["ResourceChange"] for each in said if "ResourceChange" in each)
    ]


def _sweep(client: Any, stack_id: str) -> None:
    """Remove change sets that killed plans left, and a stack that holds nothing and is nobody's."""
    pages = client.get_paginator("list_change_sets").paginate(StackName=stack_id)
    left = [one for page in pages for one in page["Summaries"]]
    for one in list(left):
        old = one["CreationTime"] < datetime.now(UTC) - ABANDONED
        if one["ChangeSetName"].startswith(CHANGE_SET) and old:
            client.delete_change_set(ChangeSetName=one["ChangeSetId"])
            left.remove(one)
    found = stacks.find(client, stack_id)
    if found and found.status == "REVIEW_IN_PROGRESS" and not left:
        client.delete_stack(StackName=found.id)
