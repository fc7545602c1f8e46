"""Containers as bodies: what one is, and the failure rows of docs/design/bodies.md."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.appliance.system import processes
from astara.clients.appliance import NodeClient
from astara.contract.agent import Body, Health, InstanceSpec, InstanceView, PortAttachment
from astara.contract.generation import Generation
from astara.contract.identity import instance_role
from astara.host import links, namespaces
from astara.host.bodies import guest
from astara.host.bodies.container.confinement import CAPABILITIES
from astara.host.bodies.container.podman import APPLIANCE, Podman
from astara.host.healer import Pace
from astara.host.options import ContainerOptions
from astara.model.errors import AstaraError, Retry, Terminal
from support.containers import IMAGE, container_options, credential, needs_podman
from support.node_agent import NODE, Deployment, isolated, port, router_document, running, spec
from support.segment import eventually

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
    needs_podman,
]
NOW, LAST = Generation(1, 1), Generation(99, 0)
#: The slow round must not hide that a hint was missed.
HINTS_ONLY = Pace(sweep_period_s=3600.0)
EAGER = Pace(sweep_period_s=0.2, sweep_cpu_share=1.0)


def with_containers(deployment: Deployment, options: ContainerOptions) -> Deployment:
    return dataclasses.replace(deployment, options=dataclasses.replace(deployment.options, container=options))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = with_containers(Deployment.at(tmp_path), container_options())
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


def container(deployment: Deployment, *ports: PortAttachment) -> InstanceSpec:
    wish = spec(*(ports or (port(),)))
    return replace(wish, body=Body(kind="container"), credential=credential(deployment.authority, wish.id))


def configured(deployment: Deployment, client: NodeClient) -> InstanceSpec:
    instance = container(deployment)
    client.put_instance(instance)
    client.configure(instance.id, router_document(instance))
    return instance


def inside(instance: InstanceSpec, *argv: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={namespaces.path_of(instance.id)}", *argv], capture_output=True, text=True, check=False
    )
    return done.stdout


def files_of(deployment: Deployment, instance: InstanceSpec) -> Path:
    return deployment.options.state_dir / "instances" / instance.id


def init_of(deployment: Deployment, instance: InstanceSpec) -> int:
    """The first process of a container that runs; 0 when none does."""
    found = processes.find(namespaces.path_of(instance.id), files_of(deployment, instance) / "body" / "init.pid")
    return 0 if found is None else found.pid


def view_of(client: NodeClient, instance: InstanceSpec) -> InstanceView:
    (view,) = client.instances("router", instance.key.id).instances
    return view


def left(deployment: Deployment) -> tuple[list[str], set[str], list[str]]:
    """Containers, namespaces and directories of instances."""
    directories = [path.name for path in (deployment.options.state_dir / "instances").iterdir()]
    return Podman(deployment.options.container).instances(NODE), namespaces.ids_present(), directories


NOTHING: tuple[list[str], set[str], list[str]] = ([], set(), [])


# What it is


def test_a_container_is_made_configured_and_deleted(deployment: Deployment) -> None:
    with running(deployment, pace=HINTS_ONLY) as (_, client):
        instance = configured(deployment, client)
        view = view_of(client, instance)
        assert (view.state.health, view.body) == (Health.HEALTHY, Body(kind="container", image=IMAGE))
        assert "10.0.0.1/24" in inside(instance, "ip", "addr")
        assert "agent.serving" in client.console_log(instance.id)
        assert client.node().bodies == {"container": (IMAGE,), "namespace": ()}
        client.delete_instance(instance.id, NOW)
    assert left(deployment) == NOTHING


def test_ports_come_and_go_while_the_container_stays(deployment: Deployment) -> None:
    first, second = port(), port()
    instance = container(deployment, first)
    with running(deployment, pace=HINTS_ONLY) as (_, client):
        client.put_instance(instance)
        init = init_of(deployment, instance)
        client.attach(instance.id, second, NOW)
        both = replace(instance, ports=(first, second))
        client.configure(instance.id, router_document(both, outside="203.0.113.2/24"))
        assert "203.0.113.2/24" in inside(instance, "ip", "addr")
        client.detach(instance.id, second.port_id, NOW)
        client.configure(instance.id, router_document(instance))
        assert view_of(client, instance).state.health is Health.HEALTHY
        assert links.find(links.host_name(second.port_id)) is None
        assert init_of(deployment, instance) == init != 0


def test_an_instance_never_changes_its_body(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instance = configured(deployment, client)
        with pytest.raises(Terminal, match=r"\$\.body\.kind"):
            client.put_instance(replace(instance, body=Body()))
        with pytest.raises(Terminal, match=r"\$\.body\.image"):
            client.put_instance(replace(instance, body=Body(kind="container", image="another")))
        assert view_of(client, instance).state.health is Health.HEALTHY


_TRIES = """
import ctypes, pathlib
libc = ctypes.CDLL(None, use_errno=True)
mounts = libc.mount(b"none", b"/run", b"tmpfs", 0, None), libc.umount2(b"/proc/sys/kernel", 2)
try: pathlib.Path("/proc/sys/kernel/core_pattern").write_text("x"); kernel = "open"
except OSError: kernel = "closed"
try: pathlib.Path("/etc/x").write_text("x"); root = "writable"
except OSError: root = "read-only"
pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
print("mounts", mounts, "kernel", kernel, "root", root, "own settings writable")
"""


def test_inside_nothing_of_the_machine_can_be_changed(tmp_path: Path) -> None:
    options = container_options()
    trying = dataclasses.replace(options, command=("/usr/bin/python3", "-c", _TRIES))
    deployment = with_containers(Deployment.at(tmp_path), trying)
    with running(deployment) as (_, client), pytest.raises(Retry) as told:
        client.put_instance(container(deployment))
    assert "mounts (-1, -1) kernel closed root read-only own settings writable" in str(told.value)


def test_a_container_has_the_capabilities_it_needs_and_no_more(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instance = configured(deployment, client)
        status = Path(f"/proc/{init_of(deployment, instance)}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(lines["CapBnd"], 16).bit_count() == len(CAPABILITIES)
    assert (lines["Seccomp"].strip(), lines["NoNewPrivs"].strip()) == ("2", "1")


def test_the_key_is_in_two_files_only_root_reads_and_nowhere_else(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(deployment) as (_, client):
        instance = configured(deployment, client)
        said = repr(client.instances()) + client.console_log(instance.id)
    assert instance.credential is not None
    secret = instance.credential.key.splitlines()[1]
    assert secret not in said + capsys.readouterr().out
    holding = [path for path in written(deployment) if secret.encode() in path.read_bytes()]
    assert sorted(path.name for path in holding) == ["credential.json", "key.pem"]
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}


def written(deployment: Deployment) -> list[Path]:
    """Every file of the node agent and of podman, without the machine's root that the containers show again."""
    found: list[Path] = []
    for top in (deployment.options.state_dir, deployment.options.container.storage):
        assert top is not None
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if name not in ("merge", "merged")]
            found += [path for path in map(Path(directory).joinpath, files) if path.is_file()]
    return found


