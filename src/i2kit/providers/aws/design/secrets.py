"""Secrets as Parameter Store has them: one set for each time that their values changed. Pure.

In: a release with the values. Out: parameters by name below the set's path, NAME/KEY/NUMBER: values as
`secrets_text` has them, in parts as small as standard parameters; since none may be empty, the first begins
with `=`. A set's id ends with how many parameters it has. Templates, user data and records have the id alone.

Source: Systems Manager user guide, "Managing parameter tiers", "Parameter name requirements".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from i2kit.errors import Problem
from i2kit.model import SECRET, Release, secrets_text

PART = 4096
"""Characters of a standard parameter."""

MOST_BYTES = 1 << 20
"""Of one value, as in Kubernetes."""

MOST_PARAMETERS = 2000
"""Of one set: an account has 10,000 standard parameters in a region, and earlier sets are kept."""

NEW = "0" * 16 + "-1"
"""Stands for a set that is still to be written."""

Parameters = Mapping[str, str]
"""Values by their names below a set's path."""


def folder(key: str) -> str:
    """Where all sets of the deployment `namespace/name` are."""
    return f"/i2kit/{key}"


def path(key: str, id_: str) -> str:
    """Where one set is."""
    return f"{folder(key)}/{id_}"


def parameters(release: Release) -> dict[str, str]:
    """What its machines have to be told when they start."""
    workload = release.workload
    near = [one for one in release.secrets if one.namespace == workload.namespace]
    found = {}
    for line in secrets_text(workload.secrets, near).splitlines():
        name, mark, value = line.removeprefix(SECRET).partition("=")
        text = mark + value
        for number, start in enumerate(range(0, len(text), PART), 1):
            found[f"{name}/{number}"] = text[start : start + PART]
    return found


def named(token: str, wanted: Parameters) -> str:
    """The id of a new set; `token` is 16 letters and digits that no other set has."""
    return f"{token}-{len(wanted)}"


def problems(release: Release) -> Iterator[Problem]:
    """What keeps Parameter Store from taking them."""
    workload = release.workload
    known = {(one.namespace, one.secret, one.key): one.value for one in release.secrets}
    for one in workload.secrets:
        value = known.get((workload.namespace, one.secret, one.key))
        if value is not None and len(value) > MOST_BYTES:
            yield Problem(
                f"deployment `{workload.name}`: the key `{one.key}` of the secret `{one.secret}` has "
                f"{len(value):,} bytes, and {MOST_BYTES:,} is the most",
                workload.position,
                "keep files of this size in the image or on a volume",
            )
    if (count := len(parameters(release))) > MOST_PARAMETERS:
        yield Problem(
            f"deployment `{workload.name}`: its secrets take {count:,} parameters of {PART:,} characters in "
            f"Parameter Store, and {MOST_PARAMETERS:,} is the most",
            workload.position,
            "keep large files in the image or on a volume, and only what encrypts them as a secret",
        )


def statement(key: str) -> dict[str, Any]:
    """What lets machines read them. AWS's own key for Parameter Store (aws/ssm) lets all who may read it."""
    place = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter"
    return {
        "Effect": "Allow",
        "Action": ["ssm:GetParametersByPath"],
        "Resource": {"Fn::Sub": f"{place}{folder(key)}/*"},
    }
