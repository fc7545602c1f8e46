"""The root file system and the kernel, from the Debian packages this machine's own apt would install."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import steps
from steps import run

_NOT_UNPACKED = ("man", "locale", "info", "lintian", "bash-completion", "zsh")
#: Needed to unpack and configure packages, and never again: nothing is installed into an appliance.
_NOT_KEPT = (
    "boot/*",
    "etc/apt",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/rc?.d",
    "etc/init.d",
    "etc/cron.*",
    "etc/*-",
    "etc/ld.so.cache",
    "etc/logrotate.d",
    "etc/systemd",
    "usr/bin/apt*",
    "usr/bin/chfn",
    "usr/bin/chsh",
    "usr/bin/dpkg*",
    "usr/bin/gpasswd",
    "usr/bin/login",
    "usr/bin/newgrp",
    "usr/bin/passwd",
    "usr/bin/perl*",
    "usr/bin/su",
    "usr/bin/systemctl",
    "usr/sbin/*getty",
    "usr/sbin/sulogin",
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/lib/python3.*/ensurepip",
    "usr/lib/python3.*/idlelib",
    "usr/lib/python3.*/lib2to3",
    "usr/lib/python3.*/pydoc_data",
    "usr/lib/python3.*/test",
    "usr/lib/python3.*/turtledemo",
    "usr/lib/python3.*/unittest",
    "usr/lib/*-linux-gnu/gconv",
    "usr/lib/*-linux-gnu/perl*",
    "usr/lib/*-linux-gnu/libapt*",
    "usr/lib/*-linux-gnu/libdb-5*",
    "usr/share/perl*",
    "usr/share/zoneinfo",
    "usr/share/dpkg",
    "usr/share/keyrings",
    "usr/share/bird2",
    "usr/share/bug",
    "usr/share/debconf",
    "usr/share/python3/debpython",
    "var/cache/*",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/lib/systemd",
    "var/lib/ucf",
    "var/lib/pam",
    "var/log/*",
    "var/tmp/*",
    "tmp/*",
    "run/*",
)


def sources() -> tuple[str, str]:
    """Return (code name, apt lines) of the Debian archives this machine uses.

    Raises:
        steps.BuildFailed: it uses none.
    """
    wanted = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    found = run(
        "apt-get", "indextargets", "--format", wanted, "Created-By: Packages", "Origin: Debian", "Architecture: amd64"
    )
    archives = sorted({tuple(line.split()) for line in found.decode().splitlines()})
    names = [name for _, name, component in archives if component == "main" and "-" not in name]
    if not names:
        raise steps.BuildFailed("this machine's apt knows no Debian archive: run `apt-get update` on a Debian machine")
    lines = [f"deb {uri} {name} {component}" for uri, name, component in archives if component == "main"]
    return names[0], "\n".join(lines) + "\n"


def make_root(root: Path, kernel: Path, kept: Path, packages: Sequence[str]) -> list[str]:
    """Unpack `packages` below `root`, kernel and busybox below `kernel`; return "package version" of all.

    What this makes is kept for the next build, until `packages` or this machine's own apt lists change.
    Raises steps.BuildFailed.
    """
    codename, lines = sources()
    kept.mkdir(parents=True, exist_ok=True)
    archive = kept / f"root-{steps.digest_of_text(lines + _lists() + repr(sorted(packages)))[:16]}.tar"
    if not archive.exists():
        for outdated in kept.glob("root-*.tar"):
            outdated.unlink()
        _bootstrap(archive, codename, lines, kept, packages)
    root.mkdir()
    run("tar", "--extract", "--file", archive, "--directory", root, "--numeric-owner", "--xattrs-include=*")
    (root / "kernel").rename(kernel)
    installed = run("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W").decode().splitlines()
    unpacked = (kernel / "versions").read_text().splitlines()
    return sorted(" ".join(line.split()) for line in (*installed, *unpacked))


def _lists() -> str:
    """Return what this machine's apt has heard of its archives, as digests."""
    released = sorted(Path("/var/lib/apt/lists").glob("*InRelease"))
    return "".join(f"{path.name} {steps.digest_of(path)}\n" for path in released)


def _bootstrap(archive: Path, codename: str, lines: str, kept: Path, packages: Sequence[str]) -> None:
    listed = kept / "sources.list"
    listed.write_text(lines)
    # The kernel is unpacked, not installed: installed it would bring the tools that make an initramfs of its own.
    fetch = (
        "cd /var/cache/apt/archives && apt-get -qq download busybox-static linux-base "
        "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^  Depends: //p')"
    )
    unpack = (
        'mkdir -p "$1/kernel" && for one in "$1"/var/cache/apt/archives/linux-image-[0-9]*.deb '
        '"$1"/var/cache/apt/archives/busybox-static_*.deb; do dpkg-deb -x "$one" "$1/kernel"; dpkg-deb -W "$one"; done '
        '>"$1/kernel/versions" && rm "$1"/var/cache/apt/archives/*.deb'
    )
    staged = archive.with_suffix(".new.tar")
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NOT_UNPACKED),
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--aptopt=APT::Install-Recommends false",
        f"--customize-hook=chroot \"$1\" sh -c '{_quoted(fetch)}'",
        f"--customize-hook={unpack}",
        codename,
        staged,
        listed,
    )
    staged.rename(archive)


def trim(root: Path) -> None:
    """Take away what only made the root, who may log in, and every program that gives its caller more rights."""
    for pattern in _NOT_KEPT:
        for path in root.glob(pattern):
            steps.remove(path)
    for path in list(root.rglob("__pycache__")):
        shutil.rmtree(path)
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & 0o777)
    accounts = root / "etc/passwd"
    lines = [line.rsplit(":", 1)[0] + ":/usr/sbin/nologin" for line in accounts.read_text().splitlines()]
    accounts.write_text("\n".join(lines) + "\n")
    (root / "etc/machine-id").touch()


def forget_devices(root: Path) -> None:
    """Take away the device nodes that programs needed while the root was made; a kernel makes its own."""
    for path in (root / "dev").iterdir():
        steps.remove(path)


def _quoted(command: str) -> str:
    return command.replace("'", "'\\''")
