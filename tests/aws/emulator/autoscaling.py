"""Groups that are changed in place, refresh their instances and have scaling policies, which moto's do not.

An instance refresh launches before it terminates where MaxHealthyPercentage lets it, waits for the
load balancer's checks, bakes, and fails when checks do not pass or an alarm goes off. It goes one step
further each time somebody asks. Sources: "How an instance refresh works" in the Auto Scaling User Guide,
StartInstanceRefresh, SetDesiredCapacity and UpdateAutoScalingGroup in its API Reference, UpdatePolicy
attribute in the CloudFormation Template Reference.
"""

import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling.models import FakeAutoScalingGroup, InstanceState, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, EmptyResult

from tests.aws.emulator import elbv2

PATIENCE = 3
"""Steps that a refresh waits for an instance before it gives up; on AWS this is an hour by default."""
BAKING_STEPS = 2
"""Steps that any bake time takes."""
ENDED = ("Successful", "Failed", "Cancelled", "RollbackSuccessful")


class Refused(ServiceException):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass
class Refresh:
    id: str
    group: Any
    preferences: dict[str, Any]
    steps: Iterator[None] | None = None
    status: str = "Pending"
    reason: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    left: int = 0
    total: int = 0


_refreshes: list[Refresh] = []
_replace = FakeAutoScalingGroup.replace_autoscaling_group_instances


def install() -> None:
    FakeAutoScalingGroup.update_from_cloudformation_json = classmethod(_update)
    FakeAutoScalingGroup.replace_autoscaling_group_instances = _launch
    FakeAutoScalingGroup.stabilize_after_update = _stabilize_after_update
    FakeAutoScalingGroup.cancel_update = _cancel_update
    AutoScalingResponse.set_desired_capacity = set_desired_capacity
    InstanceState.launch_template = property(_launched_from)
    AutoScalingResponse.start_instance_refresh = start_instance_refresh
    AutoScalingResponse.describe_instance_refreshes = describe_instance_refreshes
    AutoScalingResponse.cancel_instance_refresh = cancel_instance_refresh


def reset() -> None:
    _refreshes.clear()


def _launch(self: Any, count: int, tags: dict[str, str]) -> None:
    """AWS: an instance keeps the version that it was launched from."""
    before = len(self.instance_states)
    _replace(self, count, tags)
    for state in self.instance_states[before:]:
        template = self.ec2_launch_template
        if template:
            number = template.get_version(self.launch_template_version).number
            state.launched_from = {
                "LaunchTemplateId": template.id,
                "LaunchTemplateName": template.name,
                "Version": str(number),
            }


def _launched_from(self: Any) -> Any:
    return getattr(self, "launched_from", None)


def _update(cls: Any, /, **words: Any) -> Any:
    """AWS: size, launch template version, subnets, target groups and tags change in place."""
    group, properties = words["original_resource"], words["cloudformation_json"]["Properties"]
    backend = autoscaling_backends[words["account_id"]][words["region_name"]]
    group.tags = properties.get("Tags") or []
    group.target_group_arns = properties.get("TargetGroupARNs") or []
    desired = properties.get("DesiredCapacity")
    before = {one.instance.id for one in group.instance_states}
    group.update(
        availability_zones=properties.get("AvailabilityZones") or [],
        desired_capacity=int(desired) if desired is not None else None,
        max_size=int(properties["MaxSize"]),
        min_size=int(properties["MinSize"]),
        launch_config_name=properties.get("LaunchConfigurationName"),
        launch_template=properties.get("LaunchTemplate") or {},
        vpc_zone_identifier=",".join(properties.get("VPCZoneIdentifier") or []),
        health_check_period=properties.get("HealthCheckGracePeriod"),
        health_check_type=properties.get("HealthCheckType"),
    )
    backend.update_attached_target_groups(group.name)
    _deregister(backend, group, before - {one.instance.id for one in group.instance_states})
    return group


