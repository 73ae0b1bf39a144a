"""The i2kit manifest: what it means, and what each mistake is told as."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.errors import Position
from i2kit.manifest import parse
from i2kit.model import Container, Port, Resources, Workload
from tests.manifest.reading import manifest, problem, problems

FIGURE_5 = """\
name: nginx-deployment
replicas: 3
containers:
  nginx:
    { image: nginx:1.7.9 , ports: [ 80 ] }
"""


def test_the_papers_figure_5() -> None:
    (workload,) = manifest(FIGURE_5).workloads
    assert workload == Workload(
        name="nginx-deployment",
        replicas=3,
        labels=(("app", "nginx-deployment"),),
        containers=(Container("nginx", "nginx:1.7.9", ports=(Port(80),)),),
    )
    assert workload.position == Position("a.yml", 1, 7)
    assert workload.containers[0].position == Position("a.yml", 5, 14)


def test_every_field() -> None:
    found = manifest(
        """
        name: web
        namespace: shop
        labels: {tier: front, app: shop-web}
        annotations: {note: for people}
        replicas: 0
        containers:
          server:
            image: nginx:1.27
            command: [nginx, -g]
            args: ["daemon off; $(MODE)"]
            env: {MODE: "on", EMPTY: , PRICE: $$5}
            workingDir: /srv
            ports: [80, {containerPort: 8443, name: tls, protocol: TCP, hostPort: 443}]
            resources:
              requests: {cpu: 0.25, memory: 64Mi}
              limits: {cpu: "1", memory: 1G}
            imagePullPolicy: Always
            volumeMounts: []
          log:
            image: busybox
        """
    )
    assert found.workloads == (
        Workload(
            name="web",
            namespace="shop",
            labels=(("app", "shop-web"), ("tier", "front")),
            replicas=0,
            containers=(
                Container(
                    name="server",
                    image="nginx:1.27",
                    command=("nginx", "-g"),
                    args=("daemon off; $(MODE)",),
                    env=(("MODE", "on"), ("EMPTY", ""), ("PRICE", "$$5")),
                    working_dir="/srv",
                    ports=(Port(80), Port(8443, "tls")),
                    resources=Resources(250, 1000, 64 * 2**20, 10**9),
                ),
                Container("log", "busybox"),
            ),
        ),
    )
    assert found.warnings == ()


def with_container(rest: str) -> str:
    return f"name: web\ncontainers:\n  web:\n    image: nginx\n{rest}"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("    ports: [80, 80]", "a.yml:5:17: containers.web.ports[1].containerPort: port 80 is taken already in this container, at a.yml:5:13\n  hint: remove one of them"),
        ("    ports: [70000]", "a.yml:5:13: containers.web.ports[0]: must be at most 65535 and is 70000"),
        ("    ports: ['80']", "a.yml:5:13: containers.web.ports[0]: must be a whole number and is the text `80`\n  hint: remove the quotes: 80"),
        ("    ports: [80:80]", "a.yml:5:13: containers.web.ports[0]: must be a whole number and is the text `80:80`"),
        ("    ports: 80", "a.yml:5:12: containers.web.ports: must be a list and is the number 80\n  hint: write a list: [80]"),
        ("    ports: [{port: 80, containerPort: 80}]", "a.yml:5:14: containers.web.ports[0].port: is not a known field\n  hint: the fields here are containerPort, name, protocol"),
        ("    ports: [{containerPort: 80, protocol: SCTP}]", "a.yml:5:43: containers.web.ports[0].protocol: `SCTP` is not possible: load balancers do not speak it"),
        ("    ports: [{containerPort: 80, protocol: tcp}]", "a.yml:5:43: containers.web.ports[0].protocol: `tcp` is not known\n  hint: did you mean `TCP`?"),
        ("    ports: [{containerPort: 80, name: '80'}]", 'a.yml:5:39: containers.web.ports[0].name: "80" is a number in quotes\n  hint: remove the quotes: 80'),
        ("    ports: [{containerPort: 80, name: a-very-long-port-name}]", "a.yml:5:39: containers.web.ports[0].name: `a-very-long-port-name` has 21 characters and a port's name may have 15\n  hint: use `a-very-long-por`"),
        ("    ports: [{containerPort: 1, name: a}, {containerPort: 2, name: a}]", "a.yml:5:67: containers.web.ports[1].name: `a` is given twice; the first is at a.yml:5:38"),
        ("  other:\n    image: x\n    ports: [8080]\n  more:\n    image: x\n    ports: [{containerPort: 8080}]", "a.yml:10:29: containers.more.ports[0].containerPort: port 8080 is taken already by container `other`, at a.yml:7:13\n  hint: containers of a pod share one network: use another port"),
        ("    env: {A: 5}", 'a.yml:5:14: containers.web.env.A: must be text and is the number 5 to YAML\n  hint: put it in quotes: "5"'),
        ("    env: {A: yes}", 'a.yml:5:14: containers.web.env.A: must be text and is the boolean true to YAML\n  hint: put it in quotes: "yes"'),
        ("    env: {A: {b: c}}", "a.yml:5:15: containers.web.env.A.b: is not a known field\n  hint: the fields here are value, valueFrom"),
        ("    env: [{name: A, value: b}]", "a.yml:5:10: containers.web.env: must be a mapping and is a list\n  hint: write a mapping: NAME: value"),
        ("    env: {a b: x}", "a.yml:5:11: containers.web.env: `a b` is not a variable's name: letters, digits, `_`, `-`, `.`, and no digit first\n  hint: use `a_b`"),
        ("    env: {A=b: x}", "a.yml:5:11: containers.web.env: `A=b` is not a variable's name: `=` is not allowed\n  hint: the value goes into `value`"),
        ("    command: nginx", "a.yml:5:14: containers.web.command: must be a list and is the text `nginx`\n  hint: write one item per argument: [sh, -c, …]"),
        ("    args: [yes, x]", 'a.yml:5:12: containers.web.args[0]: must be text and is the boolean true to YAML\n  hint: put it in quotes: "yes"'),
        ('    args: ["a\\0b"]', "a.yml:5:12: containers.web.args[0]: contains a NUL character, which no argument or variable can hold"),
        ("    workingDir: srv", "a.yml:5:17: containers.web.workingDir: `srv` is not an absolute path\n  hint: use `/srv`"),
        ("    imagePullPolicy: Sometimes", "a.yml:5:22: containers.web.imagePullPolicy: `Sometimes` is not known\n  hint: use Always or IfNotPresent or Never"),
        ("    tty: 'yes'", "a.yml:5:10: containers.web.tty: must be true or false and is the text `yes`"),
        ("    imgae: x", "a.yml:5:5: containers.web.imgae: is not a known field\n  hint: did you mean `image`?"),
        ("    readinessProbe: {tcpSocket: {port: http}}", "a.yml:5:40: containers.web.readinessProbe.tcpSocket.port: this container has no port named `http`\n  hint: give the port's number"),
        ("    resources: {limits: {memory: 5Mi}}", "a.yml:5:34: containers.web.resources.limits.memory: 5,242,880 bytes are below what a container needs to start (6Mi)\n  hint: such as 128Mi"),
        ("    resources: {limits: {memory: 128}}", "a.yml:5:34: containers.web.resources.limits.memory: 128 bytes are below what a container needs to start (6Mi)\n  hint: such as 128Mi: `m` is thousandths of a byte, and no unit is bytes"),
        ("    resources: {limits: {memory: 128MB}}", "a.yml:5:34: containers.web.resources.limits.memory: `128MB` is not a quantity: `MB` is no unit\n  hint: write 128Mi (1024s) or 128M (1000s)"),
        ("    resources: {limits: {cpu: -1}}", "a.yml:5:31: containers.web.resources.limits.cpu: `-1` is negative\n  hint: leave it out to set no bound"),
        ("    resources: {requests: {cpu: '${CPU}'}}", "a.yml:5:33: containers.web.resources.requests.cpu: `${CPU}` is not rendered: `${CPU}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
        ("    resources: {requests: {cpu: 2}, limits: {cpu: 500m}}", "a.yml:5:33: containers.web.resources.requests.cpu: asks for more than the limit at a.yml:5:51\n  hint: raise the limit or lower the request"),
        ("    resources: {limits: {nvidia.com/gpu: 1}}", "a.yml:5:26: containers.web.resources.limits.\"nvidia.com/gpu\": is not possible: the machine image has no driver for it\n  hint: run this pod where GPUs are"),
        ("    resources: {limits: {hugepages-2Mi: 1}}", "a.yml:5:26: containers.web.resources.limits.hugepages-2Mi: is not a resource that a machine has\n  hint: the resources are cpu and memory"),
        ("replicas: -1", "a.yml:5:11: replicas: must be at least 0 and is -1"),
        ("replicas: three", "a.yml:5:11: replicas: must be a whole number and is the text `three`"),
        ("replicas: 1.5", "a.yml:5:11: replicas: must be a whole number and is the number 1.5"),
        ("replicas: '3'", "a.yml:5:11: replicas: must be a whole number and is the text `3`\n  hint: remove the quotes: 3"),
        ("replicas: true", "a.yml:5:11: replicas: must be a whole number and is the boolean true"),
        ("replicas: 251", "a.yml:5:11: replicas: must be at most 250 and is 251\n  hint: a deployment may have 250 replicas: split it into several"),
        ("replicas: ${REPLICAS:-1}", "a.yml:5:11: replicas: `${REPLICAS:-1}` is not rendered: `${REPLICAS:-1}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
        ("replicas: <COUNT>", "a.yml:5:11: replicas: `<COUNT>` is not rendered: `<COUNT>` is a placeholder\n  hint: put the real value there"),
        ('replicas: "{{ .Values.n }}"', "a.yml:5:11: replicas: `{{ .Values.n }}` is a Helm expression that was not rendered\n  hint: render it first: helm template . | i2kit deploy -f -"),
        ("labels: {a/b/c: x}", "a.yml:5:10: labels: `a/b` before the `/` is not a DNS name\n  hint: such as example.com/role"),
        ("labels: {a: b c}", "a.yml:5:13: labels.a: `b c` is not a label value: only letters, digits, and `-`, `_`, `.` between them\n  hint: use `b-c`"),
        ("labels: {a: 1.10}", 'a.yml:5:13: labels.a: must be text and is the number 1.10 to YAML\n  hint: put it in quotes: "1.10"'),
        ("public: yes please", "a.yml:5:9: public: must be true or false and is the text `yes please`"),
        ("instanceType: big", "a.yml:5:15: instanceType: `big` is not an instance type\n  hint: such as t4g.micro"),
        ("certificate: mine", "a.yml:5:14: certificate: `mine` is not the ARN of a certificate\n  hint: such as arn:aws:acm:us-east-1:123456789012:certificate/…"),
        ("replica: 3", "a.yml:5:1: replica: is not a known field\n  hint: did you mean `replicas`?"),
        ("port: 3", "a.yml:5:1: port: is not a known field\n  hint: the fields here are name, namespace, labels, replicas, containers, strategy, minReadySeconds, progressDeadlineSeconds, terminationGracePeriodSeconds, autoscaling, volumes, initContainers, imagePullSecrets and 9 more"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(rest: str, message: str) -> None:
    assert problem(with_container(rest)) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My_App", "`My_App` is not a DNS label: upper case is not allowed\n  hint: use `my-app`"),
        ("my_app", "`my_app` is not a DNS label: `_` is not allowed\n  hint: use `my-app`"),
        ("my.app", "`my.app` is not a DNS label: `.` is not allowed\n  hint: use `my-app`"),
        ("-app", "`-app` is not a DNS label: it begins with `-`\n  hint: use `app`"),
        ("app-", "`app-` is not a DNS label: it ends with `-`\n  hint: use `app`"),
        ("ä", "`ä` is not a DNS label: `ä` is not allowed\n  hint: use lower case letters, digits and `-`"),
        ("''", "is empty\n  hint: give it a name"),
        ("a" * 64, f"`{'a' * 59}…` is not a DNS label: it has 64 characters and may have 63\n  hint: use `{'a' * 63}`"),
        ("5", 'must be text and is the number 5 to YAML\n  hint: put it in quotes: "5"'),
        ("${NAME}", "`${NAME}` is not rendered: `${NAME}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
    ],
)  # fmt: skip
def test_names_are_dns_labels(name: str, message: str) -> None:
    assert problem(f"name: {name}\ncontainers: {{a: {{image: b}}}}") == f"a.yml:1:7: name: {message}"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("''", "is empty\n  hint: name an image, such as nginx:1.27"),
        ("' '", "is empty\n  hint: name an image, such as nginx:1.27"),
        ("nginx latest", "`nginx latest` has a blank in it"),
        ("nginx :1.27", "`nginx :1.27` has a blank in it\n  hint: use `nginx:1.27`"),
        ("<IMAGE>", "`<IMAGE>` is not rendered: `<IMAGE>` is a placeholder\n  hint: put the real value there"),
        ("gcr.io/YOUR_PROJECT/web", "`gcr.io/YOUR_PROJECT/web` is not rendered: `YOUR_PROJECT` is a placeholder\n  hint: put the real value there"),
        ("$IMAGE_URL", "`$IMAGE_URL` is not rendered: `$IMAGE_URL` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
        ('"web:{{ .Values.tag }}"', "`web:{{ .Values.tag }}` is a Helm expression that was not rendered\n  hint: render it first: helm template . | i2kit deploy -f -"),
        ("[nginx]", "must be text and is a list"),
        ("'nginx:'", "`nginx:` is not an image reference: `` is not a tag\n  hint: tags have up to 128 letters, digits, dots, dashes and underscores"),
        ("nginx:1.27:2", "`nginx:1.27:2` is not an image reference: `1.27:2` is not a tag\n  hint: tags have up to 128 letters, digits, dots, dashes and underscores"),
        ("nginx@sha256:12", "`nginx@sha256:12` is not an image reference: `sha256:12` is not a digest\n  hint: a digest is sha256: followed by 64 hexadecimal digits in lower case"),
        ("https://ghcr.io/a", "`https://ghcr.io/a` is not an image reference: it is a URL\n  hint: write ghcr.io/a without the scheme"),
        ("a//b", "`a//b` is not an image reference: it has an empty part\n  hint: parts are lower-case letters and digits, separated by single dots, dashes or underscores"),
    ],
)  # fmt: skip
def test_images_must_be_filled_in(image: str, message: str) -> None:
    text = f"name: web\ncontainers: {{web: {{image: {image}}}}}"
    assert problem(text) == f"a.yml:2:27: containers.web.image: {message}"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("name: a", ["a.yml:1:1: `containers` is missing\n  hint: write containers: {NAME: {image: IMAGE}}"]),
        ("{}", ["a.yml:1:1: `name` is missing\n  hint: such as name: web",
                "a.yml:1:1: `containers` is missing\n  hint: write containers: {NAME: {image: IMAGE}}"]),
        ("name: a\ncontainers: {}", ["a.yml:2:13: containers: is empty\n  hint: write containers: {NAME: {image: IMAGE}}"]),
        ("name: a\ncontainers: {b: }", ["a.yml:2:17: containers.b: must be a mapping and is empty\n  hint: write image: below the container's name"]),
        ("name: a\ncontainers: {b: nginx}", ["a.yml:2:17: containers.b: must be a mapping and is the text `nginx`\n  hint: write image: below the container's name"]),
        ("name: a\ncontainers: {b: {}}", ["a.yml:2:17: containers.b: `image` is missing\n  hint: name an image, such as image: nginx:1.27"]),
        ("name: a\ncontainers: [{image: b}]", ["a.yml:2:13: containers: must be a mapping and is a list\n  hint: write containers: {NAME: {image: IMAGE}}"]),
        ("name: a\ncontainers: {B: {image: b}}", ["a.yml:2:14: containers: `B` is not a DNS label: upper case is not allowed\n  hint: use `b`"]),
        ("- a", ["a.yml:1:1: a manifest is a mapping and this is a list\n  hint: begin with name: and containers:, or with apiVersion: and kind:"]),
        ("hello", ["a.yml:1:1: a manifest is a mapping and this is the text `hello`\n  hint: begin with name: and containers:, or with apiVersion: and kind:"]),
        ("kernel: {image: x}\ninit: [y]\nservices: []", ["a.yml:1:1: looks like a LinuxKit template, which is no manifest\n  hint: to build it, give it without -f: i2kit build TEMPLATE"]),
        ("", ["a.yml:1:1: there are no documents in it\n  hint: a manifest begins with name: and containers:"]),
    ],
)  # fmt: skip
def test_documents_that_are_none(text: str, messages: list[str]) -> None:
    assert problems(text) == messages


def test_all_problems_of_all_files_come_at_once_in_order() -> None:
    assert [
        line.split(": ")[0]
        for line in problems(
            "name: A\nreplicas: -1\ncontainers: {b: {image: c, imgae: d}}\n",
            "name: [\n",
            "name: web\ncontainers: {b: {image: ''}}\nreplicas: x",
        )
    ] == ["a.yml:1:7", "a.yml:2:11", "a.yml:3:28", "b.yml:2:1", "c.yml:2:25", "c.yml:3:11"]


def test_memory_in_thousandths_of_a_byte_is_warned_about() -> None:
    found = manifest(with_container("    resources: {limits: {memory: 128974848000m}}"))
    assert found.workloads[0].containers[0].resources.memory_limit_bytes == 128974848
    assert found.warnings == (
        "a.yml:5:34: containers.web.resources.limits.memory: "
        "`128974848000m` is in thousandths of a byte; M or Mi was probably meant",
    )


def test_what_a_cloud_is_told() -> None:
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/1"
    (found,) = parse(
        [("a.yml", with_container(f"public: true\ncertificate: {arn}\ninstanceType: t4g.micro").encode())]
    ).workloads
    assert (found.public, found.certificate, found.instance_type) == (True, arn, "t4g.micro")
