"""What is shipped: every package, every data file, imports that point one way, and a wheel that works alone."""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "restante": ROOT / "restante",
    "restante_milter": ROOT / "milter/restante_milter",
    "restante_migrations": ROOT / "migrations",
    "restante_portal": ROOT / "portal/restante_portal",
}
# Who may not be imported where.
FORBIDDEN = {
    "restante": {"Milter", "milter", "flask", "werkzeug", "gunicorn", "restante_milter", "restante_portal"},
    "restante_milter": {"flask", "werkzeug", "gunicorn", "restante_portal"},
    "restante_portal": {"Milter", "milter", "aiosmtpd", "restante_milter"},
    "restante_migrations": {"Milter", "milter", "flask", "restante_milter", "restante_portal"},
}


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]


def _imported(path: Path) -> set[str]:
    """The top-level names of every import in a file, wherever it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", SOURCES)
def test_imports_point_one_way(package: str) -> None:
    files = _files(SOURCES[package])
    assert files
    wrong = {
        str(path.relative_to(ROOT)): sorted(found) for path in files if (found := _imported(path) & FORBIDDEN[package])
    }
    assert wrong == {}


def test_loading_the_core_loads_neither_pymilter_nor_flask() -> None:
    modules = ", ".join(
        ".".join(("restante", *path.relative_to(SOURCES["restante"]).with_suffix("").parts)).removesuffix(".__init__")
        for path in _files(SOURCES["restante"])
    )
    code = f"import sys, {modules}; print(*sorted(sys.modules.keys() & {{'Milter', 'milter', 'flask', 'werkzeug'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("folder", ["milter", "portal"])
def test_the_outer_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_pymilter_is_not_shadowed() -> None:
    # From the root, and with the root on the path, as pytest has it.
    code = "import Milter, milter, sys; print(milter.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip().endswith(".so")


def _setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def test_every_package_is_listed() -> None:
    listed = set(_setup_cfg()["options"]["packages"].split())
    found = {
        ".".join((name, *path.parent.relative_to(folder).parts))
        for name, folder in SOURCES.items()
        for path in folder.rglob("__init__.py")
    }
    assert listed == found
    without = {path.parent for folder in SOURCES.values() for path in _files(folder)}
    assert [folder for folder in without if not (folder / "__init__.py").exists()] == []


def test_every_import_is_a_declared_dependency() -> None:
    names = {
        "nacl": "PyNaCl",
        "re2": "google-re2",
        "stdnum": "python-stdnum",
        "Milter": "pymilter",
        "argon2": "argon2-cffi",
        "dns": "dnspython",
        "flask_babel": "Flask-Babel",
        "flask_wtf": "Flask-WTF",
        "zipstream": "zipstream-ng",
    }
    # Parts of what a declared dependency brings, used through it.
    brought = {"flask": {"werkzeug", "jinja2", "markupsafe", "itsdangerous"}}
    declared = {
        line.split()[0].partition("[")[0].lower()
        for line in _setup_cfg()["options"]["install_requires"].strip().splitlines()
    }
    allowed = declared | {part for name in declared for part in brought.get(name, ())}
    imported = {name for folder in SOURCES.values() for path in _files(folder) for name in _imported(path)}
    missing = {
        name
        for name in imported - set(sys.stdlib_module_names) - SOURCES.keys()
        if names.get(name, name).lower() not in allowed
    }
    assert missing == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "tests/corpus/presidio.lock"])
def test_locks_have_a_hash_for_each_requirement_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip() and not entry.startswith("#")]
    assert len(entries) > 20
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert [word for word in ("://", "--index", "--find-links", "--trusted-host", " @ ") if word in text] == []


def test_locks_hold_what_is_declared() -> None:
    config = _setup_cfg()
    declared = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    locked = {line.partition("==")[0].lower() for line in (ROOT / "requirements-dev.lock").read_text().splitlines()}
    wanted = {line.split()[0].partition("[")[0].lower() for line in declared.strip().splitlines() if line.strip()}
    assert wanted - locked == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # From a copy: setuptools writes build/ beside the sources, and an old build/ would hide what is missing.
    source = tmp_path_factory.mktemp("source") / "restante"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        capture_output=True,
        timeout=300,
        check=True,
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_every_source_and_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    wanted = {
        "/".join((name, *path.relative_to(folder).parts))
        for name, folder in SOURCES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert wanted - inside == set()
    assert any(name.startswith("restante_portal/templates/") for name in inside)
    assert any(name.startswith("restante_portal/static/") for name in inside)
    assert any(name.startswith("restante_migrations/versions/r0001") for name in inside)
    assert [name for name in inside if name.startswith(("tests/", "milter/", "portal/", "migrations/"))] == []


@pytest.mark.slow
def test_the_wheel_works_in_a_venv_of_its_own(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet"]
    pip.append("--no-compile")  # most of it is never loaded
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], timeout=600, check=True)
    # Nothing beside the lock: what the wheel needs and the lock lacks would be missed here.
    subprocess.run([*pip, "--no-index", str(wheel)], timeout=300, check=True)

    def restante(*arguments: str) -> str:
        command = [str(folder / "bin/restante"), "--settings", str(tmp_path / "etc/restante.toml"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert restante("--version") == "restante 0.1.0\n"
    restante("init", "--hostname", "mta.site.example", "--database", f"sqlite:///{tmp_path}/restante.db")
    assert "up to date" in restante("db", "upgrade")
    assert "Password: " in restante("admin", "add", "anna")
    for command in ("milter", "worker", "portal", "domain", "explain", "postfix", "doctor"):
        assert "Usage: restante" in restante(command, "--help")
    code = "import restante, restante_milter, restante_portal, restante_migrations as m; print(m.__file__)"
    done = subprocess.run(
        [folder / "bin/python", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(folder)
