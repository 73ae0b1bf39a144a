"""What to do about AWS's errors: by their codes, and by their words where a stack's event has only those."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from i2kit.errors import OperationError
from i2kit.providers.aws.access.calls import explained, hint_for, hint_of

RESOURCE = 'Resource handler returned message: "{} (Service: Ec2, Request ID: 1)" (HandlerErrorCode: {})'

# What AWS says, and a word of what to do. Sources as in `calls`.
CASES = {
    "You have requested more vCPU capacity than your current vCPU limit of 5 allows for the instance bucket "
    "that the specified instance type belongs to. Launching EC2 instance failed.": "Standard instances",
    "VcpuLimitExceeded": "Standard instances",
    "PendingVerification": "run this again later",
    "Your request for accessing resources in this region is being validated, and you will not be able to "
    "launch additional resources in this region until the validation is complete.": "run this again later",
    "InsufficientInstanceCapacity": "another type",
    "We currently do not have sufficient t3.micro capacity in the Availability Zone you requested "
    "(us-east-1a).": "another type",
    "Your requested instance type (t3.micro) is not supported in your requested Availability Zone "
    "(us-east-1e).": "subnets in other zones",
    "The specified instance type is not eligible for Free Tier.": "free-tier-eligible",
    RESOURCE.format("The maximum number of VPCs has been reached.", "ServiceLimitExceeded"): "I2KIT_SUBNET",
    "VpcLimitExceeded": "I2KIT_SUBNET",
    "The maximum number of internet gateways has been reached.": "I2KIT_SUBNET",
    "TooManyLoadBalancers": "Elastic Load Balancing",
    "This AWS account currently does not support creating load balancers. For more information, please "
    "contact AWS Support.": "support",
    "SnapshotLimitExceeded": "images prune",
    "AMIQuotaExceeded": "images prune",
    "TooManyHostedZones": "I2KIT_HOSTED_ZONE",
    "LimitExceeded": "Service Quotas",
    "LimitExceededException": "Service Quotas",
    "ResourceLimitExceeded": "Service Quotas",
    "Limit for stack has been exceeded": "Service Quotas",
    "ServiceQuotaExceededException": "Service Quotas",
    "RulesPerSecurityGroupLimitExceeded": "Service Quotas",
    RESOURCE.format("You have too many", "ServiceLimitExceeded"): "Service Quotas",
    "OptInRequired": "enable-region",
    "AuthFailure": "must be enabled",
    "AWS was not able to validate the provided access credentials": "must be enabled",
    "RequestExpired": "timedatectl",
    "SignatureDoesNotMatch": "timedatectl",
    "InvalidSignatureException": "timedatectl",
    "ExpiredTokenException": "aws sso login",
    "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: ec2:CreateVpc": "docs/aws.md",
    "The key pair 'ops' does not exist": "I2KIT_KEYPAIR",
    "InvalidAMIID.NotFound": "run this again",
    "Client.InternalError: Client error on launch": "AWSServiceRoleForAutoScaling",
    "There are not enough free addresses in subnet 'subnet-1' to satisfy the requested number of "
    "instances.": "the subnet is full",
}


@pytest.mark.parametrize("said", CASES)
def test_what_to_do(said: str) -> None:
    assert CASES[said] in (hint_for(said) or "")


@pytest.mark.parametrize(
    "said",
    [
        "Resource creation cancelled",
        "Group did not stabilize. {current/minSize/maxSize} group size = {0/3/3}.",
        "ValidationError",
        "TooManyRequestsException",
    ],
)
def test_nothing_is_advised_where_nothing_is_known(said: str) -> None:
    assert hint_for(said) is None


def refusal(code: str, message: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "RunInstances")


def test_the_code_counts_before_the_words() -> None:
    said = "The maximum number of VPCs has been reached."
    assert "I2KIT_SUBNET" in str(hint_of(refusal("VpcLimitExceeded", said)))
    assert "I2KIT_SUBNET" in str(hint_of(refusal("ClientException", said)))
    assert "docs/aws.md" in str(hint_of(refusal("UnauthorizedOperation", said)))


def test_what_passes_by_itself_is_to_be_tried_again() -> None:
    for error in (refusal("Throttling", "Rate exceeded"), refusal("InternalError", "", 500)):
        assert "run this again later" in str(hint_of(error))
    unreachable = EndpointConnectionError(endpoint_url="https://ec2.mars-north-1.amazonaws.com/")
    assert "the region is right" in str(hint_of(unreachable))
    with (
        pytest.raises(OperationError, match="starting: Unable to locate credentials") as raised,
        explained("starting"),
    ):
        raise NoCredentialsError
    assert "AWS_PROFILE" in str(raised.value.hint)
