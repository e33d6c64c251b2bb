"""What Postfix's log lines say of how mail really left; most lines are from a real Postfix 3.7.11."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.store.delivered import UNOBSERVED, Delivered
from restante_milter.mail_log import MailLog

HEAD = "Nov 21 22:31:32 mta "
PEER = "mx.d4.example[10.77.0.106]:25"
TLS = (
    HEAD + "postfix/restante-tls/smtp[26928]: Trusted TLS connection established to mx.d4.example[10.77.0.106]:25: "
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature ECDSA (prime256v1) "
    "server-digest SHA256"
)
HOSTILE = '"x>, relay=mx[1.2.3.4]:25, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)"@d4.example'
MESSAGE_ID = HEAD + "postfix-lab/cleanup[26889]: F289220E08F: message-id=<a4a09051@site.example>"


def sent(recipient: str = "bob@d4.example", relay: str = PEER, *, queue_id: str = "F289220E08F", rest: str = "") -> str:
    rest = rest or "dsn=2.0.0, status=sent (250 2.0.0 Ok: recorded)"
    return (
        f"{HEAD}postfix/restante-tls/smtp[26928]: {queue_id}: to=<{recipient}>, relay={relay}, delay=0.12, "
        f"delays=0.05/0/0.02/0.05, {rest}"
    )


def read(*lines: str) -> list[Delivered]:
    log = MailLog(10025)
    return [one for line in lines if (one := log.feed(line)) is not None]


@pytest.mark.behaviour("S4")
def test_a_delivery_carries_version_cipher_certificate_host_and_message_id() -> None:
    (one,) = read(MESSAGE_ID, TLS, sent())
    assert one == Delivered(
        queue_id="F289220E08F",
        recipient="bob@d4.example",
        transport="restante-tls",
        relay=PEER,
        tls_version="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        certificate="trusted",
        reply="250 2.0.0 Ok: recorded",
        header_message_id="<a4a09051@site.example>",
    )
    assert not one.alarming


@pytest.mark.behaviour("S4")
def test_several_recipients_of_one_session_all_went_with_its_tls() -> None:
    found = read(TLS, sent("a@d4.example"), sent("b@d4.example"))
    assert [(one.recipient, one.tls_version) for one in found] == [
        ("a@d4.example", "TLSv1.3"),
        ("b@d4.example", "TLSv1.3"),
    ]


@pytest.mark.behaviour("S4")
@pytest.mark.parametrize(
    "lines",
    [
        (sent(),),
        (TLS, sent(), sent(queue_id="AAAA1111")),  # the next message of the process has no session of its own
        (TLS, sent(rest="dsn=4.2.0, status=deferred (host said: 450 later)"), sent(queue_id="AAAA1111")),
        (TLS, sent(relay="127.0.0.1[127.0.0.1]:10025"), sent(queue_id="AAAA1111")),
        (TLS, sent(relay="mx2.d4.example[10.77.0.107]:25")),  # another host than the one that agreed on TLS
    ],
)
def test_a_delivery_without_a_session_of_its_own_is_an_alarm(lines: tuple[str, ...]) -> None:
    last = read(*lines)[-1]
    assert (last.tls_version, last.alarming) == ("", True)


@pytest.mark.behaviour("S4")
@pytest.mark.parametrize(
    "line",
    [
        sent(rest="dsn=4.2.0, status=deferred (host mx said: 450 4.2.0 Greylisted (in reply to RCPT TO command))"),
        sent(rest="dsn=5.1.1, status=bounced (host mx said: 550 no, status=sent (250 Ok))"),
        sent(relay="127.0.0.1[127.0.0.1]:10025"),
        sent(HOSTILE, relay="none", rest="dsn=4.4.1, status=deferred (connect: refused)"),
        HEAD + "postfix-lab/smtp[1]: F289220E08F: to=<a@b.example>, relay=x[1.2.3.4]:25, delay=1, delays=0/0/0/0, "
        "dsn=2.0.0, status=sent (250 ok)",
        HEAD + "postfix/restante-tls/smtp[26928]: connect to mx.d4.example[10.77.0.106]:25: Connection refused",
        "",
    ],
)
def test_what_was_not_delivered_is_no_evidence(line: str) -> None:
    assert read(TLS, line) == []


@pytest.mark.behaviour("S4")
def test_a_recipient_that_looks_like_a_log_line_is_read_as_a_recipient() -> None:
    (one,) = read(TLS, sent(HOSTILE))
    assert (one.recipient, one.relay, one.tls_version) == (HOSTILE, PEER, "TLSv1.3")


@pytest.mark.behaviour("S4")
def test_a_reply_with_parentheses_and_a_reused_connection_are_understood() -> None:
    line = sent(rest="dsn=2.0.0, status=sent (250 2.0.0 Ok (queued as 1) status=bounced (no))").replace(
        "delay=0.12", "conn_use=2, delay=1e+03"
    )
    (one,) = read(TLS, line)
    assert one.reply == "250 2.0.0 Ok (queued as 1) status=bounced (no)"


@pytest.mark.behaviour("S4")
def test_where_reading_began_in_the_middle_a_missing_session_is_no_alarm() -> None:
    log = MailLog(10025)
    log.gap = True
    one = log.feed(sent())
    assert one is not None
    assert (one.certificate, one.alarming) == (UNOBSERVED, False)


@pytest.mark.behaviour("S4")
def test_a_restarted_reader_knows_what_the_one_before_knew() -> None:
    first, second = MailLog(10025), MailLog(10025)
    assert [first.feed(line) for line in (MESSAGE_ID, TLS)] == [None, None]
    second.restore(json.loads(json.dumps(first.state())))
    one = second.feed(sent())
    assert one is not None
    assert (one.tls_version, one.header_message_id) == ("TLSv1.3", "<a4a09051@site.example>")


@given(
    st.lists(
        st.one_of(st.text(max_size=80), st.text(max_size=40).map(sent), st.sampled_from([TLS, MESSAGE_ID, sent()]))
    )
)
def test_no_text_stops_the_reader(lines: list[str]) -> None:
    read(*lines)
