"""Credentials and region: where they come from, and what is said when they are missing or wrong."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import InputError, OperationError
from i2kit.providers.aws.access.calls import explained
from i2kit.providers.aws.access.session import connect
from i2kit.settings import AwsSettings
from tests.aws.conftest import Aws

PROFILES = "[default]\naws_access_key_id = of-file\naws_secret_access_key = secret-of-file\n"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials nor a region from anywhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


HERE = AwsSettings(region="eu-west-1")


def key_of(given: AwsSettings) -> str:
    found = connect(given, {}).client("sts")._request_signer._credentials
    return str(found.access_key)


def test_all_that_is_missing_is_said_with_what_to_do() -> None:
    with pytest.raises(InputError) as raised:
        connect(AwsSettings(), {})
    assert [one.message for one in raised.value.problems] == [
        "it is not said in which region of AWS",
        "there are no credentials for AWS",
    ]
    assert all(one.hint for one in raised.value.problems)
    with pytest.raises(InputError) as raised:
        connect(HERE, {})
    assert [one.message for one in raised.value.problems] == ["there are no credentials for AWS"]


def test_the_file_that_is_named_comes_before_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(PROFILES)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-variable")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert key_of(HERE) == "of-variable"
    assert key_of(replace(HERE, credentials=file)) == "of-file"


def test_a_file_that_cannot_be_read_is_named_beside_the_rest(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(InputError) as raised:
        connect(AwsSettings(credentials=absent), {})
    assert [one.message for one in raised.value.problems] == [
        f"I2KIT_CREDENTIALS: cannot read {absent}: No such file or directory",
        "it is not said in which region of AWS",
    ]


def test_a_file_without_credentials_and_broken_ones_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    for text in ("", "no profile", "[default]\naws_access_key_id = half\n"):
        file.write_text(text)
        with pytest.raises(InputError, match="credentials") as raised:
            connect(replace(HERE, credentials=file), {})
        assert raised.value.problems[0].hint
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(InputError, match="absent"):
        connect(HERE, {})


def test_a_profile_brings_credentials_and_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[profile ops]\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text(PROFILES.replace("default", "ops"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "ops")
    assert connect(AwsSettings(), {}).region == "eu-central-1"
    assert key_of(AwsSettings()) == "of-file"


def test_single_sign_on_that_has_ended_is_explained_at_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "[profile staff]\nregion = eu-west-1\nsso_start_url = https://example.com\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = ops\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "staff")
    client = connect(AwsSettings(), {}).client("sts")
    with pytest.raises(OperationError, match="looking around") as raised, explained("looking around"):
        client.get_caller_identity()
    assert "aws sso login" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("given", "environ", "region"),
    [
        ("eu-west-1", {"AWS_REGION": "us-east-1"}, "eu-west-1"),
        (None, {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-east-1"}, "us-west-2"),
        (None, {"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ("mars-north-1", {}, "mars-north-1"),  # newer than the SDK, as far as we know
    ],
)
def test_the_region(aws: Aws, given: str | None, environ: dict[str, str], region: str) -> None:
    assert connect(AwsSettings(region=given), environ).region == region


def test_what_is_no_region_is_refused() -> None:
    with pytest.raises(InputError, match="no region `virginia`"):
        connect(AwsSettings(region="virginia"), {})


def test_clients_say_who_they_are_and_retry(aws: Aws) -> None:
    client = connect().client("sts")
    assert "i2kit/" in client.meta.config.user_agent
    aws.emulator.control("fault", code="Throttling", message="Rate exceeded", times=2)
    assert client.get_caller_identity()["Account"] == "123456789012"


def test_the_sdk_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, i2kit.cli; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
