"""Security groups whose rules hold as given and change in place; interfaces that go with their instance, and
route tables and gateways with their stack. Volumes are attached once.

Sources: AWS::EC2::SecurityGroup in the CloudFormation Template Reference; "Network interfaces" and "Device
names for volumes" in the EC2 User Guide; AttachVolume and its errors in the EC2 API Reference.
"""

from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

_terminate = Instance.terminate
_attach_anywhere = ElasticBlockStore.attach_volume


def install() -> None:
    Instance.terminate = _terminated
    ElasticBlockStore.attach_volume = _attach
    RouteTable.delete = _delete_table
    InternetGateway.delete = _delete_gateway
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
    group.ingress_rules.clear()
    for rule in properties.get("SecurityGroupIngress") or []:
        _authorize(backend.authorize_security_group_ingress, group, rule, "Source")
    if "SecurityGroupEgress" in properties:
        group.egress_rules.clear()
        for rule in properties["SecurityGroupEgress"]:
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
