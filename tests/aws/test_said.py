"""What a machine says of its own pod."""

import pytest

from i2kit.providers.aws.running.said import MOST_CHARACTERS, Said, said

EXITED = "container web ended with exit status"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Said()),
        (["booted", "address 10.0.0.1", "kernel: exited web 1 1", "usage 1 2"], Said()),
        (["exited web 7 1 "], Said(f"{EXITED} 7, starts again in 1 s", 1)),
        (
            ["exited prepare 1 1", "exited web 7 1", "exited prepare 0 0 "],
            Said(f"{EXITED} 7, starts again in 1 s", 2),
        ),
        (["exited web 7 1", "exited web 7 2", "exited web 0 0"], Said("", 2)),
        (["exited web 7 0"], Said(f"{EXITED} 7", 1)),
        (["exited web 137 2 out of memory"], Said(f"{EXITED} 137 (out of memory), starts again in 2 s", 1)),
        (
            ["exited web 1 1", "exited db 1 1", "exited web 1 2 cannot start: no such file"],
            Said(f"{EXITED} 1 (cannot start: no such file), starts again in 2 s", 3),
        ),
        (
            ["probe web readiness failed HTTP 503"],
            Said("container web: readiness probe failed: HTTP 503"),
        ),
        (["probe web liveness failed"], Said("container web: liveness probe failed: no answer")),
        (["probe web readiness failed HTTP 503", "probe web readiness ok"], Said()),
        (
            ["probe web startup failed refused", "probe db startup ok"],
            Said("container web: startup probe failed: refused"),
        ),
        (["exited web 1 1", "broken web has failed 7 times"], Said("web has failed 7 times", 1, True)),
        # All is well again.
        (
            ["exited web 1 1", "exited web 1 2", "ready", "exited web 1 1"],
            Said(f"{EXITED} 1, starts again in 1 s", 1),
        ),
        (["exited web 1 1 " + "x" * 5000], Said(f"{EXITED} 1 ({'x' * 5000}"[:MOST_CHARACTERS], 1)),
    ],
)
def test_what_is_wrong_and_how_often(lines: list[str], expected: Said) -> None:
    assert said(lines) == expected


def test_three_crashes_or_being_broken_are_hopeless() -> None:
    assert [Said(crashes=count).hopeless for count in range(4)] == [False, False, False, True]
    assert Said(broken=True).hopeless
