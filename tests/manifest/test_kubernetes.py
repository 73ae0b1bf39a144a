"""Kubernetes documents: what is taken, what changes nothing, what is refused and why."""

# ruff: noqa: E501 (a line is a case)

import json

import pytest

from i2kit.errors import InputError, Position
from i2kit.manifest import parse
from i2kit.model import Container, Port, Service, ServicePort, Workload
from tests.manifest.reading import POD, SERVICE, manifest, problem, problems

FIGURE_2 = """\
apiVersion: apps/v1beta2
kind: Deployment
metadata: { name: nginx-deployment }
spec:
  selector:
    matchLabels: { app: nginx }
  replicas: 3
  template:
    metadata: { labels: { app: nginx } }
    spec:
      containers:
        - name: nginx
          image: nginx:1.7.9
          ports: [ containerPort: 80 ]
"""


def test_the_papers_figure_2() -> None:
    (workload,) = manifest(FIGURE_2).workloads
    assert workload == Workload(
        name="nginx-deployment",
        replicas=3,
        labels=(("app", "nginx"),),
        containers=(Container("nginx", "nginx:1.7.9", ports=(Port(80),)),),
    )
    assert workload.position == Position("a.yml", 3, 19)
    assert workload.containers[0].position == Position("a.yml", 13, 18)


def test_a_service_in_front() -> None:
    ports = (
        "  type: LoadBalancer\n  ports: [{name: http, port: 80, targetPort: web}, {name: alt, port: 8080}]\n"
    )
    found = manifest(POD + "        ports: [{containerPort: 8000, name: web}]\n", SERVICE + ports)
    (service,) = found.services
    assert service == Service(
        name="web",
        selector=(("app", "web"),),
        ports=(ServicePort(80, "web", "http"), ServicePort(8080, 8080, "alt")),
        public=True,
    )
    assert service.position == Position("b.yml", 3, 18)
    assert service.selects(found.workloads[0])


def test_a_node_port_is_where_a_service_is_published_and_is_not_public() -> None:
    ports = "  type: NodePort\n  ipFamilies: [IPv4]\n  ports: [{port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 0}]\n"
    found = manifest(POD, SERVICE + ports.replace("{port: 80", "{name: a, port: 80"))
    (service,) = found.services
    assert [port.node_port for port in service.ports] == [30080, None]
    assert not service.public
    assert found.warnings == (
        "b.yml:6:9: spec.type: `NodePort` is not public on a cloud, which has no nodes; `LoadBalancer` is",
    )


def test_two_services_cannot_have_one_node_port() -> None:
    one = SERVICE + "  type: NodePort\n  ports: [{port: 80, nodePort: 30080}]\n"
    two = one.replace("{name: web}", "{name: too}").replace("NodePort\n", "LoadBalancer\n")
    assert problem(POD, one, two) == (
        "c.yml:7:32: spec.ports.nodePort: 30080 is given twice; the first is at b.yml:7:32\n"
        "  hint: leave one of them out"
    )


def test_a_service_finds_an_i2kit_manifest_by_its_name() -> None:
    native = "name: web\ncontainers: {web: {image: nginx}}\n"
    found = manifest(SERVICE + "  ports: [{port: 80}]", native)
    assert found.services[0].selects(found.workloads[0])


@pytest.mark.parametrize("version", ["apps/v1beta1", "extensions/v1beta1"])
def test_old_versions_select_by_the_template(version: str) -> None:
    text = POD.replace("apps/v1", version).replace("  selector: {matchLabels: {app: web}}\n", "")
    assert manifest(text).workloads[0].labels == (("app", "web"),)


def test_lists_are_flattened() -> None:
    single = manifest(POD, SERVICE + "  ports: [{port: 80}]")
    indented = "\n".join(f"  {line}" for line in POD.splitlines())
    inner = "\n".join(f"  {line}" for line in (SERVICE + "  ports: [{port: 80}]").splitlines())
    text = f"apiVersion: v1\nkind: List\nitems:\n-\n{indented}\n-\n{inner}\n"
    assert manifest(text) == single
    bare = indented.replace("  apiVersion: apps/v1\n", "").replace("  kind: Deployment\n", "")
    assert (
        manifest(f"apiVersion: apps/v1\nkind: DeploymentList\nitems:\n-\n{bare}").workloads
        == single.workloads
    )


