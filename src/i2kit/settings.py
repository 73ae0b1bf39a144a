"""Where things are kept and how this run differs from the defaults: flags > I2KIT_* variables > defaults.

In: an environment and what the command line gave. Out: one frozen Settings that is passed down.
Never reads files that belong to a deployment.
"""

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from i2kit.errors import InputError, Problem
from i2kit.model import Architecture

NetworkMode = Literal["auto", "namespace", "user"]
Accelerator = Literal["auto", "kvm", "tcg"]


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
    docker_config: str | None = None
    """I2KIT_DOCKER_CONFIG: the base64 of a docker config.json; else the file in the usual places."""
    images: tuple[Path, ...] = ()
    """Local files that hold images under their names, looked at before any registry."""
    network: NetworkMode = "auto"
    accelerator: Accelerator = "auto"
    provider: str = "local"
    architecture: Architecture = "amd64"
    """Of the machine images that are built."""
    aws: AwsSettings = AwsSettings()


def load(
    environ: Mapping[str, str] = os.environ, *, locked: bool = False, images: Sequence[Path] = ()
) -> Settings:
    """Read the settings of this run. Raises InputError for a variable whose value makes no sense."""
    root = os.geteuid() == 0
    home = Path(environ.get("HOME") or _home_of_user())

    def directory(variable: str, as_root: str, xdg: str, fallback: Path) -> Path:
        if given := environ.get(variable):
            return Path(given).absolute()
        if root:
            return Path(as_root)
        base = environ.get(xdg)
        return (Path(base) if base else fallback) / "i2kit"

    problems = []
    choices = {"I2KIT_LOCAL_NETWORK": ("auto", "namespace", "user"), "I2KIT_ACCEL": ("auto", "kvm", "tcg")}
    for variable, allowed in choices.items():
        if (value := environ.get(variable, "auto")) not in allowed:
            problems.append(
                Problem(
                    f"the environment variable {variable} is `{value}`", hint=f"use {' or '.join(allowed)}"
                )
            )
    if problems:
        raise InputError(problems)

    state_dir = directory("I2KIT_STATE_DIR", "/var/lib/i2kit", "XDG_STATE_HOME", home / ".local/state")
    # Not XDG_RUNTIME_DIR: that goes away at logout, while the machines run on.
    run_dir = Path("/run/i2kit") if root and not environ.get("I2KIT_STATE_DIR") else state_dir / "run"
    if given := environ.get("I2KIT_RUN_DIR"):
        run_dir = Path(given).absolute()
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
        network=cast(NetworkMode, environ.get("I2KIT_LOCAL_NETWORK", "auto")),
        accelerator=cast(Accelerator, environ.get("I2KIT_ACCEL", "auto")),
    )


def _home_of_user() -> str:
    """For services and cron jobs that get no HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a user without a name, as in some containers
        return "/nonexistent"
