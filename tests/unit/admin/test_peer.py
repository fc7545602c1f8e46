"""Who acts is what the kernel says of the socket's other end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astara.admin.peer import who

ROOT = "uid 0 (root)"
NOBODY_S_UID = 2**31 - 7


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (None, ROOT),  # the process is gone, or in another namespace
        ("4294967295", ROOT),  # no login led to it: a service
        ("0", ROOT),
        (str(NOBODY_S_UID), f"{ROOT}, login {NOBODY_S_UID}"),  # sudo
        ("nonsense", ROOT),
    ],
)
def test_whoever_became_root_is_named_by_his_login_too(tmp_path: Path, login: str | None, said: str) -> None:
    if login is not None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "loginuid").write_text(login)
    assert who(7, 0, tmp_path) == said


def test_a_user_without_a_name_is_a_number(tmp_path: Path) -> None:
    assert who(os.getpid(), NOBODY_S_UID, tmp_path) == f"uid {NOBODY_S_UID}"