def test_what_kubectl_prints_can_be_deployed() -> None:
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "uid": "1-2-3",
            "resourceVersion": "5",
            "generation": 1,
            "creationTimestamp": None,
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"deployment.kubernetes.io/revision": "1"},
        },
        "spec": {
            "replicas": 1,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"creationTimestamp": None, "labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "web",
                            "image": "nginx",
                            "resources": {},
                            "imagePullPolicy": "Always",
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                        }
                    ],
                    "restartPolicy": "Always",
                    "dnsPolicy": "ClusterFirst",
                    "schedulerName": "default-scheduler",
                    "securityContext": {},
                    "terminationGracePeriodSeconds": 30,
                },
            },
        },
        "status": {"replicas": 1},
    }
    found = parse([("-", json.dumps(document).encode())])
    assert found.workloads[0].containers == (Container("web", "nginx"),)
    assert found.warnings == ()


def test_comfort_that_is_lost_is_one_line_per_kind() -> None:
    pod = POD.replace(
        "    spec:\n",
        "    spec:\n      priorityClassName: high\n      nodeSelector: {kubernetes.io/os: linux, disk: ssd}\n",
    )
    budget = (
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 1}\n"
    )
    found = manifest(pod, pod.replace("metadata: {name: web}", "metadata: {name: two}"), budget)
    place = "a.yml:9:7: spec.template.spec"
    assert found.warnings == (
        f"{place}.priorityClassName: has no effect: pods do not compete for nodes (and in 1 more places)",
        "a.yml:10:47: spec.template.spec.nodeSelector.disk: "
        "has no effect: there are no nodes to choose from (and in 1 more places)",
        "c.yml:2:7: kind: PodDisruptionBudget has no effect: there are no nodes that could be drained",
    )


def test_a_variable_given_twice_is_warned_about() -> None:
    found = manifest(POD + "        env: [{name: A, value: b}, {name: A, value: $(A)c}]")
    assert found.workloads[0].containers[0].env == (("A", "b"), ("A", "$(A)c"))
    assert found.warnings == (
        "a.yml:12:43: spec.template.spec.containers[0].env[1].name: "
        "`A` is given twice and the last counts; the first is at a.yml:12:22",
    )


def test_documents_of_the_cluster_change_nothing() -> None:
    others = """
        {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
        ---
        {apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
        ---
        {apiVersion: rbac.authorization.k8s.io/v1beta1, kind: Role, metadata: {name: web}}
        """
    found = manifest(others, POD)
    assert (len(found.workloads), found.warnings) == (1, ())


CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("        env: {A: b}", f"a.yml:12:14: {CONTAINER}.env: must be a list and is a mapping\n  hint: write a list of name and value"),
        ("        env: [{name: A, value: 1}]", f'a.yml:12:32: {CONTAINER}.env[0].value: must be text and is the number 1 to YAML\n  hint: put it in quotes: "1"'),
        ("        env: [{value: x}]", f"a.yml:12:15: {CONTAINER}.env[0]: `name` is missing"),
        ("        env: [A=b]", f"a.yml:12:15: {CONTAINER}.env[0]: must be a mapping and is the text `A=b`\n  hint: write - name: NAME and value: VALUE"),
        ("        env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]", f"a.yml:12:58: {CONTAINER}.env[0].valueFrom.secretKeyRef.name: Secret `s` is in none of these files; needed of it: `k`\n  hint: give it with --secret s=FILE"),
        ("        ports: [80]", f"a.yml:12:17: {CONTAINER}.ports[0]: must be a mapping and is the number 80\n  hint: write - containerPort: 80"),
        ("        envFrom: [{configMapRef: {name: x}}]", f"a.yml:12:41: {CONTAINER}.envFrom[0].configMapRef.name: there is no ConfigMap `x` in namespace `default` of these files\n  hint: give its file too, with another -f"),
        ("      - {name: web, image: x}", "a.yml:12:16: spec.template.spec.containers[1].name: `web` is given twice; the first is at a.yml:10:15\n  hint: give each container its own name"),
        ("      volumes: [{name: a, hostPath: {path: /}}]", "a.yml:12:27: spec.template.spec.volumes[0].hostPath: is not possible: there is no node to share files with, and they would be gone with the machine\n  hint: use emptyDir for what need not last (for /dev/shm with medium: Memory), a PersistentVolumeClaim for what must, and a ConfigMap for files such as /etc/localtime"),
        ("      initContainers: [{name: web, image: x}]", "a.yml:10:15: spec.template.spec.containers[0].name: `web` is given twice; the first is at a.yml:12:31\n  hint: give each container its own name"),
        ("      restartPolicy: Never", "a.yml:12:22: spec.template.spec.restartPolicy: `Never` is not possible: containers of a deployment are restarted\n  hint: use Always"),
        ("      nodeSelector: {kubernetes.io/os: windows}", 'a.yml:12:40: spec.template.spec.nodeSelector."kubernetes.io/os": `windows` is not possible: machines run Linux'),
        ("      hostNetwrok: true", "a.yml:12:7: spec.template.spec.hostNetwrok: is not a known field\n  hint: did you mean `hostNetwork`?"),
        ("  paused: true", "a.yml:12:3: spec.paused: is not possible: a deploy is done when it returns\n  hint: leave it out"),
        ("  replicas: ${N}", "a.yml:12:13: spec.replicas: `${N}` is not rendered: `${N}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_deployment_is_one_message(rest: str, message: str) -> None:
    assert problem(POD + rest) == message


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("", "a.yml:6:3: spec: `selector` is missing\n  hint: write selector: {matchLabels: {app: web}}"),
        ("selector: {}", "a.yml:5:13: spec.selector: is empty and would select every pod\n  hint: write matchLabels: {app: NAME}"),
        ("selector: {matchLabels: {}}", "a.yml:5:13: spec.selector: is empty and would select every pod\n  hint: write matchLabels: {app: NAME}"),
        ("selector: {app: web}", "a.yml:5:14: spec.selector.app: is not a known field\n  hint: write matchLabels: {app: NAME}"),
        ("selector: {matchLabels: {app: wbe}}", "a.yml:5:27: spec.selector.matchLabels: selects app: wbe, but the template's labels have app: web\n  hint: write app: wbe into spec.template.metadata.labels too"),
        ("selector: {matchLabels: {tier: x}}", "a.yml:5:27: spec.selector.matchLabels: selects tier: x, but the template's labels have no label `tier`\n  hint: write tier: x into spec.template.metadata.labels too"),
        ("selector: {matchExpressions: [{key: app, operator: In, values: [a, web]}]}", None),
        ("selector: {matchExpressions: [{key: app, operator: Exists}]}", None),
        ("selector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}", "a.yml:5:33: spec.selector.matchExpressions[0]: is not met by the template's labels"),
        ("selector: {matchExpressions: [{key: x, operator: DoesNotExist}]}", None),
        ("selector: {matchExpressions: [{key: x, operator: Is}]}", "a.yml:5:52: spec.selector.matchExpressions[0].operator: `Is` is not known\n  hint: use In or NotIn or Exists or DoesNotExist"),
    ],
)  # fmt: skip
def test_the_selector_must_match_the_template(selector: str, message: str | None) -> None:
    text = POD.replace("selector: {matchLabels: {app: web}}", selector)
    assert problems(text) == ([message] if message else [])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("kind: Deployment", "a.yml:1:1: `apiVersion` is missing\n  hint: such as apiVersion: apps/v1"),
        ("apiVersion: v1", "a.yml:1:1: `kind` is missing\n  hint: such as kind: Deployment"),
        ("{apiVersion: v1, kind: Deployment}", "a.yml:1:14: apiVersion: `v1` is not an apiVersion of Deployment\n  hint: use apps/v1"),
        ("{apiVersion: 1, kind: Service}", "a.yml:1:14: apiVersion: must be text and is the number 1"),
        ("{apiVersion: v1, kind: [Pod]}", "a.yml:1:24: kind: must be text and is a list"),
        ("{apiVersion: v2, kind: Service}", "a.yml:1:14: apiVersion: `v2` is not an apiVersion of Service\n  hint: use v1"),
        ("{apiVersion: apps/v1, kind: deployment}", "a.yml:1:29: kind: `deployment` is not a known kind\n  hint: did you mean `Deployment`?"),
        ("{apiVersion: v1, kind: Banana}", "a.yml:1:24: kind: `Banana` is not a known kind\n  hint: i2kit deploys Deployments and Services"),
        ("{apiVersion: serving.knative.dev/v1, kind: Service}", "a.yml:1:44: kind: `Service` of serving.knative.dev is a custom resource, and there is no controller that would act on it\n  hint: leave this document out"),
        ("{apiVersion: apps/v1, kind: DaemonSet}", "a.yml:1:29: kind: DaemonSet is not possible: there are no nodes\n  hint: use a Deployment with replicas"),
        ("{apiVersion: v1, kind: ConfigMap}", "a.yml:1:1: `metadata` is missing"),
        ("{apiVersion: autoscaling/v3, kind: HorizontalPodAutoscaler}", "a.yml:1:14: apiVersion: `autoscaling/v3` is not an apiVersion of HorizontalPodAutoscaler\n  hint: use autoscaling/v2"),
        ("{apiVersion: v1, kind: List, items: [5]}", "a.yml:1:38: items: must be a document and is the number 5"),
        ("{apiVersion: v1, kind: Namespace}", "a.yml:1:1: there is no deployment here\n  hint: a manifest begins with name: and containers:"),
    ],
)  # fmt: skip
def test_other_documents(document: str, message: str) -> None:
    assert problem(document) == message


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("  ports: []", "b.yml:6:10: spec.ports: is an empty list\n  hint: a Service needs a port"),
        ("  ports: [{targetPort: 80}]", "b.yml:6:11: spec.ports[0]: `port` is missing\n  hint: such as port: 80"),
        ("  ports: [{port: 80, targetPort: '80'}]", 'b.yml:6:34: spec.ports[0].targetPort: "80" is a number in quotes\n  hint: remove the quotes: 80'),
        ("  ports: [{port: 80, targetPort: 0}]", "b.yml:6:34: spec.ports[0].targetPort: must be at least 1 and is 0"),
        ("  ports: [{port: 80, targetPort: web}]", "b.yml:6:34: spec.ports: deployment `web` has no port named `web`\n  hint: give the port's number"),
        ("  ports: [{port: 80}, {port: 81, name: b}]", "b.yml:6:11: spec.ports[0]: `name` is missing\n  hint: ports need names where there are several"),
        ("  ports: [{port: 80, name: a}, {port: 80, name: b}]", "b.yml:6:39: spec.ports[1].port: 80 is given twice; the first is at b.yml:6:18"),
        ("  ports: [{port: 80, name: a}, {port: 81, name: a}]", "b.yml:6:49: spec.ports[1].name: `a` is given twice; the first is at b.yml:6:28"),
        ("  ports: [{port: 80, nodePort: 30080}]", "b.yml:6:32: spec.ports[0].nodePort: is only for the types NodePort and LoadBalancer\n  hint: leave it out"),
        ("  type: NodePort\n  ports: [{port: 80, nodePort: 80}]", "b.yml:7:32: spec.ports[0].nodePort: must be at least 1024 and is 80\n  hint: ports below it are the system's; Kubernetes' own are 30000 to 32767"),
        ("  type: NodePort\n  ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]", "b.yml:7:79: spec.ports.nodePort: 30080 is given twice; the first is at b.yml:7:41\n  hint: leave one of them out"),
        ("  ports: [{port: 80}]\n  externalTrafficPolicy: Locall", "b.yml:7:26: spec.externalTrafficPolicy: `Locall` is not known\n  hint: did you mean `Local`?"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_service_is_one_message(rest: str, message: str) -> None:
    assert problem(POD, SERVICE + rest) == message


@pytest.mark.parametrize(
    ("note", "value", "public"),
    [
        ("service.beta.kubernetes.io/aws-load-balancer-internal", "true", False),
        ("service.beta.kubernetes.io/aws-load-balancer-internal", "0.0.0.0/0", False),
        ("service.beta.kubernetes.io/aws-load-balancer-internal", "false", True),
        ("service.beta.kubernetes.io/aws-load-balancer-scheme", "internal", False),
        ("service.beta.kubernetes.io/aws-load-balancer-scheme", "internet-facing", True),
        ("example.com/other", "x", True),
    ],
)
def test_a_load_balancer_that_is_meant_to_be_internal_is_not_made_public(
    note: str, value: str, public: bool
) -> None:
    text = SERVICE.replace("name: web}", f'name: web, annotations: {{{note}: "{value}"}}}}')
    text += "  ports: [{port: 80}]\n  type: LoadBalancer"
    (found,) = parse([("a.yml", POD.encode()), ("b.yml", text.encode())]).services
    assert found.public is public


def test_the_instance_type_that_a_pod_selects() -> None:
    for word in ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type"):
        text = POD + f"      nodeSelector: {{{word}: t4g.micro}}"
        assert parse([("a.yml", text.encode())]).workloads[0].instance_type == "t4g.micro"


@pytest.mark.parametrize("value", ["null", "[]", "{}", '""'])
def test_empty_values_are_not_refused(value: str) -> None:
    assert problems(POD + f"      resources: {value}\n      ephemeralContainers: {value}") == []


def test_input_error_carries_problems() -> None:
    with pytest.raises(InputError) as caught:
        parse([("a.yml", b"name: 5")])
    assert [problem.position for problem in caught.value.problems] == [
        Position("a.yml", 1, 1),
        Position("a.yml", 1, 7),
    ]


ACCOUNT = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: op, annotations: {%s: x}}}"
AS_OP = POD + "      serviceAccountName: op\n"


