"""Keystone, Glance, Placement and Nova with libvirt, for profile `cloud`: each its schema first, then its processes.

They live in a virtual environment of their own below Astara's, since a release of OpenStack chooses its libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from astara_lab import cloud_configuration, configuration, ini, one_start, tasks
from astara_lab.cloud_configuration import Ground
from astara_lab.keystone import ADMIN, REGION, Catalogue, token_of
from astara_lab.places import (
    GLANCE_PORT,
    GLANCE_URL,
    KEYSTONE_PORT,
    KEYSTONE_URL,
    LOOPBACK,
    METADATA_PORT,
    NOVA_PORT,
    NOVA_URL,
    PLACEMENT_PORT,
    PLACEMENT_URL,
)
from astara_lab.profiles import daemons
from astara_lab.profiles.astara import BIN, Setting, environment
from astara_lab.supervised import Spec
from astara_lab.tasks import BringUpError, Task

PREFIX = BIN.parent / "cloud"
DATABASES = ("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0")

_SCHEMA_S = 300.0
#: As Debian's libvirt-daemon-system would make them.
_USER, _USER_ID = "libvirt-qemu", 64055
_GROUP = f"{_USER}:x:{_USER_ID}:"
#: libvirt knows no other places than these.
_LIBVIRT = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")


def ground(setting: Setting) -> Ground:
    """Raises BringUpError when the services are not installed."""
    if not (PREFIX / "bin/nova-compute").exists():
        raise BringUpError("Keystone, Glance, Placement and Nova are not installed; make install-cloud installs them")
    return Ground(
        lab=setting.lab,
        prefix=PREFIX,
        password=setting.trust.password,
        transport_url=daemons.rabbit_url(setting),
        database_url=daemons.database_url(setting, "{}"),
    )


def openstack(setting: Setting) -> list[Task]:
    """Needs the tasks `mariadb`, `rabbit`, `openvswitch`; `catalogue` is what all who need a token wait for."""
    base = ground(setting)
    _write_files(setting, base)
    return [*_keystone(setting), *_glance(setting), *_placement(setting), *_nova(setting), _libvirt(setting)]


def _write_files(setting: Setting, base: Ground) -> None:
    etc = setting.lab.etc
    secret = setting.trust.metadata_secret.read_text()
    for name, sections in {
        "keystone": cloud_configuration.keystone(base),
        "glance-api": cloud_configuration.glance(base),
        "placement": cloud_configuration.placement(base),
        "nova": cloud_configuration.nova(base, secret),
    }.items():
        file = etc / f"{name}.conf"
        ini.write(file, sections)
        file.chmod(0o600)
    for name, module, port, threads in (
        ("keystone", "keystone.wsgi.api", KEYSTONE_PORT, 4),
        ("glance", "glance.wsgi.api", GLANCE_PORT, 4),
        ("placement", "placement.wsgi.api", PLACEMENT_PORT, 2),
        ("nova-api", "nova.wsgi.osapi_compute", NOVA_PORT, 4),
        ("nova-metadata", "nova.wsgi.metadata", METADATA_PORT, 2),
    ):
        (etc / f"uwsgi-{name}.ini").write_text(configuration.api_server(module, port, threads))


# -- each service


def _keystone(setting: Setting) -> list[Task]:
    conf = ("--config-file", setting.lab.etc / "keystone.conf")
    keys = setting.lab.lib / "keystone"

    def schema() -> None:
        owner = ("--keystone-user", "root", "--keystone-group", "root")
        for name in ("fernet", "credential"):
            (keys / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        faces = [word for face in ("admin", "internal", "public") for word in (f"--bootstrap-{face}-url", KEYSTONE_URL)]
        commands: tuple[tuple[str | Path, ...], ...] = (
            (*conf, "fernet_setup", *owner),
            (*conf, "credential_setup", *owner),
            (*conf, "db_sync"),
            (*conf, "bootstrap", "--bootstrap-username", ADMIN, "--bootstrap-region-id", REGION, *faces),
        )
        secret = {"OS_BOOTSTRAP_PASSWORD": setting.trust.password}  # an argument would show in the process list
        _manage(setting, "keystone", "keystone.cmd.manage:main", *commands, env=secret)

    return [
        Task("keystone-schema", _once(setting, "keystone", schema), ("mariadb",)),
        _api(
            setting,
            "keystone",
            KEYSTONE_URL,
            ("keystone-schema",),
            {"OS_KEYSTONE_CONFIG_FILES": str(setting.lab.etc / "keystone.conf")},
        ),
        Task("catalogue", lambda: Catalogue.open(setting.lab).fill(), ("keystone",)),
    ]


def _glance(setting: Setting) -> list[Task]:
    conf = setting.lab.etc / "glance-api.conf"
    for name in ("images", "staging", "tasks", "lock"):
        (setting.lab.lib / "glance" / name).mkdir(parents=True, exist_ok=True)

    def schema() -> None:
        _manage(setting, "glance", "glance.cmd.manage:main", ("--config-file", conf, "db_sync"))

    env = {"OS_GLANCE_CONFIG_DIR": str(conf.parent), "OS_GLANCE_CONFIG_FILES": conf.name}
    return [
        Task("glance-schema", _once(setting, "glance", schema), ("mariadb",)),
        _api(setting, "glance", f"{GLANCE_URL}/healthcheck", ("glance-schema",), env),
    ]


def _placement(setting: Setting) -> list[Task]:
    conf = ("--config-file", setting.lab.etc / "placement.conf")

    def schema() -> None:
        _manage(setting, "placement", "placement.cmd.manage:main", (*conf, "db", "sync"))

    env = {"OS_PLACEMENT_CONFIG_DIR": str(setting.lab.etc)}
    return [
        Task("placement-schema", _once(setting, "placement", schema), ("mariadb",)),
        _api(setting, "placement", PLACEMENT_URL, ("placement-schema",), env),
    ]


def _nova(setting: Setting) -> list[Task]:
    """Its compute service comes last: it registers what it has with Placement at once, and fails without it."""
    conf = ("--config-file", setting.lab.etc / "nova.conf")
    (setting.lab.lib / "nova/instances").mkdir(parents=True, exist_ok=True)

    def schema() -> None:
        cell0 = ("--database_connection", daemons.database_url(setting, "nova_cell0"))
        commands = (
            (*conf, "api_db", "sync"),
            (*conf, "cell_v2", "map_cell0", *cell0),
            (*conf, "cell_v2", "create_cell", "--name", "cell1"),
            (*conf, "db", "sync"),
        )
        _manage(setting, "nova", "nova.cmd.manage:main", *commands)

    env = {"OS_NOVA_CONFIG_DIR": str(setting.lab.etc), "OS_NOVA_CONFIG_FILES": f"{PASTE};nova.conf"}
    return [
        Task("nova-schema", _once(setting, "nova", schema), ("mariadb",)),
        _api(setting, "nova-api", NOVA_URL, ("nova-schema",), env),
        _api(setting, "nova-metadata", f"http://{LOOPBACK}:{METADATA_PORT}", ("nova-schema",), env),
        _daemon(setting, "nova-conductor", ("nova-schema", "rabbit")),
        _daemon(setting, "nova-scheduler", ("nova-schema", "rabbit")),
        Task(
            "nova-compute",
            tasks.service(setting.lab, setting.control, _spec(setting, "nova-compute", *conf), _hypervisor(setting)),
            ("nova-conductor", "nova-api", "placement", "catalogue", "libvirt", "openvswitch"),
        ),
    ]


#: uWSGI reads it first: Nova takes the first of its files for the one of its pipelines.
PASTE = PREFIX / "etc/nova/api-paste.ini"


def _hypervisor(setting: Setting) -> Callable[[], bool]:
    """Ready when Nova's API shows a hypervisor that is up, so when a server can be scheduled."""
    token = token_of(setting.lab)

    def look() -> bool:
        try:
            headers = {"X-Auth-Token": token()} if token else {}
            answer = httpx.get(f"{NOVA_URL}/os-hypervisors", headers=headers, timeout=20.0, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success and any(found["state"] == "up" for found in answer.json()["hypervisors"])

    return look


def _libvirt(setting: Setting) -> Task:
    """libvirtd with its state below the lab: it knows no other places than its own, so ours are mounted there."""
    lab = setting.lab
    spec = setting.spec("libvirtd", "/usr/sbin/libvirtd", "-f", "/etc/libvirt/libvirtd.conf")

    def work() -> None:
        for place in _LIBVIRT:
            ours = lab.lib / "libvirt" / place.split("/")[-2]
            ours.mkdir(parents=True, exist_ok=True)
            if not Path(place).is_dir():
                raise BringUpError(f"{place} is missing; make install-cloud installs what this profile needs")
            if not os.path.ismount(place):
                daemons.command(setting, "mount", "--bind", ours, place)
        Path("/etc/libvirt/libvirtd.conf").write_text(cloud_configuration.LIBVIRTD)
        Path("/etc/libvirt/qemu.conf").write_text(cloud_configuration.QEMU)
        _know_libvirts_user(setting)
        tasks.service(lab, setting.control, spec, _hypervisor_answers)()

    return Task("libvirt", work)


def _know_libvirts_user(setting: Setting) -> None:
    """libvirt looks its own user up before it reads that it is to use another; in the pod there is such a user."""
    for name, entry in (("passwd", f"{_USER}:x:{_USER_ID}:{_USER_ID}::/nonexistent:/bin/false"), ("group", _GROUP)):
        known = Path("/etc") / name
        if any(line.startswith(f"{_USER}:") for line in known.read_text().splitlines()):
            continue
        ours = setting.lab.etc / name
        ours.write_text(f"{known.read_text().rstrip()}\n{entry}\n")
        daemons.command(setting, "mount", "--bind", ours, known)


def _hypervisor_answers() -> bool:
    """Its socket is there long before its QEMU driver."""
    argv = ["virsh", "--connect", "qemu:///system", "version"]
    return subprocess.run(argv, capture_output=True, check=False, timeout=30.0).returncode == 0


# -- the hands


def _spec(setting: Setting, program: str, *words: str | Path, env: dict[str, str] | None = None) -> Spec:
    return setting.spec(program, PREFIX / "bin" / program, *words, env=_environment(setting) | (env or {}))


def _environment(setting: Setting) -> dict[str, str]:
    """Their own programs before Astara's; Astara's sources are none of their business."""
    ours = environment(setting.lab)
    return ours | {"PATH": f"{PREFIX}/bin:{ours['PATH']}", "PYTHONPATH": ""}


def _daemon(setting: Setting, program: str, after: tuple[str, ...]) -> Task:
    """A service nobody can ask whether it is ready: who needs it waits for what it does."""
    spec = _spec(setting, program, "--config-file", setting.lab.etc / "nova.conf")
    return Task(program, tasks.service(setting.lab, setting.control, spec, lambda: True), after)


def _api(setting: Setting, name: str, url: str, after: tuple[str, ...], env: dict[str, str]) -> Task:
    ini_file = setting.lab.etc / f"uwsgi-{name}.ini"
    spec = setting.spec(name, PREFIX / "bin/uwsgi", "--ini", ini_file, env=_environment(setting) | env)
    return Task(name, tasks.service(setting.lab, setting.control, spec, tasks.http_answers(url)), after)


def _once(setting: Setting, name: str, work: Callable[[], None]) -> Callable[[], None]:
    """Work that is left out when it was done before."""
    done = setting.lab.lib / f"{name}.schema"

    def unless_done() -> None:
        if not done.exists():
            work()
            done.touch()

    return unless_done


def _manage(
    setting: Setting, name: str, target: str, *commands: Sequence[str | Path], env: dict[str, str] | None = None
) -> None:
    """Commands of a service's own management program, in order. Raises BringUpError with the end of its log."""
    log = setting.lab.log / f"{name}-schema.log"
    words = json.dumps([[str(word) for word in command] for command in commands])
    argv: list[str | Path] = [PREFIX / "bin/python", "-P", "-W", "ignore", one_start.__file__, target, words]
    with log.open("ab") as output:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
            timeout=_SCHEMA_S,
            env=_environment(setting) | (env or {}),
        )
    if done.returncode != 0:
        raise BringUpError(f"the schema of {name} was not made\n{tasks.tail(setting.lab, log.stem)}")
