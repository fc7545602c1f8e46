"""Kernel, modules and initramfs."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import steps
from steps import run

_SETUP_SECTORS, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 0x1F1, 0x248, 0x24C
_SECTOR = 512


def install_modules(unpacked: Path, root: Path, wanted: list[str]) -> None:
    """Put the modules named in `wanted` (folders or files below kernel/), and what they need, into `root`."""
    source = _module_tree(unpacked)
    target = root / "usr/lib/modules" / source.name
    needs = _needs(source)
    for name in wanted:
        path = source / "kernel" / name
        if not path.exists():
            raise steps.BuildFailed(f"modules.txt: this kernel has no {name}")
        chosen = [path] if path.is_file() else sorted(path.rglob("*.ko"))
        for one in chosen:
            for module in (str(one.relative_to(source)), *needs[str(one.relative_to(source))]):
                _copy(source / module, target / module)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        _copy(source / name, target / name)
    run("depmod", "-b", root / "usr", source.name)


def make_initramfs(unpacked: Path, init: Path, boot: list[str], work: Path, target: Path) -> None:
    """Write the initramfs: busybox, `init`, and the modules `boot` with what they need, in order of loading."""
    source = _module_tree(unpacked)
    needs = _needs(source)
    order: list[str] = []
    for name in boot:
        for module in (*reversed(needs[f"kernel/{name}"]), f"kernel/{name}"):
            if module not in order:
                order.append(module)
    tree = work / "initramfs"
    for name in ("bin", "dev", "proc", "lib", "lower", "upper", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copyfile(unpacked / "bin/busybox", tree / "bin/busybox")
    shutil.copyfile(init, tree / "init")
    (tree / "bin/busybox").chmod(0o755)
    (tree / "init").chmod(0o755)
    names = [Path(module).name for module in order]
    (tree / "modules").write_text("\n".join(names) + "\n")
    for module in order:
        shutil.copyfile(source / module, tree / "lib" / Path(module).name)
    steps.age(tree)
    steps.cpio(tree, sorted(str(path.relative_to(tree)) for path in tree.rglob("*")), target)


def bzimage(unpacked: Path) -> Path:
    """Return the kernel as boot loaders take it."""
    return next((unpacked / "boot").glob("vmlinuz-*"))


def make_vmlinux(unpacked: Path, target: Path) -> None:
    """Unpack the kernel: QEMU enters it directly (PVH), which saves it decompressing itself.

    The header's fields are those of Documentation/arch/x86/boot.rst.
    """
    image = bzimage(unpacked).read_bytes()
    sectors = image[_SETUP_SECTORS] or 4
    offset, length = (
        struct.unpack_from("<I", image, _PAYLOAD_OFFSET)[0],
        struct.unpack_from("<I", image, _PAYLOAD_LENGTH)[0],
    )
    start = (sectors + 1) * _SECTOR + offset
    payload = image[start : start + length - 4]  # the last four bytes say how long it is unpacked
    unpackers = {b"\x02\x21": "lz4", b"\x1f\x8b": "gzip", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
    program = unpackers.get(payload[:2])
    if program is None:
        raise steps.BuildFailed(f"the kernel is packed in an unknown way ({payload[:4].hex()})")
    target.write_bytes(run(program, "-d", "-c", stdin=payload))


def _module_tree(unpacked: Path) -> Path:
    tree = next((unpacked / "lib/modules").iterdir())
    if not (tree / "modules.dep").exists():
        run("depmod", "-b", unpacked, tree.name)
    return tree


def _needs(source: Path) -> dict[str, list[str]]:
    found = {}
    for line in (source / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        found[module] = others.split()
    return found


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
