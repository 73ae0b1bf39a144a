"""Events, errors and values as text."""

import io
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit import report
from i2kit.errors import InputError, OperationError, Position, Problem
from i2kit.events import Event, Finished, Note, Progress, Replicas, Started, Warned
from i2kit.model import (
    Deployment,
    Endpoint,
    Instance,
    PlacedImage,
    Pruned,
    Share,
    Stock,
    StoredForm,
    StoredImage,
    Use,
)
from tests import golden

EVENTS: Sequence[Event] = (
    Started("pull", "pull nginx"),
    Progress("pull", 1_000_000, 40_000_000, "bytes"),
    Progress("pull", 12_500_000, 40_000_000, "bytes"),
    Progress("pull", 40_000_000, 40_000_000, "bytes"),
    Finished("pull", "40.0 MB"),
    Warned("the tag moved"),
    Note("no hardware virtualization"),
)


def machine(id_: str, state: str, detail: str = "") -> Instance:
    return Instance(
        id_, "10.77.1.1", state == "ready", "f" * 64, "2026-11-21T10:00:00Z", cast(Any, state), detail
    )


ROLLOUT: Sequence[tuple[Instance, ...]] = (
    (machine("web-old", "ready"), machine("web-new", "starting")),
    (machine("web-old", "ready"), machine("web-new", "starting", "nobody listens on port 80")),
    (machine("web-old", "draining"), machine("web-new", "ready")),
    (machine("web-new", "ready"),),
)
TOLD = (
    "web-old: ready",
    "web-new: starting",
    "web-new: starting (nobody listens on port 80)",
    "web-old: ready → draining",
    "web-new: starting → ready",
    "web-old: gone",
)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(events: Sequence[Event], times: Sequence[float] = (), **options: bool) -> str:
    stream = io.StringIO()
    clock = iter(times)
    watch = report.Lines(stream, clock=lambda: next(clock, 0.0), **options)
    for event in events:
        watch(event)
    return stream.getvalue()


def test_progress_in_a_pipe_is_written_now_and_then() -> None:
    # The clock is read at each start and progress.
    assert lines(EVENTS, times=[0.0, 0.1, 2.5, 3.0]) == (
        "pull nginx\n"
        "pull nginx: 12.5 of 40.0 MB\n"
        "pull nginx: 40.0 MB\n"
        "warning: the tag moved\n"
        "no hardware virtualization\n"
    )


def test_machines_in_a_pipe_are_told_by_what_changed() -> None:
    events = [Replicas("default/web", 1, each) for each in (*ROLLOUT, ROLLOUT[-1])]
    assert lines(events).splitlines() == list(TOLD)


def test_machines_on_a_terminal_are_a_table_as_long_as_they_change() -> None:
    stream = Terminal()
    with report.watching(stream, environ={"TERM": "xterm"}) as watch:
        watch(Started("default/web", "starting default/web"))
        watch(Replicas("default/web", 1, ROLLOUT[1]))
        time.sleep(0.3)
        watch(Finished("default/web", "1 of 1 ready"))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"web-new +starting +nobody listens on port 80\s+web-old +ready", text)
    assert "web-new" not in text[text.rindex("✓ starting default/web: 1 of 1 ready") :]


def test_more_machines_than_fit_on_a_screen_are_counted() -> None:
    many = [machine(f"web-{number}", "ready") for number in range(50)]
    text = report.replicas([*many, machine("web-bad", "failed", "container web ended with exit status 1")])
    assert text.splitlines()[0].startswith("  web-bad")
    assert text.splitlines()[-1] == "  and 31 more"


def deployment(revision: int, instances: tuple[Instance, ...]) -> Deployment:
    return Deployment(
        name="web",
        namespace="default",
        provider="local",
        revision=revision,
        image="f" * 64,
        endpoints=(Endpoint("http://127.0.0.1:30080", False, "default/web", 80),),
        replicas_wanted=1,
        replicas_ready=sum(one.ready for one in instances),
        instances=instances,
    )


