"""An update's machines while CloudFormation replaces them: told as they change, judged as in Kubernetes.

In: an account, what the deployment should become, and the stack's events. Out: Replicas for a Watcher, and
why an update that cannot come to anything should end. Only reads. AWS itself gives up later, after an hour.

Sources: EC2 Auto Scaling user guide, "How an instance refresh works"; StateReason in the EC2 API reference.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from i2kit.errors import OperationError
from i2kit.events import Replicas, Watcher
from i2kit.model import Instance
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.design import rollout, template
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.running import observe
from i2kit.providers.aws.running.health import Machine
from i2kit.providers.aws.running.stacks import Pace


@dataclass(slots=True)
class Patience:
    """For how long an update has come no further, and whether it has come all the way."""

    best: tuple[int, int] | None = None
    since: float = 0.0
    complete: bool = False
    """Whether all machines were new and ready once: from then on it bakes, and only alarms end it."""

    def lost_s(self, ready: int, left: int, wanted: int, now: float) -> float:
        """With so many new machines ready of those wanted, and old ones left; nothing once it is complete."""
        self.complete = self.complete or (not left and ready >= wanted > 0)
        if self.best is None or (ready, -left) > self.best:
            self.best, self.since = (ready, -left), now
        return 0 if self.complete else now - self.since


@dataclass(slots=True)
class Update:
    """One update that replaces machines; `old` are the ids of all that were there before it."""

    account: Account
    record: Record
    old: frozenset[str]
    watch: Watcher
    pace: Pace
    told: tuple[Instance, ...] = ()
    suspect: Machine | None = None
    """The new machine that tells most of why it comes no further."""
    _patience: Patience = field(default_factory=Patience)
    _looked: float | None = None

    def look(self, events: Sequence[Mapping[str, Any]]) -> str:
        """Why it should end, empty as long as it should not; looks no more often than the pace says.

        What can't be seen for once is no reason to stop waiting.
        """
        now = self.pace.clock()
        resting = self._looked is not None and now - self._looked < self.pace.longest_s
        if resting or not is_replacing(events):
            return ""
        self._looked = now
        with contextlib.suppress(ClientError, BotoCoreError, OperationError):
            return self._seen(events, now)
        return ""

    def _seen(self, events: Sequence[Mapping[str, Any]], now: float) -> str:
        found = observe.group(self.account, self.record.key, (self.record,))
        machines = observe.heard(self.account, self.record, found.machines, self.old)
        instances = tuple(one.instance for one in machines)
        if instances != self.told:
            self.told = instances
            self.watch(Replicas(self.record.key, found.wanted, instances))
        stuck = self._stuck(found, machines, now)
        if stuck and self.suspect is None:
            group = next(
                one["PhysicalResourceId"]
                for one in reversed(events)
                if template.is_group(one["LogicalResourceId"])
            )
            said = observe.launch_failure(self.account, group)
            return f"{stuck} ({said})" if said else stuck
        return stuck

    def _stuck(self, found: observe.Group, machines: Sequence[Machine], now: float) -> str:
        """Why nothing will come of it. `machines` are those found, with what they say themselves."""
        new = [one for one in machines if one.instance.id not in self.old]
        left = sum(one.stays and one.instance.id in self.old for one in machines)
        ready = sum(one.instance.ready for one in new)
        lost_s = self._patience.lost_s(ready, left, found.wanted, now)
        if self._patience.complete:
            return ""
        if gone := [one for one in found.ended if one.instance.id not in self.old]:
            (self.suspect,) = observe.heard(self.account, self.record, gone[:1])
            return f"{_words(self.suspect.instance)}, and the machine has powered itself off"
        waiting = sorted((one for one in new if one.stays and not one.instance.ready), key=observe.severity)
        given_up = {one.instance.id for one in found.machines if one.instance.state == "failed"}
        lost = [one for one in waiting if one.hopeless or one.instance.id in given_up]
        self.suspect = next(iter((*lost, *waiting)), self.suspect)
        workload = self.record.release.workload
        deadline_s = workload.progress_deadline_s
        late = f"nothing came further for {deadline_s} s"
        if lost:
            return _words(lost[0].instance)
        # That a ready machine has to settle is AWS's own time.
        if lost_s > deadline_s + rollout.warmup_s(workload, checked=False):
            return f"{_words(waiting[0].instance)} ({late})" if waiting else late
        return ""

    def last_words(self) -> Sequence[str]:
        """Of the machine that tells most: what AWS says of it, and the end of its log."""
        if self.suspect is None:
            return ()
        one = self.suspect.instance
        return (_words(one), *observe.last_lines(self.account, self.record.key, one.id))


def begun(account: Account, record: Record, watch: Watcher, pace: Pace) -> Update:
    """An update to this record that is about to begin."""
    found = observe.group(account, record.key, (record,))
    there = frozenset(one.instance.id for one in (*found.machines, *found.ended))
    return Update(account, record, there, watch, pace)


def _words(one: Instance) -> str:
    return f"{one.id}: {one.detail or f'it is {one.state}'}"


def is_replacing(events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the group is being changed, as a stack's events say, oldest first, and still for the better."""
    own = [one["ResourceStatus"] for one in events if template.is_group(one["LogicalResourceId"])]
    back = any("ROLLBACK_IN_PROGRESS" in one["ResourceStatus"] for one in events)
    return bool(own) and own[-1] == "UPDATE_IN_PROGRESS" and not back
