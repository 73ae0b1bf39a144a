"""Load balancers as CloudFormation makes them on AWS, and targets that a test can make unhealthy.

moto's API makes them right; its CloudFormation models forget most properties.
Sources: the resource types' pages in the CloudFormation Template Reference, the ELBv2 API Reference.
"""

from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.elbv2.models import (
    FakeHealthStatus,
    FakeListener,
    FakeLoadBalancer,
    FakeTargetGroup,
    elbv2_backends,
)

_unhealthy: set[str] = set()
_kept: list[type[CloudFormationModel]] = []
_health_for = FakeTargetGroup.health_for
_attribute = FakeLoadBalancer.get_cfn_attribute

ZONES = {"application": "Z35SXDOTRQ7X7K", "network": "Z26RNL4JYFTOTI"}
"""The hosted zones of load balancers' names in us-east-1, as the AWS General Reference lists them."""


def install() -> None:
    FakeLoadBalancer.create_from_cloudformation_json = classmethod(_create_balancer)
    FakeLoadBalancer.update_from_cloudformation_json = classmethod(_update_balancer)
    FakeLoadBalancer.get_cfn_attribute = _balancer_attribute
    FakeTargetGroup.create_from_cloudformation_json = classmethod(_create_group)
    FakeTargetGroup.update_from_cloudformation_json = classmethod(_update_group)
    FakeTargetGroup.delete = _delete_group
    FakeListener.delete = _delete_listener
    FakeTargetGroup.get_cfn_attribute = _group_attribute
    FakeTargetGroup.health_for = health_for
    _kept.append(listener_certificate())


def listener_certificate() -> type[CloudFormationModel]:
    """moto knows each class that there is: this one is there once it is asked for."""

    class Made(CloudFormationModel):
        """More certificates of a listener, as CloudFormation makes them; moto has no model for that."""

        def __init__(self, backend: Any, properties: dict[str, Any]) -> None:
            self._backend, self._properties = backend, properties

        @property
        def physical_resource_id(self) -> str:
            return f"{self._properties['ListenerArn']}-certificates"

        @staticmethod
        def cloudformation_name_type() -> str:
            return ""

        @staticmethod
        def cloudformation_type() -> str:
            return "AWS::ElasticLoadBalancingV2::ListenerCertificate"

        @classmethod
        def create_from_cloudformation_json(
            cls, resource_name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
        ) -> Any:
            properties = definition["Properties"]
            backend = elbv2_backends[account][region]
            backend.add_listener_certificates(properties["ListenerArn"], properties["Certificates"])
            return cls(backend, properties)

        def delete(self, account: str, region: str) -> None:
            properties = self._properties
            self._backend.remove_listener_certificates(properties["ListenerArn"], properties["Certificates"])

    return Made


def reset() -> None:
    _unhealthy.clear()


def unhealthy(image: str) -> None:
    """From now on, no instance of this AMI passes a load balancer's checks."""
    _unhealthy.add(image)


def is_unhealthy(image: str) -> bool:
    return image in _unhealthy


def health_for(self: Any, target: dict[str, Any], ec2: Any) -> Any:
    """AWS: State `unhealthy` with the reason, for targets that fail their checks."""
    found = _health_for(self, target, ec2)
    instance = ec2.get_instance_by_id(target["Id"])
    if found.status == "healthy" and instance and instance.image_id in _unhealthy:
        return FakeHealthStatus(
            target["Id"],
            found.port,
            self.health_check_port,
            "unhealthy",
            "Target.FailedHealthChecks",
            "Health checks failed",
        )
    return found


def _pairs(given: list[dict[str, Any]] | None) -> dict[str, str]:
    return {one["Key"]: str(one["Value"]) for one in given or []}


def _create_balancer(
    cls: Any, name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
) -> Any:
    """AWS: Type, Tags, SubnetMappings, IpAddressType and LoadBalancerAttributes hold."""
    properties = definition["Properties"]
    backend = elbv2_backends[account][region]
    balancer = backend.create_load_balancer(
        name,
        properties.get("SecurityGroups") or [],
        properties.get("Subnets") or [],
        properties.get("SubnetMappings"),
        scheme=properties.get("Scheme", "internet-facing"),
        loadbalancer_type=properties.get("Type"),
        ip_address_type=properties.get("IpAddressType", "ipv4"),
        tags=properties.get("Tags"),
    )
    backend.modify_load_balancer_attributes(balancer.arn, _pairs(properties.get("LoadBalancerAttributes")))
    balancer.canonical_hosted_zone_id = ZONES.get(balancer.type, balancer.canonical_hosted_zone_id)
    return balancer