def test_a_followed_status_in_a_pipe_is_lines() -> None:
    stream = io.StringIO()
    with report.status_watching(stream, instances=False) as show:
        for each in ROLLOUT:
            show([deployment(2, each)])
        show([])
    assert stream.getvalue().splitlines() == [
        "default/web: revision 2, 1 of 1 ready",
        *(f"default/web: {line}" for line in TOLD),
        "default/web: gone",
    ]


def test_a_followed_status_on_a_terminal_is_the_table() -> None:
    stream = Terminal()
    with report.status_watching(stream, instances=True, environ={"TERM": "xterm"}) as show:
        for each in ROLLOUT:
            show([deployment(2, each)])
        assert re.search(r"default +web +1/1 +2 ", stream.getvalue())
        assert "draining" in stream.getvalue()
        show([])
    assert "web-new" not in stream.getvalue()[stream.getvalue().index("nothing runs") :]


def test_progress_in_a_pipe_that_came_no_further_is_not_written_again() -> None:
    waiting: list[Event] = [Progress("web", done, 3, "items") for done in (0, 0, 0, 1)]
    events: list[Event] = [Started("web", "starting web"), *waiting, Finished("web", "ready")]
    assert lines(events, times=[0, 3, 6, 9, 12]).splitlines() == [
        "starting web",
        "starting web: 0 of 3",
        "starting web: 1 of 3",
        "starting web: ready",
    ]


def test_quiet_leaves_the_warnings() -> None:
    assert lines(EVENTS, quiet=True) == "warning: the tag moved\n"


def test_lines_go_on_when_their_reader_went_away() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    report.Lines(Gone())(Note("to nobody"))


def on_terminal(environ: dict[str, str]) -> str:
    stream = Terminal()
    with report.watching(stream, environ=environ) as watch:
        for event in EVENTS:
            watch(event)
    return stream.getvalue()


def test_a_terminal_keeps_a_line_of_each_finished_step_and_every_warning() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_terminal({"TERM": "xterm"}))
    for line in ("✓ pull nginx: 40.0 MB", "warning: the tag moved", "· no hardware virtualization"):
        assert line in text


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")  # that of whoever runs the tests decides nothing
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", on_terminal({"TERM": "xterm"}))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", on_terminal({"TERM": "xterm", "NO_COLOR": "1"}))


def test_a_dumb_terminal_gets_lines() -> None:
    assert "\x1b" not in on_terminal({"TERM": "dumb"})


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], colour: bool) -> None:
    assert report.coloured(Terminal(), environ) is colour
    assert report.coloured(io.StringIO(), environ) is False


def test_an_error_has_its_hint_after_an_empty_line() -> None:
    error = OperationError("the registry does not answer", hint="start it")
    assert report.explained(error) == "error: the registry does not answer\n\nhint: start it\n"


def test_words_of_strangers_do_not_steer_the_terminal() -> None:
    problem = Problem("has the type `a\x1b[2J\rb`\n  twice", Position("a\x07.yml", 1, 2), "not\x9b1m")
    text = report.explained(InputError([problem]))
    assert "a\\x07.yml:1:2: error: has the type `a\\x1b[2J\\rb`\n  twice" in text
    assert "hint: not\\x9b1m" in text
    assert report.explained(OperationError("\x1b[2J", hint="\u202e")) == "error: \\x1b[2J\n\nhint: \\u202e\n"


def test_all_problems_of_the_input_are_shown_with_their_places_and_counted() -> None:
    place = Position("app.yml", 3, 5)
    error = InputError(
        [Problem("unknown field `replica`", place, "did you mean `replicas`?"), Problem("no name")]
    )
    assert report.explained(error) == (
        "app.yml:3:5: error: unknown field `replica`\n"
        "  hint: did you mean `replicas`?\n"
        "error: no name\n"
        "\n"
        "2 problems found; nothing was touched\n"
    )


cells = st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs")), max_size=12)


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(*[cells] * width), min_size=1, max_size=6)))
def test_a_table_has_a_line_a_row_and_columns_that_begin_alike(rows: list[tuple[str, ...]]) -> None:
    written = report.table(rows).splitlines()
    assert [line.split() for line in written] == [[cell or "-" for cell in row] for row in rows]
    widths = [max(len(cell or "-") for cell in column) for column in zip(*rows, strict=True)]
    for row, line in zip(rows, written, strict=True):
        for number, cell in enumerate(row):
            begin = sum(widths[:number]) + 2 * number
            assert line[begin:].startswith(cell or "-")


