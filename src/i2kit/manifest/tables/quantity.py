"""Kubernetes quantities (apimachinery, api/resource/quantity.go): `500m` of a CPU, `128Mi` of memory.

In: the text as written. Out: whole millis or bytes, rounded up as Kubernetes does. Decimal
arithmetic, since 0.1 has no exact float. Pure.
"""

import re
from decimal import ROUND_CEILING, Decimal

from i2kit.manifest.places import shown

_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([A-Za-z]*|[eE][+-]?[0-9]+)\Z")
_SCALE = {
    "": Decimal(1),
    **{
        suffix: Decimal(10) ** power
        for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
LARGEST = 2**63 - 1
"""What Kubernetes can hold; enough for anything that exists."""

PATTERN = r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"


class QuantityError(ValueError):
    """The text is no quantity; `hint` says what was probably meant."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def millis(text: str, *, zero: bool = False) -> int:
    """CPU in thousandths of a core: `0.5`, `500m`, `2` → 500, 500, 2000. Raises QuantityError.

    `zero` tells whether that is an amount, too.
    """
    return _whole(_number(text, "500m or 0.5") * 1000, text, zero)


def bytes_(text: str, *, zero: bool = False) -> int:
    """Memory in bytes: `128Mi`, `1G`, `1e9`. Raises QuantityError."""
    return _whole(_number(text, "128Mi or 1Gi"), text, zero)


def _whole(value: Decimal, text: str, zero: bool) -> int:
    if value < 0 or not (value or zero):
        what = "negative" if value < 0 else "zero"
        raise QuantityError(f"`{shown(text)}` is {what}", "leave it out to set no bound")
    if value > LARGEST:
        raise QuantityError(f"`{shown(text)}` is more than any machine has")
    return int(value.to_integral_value(ROUND_CEILING))


def _number(text: str, example: str) -> Decimal:
    match = _FORM.match(text) if len(text) <= 64 else None
    if match is None:
        raise QuantityError(f"`{shown(text)}` is not a quantity", f"such as {example}")
    number, suffix = match.groups()
    if suffix in _SCALE:
        return Decimal(number) * _SCALE[suffix]
    if re.fullmatch(r"[eE][+-]?[0-9]+", suffix):
        exponent = int(suffix[1:])
        if abs(exponent) > 30:  # beyond both ends of what a quantity can be
            raise QuantityError(f"`{shown(text)}` is not a quantity: its exponent is too large")
        return Decimal(number).scaleb(exponent)
    raise QuantityError(
        f"`{shown(text)}` is not a quantity: `{shown(suffix)}` is no unit", _meant(number, suffix)
    )


def _meant(number: str, suffix: str) -> str:
    letter = suffix[0].upper()
    if re.fullmatch(r"[kmgtpe](i?b)?|[kmgtpe]i", suffix.lower()):
        decimal = "k" if letter == "K" else letter
        return f"write {shown(number)}{letter}i (1024s) or {shown(number)}{decimal} (1000s)"
    if suffix.lower() in ("b", "byte", "bytes"):
        return f"write {shown(number)}: bytes have no unit"
    return "the units are n u m k M G T P E and Ki Mi Gi Ti Pi Ei"
