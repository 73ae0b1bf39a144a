"""The policies of docs/aws-policy: right in form, bound as far as AWS can, and neither more nor less than
what i2kit and, in its user's name, CloudFormation call.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from i2kit.providers.aws.amis import ami
from i2kit.providers.aws.running import foresight, stacks
from i2kit.providers.aws.values import NETWORK_STACK, log_group, stack_name
from i2kit.settings import VARIABLES
from tests.aws import policy
from tests.aws.conftest import DIRECT, REGION
from tests.aws.policy import Request
from tests.aws.templates import all_templates

MAX_CHARACTERS = 6144
"""Of a managed policy, white space aside (IAM quotas)."""

POLICIES = policy.policies()
STATEMENTS = [one for each in POLICIES.values() for one in each]
CLOUDFORMATION = {"aws:CalledVia": ["cloudformation.amazonaws.com"]}

UNBOUND = {("read", "Look"), ("deploy", "Look")}
"""Statements for any resource and without a condition: what they have only looks, and knows no resources."""

ANY_RESOURCE = {
    "cloudformation:DescribeStacks": "`status` asks for all stacks, and names none",
    "cloudwatch:GetMetricData": "what it knows are data sets, and metrics are in none",
}
"""Actions for any resource although they know some."""

CHANGE_SETS = {
    f"arn:*:cloudformation:*:*:changeSet/{begin}*/*" for begin in (stacks.CHANGE_SET, foresight.CHANGE_SET)
}
"""The reference says that calls about change sets name the stack. i2kit names the change set alone, by its
ARN, and then IAM was seen to be asked for that one (widdix/complete-aws-iam-reference, issue 6)."""

NO_CALLS = {"iam:PassRole"}
"""Permissions that no call of the SDK has the name of."""

KEYS_OF_ACTIONS = {
    ("acm:AddTagsToCertificate", "aws:RequestTag/${TagKey}"),
    ("acm:ImportCertificate", "aws:RequestTag/${TagKey}"),
}
"""Conditions that the Service Authorization Reference has with an action, which the copy here leaves out."""

SERVICES = {"elasticloadbalancing": "elbv2"}
"""The SDK's names where they are not IAM's."""


# --- form -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_as_iam_takes_it(name: str) -> None:
    whole = json.loads((policy.FOLDER / f"{name}.json").read_text())
    assert whole.keys() == {"Version", "Statement"}
    assert whole["Version"] == "2012-10-17"
    assert len(json.dumps(whole, separators=(",", ":"))) <= MAX_CHARACTERS
    names = [one["Sid"] for one in whole["Statement"]]
    assert len(set(names)) == len(names)
    for one in whole["Statement"]:
        assert one.keys() - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
        assert one["Effect"] == "Allow"
        assert one["Sid"].isalpha()
        assert one["Action"] == sorted(set(one["Action"]))


@cache
def operations(service: str) -> frozenset[str]:
    model = botocore.session.get_session().get_service_model(SERVICES.get(service, service))
    return frozenset(model.operation_names)


def test_each_action_exists_and_none_has_a_wildcard() -> None:
    for one in STATEMENTS:
        for action in one.actions:
            assert policy.exists(action), action
            service, name = action.split(":")
            assert action in NO_CALLS or name in operations(service), action


def test_each_action_is_bound_to_resources_where_it_knows_any() -> None:
    for one in STATEMENTS:
        for action in one.actions:
            found = policy.kinds(action)
            if "*" in one.resources:
                assert one.resources == ("*",)
                assert not found or action in ANY_RESOURCE, action
            else:
                assert any(kind.fits(each) for kind in found for each in one.resources), action
        for each in set(one.resources) - {"*", *CHANGE_SETS}:
            assert any(kind.fits(each) for action in one.actions for kind in policy.kinds(action)), each


def test_each_statement_is_bound_by_a_resource_or_a_condition() -> None:
    unbound = [one for one in STATEMENTS if one.resources == ("*",) and not one.conditions]
    assert {(one.policy, one.name) for one in unbound} == UNBOUND
    for one in unbound:
        assert all(action.split(":")[1].startswith(("Describe", "Get", "List")) for action in one.actions)


def test_conditions_on_tags_are_on_what_has_tags() -> None:
    """Else the condition is never met, and the statement allows nothing."""
    for one in STATEMENTS:
        keys = [key for each in one.conditions.values() for key in each if key.startswith("aws:Re")]
        for key in keys:
            form = f"{key.partition('/')[0]}/${{TagKey}}"
            for action in one.actions:
                if (action, form) in KEYS_OF_ACTIONS:
                    continue
                fitting = [kind for kind in policy.kinds(action) if any(map(kind.fits, one.resources))]
                assert all(form in kind.keys for kind in fitting), (action, key)


def test_all_but_what_is_called_directly_is_for_cloudformation_alone() -> None:
    for one in STATEMENTS:
        via = one.conditions.get("ForAnyValue:StringEquals") == CLOUDFORMATION
        assert via == (one not in DIRECT), one.name


# --- what is allowed and what is not ----------------------------------------------------------

STACK = f"arn:aws:cloudformation:{policy.HERE}:stack/"
SNAPSHOT, IMAGE = policy.OWN["ec2", "snapshot"], policy.OWN["ec2", "image"]
VIA = ("aws:CalledVia", "cloudformation.amazonaws.com")
OURS = (f"aws:ResourceTag/{ami.DISK_TAG}", "a" * 64)
NEW = (f"aws:RequestTag/{ami.DISK_TAG}", "a" * 64)
TO_EC2 = ("iam:PassedToService", "ec2.amazonaws.com")
ROLE = "arn:aws:iam::123456789012:role/"
GROUPS = f"arn:aws:autoscaling:{policy.HERE}:autoScalingGroup:*:autoScalingGroupName/"
CERTIFICATE = f"arn:aws:acm:{policy.HERE}:certificate/"
ZONE = "arn:aws:route53:::hostedzone/Z1"
RECORD_TYPE = "route53:ChangeResourceRecordSetsRecordTypes"

ALLOWED = (
    Request("cloudformation:CreateChangeSet", f"{STACK}{stack_name('default/web')}/*"),
    Request("cloudformation:DeleteStack", f"{STACK}{stack_name('shop/web')}/*"),
    Request("cloudformation:CreateChangeSet", f"{STACK}{NETWORK_STACK}/*"),
    Request("cloudformation:CancelUpdateStack", f"{STACK}{stack_name('default/web')}/*"),
    Request("autoscaling:SetDesiredCapacity", f"{GROUPS}{stack_name('shop/web')}-Group-1ABC"),
    Request("autoscaling:PutScalingPolicy", f"{GROUPS}{stack_name('shop/web')}-Group-1ABC", (VIA,)),
    Request("cloudwatch:DescribeAlarms", f"arn:aws:cloudwatch:{policy.HERE}:alarm:errors"),
    Request(
        "cloudformation:ExecuteChangeSet",
        f"arn:aws:cloudformation:{policy.HERE}:changeSet/{stacks.CHANGE_SET}0a1b/0-1-2",
    ),
    Request(
        "logs:GetLogEvents", f"arn:aws:logs:{policy.HERE}:log-group:{log_group('a/b')}:log-stream:i-0/nginx"
    ),
    Request("ec2:DeleteSnapshot", f"{SNAPSHOT}snap-0", (OURS,)),
    Request("ec2:CreateTags", f"{IMAGE}*", (NEW, ("ec2:CreateAction", "RegisterImage"))),
    Request("iam:CreateRole", f"{ROLE}i2kit-web-Role-1ABC", (VIA,)),
    Request("iam:PassRole", f"{ROLE}i2kit-web-Role-1ABC", (VIA, TO_EC2)),
    Request("ec2:RunInstances", f"{IMAGE}ami-0", (VIA, OURS)),
    Request("route53:ChangeResourceRecordSets", ZONE, (VIA, (RECORD_TYPE, "A"))),
    Request("acm:ImportCertificate", f"{CERTIFICATE}*", (("aws:RequestTag/i2kit:ingress", "a/b"),)),
    Request("acm:DeleteCertificate", f"{CERTIFICATE}1", (("aws:ResourceTag/i2kit:ingress", "a/b"),)),
)

REFUSED = (
    Request("cloudformation:CreateChangeSet", f"{STACK}shop/*"),
    Request("cloudformation:DeleteStack", f"{STACK}my-i2kit-web/*"),
    Request("cloudformation:ExecuteChangeSet", f"arn:aws:cloudformation:{policy.HERE}:changeSet/mine/0-1-2"),
    Request("logs:GetLogEvents", f"arn:aws:logs:{policy.HERE}:log-group:/aws/lambda/f:log-stream:s"),
    Request("autoscaling:SetDesiredCapacity", f"{GROUPS}shop"),
    Request("autoscaling:PutScalingPolicy", f"{GROUPS}shop", (VIA,)),
    Request("autoscaling:PutScalingPolicy", f"{GROUPS}{stack_name('shop/web')}-Group-1ABC"),
    # Snapshots and images of others, also by making them look like ours.
    Request("ec2:DeleteSnapshot", f"{SNAPSHOT}snap-0"),
    Request("ec2:DeregisterImage", f"{IMAGE}ami-0", (("aws:ResourceTag/Name", "golden"),)),
    Request("ebs:GetSnapshotBlock", f"{SNAPSHOT}snap-0"),
    Request("ec2:CreateTags", f"{SNAPSHOT}snap-0", (NEW,)),
    Request("ec2:RegisterImage", f"{IMAGE}*"),
    Request("ec2:RegisterImage", f"{SNAPSHOT}snap-0", (NEW,)),
    Request("ec2:GetConsoleOutput", f"arn:aws:ec2:{policy.HERE}:instance/i-0"),
    Request("acm:ImportCertificate", f"{CERTIFICATE}1"),
    Request("acm:DeleteCertificate", f"{CERTIFICATE}1"),
    # What is CloudFormation's, without it.
    Request("iam:CreateRole", f"{ROLE}i2kit-web-Role-1ABC"),
    Request("iam:PassRole", f"{ROLE}i2kit-web-Role-1ABC", (TO_EC2,)),
    Request("ec2:RunInstances", f"{IMAGE}ami-0", (OURS,)),
    Request("ec2:DeleteVpc", f"arn:aws:ec2:{policy.HERE}:vpc/vpc-0"),
    # And with it, what templates do not make.
    Request("iam:CreateRole", f"{ROLE}admin", (VIA,)),
    Request("iam:AttachRolePolicy", f"{ROLE}i2kit-web-Role-1ABC", (VIA,)),
    Request("iam:PassRole", f"{ROLE}admin", (VIA, TO_EC2)),
    Request(
        "iam:PassRole", f"{ROLE}i2kit-web-Role-1ABC", (VIA, ("iam:PassedToService", "lambda.amazonaws.com"))
    ),
    Request("ec2:RunInstances", f"{IMAGE}ami-0", (VIA,)),
    Request("logs:DeleteLogGroup", f"arn:aws:logs:{policy.HERE}:log-group:/aws/lambda/f", (VIA,)),
    Request("route53:ChangeResourceRecordSets", ZONE, (VIA, (RECORD_TYPE, "NS"))),
    Request(
        "iam:CreateServiceLinkedRole",
        f"{ROLE}aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
        (VIA, ("iam:AWSServiceName", "ecs.amazonaws.com")),
    ),
)


@pytest.mark.parametrize("request_", ALLOWED, ids=str)
def test_what_belongs_to_deployments_is_allowed(request_: Request) -> None:
    assert policy.denied(STATEMENTS, [request_]) == []


@pytest.mark.parametrize("request_", REFUSED, ids=str)
def test_what_belongs_to_others_is_refused(request_: Request) -> None:
    assert policy.denied(STATEMENTS, [request_])


# --- CloudFormation's half --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unused:
    """What CloudFormation calls for a type only where a template uses these properties, which ours do not.

    Without properties there is another reason.
    """

    type: str
    properties: tuple[str, ...]
    actions: tuple[str, ...]
    reason: str = ""


GROUP = "AWS::AutoScaling::AutoScalingGroup"
BALANCING = "AWS::ElasticLoadBalancingV2"

UNUSED = (
    Unused(
        GROUP,
        ("MetricsCollection",),
        ("autoscaling:DisableMetricsCollection", "autoscaling:EnableMetricsCollection"),
    ),
    Unused(
        GROUP,
        ("NotificationConfigurations", "NotificationConfiguration"),
        ("autoscaling:DeleteNotificationConfiguration", "autoscaling:PutNotificationConfiguration"),
    ),
    Unused(
        GROUP,
        ("LifecycleHookSpecificationList",),
        ("autoscaling:DeleteLifecycleHook", "autoscaling:PutLifecycleHook"),
    ),
    Unused(
        GROUP, ("LoadBalancerNames",), ("autoscaling:AttachLoadBalancers", "autoscaling:DetachLoadBalancers")
    ),
    Unused(
        GROUP,
        ("TrafficSources",),
        (
            "autoscaling:AttachTrafficSources",
            "autoscaling:DetachTrafficSources",
            "vpc-lattice:DeregisterTargets",
            "vpc-lattice:GetTargetGroup",
            "vpc-lattice:ListTargets",
            "vpc-lattice:RegisterTargets",
        ),
    ),
    Unused(GROUP, ("MixedInstancesPolicy",), ("ec2:Get*",)),
    Unused(GROUP, ("LaunchConfigurationName",), ("ssm:Get*",)),
    Unused(
        GROUP,
        (),
        ("autoscaling:ResumeProcesses", "autoscaling:SuspendProcesses"),
        "only AutoScalingRollingUpdate suspends processes, and templates have AutoScalingInstanceRefresh",
    ),
    Unused(
        GROUP,
        (),
        ("cloudwatch:PutMetricAlarm",),
        "the alarms of target tracking are made by AWSServiceRoleForAutoScaling, with its own policy",
    ),
    Unused(
        GROUP,
        (),
        (
            "managed-fleets:CreateAutoScalingGroup",
            "managed-fleets:DeleteAutoScalingGroup",
            "managed-fleets:DeregisterAutoScalingGroup",
            "managed-fleets:Get*",
            "managed-fleets:RegisterAutoScalingGroup",
            "managed-fleets:UpdateAutoScalingGroup",
        ),
        "IAM's reference knows no such service",
    ),
    Unused("AWS::IAM::Role", ("ManagedPolicyArns",), ("iam:AttachRolePolicy", "iam:DetachRolePolicy")),
    Unused(
        "AWS::IAM::Role",
        ("PermissionsBoundary",),
        ("iam:DeleteRolePermissionsBoundary", "iam:PutRolePermissionsBoundary"),
    ),
    Unused(
        "AWS::IAM::Role",
        ("Description", "MaxSessionDuration"),
        ("iam:UpdateRole", "iam:UpdateRoleDescription"),
    ),
    Unused("AWS::IAM::Role", (), ("iam:UpdateAssumeRolePolicy",), "who may take the role never changes"),
    Unused("AWS::Logs::LogGroup", ("KmsKeyId",), ("logs:AssociateKmsKey", "logs:DisassociateKmsKey")),
    Unused(
        "AWS::Logs::LogGroup",
        ("DataProtectionPolicy",),
        (
            "firehose:TagDeliveryStream",
            "logs:CreateLogDelivery",
            "logs:DeleteDataProtectionPolicy",
            "logs:PutDataProtectionPolicy",
            "s3:REST.PUT.OBJECT",
        ),
    ),
    Unused("AWS::Logs::LogGroup", ("FieldIndexPolicies",), ("logs:DeleteIndexPolicy", "logs:PutIndexPolicy")),
    Unused(
        "AWS::Logs::LogGroup",
        ("ResourcePolicyDocument",),
        ("logs:DeleteResourcePolicy", "logs:PutResourcePolicy"),
    ),
    Unused("AWS::Logs::LogGroup", ("DeletionProtectionEnabled",), ("logs:PutLogGroupDeletionProtection",)),
    Unused(
        "AWS::Logs::LogGroup", ("BearerTokenAuthenticationEnabled",), ("logs:PutBearerTokenAuthentication",)
    ),
    Unused("AWS::Logs::LogGroup", (), ("logs:DeleteRetentionPolicy",), "there is always a retention"),
    Unused(
        f"{BALANCING}::Listener", ("ListenerAttributes",), ("elasticloadbalancing:ModifyListenerAttributes",)
    ),
    Unused(f"{BALANCING}::Listener", (), ("cognito-idp:DescribeUserPoolClient",), "listeners only forward"),
    Unused(f"{BALANCING}::ListenerRule", (), ("cognito-idp:DescribeUserPoolClient",), "rules ask nobody in"),
    Unused(
        f"{BALANCING}::LoadBalancer",
        ("MinimumLoadBalancerCapacity",),
        ("elasticloadbalancing:ModifyCapacityReservation",),
    ),
    Unused(
        f"{BALANCING}::LoadBalancer",
        ("Ipv4IpamPoolId",),
        ("ec2:DescribeIpamPools", "elasticloadbalancing:ModifyIpPools"),
    ),
    Unused(f"{BALANCING}::LoadBalancer", ("IpAddressType",), ("elasticloadbalancing:SetIpAddressType",)),
    Unused(
        f"{BALANCING}::TargetGroup",
        ("Targets",),
        ("elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"),
    ),
    Unused("AWS::EC2::Route", (), ("ec2:ReplaceRoute",), "the one route never changes"),
    Unused(
        "AWS::EC2::SubnetRouteTableAssociation",
        (),
        ("ec2:ReplaceRouteTableAssociation",),
        "subnets are new, and have no table of their own yet",
    ),
    Unused(
        "AWS::EC2::Subnet",
        (
            "AssignIpv6AddressOnCreation",
            "EnableDns64",
            "MapPublicIpOnLaunch",
            "PrivateDnsNameOptionsOnLaunch",
        ),
        ("ec2:ModifySubnetAttribute",),
    ),
    Unused(
        "AWS::EC2::Subnet",
        ("Ipv6CidrBlock",),
        ("ec2:AssociateSubnetCidrBlock", "ec2:DisassociateSubnetCidrBlock"),
    ),
    Unused("AWS::EC2::VPC", ("InstanceTenancy",), ("ec2:ModifyVpcTenancy",)),
    Unused("AWS::EC2::VPC", ("VpcEncryptionControl",), ("ec2:CreateVpcEncryptionControl",)),
    Unused(
        "AWS::EC2::VPCGatewayAttachment", ("VpnGatewayId",), ("ec2:AttachVpnGateway", "ec2:DetachVpnGateway")
    ),
    Unused(
        "AWS::Route53::HostedZone",
        ("QueryLoggingConfig",),
        ("route53:CreateQueryLoggingConfig", "route53:DeleteQueryLoggingConfig"),
    ),
    Unused("AWS::Route53::HostedZone", ("HostedZoneFeatures",), ("route53:UpdateHostedZoneFeatures",)),
    Unused("AWS::Route53::HostedZone", ("HostedZoneConfig",), ("route53:UpdateHostedZoneComment",)),
    Unused(
        "AWS::Route53::HostedZone",
        (),
        ("route53:DisassociateVPCFromHostedZone",),
        "a zone answers in the network that it came with, for ever",
    ),
)

WILDCARDS = {
    "autoscaling:Describe*": frozenset(
        f"autoscaling:Describe{what}"
        for what in (
            "AutoScalingGroups",
            "InstanceRefreshes",
            "LifecycleHooks",
            "LoadBalancerTargetGroups",
            "LoadBalancers",
            "NotificationConfigurations",
            "ScalingActivities",
            "Tags",
            "TrafficSources",
        )
    ),
    "ec2:Describe*": frozenset(
        f"ec2:Describe{what}"
        for what in (
            "AvailabilityZones",
            "Images",
            "Instances",
            "KeyPairs",
            "LaunchTemplateVersions",
            "LaunchTemplates",
            "SecurityGroups",
            "Subnets",
            "Vpcs",
        )
    ),
    # Where groups have load balancers, `services` has these.
    "elasticloadbalancing:Describe*": frozenset[str](),
}
"""What we take the schemas' wildcards to mean: what is said of one group, and of what its launch template
names. Not verified with AWS."""

BEYOND = {
    "services": {
        # kubernetes-sigs/aws-load-balancer-controller, docs/install/iam_policy.json, which makes the same.
        "ec2:DescribeAccountAttributes",
        "ec2:DescribeAddresses",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "iam:CreateServiceLinkedRole",
    },
}
"""What other services ask in the caller's name, and the schemas do not say."""

