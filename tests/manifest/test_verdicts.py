"""Each workload of many files by itself: what is about it counts, and what is not hides nothing."""

import json
import os
from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.manifest import check, verdicts
from i2kit.manifest.verdicts import Judgement
from i2kit.report import judgements

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx, ports: [{containerPort: 80, name: http}]}]
"""
FINE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
FIXED = FINE.replace("spec: {", "spec: {externalIPs: [192.0.2.1], ")
NO_SUCH_PORT = FINE.replace("port: 80", "port: 80, targetPort: htpp")
SCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
"""
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{http: {paths: [{pathType: Prefix, backend: {service: {name: web, port: {number: 81}}}}]}}]}
"""
BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}}
"""
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all}
spec: {podSelector: {}, ingress: [{from: [{}]}]}
"""
BINDING = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rights}
subjects: [{kind: ServiceAccount, name: default}]
"""
TOKENLESS = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
automountServiceAccountToken: false
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: text}
"""
AS_ROBOT = WEB.replace("    spec:\n", "    spec:\n      serviceAccountName: robot\n")
MADE_OF = WEB.replace(
    "[{name: web, image: nginx, ", "\n      - {envFrom: [{configMapRef: {name: settings}}], "
).replace("http}]}]", "http}], name: web, image: nginx}")
DAEMONS = WEB.replace("Deployment", "DaemonSet")
NATIVE = "name: web\ncontainers: {web: {image: nginx}}\n"
BROKEN = "name: web\ncontainers: {web: [}\n"
HELM = "kind: Deployment\nmetadata: {name: {{ .Values.name }}}\n"


def judged(folder: Path, files: dict[str, str], *given: str) -> list[Judgement]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return list(check([str(folder / name) for name in given] or [str(folder)]))


def lines(folder: Path, files: dict[str, str], *given: str) -> list[str]:
    """The verdicts as `file kind name verdict: place path: reason; …`."""
    said = []
    for one in judged(folder, files, *given):
        assert one.file.startswith(f"{folder}/")
        reasons = []
        for finding in one.findings:
            place = str(finding.position).removeprefix(f"{folder}/") if finding.position else "nowhere"
            reasons.append(f"{place} {finding.path}: {finding.reason}".replace(f"{folder}/", ""))
        file = one.file.removeprefix(f"{folder}/")
        said.append(f"{file} {one.kind} {one.name} {one.verdict}" + "".join(f"\n  {r}" for r in reasons))
    return said


NOT_GIVEN = "spec.externalIPs: is not possible: addresses are given by the provider"
NO_HTPP = "spec.ports: deployment `web` has no port named `htpp`"
NO_REQUESTS = "80% is of the cpu that the containers of deployment `web` request, and `web` requests none"

CASES: dict[str, tuple[dict[str, str], list[str]]] = {
    "it deploys, in both forms": (
        {"a.yml": f"{WEB}---\n{FINE}", "b.yml": NATIVE},
        ["a.yml Deployment web deploys", "b.yml i2kit web deploys"],
    ),
    "a service of its file": (
        {"a.yml": f"{WEB}---\n{FIXED}"},
        [f"a.yml Deployment web refused\n  a.yml:14:8 {NOT_GIVEN}"],
    ),
    "a service of its folder": (
        {"a.yml": WEB, "b.yml": FIXED, "below/c.yml": WEB},
        [
            f"a.yml Deployment web refused\n  b.yml:4:8 {NOT_GIVEN}",
            "below/c.yml Deployment web deploys",
        ],
    ),
    "a service that is at home elsewhere": (
        {"a.yml": WEB, "b.yml": f"{WEB}---\n{FIXED}"},
        [
            "a.yml Deployment web deploys",
            f"b.yml Deployment web refused\n  b.yml:14:8 {NOT_GIVEN}",
        ],
    ),
    "what only shows between two documents": (
        {"a.yml": WEB, "b.yml": NO_SUCH_PORT},
        [f"a.yml Deployment web refused\n  b.yml:4:61 {NO_HTPP}"],
    ),
    "variants of one service": (
        {"a.yml": WEB, "b.yml": FINE, "c.yml": FINE},
        ["a.yml Deployment web deploys"],
    ),
    "the same name twice in one file": (
        {"a.yml": f"{NATIVE}---\n{NATIVE}"},
        [
            "a.yml i2kit web deploys",
            "a.yml i2kit web refused\n  a.yml:4:7 : the deployment `default/web` is given twice;"
            " the first is at a.yml:1:7",
        ],
    ),
    "an autoscaler": (
        {"a.yml": WEB, "b.yml": SCALER},
        [
            "a.yml Deployment web warns\n  b.yml:4:7 spec: has no effect, as in Kubernetes: 80% is of the cpu"
            " that the containers of deployment `web` request, and `web` requests none"
        ],
    ),
    "an autoscaler of an i2kit manifest": (
        {"a.yml": f"{NATIVE}autoscaling: {{maxReplicas: 3}}\n"},
        [f"a.yml i2kit web refused\n  a.yml:3:14 autoscaling: {NO_REQUESTS}"],
    ),
    "an autoscaler that is about nothing": (
        {"b.yml": SCALER},
        [
            "b.yml HorizontalPodAutoscaler web refused\n  b.yml:4:86 spec.scaleTargetRef.name:"
            " there is no deployment `web` in namespace `default` of these files"
        ],
    ),
    "a service that is about nothing": (
        {"b.yml": FINE},
        [
            "b.yml Service web warns\n  b.yml:4:18 spec.selector: service `web`: no deployment here has"
            " pods with app: web, so it needs one that runs already"
        ],
    ),
    "an ingress, by its service": (
        {"a.yml": WEB, "b.yml": FINE, "c.yml": INGRESS},
        [
            "a.yml Deployment web refused\n  c.yml:4:97 spec.rules[0].http.paths[0].backend.service.port"
            ".number: service `web` has no port `81`"
        ],
    ),
    "a comfort that is lost": (
        {"a.yml": WEB, "b.yml": BUDGET},
        [
            "a.yml Deployment web warns\n  b.yml:2:7 kind: PodDisruptionBudget has no effect: there are no"
            " nodes that could be drained"
        ],
    ),
    "a policy on all pods": (
        {"a.yml": WEB, "b.yml": POLICY, "c.yml": WEB.replace("{name: web}\n", "{name: web, namespace: c}\n")},
        [
            "a.yml Deployment web refused\n  b.yml:4:43 spec.ingress[0].from[0]: says nobody",
            "c.yml Deployment web deploys",
        ],
    ),
    "rights count in the whole folder": (
        {"a.yml": WEB, "b.yml": f"{WEB}---\n{BINDING}"},
        [
            f"{file} Deployment web refused\n  {file}:9:7 spec.template.spec.serviceAccountName: RoleBinding"
            " `rights` lets these pods use the Kubernetes API, and a machine has none"
            for file in ("a.yml", "b.yml")
        ],
    ),
    "rights of an account of their own count in the folders beside, those of the default one do not": (
        {
            "app/a.yml": AS_ROBOT,
            "app/b.yml": WEB,
            "rights/c.yml": BINDING.replace("name: default", "name: robot"),
            "rights/d.yml": BINDING,
        },
        [
            "app/a.yml Deployment web refused\n  app/a.yml:9:27 spec.template.spec.serviceAccountName:"
            " RoleBinding `rights` lets these pods use the Kubernetes API, and a machine has none",
            "app/b.yml Deployment web deploys",
        ],
    ),
    "an account whose pods get no token has no rights": (
        {
            "a.yml": AS_ROBOT,
            "b.yml": AS_ROBOT.replace(
                "      service", "      automountServiceAccountToken: true\n      service"
            ),
            "c.yml": BINDING.replace("name: default", "name: robot"),
            "d.yml": TOKENLESS,
        },
        [
            "a.yml Deployment web deploys",
            "b.yml Deployment web refused\n  b.yml:10:27 spec.template.spec.serviceAccountName: RoleBinding"
            " `rights` lets these pods use the Kubernetes API, and a machine has none",
        ],
    ),
    "what it is made of is in another folder": (
        {
            "app/web/a.yml": MADE_OF,
            "app/config/b.yml": CONFIG,
            "app/config/deep/c.yml": CONFIG,
            "other/web/d.yml": CONFIG,
        },
        [
            "app/web/a.yml Deployment web warns\n  app/web/a.yml:10:42 spec.template.spec.containers[0]"
            ".envFrom[0].configMapRef.name: ConfigMap `settings` is in another folder, at"
            " app/config/b.yml:1:1; to deploy, give that too, with another -f"
        ],
    ),
    "a secret of another folder that is wrong is another's": (
        {
            "app/a.yml": MADE_OF.replace("configMapRef", "secretRef"),
            "b/b.yml": CONFIG.replace("ConfigMap", "Secret").replace("text", "'?'"),
        },
        [
            "app/a.yml Deployment web warns\n  app/a.yml:10:39 spec.template.spec.containers[0].envFrom[0]"
            ".secretRef.name: Secret `settings` is in none of these files; to deploy, give it with --secret"
            " settings=FILE",
            "b/b.yml Secret settings refused\n  b/b.yml:4:11 data.a: is not base64",
        ],
    ),
    "a kind that is refused keeps what is about it": (
        {"a.yml": DAEMONS, "b.yml": FIXED},
        [
            "a.yml DaemonSet web refused\n  a.yml:2:7 kind: DaemonSet is not possible: there are no nodes\n"
            f"  b.yml:4:8 {NOT_GIVEN}"
        ],
    ),
    "files that cannot be read hide no others": (
        {"a.yml": BROKEN, "b.yml": HELM, "c.yml": NATIVE, "d.yml": "# empty\n"},
        [
            "a.yml None None refused\n  a.yml:2:20 : is not valid YAML: did not find expected node content",
            "b.yml None None refused\n  b.yml:2:18 : looks like a Helm template, which is no manifest yet",
            "c.yml i2kit web deploys",
        ],
    ),
    "a file that breaks off": (
        {"a.yml": f"{NATIVE}---\na: [}}\n"},
        [
            "a.yml i2kit web refused\n  a.yml:4:5 : is not valid YAML: did not find expected node content",
            "a.yml None None refused\n  a.yml:4:5 : is not valid YAML: did not find expected node content",
        ],
    ),
    "a document that is wrong as YAML leaves the others": (
        {"a.yml": f"{NATIVE}---\n{NATIVE.replace('web', 'b')}name: c\n"},
        [
            "a.yml i2kit web deploys",
            "a.yml i2kit b refused\n  a.yml:6:1 : `name` is given twice; the first is at a.yml:4:1",
        ],
    ),
    "what is no workload": (
        {"a.yml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: '?'}\n", "b.yml": "- 1\n"},
        [
            "a.yml Secret s refused\n  a.yml:4:11 data.k: is not base64",
            "b.yml None None refused\n  b.yml:1:1 : a manifest is a mapping and this is a list",
        ],
    ),
    "what lies beside manifests": (
        {
            "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
            "pipeline.yml": "trigger: [main]\nsteps: [{script: make}]\n",
            "web.yml": "name: web\ncontainer: {web: {image: nginx}}\n",
        },
        [
            "Chart.yaml None None refused\n  Chart.yaml:1:1 : looks like a part of a Helm chart",
            "pipeline.yml None None refused\n  pipeline.yml:1:1 : is no manifest: it has neither `kind` nor"
            " `containers`",
            "web.yml None None refused\n  web.yml:2:1 container: is not a known field\n  web.yml:1:1 :"
            " `containers` is missing",
        ],
    ),
    "lists": (
        {"a.json": '{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "p"}}]}'},
        ["a.json Pod p refused\n  a.json:1:51 : `spec` is missing"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(tmp_path: Path, case: str) -> None:
    files, said = CASES[case]
    assert lines(tmp_path, files) == said


def test_what_a_deploy_reads_as_one_is_looked_at_together(tmp_path: Path) -> None:
    files = {"apps/web.yml": WEB, "net/web.yml": FIXED, "net/deep/web.yml": WEB}
    assert lines(tmp_path, files, "apps", "net")[0].startswith("apps/web.yml Deployment web refused")
    assert lines(tmp_path, files, "net", "apps/web.yml") == [
        "net/deep/web.yml Deployment web deploys",
        f"apps/web.yml Deployment web refused\n  net/web.yml:4:8 {NOT_GIVEN}",
    ]
    assert lines(tmp_path, files)[0] == "apps/web.yml Deployment web deploys"


def test_a_part_of_a_manifest_is_told_where_kustomize_makes_it_whole(tmp_path: Path) -> None:
    part = WEB.replace("image: nginx, ", "").replace("  selector: {matchLabels: {app: web}}\n", "")
    files = {"base/kustomization.yaml": "resources: [web.yml]\n", "base/web.yml": part, "web.yml": part}
    hints = {
        finding.hint
        for one in judged(tmp_path, files)
        if one.kind and one.file.endswith("base/web.yml")
        for finding in one.findings
    }
    assert hints == {"kustomize may make it whole: kustomize build DIR | i2kit deploy -f -"}
    (alone,) = judged(tmp_path, {}, "web.yml")
    assert hints.isdisjoint(finding.hint for finding in alone.findings)


def test_what_cannot_be_opened_is_one_verdict_among_others(tmp_path: Path) -> None:
    (tmp_path / "gone.yml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "loop").symlink_to(tmp_path)
    said = lines(tmp_path, {"a.yml": NATIVE, ".hidden/b.yml": BROKEN, "c.txt": BROKEN})
    assert said == [
        "a.yml i2kit web deploys",
        "gone.yml None None refused\n  gone.yml:1:1 : cannot be read: no such file or directory",
        "pipe.yml None None refused\n  pipe.yml:1:1 : is not a regular file",
    ]
    assert [one.verdict for one in check(["-", str(tmp_path / "a.yml")], NATIVE.encode())] == ["deploys"] * 2


def test_where_there_is_nothing_to_judge_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("---\n")
    with pytest.raises(InputError, match="there are no manifests here"):
        check([str(tmp_path)])


def test_thousands_of_variants_take_time_in_proportion(tmp_path: Path) -> None:
    """All Services are about all Deployments: a million pairs, of which few are looked at."""
    for number in range(1000):
        (tmp_path / f"{number}.yml").write_text(WEB if number % 2 else NO_SUCH_PORT)
    found = check([str(tmp_path)])
    assert [one.verdict for one in found] == ["refused"] * 500
    assert {len(one.findings) for one in found} == {verdicts.MAX_ABOUT}


def test_a_file_of_too_many_documents_is_one_refusal(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"kind: List\nitems: [{'{kind: a},' * 10_001}]\n")
    (tmp_path / "b.yml").write_text(NATIVE)
    assert [(one.kind, one.verdict) for one in check([str(tmp_path)])] == [
        (None, "refused"),
        ("i2kit", "deploys"),
    ]


def test_a_verdict_is_that_of_a_deploy_of_the_same_file(tmp_path: Path) -> None:
    """For every case that is one file: refused here where deploying it is an error, and else not."""
    from i2kit.manifest import read

    for number, (files, _) in enumerate(CASES.values()):
        if len(files) > 1:
            continue
        folder = tmp_path / str(number)
        refused = any(one.verdict == "refused" for one in judged(folder, files))
        try:
            read([str(folder)], others=True)
        except InputError:
            assert refused
        else:
            assert not refused


def test_what_is_named_after_the_folder_above_it_is_deployed_with_it(tmp_path: Path) -> None:
    files = {"a/web.yml": WEB, "a/below/service.yml": FIXED}
    assert lines(tmp_path, files, "a", "a/below")[0].startswith("a/web.yml Deployment web refused")
    assert lines(tmp_path, files, "a")[0] == "a/web.yml Deployment web deploys"


@pytest.mark.parametrize("sign", ["\x1b[31m", "\n", "\u202e", "\udcff"])
def test_nothing_in_files_or_names_steers_a_terminal(tmp_path: Path, sign: str) -> None:
    text = f"apiVersion: v1\nkind: {json.dumps('A' + sign)}\nmetadata: {{name: {json.dumps('b' + sign)}}}\n"
    text += f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {json.dumps('c' + sign)}}}\n"
    told = judgements(judged(tmp_path, {f"web{sign}.yml": text}))
    assert "refused\n" in told
    assert all(line.isprintable() for line in told.splitlines())
