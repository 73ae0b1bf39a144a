"""Zones and records as CloudFormation makes them on AWS.

Sources: AWS::Route53::HostedZone and RecordSet in the CloudFormation Template Reference, "Supported DNS
record types" in the Route 53 Developer Guide.
"""

from typing import Any

from moto.core.exceptions import ServiceException
from moto.route53.models import FakeZone, RecordSet, route53_backends

_add = FakeZone.add_rrset


class Refused(ServiceException):
    code = "InvalidChangeBatch"


def install() -> None:
    FakeZone.create_from_cloudformation_json = classmethod(_create_zone)
    FakeZone.update_from_cloudformation_json = classmethod(_update_zone)
    FakeZone.delete = _delete_zone
    FakeZone.add_rrset = _add_record
    RecordSet.update_from_cloudformation_json = classmethod(_update_record)
    RecordSet.delete = _delete_record


def _create_zone(
    cls: Any, name: str, definition: dict[str, Any], account: str, region: str, /, **_: Any
) -> Any:
    """AWS: a zone with VPCs is private."""
    properties = definition["Properties"]
    vpcs = properties.get("VPCs") or []
    zone = route53_backends[account]["aws"].create_hosted_zone(
        properties["Name"],
        private_zone=bool(vpcs),
        vpcid=vpcs[0]["VPCId"] if vpcs else None,
        vpcregion=vpcs[0]["VPCRegion"] if vpcs else None,
        comment=(properties.get("HostedZoneConfig") or {}).get("Comment"),
    )
    for vpc in vpcs[1:]:
        zone.add_vpc(vpc["VPCId"], vpc["VPCRegion"])
    return zone


def _update_zone(cls: Any, /, **words: Any) -> Any:
    """AWS: VPCs, comment and tags change in place."""
    zone, properties = words["original_resource"], words["cloudformation_json"]["Properties"]
    zone.vpcs = [
        {"vpc_id": one["VPCId"], "vpc_region": one["VPCRegion"]} for one in properties.get("VPCs") or []
    ]
    return zone


def _delete_zone(self: Any, account: str, region: str) -> None:
    """AWS: a zone goes with its stack, unless it has records that others put there."""
    if any(one.type not in ("NS", "SOA") for one in self.rrsets):
        error = Refused("The specified hosted zone contains non-required resource record sets")
        error.code = "HostedZoneNotEmpty"
        raise error
    route53_backends[account]["aws"].delete_hosted_zone(self.id)


def _same(one: Any, other: Any) -> bool:
    return bool((one.type, one.set_identifier) == (other.type, other.set_identifier))


def _add_record(self: Any, record: dict[str, Any]) -> Any:
    """AWS: a name has one record of a type, or several with identifiers; a CNAME is alone on its name."""
    added = _add(self, record)
    name = added.name.rstrip(".")
    others = [one for one in self.rrsets if one is not added and one.name.rstrip(".") == name]
    twice = any(_same(one, added) for one in others)
    mixed = any(
        one.type == added.type and bool(one.set_identifier) != bool(added.set_identifier) for one in others
    )
    beside = any("CNAME" in (one.type, added.type) and one.type != added.type for one in others)
    if twice or mixed or beside:
        self.rrsets.remove(added)
        raise Refused(
            f"[Tried to create resource record set [name='{added.name}', type='{added.type}'] "
            "but it already exists]"
        )
    return added


def _update_record(cls: Any, /, **words: Any) -> Any:
    """AWS: only this record changes, not those of others on the same name."""
    before = words["original_resource"]
    _delete_record(before, words["account_id"], words["region_name"])
    return cls.create_from_cloudformation_json(
        words["new_resource_name"], words["cloudformation_json"], words["account_id"], words["region_name"]
    )


def _delete_record(self: Any, account: str, region: str) -> None:
    for zone in route53_backends[account]["aws"].zones.values():
        zone.rrsets = [one for one in zone.rrsets if one is not self]
