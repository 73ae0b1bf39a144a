"""What the template tells the guest of the pod: times, where it answers, and how it is asked."""

from dataclasses import replace
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from i2kit.image import podfile
from i2kit.image.linuxkit import parse
from i2kit.image.template import render
from i2kit.model import Container, Exec, Grpc, HttpGet, Port, Probe, Security, TcpSocket, Workload
from tests import golden
from tests.image.test_template import BASE, image

WEB = Container(
    "web",
    "app",
    startup=Probe(HttpGet(8080, "/a b?c=d&e=%20"), period_s=1, failure_threshold=30, grace_s=0),
    liveness=Probe(TcpSocket(8080, "db.local"), initial_delay_s=5, timeout_s=3),
    readiness=Probe(
        HttpGet(8443, scheme="HTTPS", headers=(("Host", "é: x"), ("X-A", 'quo"te\n')), host="::1"),
        success_threshold=2,
    ),
)
DB = Container(
    "db",
    "app",
    env=(("A", "a"), ("B", "$(A)")),
    liveness=Probe(
        Exec(("sh", "-c", "test '/a b' &&\n\techo \\$1=%41", "", "ü", "$(A)$(B)$$(A)$(C)")), grace_s=7
    ),
    readiness=Probe(Grpc(9000, "my.Service")),
    ports=(Port(10256),),
    security=Security(no_new_privileges=True),
)


def test_all_handlers() -> None:
    """Readable where it can be, and one line for each probe."""
    sysctls = (("net/core/somaxconn", "1024"), ("net/ipv4/tcp_rmem", "4096 87380 6291456"))
    workload = Workload("pod", (WEB, DB), grace_s=12, sysctls=sysctls)
    golden.check("template/probes.txt", podfile.render(workload))
    (file,) = parse("pod.yml", render(workload, dict.fromkeys(("web", "db"), image("app")), BASE)).files
    assert (file.place, file.mode, file.contents) == ("etc/i2kit/pod", "0644", podfile.render(workload))


def test_lines_of_the_hosts_file() -> None:
    text = podfile.render(Workload("pod", (DB,), hosts=(("192.0.2.1", "a b.example"), ("::1", "c"))))
    assert text.splitlines()[2:4] == ["hosts=192.0.2.1 a b.example", "hosts=::1 c"]


def test_a_name_of_its_own_is_told() -> None:
    assert "hostname=db\n" in podfile.render(Workload("pod", (DB,), hostname="db"))
    assert "hostname" not in podfile.render(Workload("pod", (DB,)))


def test_what_changes_the_image_and_what_does_not() -> None:
    def template(workload: Workload) -> str:
        return render(workload, dict.fromkeys(("web", "db"), image("app")), BASE)

    one = Workload("one", (WEB,))
    assert template(one) == template(
        replace(one, name="two", replicas=4, labels=(("a", "b"),), min_ready_s=9)
    )
    assert template(one) != template(replace(one, grace_s=31))
    assert template(one) != template(replace(one, containers=(replace(WEB, liveness=None),)))


@pytest.mark.parametrize("key", ["arg", "header"])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0$"))))
def test_any_text_is_one_word_and_comes_back(key: str, texts: list[str]) -> None:
    handler = Exec(tuple(texts)) if key == "arg" else HttpGet(1, headers=tuple((t, t) for t in texts))
    rendered = podfile.render(Workload("pod", (Container("c", "i", liveness=Probe(handler)),)))
    contents = yaml.safe_load(
        render(Workload("p", (Container("c", "app", liveness=Probe(handler)),)), {"c": image("app")}, BASE)
    )["files"][0]["contents"]
    assert contents == rendered
    (line,) = (line for line in rendered.split("\n") if line.startswith("probe="))
    found = [word.partition("=")[2] for word in line.split(" ") if word.startswith(f"{key}=")]
    parts = [[unquote(part) for part in value.split(":")] for value in found]
    assert parts == [[text] * len(part) for text, part in zip(texts, parts, strict=True)]
