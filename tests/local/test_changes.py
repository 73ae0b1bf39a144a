"""When a change is done, when it has failed, and what becomes of it: told by VMs whose guests are tests."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.model import Job, Strategy
from i2kit.providers.local import changes
from i2kit.providers.local.changes import Changes
from i2kit.providers.local.design import desired, jobs
from i2kit.providers.local.design.desired import Desired, Wanted, admit, order_of
from i2kit.providers.local.machines.machine import Vm

from .guests import Guest
from .releases import image, release

KEY = "default/web"
NOW = "2026-01-01T00:00:00Z"


class Place:
    """What should run, what runs, and the changes between."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.guests: dict[str, Guest] = {}
        self.vms: dict[str, Vm] = {}
        self.state = Desired()
        self.changes = Changes(self.vms)

    @property
    def now(self) -> Wanted:
        return self.state.deployments[0]

    def order(
        self, letter: str, *, deadline_s: int = 600, strategy: Strategy = desired.DEFAULT_STRATEGY
    ) -> None:
        given = release(machine=image(letter * 64), replicas=1)
        workload = replace(given.workload, progress_deadline_s=deadline_s, strategy=strategy)
        self.state = admit(self.state, order_of(replace(given, workload=workload)))
        self.changes.begin(self.now)

    def boot(self, id: str) -> Guest:
        """A VM of what its VMs should be now."""
        machine = self.changes.goal(self.now).machine.fingerprint
        guest = Guest(self._folder / id, id=id, machine=machine)
        self.guests[id], self.vms[id] = guest, guest.vm
        return guest

    def gone(self, id: str) -> None:
        self.guests[id].end()
        del self.vms[id]

    def restart(self) -> None:
        """The supervisor begins anew: no VM runs."""
        for id in list(self.vms):
            self.gone(id)
        self.changes = Changes(self.vms)
        self.changes.begin(self.now, restoring=self.now.rolling)

    def judge(self) -> tuple[int, str, bool, str]:
        """The revision, its machine, whether it served, and why it failed."""
        self.state = self.changes.judged(self.state, NOW)
        return self.now.revision, self.now.machine.image[0], self.now.served, self.now.reason


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(changes, "kept", lambda wanted: frozenset(range(99)))
    made = Place(tmp_path)
    yield made
    for id in list(made.vms):
        made.gone(id)


def served(place: Place) -> Guest:
    """Revision 1 serves."""
    place.order("a")
    guest = place.boot("web-a")
    assert place.judge() == (1, "a", False, "")
    guest.says("ready")
    assert place.judge() == (1, "a", True, "")
    return guest


def test_the_third_crash_of_the_first_new_vm_goes_back(place: Place) -> None:
    served(place)
    place.order("b")
    guest = place.boot("web-b")
    (place._folder / "web-b").write_text("t web no database\n")
    for _ in range(2):
        guest.says("exited web 7 1", "ready")
        assert place.judge() == (2, "b", False, ""), "the old one still runs beside it"
    guest.says("exited web 7 4 out of memory")
    assert place.judge() == (3, "a", True, "")
    failed = place.now.past[-1]
    what = "web-b: container web ended with exit status 7 (out of memory), starts again in 4 s"
    assert (failed.reason, failed.story) == (f"{what}: web no database", f"  {what}\n    web no database")
    place.gone("web-b")
    assert place.changes.is_complete(place.now)


def test_crashes_before_the_change_do_not_count(place: Place) -> None:
    place.order("a")
    guest = place.boot("web-a")
    guest.says(*["exited web 7 1"] * 3)
    reason = "web-a: container web ended with exit status 7, starts again in 1 s"
    assert place.judge() == (1, "a", False, reason), "there is nothing to go back to"
    place.order("a")
    guest.says("exited web 7 1")
    assert place.judge() == (1, "a", False, "")


def test_what_was_given_up_may_serve_after_all(place: Place) -> None:
    place.order("a")
    guest = place.boot("web-a")
    guest.says("broken no root")
    assert place.judge() == (1, "a", False, "web-a: no root")
    guest.says("ready")
    assert place.judge() == (1, "a", True, "")


def test_an_init_container_may_fail_twice_before_it_succeeds(place: Place) -> None:
    place.order("a")
    guest = place.boot("web-a")
    guest.says("exited prepare 1 1", "exited prepare 1 2", "exited prepare 0 0")
    assert place.judge() == (1, "a", False, "")
    guest.says("started web", "ready")
    assert place.judge() == (1, "a", True, "")


def test_a_job_that_failed_stays_so_when_its_last_vm_goes(place: Place) -> None:
    given = release(machine=image("a" * 64), replicas=1)
    job = replace(given, workload=replace(given.workload, job=Job(deadline_s=6)))
    place.state = admit(place.state, order_of(job), now=NOW)
    place.changes.begin(place.now)
    place.boot("web-a").says("ready")
    late = jobs.late(Job(deadline_s=6), place.now.runs, "2026-01-01T00:01:00Z")
    place.state = desired.ran(place.state, KEY, late, "", "it did not end within 6 s")
    assert place.judge() == (1, "a", False, "it did not end within 6 s")


def test_one_that_switches_itself_off_is_bad_one_that_is_killed_only_the_third_time(place: Place) -> None:
    served(place)
    place.order("b")
    for number in range(1, 4):
        assert place.judge() == (2, "b", False, "")
        place.changes.died(place.now, place.now.machine.fingerprint, f"killed {number}")
    assert place.judge() == (3, "a", True, "")
    assert place.now.past[-1].reason == "killed 3"
    place.order("c")
    place.changes.died(place.now, "another machine", "of the old ones", by_itself=True)
    assert place.judge() == (4, "c", False, "")
    place.changes.died(place.now, place.now.machine.fingerprint, "off", by_itself=True)
    assert place.judge() == (5, "a", True, "")


def test_no_progress_tells_what_was_waited_for(place: Place) -> None:
    served(place)
    place.order("b", deadline_s=0)
    place.boot("web-b").says("probe web readiness failed HTTP 503")
    place.judge()  # the first look comes further than none
    assert place.judge() == (3, "a", True, "")
    assert place.now.past[-1].reason == (
        "web-b: container web: readiness probe failed: HTTP 503 (nothing came further for 0 s)"
    )


def test_what_served_and_does_not_come_as_far_as_it_should_stays(place: Place) -> None:
    served(place).says("unready")
    place.order("a", deadline_s=0)
    place.judge()
    assert place.judge() == (1, "a", True, "")
    assert "nothing came further" in place.changes.stuck[KEY]
    place.order("a")
    assert KEY not in place.changes.stuck


def test_after_a_restart_in_the_middle_what_served_comes_back_first(place: Place) -> None:
    served(place)
    place.order("b")
    place.boot("web-b")
    place.restart()
    assert place.changes.goal(place.now).machine.image[0] == "a"
    place.boot("web-2").says("ready")
    assert place.judge() == (2, "b", False, "")
    assert place.changes.goal(place.now).machine.image[0] == "b"
    place.boot("web-3").says("broken no root")
    assert place.judge() == (3, "a", True, "")


def test_what_cannot_come_back_or_may_not_be_mixed_is_not_waited_for(place: Place) -> None:
    served(place)
    place.order("b")
    place.restart()
    place.boot("web-2").says("broken no root")
    place.judge()
    assert place.changes.goal(place.now).machine.image[0] == "b"
    place.order("c", strategy=Strategy(recreate=True))
    place.restart()
    assert place.changes.goal(place.now).machine.image[0] == "c"
