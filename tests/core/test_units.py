"""The systemd files, read by systemd itself."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from restante.credentials import Credential

FOLDER = Path(__file__).resolve().parents[2] / "systemd"
UNITS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in {".service", ".target"})
# Who holds which secret (restante.credentials): nobody may be granted more.
GRANTED = {
    "restante-milter.service": {Credential.ROUTE},
    "restante-worker.service": {Credential.ROUTE, Credential.WORKER},
    "restante-portal.service": {Credential.VAULT, Credential.PORTAL},
}


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong(unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", FOLDER / unit],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "restante" in line]
    assert (done.returncode, ours) == (0, [])


def _lines(unit: str, key: str) -> list[str]:
    lines = (FOLDER / unit).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


@pytest.mark.parametrize("unit", GRANTED)
def test_each_service_is_granted_its_own_secrets(unit: str) -> None:
    granted = [line.partition(":") for line in _lines(unit, "LoadCredential")]
    assert {name for name, _, _ in granted} == GRANTED[unit]
    assert all(path == f"/etc/restante/credentials/{name}" for name, _, path in granted)


def test_each_service_has_a_user_of_its_own() -> None:
    users = [user for unit in GRANTED for user in _lines(unit, "User")]
    assert sorted(users) == ["restante-milter", "restante-portal", "restante-worker"]


def test_the_milter_has_no_network() -> None:
    assert _lines("restante-milter.service", "RestrictAddressFamilies") == ["AF_UNIX"]
    assert _lines("restante-milter.service", "PrivateNetwork") == ["yes"]


def test_the_worker_alone_writes_the_key_ring() -> None:
    ring = "/var/lib/restante-ring"
    writers = [unit for unit in GRANTED if any(ring in paths for paths in _lines(unit, "ReadWritePaths"))]
    assert writers == ["restante-worker.service"]
    assert _lines("restante-milter.service", "InaccessiblePaths") == [f"-{ring}"]
    assert _lines("restante-portal.service", "SupplementaryGroups") == ["restante-ring"]


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\npostfix:x:101:102::/:/bin/false\n")
    (etc / "group").write_text("root:x:0:\npostfix:x:102:\n")
    for program, name in (("systemd-sysusers", "sysusers.conf"), ("systemd-tmpfiles", "tmpfiles.conf")):
        copied = tmp_path / f"usr/lib/{program.removeprefix('systemd-')}.d/restante.conf"
        copied.parent.mkdir(parents=True)
        shutil.copy(FOLDER / name, copied)
        command = [program, f"--root={tmp_path}", *(["--create"] if "tmpfiles" in program else []), "restante.conf"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr.splitlines() if "tmpfiles" in program else []) == (0, [])
    groups = dict(line.split(":", 1) for line in (etc / "group").read_text().splitlines())
    members = {name: set(rest.split(":")[-1].split(",")) for name, rest in groups.items()}
    assert members["restante-mta"] == {"postfix", "restante-milter", "restante-worker"}
    assert members["restante"] == {"restante-milter", "restante-worker", "restante-portal"}
    assert members["restante-ring"] == {"restante-worker", "restante-portal"}
    assert stat.S_IMODE((tmp_path / "var/lib/restante-ring").stat().st_mode) == 0o2750
    assert stat.S_IMODE((tmp_path / "etc/restante/credentials").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "var/lib/restante").stat().st_mode) == 0o2770
    assert stat.S_IMODE((tmp_path / "var/spool/postfix/restante").stat().st_mode) == 0o2770
