"""Each correction of the emulator: AWS's behaviour holds with it, and does not without.

A test that fails for moto as it is says that moto does it right by now: the correction can go.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws import emulator
from tests.aws.conftest import REGION, Aws
from tests.aws.emulator import Emulator

Resources = Mapping[str, Any]
Probe = Callable[["Cloud"], None]

PROBES: list[Probe] = []


def probe(function: Probe) -> Probe:
    """A piece of AWS's behaviour: asserts that it holds."""
    PROBES.append(function)
    return function


class Cloud:
    """An AWS, emulated or moto's own, with what probes do again and again."""

    def __init__(self, server: Emulator) -> None:
        self.server = server
        self._session = boto3.Session("key", "secret", region_name=REGION)

    def __getattr__(self, service: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return self._session.client(service, endpoint_url=self.server.url, config=config)

    def create(self, resources: Resources, **words: Any) -> dict[str, Any]:
        """A stack `web` of these resources, when nothing happens to it any more."""
        return self._settled("create_stack", resources, words)

    def update(self, resources: Resources, **words: Any) -> dict[str, Any]:
        return self._settled("update_stack", resources, words)

    def _settled(self, do: str, resources: Resources, words: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps({"Resources": resources})
        getattr(self.cloudformation, do)(StackName="web", TemplateBody=body, **words)
        self.server.control("settle")
        found: dict[str, Any] = self.cloudformation.describe_stacks(StackName="web")["Stacks"][0]
        return found

    def delete(self) -> None:
        self.cloudformation.delete_stack(StackName="web")
        self.server.control("settle")

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloudformation.describe_stack_events(StackName="web")[
            "StackEvents"
        ]
        return found[::-1]

    def physical(self, logical: str) -> str:
        found = self.cloudformation.describe_stack_resources(StackName="web")["StackResources"]
        return str({one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found}[logical])

    def subnets(self) -> list[str]:
        return [one["SubnetId"] for one in self.ec2.describe_subnets()["Subnets"]][:2]

    def image(self, name: str) -> str:
        """An AMI that can be started, as far as emulators look."""
        volume = self.ec2.create_volume(Size=1, AvailabilityZone=f"{REGION}a")["VolumeId"]
        snapshot = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        self.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 0})
        mapping = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": 1}}
        return str(
            self.ec2.register_image(
                Name=name,
                Architecture="x86_64",
                VirtualizationType="hvm",
                RootDeviceName="/dev/xvda",
                BlockDeviceMappings=[mapping],
            )["ImageId"]
        )


@pytest.fixture(scope="module")
def as_is() -> Iterator[Emulator]:
    with emulator.running(corrected=False) as server:
        yield server


def refused(call: Callable[[], Any], code: str, text: str) -> None:
    with pytest.raises(ClientError) as raised:
        call()
    assert raised.value.response["Error"]["Code"] == code
    assert text in str(raised.value)


# --- cloudformation ---------------------------------------------------------------------------

LOGS = {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 30}}
ABSENT_VPC = {
    "Type": "AWS::EC2::Subnet",
    "Properties": {"VpcId": "vpc-00000000", "CidrBlock": "10.0.0.0/24"},
    "DependsOn": "Logs",
}


@probe
def each_resource_has_events(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS})
    states = [one["ResourceStatus"] for one in cloud.events() if one["LogicalResourceId"] == "Logs"]
    assert states == ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"]


@probe
def making_a_stack_takes_time(cloud: Cloud) -> None:
    cloud.cloudformation.create_stack(StackName="web", TemplateBody=json.dumps({"Resources": {"Logs": LOGS}}))
    found = cloud.cloudformation.describe_stacks(StackName="web")["Stacks"][0]
    assert found["StackStatus"] == "CREATE_IN_PROGRESS"


@probe
def a_failed_creation_is_rolled_back(cloud: Cloud) -> None:
    assert cloud.create({"Logs": LOGS, "Subnet": ABSENT_VPC})["StackStatus"] == "ROLLBACK_COMPLETE"
    failed = [one for one in cloud.events() if one["ResourceStatus"] == "CREATE_FAILED"]
    assert failed[0]["LogicalResourceId"] == "Subnet"
    assert "vpc-00000000" in failed[0]["ResourceStatusReason"]
    assert cloud.logs.describe_log_groups()["logGroups"] == []


