"""What holds for every input."""

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError
from i2kit.manifest import parse
from i2kit.model import Manifest, Workload

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
WORD = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)
PORT_NAME = st.from_regex(r"[a-z]([a-z0-9]{0,10}[a-z])?", fullmatch=True)


WHOLE = st.integers(0, 2**31 - 1)
AMOUNT = WHOLE.filter(bool) | st.integers(1, 100).map(lambda n: f"{n}%")
PORTS = st.integers(1, 65535)
HANDLERS = {
    "httpGet": st.fixed_dictionaries({"port": PORTS}, optional={"path": TEXT, "scheme": st.just("HTTPS")}),
    "tcpSocket": st.fixed_dictionaries({"port": PORTS}, optional={"host": LABEL}),
    "exec": st.fixed_dictionaries({"command": st.lists(TEXT, min_size=1, max_size=3)}),
    "grpc": st.fixed_dictionaries({"port": PORTS}, optional={"service": TEXT}),
}
TIMES = st.dictionaries(
    st.sampled_from(["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold"]), WHOLE
)


@st.composite
def probes(draw: st.DrawFn) -> dict[str, Any]:
    """A valid probe of any kind."""
    name = draw(st.sampled_from(sorted(HANDLERS)))
    return {name: draw(HANDLERS[name]), **draw(TIMES)}


ROLLOUTS = st.fixed_dictionaries(
    {},
    optional={
        "minReadySeconds": st.integers(0, 599),
        "progressDeadlineSeconds": st.integers(600, 2**31 - 1),
        "strategy": st.just({"type": "Recreate"})
        | st.fixed_dictionaries(
            {},
            optional={
                "rollingUpdate": st.fixed_dictionaries(
                    {"maxSurge": AMOUNT}, optional={"maxUnavailable": AMOUNT}
                )
            },
        ),
    },
)
WINDOW = st.fixed_dictionaries({"stabilizationWindowSeconds": st.integers(0, 3600)})


def metric(name: str, target: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


METRICS = st.one_of(
    st.just(metric("cpu", {"type": "AverageValue", "averageValue": "250m"})),
    st.just(metric("memory", {"type": "AverageValue", "averageValue": "1.5Gi"})),
)
SCALINGS = st.fixed_dictionaries(
    {"maxReplicas": st.integers(9, 250), "metrics": st.lists(METRICS, min_size=1, max_size=3)},
    optional={
        "minReplicas": st.integers(1, 9),
        "behavior": st.fixed_dictionaries({}, optional={"scaleUp": WINDOW, "scaleDown": WINDOW}),
    },
)


@st.composite
def containers(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Containers of a valid i2kit manifest, with the ports in long form."""
    names = draw(st.lists(LABEL, min_size=1, max_size=3, unique=True))
    numbers = iter(draw(st.lists(st.integers(1, 65535), min_size=6, max_size=6, unique=True)))
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        ports: list[dict[str, int | str]] = [
            {"containerPort": next(numbers)} for _ in range(draw(st.integers(0, 2)))
        ]
        if draw(st.booleans()) and ports:
            ports[0]["name"] = draw(PORT_NAME)
        optional: dict[str, Any] = {
            "command": draw(st.lists(TEXT, max_size=3)),
            "args": draw(st.lists(TEXT, max_size=3)),
            "env": draw(st.dictionaries(st.from_regex("[A-Z_]{1,6}", fullmatch=True), TEXT, max_size=3)),
            "workingDir": draw(st.sampled_from(["/", "/srv/x y"])),
            "ports": ports,
            **{
                name: draw(probes())
                for name in ("startupProbe", "livenessProbe", "readinessProbe")
                if draw(st.booleans())
            },
            "resources": {
                "requests": {"cpu": draw(st.sampled_from([1, 0.5, "250m"]))},
                "limits": {"memory": draw(st.sampled_from(["64Mi", "1G", 268435456]))},
            },
        }
        kept = {key: value for key, value in optional.items() if draw(st.booleans())}
        found[name] = {"image": draw(st.sampled_from(["nginx", "host:5000/a/b@sha256:" + "0" * 64])), **kept}
    return found


@st.composite
def workloads(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same workload in both forms."""
    name, pod = draw(LABEL), draw(containers())
    labels = {"app": name, **draw(st.dictionaries(WORD, WORD, max_size=2))}
    rollout = {"replicas": draw(st.integers(0, 250)), **draw(ROLLOUTS)}
    grace = {"terminationGracePeriodSeconds": draw(WHOLE)} if draw(st.booleans()) else {}
    scaling = draw(st.none() | SCALINGS)
    native = {"name": name, "labels": labels, "containers": pod, **rollout, **grace}
    listed = []
    for key, body in pod.items():
        env = [{"name": variable, "value": value} for variable, value in body.get("env", {}).items()]
        listed.append({"name": key, **body, "env": env})
    template = {"metadata": {"labels": labels}, "spec": {"containers": listed, **grace}}
    kubernetes: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **rollout},
    }
    if scaling is None:
        return native, kubernetes
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": name}, **scaling},
    }
    items = draw(st.permutations([kubernetes, autoscaler]))
    return {**native, "autoscaling": scaling}, {"apiVersion": "v1", "kind": "List", "items": items}


