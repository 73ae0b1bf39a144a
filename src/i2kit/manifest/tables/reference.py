"""The tables in `fields`, `kinds` and `compose_fields` as others read them: JSON Schema, pages for people.

In: the table. Out: a schema, Markdown. Never says anything that the table does not. Pure.
"""

from collections.abc import Iterator

from i2kit.manifest.compose.types import Named, Several, Short
from i2kit.manifest.source import MAX_BYTES, MAX_DEPTH, MAX_NODES
from i2kit.manifest.tables import compose_fields, compose_labels, kinds
from i2kit.manifest.tables.quantity import PATTERN as _QUANTITY
from i2kit.manifest.tables.scalars import Schema, Type
from i2kit.manifest.tables.shape import Either, Field, ListOf, MapOf, Object, sentence

_INTRODUCTION = f"""\
# The manifest

<!-- Generated from src/i2kit/manifest/tables: UPDATE_GOLDEN=1 pytest tests/manifest -->

A manifest says what should run: a pod (containers that share `localhost`), and how many of it. Each
replica becomes a virtual machine. There are two forms that mean the same. The i2kit manifest:

```yaml
name: nginx-deployment
replicas: 3
containers:
  nginx: {{ image: nginx:1.27, ports: [80] }}
```

and a Kubernetes Deployment (`apps/v1`; the older `apps/v1beta2`, `apps/v1beta1` and
`extensions/v1beta1` are read too):

```yaml
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: nginx-deployment }}
spec:
  replicas: 3
  selector: {{ matchLabels: {{ app: nginx-deployment }} }}
  template:
    metadata: {{ labels: {{ app: nginx-deployment }} }}
    spec:
      containers:
        - {{ name: nginx, image: nginx:1.27, ports: [{{ containerPort: 80 }}] }}
```

Updates and scaling have Kubernetes' words too, in both forms. What a HorizontalPodAutoscaler says
(`autoscaling/v2`; the older versions are read too) is `autoscaling` in the i2kit manifest, with a short
form for cpu and memory:

```yaml
name: web
strategy: {{ rollingUpdate: {{ maxSurge: 1, maxUnavailable: 0 }} }}
minReadySeconds: 5
autoscaling: {{ minReplicas: 2, maxReplicas: 10, cpu: 70% }}
containers:
  web:
    image: nginx:1.27
    ports: [80]
    resources: {{ requests: {{ cpu: 250m }} }}
    readinessProbe: {{ httpGet: {{ port: 80, path: /healthz }} }}
```

`cpu: 70%` is of what the containers request, `cpu: 200m` an amount for each machine. With an autoscaler,
`replicas` is where the first deploy begins, and later ones keep the number that runs; `replicas: 0`
switches it off, as in Kubernetes. Each Deployment can have one.

Configuration and disks are documents of Kubernetes, for both forms: a `ConfigMap`, a `Secret` and a
`PersistentVolumeClaim` may be in any of the files. In the i2kit manifest, volumes and initContainers are
mappings by name, and a disk needs no document of its own:

```yaml
name: db
containers:
  db:
    image: postgres:17
    ports: [5432]
    env: {{ POSTGRES_PASSWORD: {{ valueFrom: {{ secretKeyRef: {{ name: db, key: password }} }} }} }}
    volumeMounts: [{{ name: data, mountPath: /var/lib/postgresql/data, subPath: pg }}]
volumes:
  data: {{ claim: {{ size: 10Gi }} }}
```

What a Secret holds is in no image, no template and no log: each machine is told it when it starts. A Secret
that is in none of the files is given with `--secret`, several times if need be, and what is missing is told
at once:

- `--secret db:password=FILE`: the bytes of the file, as they are, are the value of that key;
- `--secret db=FOLDER`: one key for each file;
- `--secret db=FILE`: a Secret document, or lines `KEY=VALUE`; else the bytes of the one key that is needed.

`NAMESPACE/` before the name is for that namespace only. What is given so counts before what is in the files.
`i2kit check` asks for nothing: a Secret that is missing is a warning there.

A Kubernetes `Service` gives pods a name and an address, whichever form describes them; its selector
finds the pods of an i2kit manifest by `app: NAME`. Files may hold several documents, YAML or JSON,
also as a `List`; `-f` takes files, folders and `-`, several times. `i2kit schema` prints a JSON Schema.

Every field has one of four verdicts, and what is in no table is an error too:

- **accepted**: the effect is the same as in Kubernetes;
- **no effect**: it changes nothing, because each pod has a machine of its own, or because it only
  concerns a cluster;
- **warning**: comfort is lost, but the application runs right;
- **refused**: ignoring it could lose data, weaken security, break reachability, or start a pod without
  something that it needs. Empty values (`null`, `""`, `[]`, `{{}}`) are never refused.

All problems of all files are reported at once, with `file:line:column`, and nothing is deployed then.

`i2kit check -f DIR` gives a verdict on each workload of any number of files, with a table at the end:
*deploys*, *deploys with warnings*, or *refused* with the reasons. Each is judged by itself: the files need
not belong together, the same name may be in several, and one that cannot be read hides no other. What is
wrong in a document about a workload counts for it: a Service or a policy that selects it, its autoscaler, an
Ingress before its Service. Such a document is about workloads of its own file; where it has none there,
of its folder; and else of all files that a deploy with the same `-f` would read (folders below them are
only searched by `check`). Rights given to a service account count for all that use it in any of these.

`--output json` is a list of `{{file, kind, name, verdict, problems}}`: `verdict` is `deploys`, `warns` or
`refused`, a problem is `{{path, line, column, verdict, reason, hint}}` (and `file`, where that is another
one), and `kind` is `i2kit` for an i2kit manifest. After the workloads of a file comes what else is wrong
in it: documents about nothing here, and, with `kind` and `name` null, what cannot be read.

Values are read as kubectl reads them: `yes` and `on` are booleans, `0644` is octal, dates and `22:22`
are text; where text is wanted, a number or a boolean needs quotes. A file may have
{MAX_BYTES // 1_000_000} MB, {MAX_DEPTH} levels, and {MAX_NODES:,} keys and values with aliases written out.
Tags and keys given twice are errors.
"""


