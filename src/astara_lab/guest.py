"""A small guest for tenants, made of Debian's cloud kernel and busybox: it boots in two seconds without KVM.

It asks for an address by DHCP on each interface, fetches its metadata, and shows on port 80 who it is: `/` says how
long it is up, `/meta_data.json` is what the metadata service told it.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from astara_lab.tasks import BringUpError

KERNEL_PACKAGE = "linux-image-cloud-amd64"
COMMAND_LINE = "console=ttyS0 panic=1"
#: Said on the console when everything is done.
READY = "ASTARA-GUEST-READY"

_MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "virtio_net")
_DISK_BYTES = 8 << 20

_INIT = r"""#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do
    # A switch in user space does not complete checksums that were left for the network card.
    case $module in virtio_net.ko) options="csum=0 gso=0" ;; *) options= ;; esac
    insmod /lib/modules/$module $options
done </lib/modules/order
ip link set lo up
for device in /sys/class/net/e*; do
    name=${device##*/}
    ip link set $name up
    udhcpc -i $name -s /bin/leased -O staticroutes -O mtu -t 20 -T 1 -n -q
done
cd /www
echo "up $(cut -d' ' -f1 /proc/uptime)" >index.html
# Not wget: it wants a service database and shared parts of the C library that are not here.
printf 'GET /openstack/latest/meta_data.json HTTP/1.0\r\nHost: 169.254.169.254\r\n\r\n' |
    nc -w 20 169.254.169.254 80 | sed '1,/^\r*$/d' >meta_data.json
cat meta_data.json
httpd -p 80 -h /www
ip address
echo "{ready} $(cut -d' ' -f1 /proc/uptime)"
while :; do sh </dev/console >/dev/console 2>&1; sleep 1; done
"""

#: Called by udhcpc with the lease in the environment (busybox, networking/udhcp); RFC 3442: routes replace the router.
_LEASED = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip address replace $ip/$mask dev $interface
[ -z "$mtu" ] || ip link set $interface mtu $mtu
if [ -n "$staticroutes" ]; then
    set -- $staticroutes
    while [ $# -ge 2 ]; do
        case $2 in
        0.0.0.0) ip route replace $1 dev $interface ;;
        *) ip route replace $1 via $2 dev $interface ;;
        esac
        shift 2
    done
elif [ -n "$router" ]; then
    ip route replace default via ${router%% *} dev $interface
fi
for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
"""


@dataclass(frozen=True)
class Guest:
    """The files of a guest: direct kernel boot, and a disk nobody needs, because Nova wants one."""

    kernel: Path
    initramfs: Path
    disk: Path


def build(cache: Path) -> Guest:
    """The guest for what is installed now; made when there is none. Raises BringUpError."""
    kernel = _kernel()
    release = kernel.name.removeprefix("vmlinuz-")
    mark = hashlib.sha256(f"{release}{_INIT}{_LEASED}".encode()).hexdigest()[:16]
    found = Guest(kernel, cache / f"guest-{mark}.initramfs", cache / "guest.raw")
    cache.mkdir(parents=True, exist_ok=True)
    if not found.initramfs.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            tree = Path(scratch) / "tree"
            _fill(tree, release)
            fresh = Path(scratch) / "initramfs"
            fresh.write_bytes(_packed(tree))
            fresh.rename(found.initramfs)
    if not found.disk.exists():
        found.disk.touch()
    with found.disk.open("r+b") as disk:
        disk.truncate(_DISK_BYTES)
    return found


def _kernel() -> Path:
    found = sorted(Path("/boot").glob("vmlinuz-*-cloud-amd64"))
    if not found:
        raise BringUpError(f"there is no kernel for guests (package {KERNEL_PACKAGE}); make install-cloud installs it")
    return found[-1]


def _fill(tree: Path, release: str) -> None:
    for name in ("bin", "dev", "proc", "sys", "etc", "lib/modules", "lib64", "tmp", "www", "run"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise BringUpError("busybox is not installed; make install installs it")
    shutil.copy(busybox, tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    for library in _libraries(busybox):
        target = tree / str(library).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    modules = _modules(release)
    for module in modules:
        shutil.copy(module, tree / "lib/modules")
    (tree / "lib/modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    for name, text in {"init": _INIT.replace("{ready}", READY), "bin/leased": _LEASED}.items():
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)


def _libraries(program: str) -> list[Path]:
    """What a dynamically linked program is loaded with; nothing for a static one."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(word) for word in told.split() if word.startswith("/")]


def _modules(release: str) -> list[Path]:
    """The kernel modules of a guest's devices with what they need, in the order of loading."""
    found: dict[Path, None] = {}
    for name in _MODULES:
        told = subprocess.run(
            ["modprobe", "--set-version", release, "--show-depends", name], capture_output=True, text=True, check=False
        )
        for line in told.stdout.splitlines():
            kind, _, path = line.strip().partition(" ")
            if kind == "insmod":
                found[Path(path.split()[0])] = None
    return list(found)


def _packed(tree: Path) -> bytes:
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet", "--owner=0:0"],
        input=names.encode(),
        cwd=tree,
        capture_output=True,
        check=True,
    )
    return gzip.compress(archive.stdout, compresslevel=6, mtime=0)
