"""What tests of provider `aws` share: an emulated AWS, empty at the start of each test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from tests.aws import emulator, policy
from tests.aws.emulator import Emulator

REGION = "us-east-1"

DIRECT = tuple(one for name in ("read", "deploy") for one in policy.policies()[name])
"""What the policies allow to i2kit itself."""


@dataclass(frozen=True, slots=True)
class Aws:
    """An emulated AWS: where it is, a session of its SDK, and the levers that only tests have."""

    endpoint: str
    session: Any
    emulator: Emulator

    def client(self, service: str, **words: Any) -> Any:
        return self.session.client(service, endpoint_url=self.endpoint, **words)


@pytest.fixture(scope="session")
def emulated() -> Iterator[Emulator]:
    with emulator.running() as server:
        yield server


@pytest.fixture
def aws(emulated: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """Nothing of the user's own AWS reaches the test, nor the other way round.

    Whatever i2kit calls in the test, the policies of docs/aws-policy must allow.
    """
    emulated.reset()
    for name, value in environment(emulated).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    session = boto3.Session("key", "secret", region_name=REGION)
    with policy.recording() as recorder:
        yield Aws(emulated.url, session, emulated)
    asked = recorder.asked
    assert policy.denied(DIRECT, asked) == [], "docs/aws-policy does not allow this"


def environment(server: Emulator) -> dict[str, str]:
    """Variables that have any SDK of AWS use the emulator, and only that."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
