"""Broker, database and switch for profile `neutron`: Debian's daemons without systemd, their state below the lab.

RabbitMQ and MariaDB listen on the pod's loopback only; Open vSwitch uses the userspace datapath (netdev), which
needs no kernel module, and OVN stands on it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from astara_lab import tasks
from astara_lab.places import (
    EXTERNAL_BRIDGE,
    EXTERNAL_PHYSNET,
    LOOPBACK,
    MARIADB_PORT,
    NODE_NAME,
    OVSDB_SOCKET,
    RABBIT_PORT,
)
from astara_lab.profiles.astara import Setting, environment
from astara_lab.tasks import BringUpError, Task

USER = "astara"
INTEGRATION_BRIDGE = "br-int"
OVN_RUN = Path("/run/ovn")

_EPMD_PORT, _ERLANG_PORT = "14369", "15672"
_RABBIT_BIN = Path("/usr/lib/rabbitmq/bin")
_TIMEOUT_S = 120.0


def command(setting: Setting, *argv: str | Path, stdin: str | None = None) -> str:
    """Runs a command of a daemon's own kit to its end. Raises BringUpError with what it said."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=environment(setting.lab),
        )
    except FileNotFoundError:
        raise BringUpError(
            f"{words[0]} is not installed; make install-neutron installs what this profile needs"
        ) from None
    if done.returncode != 0:
        raise BringUpError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def rabbit_url(setting: Setting, address: str = LOOPBACK) -> str:
    return f"rabbit://{USER}:{setting.trust.password}@{address}:{RABBIT_PORT}/"


def database_url(setting: Setting, name: str = "neutron") -> str:
    return f"mysql+pymysql://{USER}:{setting.trust.password}@{LOOPBACK}:{MARIADB_PORT}/{name}?charset=utf8mb4"


