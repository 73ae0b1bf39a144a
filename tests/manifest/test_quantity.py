"""Quantities: exact numbers, and what was probably meant where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.manifest.tables.quantity import LARGEST, QuantityError, bytes_, millis


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("128Mi", 128 * 2**20),
        ("1G", 10**9),
        ("1k", 1000),
        ("0.5Gi", 2**29),
        (".5Ki", 512),
        ("5.", 5),
        ("1e6", 10**6),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", 2),
        ("+7", 7),
        ("400m", 1),
        ("128974848000m", 128974848),
        ("1Ei", 2**60),
        ("0.1Gi", 107374183),
    ],
)
def test_memory(text: str, amount: int) -> None:
    assert bytes_(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", 500),
        ("0.5", 500),
        ("2", 2000),
        ("0.1", 100),
        ("1500000u", 1500),
        ("100n", 1),
        ("1e-1", 100),
        ("1k", 10**6),
    ],
)
def test_cpu(text: str, amount: int) -> None:
    assert millis(text) == amount


UNITS = "the units are n u m k M G T P E and Ki Mi Gi Ti Pi Ei"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("128MB", "`128MB` is not a quantity: `MB` is no unit", "write 128Mi (1024s) or 128M (1000s)"),
        ("1gb", "`1gb` is not a quantity: `gb` is no unit", "write 1Gi (1024s) or 1G (1000s)"),
        ("64K", "`64K` is not a quantity: `K` is no unit", "write 64Ki (1024s) or 64k (1000s)"),
        ("1g", "`1g` is not a quantity: `g` is no unit", "write 1Gi (1024s) or 1G (1000s)"),
        ("1GiB", "`1GiB` is not a quantity: `GiB` is no unit", "write 1Gi (1024s) or 1G (1000s)"),
        ("5B", "`5B` is not a quantity: `B` is no unit", "write 5: bytes have no unit"),
        ("5x", "`5x` is not a quantity: `x` is no unit", UNITS),
        ("", "`` is not a quantity", "such as 128Mi or 1Gi"),
        ("1 Gi", "`1 Gi` is not a quantity", "such as 128Mi or 1Gi"),
        ("1e", "`1e` is not a quantity: `e` is no unit", "write 1Ei (1024s) or 1E (1000s)"),
        ("1e999999999", "`1e999999999` is not a quantity: its exponent is too large", None),
        ("٣", "`٣` is not a quantity", "such as 128Mi or 1Gi"),
        ("0", "`0` is zero", "leave it out to set no bound"),
        ("-1", "`-1` is negative", "leave it out to set no bound"),
        ("9E30", "`9E30` is more than any machine has", None),
        ("10Ei", "`10Ei` is more than any machine has", None),
    ],
)
def test_what_is_none(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(QuantityError) as caught:
        bytes_(text)
    assert (str(caught.value), caught.value.hint) == (message, hint)


@given(st.text(alphabet="0123456789.+-eEnumkMGTPiKB ", max_size=30))
def test_every_text_is_a_quantity_or_explained(text: str) -> None:
    try:
        assert 0 < bytes_(text) <= LARGEST
    except QuantityError as error:
        assert text.strip() == "" or text in str(error)


@given(st.integers(1, LARGEST // 1024))
def test_units_agree(number: int) -> None:
    assert bytes_(f"{number}Ki") == bytes_(str(number * 1024)) == bytes_(f"{number}e3") // 1000 * 1024
