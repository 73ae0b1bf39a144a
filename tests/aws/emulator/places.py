"""Hosted zones as Route 53 names, lists and tells them; a VPC's names as its template says.

Sources: CreateHostedZone and ListHostedZonesByName in the Route 53 API Reference; AWS::EC2::VPC in the
CloudFormation Template Reference.
"""

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.vpcs import VPC
from moto.route53.models import Route53Backend
from moto.route53.responses import Route53

_create = Route53Backend.create_hosted_zone
_create_vpc = VPC.create_from_cloudformation_json.__func__
_answer_create = Route53.create_hosted_zone

MAX_ITEMS = 100


def install() -> None:
    Route53Backend.create_hosted_zone = _create_hosted_zone
    Route53.create_hosted_zone = _create_by_request
    Route53.list_hosted_zones_by_name = _list_by_name
    VPC.create_from_cloudformation_json = classmethod(_vpc)


def _vpc(cls: Any, name: str, definition: dict[str, Any], account: str, region: str, /, **words: Any) -> Any:
    """AWS: whether names are looked up, and machines get some, is as the template says."""
    vpc = _create_vpc(cls, name, definition, account, region, **words)
    properties = definition["Properties"]
    vpc.enable_dns_support = properties.get("EnableDnsSupport", True)
    vpc.enable_dns_hostnames = properties.get("EnableDnsHostnames", False)
    return vpc


def _create_hosted_zone(self: Any, *args: Any, **words: Any) -> Any:
    """AWS: ids begin with Z."""
    zone = _create(self, *args, **words)
    del self.zones[zone.resource_id]
    zone.resource_id = f"Z{zone.resource_id[:20]}"
    self.zones[zone.resource_id] = zone
    return zone


def _create_by_request(self: Any) -> Any:
    """AWS: a zone that is made with a VPC is private, whatever else is said of it."""
    answer = _answer_create(self)
    zone, vpc = answer.result["HostedZone"], self._get_param("VPC.VPCId")
    if vpc and not zone.private_zone:
        zone.private_zone = True
        zone.add_vpc(vpc, self._get_param("VPC.VPCRegion"))
    return answer


def _list_by_name(self: Any) -> Any:
    """AWS: all zones in the order of their names read from the end, from the given one on."""

    def order(name: str) -> list[str]:
        return name.rstrip(".").split(".")[::-1]

    zones = sorted(self.backend.zones.values(), key=lambda zone: (order(zone.name), zone.resource_id))
    most = int(self._get_param("MaxItems") or MAX_ITEMS)
    if start := self._get_param("DNSName"):
        first = (order(start), (self._get_param("HostedZoneId") or "").rpartition("/")[2])
        zones = [zone for zone in zones if (order(zone.name), zone.resource_id) >= first]
    answer = {"HostedZones": zones[:most], "MaxItems": str(most), "IsTruncated": len(zones) > most}
    if len(zones) > most:
        answer |= {"NextDNSName": zones[most].name, "NextHostedZoneId": zones[most].resource_id}
    return ActionResult(answer)
