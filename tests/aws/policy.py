"""The policies of docs/aws-policy, and whether they allow what i2kit calls.

In: the policies, and calls as a client of the SDK makes them. Out: what IAM is asked for each call, and its
answer, as far as that can be told without IAM: actions, resources and the conditions that our policies have.
Which resources an action has is in the copy of the Service Authorization Reference that cfn-lint brings.

Sources: IAM user guide, "Policy evaluation logic" and "Condition operators"; Service Authorization Reference;
CloudFormation API Reference, DescribeStacks ("requires ListStacks and DescribeStacks permissions").
"""

import importlib.resources
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from i2kit.providers.aws.access import session

FOLDER = Path(__file__).parents[2] / "docs/aws-policy"

HERE = "us-east-1:123456789012"
"""Region and account of the ARNs of what a call names."""

OWN = {
    ("ec2", "image"): "arn:aws:ec2:us-east-1::image/",
    ("ec2", "snapshot"): "arn:aws:ec2:us-east-1::snapshot/",
}
"""ARNs without an account."""

Params = Mapping[str, Any]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One of a policy. All of ours allow."""

    policy: str
    name: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Sequence[str]]]

    def allows(self, request: "Request") -> bool:
        return (
            request.action in self.actions
            and any(matches(pattern, request.resource) for pattern in self.resources)
            and all(
                _holds(operator, key, values, request)
                for operator, keys in self.conditions.items()
                for key, values in keys.items()
            )
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What IAM is asked: an action on one resource, with what is known of both as condition keys.

    `unknown`: the tags of the resource are not known, so conditions on them count as met.
    """

    action: str
    resource: str
    context: Pairs = ()
    unknown: bool = False

    def values(self, key: str) -> tuple[str, ...]:
        return tuple(value for name, value in self.context if name.lower() == key.lower())

    def __str__(self) -> str:
        said = ", ".join(f"{key}={value}" for key, value in self.context)
        return f"{self.action} on {self.resource}{f' with {said}' if said else ''}"


def policies() -> Mapping[str, tuple[Statement, ...]]:
    """By the name of the file."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    return {
        name: tuple(
            Statement(
                name,
                one["Sid"],
                tuple(one["Action"]),
                tuple(_listed(one["Resource"])),
                {
                    operator: {key: _listed(values) for key, values in keys.items()}
                    for operator, keys in one.get("Condition", {}).items()
                },
            )
            for one in whole["Statement"]
        )
        for name, whole in found.items()
    }


def denied(statements: Iterable[Statement], requests: Iterable[Request]) -> list[str]:
    """What of this no statement allows."""
    given = tuple(statements)
    return sorted({str(one) for one in requests if not any(each.allows(one) for each in given)})


def matches(pattern: str, text: str) -> bool:
    words = {"*": ".*", "?": "."}
    form = "".join(words.get(letter) or re.escape(letter) for letter in pattern)
    return re.fullmatch(form, text) is not None


def _holds(operator: str, key: str, values: Sequence[str], request: Request) -> bool:
    found = request.values(key)
    if request.unknown and key.startswith("aws:ResourceTag/"):
        return True
    match operator:
        case "Null":
            return (not found) == (values[0] == "true")
        case "StringEquals" | "ForAnyValue:StringEquals":
            return any(value in values for value in found)
        case "ForAllValues:StringEquals":
            return all(value in values for value in found)
    raise NotImplementedError(operator)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# --- the Service Authorization Reference ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resource: how its ARNs begin, and the condition keys that it has."""

    service: str
    start: str
    keys: tuple[str, ...]

    def fits(self, pattern: str) -> bool:
        """Whether a policy's pattern is for this type."""
        service, _, rest = pattern.removeprefix("arn:*:").partition(":")
        return service == self.service and rest.split(":", 2)[2].startswith(self.start)


def exists(action: str) -> bool:
    service, _, name = action.partition(":")
    return name.lower() in _reference().get(service, {}).get("Actions", {})


def kinds(action: str) -> tuple[Kind, ...]:
    """The types of resources that this action can be bound to; empty where it knows none."""
    service, _, name = action.partition(":")
    whole = _reference()[service]
    named = whole["Actions"][name.lower()].get("Resources", ())
    found = [whole["Resources"][one.lower()] for one in named]
    return tuple(
        Kind(form.split(":")[2], form.split(":", 5)[5].split(".*")[0], tuple(one.get("ConditionKeys", ())))
        for one in found
        for form in one["ARNFormats"]
    )


@cache
def _reference() -> Mapping[str, Any]:
    file = importlib.resources.files("cfnlint.data.AdditionalSpecs") / "Policies.json"
    found: Mapping[str, Any] = json.loads(file.read_text())
    return found


# --- what a call asks IAM ---------------------------------------------------------------------


