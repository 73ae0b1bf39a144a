"""The schema and the docs page are the table's, and are current."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from i2kit.manifest import __all__, schema
from i2kit.manifest.tables import kinds
from i2kit.manifest.tables.reference import compose_page, page
from tests import golden

DOCS = Path(__file__).parents[2] / "docs"


def test_schema() -> None:
    golden.check("manifest/schema.json", json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    found = schema()
    text = json.dumps(found)
    for part in text.split('"$ref": "')[1:]:
        name = part.split('"')[0]
        assert name == "#" or name.removeprefix("#/$defs/") in found["$defs"]


def test_a_key_has_one_verdict_in_the_schema() -> None:
    """What a pattern says holds beside what is said of a key itself."""
    for found in schema()["$defs"].values():
        patterns = list(found.get("patternProperties", {}))
        for key in [*found.get("properties", {}), "alb.ingress.kubernetes.io/actions.a"]:
            assert sum(bool(re.search(pattern, key)) for pattern in patterns) <= (
                key not in found["properties"]
            )


@pytest.mark.parametrize(("name", "text"), [("manifest.md", page()), ("compose.md", compose_page())])
def test_the_docs_pages_are_current(name: str, text: str) -> None:
    file = DOCS / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"docs/{name} is old: UPDATE_GOLDEN=1 pytest tests/manifest"


def test_every_refusal_has_a_reason_in_words() -> None:
    for _, verdict in kinds.KINDS:
        assert verdict.about
        assert not verdict.about.endswith(".")


def test_public_names() -> None:
    assert __all__ == ["STDIN", "check", "parse", "read", "schema", "texts"]


def test_import_brings_in_little_beside_yaml() -> None:
    """`i2kit --help` waits for this import. What the model and PyYAML bring in is not counted."""
    program = (
        "import sys, yaml, dataclasses, i2kit.model\n"
        "before = set(sys.modules)\n"
        "import i2kit.manifest\n"
        "print(*sorted(n for n in set(sys.modules) - before if not n.startswith('i2kit')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    allowed = {"bisect", "_bisect", "decimal", "_decimal", "numbers"}
    assert set(found.stdout.split()) <= allowed