@probe
def a_failed_creation_can_be_removed_at_once(cloud: Cloud) -> None:
    body = json.dumps({"Resources": {"Logs": LOGS, "Subnet": ABSENT_VPC}})
    made = cloud.cloudformation.create_stack(StackName="web", TemplateBody=body, OnFailure="DELETE")
    cloud.server.control("settle")
    found = cloud.cloudformation.describe_stacks(StackName=made["StackId"])["Stacks"][0]
    assert found["StackStatus"] == "DELETE_COMPLETE"


@probe
def a_failed_update_is_rolled_back(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS})
    assert cloud.update({"Logs": LOGS, "Subnet": ABSENT_VPC})["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"


@probe
def a_stack_that_was_rolled_back_takes_no_update(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS, "Subnet": ABSENT_VPC})
    refused(lambda: cloud.update({"Logs": LOGS}), "ValidationError", "can not be updated")


@probe
def an_update_without_changes_is_refused(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS})
    refused(lambda: cloud.update({"Logs": LOGS}), "ValidationError", "No updates are to be performed.")


@probe
def what_a_template_says_of_itself_does_not_change_alone(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS})
    made = cloud.cloudformation.create_change_set(
        StackName="web",
        ChangeSetName="one",
        TemplateBody=json.dumps({"Metadata": {"Revision": 2}, "Resources": {"Logs": LOGS}}),
    )
    found = {"Status": "CREATE_PENDING"}
    while found["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
        found = cloud.cloudformation.describe_change_set(ChangeSetName=made["Id"])
    assert found["Status"] == "FAILED"
    cloud.update({"Logs": {**LOGS, "Metadata": {"Revision": 2}}})


@probe
def events_have_the_token_of_the_call_that_led_to_them(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS}, ClientRequestToken="first")
    cloud.server.control("settle")
    assert {one.get("ClientRequestToken") for one in cloud.events()} == {"first"}


@probe
def unknown_types_are_refused(cloud: Cloud) -> None:
    wrong = {"Logs": LOGS, "A": {"Type": "AWS::No::Such", "Properties": {}}}
    refused(lambda: cloud.create(wrong), "ValidationError", "Unrecognized resource types: [AWS::No::Such]")


@probe
def unknown_properties_fail_the_resource(cloud: Cloud) -> None:
    cloud.create({"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"Retention": 30}}})
    assert any(
        "[Retention] is not permitted" in one.get("ResourceStatusReason", "") for one in cloud.events()
    )


@probe
def roles_need_a_capability(cloud: Cloud) -> None:
    document = {"Version": "2012-10-17", "Statement": []}
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": document}}
    refused(lambda: cloud.create({"Role": role}), "InsufficientCapabilitiesException", "CAPABILITY_IAM")


@probe
def protection_protects(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS}, EnableTerminationProtection=True)
    refused(cloud.delete, "ValidationError", "TerminationProtection")


@probe
def a_change_set_says_what_is_replaced(cloud: Cloud) -> None:
    vpc = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}}
    cloud.create({"Vpc": vpc})
    body = json.dumps({"Resources": {"Vpc": {**vpc, "Properties": {"CidrBlock": "10.1.0.0/16"}}}})
    made = cloud.cloudformation.create_change_set(
        StackName="web", ChangeSetName="one", ChangeSetType="UPDATE", TemplateBody=body
    )
    waiter = cloud.cloudformation.get_waiter("change_set_create_complete")
    waiter.wait(ChangeSetName=made["Id"], WaiterConfig={"Delay": 0})
    found = cloud.cloudformation.describe_change_set(ChangeSetName=made["Id"])
    assert found["Changes"][0]["ResourceChange"]["Replacement"] == "True"


@probe
def a_change_set_is_executed_once(cloud: Cloud) -> None:
    body = json.dumps({"Resources": {"Logs": LOGS}})
    made = cloud.cloudformation.create_change_set(
        StackName="web", ChangeSetName="one", ChangeSetType="CREATE", TemplateBody=body
    )
    waiter = cloud.cloudformation.get_waiter("change_set_create_complete")
    waiter.wait(ChangeSetName=made["Id"], WaiterConfig={"Delay": 0})
    cloud.cloudformation.execute_change_set(ChangeSetName=made["Id"])
    with pytest.raises(ClientError):
        cloud.cloudformation.execute_change_set(ChangeSetName=made["Id"])


