"""What the tests of this folder share: a text in, problems or values out."""

import textwrap

from i2kit.errors import InputError
from i2kit.manifest import parse
from i2kit.model import Manifest

POD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
"""
"""A Deployment that a test can go on with: the next line is in the container, at 8 blanks."""

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
"""
"""A Service that a test can go on with: the next line is in spec, at 2 blanks. Selects POD's pods."""


def manifest(*texts: str) -> Manifest:
    """Parse the texts as a.yml, b.yml, …"""
    names = ("a.yml", "b.yml", "c.yml")
    return parse([(name, textwrap.dedent(text).encode()) for name, text in zip(names, texts, strict=False)])


def problems(*texts: str) -> list[str]:
    """What is wrong with the texts, one string per problem: place, message, hint."""
    try:
        manifest(*texts)
    except InputError as error:
        return [str(problem) for problem in error.problems]
    return []


def problem(*texts: str) -> str:
    """The one thing that is wrong with the texts."""
    (only,) = problems(*texts)
    return only
