"""Whole command lines: what stands on stdout and stderr, and the exit code."""

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest

from i2kit import app, cli, process
from i2kit.errors import OperationError
from tests import golden, in_memory
from tests.in_memory import InMemoryProvider

I2kit = Callable[..., tuple[int, str, str]]

WEB = """\
name: web
replicas: 2
containers:
  web: { image: nginx, ports: [80] }
"""
WORKER = """\
name: worker
containers:
  worker: { image: worker }
"""
SHOP = """\
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec:
      nodeSelector: { disk: ssd }
      containers:
        - { name: shop, image: shop, volumeMounts: [{ name: data, mountPath: /data }] }
"""
BALANCER = """\
apiVersion: v1
kind: Service
metadata: { name: shop }
spec:
  selector: { app: shop }
  sessionAffinity: ClientIP
  ports: [{ port: 80 }]
"""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InMemoryProvider:
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("I2KIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("I2KIT_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return in_memory.install(monkeypatch, tmp_path / "store")


@pytest.fixture
def i2kit(
    provider: InMemoryProvider,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> I2kit:
    """Run a command line in a folder with manifests and settings; gives exit code, stdout and stderr."""
    (tmp_path / "web.yml").write_text(WEB)
    (tmp_path / "newer.yml").write_text(WEB.replace("nginx", "nginx:2"))
    (tmp_path / "i2kit.toml").write_text('[env.staging]\nprovider = "local"\n')
    (tmp_path / "worker.yml").write_text(WORKER)
    (tmp_path / "wrong.yml").write_text("name: web\nreplica: 3\ncontainers: { web: { image: nginx } }\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/web.yml").write_text(SHOP)
    (tmp_path / "shop/balancer.yml").write_text(BALANCER)
    (tmp_path / "shop/chart.yml").write_text("name: {{ .Values.name }}\n")
    (tmp_path / "shop/worker.yml").write_text(WORKER)
    (tmp_path / "absent.yml").write_text("name: lost\ncontainers: { lost: { image: absent } }\n")
    monkeypatch.chdir(tmp_path)

    def i2kit(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        said = capfd.readouterr()
        return code, said.out, said.err

    return i2kit


def session(i2kit: I2kit, *command_lines: str) -> str:
    """Command lines with all that they say, as one would read it."""
    text = ""
    for line in command_lines:
        code, out, err = i2kit(*line.split())
        text += f"$ i2kit {line}\n" + (f"{out}" if out else "")
        text += f"--- stderr\n{err}" if err else ""
        text += f"--- exit code {code}\n\n" if code else "\n"
    return text


@pytest.mark.parametrize(
    ("name", "command_lines"),
    [
        (
            "deploy",
            [
                "deploy -f web.yml -f worker.yml --dry-run",
                "deploy -f web.yml -f worker.yml",
                "deploy -f web.yml -f worker.yml",
                "deploy -f web.yml -f worker.yml --dry-run",
                "status",
                "status web",
                "destroy -f web.yml worker",
                "destroy web",
                "status",
            ],
        ),
        (
            "quiet",
            ["deploy -q -f web.yml", "-q deploy -f web.yml", "destroy --quiet web", "-q status"],
        ),
        (
            "json",
            [
                "deploy -q -f web.yml --dry-run --output json",
                "deploy -q -f web.yml --output json",
                "status --output json",
                "destroy -q web",
                "status --output json",
            ],
        ),
        (
            "revisions",
            [
                "plan -f web.yml",
                "deploy -q -f web.yml",
                "plan -f web.yml",
                "plan -f newer.yml --output json",
                "deploy -q -f newer.yml",
                "history web",
                "rollback web",
                "history web --output json",
                "rollback web --to 9",
                "scale web 4",
                "scale web 4 --output json",
                "scale web -1",
                "scale absent 1",
            ],
        ),
        (
            "check",
            [
                "check -f web.yml",
                "check -f shop",
                "check -f shop -q",
                "check -f shop/web.yml --output json",
                "check -f nowhere.yml",
                "check -f empty",
            ],
        ),
        (
            "settings",
            [
                "status --env staging",
                "status --env stagin",
            ],
        ),
        (
            "wrong",
            [
                "deploy -f wrong.yml",
                "deploy -f absent.yml",
                "deploy -f nowhere.yml",
                "deploy",
                "deplyo",
                "deploy -f web.yml --provider moon",
                "destroy",
                "status web",
                "status a/b/c",
                "logs web",
                "render -f web.yml",
                "",
            ],
        ),
    ],
)
def test_sessions(i2kit: I2kit, name: str, command_lines: list[str]) -> None:
    golden.check(f"cli/{name}.txt", session(i2kit, *command_lines))


def test_help_is_the_reference_and_has_examples(i2kit: I2kit) -> None:
    words = [
        words
        for name, command in sorted(cli.cli.commands.items())
        for words in (
            name,
            *(f"{name} {sub}" for sub in (command.commands if isinstance(command, click.Group) else ())),
        )
    ]
    text = session(i2kit, "--help", *(f"{each} --help" for each in words))
    golden.check("cli/help.txt", text)
    assert text.count("Examples:") == 1 + len(words)


def test_pruning(i2kit: I2kit, tmp_path: Path) -> None:
    assert i2kit("images", "prune") == (0, "", "nothing to remove\n")
    assert i2kit("images", "prune", "-q") == (0, "", "")
    partial = tmp_path / "store/partial/sha256-0"
    partial.write_bytes(bytes(200_000))
    said = "1 file of partial downloads: 0.2 MB\n0.2 MB"
    assert i2kit("images", "prune", "--dry-run") == (0, f"would remove {said} would become free\n", "")
    assert partial.exists()
    assert i2kit("images", "prune", "web") == (
        0,
        "",
        "no machine image is named web, or has an id that begins so in 12 digits or more\n",
    )
    code, out, _ = i2kit("images", "prune", "--output", "json")
    assert (code, json.loads(out)["others"][0]["kind"]) == (0, "partial downloads")
    assert not partial.exists()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/desired.json").write_text("{")
    code, out, err = i2kit("images", "prune")
    assert (code, out) == (1, "")
    assert "state/desired.json: it is damaged" in err and "hint: nothing was removed" in err
    code, out, err = i2kit("images", "ls")
    assert (code, out.splitlines()[0].split()) == (0, ["STORE", "COUNT", "SIZE"])
    assert err.startswith("warning: cannot tell which machine images are needed")


def test_without_replicas_no_address_is_said_to_answer(i2kit: I2kit, tmp_path: Path) -> None:
    (tmp_path / "none.yml").write_text(WEB.replace("replicas: 2", "replicas: 0"))
    code, out, err = i2kit("deploy", "-f", "none.yml")
    assert (code, out) == (0, "")
    assert err.endswith("default/web has no replicas, so nothing answers\n")


def test_a_rollout_that_failed_is_3_also_where_nothing_served_before(i2kit: I2kit, tmp_path: Path) -> None:
    broken = WEB.replace("ports", "command: ['false'], ports")
    (tmp_path / "broken.yml").write_text(broken)
    assert i2kit("deploy", "-f", "broken.yml")[0] == 3
    i2kit("deploy", "-f", "web.yml")
    code, out, err = i2kit("deploy", "-f", "broken.yml")
    assert (code, out) == (3, "")
    assert err.endswith("error: default/web did not become ready\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OperationError("it broke", hint="mend it"), 1, "error: it broke\n\nhint: mend it\n"),
        (KeyboardInterrupt(), 130, "interrupted; safe to run again\n"),
        (OSError(28, "No space left on device", "/store/x"), 1, "error: /store/x: No space left on device\n"),
    ],
)
def test_every_failure_is_explained(
    i2kit: I2kit, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(app, "status", fail)
    found, out, err = i2kit("status")
    assert (found, out) == (code, "")
    assert err.startswith(said)
    assert "Traceback" not in err


def test_a_bug_is_one_line_and_a_file_with_the_traceback(
    i2kit: I2kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(app, "status", fail)
    code, _, err = i2kit("status")
    assert code == 1
    assert err.startswith("error: this is a bug in i2kit: KeyError: 'oops'\n\nhint: ")
    report = Path(err.split()[-1])
    assert "Traceback" in report.read_text()
    report.unlink()
    assert "Traceback" in i2kit("status", "-v")[2]


def test_build_describes_the_files_that_it_copied(i2kit: I2kit, tmp_path: Path) -> None:
    code, out, _ = i2kit("build", "-f", "web.yml", "-o", "out", "--output", "json")
    built = json.loads(out)
    assert code == 0
    assert {key: built[key] for key in ("id", "format", "cached", "name")} == {
        "id": "image-of-nginx",
        "format": "kernel+root",
        "cached": False,
        "name": "web",
    }
    assert built["files"][0] == {
        "path": "out/kernel",
        "size_bytes": 6,
        "sha256": hashlib.sha256(b"kernel").hexdigest(),
    }
    assert [Path(file["path"]).name for file in built["files"]] == ["kernel", "initrd", "root"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("-", "files are not written to stdout; a folder of this name is ./-"),
        ("", "an empty word names no folder; the current one is ."),
        ("web.yml", "is a file"),
    ],
)
def test_build_writes_to_no_folder_that_was_not_meant(
    i2kit: I2kit, tmp_path: Path, folder: str, message: str
) -> None:
    code, out, err = i2kit("build", "-f", "web.yml", "-o", folder)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "-").exists()
    assert i2kit("build", "-f", "web.yml", "-o", "./-")[0] == 0
    assert (tmp_path / "-").is_dir()


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_built(
    i2kit: I2kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was built")

    monkeypatch.setattr("i2kit.image.output", never)
    (tmp_path / "link").symlink_to("nowhere")
    for folder, why in (("web.yml/x", "web.yml is no folder"), ("link/x", "link is no folder")):
        code, _, err = i2kit("build", "-f", "web.yml", "-o", folder)
        assert code == 1
        assert err.startswith(f"error: cannot write to {folder}: ") and why in err
        assert err.endswith("hint: give another folder with -o\n")


def test_build_prints_paths(i2kit: I2kit) -> None:
    code, out, err = i2kit("build", "-f", "web.yml")
    assert code == 0
    assert [Path(line).name for line in out.splitlines()] == ["kernel", "initrd", "root"]
    assert err == "default/web: image image-of-nginx\n"


def test_render_prints_one_stream(i2kit: I2kit) -> None:
    _, out, _ = i2kit("render", "-f", "web.yml", "-f", "worker.yml", "--as", "linuxkit")
    assert out == "# template of image-of-nginx\n---\n# template of image-of-worker\n"


def test_logs_say_where_a_line_comes_from_unless_that_was_asked_for(
    i2kit: I2kit, provider: InMemoryProvider
) -> None:
    i2kit("deploy", "-f", "web.yml")
    provider.lines = [("web-0", "web", "GET /"), ("web-1", "web", "GET /b"), ("web-1", "sidecar", "hm")]
    two = replace(provider.deployments["default/web"], containers=("web", "sidecar"))
    provider.deployments["default/web"] = two
    assert i2kit("logs", "web")[1] == "web-0 web | GET /\nweb-1 web | GET /b\nweb-1 sidecar | hm\n"
    assert i2kit("logs", "web", "--replica", "1", "web")[1] == "GET /b\n"
    lines = i2kit("logs", "web", "sidecar", "--output", "json")[1].splitlines()
    assert [json.loads(line) for line in lines] == [
        {"instance": "web-1", "container": "sidecar", "line": "hm"}
    ]
    status, _, stderr = i2kit("logs", "web", "sidcar")
    assert (status, stderr) == (
        1,
        "error: default/web has no container `sidcar`\n\nhint: it has web, sidecar\n",
    )


def test_schema_is_json(i2kit: I2kit) -> None:
    code, out, _ = i2kit("schema")
    assert code == 0
    assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


# --- as a program -----------------------------------------------------------------------------

PROGRAM = [sys.executable, "-c", "from i2kit import cli; cli.main()"]


def test_a_manifest_is_read_from_stdin(i2kit: I2kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "web.yml").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert i2kit("deploy", "-f", "-")[1] == "http://127.0.0.1:30080\n"


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, "schema"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_and_full_streams_change_nothing_about_what_is_done(
    redirections: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("I2KIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("I2KIT_RUN_DIR", str(tmp_path / "run"))
    words = ["sh", "-c", f'"$@" {redirections}', "sh", *PROGRAM, "destroy", "web"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == ("" if "2>" in redirections else "nothing named default/web runs\n")


def test_data_that_cannot_be_written_is_a_failure() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"error: cannot write to stdout: No space left on device\n")


# These tests may run in the background of a shell, which has Ctrl-C ignored there.
HEEDING_CTRL_C = ["env", "--default-signal=INT"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_said_and_cleans_up(number: signal.Signals) -> None:
    program = (
        "import time\nfrom i2kit import app, cli\n"
        "def status(*arguments, **options):\n"
        "    try:\n        print('begun', flush=True)\n        time.sleep(60)\n"
        "    finally:\n        print('cleaned up', flush=True)\n"
        "app.status = status\nimport sys\nsys.argv[1:] = ['status']\ncli.main()"
    )
    words = [*HEEDING_CTRL_C, sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "begun\n"
        running.send_signal(number)
        out, err = running.communicate()
    assert (running.returncode, out, err) == (130, "cleaned up\n", "interrupted; safe to run again\n")


def on_terminal(environ: dict[str, str], *arguments: str) -> bytes:
    """What a command writes when its stderr is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*PROGRAM, *arguments], stderr=theirs, env={**os.environ, **environ}) as program:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:
            pass  # EIO: Linux ends a terminal so
        program.wait()
    os.close(ours)
    return said


def test_colour_is_for_terminals_that_want_it() -> None:
    assert b"\x1b[31merror:\x1b[0m" in on_terminal({"TERM": "xterm", "NO_COLOR": ""}, "deploy")
    assert b"\x1b" not in on_terminal({"TERM": "xterm", "NO_COLOR": "1"}, "deploy")


def test_help_imports_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys\nfrom i2kit import cli\ncli.run(['--help'])\nprint(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"rich", "yaml", "asyncio", "ssl", "http.client", "urllib.request", "subprocess", "sqlite3"}
    stages = {"i2kit.manifest", "i2kit.image", "i2kit.providers.local", "i2kit.doctor"}
    assert (heavy | stages).isdisjoint(done.stderr.split())


def test_doctor_on_a_bare_machine_names_every_package_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    monkeypatch.setenv("I2KIT_STORE_DIR", str(tmp_path / "store"))
    assert cli.run(["doctor", "--output", "json"]) == 1
    checks = json.loads(capfd.readouterr().out)
    missing = {check["package"] for check in checks if check["state"] == "missing" and check["package"]}
    assert {"qemu-system-x86", "haproxy", "dnsmasq-base", "iproute2"} <= missing
    assert {check["state"] for check in checks} <= {"ok", "limited", "missing"}
    assert cli.run(["doctor"]) == 1
    said = capfd.readouterr()
    assert said.out.startswith("STATE    CHECK")
    assert f"apt-get install --no-install-recommends {' '.join(sorted(missing))}\n" in said.err
    assert not (tmp_path / "store").exists(), "it only looks"


def test_the_command_begins_with_ctrl_c_as_it_should_be() -> None:
    """While it loads, an interrupt only ends it; once it runs, it is an exception that cleans up."""
    script = (
        "import signal, i2kit.cli, i2kit.__main__ as begin;"
        "i2kit.cli.main = lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler);"
        "begin.main()"
    )
    for prefix, heeded in ((HEEDING_CTRL_C, "True"), (["env", "--ignore-signal=INT"], "False")):
        done = subprocess.run([*prefix, sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip() == heeded, done.stderr
    version = subprocess.run([sys.executable, "-m", "i2kit", "--version"], capture_output=True, text=True)
    assert version.stdout.startswith("i2kit ")