_COMPOSE = """\
# Compose files

<!-- Generated from src/i2kit/manifest/tables/compose_fields.py: UPDATE_GOLDEN=1 pytest tests/manifest -->

`i2kit deploy -f compose.yml` deploys what `docker compose up` runs: each service becomes a deployment of
its name, and each replica of it a virtual machine. `plan`, `check`, `build`, `render` and `destroy` take
compose files too.

```yaml
services:
  web:
    build: ./web
    ports: ["8080:80"]
    depends_on: [db]
  db:
    image: postgres:16
    environment: { POSTGRES_PASSWORD_FILE: /run/secrets/password }
    secrets: [password]
    volumes: [data:/var/lib/postgresql/data]
    healthcheck: { test: pg_isready -U postgres }
volumes:
  data:
secrets:
  password: { file: ./password.txt }
```

A file with a mapping `services` or a list `include` at the top level is a compose file. Several of them,
each with `-f`, are one project, in which later ones override earlier ones, by docker's rules, also those of
`!reset` and `!override`; paths are relative to the folder of the first. Files that others name, in `include`
or `extends`, have paths relative to their own folder. Of the compose files in a folder given with `-f`,
docker's default is taken (`compose.yaml`, `compose.yml`, `docker-compose.yaml`, `docker-compose.yml`), with
its `compose.override.yml`.

**Variables.** `${NAME}`, `${NAME:-default}`, `${NAME:?error}`, `${NAME:+other}` and `$$` work in values as
with docker. Values are those of your environment, then of the file `.env` beside. A variable that is not
set is empty, with a warning. What comes from the environment becomes a part of the machine image: give
passwords as `secrets`.

**Names and ports.** A service is reached by its name, its `container_name` and aliases, at any port, as
with docker: the names stand for its machines (a headless Service). One called `my_Web` is deployed as
`my-web`, and found by both. What `ports` publishes is a second service, `NAME-published`: with provider
`local` it answers at `127.0.0.1` and the host port, where that is 1024 or more; on a cloud it is a load
balancer at that port, public only with the label `kompose.service.type: loadbalancer`. A service without
others has only this one, under its own name. A machine gets requests once its published ports accept
connections, or once its `healthcheck` succeeds.

**Volumes.** A named volume is a disk that outlives machines, of 1Gi unless a label `kompose.volume.size`
says more. It is in one machine at a time, so it can be used by one service with one replica. A new
one begins with what the image has at that place, and its owner there; without a folder there, it is the
container's user's. A file or a small folder (up to 1 MiB) of the project
is copied into the machine image when it is deployed, and containers cannot write to it. An anonymous volume
is left out: what a container writes there goes with its machine in any case.

**Order.** What a service depends on is deployed first and must be ready, or, with
`service_completed_successfully`, have ended well. A machine that starts later on its own waits for nothing.

**Networks.** Services without a network in common cannot talk: network policies hold that, as with kompose.

**Images** of services with `build` are made by buildah, or else docker, each time; their caches make that
short. No registry is needed. Their settings are those of their environment, such as `BUILDAH_ISOLATION`.

**Profiles.** A service with `profiles` is left out, unless `COMPOSE_PROFILES` has one of them.

Every key has one of the verdicts of [manifest.md](manifest.md): accepted, no effect, warning, refused. A
key in no table is an error, but keys that begin with `x-` are free. Nothing is dropped in silence. `i2kit
check -f` judges each service, as the kind `compose`.
"""


