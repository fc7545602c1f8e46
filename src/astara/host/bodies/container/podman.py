"""podman's command line, as far as it is needed: run, remove, list (podman-run(1), podman-ps(1)).

The command line rather than the API: nothing has to run for it, and it fails with its own words.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astara.appliance.system import processes
from astara.host.options import ContainerOptions

_TIMEOUT_S = 15.0
_INSTANCE, _NODE = "astara:instance", "astara:node"
#: Images for this node carry this label; its value says nothing.
APPLIANCE = "astara.appliance"
#: Of each file system in memory: podman's own limit is half of the machine's, for one container.
_MEMORY_MB = 64
#: podman refuses a longer name of the directory for what ends with the machine. Its storage may be anywhere.
_LONGEST_RUN, _SHORT = 50, Path("/run/astara/podman")
#: Words in front of podman's own reason.
_NOISE = re.compile(r"^Error: ", re.MULTILINE)


class PodmanError(Exception):
    """podman refused; its last line."""


@dataclass(frozen=True, slots=True)
class Container:
    """What one is made of. `root` names an image, or a directory with a root file system (`unpacked`)."""

    name: str
    labels: Mapping[str, str]
    netns: Path
    root: str
    unpacked: bool
    command: Sequence[str]
    volumes: Mapping[Path, str]
    tmpfs: Mapping[str, int]
    capabilities: Sequence[str]
    security: Sequence[str]
    console: Path
    pid_file: Path


class Podman:
    """`options.storage` is where its images and containers are kept; None: podman's own place."""

    def __init__(self, options: ContainerOptions) -> None:
        configuration = [f"CONTAINERS_CONF={options.containers_conf}"] if options.containers_conf else []
        self._argv = ["env", *configuration, "podman", "--log-level=error"]
        if options.storage is not None:
            self._argv += places(options.storage)

    def run(self, wanted: Container) -> None:
        """Start it in the background. Raises PodmanError, OSError, TimeoutError."""
        argv = ["run", "--detach", "--name", wanted.name, "--network", f"ns:{wanted.netns}", "--pull=never"]
        argv += ["--no-hosts", "--dns=none", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all"]
        argv += ["--pidfile", str(wanted.pid_file)]
        argv += ["--log-driver=k8s-file", "--log-opt", f"path={wanted.console}", "--log-opt", "max-size=1mb"]
        argv += [word for key, value in wanted.labels.items() for word in ("--label", f"{key}={value}")]
        argv += [word for each in wanted.capabilities for word in ("--cap-add", each)]
        argv += [word for each in wanted.security for word in ("--security-opt", each)]
        # Without the last word whatever the image has at that place is copied into memory.
        argv += [
            word
            for at, mode in wanted.tmpfs.items()
            for word in ("--tmpfs", f"{at}:mode={mode:o},size={_MEMORY_MB}m,notmpcopyup")
        ]
        argv += [word for here, there in wanted.volumes.items() for word in ("--volume", f"{here}:{there}:ro")]
        argv += ["--rootfs", f"{wanted.root}:O"] if wanted.unpacked else [wanted.root]
        self._ask(*argv, *wanted.command)

    def remove(self, name: str) -> None:
        """Kill it and take it away; absence is success. Raises like `run`."""
        self._ask("rm", "--force", "--time=0", "--ignore", "--volumes", name)

    def instances(self, node: str) -> list[str]:
        """Return the instance ids of this node's containers, running or not. Raises like `run`."""
        listed = self._listed("ps", "--all", "--filter", f"label={_NODE}={node}")
        return [one["Labels"][_INSTANCE] for one in listed if _INSTANCE in (one.get("Labels") or {})]

    def images(self) -> dict[str, str]:
        """Return podman's ids of the images that are appliances, by name, `:latest` left out. Raises like `run`."""
        listed = self._listed("images", "--filter", f"label={APPLIANCE}")
        named = ((str(name), str(one.get("Id"))) for one in listed for name in one.get("Names") or ())
        return {name.removesuffix(":latest"): identifier for name, identifier in named}

    def layers(self, identifier: str) -> list[Path]:
        """Return the directories an image is laid over each other from, the uppermost first. Raises like `run`.

        Empty where the storage is no overlay: then its content cannot be seen without mounting it.
        """
        [found] = self._listed("image", "inspect", identifier)
        driver = found.get("GraphDriver") or {}
        if driver.get("Name") != "overlay":
            return []
        where = driver.get("Data") or {}
        below = str(where.get("LowerDir") or "").split(":")
        return [Path(one) for one in (str(where.get("UpperDir") or ""), *below) if one]

    def _listed(self, *words: str) -> list[dict[str, Any]]:
        said = self._ask(*words, "--format=json")
        try:
            found: list[dict[str, Any]] = json.loads(said or "[]")
        except ValueError as error:
            raise PodmanError(f"podman {words[0]} says what is no JSON: {error}") from None
        return found

    def _ask(self, *words: str) -> str:
        status, said = processes.run(None, [*self._argv, *words], timeout_s=_TIMEOUT_S)
        if status != 0:
            lines = _NOISE.sub("", said).strip().splitlines() or [f"podman ended with {status}"]
            raise PodmanError(lines[-1])
        return said


def places(storage: Path) -> list[str]:
    """Return the options that keep everything of podman's below `storage`, but what it wants to have a short name."""
    run = storage / "run"
    if len(str(run)) > _LONGEST_RUN:
        run = _SHORT / hashlib.sha256(str(storage).encode()).hexdigest()[:16]
    return ["--root", str(storage / "root"), "--runroot", str(run)]


def labels(instance_id: str, node: str, further: Mapping[str, str]) -> dict[str, str]:
    """Return the mark by which a container of ours is found again."""
    return {_INSTANCE: instance_id, _NODE: node, **further}