UNHANDLED = {
    f"{BALANCING}::ListenerCertificate": frozenset(
        f"elasticloadbalancing:{what}ListenerCertificates" for what in ("Add", "Describe", "Remove")
    ),
}
"""Of types whose schemas do not say what they call: the calls that do the same."""

TYPES = {
    "machines": {
        GROUP,
        "AWS::AutoScaling::ScalingPolicy",
        "AWS::AutoScaling::ScheduledAction",
        "AWS::EC2::LaunchTemplate",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::Role",
        "AWS::Logs::LogGroup",
    },
    "services": {
        f"{BALANCING}::Listener",
        f"{BALANCING}::ListenerCertificate",
        f"{BALANCING}::ListenerRule",
        f"{BALANCING}::LoadBalancer",
        f"{BALANCING}::TargetGroup",
        "AWS::Route53::RecordSet",
    },
    "network": {
        "AWS::EC2::InternetGateway",
        "AWS::EC2::Route",
        "AWS::EC2::RouteTable",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        "AWS::EC2::VPCGatewayAttachment",
        "AWS::Route53::HostedZone",
    },
}
"""For what each of CloudFormation's policies is."""


def schema(type_: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, type_).schema
    return found


def resources() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for each in all_templates().values():
        for one in each["Resources"].values():
            yield one["Type"], one["Properties"]


