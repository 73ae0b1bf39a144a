"""What is done as soon as a container was started, and before it is asked to end.

In: a container's record of the tables in `fields`. Out: handlers, by the API server's rules. Pure.
"""

from i2kit.manifest.log import Log
from i2kit.manifest.pods.probes import http_get
from i2kit.manifest.tables.shape import Record
from i2kit.model import Exec, HttpGet, Sleep

_HANDLERS = ("exec", "httpGet", "sleep")


def hook(container: Record, name: str, grace_s: int, log: Log) -> HttpGet | Exec | Sleep | None:
    """The hook of this name, such as preStop; None where there is none that can be used."""
    lifecycle = container.record("lifecycle")
    record = lifecycle.record(name) if lifecycle else None
    if record is None:
        return None
    given = [word for word in _HANDLERS if record.has(word)]
    if not given:
        if not record.has("tcpSocket"):
            message, hint = "does nothing", "give it one of exec, httpGet and sleep"
            log.problem(record.position, record.path, message, hint)
        return None
    if len(given) > 1:
        message = f"does {len(given)} things: {', '.join(given)}"
        log.problem(record.place(given[1]), record.path, message, "leave one of them")
        return None
    one = record.record(given[0])
    if one is None:
        return None
    if given == ["exec"]:
        command = one.items("command")
        return Exec(command) if command else None
    if given == ["httpGet"]:
        return http_get(one, container, log)
    seconds = one.whole("seconds")
    if seconds is not None and seconds > grace_s:
        message = f"must be at most terminationGracePeriodSeconds ({grace_s}) and is {seconds}"
        log.problem(one.place("seconds"), one.at("seconds"), message, "raise terminationGracePeriodSeconds")
    return None if seconds is None else Sleep(seconds)
