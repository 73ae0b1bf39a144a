"""Reading LinuxKit templates: what is understood, and every problem with its place."""

import pytest

from i2kit.errors import InputError
from i2kit.image.linuxkit import ContainerEntry, FileEntry, Mount, parse

WHOLE = """\
kernel:
  image: i2kit/kernel@sha256:11
  cmdline: "console=ttyS0"
init:
  - i2kit/init@sha256:22
onboot:
  - name: sysctl
    image: linuxkit/sysctl:43ac1d39
    readonly: true
    capabilities: [CAP_SYS_ADMIN]
services:
  - name: web
    image: nginx@sha256:33
    command: [nginx, "-g", "daemon off;"]
    env: []
    cwd: /srv
    uid: 101
    gid: 101
    additionalGids: [4]
    resources:
      memory: {limit: 1024}
      cpu: {shares: 2, quota: 1000, period: 100000}
    mounts:
      - {type: tmpfs, source: shm, destination: /dev/shm, options: [nosuid]}
    binds: ["/etc/hosts:/etc/hosts:ro"]
    noNewPrivileges: true
    annotations: {io.i2kit.seccomp: runtime-default}
files:
  - path: /etc/motd
    contents: hello
    mode: "0644"
  - {path: var/data, directory: true, uid: 5}
  - {path: etc/link, symlink: /run/link}
"""


def test_everything_that_is_understood() -> None:
    template = parse("pod.yml", WHOLE)
    assert template.kernel == "i2kit/kernel@sha256:11"
    assert template.cmdline == "console=ttyS0"
    assert template.init == ("i2kit/init@sha256:22",)
    (sysctl,) = template.onboot
    assert sysctl.readonly
    assert (sysctl.command, sysctl.env) == (None, None)
    (web,) = template.services
    assert web == ContainerEntry(
        name="web",
        image="nginx@sha256:33",
        position=web.position,
        command=("nginx", "-g", "daemon off;"),
        env=(),
        cwd="/srv",
        uid=101,
        gid=101,
        additional_gids=(4,),
        resources={"memory": {"limit": 1024}, "cpu": {"shares": 2, "quota": 1000, "period": 100000}},
        mounts=(Mount("tmpfs", "shm", "/dev/shm", ("nosuid",)),),
        binds=("/etc/hosts:/etc/hosts:ro",),
        no_new_privileges=True,
        annotations=(("io.i2kit.seccomp", "runtime-default"),),
    )
    assert str(web.position) == "pod.yml:13:12"
    assert template.files == (
        FileEntry("etc/motd", contents="hello", mode=0o644),
        FileEntry("var/data", directory=True, uid=5),
        FileEntry("etc/link", symlink="/run/link"),
    )


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as raised:
        parse("pod.yml", text)
    return [str(problem).replace("\n  hint: ", " | ") for problem in raised.value.problems]


KERNEL = "kernel: {image: k}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "pod.yml:1:1: the LinuxKit template is empty | give one template"),
        ("[]", "pod.yml:1:1: the LinuxKit template must be a mapping and is a list"),
        ("init: []", "pod.yml:1:1: the LinuxKit template must have `kernel`"),
        (
            "kernel: {image: k}\n---\nkernel: {image: k}\n",
            "pod.yml:3:1: the LinuxKit template is only one of several documents | give one template",
        ),
        (
            KERNEL + "service: []",
            "pod.yml:2:1: service: is not supported | did you mean `services`?",
        ),
        (
            KERNEL + "trust: {}",
            "pod.yml:2:1: trust: is not supported | known here: kernel, init, onboot, services, files",
        ),
        (
            KERNEL + "services:\n  - image: i\n    name: 5\n",
            "pod.yml:4:11: services[0].name: must be text and is the number 5",
        ),
        (
            KERNEL + "services:\n  - name: a\n",
            "pod.yml:3:5: services[0]: must have `image`",
        ),
        (
            KERNEL + "services:\n  - {name: ../a, image: i}\n",
            "pod.yml:3:12: services[0].name: `../a` is not a name | use letters, digits, - _ and .",
        ),
        (
            KERNEL + "services:\n  - {name: a, image: i, capabilities: [NET_ADMIN]}\n",
            "pod.yml:3:40: services[0].capabilities[0]: `NET_ADMIN` is not a capability"
            " | write it like CAP_CHOWN",
        ),
        (
            KERNEL + "services:\n  - {name: a, image: i, binds: [blank:/blank]}\n",
            "pod.yml:3:33: services[0].binds[0]: `blank:/blank` is not a bind mount"
            " | write it like /var/log:/var/log or /etc/hosts:/etc/hosts:ro",
        ),
        (
            KERNEL + "services:\n  - {name: a, image: i, uid: -1}\n",
            "pod.yml:3:30: services[0].uid: must be a whole number, 0 or more, and is the number -1",
        ),
        (
            KERNEL + "services:\n  - {name: a, image: i}\n  - {name: a, image: j}\n",
            "pod.yml:4:22: services: has two entries with the name `a`",
        ),
        (
            KERNEL + "files:\n  - {path: ../etc/passwd}\n",
            "pod.yml:3:12: files[0].path: must name a file inside the image",
        ),
        (
            KERNEL + 'files:\n  - {path: a, mode: "888"}\n',
            'pod.yml:3:21: files[0].mode: `888` is not a file mode | write it in quotes, like "0644"',
        ),
        (
            KERNEL + "files:\n  - {path: a, directory: true, contents: b}\n",
            "pod.yml:3:5: files[0]: cannot have both `directory` and `contents`",
        ),
    ],
)
def test_a_problem_and_its_place(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_all_problems_at_once_in_order_of_place() -> None:
    text = "services: 5\nkernel: {image: [], cmd: x}\n"
    assert [line.split(" ")[0] for line in problems(text)] == [
        "pod.yml:1:11:",
        "pod.yml:2:17:",
        "pod.yml:2:21:",
    ]
