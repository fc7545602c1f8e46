"""A lab's pod: whatever ends it, nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara_lab.control import Control
from astara_lab.places import Lab
from astara_lab.pod import Pod
from astara_lab.supervised import Spec, State
from astara_lab.up import take_down
from astara_lab.waiting import until

pytestmark = pytest.mark.kernel


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    made = Pod(Lab(tmp_path / "lab", "embedded"))
    made.start()
    yield made
    made.stop()


def sleeper(pod: Pod, name: str = "sleeper", *argv: str) -> Spec:
    return Spec(name, argv or ("sleep", "1000"), dict(os.environ), str(pod.lab.log / f"{name}.log"))


def running(pod: Pod, name: str = "sleeper") -> State:
    def look() -> State | None:
        state = Control(pod).state(name)
        return state if state and state.pid else None

    return until(f"{name} running", look)


def inside(pod: Pod, *argv: str) -> str:
    command = [sys.executable, "-m", "astara_lab", "exec", "--dir", str(pod.lab.root), "--", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_is_made_inside_is_not_seen_outside_and_goes_with_the_pod(pod: Pod) -> None:
    inside(pod, "ip", "netns", "add", "astara-inner")
    inside(pod, "ip", "link", "add", "ainner", "type", "bridge")
    Control(pod).start(sleeper(pod, "marked", "sleep", "31.4159"))
    running(pod, "marked")

    assert "astara-inner" in inside(pod, "ip", "netns", "list")
    assert not Path("/run/netns/astara-inner").exists()
    assert not Path("/sys/class/net/ainner").exists()

    pod.stop()

    assert pod.identity() is None
    assert not _processes_with("31.4159")


def test_a_killed_service_is_started_again_and_a_stopped_one_is_not(pod: Pod) -> None:
    control = Control(pod)
    control.start(sleeper(pod))
    first = running(pod)

    control.change("kill", "sleeper")
    until("another process", lambda: running(pod).pid != first.pid)
    control.change("stop", "sleeper")
    until("its end", lambda: (state := control.state("sleeper")) and state.pid is None)

    assert control.state("sleeper") == State("sleeper", None, 0.0, 1, wanted=False, ended=-signal.SIGTERM)


def test_starting_the_same_service_twice_leaves_the_first_alone(pod: Pod) -> None:
    control = Control(pod)
    control.start(sleeper(pod))
    first = running(pod)

    control.start(sleeper(pod))

    assert running(pod).pid == first.pid


def test_a_command_that_is_killed_takes_its_own_lab_with_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", "embedded")
    script = (
        "import sys, signal, pathlib\n"
        "from astara_lab.places import Lab\n"
        "from astara_lab.pod import Pod\n"
        f"Pod(Lab(pathlib.Path({str(lab.root)!r}), 'embedded')).start(tied_to_caller=True)\n"
        "print('up', flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        assert Pod(lab).identity()
        command.kill()

    until("the end of the pod", lambda: Pod(lab).identity() is None)


def test_down_with_purge_leaves_no_file(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", "embedded")
    Pod(lab).start()

    assert take_down(lab, purge=True)

    assert not lab.root.exists()


def test_an_unknown_service_is_refused_by_name(pod: Pod) -> None:
    Control(pod).start(sleeper(pod))

    with pytest.raises(Exception, match=r"no service 'nobody' here; there are: sleeper"):
        Control(pod).change("kill", "nobody")


def _processes_with(word: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in text:
            found.append(text)
    return found