def test_a_role_of_aws_is_refused_and_other_clouds_are_warned_about() -> None:
    assert problem(AS_OP, ACCOUNT % "eks.amazonaws.com/role-arn") == (
        "a.yml:12:27: spec.template.spec.serviceAccountName: ServiceAccount `op` gives these pods the role `x`,"
        " and a machine cannot have it\n  hint: leave eks.amazonaws.com/role-arn out, and give them credentials"
        " in a Secret if they need any"
    )
    assert not problems(POD, ACCOUNT % "eks.amazonaws.com/role-arn")
    for note in ("iam.gke.io/gcp-service-account", "azure.workload.identity/client-id"):
        (warning,) = manifest(AS_OP, ACCOUNT % note).warnings
        assert warning.endswith("which has no effect: a machine is in no such cluster")


@pytest.mark.parametrize(
    "subject",
    [
        "kind: ServiceAccount, name: op",
        "kind: User, name: 'system:serviceaccount:default:op'",
        "kind: Group, name: 'system:serviceaccounts:default'",
        "kind: Group, name: 'system:serviceaccounts'",
    ],
)
@pytest.mark.parametrize("word", ["serviceAccount", "serviceAccountName"])
def test_rights_by_both_names(subject: str, word: str) -> None:
    binding = f"{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: b}}, subjects: [{{{subject}}}]}}"
    found = problem(POD + f"      {word}: op\n", binding)
    assert f"spec.template.spec.{word}: RoleBinding `b` lets these pods" in found


