"""Papers on a config drive: found by its label, read by what its own description says, and never from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from astara.contract.papers import CONFIG_DRIVE_PATH
from astara.host.machine import config_drive

CONTENT = b'{"instance_id": "i"}'


def drive(root: Path, **entry: str) -> Path:
    """Lay files out as Nova does (nova/virt/configdrive.py, nova/api/metadata/base.py)."""
    description = {"uuid": "u", "files": [{"path": "/etc/motd", "content_path": "/content/0000"}]}
    if entry:
        description["files"].append(entry)  # type: ignore[attr-defined]  # a list
    (root / "openstack/latest").mkdir(parents=True)
    (root / "openstack/content").mkdir()
    (root / "openstack/latest/meta_data.json").write_text(json.dumps(description))
    (root / "openstack/content/0000").write_bytes(b"welcome")
    (root / "openstack/content/0001").write_bytes(CONTENT)
    return root


def test_our_file_is_found_by_where_it_belongs(tmp_path: Path) -> None:
    root = drive(tmp_path, path=CONFIG_DRIVE_PATH, content_path="/content/0001")
    assert config_drive.brought(root) == CONTENT


def test_a_drive_without_our_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="brings no /etc/astara/papers"):
        config_drive.brought(drive(tmp_path))


def test_nothing_beside_the_drive_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    root = drive(tmp_path / "drive", path=CONFIG_DRIVE_PATH, content_path="/../../secret")
    with pytest.raises(OSError, match="no file of its own"):
        config_drive.brought(root)


@pytest.mark.parametrize(("at", "label"), [(0x8028, b"config-2"), (43, b"CONFIG-2   "), (71, b"config-2   ")])
def test_a_drive_is_known_by_its_label_in_either_file_system(at: int, label: bytes) -> None:
    blank = bytearray(0x8048)
    assert not config_drive.is_config_drive(bytes(blank))
    blank[at : at + len(label)] = label
    assert config_drive.is_config_drive(bytes(blank))


def test_a_disk_that_is_shorter_than_a_label_is_none() -> None:
    assert not config_drive.is_config_drive(b"")


@pytest.mark.parametrize("virtio", [False, True])
def test_the_kernel_lets_go_of_the_drive(tmp_path: Path, virtio: bool) -> None:
    """Both in the form of sysfs: SCSI devices have `delete`, virtio's are unbound from their driver."""
    device, driver, block = tmp_path / "bus/virtio5", tmp_path / "drivers/virtio_blk", tmp_path / "block/sr0"
    for directory in (device, driver, block):
        directory.mkdir(parents=True)
    (block / "device").symlink_to(device)
    (device / "driver").symlink_to(driver)
    (driver / "unbind").touch()
    if not virtio:
        (device / "delete").touch()

    config_drive.detach(block)

    written = (driver / "unbind").read_text() if virtio else (device / "delete").read_text()
    assert written == ("virtio5" if virtio else "1")