# --- ec2, logs --------------------------------------------------------------------------------


def security_group(port: int) -> Resources:
    rule = {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "CidrIp": "10.0.0.0/8",
        "Description": "callers",
    }
    properties = {"GroupDescription": "web", "SecurityGroupIngress": [rule]}
    return {"Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": properties}}


@probe
def an_instances_interface_goes_with_it(cloud: Cloud) -> None:
    template = cloud.ec2.create_launch_template(
        LaunchTemplateName="web",
        LaunchTemplateData={
            "ImageId": cloud.image("web"),
            "InstanceType": "t3.micro",
            "NetworkInterfaces": [{"DeviceIndex": 0, "DeleteOnTermination": True}],
        },
    )["LaunchTemplate"]["LaunchTemplateId"]
    made = cloud.ec2.run_instances(LaunchTemplate={"LaunchTemplateId": template}, MinCount=1, MaxCount=1)
    cloud.ec2.terminate_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])
    assert cloud.ec2.describe_network_interfaces()["NetworkInterfaces"] == []


@probe
def a_network_goes_with_its_stack(cloud: Cloud) -> None:
    vpc, gateway, table = {"Ref": "Vpc"}, {"Ref": "Gateway"}, {"Ref": "Table"}
    there = len(cloud.ec2.describe_route_tables()["RouteTables"])
    cloud.create(
        {
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
            "Gateway": {"Type": "AWS::EC2::InternetGateway", "Properties": {}},
            "Attached": {
                "Type": "AWS::EC2::VPCGatewayAttachment",
                "Properties": {"VpcId": vpc, "InternetGatewayId": gateway},
            },
            "Table": {"Type": "AWS::EC2::RouteTable", "Properties": {"VpcId": vpc}},
            "Out": {
                "Type": "AWS::EC2::Route",
                "DependsOn": "Attached",
                "Properties": {
                    "RouteTableId": table,
                    "DestinationCidrBlock": "0.0.0.0/0",
                    "GatewayId": gateway,
                },
            },
        }
    )
    cloud.delete()
    refused(
        lambda: cloud.cloudformation.describe_stacks(StackName="web"), "ValidationError", "does not exist"
    )
    assert cloud.ec2.describe_internet_gateways()["InternetGateways"] == []
    assert len(cloud.ec2.describe_route_tables()["RouteTables"]) == there


@probe
def a_security_groups_rules_change_in_place(cloud: Cloud) -> None:
    cloud.create(security_group(80))
    before = cloud.physical("Group")
    cloud.update(security_group(443))
    assert cloud.physical("Group") == before
    found = cloud.ec2.describe_security_groups(GroupIds=[before])["SecurityGroups"][0]["IpPermissions"]
    assert [one["FromPort"] for one in found] == [443]


@probe
def rules_keep_their_descriptions(cloud: Cloud) -> None:
    cloud.create(security_group(80))
    group = cloud.physical("Group")
    found = cloud.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert found[0]["IpRanges"][0]["Description"] == "callers"


@probe
def a_log_groups_retention_changes_in_place(cloud: Cloud) -> None:
    cloud.create({"Logs": LOGS})
    cloud.update({"Logs": {**LOGS, "Properties": {"RetentionInDays": 7}}})
    assert cloud.logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 7


# --- elbv2 ------------------------------------------------------------------------------------


def balancer(cloud: Cloud, cross_zone: str = "true") -> Resources:
    return {
        "Balancer": {
            "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "Properties": {
                "Type": "network",
                "Scheme": "internal",
                "Subnets": cloud.subnets(),
                "Tags": [{"Key": "app", "Value": "web"}],
                "LoadBalancerAttributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": cross_zone}],
            },
        }
    }


def targets(cloud: Cloud) -> Resources:
    vpc = cloud.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    return {
        "Targets": {
            "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
            "Properties": {
                "Protocol": "TCP",
                "Port": 80,
                "VpcId": vpc,
                "TargetGroupAttributes": [{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}],
            },
        }
    }


