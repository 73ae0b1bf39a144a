"""A compose file as real VMs: published ports, names, files, a secret, and a disk that outlives an update."""

import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2kit import app
from i2kit.events import ignore
from i2kit.providers.local.machines import capabilities
from i2kit.settings import Settings

pytestmark = pytest.mark.vm

PATIENCE_S = 60.0
PORT = 18087

COMPOSE = """\
name: shop
services:
  web:
    image: {image}
    stop_grace_period: 1s
    depends_on: {{db: {{condition: service_healthy}}}}
    ports: ["{port}:80"]
    volumes: ["./greeting:/etc/greeting:ro"]
    secrets: [password]
    command:
      - sh
      - -c
      - |
        mkdir -p /tmp/www
        cat /etc/greeting /run/secrets/password >/tmp/www/files
        while sleep 0.3; do
          at=$$(nslookup db | awk '/^Address/ {{ found = $$2 }} END {{ print found }}')
          printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 "$$at" 6379 >/tmp/new
          mv /tmp/new /tmp/www/db
        done &
        exec httpd -f -p 80 -h /tmp/www
  db:
    image: {image}
    stop_grace_period: 1s
    environment: {{VERSION: "{version}"}}
    volumes: [data:/data]
    healthcheck: {{test: "wget -q -O /dev/null http://127.0.0.1:6379/", interval: 2s}}
    command: [sh, -c, "echo version $$VERSION >>/data/index.html; exec httpd -f -p 6379 -h /data"]
volumes:
  data:
secrets:
  password: {{file: ./password}}
"""


@pytest.fixture
def project(tmp_path: Path, machine_settings: Settings) -> Iterator[Path]:
    """A folder with a compose file's files; what was deployed of it is gone afterwards."""
    if capabilities.network(machine_settings)[0] != "namespace":
        pytest.skip("VMs have no network of their own here")
    (tmp_path / "greeting").write_text("hello\n")
    (tmp_path / "password").write_text("hidden\n")
    yield tmp_path
    names = ["web", "db"]
    app.destroy(
        names, settings=machine_settings, provider_name="local", watch=ignore, volumes=True, hurry=True
    )


def deploy(project: Path, image: str, version: int, settings: Settings) -> tuple[app.Outcome, ...]:
    text = COMPOSE.format(image=image, port=PORT, version=version)
    (project / "compose.yml").write_text(textwrap.dedent(text))
    return app.deploy([str(project)], settings=settings, provider_name="local", watch=ignore)


def fetched(path: str, ending: str) -> str:
    """What is at the published port, as soon as it ends with this."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{path}", timeout=10) as answer:
                found = str(answer.read().decode())
        except OSError as error:
            found = str(error)
        if found.endswith(ending):
            return found
        assert time.monotonic() < deadline, f"never came; last: {found}"
        time.sleep(0.2)


def test_two_services(project: Path, image: str, machine_settings: Settings) -> None:
    outcomes = deploy(project, image, 1, machine_settings)
    assert [one.plan.key for one in outcomes] == ["default/db", "default/web"]
    web = outcomes[1].deployment
    assert web
    assert [endpoint.url for endpoint in web.endpoints] == [f"tcp://127.0.0.1:{PORT}"]
    fetched("files", "hello\nhidden\n")
    fetched("db", "\r\n\r\nversion 1\n")

    # The disk outlives the machine that had it, and the name leads to the new one.
    again = deploy(project, image, 2, machine_settings)
    assert [bool(one.plan.actions) for one in again] == [True, False]
    fetched("db", "\r\n\r\nversion 1\nversion 2\n")
