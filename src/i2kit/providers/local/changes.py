"""Changes that are under way: new revisions, other numbers, and what comes back after a restart.

In: what is wanted, the VMs, and what becomes of them. Out: what VMs should be now, and what is noted once a
change is done or has failed. Starts and ends nothing, and writes nothing down.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from i2kit.providers.local.design import desired, plan, rollout
from i2kit.providers.local.design.desired import Desired, Wanted
from i2kit.providers.local.kept import kept
from i2kit.providers.local.machines.machine import Vm

LAST_LINES = 10
"""How much of a failing VM's log is told."""


@dataclass(slots=True)
class Change:
    """One of them. With `restoring`, first what served before is brought back."""

    goal: Wanted
    old: int
    """How many VMs of other machines there were at first."""
    crashed_before: Mapping[str, int]
    """How often containers of a VM had ended before: what was missing then may be there now."""
    best: rollout.Reached
    restoring: bool
    ended: int = 0
    """How many new VMs died or could not be started."""
    why: str = ""
    """Why the last of them did."""
    failed: str = ""


class Changes:
    """All of them, one at most of each deployment."""

    def __init__(self, vms: Mapping[str, Vm]) -> None:
        self._vms = vms
        self._changes: dict[str, Change] = {}
        self.stuck: dict[str, str] = {}
        """Why what served before does not become as it is wanted by now."""

    def begin(self, wanted: Wanted, *, restoring: bool = False) -> None:
        """Watch a change from now on, but of a job, whose runs tell what comes of it.

        After a restart nothing runs: what served last does so again first.
        """
        self.stuck.pop(wanted.key, None)
        if wanted.policy.job:
            self._changes.pop(wanted.key, None)
            return
        # Where a new VM only comes once the old one is gone, its disks may have been the new one's already.
        in_place = wanted.policy.strategy.recreate or wanted.machine.stateful or wanted.machine.disks
        base = wanted.base(kept(wanted)) if restoring and not in_place else None
        goal = replace(base, policy=wanted.policy) if base else wanted
        mine = [one for one in self._vms.values() if one.key == wanted.key]
        self._changes[wanted.key] = Change(
            goal,
            old=sum(one.machine != goal.machine.fingerprint for one in mine),
            crashed_before={one.handle: one.failures for one in mine},
            best=rollout.Reached(time.monotonic()),
            restoring=base is not None,
        )

    def forget(self, key: str) -> None:
        """The deployment is no more."""
        self._changes.pop(key, None)
        self.stuck.pop(key, None)

    def goal(self, wanted: Wanted) -> Wanted:
        """What its VMs should be now: what is wanted, or first what served before."""
        change = self._changes.get(wanted.key)
        if change is None or not change.restoring:
            return wanted
        return replace(change.goal, replicas=wanted.replicas)

    def running(self, wanted: Wanted) -> list[plan.Running]:
        """The VMs of a deployment, as decisions see them."""
        least_s = wanted.policy.min_ready_s
        return [
            plan.Running(one.handle, one.slot, one.machine, one.state, one.is_available(least_s), one.run)
            for one in self._vms.values()
            if one.key == wanted.key
        ]

    def is_complete(self, wanted: Wanted) -> bool:
        """Whether nothing is left to do."""
        return wanted.key not in self._changes and plan.is_complete(wanted, self.running(wanted))

    def died(self, wanted: Wanted | None, machine: str, why: str, *, by_itself: bool = False) -> None:
        """A VM ended or could not be started. One that switched itself off would do so again."""
        change = self._changes.get(wanted.key) if wanted else None
        if wanted and change and self.goal(wanted).machine.fingerprint == machine:
            change.ended += 1
            change.why = why
            change.failed = why if by_itself else change.failed

    def judged(self, state: Desired, now: str) -> Desired:
        """The desired state with the notes of which changes are done and which have failed.

        What never served goes back to what did. `now` is RFC 3339, UTC.
        """
        for wanted in state.deployments:
            change = self._changes.get(wanted.key)
            if change is None:
                # What was given up may get ready after all, as when a database comes later; but not a job.
                late = (
                    wanted.reason
                    and not wanted.served
                    and wanted.policy.job is None
                    and self.is_complete(wanted)
                )
                state = desired.serve(state, wanted.key) if late else state
                continue
            goal = self.goal(wanted)
            running = self.running(goal)
            change.best = rollout.reached(change.best, change.old, goal, running, time.monotonic())
            done = plan.is_complete(goal, running)
            change.failed = change.failed or ("" if done else self._failure(change, goal))
            if change.restoring and (done or change.failed):
                self.begin(wanted)
            elif done or change.failed:
                del self._changes[wanted.key]
                state = self._ended(state, wanted, "" if done else change.failed, now)
        return state

    def _ended(self, state: Desired, wanted: Wanted, failed: str, now: str) -> Desired:
        """What is noted of a change that is done, or why it failed."""
        if wanted.served:
            self.stuck |= {wanted.key: failed} if failed else {}
            return state
        if not failed:
            return desired.serve(state, wanted.key)
        return desired.go_back(state, wanted.key, kept(wanted), rollout.in_short(failed), failed, now=now)

    def _failure(self, change: Change, goal: Wanted) -> str:
        """Why a change has failed; "" as long as it has not."""
        new = [
            one
            for one in self._vms.values()
            if one.key == goal.key and one.machine == goal.machine.fingerprint and one.state != "draining"
        ]
        for one in new:
            crashes = one.failures - change.crashed_before.get(one.handle, 0)
            unsettled = not goal.served or one.state != "ready"
            if one.broken or (crashes >= rollout.MOST_FAILURES and unsettled):
                return story(one)
        if change.ended >= rollout.MOST_FAILURES:
            return change.why
        deadline_s = goal.policy.progress_deadline_s
        if time.monotonic() - change.best.at_s <= deadline_s:
            return ""
        late = f"nothing came further for {deadline_s} s"
        waiting = [one for one in new if not one.is_available(goal.policy.min_ready_s)]
        worst = max(waiting, key=lambda one: (one.failures, bool(one.detail)), default=None)
        if worst is None:
            return change.why or rollout.story(f"{late}: {rollout.UNKNOWN}", ())
        return story(worst, f"{worst.detail or rollout.UNKNOWN} ({late})")


def story(one: Vm, what: str = "") -> str:
    """What happened to a VM, else what it says of itself, and its last words."""
    return rollout.story(f"{one.id}: {what or one.detail}", one.last_lines(LAST_LINES))
