"""Where things are kept and how this run differs from the defaults: flags > I2KIT_* > i2kit.toml > defaults.

In: an environment, what the command line gave, and the folder's i2kit.toml. Out: one frozen Settings that
is passed down. Never reads files that belong to a deployment.
"""

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from i2kit.errors import InputError, Position, Problem
from i2kit.model import Architecture

NetworkMode = Literal["auto", "namespace", "user"]
Accelerator = Literal["auto", "kvm", "tcg"]

PROVIDERS = ("local", "aws")

CHOICES: Mapping[str, tuple[str, ...]] = {
    "provider": PROVIDERS,
    "architecture": ("amd64", "arm64"),
    "network": ("auto", "namespace", "user"),
    "accelerator": ("auto", "kvm", "tcg"),
}
"""Settings that have few values, the default first."""

SETTINGS_FILE = "i2kit.toml"

VARIABLES = {
    "provider": "I2KIT_PROVIDER",
    "region": "I2KIT_REGION",
    "credentials": "I2KIT_CREDENTIALS",
    "hosted_zone": "I2KIT_HOSTED_ZONE",
    "vpc": "I2KIT_VPC",
    "subnet": "I2KIT_SUBNET",
    "security_group": "I2KIT_SECURITY_GROUP",
    "keypair": "I2KIT_KEYPAIR",
    "instance_type": "I2KIT_INSTANCE_TYPE",
    "certificate": "I2KIT_CERTIFICATE",
    "alarms": "I2KIT_ALARMS",
    "bake_time": "I2KIT_BAKE_TIME",
    "architecture": "I2KIT_ARCHITECTURE",
    "network": "I2KIT_LOCAL_NETWORK",
    "accelerator": "I2KIT_ACCEL",
}
"""Settings by their names in i2kit.toml, and the variables that win over it."""

LISTS = ("subnet", "alarms")
"""Those that can have several values: with commas, in i2kit.toml also as lists."""

MAX_BAKE_TIME_S = 172_800
"""Two days (RefreshPreferences in the EC2 Auto Scaling API reference)."""


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What provider `aws` is given. None or empty: found, made, or left to AWS's SDK."""

    region: str | None = None
    credentials: Path | None = None
    """A file as `aws configure` writes it."""
    hosted_zone: str | None = None
    """The name of a hosted zone of Route 53, or its id; without one names are in no zone. A name that ends
    in .internal is made as a private zone where there is none."""
    vpc: str | None = None
    subnets: tuple[str, ...] = ()
    security_group: str | None = None
    key_pair: str | None = None
    instance_type: str | None = None
    certificate: str | None = None
    alarms: tuple[str, ...] = ()
    """Names of alarms of CloudWatch: an update fails when one of them goes off."""
    bake_time_s: int = 0
    """For how long an update still counts as running, and alarms can end it, once all machines are new."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that may differ from one machine or run to the next.

    `state_dir` survives reboots (what should run), `run_dir` does not need to (sockets, locks),
    `store_dir` holds content by hash. `lock_file` records the base packages.
    """

    state_dir: Path
    run_dir: Path
    store_dir: Path
    lock_file: Path
    locked: bool = False
    docker_config: str | None = field(default=None, repr=False)
    """I2KIT_DOCKER_CONFIG: the base64 of a docker config.json; else the file in the usual places."""
    logins: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """Secrets that hold logins of registries, by name: looked into before docker's own."""
    images: tuple[Path, ...] = ()
    """Local files that hold images under their names, looked at before any registry."""
    network: NetworkMode = "auto"
    accelerator: Accelerator = "auto"
    provider: str = "local"
    architecture: Architecture = "amd64"
    """Of the machine images that are built."""
    aws: AwsSettings = AwsSettings()


def load(
    environ: Mapping[str, str] = os.environ,
    *,
    env: str | None = None,
    provider: str | None = None,
    architecture: Architecture | None = None,
    locked: bool = False,
    images: Sequence[Path] = (),
) -> Settings:
    """Read the settings of this run; `env` is one of i2kit.toml's environments.

    Raises InputError with every variable and every line of i2kit.toml that makes no sense.
    """
    problems: list[Problem] = []
    file = _settings_file(environ, env, problems)

    def given(name: str, fallback: str | None = None) -> str | None:
        return environ.get(VARIABLES[name]) or file.get(name) or fallback

    def chosen(name: str) -> str:
        value = given(name) or CHOICES[name][0]
        if value not in CHOICES[name]:
            problems.append(_no_choice(VARIABLES[name], name, value))
        return value

    network = cast(NetworkMode, chosen("network"))
    accelerator = cast(Accelerator, chosen("accelerator"))
    where = provider or chosen("provider")
    built = architecture or cast(Architecture, chosen("architecture"))
    credentials = given("credentials")
    if credentials and (unknown := _unknown_home(credentials)):
        problems.append(unknown)
    bake_time = given("bake_time", "0") or "0"
    if _no_seconds(bake_time):
        problems.append(_no_bake_time(VARIABLES["bake_time"], bake_time))
    if problems:
        raise InputError(problems)

    root = os.geteuid() == 0
    home = Path(environ.get("HOME") or _home_of_user())

    def directory(variable: str, as_root: str, xdg: str, fallback: Path) -> Path:
        if given := environ.get(variable):
            return Path(given).absolute()
        if root:
            return Path(as_root)
        base = environ.get(xdg)
        return (Path(base) if base else fallback) / "i2kit"

    state_dir = directory("I2KIT_STATE_DIR", "/var/lib/i2kit", "XDG_STATE_HOME", home / ".local/state")
    # Not XDG_RUNTIME_DIR: that goes away at logout, while the machines run on.
    run_dir = Path("/run/i2kit") if root and not environ.get("I2KIT_STATE_DIR") else state_dir / "run"
    if run := environ.get("I2KIT_RUN_DIR"):
        run_dir = Path(run).absolute()
    return Settings(
        state_dir=state_dir,
        run_dir=run_dir,
        store_dir=directory(
            "I2KIT_STORE_DIR", "/var/lib/i2kit/store", "XDG_DATA_HOME", home / ".local/share"
        ),
        lock_file=Path(environ.get("I2KIT_LOCK_FILE") or "i2kit.lock").absolute(),
        locked=locked,
        docker_config=environ.get("I2KIT_DOCKER_CONFIG"),
        images=tuple(images),
        network=network,
        accelerator=accelerator,
        provider=where,
        architecture=built,
        aws=AwsSettings(
            region=given("region"),
            credentials=Path(credentials).expanduser().absolute() if credentials else None,
            hosted_zone=given("hosted_zone"),
            vpc=given("vpc"),
            subnets=tuple(word for word in (given("subnet") or "").replace(",", " ").split()),
            security_group=given("security_group"),
            key_pair=given("keypair"),
            instance_type=given("instance_type"),
            certificate=given("certificate"),
            # Their names may have blanks.
            alarms=tuple(filter(None, map(str.strip, (given("alarms") or "").split(",")))),
            bake_time_s=int(bake_time),
        ),
    )