def called_for(type_: str) -> frozenset[str]:
    """What CloudFormation may call for a type; what `list` calls is for those who look for what to import."""
    if type_ in UNHANDLED:
        assert "handlers" not in schema(type_)
        return UNHANDLED[type_]
    handlers = schema(type_)["handlers"]
    return frozenset(
        action
        for name in ("create", "read", "update", "delete")
        for action in handlers.get(name, {}).get("permissions", ())
    )


def test_types_of_templates_each_have_a_policy() -> None:
    assert {type_ for type_, _ in resources()} == {one for each in TYPES.values() for one in each}


@pytest.mark.parametrize("name", TYPES)
def test_cloudformation_may_do_what_it_does_for_our_templates_and_no_more(name: str) -> None:
    unused = {(one.type, action) for one in UNUSED for action in one.actions}
    needed = {
        action for type_ in TYPES[name] for action in called_for(type_) if (type_, action) not in unused
    }
    meant = {each for action in needed for each in WILDCARDS.get(action, {action})} | BEYOND.get(name, set())
    assert {action for one in POLICIES[name] for action in one.actions} == meant


@pytest.mark.parametrize("one", UNUSED, ids=lambda one: f"{one.type} {one.actions[0]}")
def test_what_is_left_out_is_not_used(one: Unused) -> None:
    assert set(one.actions) <= called_for(one.type), "CloudFormation does not call it any more"
    assert set(one.properties) <= schema(one.type)["properties"].keys()
    assert bool(one.properties) != bool(one.reason)
    used = {key for type_, properties in resources() if type_ == one.type for key in properties}
    assert not used & set(one.properties)