def test_rights_that_pods_cannot_use() -> None:
    binding = "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b}, subjects: [{kind: %s}]}"
    by_name, by_group = "ServiceAccount, name: op", "Group, name: 'system:serviceaccounts:%s'"
    assert not problems(AS_OP + "      automountServiceAccountToken: false\n", binding % by_name)
    assert problems(AS_OP, binding % by_name)
    assert not problems(AS_OP, binding % by_group % "other")
    tokenless = (
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s}, automountServiceAccountToken: false}"
    )
    assert not problems(AS_OP, binding % by_name, tokenless % "op")
    assert problems(AS_OP, binding % by_name, tokenless % "other")
    assert problems(AS_OP + "      automountServiceAccountToken: true\n", binding % by_name, tokenless % "op")


WINDOWS = "matchExpressions: [{key: kubernetes.io/os, operator: In, values: [windows]}]"
LINUX = "matchExpressions: [{key: kubernetes.io/os, operator: NotIn, values: [windows]}]"
ACCELERATED = "matchExpressions: [{key: cloud.google.com/gke-accelerator, operator: Exists}]"


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (
            f"{{{WINDOWS}}}",
            "a.yml:12:122: spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution: is not possible: machines run Linux\n  hint: leave it out, if the image is for Linux",
        ),
        (f"{{{WINDOWS.replace('In', 'NotIn').replace('windows', 'linux')}}}", "machines run Linux"),
        (f"{{{ACCELERATED}}}, {{{WINDOWS}}}", "the machine image has no driver for it"),
        (f"{{{LINUX}}}", None),
        (f"{{{WINDOWS}}}, {{{LINUX}}}", None),
        (f"{{{ACCELERATED.replace('Exists', 'DoesNotExist')}}}", None),
        ("{matchExpressions: [{key: disk, operator: In, values: [1]}, 2]}, 3", None),
    ],
)
def test_nodes_that_no_machine_could_be(terms: str, why: str | None) -> None:
    required = f"requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}"
    text = POD + f"      affinity: {{nodeAffinity: {{{required}}}}}\n"
    if why:
        assert why in problem(text)
    else:
        (warning,) = manifest(text).warnings
        assert warning.endswith("nodeAffinity: has no effect: there are no nodes to choose from")