def json_schema() -> Schema:
    """JSON Schema (2020-12) of one document in any form."""
    definitions: dict[str, Schema] = {}
    native = kinds.NATIVE.schema(definitions)
    by_kind: dict[str, kinds.Shapes] = {**kinds.SHAPES, "List": ((("v1",), kinds.LIST),)}
    rules: list[Schema] = []
    for kind, shapes in by_kind.items():
        every = [version for versions, _ in shapes for version in versions]
        is_kind: Schema = {"properties": {"kind": {"const": kind}}}
        rules.append({"if": is_kind, "then": {"properties": {"apiVersion": {"enum": every}}}})
        for versions, shape in shapes:
            chosen = {"properties": {"kind": {"const": kind}, "apiVersion": {"enum": [*versions]}}}
            rules.append({"if": is_kind if len(shapes) == 1 else chosen, "then": shape.schema(definitions)})
    definitions["List"]["properties"]["items"]["items"] = {"$ref": "#"}
    other = [verdict for _, verdict in kinds.KINDS if verdict.verdict != "refused"]
    known = [*by_kind, *(verdict.name for verdict in other)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "i2kit manifest",
        "description": "What i2kit deploys: its own manifest, Kubernetes' documents, or a compose file.",
        "type": "object",
        "if": {"anyOf": [{"required": ["kind"]}, {"required": ["apiVersion"]}]},
        "then": {
            "required": ["apiVersion", "kind"],
            "properties": {"kind": {"enum": known, "description": "Kind of document."}},
            "allOf": rules,
        },
        "else": {
            "if": {
                "anyOf": [
                    {"required": ["services"], "properties": {"services": {"type": "object"}}},
                    {"required": ["include"], "properties": {"include": {"type": "array"}}},
                ]
            },
            "then": compose_fields.COMPOSE.schema(definitions),
            "else": native,
        },
        "$defs": {title: _extensible(title, shape) for title, shape in definitions.items()},
    }


def _extensible(title: str, shape: Schema) -> Schema:
    """Compose files may have keys that begin with x- anywhere."""
    return {**shape, "patternProperties": {"^x-": {}}} if title.startswith("Compose") else shape


def compose_page() -> str:
    """docs/compose.md."""
    tables = "".join(_table(shape) for shape in _shapes(compose_fields.COMPOSE, set()))
    rows = [(name, "accepted", about) for name, about in compose_labels.ACCEPTED.items()]
    rows += [(name, _VERDICTS["silent"], about) for name, about in compose_labels.SILENT.items()]
    rows += [
        (name, _VERDICTS["refused"], f"{reason}; {hint}")
        for name, (reason, hint) in compose_labels.REFUSED.items()
    ]
    labels = "".join(f"| `{name}` | {verdict} | {_sentence(about)} |\n" for name, verdict, about in rows)
    others = f"Others that begin with `{compose_labels.PREFIX}` are errors."
    head = "| label | verdict | |\n|---|---|---|\n"
    return f"{_COMPOSE}\n## The keys\n{tables}\n## Labels for kompose\n\n{others}\n\n{head}{labels}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def page() -> str:
    """docs/manifest.md."""
    parts = [_INTRODUCTION, "\n## The i2kit manifest\n"]
    seen: set[str] = set()
    for shape in _shapes(kinds.NATIVE, seen):
        parts.append(_table(shape))
    parts.append("\n## Kubernetes\n")
    for root in (shape for shapes in kinds.SHAPES.values() for _, shape in shapes):
        parts.extend(_table(shape) for shape in _shapes(root, seen))
    parts.append("\n### Other kinds\n\n| kind | verdict | |\n|---|---|---|\n")
    for _, verdict in kinds.KINDS:
        parts.append(f"| `{verdict.name}` | {_VERDICTS[verdict.verdict]} | {_about(verdict)} |\n")
    parts.append("\nCustom resources are refused: there is no controller that would act on them.\n")
    parts.append(f"\n## Quantities\n\nAs in Kubernetes: `{_QUANTITY}`, with decimal arithmetic.\n")
    return "".join(parts)


_VERDICTS = {"accepted": "accepted", "silent": "no effect", "warned": "warning", "refused": "refused"}


def _shapes(root: Object, seen: set[str]) -> Iterator[Object]:
    """The object and those in it, each once, in the order of first mention."""
    if root.title in seen:
        return
    seen.add(root.title)
    yield root
    for known in root.fields:
        if inner := _inner(known.type):
            yield from _shapes(inner, seen)


def _inner(type_: Type) -> Object | None:
    match type_:
        case Object():
            return type_
        case ListOf(item=item) | Several(item=item):
            return _inner(item)
        case MapOf(value=value):
            return _inner(value)
        case Either(long=long) | Named(long=long) | Short(long=long):
            return long
        case _:
            return None


def _table(shape: Object) -> str:
    lines = [f"\n### {shape.title}\n", "| field | value | verdict | |", "|---|---|---|---|"]
    for known in shape.fields:
        value = "" if known.verdict in ("refused", "warned") else known.type.words()
        verdict = "**required**" if known.required else _VERDICTS[known.verdict]
        lines.append(f"| `{known.name}` | {value} | {verdict} | {_about(known)} |")
    for prefix, known in shape.families:
        lines.append(f"| `{prefix}…` (others) | | {_VERDICTS[known.verdict]} | {_about(known)} |")
    if shape.others:
        lines.append(f"| any other | | {_VERDICTS[shape.others.verdict]} | {_about(shape.others)} |")
    return "\n".join(lines) + "\n"


def _about(known: Field) -> str:
    about = sentence(known.about)
    return f"{about} {sentence(known.hint)}" if known.hint and known.verdict == "refused" else about
