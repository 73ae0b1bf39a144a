"""Runs of jobs: when they begin, how many VMs they have, what comes of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError
from i2kit.manifest import parse
from i2kit.model import Deployment, Job, MachineImage, Release
from i2kit.providers import Scale
from i2kit.providers.local.design import desired, jobs, orders, plan
from i2kit.providers.local.design.desired import Desired, Wanted, admit, order_of
from i2kit.providers.local.design.jobs import Run
from i2kit.providers.local.design.orders import order_for
from i2kit.providers.local.design.plan import Drain, Running, Start, Step, next_steps

from .releases import image, release

NOON = "2026-01-05T12:00:00Z"
KEY = "default/backup"
EVERY_HOUR = Job(schedule="0 * * * *")


def of_job(job: Job, machine: MachineImage | None = None) -> Release:
    one = release("backup", ports=(), machine=machine)
    return replace(one, workload=replace(one.workload, job=job))


def ordered(job: Job, state: Desired | None = None, *, machine: MachineImage | None = None) -> Desired:
    return admit(state or Desired(), order_of(of_job(job, machine)), now=NOON)


def only(state: Desired) -> Wanted:
    (wanted,) = state.deployments
    return wanted


def after(state: Desired, well: bool, *, final: bool = False) -> Desired:
    """One more VM of the last run ended."""
    one = only(state)
    assert one.policy.job
    number = one.runs[-1].number
    runs = jobs.counted(one.policy.job, one.runs, number, NOON, well=well, final=final, story="  no")
    return desired.ran(state, KEY, runs, one.scheduled_at, "no")


def steps(state: Desired, *running: Running, waits: dict[int, float] | None = None) -> list[Step]:
    return list(next_steps(only(state), running, waits or {}, 100.0))


def vm(slot: int, run: int, state: str = "starting") -> Running:
    return Running(f"vm-{slot}", slot, "any", state, run=run)  # type: ignore[arg-type]


def test_as_many_vms_at_a_time_as_it_says_until_enough_ended_well() -> None:
    state = ordered(Job(completions=3, parallelism=2))
    assert steps(state) == [Start(0, 1), Start(1, 1)]
    assert steps(state, vm(0, 1), vm(1, 1)) == []
    state = after(state, True)
    assert steps(state, vm(1, 1)) == [Start(0, 1)]
    state = after(state, True)
    assert steps(state, vm(0, 1)) == []
    state = after(state, True)
    assert (only(state).runs[-1].outcome, steps(state)) == ("succeeded", [])
    assert (only(state).served, only(state).reason) == (True, "")
    assert desired.from_json(desired.to_json(state)) == state


def test_a_failed_vm_is_followed_by_another_until_there_were_too_many() -> None:
    state = ordered(Job(most_failures=1))
    state = after(state, False)
    assert steps(state, waits={1: 101.0}) == []
    assert steps(state) == [Start(0, 1)]
    state = after(state, False)
    (run,) = only(state).runs
    assert (run.outcome, run.failed, run.story, only(state).reason) == ("failed", 2, "  no", "no")
    assert steps(state, vm(3, 1)) == [Drain("vm-3")]
    assert only(after(state, True)).runs == (run,), "what ends later counts no more"


def test_where_containers_are_tried_again_inside_one_failed_pod_is_the_end() -> None:
    assert only(after(ordered(Job(retry=True)), False, final=True)).runs[-1].outcome == "failed"


def test_a_job_that_ended_well_or_runs_is_left_alone_and_a_failed_or_changed_one_runs_again() -> None:
    state = ordered(Job())
    assert ordered(Job(), state) == state
    well = after(state, True)
    assert ordered(Job(), well) == well
    again = only(ordered(Job(), after(after(ordered(Job(most_failures=0)), False), False)))
    assert [(one.number, one.outcome) for one in again.runs] == [(1, "failed"), (2, "")]
    assert (again.revision, again.reason) == (1, "")
    for changed in (ordered(Job(completions=2), well), ordered(Job(), well, machine=image("c" * 64))):
        assert [(one.number, one.outcome) for one in only(changed).runs] == [(1, "succeeded"), (2, "")]
    running = only(ordered(Job(), state, machine=image("c" * 64)))
    assert [one.outcome for one in running.runs] == [""], "what ran of the job before is no run any more"


def found(state: Desired) -> Deployment:
    one = only(state)
    assert one.policy.job
    return Deployment(
        *("backup", "default", "local", one.revision, one.machine.image, (), 0, 0, ()),
        fingerprint=one.fingerprint,
        machine=one.machine.fingerprint,
        labels=one.written.labels,
        phase=jobs.phase(one.policy.job, one.runs),
    )


def words(state: Desired, job: Job) -> list[tuple[str, str]]:
    made = plan.plan(KEY, of_job(job), found(state), state, {1})
    return [(one.verb, one.reason) for one in made.actions]


def test_a_plan_says_whether_a_job_runs_again_and_why() -> None:
    state = after(ordered(Job(most_failures=0)), True)
    assert words(state, Job(most_failures=0)) == []
    assert words(state, Job(completions=2)) == [("change", "the job changes")]
    failed = after(ordered(Job(most_failures=0)), False)
    assert words(failed, Job(most_failures=0)) == [("replace", "it failed last time, and runs once more")]


def test_a_job_takes_no_other_number() -> None:
    with pytest.raises(InputError, match="parallelism"):
        order_for(ordered(Job()), KEY, Scale(3), ())


def test_one_that_takes_too_long_has_failed() -> None:
    job = Job(deadline_s=60)
    runs = only(ordered(job)).runs
    assert jobs.late(job, runs, "2026-01-05T12:01:00Z") == runs
    (run,) = jobs.late(job, runs, "2026-01-05T12:01:01Z")
    assert (run.outcome, run.story) == ("failed", "  it did not end within 60 s")


def test_a_schedule_begins_runs_at_its_times_and_of_missed_ones_the_last() -> None:
    one = only(ordered(EVERY_HOUR))
    assert (one.runs, one.scheduled_at, one.served) == ((), NOON, True)
    assert jobs.phase(EVERY_HOUR, one.runs) == "scheduled"
    assert jobs.due(EVERY_HOUR, (), NOON, "2026-01-05T12:59:59Z") == ((), NOON)
    runs, since = jobs.due(EVERY_HOUR, (), NOON, "2026-01-05T13:00:00Z")
    assert (runs, since) == ((Run(1, "2026-01-05T13:00:00Z"),), "2026-01-05T13:00:00Z")
    runs, since = jobs.due(EVERY_HOUR, (), NOON, "2027-02-05T13:59:59Z")
    assert (len(runs), since) == (1, "2027-02-05T13:00:00Z")
    assert jobs.due(EVERY_HOUR, runs, since, "2027-02-05T13:59:59Z") == (runs, since)


def test_one_that_is_suspended_has_not_failed_whatever_it_did_before() -> None:
    failed = after(ordered(Job(most_failures=0)), False)
    stopped = Job(most_failures=0, suspended=True)
    state = ordered(stopped, failed)
    assert jobs.phase(stopped, only(state).runs) == "suspended"
    assert words(state, stopped) == [], "and there is nothing to do again"
    assert [one.outcome for one in orders.history(only(state), ())] == ["serving"]
    again = ordered(Job(most_failures=0), state)
    assert jobs.phase(Job(most_failures=0), only(again).runs) == "running"


def test_a_schedule_counts_in_its_own_zone_and_not_while_it_is_suspended() -> None:
    madrid = Job(schedule="30 0 * * *", time_zone="Europe/Madrid")
    assert jobs.due(madrid, (), NOON, "2026-01-05T23:30:00Z")[1] == "2026-01-05T23:30:00Z"
    assert jobs.due(madrid, (), NOON, "2026-01-05T23:29:59Z")[0] == ()
    suspended = replace(madrid, suspended=True)
    assert jobs.due(suspended, (), NOON, "2026-01-09T00:00:00Z") == ((), NOON)


@given(st.integers(1, 10**7), st.sampled_from(["* * * * *", "*/7 3 * * *", "0 0 1 * *", "59 23 31 12 *"]))
def test_the_time_that_counts_is_the_last_up_to_now(minutes: int, schedule: str) -> None:
    first = jobs.next_time(schedule, None, NOON)
    assert first
    now = first + minutes * jobs.NEAR * 2
    _, since = jobs.due(Job(schedule=schedule), (), NOON, now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    later = jobs.next_time(schedule, None, since)
    assert NOON < since <= now.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert later is None or later > now


def test_what_runs_when_the_next_time_comes_is_let_waited_for_or_replaced() -> None:
    before = (Run(1, NOON),)
    one = "2026-01-05T13:00:00Z"
    both, _ = jobs.due(replace(EVERY_HOUR, overlap="Allow"), before, NOON, one)
    assert [(run.number, run.outcome) for run in both] == [(1, ""), (2, "")]
    assert jobs.due(replace(EVERY_HOUR, overlap="Forbid"), before, NOON, one) == (before, NOON)
    ended = (replace(before[0], outcome="succeeded"),)
    late, _ = jobs.due(replace(EVERY_HOUR, overlap="Forbid"), ended, NOON, "2026-01-05T13:20:00Z")
    assert [run.number for run in late] == [1, 2]
    other, _ = jobs.due(replace(EVERY_HOUR, overlap="Replace"), before, NOON, one)
    assert [(run.number, run.outcome) for run in other] == [(1, "failed"), (2, "")]


def test_runs_of_one_job_beside_each_other_have_places_of_their_own() -> None:
    state = ordered(replace(EVERY_HOUR, parallelism=2, completions=2))
    runs = (Run(1, NOON), Run(2, NOON))
    state = desired.ran(state, KEY, runs, NOON)
    assert steps(state, vm(1, 1)) == [Start(0, 1), Start(2, 2), Start(3, 2)]


def test_three_ended_runs_are_known_and_all_that_have_not() -> None:
    runs: jobs.Runs = ()
    for number in range(1, 7):
        runs = jobs.begun(runs, NOON)
        runs = tuple(replace(one, outcome="" if one.number == 1 else "succeeded") for one in runs)
        assert runs[-1].number == number
    assert [one.number for one in jobs.begun(runs, NOON)] == [1, 5, 6, 7]


def test_another_schedule_counts_from_its_order_on_and_the_same_from_before() -> None:
    state = desired.ran(ordered(EVERY_HOUR), KEY, (), "2026-01-05T10:00:00Z")
    assert only(ordered(replace(EVERY_HOUR, suspended=True), state)).scheduled_at == "2026-01-05T10:00:00Z"
    assert only(ordered(replace(EVERY_HOUR, schedule="1 * * * *"), state)).scheduled_at == NOON


def test_what_is_tried_for_ever_is_not_waited_for_once_it_fails_again_and_again() -> None:
    pod = parse(
        [("pod.yml", b"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {restartPolicy: OnFailure,"
          b" containers: [{name: a, image: a}]}}")]
    ).workloads[0]  # fmt: skip
    assert pod.job
    assert [jobs.goes_on(pod.job, 4, failures) for failures in (4, 6, 7)] == [True, True, False]
    assert jobs.goes_on(Job(retry=True), 0, 5), "it comes to its end"
