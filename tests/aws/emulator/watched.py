"""What is looked for among many: logs by the beginning of their stream's name, launch templates by their AMI.

Sources: FilterLogEvents in the CloudWatch Logs API Reference (`interleaved` is ignored, and assumed true);
DescribeLaunchTemplateVersions in the EC2 API Reference.
"""

import json
from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplateBackend
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.logs.models import LogsBackend
from moto.logs.responses import LogsResponse

_filter = LogsBackend.filter_log_events
_describe_versions = LaunchTemplateBackend.describe_launch_template_versions
_answer_versions = LaunchTemplates.describe_launch_template_versions


def install() -> None:
    LogsResponse.filter_log_events = filter_log_events
    LaunchTemplates.describe_launch_template_versions = describe_launch_template_versions


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


def describe_launch_template_versions(self: Any) -> Any:
    """AWS: the filter `image-id` holds; without MaxResults there are more than fifteen."""
    wanted = self._filters_from_querystring().get("image-id")
    backend = self.ec2_backend

    def described(**words: Any) -> list[Any]:
        found = _describe_versions(backend, **{**words, "max_results": 200})
        return [one for one in found if not wanted or one[1].image_id in wanted]

    backend.describe_launch_template_versions = described
    try:
        return _answer_versions(self)
    finally:
        del backend.describe_launch_template_versions
