"""Libraries are taken away from real programs, which then run without them."""

import subprocess
from pathlib import Path

import pytest

from i2kit.image.base import elf
from tests.image import elves

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that calls `f_NAME` of each library whose name it is given, and needs all three of them."""
    folder = tmp_path_factory.mktemp("elf")
    for name in NAMES:
        (folder / f"{name}.map").write_text(
            f"OLD_{name} {{ global: g_{name}; }};\nNEW_{name} {{ global: f_*; }};"
        )
        (folder / f"{name}.c").write_text(
            f"int f_{name}(void) {{ return 1; }} int g_{name}(void) {{ return 2; }}"
        )
        flags = ("-shared", "-fPIC", f"-Wl,--version-script={name}.map", f"-Wl,-soname,lib{name}.so")
        compiled(folder, f"lib{name}.so", *flags, f"{name}.c")
    declared = "".join(f"int f_{name}(void); int g_{name}(void); " for name in NAMES)
    calls = "".join(
        f'if (!strcmp(v[i], "{name}")) printf("%d\\n", f_{name}() + g_{name}()); ' for name in NAMES
    )
    (folder / "main.c").write_text(
        "#include <stdio.h>\n#include <string.h>\n"
        f"{declared}int main(int c, char **v) {{ for (int i = 1; i < c; i++) {{ {calls} }} return 0; }}"
    )
    libraries = [f"-l{name}" for name in NAMES]
    compiled(folder, "main", "-Wl,-z,now", "main.c", "-L.", *libraries)
    return folder / "main"


def compiled(folder: Path, output: str, *words: str) -> None:
    subprocess.run(["gcc", "-o", output, *words], cwd=folder, check=True)


@pytest.mark.parametrize("gone", NAMES)
def test_a_program_runs_without_a_library(program: Path, gone: str) -> None:
    content = program.read_bytes()
    changed = elf.without_library(content, f"lib{gone}.so")
    assert set(elf.needed(content)) - set(elf.needed(changed)) == {f"lib{gone}.so"}
    without = program.parent / "without"
    without.mkdir(exist_ok=True)
    for name in NAMES:
        (without / f"lib{name}.so").unlink(missing_ok=True)
        if name != gone:
            (without / f"lib{name}.so").hardlink_to(program.parent / f"lib{name}.so")
    target = without / f"main-{gone}"
    target.write_bytes(changed)
    target.chmod(0o755)
    others = [name for name in NAMES if name != gone]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [target, *words],
            env={"LD_LIBRARY_PATH": str(without)},
            capture_output=True,
            text=True,
            check=False,
        )

    found = run(*others)
    assert (found.returncode, found.stdout, found.stderr) == (0, "3\n3\n", "")
    assert run(gone).returncode < 0, "what it had from there is not there"


def test_all_libraries_can_go(program: Path) -> None:
    content = program.read_bytes()
    for name in NAMES:
        content = elf.without_library(content, f"lib{name}.so")
    assert elf.needed(content) == ("libc.so.6",)
    target = program.parent / "alone"
    target.write_bytes(content)
    target.chmod(0o755)
    assert subprocess.run([target], env={}, check=False).returncode == 0


def test_one_that_is_not_needed() -> None:
    content = elves.library(["libc.so.6"])
    assert elf.without_library(content, "libsystemd.so.0") == content
