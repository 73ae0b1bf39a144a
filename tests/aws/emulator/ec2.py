"""Security groups whose rules hold as given and change in place; interfaces that go with their instance, and
route tables and gateways with their stack. Volumes are attached once.

Sources: AWS::EC2::SecurityGroup in the CloudFormation Template Reference; "Network interfaces" and "Device
names for volumes" in the EC2 User Guide; AttachVolume and its errors in the EC2 API Reference.
"""

from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.moto_api._internal import mock_random as random

_terminate = Instance.terminate
_attach_anywhere = ElasticBlockStore.attach_volume


_kept: list[type[CloudFormationModel]] = []


def rule(direction: str) -> type[CloudFormationModel]:
    """A rule of a security group as a resource of its own. moto knows each class that there is: these are
    there once they are asked for, and count before its own."""

    class Made(CloudFormationModel):
        def __init__(self, group: Any, backend: Any, properties: dict[str, Any]) -> None:
            self._group, self._backend, self.rule = group, backend, properties
            self.id = f"sgr-{random.get_random_hex(17)}"

        @property
        def physical_resource_id(self) -> str:
            return self.id

        @staticmethod
        def cloudformation_name_type() -> str:
            return ""

        @staticmethod
        def cloudformation_type() -> str:
            return f"AWS::EC2::SecurityGroup{direction}"

        @classmethod
        def create_from_cloudformation_json(
            cls, resource_name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
        ) -> Any:
            backend, properties = ec2_backends[account][region], definition["Properties"]
            group = backend.get_security_group_from_id(properties["GroupId"])
            made = cls(group, backend, properties)
            _own(group)[direction].append(properties)
            _again(backend, group)
            return made

        def delete(self, account: str, region: str) -> None:
            _own(self._group)[direction].remove(self.rule)
            _again(self._backend, self._group)

    return Made


def _own(group: Any) -> dict[str, list[dict[str, Any]]]:
    """The rules that are resources of their own."""
    if not hasattr(group, "rules_apart"):
        group.rules_apart = {"Ingress": [], "Egress": []}
    found: dict[str, list[dict[str, Any]]] = group.rules_apart
    return found


def _again(backend: Any, group: Any) -> None:
    """All rules of a group, from what its template says and what is apart."""
    _apply(backend, group, getattr(group, "said", {}))


def install() -> None:
    _kept.extend(rule(direction) for direction in ("Ingress", "Egress"))
    Instance.terminate = _terminated
    ElasticBlockStore.attach_volume = _attach
    RouteTable.delete = _delete_table
    InternetGateway.delete = _delete_gateway
    SecurityGroup.delete = _delete
    SecurityGroup.create_from_cloudformation_json = classmethod(_create)
    SecurityGroup.update_from_cloudformation_json = classmethod(_update)


def _terminated(self: Any) -> Any:
    """AWS: the interface that an instance was launched with goes with it."""
    primary = [nic.id for index, nic in self.nics.items() if int(index) == 0]
    before = _terminate(self)
    for id_ in primary:
        self.ec2_backend.enis.pop(id_, None)
    return before


def _attach(self: Any) -> Any:
    """AWS: a volume is in one machine at a time, in its own zone, and a device's name is for one volume."""
    volume_id, instance_id = self._get_param("VolumeId"), self._get_param("InstanceId")
    device_path = self._get_param("Device")
    volume, instance = self.ec2_backend.get_volume(volume_id), self.ec2_backend.get_instance(instance_id)
    if volume.attachment:
        message = f"{volume_id} is already attached to an instance"
        raise EC2ClientError("VolumeInUse", message)
    if volume.zone.name != instance.placement.zone:
        message = f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'"
        raise EC2ClientError("InvalidVolume.ZoneMismatch", message)
    if device_path in instance.block_device_mapping:
        message = (
            f"Invalid value '{device_path}' for unixDevice. Attachment point {device_path} is already in use"
        )
        raise EC2ClientError("InvalidParameterValue", message)
    return _attach_anywhere(self)


def _delete_table(self: Any, account: str, region: str, /) -> None:
    """AWS: goes with its stack; what it was associated with went before."""
    self._associations.clear()
    self.ec2_backend.delete_route_table(self.id)


def _delete_gateway(self: Any, account: str, region: str, /) -> None:
    """AWS: goes with its stack; its attachment went before."""
    self.vpc = None
    self.ec2_backend.delete_internet_gateway(self.id)


def _delete(self: Any, account: str, region: str, /) -> None:
    """AWS: a group that a rule of another one names stays."""
    for group in [one for groups in self.ec2_backend.groups.values() for one in groups.values()]:
        rules = [*group.ingress_rules, *group.egress_rules]
        if group.id != self.id and any(rule.source_group.get("GroupId") == self.id for rule in rules):
            raise DependencyViolationError(f"resource {self.id} has a dependent object")
    self.ec2_backend.delete_security_group(group_id=self.id)


def _create(cls: Any, name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any) -> Any:
    properties = definition["Properties"]
    backend = ec2_backends[account][region]
    group = backend.create_security_group(
        name=name, description=properties["GroupDescription"], vpc_id=properties.get("VpcId")
    )
    _apply(backend, group, properties)
    return group


def _update(cls: Any, /, **words: Any) -> Any:
    """AWS: rules and tags change in place; moto makes another group under another id."""
    group = words["original_resource"]
    backend = ec2_backends[words["account_id"]][words["region_name"]]
    _apply(backend, group, words["cloudformation_json"]["Properties"])
    return group


def _apply(backend: Any, group: Any, properties: dict[str, Any]) -> None:
    """AWS: rules keep their descriptions; rules for what goes out replace the one that lets all out."""
    backend.create_tags([group.id], {one["Key"]: one["Value"] for one in properties.get("Tags") or []})
    group.said = properties
    group.ingress_rules.clear()
    for rule in (*(properties.get("SecurityGroupIngress") or []), *_own(group)["Ingress"]):
        _authorize(backend.authorize_security_group_ingress, group, rule, "Source")
    if "SecurityGroupEgress" in properties:
        group.egress_rules.clear()
        for rule in (*properties["SecurityGroupEgress"], *_own(group)["Egress"]):
            _authorize(backend.authorize_security_group_egress, group, rule, "Destination")


def _authorize(authorize: Any, group: Any, rule: dict[str, Any], side: str) -> None:
    about = {"Description": rule["Description"]} if "Description" in rule else {}
    ranges = [{key: rule[key], **about} for key in ("CidrIp", "CidrIpv6") if key in rule]
    other = rule.get(f"{side}SecurityGroupId")
    authorize(
        group_name_or_id=group.id,
        ip_protocol=str(rule["IpProtocol"]),
        from_port=rule.get("FromPort", -1),
        to_port=rule.get("ToPort", -1),
        ip_ranges=ranges,
        source_groups=[{"GroupId": other, **about}] if other else [],
        vpc_id=group.vpc_id,
    )
