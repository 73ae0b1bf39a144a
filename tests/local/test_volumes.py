"""Disks that outlive VMs: one VM at a time, never smaller, and never another deployment's."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import InputError, OperationError
from i2kit.model import Claim, Release, Scratch, SecretKey, Volume
from i2kit.providers import Rollback, Scale
from i2kit.providers.local.design import claims, desired, orders, plan
from i2kit.providers.local.design.claims import KeptVolume
from i2kit.providers.local.design.desired import Desired, admit, order_of
from i2kit.providers.local.design.orders import Here, order_for
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machines import userdata, volumes

from .releases import release

GIB = 1 << 30


def with_volumes(
    *given: Claim | Scratch, name: str = "db", replicas: int = 1, stateful: bool = False
) -> Release:
    one = release(name, replicas=replicas)
    made = tuple(Volume(f"v{number}", source) for number, source in enumerate(given))
    return replace(one, workload=replace(one.workload, volumes=made, stateful=stateful))


def kept(claim: str, size_bytes: int = GIB, deployment: str = "default/db") -> KeptVolume:
    return KeptVolume("default", claim, size_bytes, deployment, f"/state/volumes/default/{claim}.raw")


def problems(state: Desired, one: Release, *there: KeptVolume) -> list[str]:
    with pytest.raises(InputError) as caught:
        order_for(state, one.workload.key, one, (), Here(there))
    return [problem.message for problem in caught.value.problems]


def test_each_numbered_vm_has_its_own_disks_by_the_names_that_kubernetes_gives() -> None:
    one = with_volumes(Claim("data", GIB, each=True), Claim("x", GIB), Scratch(), replicas=2, stateful=True)
    state = admit(Desired(), order_of(one))
    (db,) = state.deployments
    assert claims.names(db) == ("data-db-0", "data-db-1", "x")
    assert [desired.instance_of(db, slot, "0a1b2") for slot in (0, 1)] == ["db-0", "db-1"]
    told = userdata.render(db, "db-0", (), namespace_network=True).splitlines()
    assert {"stable=1", "disk=v0=disk0", "disk=v1=disk1", "scratch=scratch"} <= set(told)
    assert not any(line.startswith("fqdn=") for line in told)
    below = replace(db, written=replace(db.written, subdomain="dbs"))
    assert "\nfqdn=db-1.dbs.default.svc.cluster.local\n" in userdata.render(
        below, "db-1", (), namespace_network=True
    )
    assert db.machine.scratch_bytes == GIB
    assert desired.from_json(desired.to_json(state)) == state


def test_another_disk_or_size_replaces_vms() -> None:
    prints = {
        order_of(with_volumes(*given)).machine.fingerprint
        for given in (
            (),
            (Claim("data", GIB),),
            (Claim("data", 2 * GIB),),
            (Claim("more", GIB),),
            (Claim("data", GIB), Scratch()),
            (Claim("data", GIB), Scratch(limit_bytes=GIB // 2)),
        )
    }
    assert len(prints) == 6
    in_memory = order_of(with_volumes(Scratch(memory=True))).machine
    assert (in_memory.scratch_bytes, in_memory.fingerprint in prints) == (0, True)


def test_a_disk_that_another_deployment_has_is_refused() -> None:
    state = admit(Desired(), order_of(with_volumes(Claim("data", GIB, each=True), stateful=True)))
    web = with_volumes(Claim("data-db-0", GIB), name="web")
    assert problems(state, web) == ["claim `data-db-0` of default/web is default/db's, which runs"]
    with pytest.raises(OperationError, match="default/db's, which runs"):
        claims.check(state, order_of(web))
    for other in (Claim("data-db-x", GIB), Claim("data-db-01", GIB), Claim("data", GIB, each=True)):
        order_for(state, "default/web", with_volumes(other, name="web"), ())


def test_what_cannot_be_had_here_is_refused() -> None:
    one = Claim("data", GIB)
    assert problems(Desired(), with_volumes(one, replicas=2)) == [
        "default/db has one disk, claim `data`, and cannot have 2 replicas"
    ]
    assert problems(Desired(), with_volumes(one, one)) == [
        "default/db has claim `data` in two of its volumes"
    ]
    cloud = with_volumes(Claim("data", GIB, source="vol-0123456789abcdef0"))
    assert "vol-0123456789abcdef0" in problems(Desired(), cloud)[0]
    assert problems(Desired(), with_volumes(one), kept("data", 2 * GIB)) == [
        "volume data of default/db has 2048 MiB, and none is ever made smaller"
    ]
    order_for(Desired(), "default/db", with_volumes(one), (), Here((kept("data", GIB),)))
    state = admit(Desired(), order_of(with_volumes(one)))
    with pytest.raises(InputError, match="2 replicas"):
        order_for(state, "default/db", Scale(2), ())


def test_a_rollback_keeps_a_disk_that_has_grown() -> None:
    state = desired.serve(admit(Desired(), order_of(with_volumes(Claim("data", GIB)))), "default/db")
    state = admit(state, order_of(with_volumes(Claim("data", 2 * GIB))))
    assert order_for(state, "default/db", Rollback(), {1, 2}, Here((kept("data", 2 * GIB),))).back_to == 1


def test_data_goes_only_with_a_destroy_that_says_so_also_that_of_what_is_gone() -> None:
    here = Here((kept("data"), kept("other", deployment="default/web"), kept("lost", deployment="")))
    stays = plan.plan("default/db", None, None, here=here)
    assert (stays.actions, stays.prepared) == ((), ())
    assert "/state/volumes/default/data.raw" in stays.notes[0]
    goes = plan.plan("default/db", None, None, here=here, volumes=True)
    assert [(one.verb, one.subject) for one in goes.actions] == [("remove", "volume default/data")]
    assert goes.prepared == (kept("data"),)


def test_a_disk_is_made_once_grows_and_is_one_vms_at_a_time(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path)

    def attach(size_bytes: int) -> int:
        return volumes.attach(layout, "default", "data", size_bytes, "default/db")

    fd = attach(1 << 20)
    os.pwrite(fd, b"mine", 4096)
    (one,) = volumes.found(layout)
    assert (one.key, one.size_bytes, one.deployment) == ("default/data", 1 << 20, "default/db")
    path = Path(one.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)} == {0o700}
    inherited = os.dup(fd)
    os.close(fd)
    with pytest.raises(OperationError, match="still attached"):
        attach(1 << 20)
    with pytest.raises(OperationError, match="still attached"):
        volumes.remove(layout, [one], patience_s=0)
    assert volumes.is_attached(layout, "default", "data")
    os.close(inherited)
    assert not volumes.is_attached(layout, "default", "data")
    for size, after in ((2 << 20, 2 << 20), (1 << 20, 2 << 20)):
        fd = attach(size)
        assert (os.fstat(fd).st_size, os.pread(fd, 4, 4096)) == (after, b"mine")
        os.close(fd)
    volumes.remove(layout, [one])
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state", tmp_path)
    (tmp_path / "other").write_text("other")
    folder = layout.volumes / "default"
    folder.mkdir(parents=True)
    (folder / "data.raw").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        volumes.attach(layout, "default", "data", 4096, "default/db")
    assert (tmp_path / "other").read_text() == "other"


def test_scratch_has_no_name_and_what_is_told_in_memory_can_only_be_read(tmp_path: Path) -> None:
    fd = volumes.scratch(Layout(tmp_path, tmp_path), 1 << 20)
    assert (os.fstat(fd).st_size, os.fstat(fd).st_nlink, list(tmp_path.iterdir())) == (1 << 20, 0, [])
    os.close(fd)
    fd = volumes.in_memory("a=b\n")
    assert os.read(fd, 9) == b"a=b\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"c")
    os.close(fd)


def test_the_set_of_secrets_is_part_of_the_vm_by_its_name_alone() -> None:
    one = release()
    one = replace(one, workload=replace(one.workload, secrets=(SecretKey("db", "password"),)))
    state = admit(Desired(), orders.order_for(Desired(), "default/web", one, (), Here(secrets="0a1b")))
    after = orders.order_for(state, "default/web", one, (), Here(secrets="2c3d"))
    assert after.machine.fingerprint != state.deployments[0].machine.fingerprint
    assert desired.secret_sets(admit(state, after)) == {"default/web": {"0a1b", "2c3d"}}
    told = userdata.render(state.deployments[0], "web-1", (), namespace_network=True)
    assert "secrets=metadata\n" in told
