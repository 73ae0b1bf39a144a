"""What values say of themselves to machines."""

from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from i2kit.model import SecretKey, SecretValue, secrets_text


@given(st.dictionaries(st.from_regex(r"[-._a-zA-Z0-9]{1,20}", fullmatch=True), st.binary()))
def test_a_machine_is_told_every_byte_of_its_secrets_and_nothing_of_others(values: dict[str, bytes]) -> None:
    known = [SecretValue("default", "db", key, value) for key, value in values.items()]
    others = [SecretValue("default", "other", key, b"not told") for key in values]
    text = secrets_text([SecretKey("db", key) for key in values], [*others, *known])
    told = (line.partition("=") for line in text.splitlines())
    assert {path: unquote_to_bytes(value) for path, _, value in told} == {
        f"secret/db/{key}": value for key, value in values.items()
    }
