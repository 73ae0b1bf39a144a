"""What to do next, for people and for the supervisor."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from i2kit.model import Deployment, MachineImage
from i2kit.providers import Plan
from i2kit.providers.local import plan
from i2kit.providers.local.desired import SURGE, Desired, Wanted, admit, order_of
from i2kit.providers.local.plan import Drain, Kill, Running, Start, Step, next_steps

from .releases import image, release

OLD = "old"


def wanted(replicas: int = 3) -> Wanted:
    return admit(Desired(), order_of(release(replicas=replicas))).deployments[0]


def new(slot: int, state: str = "ready") -> Running:
    return Running(f"new-{slot}", slot, wanted().machine.fingerprint, state)  # type: ignore[arg-type]


def old(slot: int, state: str = "ready") -> Running:
    return Running(f"old-{slot}", slot, OLD, state)  # type: ignore[arg-type]


def steps(running: list[Running], replicas: int = 3, waits: dict[int, float] | None = None) -> list[Step]:
    return list(next_steps(wanted(replicas), running, waits or {}, now=100.0))


def test_a_first_deploy_starts_all_at_once() -> None:
    assert steps([]) == [Start(0), Start(1), Start(2)]


def test_what_is_as_wanted_is_left_alone() -> None:
    assert steps([new(0), new(1), new(2)]) == []


def test_a_dead_vm_is_started_again_in_its_slot() -> None:
    assert steps([new(0), new(2)]) == [Start(1)]


def test_a_slot_that_failed_waits_and_another_is_used() -> None:
    assert steps([new(0), new(1)], waits={2: 101.0}) == [Start(3)]
    assert steps([new(0), new(1)], waits={2: 101.0, 3: 101.0}) == []
    assert steps([new(0), new(1)], waits={2: 99.0}) == [Start(2)]


def test_a_new_revision_begins_with_one_more_vm() -> None:
    assert steps([old(0), old(1), old(2)]) == [Start(3)]


def test_no_old_vm_leaves_before_the_new_one_is_ready() -> None:
    assert steps([old(0), old(1), old(2), new(3, "starting")]) == []


def test_one_old_vm_leaves_for_each_new_one_that_is_ready() -> None:
    assert steps([old(0), old(1), old(2), new(3)]) == [Drain("old-2")]


def test_the_next_new_vm_waits_for_room() -> None:
    assert steps([old(0), old(1), old(2, "draining"), new(3)]) == []
    assert steps([old(0), old(1), new(3)]) == [Start(2)]


def test_an_old_vm_that_does_not_serve_is_killed_at_once() -> None:
    assert Kill("old-1") in steps([old(0), old(1, "starting"), old(2)])


def test_scaling_down_takes_vms_that_do_not_serve_first() -> None:
    assert steps([new(0, "starting"), new(1), new(2)], replicas=1) == [Kill("new-0"), Drain("new-2")]


def test_no_replicas_drains_everything() -> None:
    assert steps([new(0)], replicas=0) == [Drain("new-0")]


def test_what_is_not_wanted_is_killed() -> None:
    assert list(next_steps(None, [new(0)], {}, 0.0)) == [Kill("new-0")]


states = st.sampled_from(["starting", "ready", "draining"])
vms = st.lists(st.tuples(st.integers(0, 5), st.booleans(), states), unique_by=lambda one: one[0])


@given(vms, st.integers(0, 5))
def test_a_rollout_ends_with_what_is_wanted_and_never_serves_fewer(
    given_vms: list[tuple[int, bool, str]], replicas: int
) -> None:
    """Whatever runs at first: when every VM boots and every drain ends, it comes out right."""
    running = [new(slot, state) if is_new else old(slot, state) for slot, is_new, state in given_vms]
    serving = sum(one.state == "ready" for one in running)
    goal = wanted(replicas)
    for _ in range(100):
        todo = list(next_steps(goal, running, {}, 0.0))
        for step in todo:
            match step:
                case Start(slot):
                    assert slot not in {one.slot for one in running}
                    assert slot < replicas + SURGE
                    running.append(new(slot, "starting"))
                case Drain(id):
                    running = [replace(one, state="draining") if one.id == id else one for one in running]
                case Kill(id):
                    running = [one for one in running if one.id != id]
        assert sum(one.state == "ready" for one in running) >= min(serving, replicas)
        if not todo and all(one.state == "ready" for one in running):
            break
        running = [
            replace(one, state="ready") if one.state == "starting" else one
            for one in running
            if one.state != "draining"
        ]
    assert len(running) == replicas
    assert all(one.machine == goal.machine.fingerprint for one in running)


def found(replicas: int = 3, machine: MachineImage | None = None) -> Deployment:
    order = order_of(release(replicas=replicas, machine=machine))
    return Deployment(
        name="web",
        namespace="default",
        provider="local",
        revision=1,
        image=order.machine.image,
        endpoints=(),
        replicas_wanted=order.replicas,
        replicas_ready=order.replicas,
        instances=(),
        fingerprint=order.fingerprint,
        machine=order.machine.fingerprint,
        labels=order.written.labels,
    )


def words(given_plan: Plan) -> list[tuple[str, str]]:
    return [(action.verb, action.reason) for action in given_plan.actions]


def test_the_plan_in_words() -> None:
    aaa, ccc = "a" * 12, "c" * 12
    other = image("c" * 64)
    key = "default/web"
    assert words(plan.plan(key, release(), None)) == [("create", f"3 VMs of {aaa}")]
    assert words(plan.plan(key, release(), found())) == []
    assert words(plan.plan(key, release(replicas=5), found())) == [("scale", "3 → 5 VMs")]
    assert words(plan.plan(key, release(machine=other), found())) == [("replace", f"image {aaa} → {ccc}")]
    assert words(plan.plan(key, release(services=()), found())) == [("change", "services")]
    labels = (("app", "web"), ("tier", "front"))
    (service,) = release().services
    named = release(services=(replace(service, selector=labels),))
    named = replace(named, workload=replace(named.workload, labels=labels))
    assert words(plan.plan(key, named, found())) == [("change", "the labels change")]
    assert words(plan.plan(key, None, found())) == [("remove", "3 VMs")]
    assert words(plan.plan(key, None, None)) == []


def test_retries_wait_longer_and_longer_but_not_for_ever() -> None:
    assert [plan.retry_delay_s(count) for count in (1, 2, 3, 4, 20)] == [0, 1, 2, 4, 30]
