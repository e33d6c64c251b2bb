"""What breaks around the milter gives 4xx or mandatory TLS; afterwards it goes on by itself.  Nothing is lost."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.milter.client import ACCEPT, DISCARD
from tests.milter.conftest import HELD_RECIPIENT, MARKER, NOBODY, ORDINARY, Installation, sensitive

TLS_RECIPIENT = "bob@tls.example"


@pytest.mark.behaviour("N1")
def test_a_locked_database_defers_what_must_be_held_and_nothing_else(milter: Installation) -> None:
    children = milter.children()
    with contextlib.closing(sqlite3.connect(milter.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = milter.ask(sensitive(1), HELD_RECIPIENT)
        assert answer.deferred
        assert answer.text.startswith("451 4.7.1")
        assert MARKER not in answer.text
        assert answer.deleted == []
        assert milter.ask(ORDINARY, TLS_RECIPIENT).letter == ACCEPT
        other.execute("ROLLBACK")
    assert milter.held() == []
    assert milter.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD
    assert milter.held() == [HELD_RECIPIENT]
    assert milter.children() == children
    assert "locked" in milter.log()
    assert MARKER not in milter.log()


@pytest.mark.behaviour("N1")
def test_a_read_only_database_defers_what_must_be_held(installation: Installation) -> None:
    installation.give_to_nobody()
    subprocess.run(["chown", "root:root", str(installation.database)], check=True)
    installation.database.chmod(0o444)
    installation.start(uid=NOBODY)
    answer = installation.ask(sensitive(1), HELD_RECIPIENT)
    assert answer.deferred
    assert answer.deleted == []
    assert installation.ask(ORDINARY, TLS_RECIPIENT).letter == ACCEPT
    assert "readonly" in installation.log()
    assert MARKER not in installation.log()
    installation.stop()
    # SQLite makes its files beside the database with the database's own mode.
    for path in installation.database.parent.glob(f"{installation.database.name}*"):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o600)
    installation.start(uid=NOBODY)
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD
    assert installation.held() == [HELD_RECIPIENT]


@contextlib.contextmanager
def _small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.behaviour("N1")
def test_a_full_disk_defers_what_must_be_held_until_there_is_room(installation: Installation) -> None:
    with _small_disk(installation.database.parent, "1m"):
        installation.command("db", "upgrade")
        installation.start()
        children = installation.children()
        answer = installation.ask(sensitive(1, filling=2_000_000), HELD_RECIPIENT)
        assert answer.deferred
        assert answer.deleted == []
        assert installation.held() == []
        assert "full" in installation.log()
        subprocess.run(["mount", "-o", "remount,size=32m", str(installation.database.parent)], check=True)
        assert installation.ask(sensitive(1, filling=2_000_000), HELD_RECIPIENT).letter == DISCARD
        assert installation.held() == [HELD_RECIPIENT]
        assert installation.children() == children
        installation.close()


@pytest.mark.behaviour("N1")
def test_no_room_to_spool_defers_the_message(installation: Installation) -> None:
    spool = installation.folder / "spool"
    with _small_disk(spool, "1m"):
        installation.start(env={"TMPDIR": str(spool)})
        answer = installation.ask(sensitive(1, filling=4_000_000), HELD_RECIPIENT)
        assert answer.deferred
        assert "cannot spool" in installation.log()
        assert installation.ask(sensitive(2), HELD_RECIPIENT).letter == DISCARD
        assert installation.held() == [HELD_RECIPIENT]
        installation.stop()


@pytest.mark.behaviour("N1")
@pytest.mark.parametrize("key", ["route.key"])
def test_without_its_key_the_milter_does_not_start_and_names_it(installation: Installation, key: str) -> None:
    (installation.credentials / key).rename(installation.credentials / "elsewhere")
    process = installation.launch()
    assert process.wait(20) == 1
    assert key in process.log_text()
    assert "Traceback" not in process.log_text()
    assert not installation.socket.exists()


@pytest.mark.behaviour("N1")
def test_a_key_that_vanishes_while_it_runs_stops_no_session_and_heals(installation: Installation) -> None:
    installation.start()
    key = installation.credentials / "route.key"
    secret = key.read_bytes()
    key.unlink()
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD
    key.write_bytes(secret)
    key.chmod(0o600)
    assert installation.ask(sensitive(2), HELD_RECIPIENT).letter == DISCARD


@pytest.mark.behaviour("N1")
def test_a_milter_without_the_vaults_private_key_holds_all_the_same(installation: Installation) -> None:
    for name in ("vault.key", "worker.key", "portal.key"):
        (installation.credentials / name).unlink()
    installation.start()
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD
    assert installation.held() == [HELD_RECIPIENT]


@pytest.mark.behaviour("N1")
@pytest.mark.parametrize("kind", ["gone", "refusing", "silent", "nonsense", "hanging up"])
def test_a_worker_that_does_not_answer_means_mandatory_tls(milter: Installation, kind: str) -> None:
    with _worker(milter.worker_socket, kind):
        answer = milter.ask(sensitive(10), f"bob@{kind.replace(' ', '-')}.example", timeout=10)
    assert answer.letter == ACCEPT
    ((name, _),) = answer.added
    assert name == "X-Restante-Route"


@contextlib.contextmanager
def _worker(path: Path, kind: str) -> Iterator[None]:
    path.unlink(missing_ok=True)
    if kind == "gone":
        yield
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        if kind == "refusing":
            yield
            return
        listener.listen(8)
        if kind == "silent":
            yield
            return
        reply = b"9999999999999:" if kind == "nonsense" else b""

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    path.unlink()


@pytest.mark.behaviour("N1")
def test_a_database_without_tables_is_refused_at_the_start_with_the_remedy(installation: Installation) -> None:
    installation.database.unlink()
    process = installation.launch()
    assert process.wait(20) == 1
    assert "restante db upgrade" in process.log_text()
    assert "Traceback" not in process.log_text()


@pytest.mark.behaviour("N1")
@pytest.mark.parametrize("text", ["[[rule]]\nname = 'x'\n", "not toml at all", "[[rule]]\nnmae = 'x'\n"])
def test_a_bad_policy_is_refused_at_the_start_with_file_and_line(installation: Installation, text: str) -> None:
    installation.policy.write_text(text, encoding="utf-8")
    process = installation.launch()
    assert process.wait(20) == 1
    assert f"{installation.policy}:" in process.log_text()
    assert "Traceback" not in process.log_text()


@pytest.mark.behaviour("N1")
def test_a_folder_that_is_missing_for_the_socket_is_named(installation: Installation) -> None:
    installation.socket.parent.rmdir()
    process = installation.launch()
    assert process.wait(20) == 1
    assert str(installation.socket) in process.log_text()
    assert "Traceback" not in process.log_text()
