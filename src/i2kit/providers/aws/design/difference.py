"""What an update of a stack would do, in words: template and template → changes. Pure.

In: the template that a stack has, and the one that it will get. Out: per resource whether it is added,
changed in place, replaced or removed, and why. Works without AWS; a change set says the same.

Which properties cannot change in place: `createOnlyProperties` of the resource types' schemas (AWS
CloudFormation registry), as cfn-lint 1.58.0 carries them; a test compares.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verb = Literal["add", "change", "replace", "remove", "keep"]

SIZES = ("MinSize", "MaxSize", "DesiredCapacity")
"""Of a group of machines, which i2kit keeps equal, unless AWS scales it."""

UPDATES = ("UpdatePolicy", "AutoScalingInstanceRefresh", "Preferences")
"""Where a template says how a group is updated; for people that is `updates`."""

SECRETS = "secrets="
"""How the line of user data begins that says where a machine's secrets are."""

_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type: what people call it, and the properties that a replacement takes to change."""

    noun: str
    create_only: tuple[str, ...] = ()


KINDS = {
    "AWS::AutoScaling::AutoScalingGroup": Kind("group of machines", ("AutoScalingGroupName", "InstanceId")),
    "AWS::AutoScaling::ScalingPolicy": Kind("scaling policy", ("AutoScalingGroupName",)),
    "AWS::AutoScaling::ScheduledAction": Kind("schedule", ("AutoScalingGroupName",)),
    "AWS::EC2::InternetGateway": Kind("internet gateway"),
    "AWS::EC2::LaunchTemplate": Kind("launch template", ("LaunchTemplateName",)),
    "AWS::EC2::Route": Kind(
        "route",
        (
            "DestinationCidrBlock",
            "DestinationIpv6CidrBlock",
            "DestinationPrefixListId",
            "RouteTableId",
        ),
    ),
    "AWS::EC2::RouteTable": Kind("route table", ("VpcId",)),
    "AWS::EC2::SecurityGroup": Kind("security group", ("GroupDescription", "GroupName", "VpcId")),
    "AWS::EC2::SecurityGroupEgress": Kind(
        "rule of a security group",
        (
            "CidrIp",
            "CidrIpv6",
            "DestinationPrefixListId",
            "DestinationSecurityGroupId",
            "FromPort",
            "GroupId",
            "IpProtocol",
            "ToPort",
        ),
    ),
    "AWS::EC2::SecurityGroupIngress": Kind(
        "rule of a security group",
        (
            "CidrIp",
            "CidrIpv6",
            "FromPort",
            "GroupId",
            "GroupName",
            "IpProtocol",
            "SourcePrefixListId",
            "SourceSecurityGroupId",
            "SourceSecurityGroupName",
            "SourceSecurityGroupOwnerId",
            "ToPort",
        ),
    ),
    "AWS::EC2::Subnet": Kind(
        "subnet",
        (
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "Ipv4IpamPoolId",
            "Ipv4NetmaskLength",
            "Ipv6IpamPoolId",
            "Ipv6Native",
            "Ipv6NetmaskLength",
            "OutpostArn",
            "VpcId",
        ),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Kind("subnet's route table", ("RouteTableId", "SubnetId")),
    "AWS::EC2::VPC": Kind(
        "VPC", ("CidrBlock", "Ipv4IpamPoolId", "Ipv4NetmaskLength", "VpcEncryptionControl")
    ),
    "AWS::EC2::VPCGatewayAttachment": Kind("VPC's internet gateway", ("VpcId",)),
    "AWS::ElasticLoadBalancingV2::Listener": Kind("listener", ("LoadBalancerArn",)),
    "AWS::ElasticLoadBalancingV2::ListenerCertificate": Kind("listener's certificate", ("ListenerArn",)),
    "AWS::ElasticLoadBalancingV2::ListenerRule": Kind("rule", ("ListenerArn",)),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": Kind("load balancer", ("Name", "Scheme", "Type")),
    "AWS::ElasticLoadBalancingV2::TargetGroup": Kind(
        "target group",
        ("IpAddressType", "Name", "Port", "Protocol", "ProtocolVersion", "TargetType", "VpcId"),
    ),
    "AWS::IAM::InstanceProfile": Kind("instance profile", ("InstanceProfileName", "Path")),
    "AWS::IAM::Role": Kind("role", ("Path", "RoleName")),
    "AWS::Logs::LogGroup": Kind("log group", ("LogGroupName",)),
    "AWS::Route53::HostedZone": Kind("hosted zone", ("DelegationSetId", "Name")),
    "AWS::Route53::RecordSet": Kind("DNS record", ("HostedZoneId", "HostedZoneName")),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource. `reasons` are the properties that differ, with both values."""

    verb: Verb
    id: str
    noun: str
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.verb} {self.noun} {self.id}{why}"


