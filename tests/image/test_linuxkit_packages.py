"""Packages that templates name by their folders. Expected hashes were made with LinuxKit itself."""

import os
from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.image.linuxkit import parse
from i2kit.image.linuxkit.values import Template
from i2kit.image.linuxkit_packages import named
from i2kit.process import run

TREE = "a3ea2b7865e8f8b0bb608e3a7772b06ab97115e8"


def git(folder: Path, *words: str) -> None:
    who = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    run(["git", "-C", folder, *words], env=dict.fromkeys(who, "test"))


def repository(folder: Path, build: str = "image: one\n") -> Path:
    """A repository with a package in pkg/one and something beside it."""
    package = folder / "pkg/one"
    package.mkdir(parents=True)
    (package / "build.yml").write_text(build)
    (package / "Dockerfile").write_text("FROM scratch\n")
    (folder / "src").mkdir()
    (folder / "src/main.c").write_text("int main;\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    return package


def name(folder: Path, path: str = "pkg/one") -> str:
    return resolved(folder, f'init: ["@pkg:{path}"]\n').init[0]


def resolved(folder: Path, text: str) -> Template:
    return named(parse(str(folder / "pod.yml"), text))


def test_a_package_is_named_by_what_git_has_of_its_folder(tmp_path: Path) -> None:
    repository(tmp_path)
    clean = name(tmp_path)
    assert clean == f"docker.io/linuxkit/one:{TREE}"
    (tmp_path / "src/main.c").write_text("other\n")
    assert name(tmp_path) == clean, "what lies beside it does not count"
    (tmp_path / "pkg/one/new").write_text("new\n")
    assert name(tmp_path) == f"{clean}-dirty-1a4ea1e"
    (tmp_path / "pkg/one/new").unlink()
    (tmp_path / "pkg/one/Dockerfile").write_text("FROM busybox\n")
    assert name(tmp_path) == f"{clean}-dirty-1da8da6"


def test_a_package_with_other_sources_and_an_organisation(tmp_path: Path) -> None:
    build = "image: one\norg: example.org/us\ntag: v1\nextra-sources: [../../src:src, ../../pkg:m]\n"
    repository(tmp_path, build)
    assert name(tmp_path) == "example.org/us/one:a52feb7d0fa151d29d2459bf8c5466812c55dc6e"


def test_the_top_of_a_repository_and_no_repository(tmp_path: Path) -> None:
    package = repository(tmp_path)
    (tmp_path / "build.yml").write_bytes((package / "build.yml").read_bytes())
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "top")
    assert name(tmp_path, ".") == "docker.io/linuxkit/one:6d0e5743c5e679b93b308327241803335f9beb1c"
    alone = tmp_path / "alone"
    (tmp_path / ".git").rename(tmp_path / "hidden")
    alone.mkdir()
    (alone / "build.yml").write_text("image: one\n")
    assert name(tmp_path, "alone") == "docker.io/linuxkit/one:latest"


def test_packages_wherever_an_image_is_named(tmp_path: Path) -> None:
    repository(tmp_path)
    text = """\
kernel: {image: "@pkg:pkg/one"}
init: ["@pkg:./pkg/one", other]
services: [{name: a, image: "@pkg:pkg/one"}]
volumes: [{name: v, image: "@pkg:pkg/one"}]
"""
    template = resolved(tmp_path, text)
    assert template.init == (template.kernel, "other")
    assert {template.services[0].image, template.volumes[0].image} == {template.kernel}
    assert set(template.positions) == {template.kernel, "other"}


def test_folders_that_are_no_packages(tmp_path: Path) -> None:
    repository(tmp_path)
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/build.yml").write_text("imgae: x\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/build.yml").write_text("")
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh/build.yml").write_text("image: x\n")
    paths = ("missing", "wrong", "empty", "fresh")
    text = "init:\n" + "".join(f'  - "@pkg:{path}"\n' for path in paths)
    with pytest.raises(InputError) as raised:
        resolved(tmp_path, text)
    told = [str(problem).partition("\n")[0] for problem in raised.value.problems]
    assert [line.replace(f"{tmp_path}{os.sep}", "") for line in told] == [
        "pod.yml:2:5: cannot read missing/build.yml: No such file or directory",
        "wrong/build.yml:1:1: imgae: is not a key of LinuxKit",
        "empty/build.yml:1:1: the package must have `image`",
        "pod.yml:5:5: git has nothing of the folder fresh",
    ]


def test_a_program_that_a_repository_names_is_not_run(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    before = name(tmp_path)
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    monitor.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(monitor))
    git(folder, "status")
    assert (tmp_path / "was-run").exists(), "git asks it"
    (tmp_path / "was-run").unlink()
    assert name(tmp_path) == before
    assert not (tmp_path / "was-run").exists()
