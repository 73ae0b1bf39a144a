"""Log groups that change in place. Source: AWS::Logs::LogGroup in the CloudFormation Template Reference."""

from typing import Any

from moto.logs.models import LogGroup


def install() -> None:
    LogGroup.update_from_cloudformation_json = classmethod(_update)


def _update(cls: Any, /, **words: Any) -> Any:
    """AWS: the retention changes in place; moto cannot change a log group at all."""
    group = words["original_resource"]
    group.retention_in_days = words["cloudformation_json"]["Properties"].get("RetentionInDays")
    return group
