"""Our agent inside the root: its wheel and the few libraries it imports, with the hashes of requirements.lock."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import steps
from steps import run

_PACKAGES = "usr/lib/python3/dist-packages"
#: Rooms of the project that run elsewhere.
_ELSEWHERE = ("astara_lab", "astara_neutron", "astara_suites")


def install(root: Path, project: Path, work: Path, names: list[str], wheels: list[Path]) -> None:
    """Put the agent, the libraries `names` and further `wheels` where Python of `root` finds them.

    Raises steps.BuildFailed.
    """
    target = root / _PACKAGES
    wanted = work / "agent.lock"
    wanted.write_text(locked(project / "requirements.lock", names))
    version = next((root / "usr/lib").glob("python3.*")).name.removeprefix("python")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
    for_root = ("--target", str(target), "--upgrade", "--no-deps", "--no-compile", "--python-version", version)
    platforms = ("--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64")
    run(*pip, "install", *for_root, *platforms, "--only-binary=:all:", "--require-hashes", "-r", wanted)
    made = work / "wheel"
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", made, project)
    run(*pip, "install", *for_root, "--only-binary=:all:", "--no-index", *made.glob("*.whl"), *wheels)
    for name in (*_ELSEWHERE, "bin"):
        steps.remove(target / name)
    for record in target.glob("*.dist-info"):
        for name in ("direct_url.json", "INSTALLER", "REQUESTED", "RECORD"):
            steps.remove(record / name)


def compile_all(root: Path) -> None:
    """Compile every module once, never to be compared with its source again: the root cannot change."""
    run(
        "chroot", root, "/usr/bin/python3", "-I", "-m", "compileall", "-q", "-j1",
        "--invalidation-mode", "unchecked-hash", "/usr/lib/python3", *_library(root),
    )  # fmt: skip


def write_installed(root: Path) -> None:
    """Write down which plug-ins `root` has, for agents that need not search its packages then."""
    (root / "usr/lib/astara").mkdir(exist_ok=True)
    tell = "from astara import installed; installed.KEPT.write_text(installed.written() + '\\n')"
    run("chroot", root, "/usr/bin/python3", "-I", "-B", "-c", tell)


def try_import(root: Path) -> None:
    """Import the agent with what is in `root` alone, as it starts in a machine. Raises steps.BuildFailed."""
    started = (
        "from astara.spared import inside_a_machine\nwith inside_a_machine(): import astara.host.machine.main, ssl"
    )
    run("chroot", root, "/usr/bin/python3", "-I", "-B", "-c", started)


def locked(lock: Path, names: list[str]) -> str:
    """Return the part of a pip lock file that is about `names`. Raises steps.BuildFailed for one it does not pin."""
    pinned = {}
    for entry in re.split(r"\n(?=[a-z0-9])", "\n" + lock.read_text(), flags=re.IGNORECASE):
        name = entry.strip().partition("==")[0].lower()
        pinned[name] = entry.strip()
    missing = [name for name in names if name not in pinned]
    if missing:
        raise steps.BuildFailed(f"{lock.name} does not pin {', '.join(missing)}")
    return "\n".join(pinned[name] for name in names) + "\n"


def add_files(root: Path, *trees: Path) -> None:
    """Copy what lies below each of `trees` over `root`."""
    for tree in trees:
        if tree.is_dir():
            shutil.copytree(tree, root, symlinks=True, dirs_exist_ok=True)


def _library(root: Path) -> list[str]:
    return [f"/usr/lib/{path.name}" for path in sorted((root / "usr/lib").glob("python3.*"))]