@probe
def a_network_load_balancer_is_one(cloud: Cloud) -> None:
    cloud.create(balancer(cloud))
    found = cloud.elbv2.describe_load_balancers()["LoadBalancers"][0]
    assert (found["Type"], found["Scheme"]) == ("network", "internal")


@probe
def a_load_balancers_attributes_hold_and_change_in_place(cloud: Cloud) -> None:
    cloud.create(balancer(cloud))
    cloud.update(balancer(cloud, cross_zone="false"))
    found = cloud.elbv2.describe_load_balancer_attributes(LoadBalancerArn=cloud.physical("Balancer"))
    assert {"Key": "load_balancing.cross_zone.enabled", "Value": "false"} in found["Attributes"]
    tags = cloud.elbv2.describe_tags(ResourceArns=[cloud.physical("Balancer")])["TagDescriptions"][0]["Tags"]
    assert {"Key": "app", "Value": "web"} in tags


@probe
def a_load_balancer_says_its_hosted_zone(cloud: Cloud) -> None:
    body = {
        "Resources": balancer(cloud),
        "Outputs": {"Zone": {"Value": {"Fn::GetAtt": ["Balancer", "CanonicalHostedZoneID"]}}},
    }
    cloud.cloudformation.create_stack(StackName="web", TemplateBody=json.dumps(body))
    cloud.server.control("settle")
    found = cloud.cloudformation.describe_stacks(StackName="web")["Stacks"][0]
    assert found["Outputs"][0]["OutputValue"].startswith("Z")


def two_groups(cloud: Cloud, *, apart: bool) -> Resources:
    """The first may call the second, and may be called by nobody."""
    vpc = cloud.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    way = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
    one, two = ({"Fn::GetAtt": [name, "GroupId"]} for name in ("One", "Two"))

    def group(**more: Any) -> Any:
        return {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {"GroupDescription": "a", "VpcId": vpc, **more},
        }

    nobody = [{"CidrIp": "127.0.0.1/32", "IpProtocol": "-1"}]
    made = {"One": group(SecurityGroupEgress=nobody), "Two": group()}
    if apart:
        made["In"] = {
            "Type": "AWS::EC2::SecurityGroupIngress",
            "Properties": {"GroupId": two, "SourceSecurityGroupId": one, **way},
        }
        made["Out"] = {
            "Type": "AWS::EC2::SecurityGroupEgress",
            "Properties": {"GroupId": one, "DestinationSecurityGroupId": two, **way},
        }
    return made


@probe
def rules_that_are_resources_come_and_go(cloud: Cloud) -> None:
    def rules() -> list[int]:
        ids = [cloud.physical("One"), cloud.physical("Two")]
        found = cloud.ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
        return [
            sum(bool(rule["UserIdGroupPairs"]) for one in found for rule in one[direction])
            for direction in ("IpPermissions", "IpPermissionsEgress")
        ]

    cloud.create(two_groups(cloud, apart=True))
    assert rules() == [1, 1]
    cloud.update(two_groups(cloud, apart=False))
    assert rules() == [0, 0]


@probe
def a_security_group_that_another_names_stays(cloud: Cloud) -> None:
    cloud.create(two_groups(cloud, apart=False))
    one, two = (
        cloud.ec2.describe_security_groups(GroupIds=[cloud.physical(name)])["SecurityGroups"][0]
        for name in ("One", "Two")
    )
    other = cloud.ec2.create_security_group(GroupName="other", Description="b", VpcId=one["VpcId"])["GroupId"]
    pair = {
        "UserIdGroupPairs": [{"GroupId": two["GroupId"]}],
        "IpProtocol": "tcp",
        "FromPort": 1,
        "ToPort": 2,
    }
    cloud.ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[pair])
    cloud.delete()
    found = cloud.ec2.describe_security_groups()["SecurityGroups"]
    assert two["GroupId"] in [each["GroupId"] for each in found]


