"""Schedules: the rules and the cases of github.com/robfig/cron, which Kubernetes follows."""

# ruff: noqa: E501 (a line is a case)

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit import cron

NEW_YORK = cron.zone("America/New_York")


def times(text: str, after: str, count: int = 1, zone: str | None = None) -> list[str]:
    """The next times after this one, as the zone's clocks show them."""
    schedule = cron.parse(text)
    found: list[str] = []
    time = datetime.fromisoformat(after)
    time = time.astimezone(cron.zone(zone)) if time.tzinfo else time.replace(tzinfo=cron.zone(zone))
    for _ in range(count):
        following = schedule.next(time)
        if following is None:
            return [*found, "never"]
        time = following
        found.append(time.isoformat(timespec="minutes").removesuffix("+00:00"))
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0/15 * * * *", "2012-07-09T14:45", "2012-07-09T15:00"),
        ("0/15 * * * *", "2012-07-09T14:59:59", "2012-07-09T15:00"),
        ("20-35/15 * * * *", "2012-07-09T23:46", "2012-07-10T00:20"),
        ("20-35/15 */2 9 jul *", "2012-07-09T23:35", "2013-07-09T00:20"),
        ("0 0 29 Feb ?", "2012-07-09T23:35", "2016-02-29T00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00", "2104-02-29T00:00"),
        ("0 0 30 2 *", "2012-07-09T23:35", "never"),
        ("0 0 31 4,6,9,11 *", "2012-07-09T23:35", "never"),
        ("0 0 * * mon", "2012-07-15T23:35", "2012-07-16T00:00"),
        ("* * * * *", "2012-12-31T23:59:30", "2013-01-01T00:00"),
        ("@hourly", "2012-07-09T14:00", "2012-07-09T15:00"),
        ("@weekly", "2012-07-09T14:00", "2012-07-15T00:00"),
        ("@monthly", "2012-07-09T14:00", "2012-08-01T00:00"),
        ("@annually", "2012-07-09T14:00", "2013-01-01T00:00"),
        # Either kind of day is enough where both are given, and `*/2` is one that is given.
        ("0 0 13 * fri", "2012-07-09T14:00", "2012-07-13T00:00"),
        ("0 0 1 * mon", "2012-07-29T14:00", "2012-07-30T00:00"),
        ("0 0 1 * mon", "2012-07-30T14:00", "2012-08-01T00:00"),
        ("0 0 */2 * sun", "2012-07-11T14:00", "2012-07-13T00:00"),
        ("0 0 */2 * sun", "2012-07-31T14:00", "2012-08-01T00:00"),
        ("0 0 */10 * *", "2012-07-11T14:00", "2012-07-21T00:00"),
        ("0 0 *,5 * sun", "2012-07-11T14:00", "2012-07-15T00:00"),
    ],
)
def test_the_next_time(text: str, after: str, expected: str) -> None:
    assert times(text, after) == [expected]


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # In spring 2:30 is not there that day; a job of every hour goes on.
        ("30 2 11 3 *", "2012-03-11T00:00-05:00", ["2013-03-11T02:30-04:00"]),
        ("30 2 * * *", "2012-03-10T03:00-05:00", ["2012-03-12T02:30-04:00"]),
        ("0 * * * *", "2012-03-11T01:00-05:00", ["2012-03-11T03:00-04:00", "2012-03-11T04:00-04:00"]),
        # In autumn 1:00 is there twice.
        ("0 1 * * *", "2012-11-04T00:00-04:00", ["2012-11-04T01:00-04:00", "2012-11-04T01:00-05:00"]),
        ("0 * * * *", "2012-11-04T01:00-05:00", ["2012-11-04T02:00-05:00"]),
        ("0 3 * * *", "2012-11-04T00:00-04:00", ["2012-11-04T03:00-05:00"]),
    ],
)  # fmt: skip
def test_clocks_that_change(text: str, after: str, expected: list[str]) -> None:
    assert times(text, after, len(expected), "America/New_York") == expected


def test_a_midnight_that_is_skipped() -> None:
    assert times("0 0 * * *", "2018-11-03T12:00-03:00", 1, "America/Sao_Paulo") == ["2018-11-05T00:00-02:00"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is empty", 'such as "0 3 * * *" for every day at 3:00'),
        ("* * * *", "has 4 fields and needs 5", "they are: minute, hour, day of the month, month, day of the week"),
        ("* * * * * *", "has 6 fields and needs 5", "they are: minute, hour, day of the month, month, day of the week"),
        ("60 * * * *", "the minute must be 0 to 59 and is 60", None),
        ("* 5-24 * * *", "the hour must be 0 to 23 and is 24", None),
        ("* * 0 * *", "the day of the month must be 1 to 31 and is 0", None),
        ("* * * 13 *", "the month must be 1 to 12 and is 13", None),
        ("* * * * 7", "the day of the week must be 0 to 6 and is 7", "Sunday is 0"),
        ("* * * * sunday", "`sunday` is not a day of the week", "use 0 to 6"),
        ("* 22-2 * * *", "`22-2` ends before it begins", "write 22-23,0-2"),
        ("*/0 * * * *", "`*/0` has a step of 0", "such as */2"),
        ("*/-1 * * * *", "`*/-1` is not a minute", "such as 0, *, 0-59, */2"),
        ("*-5 * * * *", "`*-5` is not a minute", "such as 0, *, 0-59, */2"),
        ("1,,2 * * * *", "`` is not a minute", "such as 0, *, 0-59, */2"),
        ("@reboot", "`@reboot` is not known", "these are: @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
        ("@every 1h", "`@every` is not possible: the times are those of a clock", 'such as "*/30 * * * *"'),
        ("CRON_TZ=UTC * * * * *", "cannot have a time zone in it", "write timeZone: ZONE beside it"),
        ("TZ=UTC * * * * *", "cannot have a time zone in it", "write timeZone: ZONE beside it"),
        ("0 " * 600, "has 1200 characters and may have 1000", None),
    ],
)  # fmt: skip
def test_what_is_no_schedule(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(cron.CronError) as raised:
        cron.parse(text)
    assert (str(raised.value), raised.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "name", ["", "Local", "local", "Nowhere/Land", "../etc/passwd", "/etc/localtime", "Europe", "a\0b"]
)
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(cron.CronError, match="is not a time zone"):
        cron.zone(name)


NUMBERS = st.sampled_from(["*", "1", "2-4", "*/3", "1,3", "2/2"])
FIVE = st.lists(NUMBERS, min_size=5, max_size=5).map(" ".join)
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@given(FIVE, INSTANTS)
def test_nothing_is_left_out(text: str, after: datetime) -> None:
    """Between a time and the next, no minute fits: looked at one by one, with the plain rule."""
    schedule = cron.parse(text)
    found = schedule.next(after)
    assert found is not None
    assert found > after
    _, _, day, _, weekday = text.split()
    start = after.replace(second=0, microsecond=0)
    for count in itertools.count(1):
        time = start + timedelta(minutes=count)
        by_day, by_weekday = time.day in schedule.days, time.isoweekday() % 7 in schedule.weekdays
        on = by_day and by_weekday if "*" in (day, weekday) else by_day or by_weekday
        if (
            on
            and time.month in schedule.months
            and time.hour in schedule.hours
            and time.minute in schedule.minutes
        ):
            assert time == found
            break
        if count > 3000 or time > found:
            assert time <= found
            break
