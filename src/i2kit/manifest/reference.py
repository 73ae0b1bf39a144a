"""The table in `fields` and `kinds` as others read it: JSON Schema for editors, a page for people.

In: the table. Out: a schema, Markdown. Never says anything that the table does not. Pure.
"""

from collections.abc import Iterator

from i2kit.manifest import kinds
from i2kit.manifest.quantity import PATTERN as _QUANTITY
from i2kit.manifest.scalars import Schema, Type
from i2kit.manifest.shape import Either, Field, ListOf, MapOf, Object, sentence
from i2kit.manifest.source import MAX_BYTES, MAX_DEPTH, MAX_NODES

_INTRODUCTION = f"""\
# The manifest

<!-- Generated from src/i2kit/manifest/fields.py and kinds.py: UPDATE_GOLDEN=1 pytest tests/manifest -->

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


def json_schema() -> Schema:
    """JSON Schema (2020-12) of one document in either form."""
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
        "description": "What i2kit deploys: its own manifest, or Kubernetes Deployments and Services.",
        "type": "object",
        "if": {"anyOf": [{"required": ["kind"]}, {"required": ["apiVersion"]}]},
        "then": {
            "required": ["apiVersion", "kind"],
            "properties": {"kind": {"enum": known, "description": "Kind of document."}},
            "allOf": rules,
        },
        "else": native,
        "$defs": definitions,
    }


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
        case ListOf(item=item):
            return _inner(item)
        case MapOf(value=value):
            return _inner(value)
        case Either(long=long):
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