def _update_balancer(cls: Any, /, **words: Any) -> Any:
    """AWS: everything but Name, Scheme and Type changes in place."""
    balancer, properties = words["original_resource"], words["cloudformation_json"]["Properties"]
    backend = elbv2_backends[words["account_id"]][words["region_name"]]
    backend.modify_load_balancer_attributes(balancer.arn, _pairs(properties.get("LoadBalancerAttributes")))
    if properties.get("SecurityGroups"):
        backend.set_security_groups(balancer.arn, properties["SecurityGroups"])
    if properties.get("Subnets") or properties.get("SubnetMappings"):
        backend.set_subnets(
            balancer.arn, properties.get("Subnets") or [], properties.get("SubnetMappings") or []
        )
    _retag(backend, balancer.arn, properties)
    return balancer


def _retag(backend: Any, arn: str, properties: dict[str, Any]) -> None:
    backend.tagging_service.delete_all_tags_for_resource(arn)
    backend.tagging_service.tag_resource(arn, properties.get("Tags") or [])


def _balancer_attribute(self: Any, name: str) -> Any:
    """AWS: CanonicalHostedZoneID is what an alias record needs."""
    if name == "CanonicalHostedZoneID":
        return self.canonical_hosted_zone_id
    if name == "LoadBalancerFullName":
        return self.arn.split(":loadbalancer/")[1]
    if name == "LoadBalancerArn":
        return self.arn
    return _attribute(self, name)


def _create_group(
    cls: Any, name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
) -> Any:
    """AWS: TargetGroupAttributes, Tags and ProtocolVersion hold."""
    properties = definition["Properties"]
    backend = elbv2_backends[account][region]
    group = backend.create_target_group(
        name=name,
        vpc_id=properties.get("VpcId"),
        protocol=properties.get("Protocol"),
        protocol_version=properties.get("ProtocolVersion"),
        port=properties.get("Port"),
        target_type=properties.get("TargetType"),
        tags=properties.get("Tags"),
        **_check(properties),
    )
    backend.modify_target_group_attributes(group.arn, _pairs(properties.get("TargetGroupAttributes")))
    return group


def _check(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "healthcheck_protocol": properties.get("HealthCheckProtocol"),
        "healthcheck_port": properties.get("HealthCheckPort"),
        "healthcheck_path": properties.get("HealthCheckPath"),
        "healthcheck_interval_seconds": properties.get("HealthCheckIntervalSeconds"),
        "healthcheck_timeout_seconds": properties.get("HealthCheckTimeoutSeconds"),
        "healthy_threshold_count": properties.get("HealthyThresholdCount"),
        "unhealthy_threshold_count": properties.get("UnhealthyThresholdCount"),
        "matcher": properties.get("Matcher"),
    }


def _update_group(cls: Any, /, **words: Any) -> Any:
    """AWS: health check, attributes and tags change in place."""
    group, properties = words["original_resource"], words["cloudformation_json"]["Properties"]
    backend = elbv2_backends[words["account_id"]][words["region_name"]]
    check = _check(properties)
    backend.modify_target_group(
        group.arn,
        health_check_proto=check["healthcheck_protocol"],
        health_check_port=check["healthcheck_port"],
        health_check_path=check["healthcheck_path"],
        health_check_interval=check["healthcheck_interval_seconds"],
        health_check_timeout=check["healthcheck_timeout_seconds"],
        healthy_threshold_count=check["healthy_threshold_count"],
        unhealthy_threshold_count=check["unhealthy_threshold_count"],
        http_codes=(check["matcher"] or {}).get("HttpCode"),
    )
    backend.modify_target_group_attributes(group.arn, _pairs(properties.get("TargetGroupAttributes")))
    _retag(backend, group.arn, properties)
    return group


def _delete_group(self: Any, account: str, region: str) -> None:
    """AWS: a target group goes with its stack."""
    elbv2_backends[account][region].delete_target_group(self.arn)


def _delete_listener(self: Any, account: str, region: str) -> None:
    """AWS: a listener goes by itself, and what it led to is free then."""
    elbv2_backends[account][region].delete_listener(self.arn)


def _group_attribute(self: Any, name: str) -> Any:
    if name == "TargetGroupFullName":
        return self.arn.rsplit(":", 1)[1]
    if name == "TargetGroupArn":
        return self.arn
    return {"TargetGroupName": self.name, "LoadBalancerArns": self.load_balancer_arns}[name]