def difference(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> tuple[Change, ...]:
    """In the order of the new template, then what goes away. None: there is no stack, or will be none."""
    before: Mapping[str, Any] = old["Resources"] if old else {}
    after: Mapping[str, Any] = new["Resources"] if new else {}
    reasons = {id_: _reasons(before[id_], after[id_]) for id_ in after if id_ in before}
    replaced = _replaced(before, after, reasons)
    changes = []
    for id_, resource in after.items():
        noun = _noun(resource)
        if id_ not in before:
            changes.append(Change("add", id_, noun))
            continue
        why = (*reasons[id_].values(), *_follows(resource, replaced, reasons))
        if id_ in replaced:
            changes.append(Change("replace", id_, noun, why))
        elif why:
            changes.append(Change("change", id_, noun, why))
    for id_, resource in before.items():
        if id_ not in after:
            verb: Verb = "keep" if resource.get("DeletionPolicy") == "Retain" else "remove"
            changes.append(Change(verb, id_, _noun(resource)))
    return tuple(changes)


def images(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> tuple[str, ...]:
    """How the machine image differs, and the containers in it, as lines; none where nothing does."""
    was, will = (one["Metadata"]["i2kit"] if one else {} for one in (old, new))
    if was.get("Image") == will.get("Image"):
        return ()
    sizes = [
        f"{one['Image'][:12]}, {one['ImageBytes'] / 1e6:,.1f} MB" if one else None for one in (was, will)
    ]
    lines = [f"machine image: {_became(*sizes)}"]
    before, after = was.get("Containers", {}), will.get("Containers", {})
    for name in dict.fromkeys([*after, *before]):
        lines.append(f"container {name}: {_became(before.get(name), after.get(name))}")
    return tuple(lines)


def _became(was: str | None, will: str | None) -> str:
    if was is None or will is None:
        return f"new, {will}" if will else f"gone, was {was}"
    return f"the same, {was}" if was == will else f"{was} → {will}"


def _noun(resource: Mapping[str, Any]) -> str:
    type_ = resource["Type"]
    return KINDS[type_].noun if type_ in KINDS else str(type_)


def _reasons(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """By property, what differs."""
    found: dict[str, list[str]] = {}
    sides = [
        {**one.get("Properties", {}), "UpdatePolicy": one.get("UpdatePolicy", {})} for one in (before, after)
    ]
    for path, was, will in _differing((), *sides):
        words = [word for word in path if not word.startswith("Fn::")]
        if path[: len(UPDATES)] == UPDATES:
            words = [f"updates: {'.'.join(path[len(UPDATES) :])}"]
        found.setdefault(path[0], []).extend(f"{'.'.join(words)} {text}" for text in _change(was, will))
    reasons = {name: ", ".join(texts) for name, texts in found.items()}
    if any(name in reasons for name in SIZES):
        # Said once; how many of so many are replaced at a time follows from it.
        was, will = (_size(side) for side in sides)
        others = {name: text for name, text in reasons.items() if name not in (*SIZES, "UpdatePolicy")}
        return {SIZES[0]: f"{was} → {will} machines", **others}
    return reasons


def _size(group: Mapping[str, Any]) -> str:
    """How many machines it has: a number of its own, or what AWS scales it to."""
    least, most = group.get("MinSize"), group.get("MaxSize")
    return str(group.get("DesiredCapacity") or f"{least} to {most}")


def _differing(path: tuple[str, ...], was: Any, will: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The smallest parts that differ. Lists of keys and values count as mappings, others as a whole."""
    was, will = _as_mapping(was), _as_mapping(will)
    if was == will:
        return
    if isinstance(was, Mapping) and isinstance(will, Mapping) and not (_refers(was) or _refers(will)):
        for key in dict.fromkeys([*was, *will]):
            yield from _differing((*path, key), was.get(key), will.get(key))
    else:
        yield path, was, will


def _as_mapping(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "Key" in one for one in value):
        return {one["Key"]: one["Value"] for one in value}
    return value


def _refers(value: Mapping[str, Any]) -> bool:
    return "Ref" in value or "Fn::GetAtt" in value


def _change(was: Any, will: Any) -> Iterator[str]:
    if isinstance(was, str) and isinstance(will, str) and "\n" in was + will:
        lines, others = was.splitlines(), will.splitlines()
        gone = [line for line in lines if line not in others]
        new = [line for line in others if line not in lines]
        if any(line.startswith(SECRETS) for line in (*gone, *new)):
            yield "secrets changed"
        yield from (f"without {_shown(line)}" for line in gone if not line.startswith(SECRETS))
        yield from (f"with {_shown(line)}" for line in new if not line.startswith(SECRETS))
    elif isinstance(was, list) and isinstance(will, list):
        yield from (f"without {_shown(one)}" for one in was if one not in will)
        yield from (f"with {_shown(one)}" for one in will if one not in was)
    else:
        yield f"{_shown(was)} → {_shown(will)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping) and "Ref" in value:
        return str(value["Ref"])
    if isinstance(value, Mapping) and "Fn::GetAtt" in value:
        return ".".join(value["Fn::GetAtt"])
    if isinstance(value, Mapping) and "IpProtocol" in value:
        what = f"{value['IpProtocol']} {value['FromPort']}" if "FromPort" in value else "everything"
        if "DestinationSecurityGroupId" in value:
            return f"{what} to {_shown(value['DestinationSecurityGroupId'])}"
        whose = value.get("CidrIp") or value.get("CidrIpv6") or value.get("SourceSecurityGroupId")
        return f"{what} from {_shown(whose)}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _replaced(
    before: Mapping[str, Any], after: Mapping[str, Any], reasons: Mapping[str, Mapping[str, str]]
) -> frozenset[str]:
    """What cannot change in place, and what for its part cannot follow that in place."""
    found: set[str] = set()
    while True:
        more = {
            id_
            for id_, resource in after.items()
            if id_ in before and id_ not in found and _must_be_replaced(resource, reasons[id_], found)
        }
        if not more:
            return frozenset(found)
        found |= more


def _must_be_replaced(resource: Mapping[str, Any], reasons: Mapping[str, str], replaced: set[str]) -> bool:
    kind = KINDS.get(resource["Type"], Kind(resource["Type"]))
    properties = resource.get("Properties", {})
    return any(
        name in reasons or not replaced.isdisjoint(_references(properties.get(name)))
        for name in kind.create_only
    )


def _follows(
    resource: Mapping[str, Any], replaced: frozenset[str], reasons: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """What a resource does because others change that it refers to."""
    referred = dict.fromkeys(_references(resource.get("Properties", {})))
    for id_ in referred:
        if id_ in replaced:
            yield f"refers to {id_}"
        elif resource["Type"] == "AWS::AutoScaling::AutoScalingGroup" and "LaunchTemplateData" in reasons.get(
            id_, ()
        ):
            if "UpdatePolicy" not in resource:
                continue
            policy = resource["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
            least, most = policy["MinHealthyPercentage"], policy["MaxHealthyPercentage"]
            yield f"all machines are replaced, with {least} to {most} % of them there at any time"


def _references(value: Any) -> Iterator[str]:
    """The logical ids that a part of a template refers to."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0]
            elif key == "Fn::Sub":
                yield from (part.split("}")[0].split(".")[0] for part in inner.split("${")[1:])
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