def only(manifest: Manifest) -> Workload:
    (workload,) = manifest.workloads
    return workload


@given(workloads())
def test_both_forms_of_a_workload_are_the_same_value(forms: tuple[dict[str, Any], dict[str, Any]]) -> None:
    native, kubernetes = (only(parse([("a.json", json.dumps(form).encode())])) for form in forms)
    assert native == kubernetes


class Quoting(yaml.SafeDumper):
    """PyYAML writes text without quotes where only go-yaml would read it as something else (y, 089)."""


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@given(workloads())
def test_yaml_and_json_are_the_same_value(forms: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for form in forms:
        text = yaml.dump(form, Dumper=Quoting, sort_keys=False)
        assert only(parse([("a.yml", text.encode())])) == only(parse([("a.json", json.dumps(form).encode())]))


def survives(name: str, data: bytes) -> None:
    """Either a manifest, or problems that each have a place within the file."""
    try:
        manifest = parse([(name, data)])
    except InputError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.position is not None
            assert problem.position.file == name
            assert problem.position.line >= 1
            assert problem.position.column >= 1
            assert len(problem.message) < 1000
    else:
        assert manifest.workloads


@given(st.binary(max_size=200), st.sampled_from(["a.yml", "a.json"]))
def test_any_bytes_are_a_manifest_or_explained(data: bytes, name: str) -> None:
    survives(name, data)


WORDS = """name containers image apiVersion kind apps/v1 v1 Deployment Service List items spec metadata
    template selector ports port labels env replicas null ~ yes : - [ ] { } , &a *a << !x ? | > ' " #
    {{ .x }} ${X} 1e9999 0x .nan"""
SPACES = [": ", ":\n", "\n", "\n  ", "\n    ", "- ", "---\n", "...\n", "%YAML 1.1\n", "\t", "\ufeff"]
PIECES = st.sampled_from([*WORDS.split(), *SPACES])


@given(st.lists(PIECES, max_size=40), st.sampled_from(["a.yml", "a.json"]))
def test_any_mix_of_what_manifests_are_made_of_is_one_or_explained(pieces: list[str], name: str) -> None:
    survives(name, "".join(pieces).encode())


KEYS = st.sampled_from(["x", "name", "port", "type", "exec"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def spots(value: object) -> list[tuple[Any, Any]]:
    """Every place in nested data, as (holder, key)."""
    found: list[tuple[Any, Any]] = []
    keyed = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in keyed:
        found.append((value, key))
        found.extend(spots(inner))
    return found


@given(workloads(), st.data())
def test_anything_in_the_place_of_a_value_is_accepted_or_explained(
    forms: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    for form in forms:
        copy = json.loads(json.dumps(form))
        holder, key = data.draw(st.sampled_from(spots(copy)))
        holder[key] = data.draw(JSON)
        survives("a.json", json.dumps(copy).encode())