# What goes wrong


def test_a_killed_container_is_started_anew_at_once_with_what_it_had(deployment: Deployment) -> None:
    with running(deployment, pace=HINTS_ONLY) as (_, client):
        instance = configured(deployment, client)
        before = init_of(deployment, instance)
        os.kill(before, signal.SIGKILL)
        assert eventually(lambda: init_of(deployment, instance) not in (0, before))
        assert eventually(lambda: view_of(client, instance).state.repairs > 0)
        state = view_of(client, instance).state
        assert (state.health, state.generation) == (Health.HEALTHY, NOW)
        assert "10.0.0.1/24" in inside(instance, "ip", "addr")
        assert [key.id for key in client.changes(0, 5.0).keys] == [instance.key.id]


def test_a_container_that_hangs_is_ended_and_started_anew(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(deployment, pace=EAGER) as (_, client):
        instance = configured(deployment, client)
        before = init_of(deployment, instance)
        monkeypatch.setattr(guest, "_STATE_S", 0.3)
        monkeypatch.setattr(guest, "_SILENCE_S", 1.0)
        for pid in [before, *children_of(before)]:
            os.kill(pid, signal.SIGSTOP)
        assert eventually(lambda: init_of(deployment, instance) not in (0, before), within_s=30.0)
        monkeypatch.undo()
        assert eventually(lambda: view_of(client, instance).state.health is Health.HEALTHY, within_s=20.0)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_agent_that_ends_inside_is_followed_by_another_and_the_container_stays(deployment: Deployment) -> None:
    with running(deployment, pace=EAGER) as (_, client):
        instance = configured(deployment, client)
        init = init_of(deployment, instance)
        (agent,) = children_of(init)
        os.kill(agent, signal.SIGKILL)
        assert eventually(lambda: children_of(init) not in ([], [agent]))
        assert eventually(lambda: view_of(client, instance).state.health is Health.HEALTHY)
        assert init_of(deployment, instance) == init


def test_an_image_that_is_not_there_is_refused_with_those_that_are(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        with pytest.raises(Terminal, match=r"\$\.body\.image") as refused:
            client.put_instance(replace(container(deployment), body=Body(kind="container", image="nosuch")))
        assert IMAGE in refused.value.remedy
    assert left(deployment) == NOTHING


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sh", "-c", "echo the disk is upside down; exit 3"), "upside down"),
        (("sleep", "1000"), "does not answer"),
        (("/no/such/program",), "cannot be started"),
    ],
    ids=["ends", "silent", "absent"],
)
def test_an_image_that_does_not_boot_is_given_up_with_its_last_words(
    tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    options = dataclasses.replace(container_options(boot_deadline_s=1.0), command=command)
    deployment = with_containers(Deployment.at(tmp_path), options)
    with running(deployment) as (_, client):
        with pytest.raises(Retry, match=words) as told:
            client.put_instance(container(deployment))
        assert told.value.remedy
    assert left(deployment) == NOTHING


def test_a_certificate_of_another_instance_is_not_believed_and_nothing_is_left(deployment: Deployment) -> None:
    instance = container(deployment)
    wrong = credential(deployment.authority, "other", instance_role("3b0ee6c1-4ac1-4a5e-8a62-8c4ac1f1d001"))
    with running(deployment) as (_, client):
        with pytest.raises(AstaraError, match="do not believe each other") as told:
            client.put_instance(replace(instance, credential=wrong))
        assert "credential" in told.value.remedy
        assert left(deployment) == NOTHING
        client.put_instance(instance)
        assert view_of(client, instance).state.health is Health.UNCONFIGURED


def test_a_new_credential_is_taken_without_a_restart(deployment: Deployment) -> None:
    with running(deployment, pace=HINTS_ONLY) as (agent, client):
        instance = configured(deployment, client)
        init = init_of(deployment, instance)
        renewed = credential(deployment.authority, "renewed", instance_role(instance.id))
        client.put_instance(replace(instance, credential=renewed))
        agent.node._around.bodies["container"]._guest.hang_up(instance.id)  # type: ignore[attr-defined]
        assert view_of(client, instance).state.health is Health.HEALTHY
        client.configure(instance.id, router_document(instance, inside="10.0.5.1/24"))
        assert "10.0.5.1/24" in inside(instance, "ip", "addr")
        assert init_of(deployment, instance) == init
        shown = (files_of(deployment, instance) / "body" / "birth" / "cert.pem").read_text()
        assert shown == renewed.certificate


def test_what_a_deleted_instance_was_given_is_not_believed_of_the_one_made_again(deployment: Deployment) -> None:
    """It has the same id, so the same role; whoever kept the key could answer in its place for a week."""
    with running(deployment, pace=HINTS_ONLY) as (agent, client):
        instance = configured(deployment, client)
        birth = files_of(deployment, instance) / "body" / "birth"
        stolen = {name: (birth / name).read_bytes() for name in ("cert.pem", "key.pem")}
        client.delete_instance(instance.id, NOW)
        given = credential(deployment.authority, "given", instance_role(instance.id))
        client.put_instance(replace(instance, credential=given))
        for name, content in stolen.items():
            (birth / name).write_bytes(content)
        agent.node._around.bodies["container"]._guest.hang_up(instance.id)  # type: ignore[attr-defined]
        state = client.state(instance.id)
        assert state.health is Health.FAILED
        assert "not one this instance was given" in (state.last_error or "")
        client.put_instance(replace(instance, credential=given))
        assert client.state(instance.id).health is Health.UNCONFIGURED


def test_a_restarted_node_agent_finds_its_containers_and_touches_nothing(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instance = configured(deployment, client)
    before = init_of(deployment, instance)
    with running(deployment) as (_, client):
        state = view_of(client, instance).state
        assert (state.health, state.generation, state.repairs) == (Health.HEALTHY, NOW, 0)
        assert init_of(deployment, instance) == before != 0


def test_after_a_reboot_a_container_comes_back_with_its_last_configuration(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instance = configured(deployment, client)
    Podman(deployment.options.container).remove(f"astara-{instance.id}")
    namespaces.remove(instance.id)
    links.remove(links.host_name(instance.ports[0].port_id))
    with running(deployment) as (_, client):
        assert eventually(lambda: view_of(client, instance).state.health is Health.HEALTHY)
        assert "10.0.0.1/24" in inside(instance, "ip", "addr")


def test_a_container_nobody_knows_is_cleared_and_those_of_others_are_left(deployment: Deployment) -> None:
    storage = deployment.options.container
    with running(deployment) as (_, client):
        instance = configured(deployment, client)
        init = init_of(deployment, instance)
    (files_of(deployment, instance) / "instance.json").unlink()
    theirs = ["--label", "astara:instance=theirs", "--label", "astara:node=node-z", "--rootfs", "/:O", "true"]
    subprocess.run([*Podman(storage)._argv, "create", *theirs], check=True, capture_output=True)
    with running(deployment):
        assert left(deployment) == NOTHING
        assert processes.running(init) is None
        assert Podman(storage).instances("node-z") == ["theirs"]


def test_a_node_says_of_what_podmans_images_are_made(deployment: Deployment, tmp_path: Path) -> None:
    """Of one laid over another by what is on top, of a name that got another content by the new one."""
    first, second, third = (f"sha256:{digit * 64}" for digit in "123")

    def podman(*words: str) -> str:
        argv = [*Podman(deployment.options.container)._argv, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def imported(digest: str, name: str) -> None:
        file = tmp_path / "usr/lib/astara/image"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{digest}\n")
        subprocess.run(["tar", "-cf", tmp_path / "root.tar", "-C", tmp_path, "usr"], check=True)
        podman("import", "--change", f"LABEL={APPLIANCE}=1", str(tmp_path / "root.tar"), name)

    imported(first, "localhost/a")
    (tmp_path / "image").write_text(f"{second}\n")
    on_top = podman("create", "localhost/a", "true")
    podman("cp", str(tmp_path / "image"), f"{on_top}:/usr/lib/astara/image")
    podman("commit", on_top, "localhost/b")
    imported("not one", "localhost/c")
    with running(deployment) as (_, client):
        assert client.node().digests["container"] == {"localhost/a": first, "localhost/b": second}
    imported(third, "localhost/a")
    with running(deployment) as (_, client):
        assert client.node().digests["container"] == {"localhost/a": third, "localhost/b": second}
        assert "localhost/c" in client.node().bodies["container"]