@dataclass(slots=True)
class Tags:
    """What AWS said of resources' tags, and what they were made with."""

    known: dict[str, dict[str, str]] = field(default_factory=dict)

    def learn(self, id_: str, tags: Iterable[Mapping[str, str]]) -> None:
        self.known.setdefault(id_, {}).update({one["Key"]: one["Value"] for one in tags})

    def request(self, action: str, resource: str, id_: str, context: Pairs = ()) -> Request:
        tags = self.known.get(id_)
        ours = tuple((f"aws:ResourceTag/{key}", value) for key, value in sorted((tags or {}).items()))
        return Request(action, resource, (*ours, *context), unknown=tags is None)


SIGNED_AS = {"monitoring": "cloudwatch"}
"""Services that sign their requests with another name than IAM's."""

Rule = Callable[[str, Params, Tags], Iterable[Request]]


def requests(action: str, params: Params, tags: Tags) -> tuple[Request, ...]:
    """Raises LookupError for an action that names resources in a way that is not written down here."""
    service = action.partition(":")[0]
    if rule := RULES.get(action) or RULES.get(service):
        return tuple(rule(action, params, tags))
    if kinds(action):
        raise LookupError(f"{__file__} does not say which resources {action} names: add it to RULES")
    return (Request(action, "*"),)


