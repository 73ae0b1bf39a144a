"""Credentials and region: where they come from, and what is said when they are missing or wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.providers.aws.session import connect
from tests.aws.conftest import Aws

PROFILES = "[default]\naws_access_key_id = of-file\naws_secret_access_key = secret-of-file\n"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials nor a region from anywhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "I2KIT_REGION", "I2KIT_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


def key_of(environ: dict[str, str]) -> str:
    found = connect(environ).client("sts")._request_signer._credentials
    return str(found.access_key)


def test_all_that_is_missing_is_said_with_what_to_do() -> None:
    with pytest.raises(InputError) as raised:
        connect({})
    assert [one.message for one in raised.value.problems] == ["it is not said in which region of AWS"]
    with pytest.raises(InputError) as raised:
        connect({"I2KIT_REGION": "eu-west-1"})
    assert [one.message for one in raised.value.problems] == ["there are no credentials for AWS"]
    assert all(one.hint for one in raised.value.problems)


def test_the_file_that_is_named_comes_before_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(PROFILES)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-variable")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert key_of({"I2KIT_REGION": "eu-west-1"}) == "of-variable"
    assert key_of({"I2KIT_REGION": "eu-west-1", "I2KIT_CREDENTIALS": str(file)}) == "of-file"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(InputError, match=f"cannot read {absent}"):
        connect({"I2KIT_REGION": "eu-west-1", "I2KIT_CREDENTIALS": str(absent)})


def test_a_file_without_credentials_and_broken_ones_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    for text in ("", "no profile", "[default]\naws_access_key_id = half\n"):
        file.write_text(text)
        with pytest.raises(InputError, match="credentials") as raised:
            connect({"I2KIT_REGION": "eu-west-1", "I2KIT_CREDENTIALS": str(file)})
        assert raised.value.problems[0].hint
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(InputError, match="absent"):
        connect({"I2KIT_REGION": "eu-west-1"})


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"I2KIT_REGION": "eu-west-1", "AWS_REGION": "us-east-1"}, "eu-west-1"),
        ({"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-east-1"}, "us-west-2"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({"AWS_REGION": "mars-north-1"}, "mars-north-1"),  # newer than the SDK, as far as we know
    ],
)
def test_the_region(aws: Aws, environ: dict[str, str], region: str) -> None:
    assert connect(environ).region == region


def test_what_is_no_region_is_refused() -> None:
    with pytest.raises(InputError, match="no region `virginia`"):
        connect({"I2KIT_REGION": "virginia"})


def test_clients_say_who_they_are_and_retry(aws: Aws) -> None:
    client = connect().client("sts")
    assert "i2kit/" in client.meta.config.user_agent
    aws.emulator.control("fault", code="Throttling", message="Rate exceeded", times=2)
    assert client.get_caller_identity()["Account"] == "123456789012"


def test_the_sdk_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, i2kit.cli; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
