"""Calls to AWS that the SDK's own retries are not enough for, and AWS's errors in words.

The SDK gives up early when many threads are throttled at once (botocore, "standard" retry mode: one
allowance for all threads of a client), and does not retry what is only not there yet.

Sources: EBS direct APIs, "Error retries"; EC2 API reference, "Error codes for the Amazon EC2 API"; EC2 Auto
Scaling user guide, "Troubleshoot"; Elastic Load Balancing and Route 53 API references, each call's errors.
"""

import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    LoginError,
    NoCredentialsError,
    NoRegionError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from i2kit.errors import OperationError

ATTEMPTS = 12
"""As awslabs/coldsnap: a snapshot that was just started is not known everywhere for some seconds."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 8.0

THROTTLED = frozenset(
    {
        *("ThrottlingException", "RequestThrottledException", "ConcurrentLimitExceededException"),
        *(
            "Throttling",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "SlowDown",
            "EC2ThrottledException",
        ),
    }
)

DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})

Hint = tuple[re.Pattern[str], str]


def _hints(*lines: tuple[str, str]) -> tuple[Hint, ...]:
    return tuple((re.compile(pattern), hint) for pattern, hint in lines)


RENEW = "renew them, for example with `aws sso login`, and run this again"
GIVE = "give valid credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
LIMIT = "ask for a higher limit in AWS's console under Service Quotas"
LATER = "AWS cannot be reached or is overloaded: run this again later, it continues where it stopped"
UNREACHABLE = "see whether the network works and the region is right, then run this again: it continues"

HINTS = _hints(
    # Who we are.
    (r"ExpiredToken", f"the credentials have expired: {RENEW}"),
    (
        r"RequestExpired|RequestTimeTooSkewed|Signature (expired|not yet current)",
        f"the credentials have expired: {RENEW}; or the clock of this machine is wrong: see `timedatectl`",
    ),
    (
        r"SignatureDoesNotMatch|InvalidSignature",
        "the secret key does not belong to the access key, or the clock of this machine is wrong: see "
        "`timedatectl`",
    ),
    (
        r"OptInRequired|not subscribed|opt-in",
        "this account does not have that service or region yet: enable the region with `aws account "
        "enable-region --region-name REGION`, or use another",
    ),
    (r"account is currently blocked|^Blocked\b", "AWS has blocked this account: write to its support"),
    (
        r"AuthFailure|InvalidClientTokenId|UnrecognizedClient|not able to validate the provided access",
        f"{GIVE}; and some regions must be enabled before their first use: see `aws ec2 describe-regions "
        "--all-regions`",
    ),
    (
        r"UnauthorizedOperation|AccessDenied|[Nn]ot authorized to",
        "the credentials are valid but may not do this; see the policy in docs/aws.md",
    ),
    # What a young account may not do yet.
    (
        r"PendingVerification|request for accessing resources in this region is being validated",
        "AWS checks an account at its first machine in a region, mostly within minutes: run this again later",
    ),
    (
        r"does not support creating load balancers",
        "AWS lets this account have no load balancers yet: ask its support to allow them",
    ),
    (
        r"not eligible for Free Tier",
        "name a type with I2KIT_INSTANCE_TYPE that the free plan has: aws ec2 describe-instance-types "
        "--filters Name=free-tier-eligible,Values=true",
    ),
    # How much there may be.
    (
        r"VcpuLimitExceeded|vCPU (limit|capacity)|InstanceLimitExceeded",
        "use fewer replicas or a smaller I2KIT_INSTANCE_TYPE, or ask for more vCPUs in AWS's console under "
        "Service Quotas, EC2, Running On-Demand Standard instances",
    ),
    (
        r"VpcLimitExceeded|maximum number of VPCs|InternetGatewayLimitExceeded|number of internet gateways",
        f"give subnets of a VPC that is there, with I2KIT_SUBNET; or {LIMIT}, Amazon VPC",
    ),
    (
        r"TooManyLoadBalancers|maximum number of load balancers",
        f"destroy deployments that are not needed, have services of type ClusterIP share one, or {LIMIT}, "
        "Elastic Load Balancing",
    ),
    (
        r"SnapshotLimitExceeded|AMIQuotaExceeded|ResourceLimitExceeded.*(snapshot|image)",
        f"remove images that nothing uses, with `i2kit images prune`; or {LIMIT}, Amazon EC2 and Amazon EBS",
    ),
    (
        r"TooManyHostedZones|HostedZoneLimitExceeded",
        f"name a hosted zone that is there, with I2KIT_HOSTED_ZONE; or {LIMIT}, Route 53",
    ),
    (
        r"\w+LimitExceeded|\bLimitExceeded|\w+QuotaExceeded|TooMany(?!Requests)[A-Z]\w+"
        r"|[Mm]aximum (number|limit)|[Ll]imit for \S+ has been exceeded|exceed\w* (the|your) (quota|limit)"
        r"|ServiceLimitExceeded",
        f"remove what is not needed, or {LIMIT}",
    ),
    # What there is.
    (
        r"Insufficient(Instance|Host|Reserved\w*)?Capacity|do not have sufficient \S+ capacity",
        "AWS has no machine of this type free there just now: run this again later, name another type with "
        "I2KIT_INSTANCE_TYPE, or subnets in other zones with I2KIT_SUBNET",
    ),
    (
        r"not supported in your requested Availability Zone|InstanceType.* not supported in",
        "name another type with I2KIT_INSTANCE_TYPE, or subnets in other zones with I2KIT_SUBNET",
    ),
    (
        r"InvalidAMIID\.NotFound|image id '?\[?ami-\w+\]?'? does not exist",
        "somebody removed the image in between: run this again, it is made anew",
    ),
    (
        r"InvalidKeyPair\.NotFound|key pair '\S+' does not exist",
        "make that key pair in this region, or name another with I2KIT_KEYPAIR",
    ),
    (
        r"Insufficient(FreeAddresses|CidrBlocks)\w*|not enough free (IP )?addresses|InvalidSubnet.*addresses",
        "the subnet is full: name others with I2KIT_SUBNET, or remove what is in it",
    ),
    (
        r"Client\.InternalError",
        "where the account encrypts volumes with a key of its own, that key must allow "
        "AWSServiceRoleForAutoScaling to use it: see `aws ec2 get-ebs-default-kms-key-id`",
    ),
)
"""What to do about an error, by its code or by what AWS says with it. The first that fits counts."""

Call = Callable[..., Any]


class Stopped(Exception):
    """The work that a call belongs to was given up."""


def code(error: BaseException) -> str:
    """AWS's name for an error, empty for one that AWS did not answer."""
    found: str = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    return found