def _of_stacks(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    name = params.get("StackName") or params.get("ChangeSetName")
    if name is None:
        yield Request(action, "*")
        yield Request("cloudformation:ListStacks", "*")
    else:
        whole = name if name.startswith("arn:") else f"arn:aws:cloudformation:{HERE}:stack/{name}/*"
        yield Request(action, whole)


def _of_blocks(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    id_ = params["SnapshotId"]
    yield tags.request(action, OWN["ec2", "snapshot"] + id_, id_)


def _start_snapshot(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    resource, said = OWN["ec2", "snapshot"] + "*", _requested(params.get("Tags", ()))
    yield Request(action, resource, said)
    yield Request("ec2:CreateTags", resource, (*said, ("ec2:CreateAction", "StartSnapshot")))


def _register_image(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    resource = OWN["ec2", "image"] + "*"
    said = _requested(
        tag for each in params["TagSpecifications"] if each["ResourceType"] == "image" for tag in each["Tags"]
    )
    yield Request(action, resource, said)
    yield Request("ec2:CreateTags", resource, (*said, ("ec2:CreateAction", "RegisterImage")))
    for mapping in params["BlockDeviceMappings"]:
        id_ = mapping["Ebs"]["SnapshotId"]
        yield tags.request(action, OWN["ec2", "snapshot"] + id_, id_)


def _create_volume(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    resource = f"arn:aws:ec2:{HERE}:volume/*"
    said = _requested(tag for each in params["TagSpecifications"] for tag in each["Tags"])
    yield Request(action, resource, said)
    yield Request("ec2:CreateTags", resource, (*said, ("ec2:CreateAction", "CreateVolume")))


def _create_tags(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    """Only of volumes."""
    for id_ in params["Resources"]:
        yield tags.request(action, f"arn:aws:ec2:{HERE}:volume/{id_}", id_, _requested(params["Tags"]))


def _of_images(params: Params) -> list[Mapping[str, str]]:
    given = params.get("TagSpecifications", ())
    return [tag for each in given if each["ResourceType"] == "image" for tag in each["Tags"]]


def _one(name: str, start: str) -> Rule:
    """An action on the one resource whose id is in this parameter."""

    def rule(action: str, params: Params, tags: Tags) -> Iterator[Request]:
        yield tags.request(action, start + params[name], params[name])

    return rule


def _of_logs(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    whole = f"arn:aws:logs:{HERE}:log-group:{params['logGroupName']}"
    stream = f":log-stream:{params['logStreamName']}" if "logStreamName" in params else ""
    yield Request(action, whole + stream)


def _of_zones(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    yield Request(action, f"arn:aws:route53:::hostedzone/{params['Id'].removeprefix('/hostedzone/')}")


def _of_records(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    zone = f"arn:aws:route53:::hostedzone/{params['HostedZoneId'].removeprefix('/hostedzone/')}"
    changes = params.get("ChangeBatch", {}).get("Changes", ())
    said = [(f"{action}Actions", one["Action"]) for one in changes]
    said += [(f"{action}RecordTypes", one["ResourceRecordSet"]["Type"]) for one in changes]
    yield Request(action, zone, tuple(dict.fromkeys(said)))


def _of_alarms(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    for name in params["AlarmNames"]:
        yield Request(action, f"arn:aws:cloudwatch:{HERE}:alarm:{name}")


def _of_groups(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    name = params["AutoScalingGroupName"]
    yield Request(action, f"arn:aws:autoscaling:{HERE}:autoScalingGroup:*:autoScalingGroupName/{name}")


def _of_parameters(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    for name in params.get("Names") or [params.get("Path") or params["Name"]]:
        yield Request(action, f"arn:aws:ssm:{HERE}:parameter{name}")


def _certificate(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    yield tags.request(action, params["CertificateArn"], params["CertificateArn"])


def _import_certificate(action: str, params: Params, tags: Tags) -> Iterator[Request]:
    """ACM user guide, "Tagging imported certificates": with tags it takes another permission."""
    if "CertificateArn" in params:
        yield from _certificate(action, params, tags)
        return
    said = _requested(params["Tags"])
    for each in (action, "acm:AddTagsToCertificate"):
        yield Request(each, f"arn:aws:acm:{HERE}:certificate/*", said)


RULES: Mapping[str, Rule] = {
    "cloudformation": _of_stacks,
    "ebs": _of_blocks,
    "ebs:StartSnapshot": _start_snapshot,
    "ec2:RegisterImage": _register_image,
    "ec2:DeregisterImage": _one("ImageId", OWN["ec2", "image"]),
    "ec2:DeleteSnapshot": _one("SnapshotId", OWN["ec2", "snapshot"]),
    "ec2:CreateVolume": _create_volume,
    "ec2:CreateTags": _create_tags,
    "ec2:DeleteVolume": _one("VolumeId", f"arn:aws:ec2:{HERE}:volume/"),
    "ec2:ModifyVolume": _one("VolumeId", f"arn:aws:ec2:{HERE}:volume/"),
    "ec2:GetConsoleOutput": _one("InstanceId", f"arn:aws:ec2:{HERE}:instance/"),
    "ec2:DescribeVpcAttribute": _one("VpcId", f"arn:aws:ec2:{HERE}:vpc/"),
    "logs": _of_logs,
    "ssm": _of_parameters,
    "route53:ChangeResourceRecordSets": _of_records,
    "route53:GetHostedZone": _of_zones,
    "route53:ListResourceRecordSets": _of_records,
    "acm:AddTagsToCertificate": _certificate,
    "acm:DeleteCertificate": _certificate,
    "acm:DescribeCertificate": _certificate,
    "acm:ImportCertificate": _import_certificate,
    "acm:ListTagsForCertificate": _certificate,
    "autoscaling:SetDesiredCapacity": _of_groups,
    "cloudwatch:DescribeAlarms": _of_alarms,
}
"""By action, else by service."""


def _requested(tags: Iterable[Mapping[str, str]]) -> Pairs:
    return tuple((f"aws:RequestTag/{one['Key']}", one["Value"]) for one in tags)


# --- recording --------------------------------------------------------------------------------


@dataclass(slots=True)
class Recorder:
    """What i2kit asks of IAM by the clients of its sessions; tests call by them too, and that is not seen."""

    asked: dict[Request, None] = field(default_factory=dict)
    tags: Tags = field(default_factory=Tags)

    @property
    def actions(self) -> frozenset[str]:
        return frozenset(one.action for one in self.asked)

    def forget(self) -> None:
        """What was asked; not what is known of tags."""
        self.asked.clear()

    def listen(self, client: Any) -> None:
        client.meta.events.register("before-parameter-build", self._called)
        client.meta.events.register("after-call", self._answered)

    def _called(self, params: Params, model: Any, context: dict[str, Any], **_: object) -> None:
        context["asked"] = params
        if not _by_i2kit():
            return
        service = model.service_model.signing_name
        action = f"{SIGNED_AS.get(service, service)}:{model.name}"
        self.asked |= dict.fromkeys(requests(action, params, self.tags))

    def _answered(self, parsed: Params, model: Any, context: Mapping[str, Any], **_: object) -> None:
        """AWS tells tags in its answers; what was just made has those that were asked for."""
        params = context["asked"]
        if model.name == "StartSnapshot" and "SnapshotId" in parsed:
            self.tags.learn(parsed["SnapshotId"], params.get("Tags", ()))
        elif model.name == "RegisterImage" and "ImageId" in parsed:
            self.tags.learn(parsed["ImageId"], _of_images(params))
        elif model.name == "ListTagsForCertificate" and "Tags" in parsed:
            self.tags.learn(params["CertificateArn"], parsed["Tags"])
        elif model.name == "CreateVolume" and "VolumeId" in parsed:
            self.tags.learn(parsed["VolumeId"], parsed.get("Tags", ()))
        listed = [
            *(("VolumeId", one) for one in parsed.get("Volumes", ())),
            *(("ImageId", one) for one in parsed.get("Images", ())),
            *(("SnapshotId", one) for one in parsed.get("Snapshots", ())),
            *(("InstanceId", vm) for one in parsed.get("Reservations", ()) for vm in one["Instances"]),
        ]
        for name, one in listed:
            if name in one:
                self.tags.learn(one[name], one.get("Tags", ()))


def _by_i2kit() -> bool:
    """Whether the SDK was called from i2kit's own code."""
    frame = sys._getframe(2)
    while (name := str(frame.f_globals["__name__"])).startswith(("botocore.", "boto3.")):
        assert frame.f_back
        frame = frame.f_back
    return name.startswith("i2kit.")


@contextmanager
def recording() -> Iterator[Recorder]:
    """All that is called through sessions that are made, or asked for clients, from now on."""
    recorder = Recorder()
    make = session.Session.client

    def client(self: session.Session, service: str, **config: object) -> Any:
        made = make(self, service, **config)
        recorder.listen(made)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.Session, "client", client)
        yield recorder
