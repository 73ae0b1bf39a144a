"""Parameters that are as small as their tier says.

Source: Systems Manager user guide, "Managing parameter tiers".
"""

from inspect import signature
from typing import Any

from moto.ssm.exceptions import ValidationException
from moto.ssm.models import SimpleSystemManagerBackend

MOST = {"Standard": 4096, "Advanced": 8192}

_put = SimpleSystemManagerBackend.put_parameter
FORM = signature(_put)


def install() -> None:
    SimpleSystemManagerBackend.put_parameter = _put_parameter


def _put_parameter(self: Any, *given: Any, **words: Any) -> Any:
    """AWS: a standard parameter has 4 KB at most; moto keeps any."""
    said = FORM.bind(self, *given, **words).arguments
    tier = said["tier"] or "Standard"
    if len(said["value"]) > MOST[tier]:
        raise ValidationException(f"{tier} tier parameters support at most {MOST[tier]} characters.")
    return _put(self, *given, **words)