# The store

USE = Use("a" * 64, "local", "shop/web", "/state")
STOCK = Stock(
    images=(
        StoredImage(
            id="a" * 64,
            names=("shop/web", "shop/web-blue"),
            containers=(("web", f"docker.io/library/nginx@sha256:{'1' * 64}"),),
            images=(f"docker.io/library/nginx@sha256:{'1' * 64}",),
            created_at="2026-01-01T12:00:00Z",
            size_bytes=90_000_000,
            own_bytes=50_000_000,
            shared_bytes=40_000_000,
            forms=(StoredForm("raw", 300_000_000, 20_000_000), StoredForm("vhd", 300_000_000, 21_000_000)),
            used_by=(USE, USE, replace(USE, key="shop/api", why="can go back to", revision=3)),
        ),
        StoredImage(
            id="b" * 64,
            names=(),
            containers=(),
            images=(),
            created_at="",
            size_bytes=12_000,
            own_bytes=12_000,
            shared_bytes=0,
            forms=(),
            used_by=(),
        ),
    ),
    shares=(Share("machine images", 2, 90_012_000), Share("packages", 0, 0), Share("other", 1, 0)),
)


def test_the_store_as_tables() -> None:
    nothing = report.stock(Stock((), STOCK.shares[1:2]), datetime(2026, 1, 3, 13, tzinfo=UTC))
    text = report.stock(STOCK, datetime(2026, 1, 3, 13, tzinfo=UTC))
    golden.check("cli/images.txt", f"{text}\n--- nothing\n{nothing}")


def test_the_store_as_data() -> None:
    first, damaged = json.loads(json.dumps(report.stock_json(STOCK)))["images"]
    assert first["id"] == "a" * 64
    assert (first["created_at"], damaged["created_at"]) == ("2026-01-01T12:00:00Z", None)
    assert first["formats"] == ["raw", "vhd"]
    assert first["outputs"][0] == {"format": "raw", "size_bytes": 300_000_000, "disk_bytes": 20_000_000}
    assert first["used_by"][0] == {
        "name": "web",
        "namespace": "shop",
        "provider": "local",
        "place": "/state",
        "why": "runs",
        "revision": None,
    }


def test_what_went_in_words() -> None:
    gone = Pruned(STOCK.images, (50_000_000, 12_000), (Share("packages", 1, 3_000_000),))
    assert report.pruned(gone, dry_run=True) == (
        "would remove image aaaaaaaaaaaa of shop/web, shop/web-blue: 50.0 MB\n"
        "would remove image bbbbbbbbbbbb: 12 kB\n"
        "would remove 1 file of packages: 3.0 MB\n"
        "53.0 MB would become free\n"
    )
    assert report.pruned(gone, dry_run=False).endswith("\n53.0 MB became free\n")
    assert report.pruned_json(gone, dry_run=False)["freed_bytes"] == 53_012_000
    assert report.pruned_json(replace(gone, unknown=("typo",)), dry_run=False)["unknown"] == ["typo"]
    assert report.pruned(Pruned((), (), ()), dry_run=False) == ""
    assert report.kept(STOCK.images[:1]) == (
        "image aaaaaaaaaaaa of shop/web, shop/web-blue stays: shop/web runs it,"
        " shop/api can go back to it (revision 3)"
    )


def test_why_images_of_a_cloud_stay() -> None:
    used = PlacedImage("ami-2", "b" * 64, "", 1, "amd64", ("default/web",), ("default/web", "i-0abc"))
    assert report.kept_placed([used]) == "ami-2 of default/web stays: needed by default/web, i-0abc"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (86_400 * 400, "400 days")],
)
def test_ages(seconds: int, text: str) -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    assert report.age("2026-01-01T00:00:00Z", then + timedelta(seconds=seconds)) == text
