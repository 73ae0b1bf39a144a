"""Inputs made to break a reader: each ends in one line, soon, and in little memory."""

import subprocess
import sys
import textwrap

import pytest
import yaml

from i2kit.manifest import source
from i2kit.manifest.source import documents
from tests.manifest.reading import POD, SERVICE, problem, problems


def bomb(line: str, levels: int = 12) -> str:
    """Each level holds the one before nine times."""
    lines = ["l0: &l0 {x: [y]}"]
    lines += [f"l{n}: &l{n} " + line % ", ".join([f"*l{n - 1}"] * 9) for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "nested lists": ("[" * 1_000_000, "nested deeper than 100 levels"),
    "nested maps": ("{a: " * 1_000_000, "nested deeper than 100 levels"),
    "nested in blocks": ("- " * 1_000_000, "nested deeper than 100 levels"),
    "nested JSON": ('{"a":' * 1_000_000, "nested deeper than 100 levels"),
    "nested by aliases": (
        "a0: &a0 x\n" + "\n".join(f"a{n}: &a{n} {'[' * 30}*a{n - 1}{']' * 30}" for n in range(1, 9)),
        "nested deeper than 100 levels",
    ),
    "alias bomb": (bomb("[%s]"), "more than 200,000 keys and values, aliases written out"),
    "merge bomb": (bomb("{<<: [%s]}"), "more than 200,000 keys and values, aliases written out"),
    "wide": ("[" + "a," * 300_000, "more than 200,000 keys and values, aliases written out"),
    "empty documents": ("---\n" * 300_000, "more than 200,000 keys and values, aliases written out"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_input_is_refused(case: str) -> None:
    text, message = HOSTILE[case]
    _, problems = documents("a.yml", text.encode())
    assert [problem.message for problem in problems] == [message]


def test_nesting_does_not_reach_the_parser_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_LOADER", yaml.SafeLoader)
    for case in ("nested lists", "nested in blocks", "alias bomb"):
        test_hostile_input_is_refused(case)


def test_hostile_input_takes_little_memory() -> None:
    """In a process of its own that may have 512 MB: what is at most read, in its most expensive form."""
    program = textwrap.dedent("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_AS, (512 * 2**20, 512 * 2**20))
        from i2kit.errors import InputError
        from i2kit.manifest import parse
        try:
            parse([("a.yml", b"- &a !x {b: 1, b: 2}\\n" * 450_000)])
        except InputError as error:
            sys.exit(7 if len(error.problems) == 101 else 1)
        """)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7


VALUES = {
    "unknown keys": "name: a\n" + "".join(f"k{n}: 1\n" for n in range(90_000)),
    "dollars": "name: a\ncontainers: {a: {image: '" + "${" * 1_000_000 + "'}}\n",
    "long name": f"name: {'x' * 5_000_000}\ncontainers: {{a: {{image: b}}}}\n",
    "long number": f"name: a\nreplicas: {'9' * 5_000_000}\ncontainers: {{a: {{image: b}}}}\n",
    "long hexadecimal": f"name: a\nreplicas: 0x{'f' * 5_000_000}\ncontainers: {{a: {{image: b}}}}\n",
    "long octal": f"name: a\nreplicas: 0{'7' * 5_000_000}\ncontainers: {{a: {{image: b}}}}\n",
    "long key": f"? {'x' * 5_000_000}\n: 1\n",
    "long label": f"name: a\nlabels: {{a: {'-' * 5_000_000}}}\ncontainers: {{a: {{image: b}}}}\n",
    "long quantity": POD + f"        resources: {{limits: {{cpu: 1e{'9' * 1_000_000}}}}}\n",
    "negative infinity": "name: a\nreplicas: -.inf\ncontainers: {a: {image: b}}\n",
}


@pytest.mark.parametrize("case", VALUES)
def test_hostile_values_are_refused_in_few_words(case: str) -> None:
    found = problems(VALUES[case])
    assert 0 < len(found) <= 1001
    assert max(map(len, found)) < 400


def test_thousands_of_documents_are_not_compared() -> None:
    service = SERVICE + "  ports: [{port: 1}]\n---\n"
    text = "".join(service.replace("name: web", f"name: web-{number}") for number in range(2001))
    assert problems(text) == [
        "more than 2,000 deployments and services at once\n  hint: deploy them in parts"
    ]


def test_variables_that_grow_with_each_other_are_never_made() -> None:
    doubled = "".join(f"{{name: E{i}, value: $(E{i - 1})$(E{i - 1})}}, " for i in range(1, 80))
    env = f"        env: [{{name: E0, value: x}}, {doubled}]\n"
    for user in (
        "        args: [$(E79)]\n",
        "        volumeMounts: [{name: v, mountPath: /m, subPathExpr: $(E79)}]\n"
        "      volumes: [{name: v, emptyDir: {}}]\n",
    ):
        found = problem(POD + env + user)
        assert "no program starts with more than 131,071 in one" in found
    long = "x" * 100_000
    probe = f"        livenessProbe: {{exec: {{command: [a, {'$(A)' * 1000}]}}}}\n"
    assert "livenessProbe.exec.command: has 100,000,001 bytes with its variables" in problem(
        POD + f"        env: [{{name: A, value: {long}}}]\n" + probe
    )


def test_a_variable_that_no_program_starts_with() -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: %s}\n"
    user = POD + "        envFrom: [{configMapRef: {name: c}}]\n"
    assert not problems(user, config % ("x" * 131_000))
    assert "variable `k` has 140,003 bytes" in problem(user, config % ("x" * 140_000))
    secret = config.replace("ConfigMap", "Secret").replace("data: {k", "stringData: {k")
    user = user.replace("configMapRef", "secretRef")
    assert not problems(user, secret % ("x" * 131_000))
    assert "variable `k` has 140,003 bytes" in problem(user, secret % ("x" * 140_000))
    twice = user + "        args: [$(k)$(k)]\n"
    assert "args[0] has 140,001 bytes" in problem(twice, secret % ("x" * 70_000))


def test_a_file_that_is_a_folder_too() -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n"
    items = "[{key: a, path: x}, {key: a, path: x/y/z}]"
    user = POD + f"      volumes: [{{name: v, configMap: {{name: c, items: {items}}}}}]\n"
    assert problem(user, config) == (
        "a.yml:12:45: spec.template.spec.volumes[0].configMap.name: has a file `x`, and `x/y/z` below it\n"
        "  hint: use another path"
    )