def _deregister(backend: Any, group: Any, ids: Iterable[str]) -> None:
    """AWS: an instance that goes leaves the target groups that it is in."""
    for arn in group.target_group_arns:
        known = backend.elbv2_backend.target_groups[arn].targets
        backend.elbv2_backend.deregister_targets(arn, [{"Id": id_} for id_ in ids if id_ in known])


def _stabilize_after_update(
    self: Any, policy: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> Iterator[None]:
    """AWS: with this update policy, a changed launch template starts a refresh that the update waits for."""
    wanted = policy.get("AutoScalingInstanceRefresh")
    if wanted is None or before.get("LaunchTemplate") == after.get("LaunchTemplate"):
        return
    refresh = _start(self, wanted.get("Preferences") or {})
    while refresh.status not in ENDED:
        yield
        _step(refresh)
    if refresh.status != "Successful":
        raise Refused("InvalidRequest", f"Instance refresh {refresh.id} failed: {refresh.reason}")


def _cancel_update(self: Any) -> None:
    """AWS: an update of a stack that is cancelled ends its refresh, and the group has its size again."""
    for one in _refreshes:
        if one.group is self and one.status not in ENDED:
            one.status, one.ended = "Cancelled", datetime.now(UTC)
    more = self.instance_states[int(self.desired_capacity) :]
    _terminate(self, more)


def _terminate(group: Any, states: list[Any]) -> None:
    ids = [one.instance.id for one in states]
    if ids:
        group.autoscaling_backend.ec2_backend.terminate_instances(ids)
        _deregister(group.autoscaling_backend, group, ids)
        group.instance_states = [one for one in group.instance_states if one not in states]


def power_off(instance: str) -> None:
    """AWS: what its own system ends is terminated where a launch template says so, and EC2 tells the reason.

    Its group makes another one.
    """
    for account in autoscaling_backends.values():
        for backend in account.values():
            for group in backend.autoscaling_groups.values():
                for state in [one for one in group.instance_states if one.instance.id == instance]:
                    _terminate(group, [state])
                    state.instance.state_reason.code = "Client.InstanceInitiatedShutdown"
                    _launch(group, 1, group.get_propagated_tags())
                    backend.update_attached_target_groups(group.name)


def _check(preferences: dict[str, Any]) -> None:
    """AWS: ranges of RefreshPreferences."""
    least = int(preferences.get("MinHealthyPercentage", 90))
    most = int(preferences.get("MaxHealthyPercentage", 100))
    alarms = (preferences.get("AlarmSpecification") or {}).get("Alarms") or []
    wrong = not 0 <= least <= 100 <= most <= 200 or most - least > 100
    if wrong or not 0 <= int(preferences.get("BakeTime", 0)) <= 172_800 or len(alarms) > 10:
        raise Refused("ValidationError", f"Preferences are not valid: {preferences}")


def _start(group: Any, preferences: dict[str, Any]) -> Refresh:
    _check(preferences)
    for one in _refreshes:
        if one.group is group and one.status not in ENDED:
            raise Refused(
                "InstanceRefreshInProgress",
                "An Instance Refresh is already in progress and blocks the execution of this one.",
            )
    refresh = Refresh(str(uuid.uuid4()), group, preferences)
    refresh.steps = _steps(refresh)
    _refreshes.append(refresh)
    return refresh


def _step(refresh: Refresh) -> None:
    if refresh.status in ENDED:
        return
    assert refresh.steps
    if rung := _ringing(refresh):
        refresh.status, refresh.ended = "Failed", datetime.now(UTC)
        refresh.reason = f"CloudWatch alarm(s) detected in ALARM state: [{', '.join(rung)}]."
        return
    try:
        next(refresh.steps)
    except StopIteration:
        refresh.ended = datetime.now(UTC)


def _ringing(refresh: Refresh) -> list[str]:
    """AWS: an alarm that goes off fails the refresh, also while it bakes."""
    backend = refresh.group.autoscaling_backend
    alarms = cloudwatch_backends[backend.account_id][backend.region_name].alarms
    wanted = (refresh.preferences.get("AlarmSpecification") or {}).get("Alarms") or []
    return [name for name in wanted if name in alarms and alarms[name].state_value == "ALARM"]


def _healthy(group: Any, state: Any) -> bool:
    """By the load balancer where the group has one and looks at it."""
    if group.health_check_type != "ELB" or not group.target_group_arns:
        return True
    return not elbv2.is_unhealthy(state.instance.image_id)


def _steps(refresh: Refresh) -> Iterator[None]:
    group = refresh.group
    backend = group.autoscaling_backend
    size = int(group.desired_capacity)
    most = math.floor(size * int(refresh.preferences.get("MaxHealthyPercentage", 100)) / 100)
    least = math.ceil(size * int(refresh.preferences.get("MinHealthyPercentage", 90)) / 100)
    old = list(group.instance_states)
    refresh.status, refresh.started = "InProgress", datetime.now(UTC)
    refresh.left = refresh.total = len(old)
    yield
    while old:
        batch = max(1, min(len(old), most - size if most > size else size - least))
        first = most > size

        if not first:
            _terminate(group, old[:batch])
            yield
        _launch(group, batch, group.get_propagated_tags())
        new = group.instance_states[-batch:]
        backend.update_attached_target_groups(group.name)
        for _ in range(PATIENCE):
            yield
            if all(_healthy(group, one) for one in new):
                break
        else:
            # AWS leaves what it launched in place; a rollback of the stack replaces it.
            refresh.status = "Failed"
            refresh.reason = (
                "Instances failed to become healthy within the health check grace period. "
                f"{refresh.left} instances still need to be replaced."
            )
            if first:
                _terminate(group, new)
                backend.update_attached_target_groups(group.name)
            return
        if first:
            _terminate(group, old[:batch])
        old = old[batch:]
        refresh.left = len(old)
        backend.update_attached_target_groups(group.name)
        yield
    if int(refresh.preferences.get("BakeTime", 0)):
        refresh.status = "Baking"
        for _ in range(BAKING_STEPS):
            yield
    refresh.status = "Successful"


def _group(self: AutoScalingResponse) -> Any:
    name = self._get_param("AutoScalingGroupName")
    found = self.autoscaling_backend.autoscaling_groups.get(name)
    if found is None:
        raise Refused("ValidationError", f"AutoScalingGroup name not found - {name}")
    return found


def start_instance_refresh(self: AutoScalingResponse) -> Any:
    group = _group(self)
    wanted = self._get_param("DesiredConfiguration") or {}
    if template := wanted.get("LaunchTemplate"):
        if str(template.get("Version", "")).startswith("$") and self._get_param("Preferences", {}).get(
            "AutoRollback"
        ):
            raise Refused("ValidationError", "AutoRollback cannot be used with $Latest or $Default")
        group._set_launch_configuration(None, template, None)
    return ActionResult({"InstanceRefreshId": _start(group, self._get_param("Preferences") or {}).id})


def describe_instance_refreshes(self: AutoScalingResponse) -> Any:
    group = _group(self)
    wanted = self._get_param("InstanceRefreshIds") or []
    found = [one for one in _refreshes if one.group is group and (not wanted or one.id in wanted)]
    for one in found:
        _step(one)
    return ActionResult(
        {
            "InstanceRefreshes": [
                {
                    "InstanceRefreshId": one.id,
                    "AutoScalingGroupName": group.name,
                    "Status": one.status,
                    "StatusReason": one.reason,
                    "StartTime": one.started,
                    "EndTime": one.ended,
                    "PercentageComplete": 100 * (one.total - one.left) // max(1, one.total),
                    "InstancesToUpdate": one.left,
                    "Preferences": one.preferences,
                }
                for one in reversed(found)
            ]
        }
    )


def cancel_instance_refresh(self: AutoScalingResponse) -> Any:
    group = _group(self)
    for one in _refreshes:
        if one.group is group and one.status not in ENDED:
            one.status, one.ended = "Cancelled", datetime.now(UTC)
            return ActionResult({"InstanceRefreshId": one.id})
    raise Refused("ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found.")


def set_desired_capacity(self: AutoScalingResponse) -> Any:
    """AWS: between the group's sizes; instances that go leave their target groups."""
    group, wanted = _group(self), int(self._get_param("DesiredCapacity"))
    least, most = int(group.min_size), int(group.max_size)
    if not least <= wanted <= most:
        side = f"below min value {least}" if wanted < least else f"above max value {most}"
        message = f"New SetDesiredCapacity value {wanted} is {side} for the AutoScalingGroup."
        raise Refused("ValidationError", message)
    before = {one.instance.id for one in group.instance_states}
    group.set_desired_capacity(wanted)
    _deregister(group.autoscaling_backend, group, before - {one.instance.id for one in group.instance_states})
    return EmptyResult()


class ScalingPolicy(CloudFormationModel):
    """A scaling policy as CloudFormation makes it; moto's own has no model for that."""

    def __init__(self, backend: Any, name: str) -> None:
        self._backend, self._name = backend, name
        self._arn = str(backend.policies[name].arn)

    @property
    def physical_resource_id(self) -> str:
        return self._arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return "PolicyName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AutoScaling::ScalingPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
    ) -> Any:
        backend = autoscaling_backends[account][region]
        _put(backend, resource_name, definition["Properties"])
        return cls(backend, resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, /, **words: Any) -> Any:
        made = words["original_resource"]
        _put(made._backend, made._name, words["cloudformation_json"]["Properties"])
        return made

    def delete(self, account: str, region: str) -> None:
        self._backend.delete_policy(self._name)


