"""The command line of a machine, and how its process is known for ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from astara.host.bodies.microvm import command
from astara.host.bodies.microvm.command import Machine, Memory, Shape
from astara.host.bodies.microvm.images import Image, found_in

ID = "0f0e0d0c-0000-0000-0000-000000000001"
SHAPE = Shape("qemu-system-x86_64", "tcg", 192, Image("astara", "sha256:1", Path("/images/one,two")))
ONE = Machine("node-a", ID, Path("/run/c"), Path("/s/console"), Path("/s/papers"), Path("/run/s"))


def test_a_process_is_known_by_node_and_instance() -> None:
    words = command.line(SHAPE, ONE)
    assert command.instance_of("node-a", words) == ID
    assert command.instance_of("node-b", words) is None
    assert command.instance_of("node", words) is None


def test_a_template_is_nobodys_machine() -> None:
    words = command.line(SHAPE, dataclasses.replace(ONE, template=True))
    assert command.instance_of("node-a", words) is None
    assert command.instance_of("node-a", words, templates=True) == ID


def test_a_clone_has_the_devices_of_its_template_and_memory_of_its_own() -> None:
    template = command.line(SHAPE, dataclasses.replace(ONE, memory=Memory(Path("/t/m"), shared=True), template=True))
    clone = command.line(SHAPE, dataclasses.replace(ONE, memory=Memory(Path("/t/m"), shared=False), asleep=True))
    assert _devices(template) == _devices(clone)
    assert "share=off" in " ".join(clone)
    assert clone[-2:] == ["-incoming", "defer"]


def test_a_machine_has_a_shell_only_where_its_node_is_told_so() -> None:
    with_one = command.line(dataclasses.replace(SHAPE, shell=True), ONE)
    assert [word for word in with_one if "path=/run/s" in word]
    assert with_one.index("chardev:console") < with_one.index("chardev:shell")  # the first line is the console's
    assert not [word for word in command.line(SHAPE, ONE) if "shell" in word]


def test_each_machine_runs_under_an_account_of_its_own() -> None:
    other = dataclasses.replace(ONE, instance_id="0f0e0e0c-0000-0000-0000-000000000001")
    accounts = [words[words.index("-runas") + 1] for words in (command.line(SHAPE, ONE), command.line(SHAPE, other))]
    assert accounts == [f"{uid}:{uid}" for uid in (0x700F0E0D, 0x700F0E0E)]


def test_commas_in_paths_do_not_become_options() -> None:
    words = command.line(SHAPE, ONE)
    assert "id=root,if=none,format=raw,readonly=on,file=/images/one,,two/root.sqfs" in words


def test_only_whole_images_are_offered_ours_first(tmp_path: Path) -> None:
    for name in ("acme", "astara", "broken"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "manifest.json").write_text(f'{{"name": "{name}", "digest": "sha256:{name}", "packages": {{}}}}')
        for part in ("vmlinux", "initramfs", "root.sqfs"):
            (folder / part).touch()
    (tmp_path / "broken" / "vmlinux").unlink()
    assert [image.name for image in found_in(tmp_path)] == ["astara", "acme"]


def _devices(words: list[str]) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == "-device"]