def _settings_file(environ: Mapping[str, str], env: str | None, problems: list[Problem]) -> Mapping[str, str]:
    """What i2kit.toml says of this environment, over what it says for all."""
    path = Path(environ.get("I2KIT_CONFIG") or SETTINGS_FILE)
    env = env or environ.get("I2KIT_ENV")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if env or environ.get("I2KIT_CONFIG"):
            problems.append(
                Problem(
                    f"there is no file {path}", hint="write one, with a table [env.NAME] for each environment"
                )
            )
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"cannot read {path}: {getattr(error, 'strerror', None) or error}"))
        return {}
    import tomllib

    try:
        whole = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nestings without an end
        problems.append(Problem(f"{path} is not TOML: {error}"))
        return {}
    environments = whole.pop("env", {})
    if not isinstance(environments, dict) or not all(isinstance(one, dict) for one in environments.values()):
        problems.append(Problem(f"{path}: `env` holds tables", hint="write [env.NAME]"))
        return {}
    found = _of_table(whole, text, path, "", problems)
    for name, table in environments.items():
        own = _of_table(table, text, path, f"env.{name}", problems)
        if name == env:
            found |= own
    if env and env not in environments:
        names = ", ".join(environments) or "none"
        problems.append(Problem(f"{path} has no environment `{env}`", hint=f"it has {names}"))
    return found


def _of_table(
    table: Mapping[str, object], text: str, path: Path, header: str, problems: list[Problem]
) -> dict[str, str]:
    """A table's settings; a list is what a variable has with commas."""
    found = {}
    for key, value in table.items():
        words = value if isinstance(value, list) and key in LISTS else [value]
        if key == "bake_time" and isinstance(value, int) and not isinstance(value, bool):
            words = [str(value)]
        if key not in VARIABLES:
            import difflib  # only mistakes need it

            near = difflib.get_close_matches(key, VARIABLES, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(VARIABLES)}"
            if isinstance(value, dict):
                hint = f"write [env.{key}]"
            problems.append(Problem(f"`{key}` is not a setting", _line_of(text, path, header, key), hint))
        elif not all(isinstance(word, str) for word in words):
            problems.append(Problem(f"{key} must be text", _line_of(text, path, header, key)))
        elif key in CHOICES and value and value not in CHOICES[key]:
            problems.append(_no_choice(key, key, str(value), _line_of(text, path, header, key)))
        elif key == "bake_time" and words != [""] and _no_seconds(str(words[0])):
            problems.append(_no_bake_time(key, str(words[0]), _line_of(text, path, header, key)))
        elif key == "credentials" and not _unknown_home(str(value)):
            # As a path in a file is meant: from where the file is.
            found[key] = str(path.absolute().parent / Path(str(value)).expanduser())
        else:
            found[key] = ",".join(str(word) for word in words)
    return found


def _no_choice(where: str, name: str, value: str, position: Position | None = None) -> Problem:
    return Problem(f"{where} is `{value}`", position, f"use {' or '.join(CHOICES[name])}")


def _no_seconds(bake_time: str) -> bool:
    """Whether this is no number of seconds that AWS would bake for."""
    digits = bake_time.isascii() and bake_time.isdigit() and len(bake_time) <= len(str(MAX_BAKE_TIME_S))
    return not digits or int(bake_time) > MAX_BAKE_TIME_S


def _no_bake_time(where: str, value: str, position: Position | None = None) -> Problem:
    return Problem(f"{where} is `{value}`", position, f"give seconds, from 0 to {MAX_BAKE_TIME_S}")


def _unknown_home(credentials: str) -> Problem | None:
    """What is wrong with a path that begins with ~NAME, where nobody is named so."""
    try:
        Path(credentials).expanduser()
    except RuntimeError:
        problem = f"credentials is `{credentials}`, and this machine has no such home folder"
        return Problem(problem, hint="give the whole path")
    return None


def _line_of(text: str, path: Path, header: str, key: str) -> Position:
    """Where a key stands in its table; the beginning where it is written in another way."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = match[1]
        elif table == header and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return Position(str(path), number, 1 + len(line) - len(line.lstrip()))
    return Position(str(path), 1, 1)


def _home_of_user() -> str:
    """For services and cron jobs that get no HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a user without a name, as in some containers
        return "/nonexistent"
