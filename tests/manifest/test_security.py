"""securityContext: what it means in both forms, and what each mistake is told as."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.model import Pairs, Security
from tests.manifest.reading import POD, manifest, problem, problems

NATIVE = "name: web\ncontainers:\n  web:\n    image: nginx\n"


def security(own: str, of_pod: str = "{}") -> tuple[Security, Pairs]:
    """What a container and its pod's settings come to, the same in both forms."""
    theirs = f"{POD}        securityContext: {own}\n      securityContext: {of_pod}\n"
    ours = f"{NATIVE}    securityContext: {own}\nsecurityContext: {of_pod}\n"
    found = []
    for text in (theirs, ours):
        read = manifest(text)
        assert read.warnings == ()
        (workload,) = read.workloads
        found.append((workload.containers[0].security, workload.sysctls))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("own", "of_pod", "expected"),
    [
        ("{}", "{}", Security()),
        ("null", "{runAsUser: null, seccompProfile: null}", Security()),
        ("{runAsUser: 0, runAsGroup: 3000}", "{}", Security(user=0, group=3000)),
        ("{}", "{runAsUser: 1000, runAsNonRoot: true}", Security(user=1000, non_root=True)),
        ("{runAsUser: 5, runAsNonRoot: false}", "{runAsUser: 0, runAsGroup: 7, runAsNonRoot: true}", Security(user=5, group=7)),
        ("{runAsUser: 1}", "{runAsUser: 0}", Security(user=1)),
        ("{}", "{fsGroup: 2000, supplementalGroups: [4000, 1], supplementalGroupsPolicy: Strict, fsGroupChangePolicy: Always}",
         Security(groups=(4000, 1), fs_group=2000, strict_groups=True)),
        ("{readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}", "{}", Security(readonly_root=True, no_new_privileges=True)),
        ("{readOnlyRootFilesystem: false, allowPrivilegeEscalation: true, privileged: false, procMount: Default}", "{}", Security()),
        ("{capabilities: {drop: [all], add: [NET_BIND_SERVICE, CAP_CHOWN, cap_net_bind_service]}}", "{}",
         Security(add=("CAP_CHOWN", "CAP_NET_BIND_SERVICE"), drop=("ALL",))),
        ("{privileged: true, allowPrivilegeEscalation: true}", "{}", Security(privileged=True)),
        ("{capabilities: {add: [SYS_ADMIN]}, allowPrivilegeEscalation: false}", "{}", Security(add=("CAP_SYS_ADMIN",), no_new_privileges=True)),
        ("{procMount: Unmasked}", "{seccompProfile: {type: Unconfined}}", Security(unmasked=True, unconfined=True)),
        ("{seccompProfile: {type: RuntimeDefault}}", "{seccompProfile: {type: Unconfined}}", Security()),
        ("{seccompProfile: {type: Unconfined}}", "{seccompProfile: {type: RuntimeDefault}}", Security(unconfined=True)),
    ],
)  # fmt: skip
def test_a_container_goes_before_its_pod(own: str, of_pod: str, expected: Security) -> None:
    assert security(own, of_pod) == (expected, ())


def test_sysctls_are_paths() -> None:
    """The first separator parts the name, as for sysctl(8): a device's own dot stays."""
    names = "[{name: net.core.somaxconn, value: '1024'}, {name: net/ipv4/conf/eth0.100/forwarding, value: '1'}, {name: kernel.sem, value: '32000 1024000000 500 32000'}]"
    assert security("{}", f"{{sysctls: {names}}}")[1] == (
        ("net/core/somaxconn", "1024"),
        ("net/ipv4/conf/eth0.100/forwarding", "1"),
        ("kernel/sem", "32000 1024000000 500 32000"),
    )


def test_what_has_no_meaning_here_is_warned_about() -> None:
    text = f"{POD}        securityContext: {{seLinuxOptions: {{level: x}}, appArmorProfile: {{type: RuntimeDefault}}}}"
    assert [warning.rpartition("securityContext.")[2] for warning in manifest(text).warnings] == [
        "seLinuxOptions: has no effect: the machine runs no SELinux",
        "appArmorProfile: has no effect: the machine runs no AppArmor",
    ]


