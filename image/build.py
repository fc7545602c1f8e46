"""Builds the appliance image: `make image`, `make image CUSTOM=folder` (docs/howto/build-an-image.md)."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import agent
import debian
import disk
import kernel
import steps
from steps import run

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
_BOOT = "boot "
#: For the kernel when it is started by the disk's own boot loader.
_ARGUMENTS = "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on"


@dataclass(frozen=True)
class Recipe:
    """What is built from; `custom` folders add to it, later ones over earlier ones."""

    name: str
    custom: tuple[Path, ...]

    def lines(self, file: str) -> list[str]:
        """Return the lines of a list, ours and those of the custom folders."""
        return [line for folder in (HERE, *self.custom) for line in steps.words_of(folder / file)]


def build(recipe: Recipe, out: Path, kept: Path) -> None:
    """Write the outputs into `out`, all or none. Raises steps.BuildFailed."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building.", dir=out.parent) as name:
        work = Path(name)
        staged = work / "out"
        staged.mkdir()
        make(recipe, work, staged, kept)
        for path in sorted(staged.iterdir()):
            path.replace(out / path.name)


def make(recipe: Recipe, work: Path, staged: Path, kept: Path) -> None:
    root, unpacked = work / "root", work / "kernel"
    modules = recipe.lines("modules.txt")
    boot = [line.removeprefix(_BOOT) for line in modules if line.startswith(_BOOT)]
    _say("packages")
    packages = debian.make_root(root, unpacked, kept, sorted(set(recipe.lines("packages.txt"))))
    wheels = [wheel for folder in recipe.custom for wheel in sorted((folder / "wheels").glob("*.whl"))]
    _say("agent")
    agent.install(root, PROJECT, work, recipe.lines("agent.txt"), wheels)
    kernel.install_modules(unpacked, root, [line for line in modules if not line.startswith(_BOOT)])
    debian.trim(root)
    agent.add_files(root, HERE / "root", *(folder / "root" for folder in recipe.custom))
    agent.compile_all(root)
    agent.write_installed(root)
    agent.try_import(root)
    debian.forget_devices(root)
    _say("kernel")
    kernel.make_vmlinux(unpacked, staged / "vmlinux")
    kernel.make_initramfs(unpacked, HERE / "initramfs/init", boot, work, staged / "initramfs")
    digest = _identify(recipe, root, staged, packages)
    _say("file systems")
    steps.age(root)
    _pack(root, staged)
    disk.make_qcow2(
        kernel.bzimage(unpacked),
        staged / "initramfs",
        staged / "root.sqfs",
        _ARGUMENTS,
        work,
        staged / "appliance.qcow2",
    )
    _say(f"{recipe.name} sha256:{digest}")


def _identify(recipe: Recipe, root: Path, staged: Path, packages: list[str]) -> str:
    """Write the manifest, and into the root what the agent tells of itself; return the digest."""
    parts = {name: steps.digest_of(staged / name) for name in ("initramfs", "vmlinux")}
    parts["root"] = steps.digest_of_tree(root)
    digest = steps.digest_of_text("".join(f"{name} {parts[name]}\n" for name in sorted(parts)))
    place = root / "usr/lib/astara/image"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"sha256:{digest}\n")
    versions = dict(line.split(" ", 1) for line in packages)
    manifest = {"name": recipe.name, "digest": f"sha256:{digest}", "parts": parts, "packages": versions}
    (staged / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return digest


def _pack(root: Path, staged: Path) -> None:
    run("mksquashfs", root, staged / "root.sqfs", "-comp", "lz4", "-Xhc", "-noappend", "-no-progress", "-no-exports")
    run(
        "tar", "--create", "--file", staged / "root.tar", "--directory", root, "--sort=name", "--numeric-owner",
        "--format=gnu", ".",
    )  # fmt: skip


def _say(words: str) -> None:
    sys.stderr.write(f"image: {words}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when a step failed, with its words on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "build/image", help="folder for the outputs")
    parser.add_argument("--name", default="astara", help="name of the image")
    parser.add_argument("--custom", type=Path, action="append", default=[], help="folder with additions; repeatable")
    parser.add_argument(
        "--kept", type=Path, default=PROJECT / "build/debian", help="folder for what the next build can use again"
    )
    asked = parser.parse_args(arguments)
    missing = [str(folder) for folder in asked.custom if not folder.is_dir()]
    if missing:
        parser.error(f"no such folder: {', '.join(missing)}")
    recipe = Recipe(asked.name, tuple(folder.resolve() for folder in asked.custom))
    try:
        build(recipe, asked.out.resolve(), asked.kept.resolve())
    except steps.BuildFailed as error:
        sys.stderr.write(f"image: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
