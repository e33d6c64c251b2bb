"""The lab itself: what every end-to-end test takes for granted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dns.exception
import dns.flags
import dns.rcode
import pytest

from tests.lab import mail
from tests.lab.certificates import CertificateAuthority
from tests.lab.dns import Record
from tests.lab.lab import Lab, PeerSpec
from tests.lab.netns import NETNS_ETC, RUN_ROOT, cleanup, namespaces
from tests.lab.postfix import PostfixConfig, PrivatePostfix
from tests.lab.process import Processes, started_at
from tests.lab.waiting import LabError, free_port, tcp_port_answers, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture(scope="module")
def running_lab() -> Iterator[Lab]:
    specs = (PeerSpec("tls.example", "tls"), PeerSpec("clear.example", "clear"))
    with Lab(peers=specs, with_restante=False) as lab:
        yield lab


@pytest.fixture
def lab(running_lab: Lab) -> Lab:
    running_lab.reset()
    return running_lab


def test_mail_to_the_tls_peer_arrives_whole_over_tls_1_3_and_nothing_of_it_is_in_the_clear_log(lab: Lab) -> None:
    content = mail.triggered("MARKER-51", to=["bob@tls.example"])
    assert lab.send(content, ["bob@tls.example"]).accepted
    (received,) = lab.peer("tls").wait_for_mails()
    assert (received.tls, received.tls_version) == (True, "TLSv1.3")
    assert received.recipients == ("bob@tls.example",)
    assert "MARKER-51" in received.message.get_content()
    assert b"EHLO" in lab.peer("tls").clear_bytes()
    assert b"MARKER-51" not in lab.peer("tls").clear_bytes()


def test_mail_to_the_clear_peer_arrives_in_clear_and_the_clear_log_shows_it(lab: Lab) -> None:
    assert lab.send(mail.triggered("MARKER-52"), ["bob@clear.example"]).accepted
    (received,) = lab.peer("clear").wait_for_mails()
    assert (received.tls, received.tls_version) == (False, "")
    assert b"MARKER-52" in lab.peer("clear").clear_bytes()


def test_content_survives_byte_for_byte_dots_included(lab: Lab) -> None:
    content = b"Subject: dots\r\n\r\n.\r\n..two\r\n.three \xff\xfe\r\n\r\n.\r\n"
    assert lab.send(content, ["bob@tls.example"]).accepted
    (received,) = lab.peer("tls").wait_for_mails()
    assert received.content.endswith(content.partition(b"\r\n\r\n")[2])


def test_mail_for_the_site_reaches_its_mailbox_host(lab: Lab) -> None:
    assert lab.send(mail.newsletter(), ["ann@site.example"]).accepted
    (received,) = lab.mailboxes.wait_for_mails()
    assert received.recipients == ("ann@site.example",)


@pytest.mark.parametrize(
    ("behaviour", "tls_versions"),
    [
        ("clear", [""]),
        ("self-signed", ["TLSv1.3"]),
        ("expired", ["TLSv1.3"]),
        ("handshake-fails", [""]),
        ("starttls-garbage", [""]),
        ("mangled-ehlo", [""]),
        ("refused-ehlo", [""]),
        ("tls1.0-only", ["TLSv1"]),
        ("greylist", ["TLSv1.3"]),
    ],
)
def test_a_behaviour_set_at_run_time_is_what_postfix_meets(lab: Lab, behaviour: str, tls_versions: list[str]) -> None:
    lab.peer("tls").behave(behaviour)
    assert lab.send(mail.newsletter(), ["bob@tls.example"]).accepted
    assert [received.tls_version for received in lab.peer("tls").wait_for_mails()] == tls_versions


def test_a_peer_that_drops_tls_offers_it_to_the_first_connection_only(lab: Lab) -> None:
    lab.peer("tls").behave("drops-tls")
    for _ in range(2):
        assert lab.send(mail.newsletter(), ["bob@tls.example"]).accepted
        lab.postfix.wait_empty()
    assert [received.tls for received in lab.peer("tls").mails()] == [True, False]


@pytest.mark.parametrize("behaviour", ["closed", "tempfail-421", "truncated-ehlo", "data-451"])
def test_a_failing_peer_leaves_the_message_in_the_queue_and_gets_it_once_it_works(lab: Lab, behaviour: str) -> None:
    lab.peer("tls").behave(behaviour)
    assert lab.send(mail.newsletter(), ["bob@tls.example"]).accepted
    lab.postfix.wait_for_log("status=deferred", after=len(lab.postfix.log()) - 200)
    assert lab.peer("tls").mails() == []
    lab.peer("tls").behave("tls")
    for _ in range(4):  # qmgr may have met the message while it was locked, and then waits for minutes
        lab.postfix.flush()
        with suppress(LabError):
            lab.peer("tls").wait_for_mails(seconds=5)
            break
    assert len(lab.peer("tls").mails()) == 1
    lab.postfix.wait_empty()


@pytest.mark.parametrize(
    ("name", "rcode", "authentic"),
    [
        ("tls.example", dns.rcode.NOERROR, True),
        ("nullmx.example", dns.rcode.NOERROR, True),
        ("missing.example", dns.rcode.NXDOMAIN, True),
        ("unsigned.test", dns.rcode.NXDOMAIN, False),
    ],
)
def test_the_resolver_validates(lab: Lab, name: str, rcode: dns.rcode.Rcode, authentic: bool) -> None:  # noqa: FBT001
    answer = lab.dns.query(name, "MX")
    assert (answer.rcode(), bool(answer.flags & dns.flags.AD)) == (rcode, authentic)


def test_records_change_at_once_and_dns_can_fall_silent(lab: Lab) -> None:
    assert lab.dns.query("new.example", "MX").rcode() == dns.rcode.NXDOMAIN
    lab.dns.add(Record("new.example", "MX", "10 mx.tls.example."))
    assert "10 mx.tls.example." in lab.dns.query("new.example", "MX").answer[0].to_text()
    lab.dns.replace(Record("new.example", "MX", "20 mx.clear.example."))
    assert [record.to_text() for record in lab.dns.query("new.example", "MX").answer[0]] == ["20 mx.clear.example."]
    lab.dns.delete("new.example")
    assert lab.dns.query("new.example", "MX").rcode() == dns.rcode.NXDOMAIN
    lab.dns.pause()
    with pytest.raises(dns.exception.Timeout):
        lab.dns.query("tls.example", "MX", timeout=0.5)
    lab.dns.resume()
    assert lab.dns.query("tls.example", "MX").answer


def test_a_peer_can_come_and_go(lab: Lab) -> None:
    peer = lab.add_peer("late.example", "tls")
    assert lab.send(mail.newsletter(), ["bob@late.example"]).accepted
    assert [received.tls_version for received in peer.wait_for_mails()] == ["TLSv1.3"]
    lab.remove_peer("late.example")
    assert lab.dns.query("late.example", "MX").rcode() == dns.rcode.NXDOMAIN
    assert peer.host.namespace not in namespaces()
    assert peer not in lab.peers


def test_inside_a_namespace_resolv_conf_names_the_lab(lab: Lab) -> None:
    assert f"nameserver {lab.network.nameserver}" in lab.mta.run(["cat", "/etc/resolv.conf"]).stdout


def test_a_private_postfix_runs_on_the_hosts_loopback_beside_an_installed_one() -> None:
    with tempfile.TemporaryDirectory(prefix=f"rst{os.getpid()}-", dir=RUN_ROOT) as name:
        directory = Path(name)
        directory.chmod(0o755)
        processes = Processes(directory)
        authority = CertificateAuthority(directory)
        postfix = PrivatePostfix(directory / "postfix", processes, host=None, ca_file=authority.bundle)
        postfix.prepare()
        postfix.configure(PostfixConfig(port=free_port(), main_cf={"default_transport": "discard"}))
        try:
            postfix.start()
            sent = mail.send(mail.newsletter(), mail.SENDER, mail.RECIPIENTS, host=None, port=postfix.port)
            assert sent.accepted
            postfix.wait_for_log("relay=none.*status=sent \\(tls.example\\)")
            postfix.wait_empty()
        finally:
            processes.stop_all()
        wait_until(lambda: not tcp_port_answers("127.0.0.1", postfix.port), 10, "the port to be free")


_VICTIM = """
import sys
from tests.lab.lab import Lab
with Lab(peers=(), with_restante=False) as lab:
    print(*(process.pid for process in lab.processes._started), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_the_lab_ends(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_VICTIM)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as victim:
        assert victim.stdout is not None
        children = [int(pid) for pid in victim.stdout.readline().split()]
        prefix = f"rst{victim.pid}-"
        assert children
        assert [name for name in namespaces() if name.startswith(prefix)]
        victim.send_signal(number)
        victim.wait(30)
    if number is signal.SIGKILL:
        cleanup()
    assert [name for name in namespaces() if name.startswith(prefix)] == []
    assert list(NETNS_ETC.glob(f"{prefix}*")) == []
    assert list(RUN_ROOT.glob(f"{prefix}*")) == []
    wait_until(lambda: not any(started_at(pid) for pid in children), 5, "the lab's processes to be gone")


def test_a_lab_that_cannot_start_is_removed_and_names_the_reason() -> None:
    before = namespaces()
    twice = (PeerSpec("tls.example", "tls"), PeerSpec("tls.example", "clear"))
    with pytest.raises(LabError, match="peer tls exists"), Lab(peers=twice, with_restante=False):
        pass
    assert namespaces() == before
