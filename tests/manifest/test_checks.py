"""What only shows across documents."""

from tests.manifest.reading import POD, SERVICE, manifest, problem, problems

PORTS = "  ports: [{port: 80}]\n"
NATIVE = "name: web\ncontainers: {web: {image: nginx}}\n"


def test_a_deployment_twice() -> None:
    assert problem(POD, NATIVE) == (
        "b.yml:1:7: the deployment `default/web` is given twice; the first is at a.yml:3:18\n"
        "  hint: remove one of them, or give one file only"
    )


def test_the_same_name_in_two_namespaces_is_two() -> None:
    assert len(manifest(NATIVE, NATIVE + "namespace: shop\n").workloads) == 2


def test_a_service_twice() -> None:
    assert problem(NATIVE, SERVICE + PORTS, SERVICE + PORTS) == (
        "c.yml:3:18: the service `default/web` is given twice; the first is at b.yml:3:18\n"
        "  hint: remove one of them, or give one file only"
    )


def test_a_service_that_selects_nothing() -> None:
    assert problem(POD.replace("app: web", "app: site"), SERVICE + PORTS) == (
        "b.yml:5:13: spec.selector: service `web`: no deployment here has pods with app: web\n"
        "  hint: deployment `web` has app: site"
    )
    assert problem(NATIVE + "namespace: shop", SERVICE + PORTS).endswith(
        "hint: deployment `web` has, but in namespace `shop`"
    )
    assert problem(SERVICE + PORTS).endswith("hint: give the deployment's file too, with another -f")


def test_what_could_not_be_read_is_not_missed_by_a_service() -> None:
    stateful = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: web}\nspec: {template: {}}\n"
    for other in ("name: [", stateful, POD.replace("labels: {app: web}", "labels: {app: 5}")):
        assert not any("no deployment here" in line for line in problems(other, SERVICE + PORTS))


def test_a_service_without_a_selector() -> None:
    text = SERVICE.replace("  selector: {app: web}\n", "")
    assert problem(POD, text + PORTS) == (
        "b.yml:5:3: spec: has no selector, so nothing would answer\n"
        "  hint: write selector: with the pods' labels"
    )


def test_named_ports_are_looked_up_in_every_pod_selected() -> None:
    service = SERVICE + "  ports: [{port: 80, targetPort: http}]\n"
    named = POD + "        ports: [{containerPort: 80, name: http}]\n"
    other = POD.replace("metadata: {name: web}", "metadata: {name: two}") + (
        "        ports: [{containerPort: 80, name: www}]\n"
    )
    assert problems(named, service) == []
    assert problem(named, other, service) == (
        "c.yml:6:34: spec.ports: deployment `two` has no port named `http`\n  hint: its named ports: www"
    )


def test_pods_that_use_the_kubernetes_api() -> None:
    binding = """
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata: {name: reader}
        roleRef: {kind: Role, name: reader}
        subjects: [{kind: ServiceAccount, name: robot}]
        """
    assert problem(binding, POD + "      serviceAccountName: robot") == (
        "b.yml:12:27: spec.template.spec.serviceAccountName: "
        "RoleBinding `reader` lets these pods use the Kubernetes API, and a machine has none\n"
        "  hint: leave the binding out if they can do without"
    )
    assert problems(binding, POD + "      serviceAccountName: human") == []
    assert problems(binding, POD) == []
