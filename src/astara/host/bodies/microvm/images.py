"""The appliance images of this node: folders as `make image` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

_log = structlog.get_logger(__name__)
_MANIFEST = "manifest.json"
_DEFAULT = "astara"


class _Manifest(msgspec.Struct):
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Image:
    """`digest` is that of the contents, "sha256:<hex>"."""

    name: str
    digest: str
    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def root(self) -> Path:
        return self.folder / "root.sqfs"


def found_in(folder: Path) -> Sequence[Image]:
    """Return the image `folder` is, or those in the folders below it: ours first, then by name."""
    manifests = [folder / _MANIFEST, *sorted(folder.glob(f"*/{_MANIFEST}"))]
    images = [image for path in manifests if path.is_file() and (image := _image(path)) is not None]
    return sorted(images, key=lambda image: (image.name != _DEFAULT, image.name))


def _image(manifest: Path) -> Image | None:
    try:
        told = msgspec.json.decode(manifest.read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("image.unusable", manifest=str(manifest), reason=str(error))
        return None
    image = Image(told.name, told.digest, manifest.parent)
    missing = [path.name for path in (image.kernel, image.initramfs, image.root) if not path.is_file()]
    if missing:
        _log.warning("image.unusable", manifest=str(manifest), missing=missing)
        return None
    return image
