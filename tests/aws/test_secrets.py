"""Secrets of deployments on the emulator: in Parameter Store and nowhere else, and gone when not needed."""
# ruff: noqa: F401, F811 (fixtures)

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from i2kit.errors import OperationError, RolloutError
from i2kit.model import Release, SecretKey, SecretValue
from i2kit.providers import Rollback, Scale
from i2kit.providers.aws.design import secrets
from i2kit.providers.aws.values import stack_name
from tests.aws.conftest import Aws

from .releases import release
from .test_provider import WEB, Make, built, deployed, do, left, make, plan

VALUE = b"hunter2 \n\xff%"
TEXT = "=hunter2%20%0A%FF%25"


def with_secrets(wanted: Release, **values: bytes) -> Release:
    """Each a key of the secret `db`."""
    asked = tuple(SecretKey("db", key) for key in values)
    given = tuple(SecretValue("default", "db", key, value) for key, value in values.items())
    others = (SecretValue("other", "db", "password", b"x"), SecretValue("default", "tls", "tls.key", b"x"))
    workload = replace(wanted.workload, secrets=asked)
    return replace(wanted, workload=workload, secrets=(*given, *others))


def stored(aws: Aws, *, decrypted: bool = True) -> dict[str, dict[str, str]]:
    """Values by name, by set."""
    pages = aws.client("ssm").get_paginator("get_parameters_by_path")
    found: dict[str, dict[str, str]] = {}
    for page in pages.paginate(Path="/i2kit", Recursive=True, WithDecryption=decrypted):
        for one in page["Parameters"]:
            assert one["Type"] == "SecureString"
            set_, name = one["Name"].removeprefix("/i2kit/default/web/").split("/", 1)
            found.setdefault(set_, {})[name] = one["Value"]
    return found


def template(aws: Aws) -> dict[str, Any]:
    body = aws.client("cloudformation").get_template(StackName=stack_name(WEB))["TemplateBody"]
    made: dict[str, Any] = body if isinstance(body, dict) else json.loads(body)
    return made


def told(aws: Aws) -> list[str]:
    """The lines of user data about secrets."""
    data = template(aws)["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    text = data["UserData"]["Fn::Base64"]
    lines = (text if isinstance(text, str) else text["Fn::Sub"]).splitlines()
    return [line for line in lines if line.startswith("secrets=")]


def test_a_set_of_secrets_is_written_once_and_told_by_its_path(
    make: Make, aws: Aws, built: Callable[..., Release]
) -> None:
    provider = make()
    wanted = with_secrets(built("a", replicas=1), password=VALUE, empty=b"")
    planned = plan(provider, wanted)
    assert stored(aws) == {}
    provider.apply(planned, lambda event: None)
    ((set_, values),) = stored(aws).items()
    assert values == {"db/password/1": TEXT, "db/empty/1": "="}
    assert set_.endswith("-2")
    assert told(aws) == [f"secrets=ssm:/i2kit/default/web/{set_}"]
    (statement,) = template(aws)["Resources"]["Role"]["Properties"]["Policies"][1]["PolicyDocument"][
        "Statement"
    ]
    assert statement["Action"] == ["ssm:GetParametersByPath"]
    assert statement["Resource"]["Fn::Sub"].endswith(":parameter/i2kit/default/web/*")
    assert "hunter2" not in json.dumps(template(aws))
    # The same again, and what takes no value: nothing is written.
    assert plan(provider, wanted).actions == ()
    deployed(provider, Scale(2))
    assert list(stored(aws)) == [set_]
    do(provider, None)
    assert stored(aws) == {}
    assert left(aws) == []


def test_another_value_is_another_revision_with_a_set_of_its_own(
    make: Make, aws: Aws, built: Callable[..., Release]
) -> None:
    provider = make()
    first = built("a", replicas=1)
    deployed(provider, with_secrets(first, password=b"one"))
    (one,) = stored(aws)
    wanted = with_secrets(first, password=b"two")
    reasons = {action.subject: action.reason for action in plan(provider, wanted).actions}
    assert reasons["launch template LaunchTemplate"] == "LaunchTemplateData.UserData secrets changed"
    found = deployed(provider, wanted)
    assert found.revision == 2
    # The first can be gone back to, with its own.
    assert len(stored(aws)) == 2
    deployed(provider, Rollback())
    assert told(aws) == [f"secrets=ssm:/i2kit/default/web/{one}"]
    # Without any, the sets stay as long as a revision that is kept needs them.
    deployed(provider, built("b", replicas=1))
    assert told(aws) == []
    assert len(stored(aws)) == 2
    for image in "cdefghijkl":
        deployed(provider, built(image, replicas=1))
    assert stored(aws) == {}


def test_a_failed_deploy_leaves_no_set(make: Make, aws: Aws, built: Callable[..., Release]) -> None:
    provider = make()
    deployed(provider, with_secrets(built("a", replicas=1), password=b"one"))
    before = stored(aws)
    aws.emulator.control("break_resource", resource="Group", action="UPDATE", reason="no", times=1)
    with pytest.raises(RolloutError):
        do(provider, with_secrets(built("a", replicas=1), password=b"two"))
    assert stored(aws) == before
    aws.emulator.control("fault", code="ThrottlingLimit", action="PutParameter", skip=1)
    with pytest.raises(OperationError, match="Parameter Store"):
        do(provider, with_secrets(built("a", replicas=1), password=b"two", user=b"me"))
    assert stored(aws) == before


def test_what_a_killed_run_has_written_goes_with_the_next(
    make: Make, aws: Aws, built: Callable[..., Release]
) -> None:
    def kill(name: str) -> None:
        aws.client("ssm").put_parameter(
            Name=f"/i2kit/default/web/{name}/db/k/1", Value="=", Type="SecureString"
        )

    kill("left-1")
    assert "secrets /i2kit/default/web/left-1" in [one.subject for one in plan(make(), None).actions]
    deployed(make(), with_secrets(built("a", replicas=1), password=b"one"))
    (one,) = stored(aws)
    assert one != "left-1"
    kill("left-2")
    do(make(), None)
    assert stored(aws) == {}


def test_a_revision_whose_secrets_are_gone_is_not_gone_back_to(
    make: Make, aws: Aws, built: Callable[..., Release]
) -> None:
    provider = make()
    deployed(provider, with_secrets(built("a", replicas=1), password=b"one"))
    ssm = aws.client("ssm")
    ((one, names),) = stored(aws).items()
    deployed(provider, with_secrets(built("b", replicas=1), password=b"two"))
    ssm.delete_parameters(Names=[f"/i2kit/default/web/{one}/{name}" for name in names])
    with pytest.raises(OperationError, match="its secrets are gone"):
        plan(provider, Rollback())


def test_large_values_are_parts_and_too_large_ones_are_problems() -> None:
    wanted = with_secrets(release(), key=b"\0" * 5000)
    found = secrets.parameters(wanted)
    assert list(found) == [f"db/key/{number}" for number in range(1, 5)]
    assert all(len(part) <= secrets.PART for part in found.values())
    assert "".join(found.values()) == "=" + "%00" * 5000
    assert list(secrets.problems(wanted)) == []
    (large,) = secrets.problems(with_secrets(release(), key=b"a" * ((1 << 20) + 1)))
    assert large.message.endswith("has 1,048,577 bytes, and 1,048,576 is the most")
    many = with_secrets(release(), **{f"key{number}": b"\0" * (1 << 20) for number in range(3)})
    assert "2,307 parameters" in next(secrets.problems(many)).message
