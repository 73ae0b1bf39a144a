"""When a rollout came further, and what is told of one that failed."""

from i2kit.providers.local.design.desired import Desired, Wanted, admit, order_of
from i2kit.providers.local.design.plan import Running
from i2kit.providers.local.design.rollout import MOST_REASON, MOST_STORY, Reached, in_short, reached, story

from .releases import release


def wanted() -> Wanted:
    return admit(Desired(), order_of(release())).deployments[0]


def vm(name: str, state: str, *, available: bool = False) -> Running:
    machine = wanted().machine.fingerprint if name.startswith("new") else "old"
    return Running(name, 0, machine, state, available)  # type: ignore[arg-type]


def test_what_counts_as_progress_and_that_it_counts_once() -> None:
    """Each line comes further than those before; the same once more, or less than that, does not."""
    old = [vm("old-1", "ready", available=True), vm("old-2", "ready", available=True)]
    states = [
        old,
        [*old, vm("new-1", "starting")],
        [*old, vm("new-1", "ready")],
        [*old, vm("new-1", "ready", available=True)],
        [old[0], vm("new-1", "ready", available=True)],
        [old[0], vm("new-1", "ready", available=True), vm("new-2", "starting")],
    ]
    best = Reached(0.0)
    for second, running in enumerate(states):
        best = reached(best, 2, wanted(), running, float(second))
        assert best.at_s == float(second)
        for before in states[: second + 1]:
            assert reached(best, 2, wanted(), before, 99.0) == best


def test_a_story_in_short_is_what_happened_and_the_last_words() -> None:
    told = story("web-1: exit status 7", ["web starting", "web no database"])
    assert told == "  web-1: exit status 7\n    web starting\n    web no database"
    assert in_short(told) == "web-1: exit status 7: web no database"
    assert in_short("") == ""
    long = story("web-1: " + "x" * 9000, ["y" * 9000])
    assert (len(long), len(in_short(long))) == (MOST_STORY, MOST_REASON)
