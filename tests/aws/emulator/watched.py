"""Logs that are found by the beginning of their stream's name, in the order of time over all streams.

Source: FilterLogEvents in the CloudWatch Logs API Reference (`interleaved` is ignored, and assumed true).
"""

import json
from typing import Any

from moto.logs.models import LogsBackend
from moto.logs.responses import LogsResponse

_filter = LogsBackend.filter_log_events


def install() -> None:
    LogsResponse.filter_log_events = filter_log_events


def filter_log_events(self: Any) -> str:
    group, prefix = self._get_param("logGroupName"), self._get_param("logStreamNamePrefix")
    names = self._get_param("logStreamNames", [])
    if prefix and group in self.logs_backend.groups:
        names = [name for name in self.logs_backend.groups[group].streams if name.startswith(prefix)]
        if not names:
            return json.dumps({"events": [], "searchedLogStreams": []})
    given = {name: self._get_param(name) for name in ("startTime", "endTime", "limit", "nextToken")}
    events, token, searched = _filter(
        self.logs_backend,
        group,
        names,
        given["startTime"],
        given["endTime"],
        given["limit"],
        given["nextToken"],
        self._get_param("filterPattern"),
        True,
    )
    return json.dumps({"events": events, "nextToken": token, "searchedLogStreams": searched})