def test_what_is_lost_with_nodes_is_told() -> None:
    text = POD + "      overhead: {cpu: 1}\n      setHostnameAsFQDN: true\n"
    assert [one.split(": ", 2)[1] for one in manifest(text).warnings] == [
        "spec.template.spec.overhead",
        "spec.template.spec.setHostnameAsFQDN",
    ]


@pytest.mark.parametrize(
    ("selector", "warned"),
    [
        ("kubernetes.io/arch: amd64", 0),
        ("beta.kubernetes.io/arch: arm64", 1),
        ("kubernetes.io/arch: arm64, node.kubernetes.io/instance-type: t4g.micro", 0),
    ],
)
def test_architectures(selector: str, warned: int) -> None:
    assert len(manifest(POD + f"      nodeSelector: {{{selector}}}\n").warnings) == warned


@pytest.mark.parametrize(
    ("image", "word"),
    [
        ("gcr.io/PROJECT_ID/app:v1", "PROJECT_ID"),
        ("REGION-docker.pkg.dev/PROJECT/app", "PROJECT"),
        ("Nginx", "Nginx"),
        ("localhost:5000/a/B:1", "B"),
    ],
)
def test_names_of_images_have_no_upper_case(image: str, word: str) -> None:
    assert f"`{image}` names no image: `{word}` has upper case" in problem(POD.replace("nginx:1.27", image))


@pytest.mark.parametrize("image", ["localhost:5000/a/b:V1", "Host.example/a", "a:V", "oci:./Folder:Name"])
def test_upper_case_where_it_may_be(image: str) -> None:
    assert not problems(POD.replace("nginx:1.27", image))


def test_kinds_that_look_like_kubernetes_own() -> None:
    route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}}"
    assert problem(POD, route) == (
        "b.yml:1:50: kind: `HTTPRoute` of gateway.networking.k8s.io is a custom resource, and there is no"
        " controller that would act on it\n  hint: write an Ingress"
    )
    for kind in (
        "policy/v1beta1, kind: PodSecurityPolicy",
        "node.k8s.io/v1, kind: RuntimeClass",
        "autoscaling.k8s.io/v1, kind: VerticalPodAutoscaler",
    ):
        assert len(manifest(POD, f"{{apiVersion: {kind}, metadata: {{name: a}}}}").warnings) == 1
