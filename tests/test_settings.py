"""Where things are kept, by who asks and what the environment says."""

import os
import pwd
from pathlib import Path

import pytest

from i2kit import settings
from i2kit.errors import InputError


def folders(monkeypatch: pytest.MonkeyPatch, uid: int, **environ: str) -> tuple[Path, Path, Path]:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    found = settings.load(environ)
    return found.state_dir, found.run_dir, found.store_dir


def test_root_keeps_things_where_the_system_does(monkeypatch: pytest.MonkeyPatch) -> None:
    var = Path("/var/lib/i2kit")
    assert folders(monkeypatch, 0, HOME="/root") == (var, Path("/run/i2kit"), var / "store")


def test_a_user_keeps_things_at_home_and_sockets_where_a_logout_leaves_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1000"}
    state = Path("/home/ada/.local/state/i2kit")
    assert folders(monkeypatch, 1000, **home) == (state, state / "run", Path("/home/ada/.local/share/i2kit"))
    xdg = {"XDG_STATE_HOME": "/s", "XDG_DATA_HOME": "/d"}
    found = folders(monkeypatch, 1000, **home, **xdg)
    assert found == (Path("/s/i2kit"), Path("/s/i2kit/run"), Path("/d/i2kit"))


def test_without_a_variable_home_the_user_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    assert folders(monkeypatch, nobody.pw_uid)[0] == Path(nobody.pw_dir, ".local/state/i2kit")
    assert folders(monkeypatch, 4_000_000)[0] == Path("/nonexistent/.local/state/i2kit")


@pytest.mark.parametrize("uid", [0, 1000])
def test_what_is_given_counts(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    given = {"I2KIT_STATE_DIR": "/a", "I2KIT_STORE_DIR": "/c"}
    assert folders(monkeypatch, uid, **given) == (Path("/a"), Path("/a/run"), Path("/c"))
    assert folders(monkeypatch, uid, **given, I2KIT_RUN_DIR="/b")[1] == Path("/b")


def test_a_value_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="I2KIT_ACCEL is `hvf`"):
        settings.load({"I2KIT_ACCEL": "hvf", "HOME": "/"})


TOML = """\
region = "eu-west-1"
accelerator = "tcg"

[env.staging]
provider = "aws"
hosted_zone = "staging.example.com"
subnet = ["subnet-1", "subnet-2"]
credentials = "secrets/aws"

[env.production]
provider = "aws"
region = "us-east-1"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i2kit.toml").write_text(TOML)
    return tmp_path


def test_the_file_of_a_folder_has_environments(here: Path) -> None:
    plain = settings.load({})
    assert (plain.provider, plain.accelerator, plain.aws.region) == ("local", "tcg", "eu-west-1")
    staging = settings.load({}, env="staging")
    assert (staging.provider, staging.accelerator) == ("aws", "tcg")
    assert staging.aws == settings.AwsSettings(
        region="eu-west-1",
        hosted_zone="staging.example.com",
        subnets=("subnet-1", "subnet-2"),
        credentials=here / "secrets/aws",
    )
    assert settings.load({"I2KIT_ENV": "production"}).aws.region == "us-east-1"


def test_flags_win_over_variables_and_these_over_the_file(here: Path) -> None:
    environ = {"I2KIT_ENV": "production", "I2KIT_REGION": "eu-north-1", "I2KIT_SUBNET": "subnet-7"}
    found = settings.load(environ, env="staging", provider="local")
    assert (found.provider, found.aws.region, found.aws.subnets) == ("local", "eu-north-1", ("subnet-7",))


def test_alarms_and_the_time_that_they_are_heeded_after_an_update(here: Path) -> None:
    (here / "i2kit.toml").write_text('alarms = ["web: errors", "slow"]\nbake_time = 600\n')
    assert settings.load({}).aws == settings.AwsSettings(alarms=("web: errors", "slow"), bake_time_s=600)
    found = settings.load({"I2KIT_ALARMS": "web: errors, ", "I2KIT_BAKE_TIME": "0"}).aws
    assert (found.alarms, found.bake_time_s) == (("web: errors",), 0)
    (here / "i2kit.toml").write_text("bake_time = 172801\n")
    with pytest.raises(InputError) as caught:
        settings.load({"I2KIT_BAKE_TIME": "10m"})
    assert [str(problem) for problem in caught.value.problems] == [
        "i2kit.toml:1:1: bake_time is `172801`\n  hint: give seconds, from 0 to 172800",
        "I2KIT_BAKE_TIME is `10m`\n  hint: give seconds, from 0 to 172800",
    ]


def test_everything_that_is_wrong_with_the_file_is_said_at_once_with_its_line(here: Path) -> None:
    (here / "i2kit.toml").write_text('regoin = "x"\n\n[env.a]\nvpc = 5\nprovider = "moon"\n')
    with pytest.raises(InputError) as caught:
        settings.load({"I2KIT_ACCEL": "hvf"}, env="a")
    assert [str(problem) for problem in caught.value.problems] == [
        "i2kit.toml:1:1: `regoin` is not a setting\n  hint: did you mean `region`?",
        "i2kit.toml:4:1: vpc must be text",
        "i2kit.toml:5:1: provider is `moon`\n  hint: use local or aws",
        "I2KIT_ACCEL is `hvf`\n  hint: use auto or kvm or tcg",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region = ", "i2kit.toml is not TOML: Invalid value (at end of document)"),
        ("env = 5", "i2kit.toml: `env` holds tables"),
        ("[env.b]", "i2kit.toml has no environment `a`"),
        ("a = " + "1" * 5000, "i2kit.toml is not TOML"),
        ("a = " + "[" * 5000, "i2kit.toml is not TOML"),
        ("[a]\nregion = 'x'", "i2kit.toml:1:1: `a` is not a setting\n  hint: write [env.a]"),
        ("[env.a]\ncredentials = '~no-such-user/a'", "this machine has no such home folder"),
        (b"\xff", "cannot read i2kit.toml"),
        (None, "there is no file i2kit.toml"),
    ],
)
def test_a_file_that_cannot_be_used(here: Path, text: str | bytes | None, message: str) -> None:
    file = here / "i2kit.toml"
    file.unlink()
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        settings.load({}, env="a")
    assert message in str(caught.value)


def test_without_a_file_nothing_is_asked_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load({}).aws == settings.AwsSettings()
