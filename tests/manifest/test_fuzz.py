"""Manifests as people write them, damaged at random: each is read, or explained, and soon.

Longer, by hand: FUZZ_EXAMPLES=60000 pytest --timeout=0 tests/manifest/test_fuzz.py
"""

# ruff: noqa: E501 (texts are as short as they can be)

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2kit.errors import InputError
from i2kit.manifest import check, read

EXAMPLES = Path(__file__).parents[2] / "examples"
SEEDS = [
    *(file.read_bytes() for file in sorted(EXAMPLES.glob("*.yml"))),
    textwrap.dedent("""\
        apiVersion: v1
        kind: List
        items:
          - &web
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: web}
            spec:
              selector: {matchLabels: &labels {app: web}}
              template:
                metadata: {labels: {<<: *labels, tier: "1"}}
                spec:
                  nodeSelector: {disk: ssd}
                  containers:
                    - {name: web, image: nginx, ports: [containerPort: 80], env: [{name: A, value: "$(B)"}]}
          - {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: *labels, ports: [port: 80]}}
        ---
        apiVersion: autoscaling/v2
        kind: HorizontalPodAutoscaler
        metadata: {name: web}
        spec:
          maxReplicas: 3
          scaleTargetRef: {kind: Deployment, name: web}
          metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 250m}}}]
        """).encode(),
    textwrap.dedent("""\
        x-all: &all {restart: always, environment: [A, B=1], labels: {kompose.service.type: headless}}
        services:
          web:
            <<: *all
            image: nginx:${TAG:-1}
            ports: ["8080:80", 9000-9001, {target: 53, protocol: udp}]
            volumes: [data:/data, /tmp, {type: tmpfs, target: /run}, ./a:/b:ro]
            depends_on: {db: {condition: service_healthy}}
            healthcheck: {test: [CMD, a], interval: 1m30s}
            deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64m}}}
          db: {extends: web, command: "a 'b c'", user: "1:2", networks: {n: {aliases: [d]}}, secrets: [s]}
        volumes: {data: }
        networks: {n: {internal: true}}
        secrets: {s: {environment: HOME}}
        """).encode(),
    textwrap.dedent("""\
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: db, namespace: shop}
        spec:
          serviceName: db
          selector: {matchLabels: {app: db}}
          updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}
          volumeClaimTemplates:
            - {metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
          template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: postgres}]}}
        ---
        {apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None,
         sessionAffinity: ClientIP, selector: {app: db}, ports: [{name: a, port: 53, protocol: UDP}]}}
        ---
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata: {name: web, namespace: shop, annotations: {alb.ingress.kubernetes.io/listen-ports: '[{"HTTP": 80}]'}}
        spec:
          defaultBackend: {service: {name: db, port: {name: a}}}
          rules: [{host: "*.a.b", http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: db, port: {number: 53}}}}]}}]
        ---
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: all, namespace: shop}
        spec:
          podSelector: {matchExpressions: [{key: app, operator: In, values: [db]}]}
          ingress: [{from: [{namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}]}]
        ---
        apiVersion: batch/v1
        kind: CronJob
        metadata: {name: often}
        spec:
          schedule: "*/5 8-18 * * mon-fri"
          timeZone: Europe/Madrid
          jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}
        """).encode(),
    textwrap.dedent("""\
        name: web
        containers:
          web:
            image: nginx
            env:
              A: {valueFrom: {secretKeyRef: {name: a, key: k}}}
              B: {valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            envFrom: [{configMapRef: {name: a}, prefix: X_}, {secretRef: {name: a}}]
            volumeMounts: [{name: a, mountPath: /a, subPathExpr: $(B)}, {name: b, mountPath: /b}]
            lifecycle: {preStop: {sleep: {seconds: 1}}}
        initContainers: {first: {image: a, restartPolicy: Always}}
        volumes:
          a: {configMap: {name: a, items: [{key: k, path: k, mode: 0600}]}}
          b: {persistentVolumeClaim: {claimName: a}}
        ---
        {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}, binaryData: {b: AP8=}}
        ---
        {apiVersion: v1, kind: Secret, metadata: {name: a}, data: {k: dg==}, stringData: {s: t}}
        ---
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata: {name: a}
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
        """).encode(),
    b'{"name": "a", "containers": {"a": {"image": "b", "args": ["\\ud83d\\ude00"], "ports": [80]}}}\n',
]
WORDS = rb"""&a *a *labels !x { } [ ] , # " ' % {{.x}} ${X} 0644 1e999 .nan yes null = \u spec name image"""
SPACED = [b"\n", b"  ", b"- ", b": ", b"---\n", b"...\n", b"<<: ", b"? ", b"| ", b"\t", b"kind: Service\n"]
ODD = [b"\r", b"\0", b"\x85", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"9" * 99, b"kind: Pod\n"]
PIECES = st.sampled_from([*WORDS.split(), *SPACED, *ODD])


def at(draw: st.DrawFn, data: bytes) -> int:
    return draw(st.integers(0, len(data)))


def inserted(draw: st.DrawFn, data: bytes) -> bytes:
    place = at(draw, data)
    return data[:place] + draw(PIECES | st.binary(max_size=3)) + data[place:]


def cut(draw: st.DrawFn, data: bytes) -> bytes:
    start = at(draw, data)
    return data[:start] + data[start + draw(st.integers(1, 40)) :]


def repeated(draw: st.DrawFn, data: bytes) -> bytes:
    start, end = sorted((at(draw, data), at(draw, data)))
    return data[:end] + data[start:end] * draw(st.integers(1, 3)) + data[end:]


def line_moved(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    line = lines.pop(draw(st.integers(0, len(lines) - 1)))
    lines.insert(draw(st.integers(0, len(lines))), b" " * draw(st.integers(0, 4)) + line.lstrip(b" "))
    return b"".join(lines)


def recoded(draw: st.DrawFn, data: bytes) -> bytes:
    text = data.decode(errors="replace")
    return draw(st.sampled_from([text.encode("utf-16"), text.replace("\n", "\r\n").encode(), data + data]))


DAMAGES: list[Callable[[st.DrawFn, bytes], bytes]] = [inserted, inserted, cut, repeated, line_moved, recoded]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A manifest, damaged in some places."""
    data = draw(st.sampled_from(SEEDS))
    for damage in draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=5)):
        data = damage(draw, data)[:20_000]
    return data


@given(damaged() | st.binary(max_size=400))
@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")),
    deadline=10_000 if "FUZZ_EXAMPLES" in os.environ else None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_damaged_manifest_is_read_or_explained_and_check_says_the_same(data: bytes) -> None:
    problems: tuple[str, ...] = ()
    try:
        manifest = read(["-"], data, others=True)
    except InputError as error:
        problems = tuple(problem.message for problem in error.problems)
        assert problems
        # A Secret that is missing is given to the deploy: no matter of a check.
        problems = tuple(one for one in problems if "Secret `" not in one)
    else:
        assert manifest.workloads or manifest.lonely
    try:
        verdicts = [one.verdict for one in check(["-"], data)]
    except InputError:
        assert problems == ("there are no documents in it",)
        return
    if problems not in ((), ("there is no deployment here",)):
        assert "refused" in verdicts
    else:
        assert "refused" not in verdicts