OWN = "spec.template.spec.containers[0].securityContext"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{runAsUser: -1}", f"12:38: {OWN}.runAsUser: must be at least 0 and is -1"),
        ("{runAsUser: 2147483648}", f"12:38: {OWN}.runAsUser: must be at most 2147483647 and is 2147483648"),
        ("{runAsUser: '1000'}", f"12:38: {OWN}.runAsUser: must be a whole number and is the text `1000`\n  hint: remove the quotes: 1000"),
        ("{runAsUser: nginx}", f"12:38: {OWN}.runAsUser: must be a whole number and is the text `nginx`"),
        ("{runAsNonRoot: 'true'}", f"12:41: {OWN}.runAsNonRoot: must be true or false and is the text `true`"),
        ("{runAsUser: 0, runAsNonRoot: true}", f"12:38: {OWN}.runAsUser: 0 is root, and runAsNonRoot at a.yml:12:55 forbids it\n  hint: use another user, such as 1000"),
        ("{privileged: true, allowPrivilegeEscalation: false}", f"12:71: {OWN}.allowPrivilegeEscalation: `false` contradicts `privileged: true` at a.yml:12:39\n  hint: remove one of them"),
        ("{capabilities: {add: [CAP_SYS_ADMIN]}, allowPrivilegeEscalation: false}", f"12:91: {OWN}.allowPrivilegeEscalation: `false` contradicts CAP_SYS_ADMIN at a.yml:12:47\n  hint: remove one of them"),
        ("{capabilities: {add: [NET_ADMN]}}", f"12:48: {OWN}.capabilities.add[0]: `NET_ADMN` is not a capability\n  hint: did you mean `NET_ADMIN`?"),
        ("{capabilities: {drop: [CAP_ALL]}}", f"12:49: {OWN}.capabilities.drop[0]: `CAP_ALL` is not a capability\n  hint: did you mean `ALL`?"),
        ("{capabilities: {drop: [ALL, '']}}", f"12:54: {OWN}.capabilities.drop[1]: `` is not a capability\n  hint: such as NET_ADMIN; capabilities(7) lists all"),
        ("{capabilities: [ALL]}", f"12:41: {OWN}.capabilities: must be a mapping and is a list"),
        ("{seccompProfile: {}}", f"12:43: {OWN}.seccompProfile: `type` is missing\n  hint: write type: RuntimeDefault"),
        ("{seccompProfile: {type: unconfined}}", f"12:50: {OWN}.seccompProfile.type: `unconfined` is not known\n  hint: did you mean `Unconfined`?"),
        ("{procMount: unmasked}", f"12:38: {OWN}.procMount: `unmasked` is not known\n  hint: did you mean `Unmasked`?"),
        ("{windowsOptions: {runAsUserName: x}}", f"12:27: {OWN}.windowsOptions: is not possible: machines run Linux"),
        ("{fsGroup: 5}", f"12:27: {OWN}.fsGroup: is not a known field"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_container(text: str, message: str) -> None:
    assert problem(POD + f"        securityContext: {text}").startswith(f"a.yml:{message}")


SHARED = "spec.template.spec.securityContext"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{runAsUser: 0, runAsNonRoot: true}", f"14:36: {SHARED}.runAsUser: 0 is root, and runAsNonRoot at a.yml:14:53 forbids it\n  hint: use another user, such as 1000"),
        ("{supplementalGroups: [a]}", f"14:46: {SHARED}.supplementalGroups[0]: must be a whole number and is the text `a`"),
        ("{supplementalGroupsPolicy: strict}", f"14:51: {SHARED}.supplementalGroupsPolicy: `strict` is not known\n  hint: did you mean `Strict`?"),
        ("{privileged: true}", f"14:25: {SHARED}.privileged: is not a known field"),
        ("{sysctls: [{name: vm.max_map_count, value: '262144'}]}", f"14:42: {SHARED}.sysctls[0].name: `vm.max_map_count` is not a pod's to set: to Kubernetes it is the whole node's\n  hint: a container with privileged: true can set it, since its machine is its own"),
        ("{sysctls: [{name: kernel/panic, value: '1'}]}", f"14:42: {SHARED}.sysctls[0].name: `kernel/panic` is not a pod's to set"),
        ("{sysctls: [{name: net/../vm/swappiness, value: '1'}]}", f"14:42: {SHARED}.sysctls[0].name: `net/../vm/swappiness` is not the name of a sysctl\n  hint: such as net.core.somaxconn"),
        ("{sysctls: [{name: net.core.somaxconn, value: 1024}]}", f'14:69: {SHARED}.sysctls[0].value: must be text and is the number 1024 to YAML\n  hint: put it in quotes: "1024"'),
        ('{sysctls: [{name: net.core.somaxconn, value: "1\\nprobe=x"}]}', f"14:69: {SHARED}.sysctls[0].value: contains a line break or another control character"),
        ("{sysctls: [{name: net.core.somaxconn}]}", f"14:35: {SHARED}.sysctls[0]: `value` is missing"),
        ("{sysctls: [{name: net.a.b, value: v}, {name: net/a/b, value: w}]}", f"14:69: {SHARED}.sysctls[1].name: `net/a/b` is given twice; the first is at a.yml:14:42\n  hint: remove one of them"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_pod_is_told_once(text: str, message: str) -> None:
    pod = POD + "      - name: two\n        image: x\n" + f"      securityContext: {text}"
    assert problem(pod).startswith(f"a.yml:{message}")


def test_a_container_is_root_only_with_both_words() -> None:
    text = (
        POD
        + "        securityContext: {runAsUser: 0}\n      securityContext: {runAsUser: 5, runAsNonRoot: true}"
    )
    assert problems(text) == [
        f"a.yml:12:38: {OWN}.runAsUser: 0 is root, and runAsNonRoot at a.yml:13:53 forbids it\n"
        "  hint: use another user, such as 1000"
    ]
    assert problems(text.replace("{runAsUser: 0}", "{runAsUser: 0, runAsNonRoot: false}")) == []


def test_a_profile_of_a_node_is_that_of_the_runtime_with_a_warning() -> None:
    found = manifest(
        POD + "        securityContext: {seccompProfile: {type: Localhost, localhostProfile: a}}"
    )
    (warning,) = found.warnings
    assert warning.endswith("so RuntimeDefault is used")
    assert not found.workloads[0].containers[0].security.unconfined
