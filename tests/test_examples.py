"""The examples deploy as they are, and the two forms of the paper's figures say the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from i2kit import manifest
from i2kit.model import Manifest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> Manifest:
    return manifest.read([str(EXAMPLES / name)])


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yml")), ids=lambda file: file.name)
def test_an_example_reads_without_a_warning(file: Path) -> None:
    found = example(file.name)
    assert found.workloads
    assert found.warnings == ()


def test_kubernetes_words_and_ours_are_the_same_deployment() -> None:
    (ours,), (theirs,) = example("nginx.yml").workloads, example("nginx-kubernetes.yml").workloads
    assert ours == replace(theirs, labels=ours.labels)