def passes(error: Exception) -> bool:
    """Whether the same call may well succeed a moment later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code(error) in THROTTLED or status >= 500
    return isinstance(error, HTTPClientError)


def persist(stop: Event, call: Call, *, also: Collection[str] = (), **words: object) -> Any:
    """Make a call until it succeeds: pauses grow and differ, so that many threads spread out.

    `also` are errors that pass at this place. Raises what the last attempt raised, or Stopped.
    """
    for attempt in range(ATTEMPTS):
        if stop.is_set():
            raise Stopped
        try:
            return call(**words)
        except (ClientError, BotoCoreError) as error:
            if attempt == ATTEMPTS - 1 or not (passes(error) or code(error) in also):
                raise
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
            stop.wait(longest * (0.5 + secrets.randbelow(512) / 1024))
    raise AssertionError


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """What AWS refuses while we are `doing` this, in words, with what to do about it."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise OperationError(f"{doing}: {_what(error)}", hint=hint_of(error)) from error


def hint_for(text: str) -> str | None:
    """What to do about an error, from AWS's code or words: of a stack's event, of a group's activity."""
    return next((hint for pattern, hint in HINTS if pattern.search(text)), None)


def hint_of(error: Exception) -> str | None:
    """What to do about what the SDK raised."""
    if passes(error):
        return LATER
    if isinstance(error, NoConnectionError):
        return UNREACHABLE
    if isinstance(error, ClientError):
        said = error.response.get("Error", {}).get("Message") or ""
        return hint_for(code(error)) or hint_for(said)
    if isinstance(error, NoCredentialsError):
        return GIVE
    if isinstance(error, SSOError | TokenRetrievalError | LoginError | CredentialRetrievalError):
        return f"the credentials cannot be had, or have expired: {RENEW}"
    if isinstance(error, NoRegionError):
        return "say which region: I2KIT_REGION or AWS_REGION, or `region` of the profile"
    return None


def _what(error: Exception) -> str:
    if isinstance(error, ClientError):
        said = error.response.get("Error", {}).get("Message") or "no reason given"
        return f"AWS says {code(error)}: {said}"
    return str(error)
