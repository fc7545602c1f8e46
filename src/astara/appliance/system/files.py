"""Files only we write: replaced as a whole, readable by us alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def ensure_directory(path: Path, mode: int = PRIVATE_DIRECTORY) -> None:
    """Make `path` and what leads to it; an existing directory keeps its mode. Raises OSError."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)


def replace(path: Path, content: bytes | str, mode: int = PRIVATE_FILE) -> None:
    """Put `content` at `path`: readers see the old or the new whole, never a part.

    Not forced to the disk: after a power failure the old content may be back, and the orchestrator pushes again.

    Raises:
        OSError: e.g. ENOSPC, naming `path`; what was there is untouched then.
    """
    data = content.encode() if isinstance(content, str) else content
    ensure_directory(path.parent)
    handle, staged = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
        Path(staged).replace(path)
    except BaseException as error:
        Path(staged).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # a failed write(2) names no file, a rename two
        raise


def replace_if_different(path: Path, content: bytes | str, mode: int = PRIVATE_FILE) -> bool:
    """Like `replace`, but leave an equal file alone; return whether it was written."""
    data = content.encode() if isinstance(content, str) else content
    if read(path) == data:
        return False
    replace(path, data, mode)
    return True


def read(path: Path) -> bytes | None:
    """Return the content, None when there is no such file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(path: Path) -> None:
    """Take a file away; absence is success."""
    path.unlink(missing_ok=True)


def remove_directory(path: Path) -> None:
    """Take a directory and everything below it away; absence is success."""
    if path.exists():
        shutil.rmtree(path)
