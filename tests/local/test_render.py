"""Everything that provider `local` generates, as golden files: haproxy.cfg, dnsmasq, user data, QEMU argv."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.model import Port, Service, ServicePort
from i2kit.process import which
from i2kit.providers.local.design.desired import Desired, admit, order_of
from i2kit.providers.local.machines import userdata, vm
from i2kit.providers.local.reach import dns, haproxy
from tests.golden import check as golden

from .releases import release

FRONTENDS = (
    haproxy.Frontend(
        "default:web:80",
        http=True,
        listeners=(7, 8),
        servers=(
            haproxy.Server("default:web:0", "10.77.1.1", 80, on=True, health=10256),
            haproxy.Server("default:web:1", "10.77.1.2", 80, on=False, health=10257),
        ),
    ),
    haproxy.Frontend(
        "default:db:5432",
        http=False,
        listeners=(9,),
        servers=(haproxy.Server("default:db:0", "10.77.2.1", 5432, on=True),),
    ),
    haproxy.Frontend(
        "default:worker:health",
        http=True,
        listeners=(),
        servers=(haproxy.Server("default:worker:0", "10.77.3.1", 10256, on=True, health=10256),),
    ),
)


def two_deployments() -> Desired:
    ports = (ServicePort(80, 8080, "http"), ServicePort(9000, 9000, "for-admins"))
    shop = Service("web-shop", (("app", "web"),), ports, public=True)
    wanted = admit(Desired(), order_of(release("web", services=(shop,), ports=(Port(8080), Port(9000)))))
    return admit(wanted, order_of(release("db", ports=(Port(5432),), replicas=1, namespace="data")))


def test_haproxy_configuration() -> None:
    golden("local/haproxy.cfg", haproxy.render(FRONTENDS, stats_fd=5, check=True))


def test_where_a_vm_cannot_be_asked_and_all_is_accepted_only_the_guests_word_counts() -> None:
    text = haproxy.render(FRONTENDS[1:2], stats_fd=5, check=False)
    assert "check inter" not in text


@pytest.mark.skipif(which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_takes_the_configuration(tmp_path: Path) -> None:
    text = haproxy.render(FRONTENDS, stats_fd=5, check=True)
    # `-c` wants to see real listeners: addresses stand in for inherited descriptors.
    for number in (5, 7, 8, 9):
        text = text.replace(f"fd@{number}", f"127.0.0.1:{40000 + number}")
    config = tmp_path / "haproxy.cfg"
    config.write_text(text)
    done = subprocess.run([which("haproxy") or "", "-c", "-f", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_dnsmasq_configuration_and_names() -> None:
    wanted = two_deployments()
    config = dns.configuration(hosts=Path("/r/hosts"), leases=Path("/r/leases"), dhcp_hosts=Path("/r/dhcp"))
    hosts = dns.host_lines(wanted, [dns.Machine("10.77.2.1", "web-0a1b2", "default/web", ready=True)])
    golden("local/dnsmasq.conf", config)
    golden("local/hosts", hosts)
    slots = [(one, one.slots) for one in wanted.deployments]
    golden("local/dhcp-hosts", dns.dhcp_lines(slots))


def test_user_data_in_both_networks() -> None:
    wanted = two_deployments()
    web = next(one for one in wanted.deployments if one.name == "web")
    for mode in (True, False):
        text = userdata.render(web, "web-0a1b2", wanted.services, namespace_network=mode)
        golden(f"local/user-data-{'namespace' if mode else 'user'}", text)


def test_a_vm_is_told_only_of_services_of_its_own_namespace() -> None:
    wanted = two_deployments()
    found = userdata.discovery("data", wanted.services, namespace_network=True)
    assert list(found) == ["DB_SERVICE_HOST", "DB_SERVICE_PORT"]


def test_the_port_that_a_vm_is_told_of_a_service_is_its_first() -> None:
    ports = (ServicePort(8080, 8080, "http"), ServicePort(53, 53, "dns", "UDP"), ServicePort(81, 81, "raw"))
    front = Service("db", (("app", "db"),), ports)
    state = admit(Desired(), order_of(release("db", services=(front,))))
    found = userdata.discovery("default", state.services, namespace_network=True)
    assert found["DB_SERVICE_PORT"] == "8080" and found["DB_SERVICE_PORT_DNS"] == "53"


@pytest.mark.parametrize("network", ["tap", "user"])
def test_qemu_arguments(network: str) -> None:
    machine = two_deployments().deployments[0].machine
    net: vm.TapNetwork | vm.UserNetwork = vm.TapNetwork(9, "52:54:00:4d:01:01")
    if network == "user":
        net = vm.UserNetwork(((41000, 80),), "52:54:00:4d:01:01")
    words = vm.argv(
        "web-0a1b2",
        replace(machine, root="/odd,path/root.erofs", cpus=3),
        net,
        vm.Channels(10, 11, 12),
        accelerator="tcg",
        most_cpus=2,
        userdata=Path("/r/web-0a1b2.user-data") if network == "user" else None,
        drives=[vm.Drive(13, "disk0"), vm.Drive(14, "secrets", read_only=True)] if network == "user" else (),
    )
    golden(f"local/qemu-{network}.txt", "\n".join(words) + "\n")


def test_a_sandbox_shows_qemu_only_what_it_names() -> None:
    words = vm.sandboxed(
        ["qemu", "-x"],
        reads=["/store/kernel"],
        devices=["/dev/kvm"],
        own_network=True,
    )
    golden("local/sandbox.txt", "\n".join(words) + "\n")
    assert "--unshare-net" not in vm.sandboxed([], reads=(), devices=(), own_network=False)
