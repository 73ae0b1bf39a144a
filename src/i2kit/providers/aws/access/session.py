"""Who we are on AWS, and where: credentials, region, and clients that do not give up early.

In: settings and the environment. Out: a Session that makes the SDK's clients. Never stores or says
credentials. They come by the SDK's usual chain (variables, profiles, single sign-on, an instance's role),
or from the file that was given. The region is the given one, else the SDK's.

Sources: boto3 documentation, "Credentials", "Configuration" and "Retries".
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import i2kit
from i2kit.errors import InputError, OperationError, Problem
from i2kit.settings import AwsSettings

try:
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ProfileNotFound
except ImportError as error:
    raise OperationError(
        "provider aws needs boto3, which is not installed", hint="pip install 'i2kit[aws]'"
    ) from error

from i2kit.providers.aws.access.calls import hint_of

RETRIES = {"mode": "adaptive", "max_attempts": 10}
"""Throttling slows the client down as a whole instead of failing it after the default of three tries."""

NOTHING_GIVEN = AwsSettings()

REGION_HINT = "say which, for example: export I2KIT_REGION=us-east-1"
CREDENTIALS_HINT = (
    "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or the path of a credentials file "
    "in I2KIT_CREDENTIALS"
)


class Session:
    """Makes clients for one region with one set of credentials."""

    def __init__(self, sdk: Any, region: str) -> None:
        self._sdk = sdk
        self.region = region

    def client(self, service: str, **config: object) -> Any:
        """The SDK's client of a service. AWS_ENDPOINT_URL, which the SDK reads, leads it elsewhere.

        `config` is what of botocore's Config differs for this one.
        """
        words = {
            "retries": RETRIES,
            "connect_timeout": 10,
            "read_timeout": 60,
            "user_agent_extra": f"i2kit/{i2kit.__version__}",
        }
        return self._sdk.client(service, region_name=self.region, config=Config(**{**words, **config}))


def connect(given: AwsSettings = NOTHING_GIVEN, environ: Mapping[str, str] = os.environ) -> Session:
    """Find credentials and region without calling anything. Raises InputError with all that is missing."""
    try:
        core = botocore.session.Session()
        unread = _use_file(core, given.credentials.expanduser()) if given.credentials else []
        sdk = boto3.Session(botocore_session=core)
        region = (
            given.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or sdk.region_name
        )
        problems = [*unread, *_of_region(sdk, region)]
    except ProfileNotFound as error:
        hint = "see `aws configure list-profiles`, or unset AWS_PROFILE"
        raise InputError([Problem(str(error), hint=hint)]) from error
    except BotoCoreError as error:  # a configuration that does not parse
        raise InputError([Problem(f"the configuration for AWS: {error}", hint=CREDENTIALS_HINT)]) from error
    problems += [] if unread else _of_credentials(sdk)
    if problems or region is None:
        raise InputError(problems)
    return Session(sdk, region)


def _use_file(core: Any, file: Path) -> list[Problem]:
    """Have the SDK read this credentials file, and no other source before it."""
    try:
        file.read_bytes()
    except OSError as error:
        return [
            Problem(
                f"I2KIT_CREDENTIALS: cannot read {file}: {error.strerror}",
                hint="it is the path of a file as `aws configure` writes it",
            )
        ]
    core.set_config_variable("credentials_file", str(file))
    core.get_component("credential_provider").remove("env")
    return []


def _of_credentials(sdk: Any) -> list[Problem]:
    try:
        if sdk.get_credentials() is not None:
            return []
    except BotoCoreError as error:  # half a pair of keys, single sign-on that is not set up, a broken file
        return [Problem(f"the credentials for AWS: {error}", hint=hint_of(error) or CREDENTIALS_HINT)]
    return [Problem("there are no credentials for AWS", hint=CREDENTIALS_HINT)]


def _of_region(sdk: Any, region: str | None) -> list[Problem]:
    if not region:
        return [Problem("it is not said in which region of AWS", hint=REGION_HINT)]
    known = {
        name
        for partition in sdk.get_available_partitions()
        for name in sdk.get_available_regions("ec2", partition)
    }
    # A region that is newer than this SDK is none that the SDK knows; but each looks like this.
    if region not in known and region.count("-") < 2:
        return [Problem(f"AWS has no region `{region}`", hint=REGION_HINT)]
    return []
