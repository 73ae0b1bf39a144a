"""What only AWS knows: certificates, key pairs, instance types. Each is asked of the emulator."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from i2kit.errors import OperationError, Problem
from i2kit.model import Resources
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.session import connect
from i2kit.providers.aws.place.surroundings import Surroundings, problems
from i2kit.providers.aws.values import Network, Options, Subnet
from i2kit.settings import AwsSettings

from .conftest import REGION, Aws
from .releases import CERTIFICATE, NETWORK, OPTIONS, PRIVATE_SUBNETS, SUBNETS, release, service

HERE = Surroundings(NETWORK, None)
PUBLIC = (service("web", (80, 80, None), public=True),)


@pytest.fixture
def account(aws: Aws) -> Account:
    return Account(connect())


def found(account: Account, options: Options = OPTIONS, **words: Any) -> tuple[Problem, ...]:
    network = words.pop("network", NETWORK)
    return problems(account, release(**words), Surroundings(network, None), options)


def typed(account: Account, name: str, **words: Any) -> tuple[Problem, ...]:
    return found(account, replace(OPTIONS, instance_type=name), **words)


def test_nothing_is_wrong_with_what_is_there(aws: Aws, account: Account) -> None:
    aws.client("ec2").create_key_pair(KeyName="ops")
    options = replace(OPTIONS, key_pair="ops", certificate=issued(aws), instance_type="c5.large")
    assert found(account, options) == ()
    assert found(account) == ()


def test_all_is_said_at_once_with_what_to_do(aws: Aws, account: Account) -> None:
    aws.client("ec2").create_key_pair(KeyName="mine")
    options = replace(OPTIONS, key_pair="ops", certificate=CERTIFICATE, instance_type="t9.huge")
    wrong = found(account, options)
    assert [one.message for one in wrong] == [
        f"there is no certificate {CERTIFICATE} in this account",
        f"there is no key pair `ops` in {REGION}",
        f"AWS has no instance type `t9.huge` in {REGION}",
    ]
    assert [one.hint for one in wrong] == [
        "see what there is: aws acm list-certificates --region us-east-1",
        "those that are there: mine",
        "use t3.nano, or leave I2KIT_INSTANCE_TYPE out",
    ]


# --- certificates -----------------------------------------------------------------------------


def issued(aws: Aws, *, seconds: int = 3600) -> str:
    """A certificate of our own, imported, which ends in so many seconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.com")])
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    made = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=end - timedelta(days=90),
        not_valid_after=end,
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    found: str = aws.client("acm").import_certificate(Certificate=made.public_bytes(pem), PrivateKey=private)[
        "CertificateArn"
    ]
    return found


def test_a_certificate_that_waits_for_its_validation(aws: Aws, account: Account) -> None:
    acm = aws.client("acm")
    arn = acm.request_certificate(DomainName="example.com", ValidationMethod="DNS")["CertificateArn"]
    (problem,) = found(account, replace(OPTIONS, certificate=arn))
    assert problem.message.startswith("the certificate for example.com is PENDING_VALIDATION")
    assert "add the DNS record" in str(problem.hint)


def test_a_certificate_that_has_expired(aws: Aws, account: Account) -> None:
    arn = issued(aws, seconds=3)
    while aws.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]["Status"] == "ISSUED":
        time.sleep(0.2)
    (problem,) = found(account, replace(OPTIONS, certificate=arn))
    assert "is EXPIRED" in problem.message
    assert "renew it" in str(problem.hint)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:server-certificate/mine",
        CERTIFICATE.replace(REGION, "eu-west-1"),  # `checks` refuses it
        "mine",
    ],
)
def test_other_certificates_are_not_asked_for(aws: Aws, account: Account, arn: str) -> None:
    assert found(account, replace(OPTIONS, certificate=arn)) == ()
    assert "acm:DescribeCertificate" not in aws.emulator.control("calls")


# --- instance types ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("m6g.large", "it is arm64, and the image x86_64"),
        ("m4.large", "it runs on Xen"),
        ("i386.large", "AWS has no instance type"),
    ],
)
def test_types_that_the_table_does_not_know(aws: Aws, account: Account, name: str, why: str) -> None:
    (problem,) = typed(account, name)
    assert why in problem.message
    assert "use t3.nano" in str(problem.hint)