@probe
def a_listener_has_more_certificates(cloud: Cloud) -> None:
    acm = boto3.client("acm", endpoint_url=cloud.server.url)
    first, second = (
        acm.request_certificate(DomainName=f"{name}.example.com")["CertificateArn"] for name in "ab"
    )
    whole = balancer(cloud)
    whole["Balancer"]["Properties"] |= {"Type": "application", "LoadBalancerAttributes": []}
    listener = {
        "LoadBalancerArn": {"Ref": "Balancer"},
        "Port": 443,
        "Protocol": "HTTPS",
        "Certificates": [{"CertificateArn": first}],
        "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    }
    more = {"ListenerArn": {"Ref": "Listener"}, "Certificates": [{"CertificateArn": second}]}
    cloud.create(
        {
            **whole,
            "Listener": {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": listener},
            "More": {"Type": "AWS::ElasticLoadBalancingV2::ListenerCertificate", "Properties": more},
        }
    )
    found = cloud.elbv2.describe_listener_certificates(ListenerArn=cloud.physical("Listener"))
    assert [one["CertificateArn"] for one in found["Certificates"]] == [first, second]


@probe
def a_target_groups_attributes_hold(cloud: Cloud) -> None:
    cloud.create(targets(cloud))
    found = cloud.elbv2.describe_target_group_attributes(TargetGroupArn=cloud.physical("Targets"))
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "30"} in found["Attributes"]


@probe
def a_target_group_goes_with_its_stack(cloud: Cloud) -> None:
    cloud.create(targets(cloud))
    cloud.delete()
    assert cloud.elbv2.describe_target_groups()["TargetGroups"] == []


# --- route53 ----------------------------------------------------------------------------------


def zone(cloud: Cloud) -> Resources:
    vpc = cloud.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    properties = {"Name": "example.internal", "VPCs": [{"VPCId": vpc, "VPCRegion": REGION}]}
    return {"Zone": {"Type": "AWS::Route53::HostedZone", "Properties": properties}}


def record(name: str, type_: str, value: str, **words: Any) -> Resources:
    properties = {
        "HostedZoneId": {"Ref": "Zone"},
        "Name": name,
        "Type": type_,
        "TTL": "60",
        "ResourceRecords": [value],
        **words,
    }
    return {"Type": "AWS::Route53::RecordSet", "Properties": properties}


@probe
def a_zone_with_a_vpc_is_private(cloud: Cloud) -> None:
    cloud.create(zone(cloud))
    assert cloud.route53.list_hosted_zones()["HostedZones"][0]["Config"]["PrivateZone"] is True


@probe
def a_zone_goes_with_its_stack(cloud: Cloud) -> None:
    cloud.create(zone(cloud))
    cloud.delete()
    assert cloud.route53.list_hosted_zones()["HostedZones"] == []


@probe
def a_cname_is_alone_on_its_name(cloud: Cloud) -> None:
    two = {
        "One": record("web.example.internal.", "A", "10.0.0.1"),
        "Two": record("web.example.internal.", "CNAME", "other.example.internal"),
    }
    assert cloud.create({**zone(cloud), **two})["StackStatus"] == "ROLLBACK_COMPLETE"


@probe
def one_of_several_weighted_records_goes_alone(cloud: Cloud) -> None:
    name = "web.example.internal."
    two = {
        "One": record(name, "A", "10.0.0.1", SetIdentifier="one", Weight=1),
        "Two": record(name, "A", "10.0.0.2", SetIdentifier="two", Weight=1),
    }
    cloud.create({**zone(cloud), **two})
    cloud.update({**zone(cloud), "Two": two["Two"]})
    found = cloud.route53.list_resource_record_sets(HostedZoneId=cloud.physical("Zone"))["ResourceRecordSets"]
    assert [one["SetIdentifier"] for one in found if one["Name"] == name] == ["two"]


# --- autoscaling ------------------------------------------------------------------------------


def group(cloud: Cloud, image: str, size: int = 2, most: int | None = None, **preferences: Any) -> Resources:
    """A group behind a load balancer, with or without a refresh at each update."""
    data = {"ImageId": image, "InstanceType": "t3.micro"}
    listener = {
        "LoadBalancerArn": {"Ref": "Balancer"},
        "Port": 80,
        "Protocol": "TCP",
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Targets"}}],
    }
    properties = {
        "MinSize": str(size),
        "MaxSize": str(most or size),
        "HealthCheckType": "ELB",
        "VPCZoneIdentifier": cloud.subnets(),
        "TargetGroupARNs": [{"Ref": "Targets"}],
        "LaunchTemplate": {
            "LaunchTemplateId": {"Ref": "Template"},
            "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]},
        },
    }
    policy = {"AutoScalingInstanceRefresh": {"Strategy": "Rolling", "Preferences": preferences}}
    return {
        **balancer(cloud),
        **targets(cloud),
        "Listener": {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": listener},
        "Template": {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": data}},
        "Group": {
            "Type": "AWS::AutoScaling::AutoScalingGroup",
            "Properties": properties,
            **({"UpdatePolicy": policy} if preferences else {}),
        },
    }


def images(cloud: Cloud) -> list[str]:
    """Of all that run, sorted."""
    found = cloud.ec2.describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    return sorted(one["ImageId"] for some in found["Reservations"] for one in some["Instances"])


def states(cloud: Cloud) -> list[str]:
    found = cloud.elbv2.describe_target_health(TargetGroupArn=cloud.physical("Targets"))
    return [one["TargetHealth"]["State"] for one in found["TargetHealthDescriptions"]]


@probe
def a_group_changes_size_in_place(cloud: Cloud) -> None:
    image = cloud.image("one")
    cloud.create(group(cloud, image))
    before = cloud.physical("Group")
    cloud.update(group(cloud, image, size=3))
    assert cloud.physical("Group") == before
    assert images(cloud) == [image] * 3
    assert states(cloud) == ["healthy"] * 3


@probe
def an_instance_that_goes_leaves_its_target_groups(cloud: Cloud) -> None:
    image = cloud.image("one")
    cloud.create(group(cloud, image))
    cloud.update(group(cloud, image, size=1))
    assert states(cloud) == ["healthy"]


@probe
def a_listener_goes_before_what_it_leads_to(cloud: Cloud) -> None:
    """Whichever of load balancer and target group goes first."""
    resources = group(cloud, cloud.image("one"))
    cloud.create(resources)
    without = ("Listener", "Targets", "Group", "Template")
    kept = {name: one for name, one in resources.items() if name not in without}
    assert cloud.update(kept)["StackStatus"] == "UPDATE_COMPLETE"


@probe
def a_refresh_replaces_all_instances_and_launches_before_it_terminates(cloud: Cloud) -> None:
    old, new = cloud.image("one"), cloud.image("two")
    preferences = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    cloud.create(group(cloud, old, **preferences))
    body = json.dumps({"Resources": group(cloud, new, **preferences)})
    cloud.cloudformation.update_stack(StackName="web", TemplateBody=body)
    counts = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = cloud.cloudformation.describe_stacks(StackName="web")["Stacks"][0]
        counts.add(len(images(cloud)))
        if not found["StackStatus"].endswith("IN_PROGRESS"):
            break
    assert found["StackStatus"] == "UPDATE_COMPLETE"
    assert images(cloud) == [new, new]
    assert counts == {2, 3}


@probe
def an_update_whose_instances_stay_unhealthy_is_rolled_back(cloud: Cloud) -> None:
    old, new = cloud.image("one"), cloud.image("two")
    preferences = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    cloud.create(group(cloud, old, **preferences))
    cloud.server.control("unhealthy", image=new)
    assert cloud.update(group(cloud, new, **preferences))["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert images(cloud) == [old, old]
    failed = [one for one in cloud.events() if one["ResourceStatus"] == "UPDATE_FAILED"]
    assert "failed to become healthy" in failed[0]["ResourceStatusReason"]


@probe
def a_refresh_can_be_started_and_described(cloud: Cloud) -> None:
    image = cloud.image("one")
    cloud.create(group(cloud, image))
    name = cloud.physical("Group")
    started = cloud.autoscaling.start_instance_refresh(AutoScalingGroupName=name)
    for _ in range(20):
        found = cloud.autoscaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"][
            0
        ]
    assert (found["InstanceRefreshId"], found["Status"]) == (started["InstanceRefreshId"], "Successful")


def sizes(cloud: Cloud) -> tuple[int, int, int]:
    (found,) = cloud.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    return found["MinSize"], found["DesiredCapacity"], found["MaxSize"]


@probe
def an_update_leaves_the_number_of_a_group_that_its_template_does_not_say(cloud: Cloud) -> None:
    image = cloud.image("one")
    cloud.create(group(cloud, image, 2, 5))
    assert sizes(cloud) == (2, 2, 5)
    cloud.autoscaling.set_desired_capacity(AutoScalingGroupName=cloud.physical("Group"), DesiredCapacity=4)
    cloud.update(group(cloud, cloud.image("two"), 2, 6))
    assert sizes(cloud) == (2, 4, 6)
    # But for one that is out of what there may be.
    cloud.update(group(cloud, image, 1, 3))
    assert sizes(cloud) == (1, 3, 3)


@probe
def a_group_gets_no_number_that_it_may_not_have(cloud: Cloud) -> None:
    cloud.create(group(cloud, cloud.image("one"), 2, 3))
    name = cloud.physical("Group")
    cloud.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
    cloud.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    assert states(cloud) == ["healthy"] * 2
    with pytest.raises(ClientError, match="above max value 3"):
        cloud.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)


@probe
def a_scaling_policy_comes_and_goes_with_its_stack(cloud: Cloud) -> None:
    def policy(percent: float) -> Resources:
        tracking = {
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": percent,
        }
        properties = {
            "AutoScalingGroupName": {"Ref": "Group"},
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingConfiguration": tracking,
        }
        return {"Policy": {"Type": "AWS::AutoScaling::ScalingPolicy", "Properties": properties}}

    def targets() -> list[float]:
        found = cloud.autoscaling.describe_policies()["ScalingPolicies"]
        return [one["TargetTrackingConfiguration"]["TargetValue"] for one in found]

    plain = group(cloud, cloud.image("one"), 2, 5)
    cloud.create({**plain, **policy(50)})
    assert targets() == [50]
    cloud.update({**plain, **policy(12.5)})
    assert targets() == [12.5]
    cloud.update(plain)
    assert targets() == []


@probe
def percentages_that_are_too_far_apart_are_refused(cloud: Cloud) -> None:
    cloud.create(group(cloud, cloud.image("one")))
    name = cloud.physical("Group")
    preferences = {"MinHealthyPercentage": 50, "MaxHealthyPercentage": 200}
    with pytest.raises(ClientError, match="Preferences are not valid"):
        cloud.autoscaling.start_instance_refresh(AutoScalingGroupName=name, Preferences=preferences)


@probe
def an_alarm_that_goes_off_while_a_refresh_bakes_brings_the_update_back(cloud: Cloud) -> None:
    old, new = cloud.image("one"), cloud.image("two")
    preferences: dict[str, Any] = {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 150,
        "AlarmSpecification": {"Alarms": ["errors"]},
        "BakeTime": 60,
    }
    words: dict[str, Any] = {
        "MetricName": "e",
        "Namespace": "n",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Statistic": "Sum",
    }
    operator = "GreaterThanThreshold"
    cloud.cloudwatch.put_metric_alarm(AlarmName="errors", Threshold=1, ComparisonOperator=operator, **words)
    cloud.create(group(cloud, old, **preferences))
    body = json.dumps({"Resources": group(cloud, new, **preferences)})
    cloud.cloudformation.update_stack(StackName="web", TemplateBody=body)
    name = cloud.physical("Group")
    for _ in range(100):
        cloud.cloudformation.describe_stacks(StackName="web")
        found = cloud.autoscaling.describe_instance_refreshes(AutoScalingGroupName=name)
        if any(one["Status"] == "Baking" for one in found["InstanceRefreshes"]):
            break
    cloud.cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    cloud.cloudformation.describe_stack_events(StackName="web")
    cloud.cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="test")
    cloud.server.control("settle")
    stack = cloud.cloudformation.describe_stacks(StackName="web")["Stacks"][0]
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert images(cloud) == [old, old]


@probe
def an_update_that_is_cancelled_goes_back(cloud: Cloud) -> None:
    old, new = cloud.image("one"), cloud.image("two")
    preferences = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    cloud.create(group(cloud, old, **preferences))
    cloud.server.control("unhealthy", image=new)
    body = json.dumps({"Resources": group(cloud, new, **preferences)})
    cloud.cloudformation.update_stack(StackName="web", TemplateBody=body)
    for _ in range(100):
        cloud.cloudformation.describe_stacks(StackName="web")
        if new in images(cloud):
            break
    cloud.cloudformation.cancel_update_stack(StackName="web")
    cloud.server.control("settle")
    stack = cloud.cloudformation.describe_stacks(StackName="web")["Stacks"][0]
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert images(cloud) == [old, old]
    failed = [one for one in cloud.events() if one["ResourceStatus"] == "UPDATE_FAILED"]
    assert [one["ResourceStatusReason"] for one in failed] == ["Resource update cancelled"]


@probe
def targets_can_be_unhealthy(cloud: Cloud) -> None:
    image = cloud.image("one")
    cloud.server.control("unhealthy", image=image)
    cloud.create(group(cloud, image))
    assert states(cloud) == ["unhealthy"] * 2


@probe
def a_stack_has_scheduled_actions(cloud: Cloud) -> None:
    words = {"Recurrence": "0 3 * * *", "TimeZone": "Europe/Madrid", "DesiredCapacity": 1}
    made = {"AutoScalingGroupName": {"Ref": "Group"}, **words}
    resources = {
        **group(cloud, cloud.image("one")),
        "Nightly": {"Type": "AWS::AutoScaling::ScheduledAction", "Properties": made},
    }
    cloud.create(resources)
    (found,) = cloud.autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert {name: found[name] for name in words} == words
    cloud.delete()
    assert cloud.autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"] == []


def machines(cloud: Cloud, *zones: str) -> list[str]:
    """Instances in these zones."""
    words = {"ImageId": cloud.image("one"), "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    made = [cloud.ec2.run_instances(**words, Placement={"AvailabilityZone": zone}) for zone in zones]
    return [one["Instances"][0]["InstanceId"] for one in made]


def volume(cloud: Cloud, zone: str) -> str:
    found: str = cloud.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    return found


@probe
def a_volume_is_in_one_machine(cloud: Cloud) -> None:
    one, other = machines(cloud, "us-east-1a", "us-east-1a")
    id_ = volume(cloud, "us-east-1a")
    cloud.ec2.attach_volume(VolumeId=id_, InstanceId=one, Device="/dev/sdf")
    with pytest.raises(ClientError, match="VolumeInUse"):
        cloud.ec2.attach_volume(VolumeId=id_, InstanceId=other, Device="/dev/sdf")


@probe
def a_volume_stays_in_its_zone(cloud: Cloud) -> None:
    (one,) = machines(cloud, "us-east-1a")
    with pytest.raises(ClientError, match="ZoneMismatch"):
        cloud.ec2.attach_volume(VolumeId=volume(cloud, "us-east-1b"), InstanceId=one, Device="/dev/sdf")


@probe
def a_device_is_one_volume(cloud: Cloud) -> None:
    (one,) = machines(cloud, "us-east-1a")
    cloud.ec2.attach_volume(VolumeId=volume(cloud, "us-east-1a"), InstanceId=one, Device="/dev/sdf")
    with pytest.raises(ClientError, match="already in use"):
        cloud.ec2.attach_volume(VolumeId=volume(cloud, "us-east-1a"), InstanceId=one, Device="/dev/sdf")


@probe
def a_parameter_is_as_small_as_its_tier(cloud: Cloud) -> None:
    words = {"Type": "SecureString", "Tier": "Standard"}
    cloud.ssm.put_parameter(Name="/i2kit/a", Value="x" * 4096, **words)
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.ssm.put_parameter(Name="/i2kit/b", Value="x" * 4097, **words)


@pytest.mark.parametrize("holds", PROBES, ids=lambda one: one.__name__)
def test_correction(holds: Probe, aws: Aws, as_is: Emulator) -> None:
    holds(Cloud(aws.emulator))
    as_is.reset()
    # moto answers with an error page or another shape, or does something else.
    with pytest.raises((AssertionError, ClientError, BotoCoreError, KeyError, pytest.fail.Exception)):
        holds(Cloud(as_is))
