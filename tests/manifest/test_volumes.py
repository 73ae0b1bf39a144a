"""Volumes, mounts, claims, init containers, hooks, names: what they mean, and what each mistake is told as."""

# ruff: noqa: E501 (a line is a case)

from pathlib import Path

import pytest

from i2kit.manifest import check
from i2kit.model import (
    Claim,
    Container,
    Dns,
    Exec,
    File,
    Files,
    HttpGet,
    Mount,
    Port,
    Resources,
    Scratch,
    SecretKey,
    Sleep,
    Volume,
    Workload,
)
from tests.manifest.reading import POD, manifest, problem, problems
from tests.manifest.test_config import MAP, SECRET

CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: gp3, resources: {requests: {storage: 10Gi}}}
"""
MOUNT = "        volumeMounts: [{name: a, mountPath: /data}]\n"
ALL = """\
        volumeMounts:
        - {name: conf, mountPath: /etc/conf, readOnly: true}
        - {name: conf, mountPath: /etc/one.conf, subPath: one.conf}
        - {name: data, mountPath: /data/}
        - {name: tmp, mountPath: tmp, subPathExpr: $(NS)-$(A)}
        env:
        - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: A, value: a}
      volumes:
      - {name: conf, configMap: {name: web, items: [{key: url, path: sub/one.conf, mode: 0600}], defaultMode: 0640}}
      - {name: all, configMap: {name: web}}
      - {name: keys, secret: {secretName: db, defaultMode: 0400}}
      - {name: me, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: name, mode: 0444, fieldRef: {fieldPath: metadata.name}}]}}
      - name: mixed
        projected:
          defaultMode: 256
          sources:
          - configMap: {name: web, items: [{key: A, path: a}]}
          - secret: {name: db, items: [{key: user, path: a}, {key: user, path: b}]}
          - downwardAPI: {items: [{path: c, resourceFieldRef: {containerName: web, resource: requests.cpu}}]}
          - configMap: {name: gone, optional: true}
      - {name: tmp}
      - {name: mem, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
      - {name: data, persistentVolumeClaim: {claimName: data}}
"""


def test_every_kind_of_volume() -> None:
    found = manifest(POD + ALL, f"{MAP}---\n{CLAIM}", SECRET)
    (workload,) = found.workloads
    assert workload.volumes == (
        Volume("conf", Files((File("sub/one.conf", 0o600, b"http://$(A)$$"),))),
        Volume(
            "all",
            Files(
                (
                    File("A", data=b"a"),
                    File("url", data=b"http://$(A)$$"),
                    File("9lives", data=b"x"),
                    File("blob", data=b"\0\xff"),
                )
            ),
        ),
        Volume(
            "keys",
            Files(
                (
                    File("password", 0o400, secret=SecretKey("db", "password")),
                    File("user", 0o400, secret=SecretKey("db", "user")),
                )
            ),
        ),
        Volume(
            "me",
            Files(
                (
                    File("labels", text="$(i2kit:metadata.labels)"),
                    File("name", 0o444, text="$(i2kit:metadata.name)"),
                )
            ),
        ),
        Volume(
            "mixed",
            Files(
                (
                    File("a", 0o400, secret=SecretKey("db", "user")),
                    File("b", 0o400, secret=SecretKey("db", "user")),
                    File("c", 0o400, text="0"),
                )
            ),
        ),
        Volume("tmp", Scratch()),
        Volume("mem", Scratch(memory=True, limit_bytes=64 << 20)),
        Volume("data", Claim("data", 10 << 30, kind="gp3")),
    )
    assert workload.containers[0].mounts == (
        Mount("conf", "/etc/conf", read_only=True),
        Mount("conf", "/etc/one.conf", "one.conf"),
        Mount("data", "/data"),
        Mount("tmp", "/tmp", "$(i2kit:metadata.namespace)-a"),
    )
    assert workload.secrets == (SecretKey("db", "password"), SecretKey("db", "user"))
    assert dict(workload.facts)["metadata.labels"] == 'app="web"'
    assert [(one.key, one.value) for one in found.secrets] == [("password", b"hunter2"), ("user", b"admin")]
    assert workload.volumes_memory_bytes == 64 << 20


def test_the_i2kit_manifest_has_the_same_volumes() -> None:
    text = """\
    name: web
    containers:
      web: {image: nginx, volumeMounts: [{name: data, mountPath: /data}, {name: conf, mountPath: /conf}]}
    initContainers:
      log: {image: busybox, restartPolicy: Always, ports: [514]}
      first: {image: busybox, command: [echo]}
    volumes:
      data: {claim: {size: 1Gi}}
      named: {claim: {size: 1Gi, name: disk, storageClassName: gp3}}
      conf: {configMap: {name: web, items: [{key: A, path: a}]}}
      tmp: {}
    imagePullSecrets: [{name: db}]
    """
    found = manifest(text, MAP, SECRET)
    (workload,) = found.workloads
    assert workload.volumes == (
        Volume("data", Claim("web-data", 1 << 30)),
        Volume("named", Claim("disk", 1 << 30, kind="gp3")),
        Volume("conf", Files((File("a", data=b"a"),))),
        Volume("tmp", Scratch()),
    )
    assert [(one.name, one.sidecar) for one in workload.init] == [("log", True), ("first", False)]
    assert workload.ports == (Port(514),)
    assert workload.logins == ("db",)
    assert found.warnings == (
        "b.yml:12:27: imagePullSecrets[0].name: Secret `db` has no .dockerconfigjson: what docker login left is used".replace(
            "b.yml", "a.yml"
        ),
    )


def volume(text: str) -> str:
    return f"{POD}{MOUNT}      volumes: [{{name: a, {text}}}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POD + MOUNT, "volumeMounts[0].name: the pod has no volume `a`\n  hint: declare it in volumes:"),
        (
            volume("hostPath: {path: /etc/localtime}"),
            "volumes[0].hostPath: is not possible: there is no node",
        ),
        (
            volume("nfs: {server: a, path: /}"),
            "volumes[0].nfs: is not supported: its data and its driver are outside",
        ),
        (
            volume("awsElasticBlockStore: {volumeID: a}"),
            "is not supported yet: a cloud's disk is given by a PersistentVolume",
        ),
        (volume("ephemeral: {volumeClaimTemplate: {}}"), "volumes[0].ephemeral: is not supported"),
        (
            volume("emptyDir: {medium: HugePages-2Mi}"),
            "`HugePages-2Mi` is not possible: machines have no huge pages",
        ),
        (
            volume("emptyDir: {}, configMap: {name: web}"),
            "volumes[0]: is 2 volumes at once: emptyDir, configMap",
        ),
        (
            volume("configMap: {name: web, defaultMode: 644}"),
            "must be at most 511 and is 644\n  hint: permissions are octal",
        ),
        (volume("configMap: {name: web, items: [{key: A, path: ../a}]}"), "`../a` begins with `..`"),
        (volume("configMap: {name: web, items: [{key: A, path: a/../b}]}"), "`a/../b` leads up with `..`"),
        (volume("configMap: {name: web, items: [{key: A, path: /a}]}"), "`/a` begins with `/`"),
        (
            volume("configMap: {name: web, items: [{key: none, path: a}]}"),
            "ConfigMap `web` has no key `none`",
        ),
        (volume("configMap: {name: none}"), "there is no ConfigMap `none` in namespace `default`"),
        (
            volume("secret: {secretName: none}"),
            "Secret `none` is in none of these files\n  hint: give it with --secret none=FILE",
        ),
        (
            volume("projected: {sources: [{serviceAccountToken: {path: a}}]}"),
            "serviceAccountToken: is not possible: there is no Kubernetes API",
        ),
        (
            volume("downwardAPI: {items: [{path: a, fieldRef: {fieldPath: status.podIP}}]}"),
            "`status.podIP` is not a field of a pod that a file can have",
        ),
        (
            volume("downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}"),
            "`containerName` is missing",
        ),
        (volume("downwardAPI: {items: [{path: a}]}"), "items[0]: has no field"),
        (
            volume("persistentVolumeClaim: {claimName: dat}"),
            "there is no PersistentVolumeClaim `dat` in namespace `default` of these files\n  hint: did you mean `data`?",
        ),
        (
            volume("persistentVolumeClaim: {claimName: data}").replace(
                "spec:\n", "spec:\n  replicas: 2\n", 1
            ),
            "claim `data` would be in 2 machines",
        ),
        (volume("emptyDir: {}").replace("/data", "/"), "`/` would hide all of the image"),
        (volume("emptyDir: {}").replace("/data", "/a/../b"), "`/a/../b` leads up with `..`"),
        (
            volume("emptyDir: {}").replace("/data", "/data, mountPropagation: Bidirectional"),
            "`Bidirectional` is not possible",
        ),
        (volume("emptyDir: {}").replace("/data", "/data, subPath: ../a"), "`../a` leads up with `..`"),
        (
            volume("emptyDir: {}").replace("/data", "/data, subPathExpr: $(NONE)"),
            "there is no variable for `$(NONE)`",
        ),
        (
            volume("emptyDir: {}").replace("/data", "/data, recursiveReadOnly: Enabled"),
            "recursiveReadOnly: needs readOnly: true",
        ),
        (
            volume("emptyDir: {}").replace("/data}", "/data}, {name: a, mountPath: /data/}"),
            "volumeMounts[1].mountPath: `/data` is taken already, at a.yml:12:45",
        ),
        (
            volume("emptyDir: {}").replace("volumes: [", "volumes: [{name: a}, "),
            "volumes[1].name: `a` is given twice; the first is at a.yml:13:24",
        ),
        (
            POD + "      initContainers: [{name: a, image: x, readinessProbe: {exec: {command: [a]}}}]\n",
            "readinessProbe: is only for containers that run on, and this one has to end",
        ),
        (
            POD + "      initContainers: [{name: a, image: x, restartPolicy: Never}]\n",
            "`Never` is not possible: the pod decides",
        ),
        (
            POD + "        lifecycle: {preStop: {tcpSocket: {port: 1}}}\n",
            "lifecycle.preStop.tcpSocket: is not possible",
        ),
        (POD + "        lifecycle: {preStop: {}}\n", "lifecycle.preStop: does nothing"),
        (
            POD + "        lifecycle: {preStop: {sleep: {seconds: 31}}}\n",
            "must be at most terminationGracePeriodSeconds (30) and is 31",
        ),
        (POD + "        lifecycle: {stopSignal: SIGX}\n", "lifecycle.stopSignal: `SIGX` is not a signal"),
        (POD + "      dnsPolicy: None\n", "dnsPolicy: `None` needs a server to ask"),
        (
            POD + "      dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}\n",
            "nameservers: has 4 items and may have 3",
        ),
        (
            POD + "      hostPID: true\n      shareProcessNamespace: true\n",
            "shareProcessNamespace: cannot be beside hostPID",
        ),
        (
            f"{POD}---\n{CLAIM}".replace("ReadWriteOnce", "ReadWriteMany").replace(
                "name: data", "name: other"
            ),
            "`ReadWriteMany` is not possible: a disk is in one machine at a time",
        ),
        (
            volume("persistentVolumeClaim: {claimName: pv}")
            + "---\n"
            + CLAIM.replace("data}", "pv}").replace("{access", "{volumeName: v, access"),
            "spec.volumeName: there is no PersistentVolume `v` in these files",
        ),
    ],
)
def test_one_mistake_is_one_message(text: str, message: str) -> None:
    assert message in problem(text, MAP, CLAIM)


def test_a_disk_is_in_one_machine() -> None:
    one = volume("persistentVolumeClaim: {claimName: data}")
    other = one.replace("metadata: {name: web}", "metadata: {name: other}")
    assert "claim `data` is used already, at a.yml:13:62, and a disk is in one machine" in problem(
        one, other, CLAIM
    )
    scaler = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 100m}}}]}\n"
    assert "claim `data` would be in 3 machines" in problem(one + scaler, CLAIM)


def test_a_claim_that_is_read_only_is_for_all_mounts() -> None:
    text = volume("persistentVolumeClaim: {claimName: data, readOnly: true}")
    (container,) = manifest(text, CLAIM).workloads[0].containers
    assert container.mounts == (Mount("a", "/data", read_only=True),)


def test_all_that_is_missing_of_one_map_is_told_once() -> None:
    text = volume("configMap: {name: none, items: [{key: a, path: a}, {key: b, path: b}]}")
    assert (
        len(problems(text + "      - {name: b, configMap: {name: none}}\n".replace("      - ", "      # ")))
        == 1
    )


def test_a_path_never_has_the_value_of_a_secret_in_it() -> None:
    variable = "        env: [{name: P, valueFrom: {secretKeyRef: {name: db, key: user}}}]\n"
    text = (
        POD
        + variable
        + volume("emptyDir: {}").removeprefix(POD).replace("/data", "/data, subPathExpr: a-$(P)")
    )
    assert "subPathExpr: has the value of a Secret in it" in problem(text, SECRET)


def test_init_containers_hooks_and_names() -> None:
    text = (
        POD
        + """\
        lifecycle:
          postStart: {exec: {command: [touch, /ready]}}
          preStop: {httpGet: {port: http, path: bye}}
        ports: [{containerPort: 80, name: http}]
      initContainers:
      - {name: wait, image: busybox, command: [sleep, "1"], securityContext: {runAsUser: 5}}
      - {name: log, image: busybox, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 5}}}, ports: [{containerPort: 514}]}
      hostname: fixed
      subdomain: web
      dnsPolicy: None
      dnsConfig: {nameservers: [192.0.2.1], searches: [a.example, .], options: [{name: ndots, value: "2"}, {name: edns0}]}
      shareProcessNamespace: true
