"""What manifests in the wild hold, and the exact result of each: deployed, or one line that says why not."""

import pytest

from tests.manifest.reading import POD, SERVICE, manifest, problems

IN_POD = "spec.template.spec.containers[0]"
TWO = SERVICE + "  ports: [{port: 80, targetPort: 8080}]\n"

READ: dict[str, tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "documents between comments, with line ends of Windows": (
        f"# a\n--- # b\n{POD}...\n---\n# c\n---\n{TWO}---\n".replace("\n", "\r\n"),
        (),
        (),
    ),
    "a port that no container declares": (f"{POD}---\n{TWO}", (), ()),
    "an equals sign and a merge sign": (f"{POD}        args: [test, =, <<]\n", ("test", "=", "<<"), ()),
    "variables that are null": (
        f"{POD}        env: [{{name: A, value: }}, {{name: B, value: ~}}]\n",
        (),
        (("A", ""), ("B", "")),
    ),
    "a variable of the shell": (
        f'{POD}        env: [{{name: A, value: "${{X:-1}}"}}, {{name: B, value: $Y}}]\n',
        (),
        (("A", "${X:-1}"), ("B", "$Y")),
    ),
    "times and dates": (
        f"{POD}        args: [22:22, 2024-01-01, 1.2.3]\n",
        ("22:22", "2024-01-01", "1.2.3"),
        (),
    ),
    "anchors": (
        "name: a\ncontainers: {a: &c {image: b, args: [x]}, e: {!!merge <<: *c, env: {A: z}}}\n",
        ("x",),
        (("A", "z"),),
    ),
    "tabs between words": ("name:\ta\ncontainers:\t{a:\t{image:\tb, args:\t[c]}}\t\n", ("c",), ()),
}


@pytest.mark.parametrize("case", READ)
def test_read(case: str) -> None:
    text, args, env = READ[case]
    (workload,) = manifest(text).workloads
    assert (workload.containers[-1].args or (), workload.containers[-1].env) == (args, env)


REFUSED = {
    "a word that is a boolean": (
        f"{POD}        args: [yes]\n",
        f"a.yml:12:16: {IN_POD}.args[0]: must be text and is the boolean true to YAML\n"
        '  hint: put it in quotes: "yes"',
    ),
    "a variable that is a boolean": (
        f"{POD}        env: [{{name: A, value: on}}]\n",
        f"a.yml:12:32: {IN_POD}.env[0].value: must be text and is the boolean true to YAML\n"
        '  hint: put it in quotes: "on"',
    ),
    "a version that loses its zero": (
        f"{POD}        env: [{{name: A, value: 1.10}}]\n",
        f"a.yml:12:32: {IN_POD}.env[0].value: must be text and is the number 1.10 to YAML\n"
        '  hint: put it in quotes: "1.10"',
    ),
    "a key that is a boolean": (
        POD.replace("labels: {app: web}", "labels: {app: web, no: x}"),
        "a.yml:7:35: the key `no` is the boolean false to YAML, and keys are text\n"
        '  hint: put it in quotes: "no"',
    ),
    "a number that is infinite": (
        "name: a\nreplicas: .inf\ncontainers: {a: {image: b}}\n",
        "a.yml:2:11: replicas: must be a whole number and is the number .inf",
    ),
    "a number of 5,000 digits": (
        f"name: a\nreplicas: {'9' * 5000}\ncontainers: {{a: {{image: b}}}}\n",
        f"a.yml:2:11: replicas: must be a whole number and is the number {'9' * 59}…",
    ),
    "a variable of the shell for a number": (
        f'{POD}        ports: [{{containerPort: "${{PORT:-80}}"}}]\n',
        f"a.yml:12:33: {IN_POD}.ports[0].containerPort: `${{PORT:-80}}` is not rendered: `${{PORT:-80}}` is a"
        " placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -",
    ),
    "a placeholder": (
        POD.replace("nginx:1.27", "<IMAGE>"),
        f"a.yml:11:16: {IN_POD}.image: `<IMAGE>` is not rendered: `<IMAGE>` is a placeholder\n"
        "  hint: put the real value there",
    ),
    "a protocol in lower case": (
        f"{POD}        ports: [{{containerPort: 80, protocol: tcp}}]\n",
        f"a.yml:12:47: {IN_POD}.ports[0].protocol: `tcp` is not known\n  hint: did you mean `TCP`?",
    ),
    "a port's number in quotes": (
        f'{POD}---\n{SERVICE}  ports: [{{port: 80, targetPort: "80"}}]\n',
        'a.yml:18:34: spec.ports[0].targetPort: "80" is a number in quotes\n  hint: remove the quotes: 80',
    ),
    "memory in bytes like a disk's": (
        f"{POD}        resources: {{limits: {{memory: 500MB}}}}\n",
        f"a.yml:12:38: {IN_POD}.resources.limits.memory: `500MB` is not a quantity: `MB` is no unit\n"
        "  hint: write 500Mi (1024s) or 500M (1000s)",
    ),
    "memory in thousandths": (
        f"{POD}        resources: {{limits: {{memory: 128m}}}}\n",
        f"a.yml:12:38: {IN_POD}.resources.limits.memory: 1 bytes are below what a container needs to start"
        " (6Mi)\n"
        "  hint: such as 128Mi: `m` is thousandths of a byte, and no unit is bytes",
    ),
    "a name twice": (
        f"{POD}---\n{POD}",
        "a.yml:15:18: the deployment `default/web` is given twice; the first is at a.yml:3:18\n"
        "  hint: remove one of them, or give one file only",
    ),
    "a list": (
        "- a\n",
        "a.yml:1:1: a manifest is a mapping and this is a list\n"
        "  hint: begin with name: and containers:, or with apiVersion: and kind:",
    ),
    "a word": (
        "hello\n",
        "a.yml:1:1: a manifest is a mapping and this is the text `hello`\n"
        "  hint: begin with name: and containers:, or with apiVersion: and kind:",
    ),
    "nothing": (
        "# nothing\n",
        "a.yml:1:1: there are no documents in it\n  hint: a manifest begins with name: and containers:",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    text, message = REFUSED[case]
    assert problems(text) == [message]


def test_a_generated_name_is_refused() -> None:
    found = problems(POD.replace("{name: web}\nspec", "{generateName: web-}\nspec"))
    assert found == [
        "a.yml:3:11: metadata: `name` is missing\n  hint: such as name: web",
        "a.yml:3:12: metadata.generateName: is not possible: names must stay the same from one deploy to"
        " the next\n  hint: use name",
    ]
