"""What to do next, for people and for the supervisor."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from i2kit.model import (
    Amount,
    Deployment,
    Ingress,
    MachineImage,
    Release,
    Route,
    Service,
    ServicePort,
    Strategy,
)
from i2kit.providers import Plan
from i2kit.providers.local.design import plan
from i2kit.providers.local.design.desired import (
    MAX_REPLICAS,
    MAX_SLOTS,
    Desired,
    Policy,
    Wanted,
    admit,
    order_of,
)
from i2kit.providers.local.design.plan import Drain, Kill, Running, Start, Step, is_complete, next_steps

from .releases import image, release

OLD = "old"
ONE_MORE = Strategy(max_surge=Amount(1), max_unavailable=Amount(0))
ONE_LESS = Strategy(max_surge=Amount(0), max_unavailable=Amount(1))
RECREATE = Strategy(recreate=True)


def wanted(replicas: int = 3, strategy: Strategy = ONE_MORE) -> Wanted:
    now = admit(Desired(), order_of(release(replicas=replicas))).deployments[0]
    return replace(now, policy=Policy(strategy))


def new(slot: int, state: str = "ready", *, available: bool | None = None) -> Running:
    return vm("new", slot, wanted().machine.fingerprint, state, available)


def old(slot: int, state: str = "ready", *, available: bool | None = None) -> Running:
    return vm("old", slot, OLD, state, available)


def vm(name: str, slot: int, machine: str, state: str, available: bool | None) -> Running:
    is_available = state == "ready" if available is None else available
    return Running(f"{name}-{slot}", slot, machine, state, is_available)  # type: ignore[arg-type]


def steps(
    running: list[Running],
    replicas: int = 3,
    waits: dict[int, float] | None = None,
    strategy: Strategy = ONE_MORE,
) -> list[Step]:
    return list(next_steps(wanted(replicas, strategy), running, waits or {}, now=100.0))


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


def test_without_surge_an_old_vm_leaves_first_and_its_room_is_free_when_it_is_gone() -> None:
    assert steps([old(0), old(1), old(2)], strategy=ONE_LESS) == [Drain("old-2")]
    assert steps([old(0), old(1), old(2, "draining")], strategy=ONE_LESS) == []
    assert steps([old(0), old(1)], strategy=ONE_LESS) == [Start(2)]
    assert steps([old(0), old(1), new(2, "starting")], strategy=ONE_LESS) == []


def test_shares_are_rounded_as_kubernetes_does() -> None:
    """A quarter of 10 each: 3 more at once, and 2 may be missing."""
    begun = steps([old(slot) for slot in range(10)], 10, strategy=Strategy())
    assert begun == [Drain("old-9"), Drain("old-8"), Start(10), Start(11), Start(12)]


def test_what_is_ready_too_short_does_not_let_an_old_one_go() -> None:
    assert steps([old(0), old(1), old(2), new(3, available=False)]) == []
    assert steps([old(0), old(1), old(2), new(3)]) == [Drain("old-2")]


def test_recreate_starts_nothing_before_the_last_old_one_is_gone() -> None:
    both = [old(0), old(1, "starting")]
    assert steps(both, strategy=RECREATE) == [Drain("old-0"), Kill("old-1")]
    assert steps([old(0, "draining")], strategy=RECREATE) == []
    assert steps([], strategy=RECREATE) == [Start(0), Start(1), Start(2)]
    assert steps([new(0), new(2)], strategy=RECREATE) == [Start(1)], "what dies is replaced as ever"


def test_an_update_of_an_update_takes_what_is_not_ready_first() -> None:
    """Version 3 comes while 2 has taken the place of one VM and starts another."""
    running = [old(0), old(1), replace(old(3), id="half"), old(2, "starting")]
    assert steps(running) == [Kill("old-2")]
    assert steps(running[:3]) == [Start(2)]


def test_a_rollback_in_the_middle_keeps_the_old_ones_that_are_there() -> None:
    """Back to what `new` is here: those that were not replaced yet stay, those of the update go."""
    running = [new(0), new(1), old(3), old(2, "starting")]
    assert steps(running) == [Kill("old-2")]
    assert steps([new(0), new(1), old(3)]) == [Start(2)]
    assert steps([new(0), new(1), new(2), old(3)]) == [Drain("old-3")]


def test_as_many_replicas_as_the_network_holds_can_be_updated_too() -> None:
    running = [old(slot) for slot in range(MAX_REPLICAS)]
    started = [one for one in steps(running, MAX_REPLICAS, strategy=Strategy()) if isinstance(one, Start)]
    assert [one.slot for one in started] == list(range(MAX_REPLICAS, MAX_SLOTS))


states = st.sampled_from(["starting", "ready", "draining"])
vms = st.lists(
    st.tuples(st.integers(0, 7), st.booleans(), states, st.booleans()), unique_by=lambda one: one[0]
)
amounts = st.builds(Amount, st.integers(0, 4)) | st.builds(Amount, st.integers(0, 100), st.just(True))
strategies = st.builds(Strategy, st.booleans(), amounts, amounts)


@given(vms, st.integers(0, 6), strategies, st.randoms(use_true_random=False))
def test_a_rollout_keeps_its_bounds_and_comes_to_its_end(
    given_vms: list[tuple[int, bool, str, bool]], replicas: int, strategy: Strategy, chance: Random
) -> None:
    """Whatever runs at first, and in whichever order VMs boot, become available and end."""
    running = [
        (new if is_new else old)(slot, state, available=available and state == "ready")
        for slot, is_new, state, available in given_vms
    ]
    goal = wanted(replicas, strategy)
    surge, unavailable = strategy.bounds(replicas)
    for _ in range(200):
        before = sum(one.available for one in running)
        serving = sum(one.state == "ready" for one in running)
        todo = list(next_steps(goal, running, {}, 0.0))
        for step in todo:
            match step:
                case Start(slot):
                    assert slot not in {one.slot for one in running}
                    running.append(new(slot, "starting"))
                    assert len(running) <= replicas + surge
                    assert not strategy.recreate or all(one.id.startswith("new") for one in running)
                case Drain(id):
                    running = [
                        replace(one, state="draining", available=False) if one.id == id else one
                        for one in running
                    ]
                case Kill(id):
                    running = [one for one in running if one.id != id]
        if not strategy.recreate:
            least = max(0, replicas - unavailable)
            assert sum(one.available for one in running) >= min(before, least)
            assert sum(one.state == "ready" for one in running) >= min(serving, least)
        if not todo and is_complete(goal, running) and len(running) == replicas:
            break
        # One after the other; in the end each has its turn.
        if running:
            one = running.pop(chance.randrange(len(running)))
            match one.state:
                case "starting":
                    running.append(replace(one, state="ready"))
                case "ready":
                    running.append(replace(one, available=True))
    assert len(running) == replicas
    assert is_complete(goal, running)
    assert list(next_steps(goal, running, {}, 0.0)) == []


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


def noted(given: Release) -> Desired:
    return admit(Desired(), order_of(given))


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
    slow = replace(release(), workload=replace(release().workload, min_ready_s=5, strategy=RECREATE))
    changed = [("change", "the strategy of updates changes, the time for which a VM must be ready changes")]
    assert words(plan.plan(key, slow, found(), noted(release()))) == changed
    told = replace(release(), workload=replace(release().workload, facts=(("metadata.labels['a']", "b"),)))
    reason = "its containers read other fields of the pod"
    assert words(plan.plan(key, told, found(), noted(release()))) == [("replace", reason)]
    assert words(plan.plan(key, None, found())) == [("remove", "3 VMs")]
    assert words(plan.plan(key, None, None)) == []


def test_retries_wait_longer_and_longer_but_not_for_ever() -> None:
    assert [plan.retry_delay_s(count) for count in (1, 2, 3, 4, 20)] == [0, 1, 2, 4, 30]


def numbered(replicas: int = 3) -> Wanted:
    one = release(replicas=replicas)
    one = replace(one, workload=replace(one.workload, stateful=True))
    return admit(Desired(), order_of(one)).deployments[0]


def in_order(running: list[Running], replicas: int = 3, waits: dict[int, float] | None = None) -> list[Step]:
    goal = numbered(replicas)
    named = {"new": goal.machine.fingerprint, "old": OLD}
    mine = [replace(one, machine=named[one.id.split("-")[0]]) for one in running]
    return list(next_steps(goal, mine, waits or {}, now=100.0))


def test_numbered_vms_come_one_after_the_other_once_those_before_are_available() -> None:
    assert in_order([]) == [Start(0)]
    assert in_order([new(0, "starting")]) == []
    assert in_order([new(0, available=False)]) == []
    assert in_order([new(0)]) == [Start(1)]
    assert in_order([new(0), new(2)]) == [Start(1)], "a killed one comes back in its place"
    assert in_order([new(0), new(2)], waits={1: 101.0}) == []
    assert in_order([new(0), new(1), new(2)]) == []


def test_numbered_vms_are_replaced_from_the_last_and_wait_for_each() -> None:
    assert in_order([old(0), old(1), old(2)]) == [Drain("old-2")]
    assert in_order([old(0), old(1), old(2, "draining")]) == []
    assert in_order([old(0), old(1)]) == [Start(2)]
    assert in_order([old(0), old(1), new(2, "starting")]) == []
    assert in_order([old(0), old(1), new(2)]) == [Drain("old-1")]
    assert in_order([old(0, "starting"), old(1), new(2)]) == [Kill("old-0")]
    assert in_order([old(0, "starting"), old(1, "starting")]) == [Kill("old-0"), Kill("old-1")]


def test_the_last_of_numbered_vms_goes_first_also_where_others_are_not_ready() -> None:
    assert in_order([new(0), new(1), new(2)], replicas=1) == [Drain("new-2")]
    assert in_order([new(0), new(1), new(2, "draining")], replicas=1) == []
    assert in_order([new(0, available=False), new(1)], replicas=1) == [Drain("new-1")]
    assert in_order([new(0), new(1, "starting")], replicas=1) == [Kill("new-1")]


def test_numbered_vms_come_to_what_is_wanted_and_no_number_is_ever_there_twice() -> None:
    random = Random(5)
    for _ in range(300):
        goal = numbered(random.randint(0, 5))
        running: list[Running] = [
            vm(f"old{slot}", slot, OLD, random.choice(["ready", "starting"]), None)
            for slot in range(random.randint(0, 5))
        ]
        for turn in range(200):
            for step in next_steps(goal, running, {}, float(turn)):
                if isinstance(step, Start):
                    assert step.slot not in {one.slot for one in running}
                    fresh = Running(f"new{turn}", step.slot, goal.machine.fingerprint, "starting")
                    running.append(fresh)
                else:
                    running = [
                        replace(one, state="draining") if one.id == step.id else one for one in running
                    ]
            one = random.choice(running) if running else None
            if one and one.state == "draining":
                running.remove(one)
            elif one and one.state == "starting":
                running[running.index(one)] = replace(one, state="ready", available=True)
            elif one and turn < 50 and random.random() < 0.2:
                running.remove(one)  # killed
        assert is_complete(goal, running)


def test_what_means_less_here_is_noted() -> None:
    front = Service("web", (("app", "web"),), (ServicePort(80, 80),), sources=("192.0.2.0/24",))
    one = Ingress("shop", (("", (Route("/", False, "web", 80),)),), certificate="arn:aws:acm:x")
    made = plan.plan("default/web", replace(release("web", services=(front,)), ingresses=(one,)), None)
    assert made.notes == (
        "service default/web: who may call it counts for nothing here, nobody but this machine can",
        "Ingress default/shop: its certificate is a cloud's, there is no HTTPS here",
    )
    assert plan.plan("default/web", release("web"), None).notes == ()