def rabbit(setting: Setting) -> Task:
    directory = setting.lab.lib / "rabbit"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rabbitmq.conf").write_text(
        f"default_user = {USER}\ndefault_pass = {setting.trust.password}\nloopback_users = none\n"
        "vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 200MB\n"
    )
    (directory / "rabbitmq.conf").chmod(0o600)
    (directory / "enabled_plugins").write_text("[].")
    one_thread = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
    env = {
        "HOME": str(directory),
        "ERL_EPMD_PORT": _EPMD_PORT,
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": "astara@localhost",
        # Agents of a second node reach it over the wire between the two.
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK if setting.variant.nodes == 1 else "0.0.0.0",
        "RABBITMQ_NODE_PORT": str(RABBIT_PORT),
        "RABBITMQ_DIST_PORT": _ERLANG_PORT,
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
        "RABBITMQ_PID_FILE": str(directory / "rabbit.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": one_thread,
    }
    spec = setting.spec("rabbit", _RABBIT_BIN / "rabbitmq-server", env=env)
    return Task("rabbit", tasks.service(setting.lab, setting.control, spec, tasks.port_open(LOOPBACK, RABBIT_PORT)))


def mariadb(setting: Setting, databases: Sequence[str]) -> Task:
    """MariaDB with everything a lab can lose left out: binary log, double writes, flushing at each commit."""
    data, socket = setting.lab.lib / "mysql", setting.lab.run / "mysql.sock"
    options = {
        "user": "root",
        "datadir": data,
        "socket": socket,
        "bind-address": LOOPBACK,
        "port": MARIADB_PORT,
        "pid-file": setting.lab.run / "mariadbd.pid",
        "innodb-buffer-pool-size": "128M",
        "innodb-flush-log-at-trx-commit": 0,
        "innodb-doublewrite": 0,
        "sync-binlog": 0,
        "max-connections": 400,
        "character-set-server": "utf8mb4",
        "performance-schema": "OFF",
        "sync-frm": 0,
        "innodb-flush-method": "nosync",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    spec = setting.spec("mariadb", shutil.which("mariadbd") or "mariadbd", "--no-defaults", *words, "--skip-log-bin")
    start = tasks.service(setting.lab, setting.control, spec, tasks.port_open(LOOPBACK, MARIADB_PORT))

    def work() -> None:
        if not (data / "mysql").is_dir():
            command(
                setting,
                "mariadb-install-db",
                "--no-defaults",
                "--user=root",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            )
        start()
        password = setting.trust.password
        statements = [
            *(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4;" for name in databases),
            *(
                f"GRANT ALL ON *.* TO '{USER}'@'{place}' IDENTIFIED BY '{password}';"
                for place in ("localhost", LOOPBACK)
            ),
        ]
        command(setting, "mariadb", "--no-defaults", f"--socket={socket}", "--user=root", stdin="\n".join(statements))

    return Task("mariadb", work)


@dataclass(frozen=True)
class Switch:
    """An Open vSwitch: whose host name, where its sockets are, what its services' names end in, how to get there."""

    host: str = NODE_NAME
    run: Path = OVSDB_SOCKET.parent
    suffix: str = ""
    there: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def database(self) -> Path:
        return self.run / OVSDB_SOCKET.name


FIRST = Switch()


def openvswitch(setting: Setting, physnets: Mapping[str, str], of: Switch = FIRST) -> list[Task]:
    """Open vSwitch with br-int and each physical network's bridge.

    Its database is made anew with each pod: the devices it knew are gone.
    """
    run = of.run
    database = setting.spec(
        f"ovsdb{of.suffix}",
        *of.there,
        "ovsdb-server",
        run / "conf.db",
        f"--remote=punix:{of.database}",
        f"--unixctl={run}/ovsdb.ctl",
        "--no-chdir",
        "-vconsole:warn",
    )
    switch = setting.spec(
        f"vswitchd{of.suffix}",
        *of.there,
        "ovs-vswitchd",
        f"unix:{of.database}",
        f"--unixctl={run}/vswitchd.ctl",
        "--no-chdir",
        "-vconsole:warn",
        env={"OVS_RUNDIR": str(run)},
    )
    start_database = tasks.service(setting.lab, setting.control, database, tasks.unix_answers(of.database))
    start_switch = tasks.service(setting.lab, setting.control, switch, tasks.unix_answers(run / "vswitchd.ctl"))

    def work() -> None:
        run.mkdir(exist_ok=True)
        if not (run / "conf.db").exists():
            command(setting, "ovsdb-tool", "create", run / "conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        start_database()
        vsctl(setting, "--no-wait", "init", of=of)
        ids = (f"external_ids:system-id={of.host}", f"external_ids:hostname={of.host}")
        vsctl(setting, "--no-wait", "set", "Open_vSwitch", ".", *ids, of=of)
        start_switch()
        for bridge in (*physnets.values(), INTEGRATION_BRIDGE):
            as_netdev = ("--", "set", "bridge", bridge, "datapath_type=netdev")
            vsctl(setting, "--may-exist", "add-br", bridge, *as_netdev, of=of)
        vsctl(setting, "set", "bridge", INTEGRATION_BRIDGE, "fail_mode=secure", of=of)
        for bridge in physnets.values():
            command(setting, *of.there, "ip", "link", "set", bridge, "up")

    return [Task(f"openvswitch{of.suffix}", work, of.needs)]


def vsctl(setting: Setting, *words: str, of: Switch = FIRST) -> None:
    command(setting, "ovs-vsctl", f"--db=unix:{of.database}", "--timeout=20", *words)


def ovn(setting: Setting, address: str = LOOPBACK) -> list[Task]:
    """OVN's two databases, northd, and ovn-controller on the lab's first chassis, which is a gateway too.

    `address` is that of its tunnels.
    """

    def database(side: str, tables: str) -> Task:
        file, socket = setting.lab.lib / f"ovn-{side}.db", OVN_RUN / f"{side}.sock"
        spec = setting.spec(
            f"ovn-{side}",
            "ovsdb-server",
            file,
            f"--remote=punix:{socket}",
            f"--remote=db:{tables},connections",
            f"--unixctl={OVN_RUN}/{side}.ctl",
            "--no-chdir",
            "-vconsole:warn",
        )
        start = tasks.service(setting.lab, setting.control, spec, tasks.unix_answers(socket))

        def work() -> None:
            if not file.exists():
                command(setting, "ovsdb-tool", "create", file, f"/usr/share/ovn/ovn-{side}.ovsschema")
            start()
            command(setting, f"ovn-{side}ctl", f"--db=unix:{socket}", "init")

        return Task(f"ovn-{side}", work)

    north, south = f"unix:{OVN_RUN}/nb.sock", f"unix:{OVN_RUN}/sb.sock"
    northd = setting.spec(
        "ovn-northd",
        "ovn-northd",
        f"--ovnnb-db={north}",
        f"--ovnsb-db={south}",
        f"--unixctl={OVN_RUN}/northd.ctl",
        "--no-chdir",
        "-vconsole:warn",
    )
    ready = tasks.unix_answers(OVN_RUN / "northd.ctl")
    return [
        database("nb", "OVN_Northbound,NB_Global"),
        database("sb", "OVN_Southbound,SB_Global"),
        Task("ovn-northd", tasks.service(setting.lab, setting.control, northd, ready), ("ovn-nb", "ovn-sb")),
        chassis(setting, FIRST, address),
    ]


def chassis(setting: Setting, of: Switch = FIRST, address: str = LOOPBACK) -> Task:
    """ovn-controller on one switch; `address` is that of its tunnels."""
    south = f"unix:{OVN_RUN}/sb.sock"
    run = Path(f"{OVN_RUN}{of.suffix}")
    words = ("ovn-controller", f"unix:{of.database}", "--no-chdir", "-vconsole:warn")
    env = {"OVN_RUNDIR": str(run), "OVS_RUNDIR": str(of.run)}
    controller = setting.spec(f"ovn-controller{of.suffix}", *of.there, *words, env=env)

    def joined() -> bool:
        """It has written its chassis into the southbound database."""
        said = command(setting, "ovn-sbctl", f"--db={south}", "--bare", "--columns=name", "list", "Chassis")
        return of.host in said.split()

    start_controller = tasks.service(setting.lab, setting.control, controller, joined)

    def join() -> None:
        run.mkdir(exist_ok=True)
        settings = {
            "ovn-remote": south,
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": address,
            "ovn-bridge-datapath-type": "netdev",
            "ovn-bridge-mappings": f"{EXTERNAL_PHYSNET}:{EXTERNAL_BRIDGE}",
            "ovn-cms-options": "enable-chassis-as-gw",
        }
        words = [f"external_ids:{name}={value}" for name, value in settings.items()]
        vsctl(setting, "set", "Open_vSwitch", ".", *words, of=of)
        start_controller()

    return Task(f"ovn-controller{of.suffix}", join, (f"openvswitch{of.suffix}", "ovn-sb"))
