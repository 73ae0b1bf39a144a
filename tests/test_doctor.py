"""What doctor finds, and what it tells to install."""

from pathlib import Path

import pytest

from i2kit import doctor, process, settings


def test_every_program_we_run_is_in_a_package_that_setup_installs() -> None:
    text = doctor.PACKAGES_FILE.read_text()
    installed = doctor.packages(text, "run")
    # passt is taken instead of slirp4netns where it is new enough; busybox comes as a .deb of the image.
    optional = {"passt", "busybox-static"}
    assert set(process.PACKAGES.values()) - set(installed) <= optional


def test_packages_are_read_by_purpose() -> None:
    text = "# list\nhaproxy run  # balances\n\nskopeo  demo test\n"
    assert doctor.packages(text, "run") == ("haproxy",)
    assert doctor.packages(text, "test") == ("skopeo",)


def test_a_missing_program_is_named_with_its_package_and_one_line_installs_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    holds = {
        "haproxy": "haproxy",
        "ip": "iproute2",
        "ss": "iproute2",
        "dnsmasq": "dnsmasq-base",
        "other": "x",
    }
    checks = list(doctor.programs(("haproxy", "iproute2", "dnsmasq-base"), holds))
    assert [(check.name, check.state, check.package) for check in checks] == [
        ("dnsmasq", "missing", "dnsmasq-base"),
        ("haproxy", "missing", "haproxy"),
        ("ip", "ok", None),
        ("ss", "missing", "iproute2"),
    ]
    line = "apt-get install --no-install-recommends dnsmasq-base haproxy iproute2"
    assert doctor.mend(checks, root=True) == line
    assert doctor.mend(checks, root=False) == f"sudo {line}"


def test_nothing_to_install_is_no_line() -> None:
    assert doctor.mend([doctor.Check("disk", "limited", "little left")], root=True) is None


def test_a_store_that_cannot_be_used_is_one_of_the_checks(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    found = doctor.room(tmp_path / "file")
    assert found.state == "missing" and found.hint and "I2KIT_STORE_DIR" in found.hint
    assert doctor.room(tmp_path / "not" / "yet").state != "missing"
    (tmp_path / "damaged" / "kernels").mkdir(parents=True)
    (tmp_path / "damaged" / "blobs").touch()
    for store in ("file", "damaged"):
        assert doctor.kernel(tmp_path / store).detail == "the distribution's"


def test_whether_aws_could_be_deployed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "I2KIT_REGION"):
        monkeypatch.delenv(name, raising=False)
    lacking = doctor.aws(settings.load())
    assert (lacking.state, lacking.detail) == ("limited", "it is not said in which region of AWS")
    monkeypatch.setenv("I2KIT_REGION", "eu-west-1")
    assert doctor.aws(settings.load()).detail == "credentials, and region eu-west-1"