def test_what_is_beyond_the_schemas_is_not_in_them() -> None:
    for name, actions in BEYOND.items():
        assert not actions & {action for type_ in TYPES[name] for action in called_for(type_)}


NAMES = {
    GROUP: "AutoScalingGroupName",
    f"{BALANCING}::LoadBalancer": "Name",
    f"{BALANCING}::TargetGroup": "Name",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::Role": "RoleName",
}
"""Properties that would take the place of names that CloudFormation begins with the stack's."""


def test_templates_name_nothing_that_the_policies_do_not_know() -> None:
    for type_, properties in resources():
        if type_ in NAMES:
            assert NAMES[type_] in schema(type_)["properties"]
            assert not properties.keys() & {NAMES[type_], "Path"}
        match type_:
            case "AWS::Logs::LogGroup":
                assert properties["LogGroupName"].startswith("/i2kit/")
            case "AWS::IAM::Role":
                (said,) = properties["AssumeRolePolicyDocument"]["Statement"]
                assert said["Principal"] == {"Service": "ec2.amazonaws.com"}
            case "AWS::Route53::RecordSet":
                assert properties["Type"] in ("A", "CNAME")


def test_the_page_for_users_has_each_policy_and_each_setting() -> None:
    text = (policy.FOLDER.parent / "aws.md").read_text()
    assert set(re.findall(r"aws-policy/(\w+)\.json\)", text)) == POLICIES.keys()
    of_local = {"network", "accelerator"}
    for name, variable in VARIABLES.items():
        assert (f"| `{variable}` | `{name}` |" in text) == (name not in of_local), name
