"""Variables that are fields of the pod: what stands in the image, what machines are told."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.image.template import arguments, own_environment
from i2kit.model import Container, Exec, ImageConfig, Probe, Resources, told_facts
from tests.manifest.reading import POD, manifest, problem

FIELDS = """\
        command: [run, $(IP):80, $$(IP), $(LATER)]
        resources: {requests: {cpu: 0, memory: 100Mi}, limits: {cpu: 1500m}}
        env:
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: IP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}
        - {name: URL, value: http://$(IP):80/$(NS)}
        - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
        - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['example.com/note']"}}}
        - {name: NONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['none']"}}}
        - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
        - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        - {name: ASKED, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}
        - {name: MEMORY, valueFrom: {resourceFieldRef: {containerName: web, resource: requests.memory, divisor: 1Mi}}}
        - {name: LATER, value: x}
"""
NOTED = POD.replace(
    "metadata: {labels: {app: web}}",
    'metadata: {labels: {app: web}, annotations: {example.com/note: "a = \\"b\\"\\n%"}}',
)


def test_fields_are_words_in_the_image_and_told_to_machines() -> None:
    found = manifest(NOTED + FIELDS)
    (workload,) = found.workloads
    (container,) = workload.containers
    assert not found.warnings
    assert dict(own_environment(container)) == {
        "NAME": "$(i2kit:metadata.name)",
        "IP": "$(i2kit:status.podIP)",
        "URL": "http://$(i2kit:status.podIP):80/$(NS)",
        "NS": "$(i2kit:metadata.namespace)",
        "APP": "$(i2kit:metadata.labels%5B%27app%27%5D)",
        "NOTE": "$(i2kit:metadata.annotations%5B%27example.com/note%27%5D)",
        "NONE": "$(i2kit:metadata.labels%5B%27none%27%5D)",
        "ACCOUNT": "$(i2kit:spec.serviceAccountName)",
        "CPUS": "2",
        "ASKED": "0",
        "MEMORY": "100",
        "LATER": "x",
    }
    assert arguments(container, ImageConfig()) == ["run", "$(i2kit:status.podIP):80", "$(IP)", "x"]
    assert container.resources == Resources(0, 1500, 100 << 20, None)
    assert told_facts(workload.facts) == [
        "fact=metadata.annotations%5B%27example.com/note%27%5D=a%20%3D%20%22b%22%0A%25",
        "fact=metadata.labels%5B%27app%27%5D=web",
        "fact=metadata.labels%5B%27none%27%5D=",
        "fact=metadata.namespace=default",
        "fact=spec.serviceAccountName=default",
    ]


def test_in_a_probes_command_a_field_is_empty_as_in_kubernetes() -> None:
    probe = "        livenessProbe: {exec: {command: [-$(NO)$(IP)$(LATER)]}}\n"
    (container,) = manifest(NOTED + FIELDS + probe).workloads[0].containers
    assert container.liveness == Probe(Exec(("-$(NO)x",)))


def test_the_image_does_not_depend_on_what_fields_say() -> None:
    def containers(text: str) -> tuple[Container, ...]:
        return manifest(text).workloads[0].containers

    other = (
        (NOTED + FIELDS).replace("{name: web}", "{name: shop, namespace: b}").replace("app: web", "app: b")
    )
    assert manifest(other).workloads[0].facts != manifest(NOTED + FIELDS).workloads[0].facts
    assert containers(other) == containers(NOTED + FIELDS)


def test_the_hosts_address_is_the_machines_own_which_is_said() -> None:
    found = manifest(POD + "        env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]\n")
    assert found.warnings == (
        "a.yml:12:59: spec.template.spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: is the machine's"
        " own address: there is no node, and nothing that answers on one",
    )


def test_what_is_written_to_disk_has_no_size_of_its_own_which_is_said() -> None:
    text = (
        POD
        + "        resources: {requests: {ephemeral-storage: 1Gi}, limits: {ephemeral-storage: 2Gi, cpu: 0, memory: 0}}\n"
    )
    found = manifest(text)
    assert found.workloads[0].containers[0].resources == Resources()
    assert len(found.warnings) == 2
    assert (
        "ephemeral-storage: has no effect: what containers write is in the machine's memory"
        in found.warnings[0]
    )


@pytest.mark.parametrize(
    ("value_from", "message"),
    [
        ("fieldRef: {fieldPath: metadata.labels}", "fieldRef.fieldPath: `metadata.labels` is not a field of a pod"),
        ("fieldRef: {fieldPath: \"metadata.labels['a b']\"}", "is not a field of a pod that a variable can have"),
        ("fieldRef: {}", "valueFrom.fieldRef: `fieldPath` is missing"),
        ("resourceFieldRef: {resource: limits.cpu}", "the container has no limits.cpu, and the size of its machine"),
        ("resourceFieldRef: {resource: limits.ephemeral-storage}", "the container has no limits.ephemeral-storage"),
        ("resourceFieldRef: {resource: requests.cpu, containerName: gone}", "this pod has no container `gone`"),
    ],
)  # fmt: skip
def test_what_is_no_field_is_said(value_from: str, message: str) -> None:
    assert message in problem(f"{POD}        env: [{{name: A, valueFrom: {{{value_from}}}}}]\n")


def test_lines_of_the_hosts_file() -> None:
    aliases = "      hostAliases: [{ip: 192.0.2.1, hostnames: [a, b.example]}, {ip: '::1'}, {ip: '::2', hostnames: [c]}]\n"
    assert manifest(POD + aliases).workloads[0].hosts == (("192.0.2.1", "a b.example"), ("::2", "c"))
    assert problem(POD + "      hostAliases: [{ip: 192.0.2.300, hostnames: [a]}]\n") == (
        "a.yml:12:26: spec.template.spec.hostAliases[0].ip: `192.0.2.300` is not an IP address\n"
        "  hint: such as 192.0.2.1"
    )
    assert "hostnames[0]" in problem(POD + "      hostAliases: [{ip: 192.0.2.3, hostnames: ['a b']}]\n")


def test_a_variable_has_one_value() -> None:
    text = "        env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n"
    assert "valueFrom: cannot be beside `value`" in problem(POD + text)
