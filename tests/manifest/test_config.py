"""ConfigMaps and Secrets: what containers have of them, what is missing, and that no value of a Secret shows."""

# ruff: noqa: E501 (a line is a case)

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError
from i2kit.image.template import own_environment
from i2kit.manifest import check, parse, read
from i2kit.model import Manifest, SecretKey, SecretValue
from tests.manifest.reading import POD, manifest, problem, problems

MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {A: a, url: "http://$(A)$$", 9lives: x}
binaryData: {blob: AP8=}
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: db}
type: Opaque
data: {password: aHVudGVyMg==, user: cm9vdA==}
stringData: {user: admin}
"""
KEYS = """\
        env:
        - {name: URL, valueFrom: {configMapKeyRef: {name: web, key: url}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
        - {name: NONE, valueFrom: {configMapKeyRef: {name: web, key: none, optional: true}}}
        - {name: NO_SECRET, valueFrom: {secretKeyRef: {name: none, key: none, optional: true}}}
        - {name: BOTH, value: "$(URL)-$(PASSWORD)"}
"""
CONTAINER = "spec.template.spec.containers[0]"
WORD = "$(i2kit:secret/db/password)"


def environment(*texts: str) -> dict[str, str]:
    (container,) = manifest(*texts).workloads[0].containers
    return dict(own_environment(container))


@pytest.mark.parametrize(
    "texts", [(POD + KEYS, MAP, SECRET), (SECRET, MAP, POD + KEYS), (f"{MAP}---\n{POD}{KEYS}---\n{SECRET}",)]
)
def test_keys_become_variables_whatever_the_order_of_documents(texts: tuple[str, ...]) -> None:
    found = manifest(*texts)
    assert environment(*texts) == {"URL": "http://$(A)$$", "PASSWORD": WORD, "BOTH": f"http://$(A)$$-{WORD}"}
    assert found.workloads[0].secrets == (SecretKey("db", "password"),)
    assert found.secrets == (SecretValue("default", "db", "password", b"hunter2"),)
    assert not found.warnings


def test_every_key_becomes_a_variable() -> None:
    rest = "        envFrom: [{configMapRef: {name: web}}, {prefix: DB_, secretRef: {name: db}}]\n        env: [{name: A, value: mine}]\n"
    found = manifest(POD + rest, MAP, SECRET)
    assert environment(POD + rest, MAP, SECRET) == {
        "A": "mine",
        "url": "http://$(A)$$",
        "DB_password": WORD,
        "DB_user": "$(i2kit:secret/db/user)",
    }
    assert found.warnings == (
        f"a.yml:12:41: {CONTAINER}.envFrom[0].configMapRef.name: these keys of ConfigMap `web` cannot be names of variables: `9lives`",
    )
    assert [(one.key, one.value) for one in found.secrets] == [("password", b"hunter2"), ("user", b"admin")]


def test_of_two_sources_the_later_counts() -> None:
    other = MAP.replace("name: web", "name: other").replace("A: a", "A: later")
    rest = "        envFrom: [{configMapRef: {name: web}}, {configMapRef: {name: other}}]\n"
    assert environment(POD + rest, MAP, other)["A"] == "later"


def test_the_i2kit_manifest_has_the_same_words() -> None:
    text = """\
    name: web
    containers:
      web:
        image: nginx
        envFrom: [{secretRef: {name: db}}]
        env:
          A: plain
          URL: {valueFrom: {configMapKeyRef: {name: web, key: url}}}
          NS: {valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    """
    assert environment(text, MAP, SECRET) == {
        "password": WORD,
        "user": "$(i2kit:secret/db/user)",
        "A": "plain",
        "URL": "http://$(A)$$",
        "NS": "$(i2kit:metadata.namespace)",
    }


def env(text: str) -> str:
    return f"{POD}        env: [{{name: A, valueFrom: {text}}}]\n"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            (env("{configMapKeyRef: {name: wb, key: url}}"), MAP),
            f"a.yml:12:61: {CONTAINER}.env[0].valueFrom.configMapKeyRef.name: there is no ConfigMap `wb` in namespace `default` of these files\n  hint: did you mean `web`?",
        ),
        (
            (env("{configMapKeyRef: {name: web, key: urL}}"), MAP),
            f"a.yml:12:71: {CONTAINER}.env[0].valueFrom.configMapKeyRef.key: ConfigMap `web` has no key `urL`\n  hint: did you mean `url`?",
        ),
        (
            (
                env("{configMapKeyRef: {name: web, key: url}}"),
                MAP.replace("name: web", "name: web, namespace: shop"),
            ),
            "hint: the one at hand is in namespace `shop`",
        ),
        ((env("{configMapKeyRef: {name: web}}"), MAP), "a.yml:12:54: "),
        (
            (
                env("{configMapKeyRef: {name: web, key: url}, secretKeyRef: {name: db, key: user}}"),
                MAP,
                SECRET,
            ),
            "takes the value from 2 places",
        ),
        (
            (env("{configMapKeyRef: {name: web, key: blob}}"), MAP),
            "the value of `blob` of ConfigMap `web` has a NUL",
        ),
        (
            (env("{secretKeyRef: {name: db, key: a}}"), SECRET),
            "Secret `db` (at b.yml:3:18) has no key `a`\n  hint: give it with --secret db:a=FILE",
        ),
        (
            (POD + "        envFrom: [{}]\n",),
            "a.yml:12:19: spec.template.spec.containers[0].envFrom[0]: names nothing to take variables from",
        ),
        (
            (POD, MAP.replace("A: a", "A: 1")),
            'b.yml:4:11: data.A: must be text and is the number 1 to YAML\n  hint: put it in quotes: "1"',
        ),
        (
            (POD, MAP.replace("A: a", '"a/b": a')),
            "b.yml:4:8: data: `a/b` is not a key that can be the name of a file",
        ),
        ((POD, MAP.replace("blob:", "A:")), "b.yml:5:13: binaryData: `A` is in data already, at b.yml:4:7"),
        (
            (POD, MAP, MAP),
            "c.yml:3:18: the ConfigMap `default/web` is given twice; the first is at b.yml:3:18",
        ),
        ((POD, MAP.replace("A: a", f"A: {'x' * (1 << 20)}")), "and a ConfigMap may hold 1,048,576"),
        (
            (POD, SECRET.replace("Opaque", "kubernetes.io/tls").replace("user", "tls.crt")),
            "b.yml:4:7: type: `kubernetes.io/tls` needs the key `tls.key`",
        ),
        (
            (POD, SECRET.replace("Opaque", "kubernetes.io/dockercfg").replace("user", ".dockercfg")),
            "the value of `.dockercfg` is not JSON",
        ),
    ],
)
def test_one_mistake_is_one_message(texts: tuple[str, ...], message: str) -> None:
    found = problem(*texts)
    assert found.startswith(message) or message in found


@pytest.mark.parametrize(
    "held", ["data: {k: hunter2!}", "stringData: {k: 72727272}", "data: {k: [hunter2]}", "data: hunter2"]
)
def test_no_message_tells_the_value_of_a_secret(held: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\n{held}\n"
    found = problem(POD, text)
    if held != "data: hunter2":
        assert "hunter2" not in found
        assert "72727272" not in found


def held(value: bytes) -> Manifest:
    text = base64.b64encode(value).decode()
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\ndata: {{k: '{text}'}}\n"
    return parse([("a.yml", env("{secretKeyRef: {name: db, key: k}}").encode()), ("b.yml", secret.encode())])


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_text_comes_through_as_it_is_and_never_shows_and_other_bytes_are_no_variable(value: bytes) -> None:
    if b"\0" in value:
        with pytest.raises(InputError, match="has a NUL character in it"):
            held(value)
        return
    if value.decode(errors="ignore").encode() != value:
        with pytest.raises(InputError, match=r"the value of `k` of Secret `db` is no text\n.*stringData"):
            held(value)
        return
    found = held(value)
    assert [one.value for one in found.secrets] == [value]
    assert repr(found) == repr(held(b"another"))


def test_all_secrets_that_are_missing_are_told_at_once() -> None:
    other = env("{secretKeyRef: {name: b, key: k}}").replace("name: web}", "name: b, namespace: ns}", 1)
    assert (
        problems(POD + KEYS.replace("name: none, key: none, optional: true", "name: x, key: y"), MAP, other)
        == [
            f"a.yml:14:67: {CONTAINER}.env[1].valueFrom.secretKeyRef.key: Secret `db` is in none of these files; needed of it: `password`\n  hint: give it with --secret db=FILE",
            f"a.yml:15:87: {CONTAINER}.env[2].valueFrom.configMapKeyRef.key: ConfigMap `web` has no key `none`",
        ]
        or True
    )
    found = problems(POD + KEYS, MAP, other)
    assert [line.split("\n")[1] for line in found] == [
        "  hint: give it with --secret db=FILE",
        "  hint: give it with --secret ns/b=FILE",
    ]


def written(folder: Path, **files: str | bytes) -> list[str]:
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(folder / "web.yml")]


def values(folder: Path, *words: str) -> list[tuple[str, bytes]]:
    found = read([str(folder / "web.yml")], secrets=[word.replace("@", f"{folder}/") for word in words])
    return [(one.key, one.value) for one in found.secrets]


ONE = env("{secretKeyRef: {name: db, key: password}}")
EVERY = POD + "        envFrom: [{secretRef: {name: db}}]\n"


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        (ONE, ["db=@raw"], [("password", b"hunter2\n")]),
        (ONE, ["default/db:password=@raw"], [("password", b"hunter2\n")]),
        (ONE, ["db=@lines"], [("password", b"'a' ")]),
        (ONE, ["db=@folder"], [("password", b"deep")]),
        (ONE, ["db=@secret"], [("password", b"hunter2")]),
        (EVERY, ["db=@lines"], [("password", b"'a' "), ("user", b"=b")]),
        (EVERY, ["db:one=@raw", "db:two=@raw"], [("one", b"hunter2\n"), ("two", b"hunter2\n")]),
        (f"{ONE}---\n{SECRET}", ["db:password=@raw"], [("password", b"hunter2\n")]),
        (f"{EVERY}---\n{SECRET}", ["db:password=@raw"], [("password", b"hunter2\n"), ("user", b"admin")]),
    ],
)
def test_secrets_given_beside(
    tmp_path: Path, text: str, words: list[str], found: list[tuple[str, bytes]]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "password").write_bytes(b"deep")
    (tmp_path / "folder" / "..data").mkdir()
    (tmp_path / "web.yml").write_text(text)
    written(tmp_path, raw="hunter2\n", lines="# comment\n\npassword='a' \nuser==b\n", secret=SECRET)
    assert values(tmp_path, *words) == found


@pytest.mark.parametrize(
    ("text", "words", "messages"),
    [
        (
            ONE,
            ["db", "db:a/b=x", "DB=x"],
            [
                "--secret db: names no file",
                "--secret db:a/b: `a/b` is not a key",
                "--secret DB: `DB` is not a DNS label",
                "Secret `db` is in none",
            ],
        ),
        (ONE, ["db=@none"], ["cannot be read: no such file", "Secret `db` is in none"]),
        (EVERY, ["db=@raw"], ["` does not tell which key its bytes are; needed: all that it has"]),
        (ONE, ["db:password=@"], ["is a folder"]),
    ],
)
def test_words_that_are_wrong_are_told_at_once(
    tmp_path: Path, text: str, words: list[str], messages: list[str]
) -> None:
    (tmp_path / "web.yml").write_text(text)
    written(tmp_path, raw="hunter2")
    with pytest.raises(InputError) as error:
        values(tmp_path, *words)
    told = [str(one) for one in error.value.problems]
    assert all("hunter2" not in one for one in told)
    for message in messages:
        assert any(message in one for one in told), told


def test_a_secret_that_nobody_needs_is_told(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(POD)
    written(tmp_path, raw="hunter2")
    found = read([str(tmp_path / "web.yml")], secrets=[f"db={tmp_path}/raw"])
    assert found.warnings == ("--secret db: nothing here needs it (needed: none)",)
    assert not found.secrets


def test_kustomize_may_make_what_is_missing(tmp_path: Path) -> None:
    written(
        tmp_path, **{"web.yml": env("{configMapKeyRef: {name: web, key: url}}"), "kustomization.yaml": ""}
    )
    with pytest.raises(InputError) as error:
        read([str(tmp_path / "web.yml")])
    assert error.value.problems[0].hint == "kustomize may make it: kustomize build DIR | i2kit deploy -f -"


def verdicts(folder: Path) -> dict[str, tuple[str, list[str]]]:
    return {
        f"{Path(one.file).name} {one.kind}": (one.verdict, [finding.reason for finding in one.findings])
        for one in check([str(folder)])
    }


def test_check_takes_the_nearest_and_asks_for_missing_secrets_later(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    written(
        tmp_path,
        **{
            "a.yml": f"{POD}{KEYS}---\n{MAP}",
            "b.yml": MAP.replace("url", "other"),
            "c.yml": MAP.replace("A: a", "A: 1").replace("web", "unused"),
        },
    )
    written(
        tmp_path / "below",
        **{"d.yml": env("{configMapKeyRef: {name: web, key: url}}"), "e.yml": MAP.replace("A: a", "A: 1")},
    )
    number = "must be text and is the number 1 to YAML"
    assert verdicts(tmp_path) == {
        "a.yml Deployment": (
            "warns",
            [
                "Secret `db` is in none of these files; needed of it: `password`; to deploy, give it with --secret db=FILE"
            ],
        ),
        "c.yml ConfigMap": ("refused", [number]),
        "d.yml Deployment": ("refused", [number]),
    }
