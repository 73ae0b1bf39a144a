"""Image references, read as Docker reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError
from i2kit.model.reference import InvalidReference, Reference, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("registry-1.docker.io/org/app:2", "docker.io/org/app:2"),
        ("kiamol/ch03-sleep", "docker.io/kiamol/ch03-sleep:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1"),
        ("[::1]:5000/app:v1", "[::1]:5000/app:v1"),
        ("[fe80::1]/app", "[fe80::1]/app:latest"),
        ("GHCR.io/org/app", "ghcr.io/org/app:latest"),
        ("us-docker.pkg.dev/p/r/i__x.y-z:A_b.c-1", "us-docker.pkg.dev/p/r/i__x.y-z:A_b.c-1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"host:443/nginx:1.27@{DIGEST}", f"host:443/nginx:1.27@{DIGEST}"),
    ],
)
def test_the_canonical_form(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is empty", "nginx"),
        ("my image", "white space", ""),
        ("https://ghcr.io/org/app", "is a URL", "ghcr.io/org/app"),
        ("ghcr.io/Org/App:V1", "lower case", "try ghcr.io/org/app:V1"),
        ("CONTAINER_IMAGE", "lower case", "try container_image"),
        ("nginx:", "`` is not a tag", "128"),
        ("nginx:-x", "`-x` is not a tag", ""),
        ("nginx@sha256:abc", "is not a digest", "64"),
        ("nginx@md5:" + "0" * 32, "is not a digest", "sha256"),
        ("nginx:1@2@3", "is not a digest", ""),
        ("ghcr.io/", "repository is missing", ""),
        ("ghcr.io//app", "empty part", ""),
        ("org/../etc", "`..` cannot be part", ""),
        ("org/app_", "`app_` cannot be part", ""),
        ("host:0/app", "not a registry's host", ""),
        ("host:99999/app", "not a registry's host", ""),
        ("-bad.example/app", "not a registry's host", ""),
        ("a/" * 127 + "abc", "longer than 255", ""),
        ("${IMAGE}", "lower case", ""),
    ],
)
def test_what_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in (problem.hint or "")
    assert {InputError, ValueError} <= set(type(caught.value).__mro__)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidReference:
        return
    assert parse(str(reference)) == reference


def test_fields() -> None:
    assert parse(f"[::1]:5000/a/b:c@{DIGEST}") == Reference("[::1]:5000", "a/b", "c", DIGEST)