class ScheduledAction(CloudFormationModel):
    """A scheduled action as CloudFormation makes it; moto's own has no model for that."""

    def __init__(self, backend: Any, name: str, group: str) -> None:
        self._backend, self._name, self._group = backend, name, group

    @property
    def physical_resource_id(self) -> str:
        return self._name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "ScheduledActionName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::AutoScaling::ScheduledAction"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
    ) -> Any:
        backend, properties = autoscaling_backends[account][region], definition["Properties"]
        _schedule(backend, resource_name, properties)
        return cls(backend, resource_name, properties["AutoScalingGroupName"])

    @classmethod
    def update_from_cloudformation_json(cls, /, **words: Any) -> Any:
        made = words["original_resource"]
        _schedule(made._backend, made._name, words["cloudformation_json"]["Properties"])
        return made

    def delete(self, account: str, region: str) -> None:
        self._backend.delete_scheduled_action(self._group, self._name)


def _schedule(backend: Any, name: str, properties: dict[str, Any]) -> None:
    group = properties["AutoScalingGroupName"]
    if group not in backend.autoscaling_groups:
        raise Refused("ValidationError", f"AutoScalingGroup name not found - {group}")
    backend.put_scheduled_update_group_action(
        name=group,
        desired_capacity=properties.get("DesiredCapacity"),
        max_size=properties.get("MaxSize"),
        min_size=properties.get("MinSize"),
        scheduled_action_name=name,
        start_time=None,
        end_time=None,
        recurrence=properties["Recurrence"],
        timezone=properties.get("TimeZone"),
    )


def _put(backend: Any, name: str, properties: dict[str, Any]) -> None:
    group = properties["AutoScalingGroupName"]
    if group not in backend.autoscaling_groups:
        raise Refused("ValidationError", f"Group {group} not found")
    tracking = properties["TargetTrackingConfiguration"]
    backend.put_scaling_policy(
        name=name,
        policy_type=properties["PolicyType"],
        metric_aggregation_type=None,
        adjustment_type=None,
        as_name=group,
        min_adjustment_magnitude=None,
        scaling_adjustment=None,
        cooldown=None,
        target_tracking_config={**tracking, "TargetValue": float(tracking["TargetValue"])},
        step_adjustments=[],
        estimated_instance_warmup=properties.get("EstimatedInstanceWarmup"),
        predictive_scaling_configuration=None,
    )
