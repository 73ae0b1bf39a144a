"""When a schedule of cron's comes next: five fields, read and followed as Kubernetes does it.

In: a text such as `*/5 8-18 * * mon-fri`. Out: a Schedule, which names the next time after any other.
The rules are those of github.com/robfig/cron (v3, parser.go and spec.go), which Kubernetes follows. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAYS = "sun mon tue wed thu fri sat"
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS.split(), 1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(_WEEKDAYS.split())}),
)
_SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART = re.compile(r"(?P<any>[*?])|(?P<first>[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?", re.IGNORECASE)

LONGEST = 1000
"""Characters of a schedule: far more than one with every minute in a list has use for."""

_DAYS = 9 * 366
"""A 29 February comes within 8 years, 1900 and 2100 being none."""


class CronError(ValueError):
    """What is wrong with a schedule, in words that can follow its name; `hint` says what to write."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which something begins. All numbers are in order; Sunday is 0.

    With both kinds of days given, either is enough; `any_day` and `any_weekday` say that one is not.
    """

    text: str
    """The five fields, one blank between them."""
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    any_day: bool
    any_weekday: bool

    def next(self, after: datetime) -> datetime | None:
        """The first time after this one, which has a zone: the fields are of that zone's clocks.

        None where there is none, as on a 30 February. What a clock skips in spring is left out, and what
        it shows twice in autumn comes twice, as in Kubernetes.
        """
        zone = after.tzinfo
        if zone is None:
            raise ValueError("a time without a zone")
        since = after.astimezone(UTC)
        # A zone may be up to a day before or after another: the days are its own.
        day = after.date()
        for _ in range(_DAYS):
            if self._on(day) and (times := [time for time in self._times(day, zone) if time > since]):
                return min(times).astimezone(zone)
            if day == date.max:
                return None
            day += timedelta(days=1)
        return None

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday

    def _times(self, day: date, zone: tzinfo) -> Iterator[datetime]:
        """All instants of the day, in UTC."""
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone, fold=fold)
                    try:
                        time = local.astimezone(UTC)
                        shown = time.astimezone(zone)
                    except OverflowError:  # beyond the last year that there is
                        continue
                    if (shown.day, shown.hour, shown.minute) == (day.day, hour, minute):
                        yield time


def parse(text: str) -> Schedule:
    """A schedule of five fields, or a word such as `@daily`. Raises CronError."""
    words = text.split()
    if not words:
        raise CronError("is empty", 'such as "0 3 * * *" for every day at 3:00')
    if len(text) > LONGEST:
        raise CronError(f"has {len(text)} characters and may have {LONGEST}")
    if words[0].upper().startswith(("TZ=", "CRON_TZ=")):
        raise CronError("cannot have a time zone in it", "write timeZone: ZONE beside it")
    if words[0].startswith("@"):
        if words[0].lower() == "@every":
            raise CronError(
                "`@every` is not possible: the times are those of a clock", 'such as "*/30 * * * *"'
            )
        if len(words) > 1 or words[0] not in _SHORT:
            raise CronError(f"`{_shown(text)}` is not known", f"these are: {', '.join(_SHORT)}")
        words = _SHORT[words[0]].split()
    if len(words) != len(_FIELDS):
        names = ", ".join(name for name, _, _, _ in _FIELDS)
        raise CronError(f"has {len(words)} fields and needs {len(_FIELDS)}", f"they are: {names}")
    minutes, hours, days, months, weekdays = (_field(word, index) for index, word in enumerate(words))
    return Schedule(
        text=" ".join(words),
        minutes=minutes[0],
        hours=hours[0],
        days=days[0],
        months=months[0],
        weekdays=weekdays[0],
        any_day=days[1],
        any_weekday=weekdays[1],
    )


def zone(name: str | None) -> tzinfo:
    """The time zone of a name such as Europe/Madrid; UTC for None. Raises CronError."""
    if name is None:
        return UTC
    try:
        if name and name.lower() != "local":
            return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # no such file, a folder, a path that leads out, a bad file
        pass
    raise CronError(f"`{_shown(name)}` is not a time zone that this machine knows", "such as Europe/Madrid")


def _field(word: str, index: int) -> tuple[tuple[int, ...], bool]:
    """The numbers of a field, and whether it is as good as not there."""
    numbers: set[int] = set()
    free = False
    for part in word.split(","):
        numbers.update(found := _part(part, index))
        free = free or (part[:1] in ("*", "?") and len(found) == _size(index))
    return tuple(sorted(numbers)), free


def _size(index: int) -> int:
    _, least, most, _ = _FIELDS[index]
    return most - least + 1


def _part(part: str, index: int) -> range:
    name, least, most, _ = _FIELDS[index]
    span, slash, every = part.partition("/")
    match = _PART.fullmatch(span)
    if match is None or (slash and not re.fullmatch("[0-9]{1,4}", every)):
        raise CronError(f"`{_shown(part)}` is not a {name}", f"such as {least}, *, {least}-{most}, */2")
    step = int(every) if slash else 1
    if step == 0:
        raise CronError(f"`{_shown(part)}` has a step of 0", "such as */2")
    if match["any"]:
        return range(least, most + 1, step)
    first = _number(match["first"], index)
    last = _number(match["last"], index) if match["last"] else most if slash else first
    if first > last:
        raise CronError(f"`{_shown(part)}` ends before it begins", f"write {first}-{most},{least}-{last}")
    return range(first, last + 1, step)


def _number(word: str, index: int) -> int:
    name, least, most, names = _FIELDS[index]
    number = names.get(word.lower())
    if number is None and re.fullmatch("[0-9]{1,4}", word):
        number = int(word)
    if number is None:
        raise CronError(f"`{_shown(word)}` is not a {name}", f"use {least} to {most}")
    if not least <= number <= most:
        hint = "Sunday is 0" if name == "day of the week" and number == 7 else None
        raise CronError(f"the {name} must be {least} to {most} and is {number}", hint)
    return number


def _shown(text: str) -> str:
    """A word of a user's in a message: short, and on one line."""
    text = "".join(c if c.isprintable() else "?" for c in text[:61])
    return text if len(text) <= 60 else f"{text[:59]}…"
