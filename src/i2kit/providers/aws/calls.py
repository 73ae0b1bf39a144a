"""Calls to AWS that the SDK's own retries are not enough for, and AWS's errors in words.

The SDK gives up early when many threads are throttled at once (botocore, "standard" retry mode: one
allowance for all threads of a client), and does not retry what is only not there yet.

Sources: EBS direct APIs, "Error retries"; EC2 API reference, "Common client error codes".
"""

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, NoRegionError

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

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
UNKNOWN = frozenset(
    {"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}
)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
QUOTA = frozenset({"ServiceQuotaExceededException", "SnapshotLimitExceeded", "AMIQuotaExceeded"})

Call = Callable[..., Any]


class Stopped(Exception):
    """The work that a call belongs to was given up."""


def code(error: Exception) -> str:
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
        raise OperationError(f"{doing}: {_what(error)}", hint=_hint(error)) from error


def _what(error: Exception) -> str:
    if isinstance(error, ClientError):
        said = error.response.get("Error", {}).get("Message") or "no reason given"
        return f"AWS says {code(error)}: {said}"
    return str(error)


def _hint(error: Exception) -> str | None:
    name = code(error)
    if name in EXPIRED:
        return (
            "the credentials have expired: renew them, for example with `aws sso login`, and run this again"
        )
    if name in UNKNOWN or isinstance(error, NoCredentialsError):
        return "give valid credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if name in DENIED:
        return "the credentials are valid but may not do this; see the policy in docs/aws.md"
    if name in QUOTA:
        return "remove what is not needed, or ask for a higher limit in AWS's console under Service Quotas"
    if isinstance(error, NoRegionError):
        return "say which region: AWS_REGION, or `region` of the profile"
    if passes(error):
        return "AWS cannot be reached or is overloaded: run this again later, it continues where it stopped"
    return None
