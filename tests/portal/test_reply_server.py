"""Uploads at the real server: broken, endless, slow, and what they leave in memory and on the disk meanwhile."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from restante.settings import HostPort
from restante.store.models import AuditRecord, Reply, ReplyState
from tests.lab.waiting import wait_until
from tests.portal.conftest import Post, make_post, make_settings
from tests.portal.server import PortalServer, Visitor, free_port
from tests.portal.test_server import resident, worker_of

MEGABYTE = 1024 * 1024
MARK = b"CANARY-OF-AN-UPLOAD;"


@dataclass
class Running:
    """A portal that runs, and its store."""

    post: Post
    server: PortalServer

    def open(self) -> tuple[Visitor, str, str]:
        """A visitor who has a message open, the beginning of a form that replies to it, and the id of the copy."""
        delivery_id = self.post.hold()[0]
        visitor = Visitor(self.post.settings)
        assert visitor.open(self.post.link(delivery_id)).status == 303
        page = visitor.get("/message/reply").text
        form = dict(re.findall(r'<input type="hidden" name="(form_key|reply|stamp)" value="([^"]*)"', page))
        fields = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in {**form, "text": "my words", "action": "send"}.items()
        )
        head = '--b\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n'
        return visitor, fields + head, delivery_id

    def states(self, delivery_id: str) -> list[str]:
        with self.post.store.read() as session:
            return list(session.scalars(select(Reply.state).where(Reply.delivery_id == delivery_id)))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("portal")
    port = free_port()
    settings, worker_private = make_settings(
        folder, f"sqlite:///{folder}/restante.db", url=f"http://localhost:{port}", listen=HostPort("127.0.0.1", port),
        workers=1, threads=2, reply_max_bytes=8 * MEGABYTE,
    )  # fmt: skip
    post = make_post(settings, worker_private)
    with PortalServer(settings, folder) as server:
        yield Running(post, server)
    post.store.close()


def _begin(visitor: Visitor, start: str, length: int) -> http.client.HTTPConnection:
    """Begin an upload of ``length`` bytes in all, and send its start."""
    connection = visitor.connection()
    connection.putrequest("POST", "/message/reply", skip_host=True)
    for name, value in visitor.headers().items():
        connection.putheader(name, value)
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(length))
    connection.endheaders(start.encode())
    return connection


def _temporary_files(process: int) -> bytes:
    """What stands in the files of ``process`` that have no name any more."""
    found = b""
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            if "(deleted)" in str(entry.readlink()):
                found += entry.read_bytes()
        except OSError:
            continue  # closed while we looked
    return found


@pytest.mark.behaviour("P8")
@pytest.mark.behaviour("P11")
def test_an_upload_lies_sealed_while_it_comes_and_its_words_survive_a_broken_connection(running: Running) -> None:
    visitor, start, delivery_id = running.open()
    connection = _begin(visitor, start, 6 * MEGABYTE)
    connection.send(MARK * (3 * MEGABYTE // len(MARK)))
    worker = worker_of(running.server.pid)
    spooled = wait_until(lambda: _temporary_files(worker), 10, "an upload to be spooled")
    assert len(spooled) > 500_000
    assert MARK not in spooled
    connection.close()
    wait_until(lambda: running.states(delivery_id) == [ReplyState.DRAFT], 10, "the words to be saved")
    page = visitor.get("/message/reply").text
    assert "my words</textarea>" in page
    assert "a.bin" not in page
    wait_until(lambda: not _temporary_files(worker), 10, "the spool to be given up")


@pytest.mark.behaviour("P8")
def test_a_file_far_too_large_gets_an_answer_and_takes_no_memory(running: Running) -> None:
    visitor, start, delivery_id = running.open()
    worker = worker_of(running.server.pid)
    before = resident(worker)
    length = len(start) + 40 * MEGABYTE + len("\r\n--b--\r\n")
    connection = _begin(visitor, start, length)
    for _ in range(40):
        connection.send(bytes(MEGABYTE))
    connection.send(b"\r\n--b--\r\n")
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    assert answer.status == 413
    assert "my words</textarea>" in page
    assert "a.bin" in page
    assert running.states(delivery_id) == [ReplyState.DRAFT]
    assert resident(worker) - before < 16 * MEGABYTE


@pytest.mark.behaviour("P8")
def test_a_large_upload_without_a_length_is_sent(running: Running) -> None:
    visitor, start, delivery_id = running.open()
    connection = visitor.connection()
    pieces = [start.encode(), *[bytes(range(256)) * 256] * 100, b"\r\n--b--\r\n"]
    headers = {**visitor.headers(), "Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/message/reply", iter(pieces), headers, encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert (answer.status, answer.headers["Location"].partition("?")[0]) == (303, "/message/reply/sent")
    assert running.states(delivery_id) == [ReplyState.QUEUED]
    with running.post.store.read() as session:
        [detail] = session.scalars(select(AuditRecord.detail).where(AuditRecord.action == "replied"))
    assert detail == {"recipients": 1, "files": 1}
    assert "my words" not in running.server.log
