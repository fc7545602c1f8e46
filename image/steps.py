"""Running programs, and files that are the same every time they are made."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

#: How old every file of an image is: what is in it decides its digest, not when it was built.
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1704067200"))
_BLOCK = 1 << 20


class BuildFailed(Exception):
    """A step failed; the message holds the program's last words."""


def run(*argv: str | Path, stdin: bytes | None = None, cwd: Path | None = None) -> bytes:
    """Run a program to its end and return what it wrote. Raises BuildFailed."""
    words = [str(word) for word in argv]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "TZ": "UTC",
        "HOME": "/nonexistent",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "PYTHONHASHSEED": "0",
    } | {
        name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name.startswith("PIP_")
    }
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, env=environment, cwd=cwd, check=False)
    except FileNotFoundError:
        raise BuildFailed(f"{words[0]} is not installed: see requirements/debian-image.txt") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-12:]
        raise BuildFailed(f"{' '.join(words[:4])}: exit {done.returncode}\n  " + "\n  ".join(said))
    return done.stdout


def words_of(path: Path) -> list[str]:
    """Return the lines of a list, without comments and empty ones; of an absent one, none."""
    if not path.exists():
        return []
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def remove(path: Path) -> None:
    """Take a file or a tree away; absence is success."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def age(tree: Path) -> None:
    """Make everything below `tree` as old as everything else."""
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_tree(tree: Path) -> str:
    """Return one SHA-256 for all names, modes, owners and contents below `tree`."""
    total = hashlib.sha256()
    for line in _listing(tree):
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def _listing(tree: Path) -> Iterator[str]:
    for path in sorted(tree.rglob("*")):
        seen = path.lstat()
        content = ""
        if stat.S_ISLNK(seen.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(seen.st_mode):
            content = digest_of(path)
        yield f"{path.relative_to(tree)} {seen.st_mode:o} {seen.st_uid}:{seen.st_gid} {content}"


def cpio(tree: Path, names: Sequence[str], target: Path) -> None:
    """Write an initramfs of `names` below `tree`."""
    archive = run("cpio", "--quiet", "--reproducible", "-o", "-H", "newc", stdin="\n".join(names).encode(), cwd=tree)
    target.write_bytes(archive)


def digest_of_text(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
