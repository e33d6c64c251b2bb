"""The portal as a service: what keeps it from starting, what it logs, how much memory a large message takes."""

from __future__ import annotations

import base64
import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.credentials import Credential, write_credential
from restante.settings import HostPort
from restante.store import holding
from restante.store.engine import Store
from restante.vault import generate_keypair
from tests.portal.conftest import Post, make_post, make_settings
from tests.portal.server import PortalServer, Visitor, free_port, write_settings

MEGABYTE = 1024 * 1024


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Post]:
    port = free_port()
    settings, worker_private = make_settings(
        tmp_path, f"sqlite:///{tmp_path}/restante.db", url=f"http://localhost:{port}",
        listen=HostPort("127.0.0.1", port), workers=1,
    )  # fmt: skip
    post = make_post(settings, worker_private)
    yield post
    post.store.close()


def _refusal(post: Post, folder: Path) -> str:
    write_settings(post.settings, folder / "restante.toml")
    program = str(Path(sys.executable).with_name("restante"))
    ran = subprocess.run(
        [program, "--settings", str(folder / "restante.toml"), "portal"], capture_output=True, timeout=60, check=False
    )
    assert ran.returncode == 1, ran
    assert b"Traceback" not in ran.stderr
    return ran.stderr.decode()


def _spoil_mode(folder: Path, _post: Post) -> None:
    (folder / "credentials" / Credential.VAULT).chmod(0o644)


def _spoil_missing(folder: Path, _post: Post) -> None:
    (folder / "credentials" / Credential.PORTAL).unlink()


def _spoil_default(folder: Path, _post: Post) -> None:
    (folder / "credentials" / Credential.PORTAL).write_bytes(base64.b64encode(bytes(32)))


def _spoil_other_key(folder: Path, _post: Post) -> None:
    (folder / "credentials" / Credential.VAULT).unlink()
    write_credential(folder / "credentials", Credential.VAULT, generate_keypair()[0])


def _spoil_schema(_folder: Path, post: Post) -> None:
    from restante.store import migrate

    post.store.close()
    migrate.downgrade(post.settings.database, "base")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_spoil_mode, "chmod"),
        (_spoil_missing, "restante init"),
        (_spoil_default, "not a fresh key"),
        (_spoil_other_key, "does not belong to vault.public_key"),
        (_spoil_schema, "restante db upgrade"),
    ],
)
def test_it_refuses_to_start_and_says_what_to_do(local: Post, tmp_path: Path, spoil: Any, words: str) -> None:
    spoil(tmp_path, local)
    assert words in _refusal(local, tmp_path)


@pytest.mark.behaviour("P11")
def test_tokens_and_codes_are_in_no_log(local: Post, tmp_path: Path) -> None:
    link = local.waiting(code=True)
    assert link.code
    client = Visitor(local.settings)
    with PortalServer(local.settings, tmp_path) as server:
        assert client.open(link, "AAAA-AAAA").status == 403
        assert client.open(link, link.code).status == 303
        assert client.get("/message").status == 200
        # Requests that the server itself refuses, before the application sees them.
        form = f"form_key=x&code={link.code}"
        for request in (
            f"GET /p/{link.token}?{'x' * 5000} HTTP/1.1",
            f"GET /p/{link.token} HTTP/9.9\r\nX",
            *(f"GET {way}{link.token}?{'x' * 5000} HTTP/1.1" for way in ("/f/", "//f//", "/%66/", "//p//", "/%73/")),
            f"G{link.token}",
            f"GET / HTTP/1.1\r\nCookie: a=b\r\n __Host-restante-pickup={link.token}",
            f"GET / HTTP/1.1\r\nno colon, {link.token}",
            f"GET / HTTP/1.1\r\nContent-Length: {link.code}",
            f"POST /open HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc{form}",
            f"GET /?{form} HTTP/1.1\r\nTransfer-Encoding: {link.code}",
        ):
            raw = http.client.HTTPConnection("127.0.0.1", local.settings.portal.listen.port, timeout=10)
            raw.connect()
            raw.sock.sendall(f"{request}\r\nHost: localhost\r\n\r\n".encode())
            while raw.sock.recv(4096):
                pass
            raw.close()
        # A defect in our own code: the schema is gone under a running portal.
        holding_database = Store(local.settings.database)
        with holding_database.write() as session:
            session.connection().exec_driver_sql("ALTER TABLE links RENAME TO gone")
        assert client.get(f"/p/{link.token}").status == 503
        holding_database.close()
    log = server.log
    assert "store-unavailable" in log
    assert log.count("[not logged]") >= 5
    for secret in (link.token, link.code, link.code.replace("-", ""), "unauff", "Befund"):
        assert secret not in log


def resident(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM for {pid}")


def worker_of(parent: int) -> int:
    """The first child of a process."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    return int(children[0])


@pytest.mark.slow
@pytest.mark.behaviour("P2")
def test_a_large_message_takes_little_memory_and_resumes(local: Post, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 4096 * 37
    large = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/x\r\n"
        b"Content-Disposition: attachment; filename=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ) + base64.encodebytes(raw).replace(b"\n", b"\r\n") + b"--b--\r\n"  # fmt: skip
    assert len(large) > 50 * MEGABYTE
    small, big = local.waiting(), local.waiting(large)
    client, other = Visitor(local.settings), Visitor(local.settings)
    with PortalServer(local.settings, tmp_path) as server:
        other.open(small)
        assert other.get("/message").status == other.get("/message.eml").status == 200
        worker = worker_of(server.pid)
        before = resident(worker)
        client.open(big)
        assert "big.bin" in client.get("/message").text
        assert client.get("/message/attachments/2").content == raw
        assert client.get("/message.eml").content == large
        connection, cut = client.begin("GET", "/message/attachments/2")
        start = len(cut.read(100_000))
        connection.close()
        rest = client.get("/message/attachments/2", Range=f"bytes={start}-")
        assert (rest.status, rest.content) == (206, raw[start:])
        grown = resident(worker) - before
    assert grown <= 16 * MEGABYTE, f"{grown / MEGABYTE:.1f} MiB"


def test_a_recall_during_a_download_breaks_it_off(local: Post, tmp_path: Path) -> None:
    large = b"Subject: s\r\n\r\n" + b"x" * 998 * 40_000
    delivery_id = local.hold(large)[0]
    link = local.link(delivery_id)
    client = Visitor(local.settings)
    with PortalServer(local.settings, tmp_path) as server:
        client.open(link)
        connection, download = client.begin("GET", "/message.eml")
        download.read(65_536)
        holding.recall(local.store, delivery_id, actor="sender", now=local.clock())
        with pytest.raises(http.client.IncompleteRead):
            download.read()
        connection.close()
        assert client.get("/message").status == 403
    assert link.token not in server.log