"""
    )
    (workload,) = manifest(text).workloads
    wait, log = workload.init
    (web,) = workload.containers
    assert (wait.sidecar, wait.security.user, wait.command) == (False, 5, ("sleep", "1"))
    assert (log.sidecar, log.pre_stop) == (True, Sleep(5))
    assert web.post_start == Exec(("touch", "/ready"))
    assert web.pre_stop == HttpGet(80, "/bye")
    assert workload.ports == (Port(514), Port(80, "http"))
    assert (workload.hostname, workload.subdomain, workload.shared_processes) == ("fixed", "web", True)
    assert workload.dns == Dns(("192.0.2.1",), ("a.example", "."), ("ndots:2", "edns0"), only=True)


def test_a_sidecars_port_is_taken_and_that_of_one_that_ends_is_free() -> None:
    text = (
        POD
        + "        ports: [{containerPort: 80}]\n      initContainers: [{name: a, image: x, ports: [{containerPort: 80}]}]\n"
    )
    assert problems(text) == []
    assert "port 80 is taken already by container `a`" in problem(
        text.replace("image: x", "image: x, restartPolicy: Always")
    )


def needs(*amounts: tuple[int, str]) -> int:
    """The most of a pod whose containers ask for so much: `i` ends first, `s` is a sidecar, `c` runs."""

    def container(index: int, amount: int, sidecar: bool) -> Container:
        return Container(f"c{index}", "x", resources=Resources(memory_request_bytes=amount), sidecar=sidecar)

    made = [(container(index, amount, kind == "s"), kind) for index, (amount, kind) in enumerate(amounts)]
    workload = Workload(
        "w",
        tuple(one for one, kind in made if kind == "c"),
        init=tuple(one for one, kind in made if kind != "c"),
    )
    return workload.most(lambda one: one.resources.memory_request_bytes or 0)


def test_what_is_needed_at_a_time() -> None:
    assert needs((5, "c"), (6, "c")) == 11
    assert needs((20, "i"), (5, "c")) == 20
    assert needs((8, "i"), (2, "s"), (9, "i"), (8, "c")) == 11
    assert needs((2, "s"), (8, "c"), (3, "c")) == 13


def test_what_containers_may_write_limits_an_empty_dir() -> None:
    text = volume("emptyDir: {}").replace(
        "nginx:1.27\n", "nginx:1.27\n        resources: {limits: {ephemeral-storage: 1Gi}}\n"
    )
    found = manifest(text)
    assert found.workloads[0].volumes == (Volume("a", Scratch(limit_bytes=1 << 30)),)
    assert found.warnings == ()


def test_registries_are_logged_in_to(tmp_path: Path) -> None:
    login = "apiVersion: v1\nkind: Secret\nmetadata: {name: reg}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{\"auths\": {}}'}\n"
    found = manifest(POD + "      imagePullSecrets: [{name: reg}, {name: none}]\n", login)
    assert found.workloads[0].logins == ("reg", "none")
    assert found.workloads[0].secrets == ()
    assert [(one.key, one.value) for one in found.secrets] == [(".dockerconfigjson", b'{"auths": {}}')]
    assert len(found.warnings) == 1
    assert "Secret `none` is in none of these files: what docker login left is used" in found.warnings[0]


def test_check_takes_claims_from_near_files(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(volume("persistentVolumeClaim: {claimName: data}"))
    (tmp_path / "b.yml").write_text(CLAIM)
    (tmp_path / "c.yml").write_text(CLAIM.replace("name: data", "name: unused"))
    (verdict,) = check([str(tmp_path)])
    assert (verdict.name, verdict.verdict) == ("web", "deploys")
    (tmp_path / "b.yml").unlink()
    (verdict,) = check([str(tmp_path)])
    assert verdict.verdict == "refused"


def test_maps_that_are_used_again_and_again_end_in_a_problem() -> None:
    keys = ", ".join(f"k{index}: x" for index in range(5000))
    text = POD + "        envFrom: [" + ", ".join(["{configMapRef: {name: many}}"] * 50) + "]\n"
    found = problem(text, f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: many}}\ndata: {{{keys}}}\n")
    assert "more than 200,000 variables and files of ConfigMaps and Secrets" in found