def test_an_arm_image_on_an_intel_type(aws: Aws, account: Account) -> None:
    options = replace(OPTIONS, architecture="arm64", instance_type="c5.large")
    (problem,) = found(account, options)
    assert "it is x86_64, and the image arm64" in problem.message
    assert "use t4g.nano" in str(problem.hint)
    assert found(account, replace(options, instance_type="c7g.medium")) == ()


def test_bare_metal_has_no_hypervisor_and_fits(aws: Aws, account: Account) -> None:
    assert typed(account, "c5.metal") == ()


def test_a_pod_that_is_too_large_for_it(aws: Aws, account: Account) -> None:
    (problem,) = typed(account, "c5.large", resources=Resources(memory_request_bytes=4 << 30))
    assert "the pod requests 4,192 MiB of memory and 0 vCPU, and it has 3,788 MiB to use" in problem.message
    (problem,) = typed(account, "c5.large", resources=Resources(cpu_request_millis=2500))
    assert "2.5 vCPU" in problem.message
    assert "use t3.xlarge" in str(problem.hint)


def test_a_type_has_to_be_offered_where_the_subnets_are(aws: Aws, account: Account) -> None:
    only_e = replace(NETWORK, subnets=(Subnet("subnet-0000000e", "us-east-1e"),))
    (problem,) = found(account, network=only_e)
    assert problem.message == "t3.nano is offered in none of the zones of the subnets: us-east-1e"
    assert "us-east-1a, us-east-1b" in str(problem.hint)
    # One zone that has it is enough: groups go on to the next where a launch fails.
    assert found(account, network=replace(NETWORK, subnets=(*only_e.subnets, *SUBNETS))) == ()


def test_a_region_that_lacks_what_would_be_chosen(aws: Aws) -> None:
    account = Account(connect(AwsSettings(region="me-central-1")))
    subnets = (Subnet("subnet-0000000a", "me-central-1a"),)
    network = replace(NETWORK, subnets=subnets)
    wrong = found(account, Options("me-central-1"), network=network)
    assert "t3.nano" in wrong[0].message
    assert "use t3.nano" not in str(wrong[0].hint)


# --- zones ------------------------------------------------------------------------------------


def test_a_public_load_balancer_has_to_reach_the_machines(aws: Aws, account: Account) -> None:
    reached: Network = replace(NETWORK, subnets=(*SUBNETS, *PRIVATE_SUBNETS))
    assert found(account, network=reached, services=PUBLIC) == ()
    missed = replace(reached, subnets=(SUBNETS[0], *PRIVATE_SUBNETS))
    (problem,) = found(account, network=missed, services=PUBLIC)
    assert f"cannot reach machines in {PRIVATE_SUBNETS[1].id} (us-east-1b)" in problem.message
    assert found(account, network=missed) == ()


# --- permissions ------------------------------------------------------------------------------


def test_what_may_not_be_read_is_not_checked(aws: Aws, account: Account) -> None:
    options = replace(OPTIONS, key_pair="ops", instance_type="t9.huge")
    left = len(found(account, options))
    assert left == 2
    for action in ("DescribeKeyPairs", "DescribeInstanceTypes", "DescribeInstanceTypeOfferings"):
        aws.emulator.control("fault", code="UnauthorizedOperation", status=403, action=action, times=99)
        assert len(found(account, options)) <= left
        left = len(found(account, options))
    assert left == 0
    aws.emulator.control("no_faults")
    aws.emulator.control("fault", code="RequestExpired", status=403, action="DescribeKeyPairs")
    with pytest.raises(OperationError, match="RequestExpired"):
        found(account, options)


def test_a_certificate_that_may_not_be_read_is_not_checked(aws: Aws, account: Account) -> None:
    with Stubber(account.acm) as stub:
        stub.add_client_error("describe_certificate", "AccessDeniedException")
        assert found(account, replace(OPTIONS, certificate=CERTIFICATE)) == ()
        stub.assert_no_pending_responses()
