"""What a guest says about itself, and that it is data from a stranger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from i2kit.providers.local.machines import machine
from i2kit.providers.local.machines.machine import MOST_WORDS

from .guests import Guest


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(tmp_path / "log")
    yield made
    made.end()


@pytest.mark.parametrize(
    "said",
    [
        "memory ² 1",
        f"memory {'9' * 5000} 1",
        "memory",
        "exited",
        "exited \x1b[2J a b",
        "waiting",
        "ready now",
        "probe",
        "probe \x1b[2J readiness failed \x1b[2J",
        f"probe {'x' * 9000} liveness failed no",
        "probe web odd failed no",
        "usage -1 1",
        "broken \x1b[2J" + "x" * 9000,
        "\udcff",
    ],
)
def test_odd_words_do_no_harm(said: str, guest: Guest) -> None:
    """Words that look like numbers and are not, words without their arguments, terminal escapes."""
    guest.says(said, "memory 10 5")
    assert guest.vm.memory_kb == (10, 5)
    assert guest.vm.usage is None
    assert "\x1b" not in guest.vm.detail
    assert len(guest.vm.detail) <= MOST_WORDS


def test_its_state_is_shown_with_the_cause(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert guest.says("booted", "started web") == ("starting", "")
    slow = "container web: startup probe failed: connection refused"
    assert guest.says("probe web startup failed connection refused") == ("starting", slow)
    assert guest.says("probe web startup ok") == ("starting", "")
    early = "container web: liveness probe failed: connection refused"
    assert guest.says("probe web liveness failed connection refused") == ("starting", early)
    assert guest.says("probe web liveness ok") == ("starting", "")
    refused = "container web: readiness probe failed: HTTP 503"
    assert guest.says("probe web readiness failed HTTP 503") == ("starting", refused)
    with monkeypatch.context() as patched:
        patched.setattr(machine, "FAILING_S", 0.0)
        assert guest.says("probe web readiness failed HTTP 503") == ("failed", refused)
    assert guest.says("probe web readiness ok", "ready") == ("ready", "")
    assert guest.says("probe web readiness failed HTTP 503", "unready") == ("failed", refused)
    assert guest.says("probe web readiness ok", "ready") == ("ready", "")
    crash = "container web ended with exit status 7, starts again in 1 s"
    assert guest.says("unready", "exited web 7 1") == ("failed", crash)
    assert guest.says("started web") == ("failed", crash), "until it is ready, it may do so again"
    assert guest.says("ready") == ("ready", "")
    killed = (
        "container web ended with exit status 137 (liveness probe failed: timed out), starts again in 2 s"
    )
    hung = "exited web 137 2 liveness probe failed: timed out"
    assert guest.says("probe web liveness failed timed out", "unready", hung) == ("failed", killed)
    assert guest.says("usage 250 1000000", "broken container web failed 7 times in a row") == (
        "failed",
        "container web failed 7 times in a row",
    )
    assert guest.vm.usage == (250, 1000000)


def test_one_that_comes_first_and_ended_well_at_last_is_no_failure(guest: Guest) -> None:
    failed = "container prepare ended with exit status 1, starts again in 2 s"
    assert guest.says("init prepare", "exited prepare 1 1", "exited prepare 1 2") == ("failed", failed)
    assert guest.says("started prepare") == ("failed", failed)
    well = "container prepare ended with exit status 0"
    assert guest.says("exited prepare 0 0 ") == ("starting", well)
    assert guest.vm.failures == 2
    assert guest.says("started web") == ("starting", "")
    guest.says("exited web 7 1")
    assert guest.says("exited prepare 0 0", "started web")[0] == "failed", "another one has trouble"


def test_the_last_lines_are_those_of_the_container_that_failed(guest: Guest) -> None:
    lines = ["2026-01-01T00:00:00Z web giving up", *["2026-01-01T00:00:01Z sidecar still here"] * 20]
    guest.vm.log_path.write_text("\n".join(lines) + "\n")
    assert guest.vm.last_lines(2) == ["sidecar still here"] * 2
    guest.says("exited web 7 1")
    assert guest.vm.last_lines(2) == ["web giving up"]


def test_what_a_guest_says_on_its_console_has_a_bound_and_is_read_beyond_it(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "MOST_CONSOLE_BYTES", 1 << 20)
    guest.says_on_its_console(b"x" * (3 << 20))
    assert guest.vm.console_path.stat().st_size == 1 << 20


def test_the_last_words_of_a_numbered_vm_are_not_those_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026-01-01T00:00:00.000Z web earlier\n")
    guest = Guest(tmp_path / "log", id="web-0")
    assert guest.vm.last_lines(5) == []
    with (tmp_path / "log").open("a") as file:
        file.write("2026-01-01T00:00:01.000Z web now\n")
    assert guest.vm.last_lines(5) == ["web now"]
    guest.end()


@pytest.mark.parametrize(("said", "shown"), [("0", "succeeded"), ("1", "failed"), ("137", "failed")])
def test_a_pod_that_was_meant_to_end_is_shown_as_what_it_ended(said: str, shown: str, guest: Guest) -> None:
    assert guest.says("booted", "exited web 4 2")[1].endswith("4, starts again in 2 s")
    assert guest.says(f"finished {said}") == (shown, "container web ended with exit status 4")
    assert guest.vm.finished == said
