"""Kind `container`: an agent of its own in the instance's namespace, on a read-only root (docs/design/bodies.md)."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import structlog

from astara.appliance.boundaries import Appliance, Subsystem
from astara.appliance.system import files as system_files
from astara.appliance.system import processes
from astara.contract.agent import Credential
from astara.contract.codec import encode
from astara.host.bodies.beside import Beside, part_engine
from astara.host.bodies.boundary import ApplyEngine, Birth, BodyFailed, BodyUnavailable
from astara.host.bodies.container import confinement
from astara.host.bodies.container.podman import Container, Podman, PodmanError, labels
from astara.host.bodies.guest import GuestEngine
from astara.host.connections import InNamespace
from astara.host.container import BIRTH, CA, CERTIFICATE, KEY, PORT, STATE, WORDS, Words
from astara.host.options import NodeOptions
from astara.host.records import Records
from astara.peers.identity import Identity

_log = structlog.get_logger(__name__)
_CONSOLE_BYTES = 64 * 1024
_LAST_WORDS_BYTES = 600
_LIST_EVERY_S = 10.0
_REMEDY = "see its console log, and what podman says on the node"


class ContainerBody:
    """One container per instance, named `astara-<id>`; its files are below the instance's.

    birth/       what the agent inside is told, and its identity; only root reads it
    console.log  what it wrote
    init.pid     its first process
    """

    kind = "container"

    def __init__(self, options: NodeOptions) -> None:
        """Raises BodyUnavailable."""
        if shutil.which("podman") is None:
            raise BodyUnavailable("podman is not installed")
        self._options = options.container
        self._node = options.name
        self._podman = Podman(options.container)
        self._profile = options.state_dir / "container-seccomp.json"
        self._images: tuple[str, ...] = ()
        self._digests: dict[str, str] = {}
        #: By podman's id, which is that of a content: each is looked into once.
        self._looked_into: dict[str, str | None] = {}
        self._listed_at = float("-inf")
        identity = Identity(options.ca_file, options.cert_file, options.key_file)
        certificates = Records(options.state_dir).certificates
        url = f"https://127.0.0.1:{PORT}"
        self._guest = GuestEngine(identity, lambda _: url, certificates, takes_credentials=False)
        self._engine: ApplyEngine = self._guest
        self.tracking = InNamespace()  # the kernel is the node's, the namespace too

    @property
    def engine(self) -> ApplyEngine:
        return self._engine

    def serve_beside(self, subsystem: Subsystem, appliances: Mapping[str, Appliance]) -> None:
        self._engine = Beside(self._guest, part_engine(subsystem, appliances))

    def prepare(self) -> None:
        try:
            system_files.replace_if_different(self._profile, confinement.narrowed(confinement.podmans_profile()))
        except (OSError, ValueError, KeyError) as error:
            _log.error("container.unconfined", reason=str(error), remedy="install golang-github-containers-common")

    def images(self) -> Sequence[str]:
        if time.monotonic() - self._listed_at > _LIST_EVERY_S:
            self._listed_at = time.monotonic()
            self._look_for_images()
        return self._images

    def digests(self) -> Mapping[str, str]:
        return self._digests

    def image_of(self, instance_id: str) -> str | None:
        return self._guest.image_of(instance_id)

    def ensure(self, birth: Birth) -> None:
        self._write_birth(birth)
        started = not self._running(birth) or self._guest.lost(birth.spec.id)
        try:
            if started:
                self._start(birth)
            self._guest.greet(birth, self._options.boot_deadline_s, lambda: self._running(birth))
        except BodyFailed as failed:
            words = self.console(birth.files)[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
            if started:
                self.end(birth.spec.id, birth.files)
            raise BodyFailed(str(failed), failed.remedy, words) from None

    def whole(self, birth: Birth) -> bool:
        return self._running(birth) and self._guest.knows(birth)

    def end(self, instance_id: str, files: Path) -> None:
        self._remove(instance_id)
        self._guest.hang_up(instance_id)
        system_files.remove_directory(files)

    def pid(self, instance_id: str, files: Path) -> int | None:
        found = processes.remembered(files / _PID)
        return None if found is None else found.pid

    def console(self, files: Path) -> bytes:
        """Without the time and the stream in front of each line (the kubelet's log format, CRI)."""
        said = (system_files.read(files / _CONSOLE) or b"")[-_CONSOLE_BYTES:]
        return b"".join(line.split(b" ", 3)[-1] for line in said.splitlines(keepends=True))

    def strays(self) -> Sequence[str]:
        try:
            return self._podman.instances(self._node)
        except (PodmanError, OSError) as error:
            _log.warning("container.not_listed", reason=str(error))
            return ()

    # How

    def _running(self, birth: Birth) -> bool:
        return processes.find(birth.place.netns, birth.files / _PID) is not None

    def _start(self, birth: Birth) -> None:
        """Whatever is left of an earlier one goes first. Raises BodyFailed."""
        self._remove(birth.spec.id)
        self._guest.hang_up(birth.spec.id)
        for name in (_CONSOLE, _PID):
            system_files.remove(birth.files / name)
        try:
            self._podman.run(self._wanted(birth))
            process = processes.running(int((birth.files / _PODMANS_PID).read_text()))
        except (PodmanError, OSError, ValueError) as error:
            raise BodyFailed(f"the container cannot be started: {error}", _REMEDY) from None
        if process is None:
            raise BodyFailed("the container ended at once", _REMEDY)
        processes.remember(process, birth.files / _PID)

    def _wanted(self, birth: Birth) -> Container:
        spec, options = birth.spec, self._options
        assert birth.place.netns is not None  # on a node every instance has a namespace of its own
        image = spec.body.image
        if image is None:
            raise BodyFailed("this node has no image for containers", "import one: docs/howto/build-an-image.md")
        unpacked = dict(options.roots).get(image)
        further = {"astara:key": f"{spec.key.driver}/{spec.key.id}", "astara:slot": spec.slot}
        return Container(
            name=_name(spec.id),
            labels=labels(spec.id, self._node, further),
            netns=birth.place.netns,
            root=image if unpacked is None else str(unpacked),
            unpacked=unpacked is not None,
            command=options.command,
            volumes={birth.files / _BIRTH: str(BIRTH)},
            tmpfs={"/run": 0o755, str(STATE): 0o711},
            capabilities=confinement.CAPABILITIES,
            security=confinement.security(self._profile),
            console=birth.files / _CONSOLE,
            pid_file=birth.files / _PODMANS_PID,
        )

    def _write_birth(self, birth: Birth) -> None:
        credential = birth.spec.credential
        if credential is None:
            raise BodyFailed("a container needs a credential, and has none", "send one with the instance")
        directory = birth.files / _BIRTH
        words = Words(instance_id=birth.spec.id, host=self._node)
        system_files.ensure_directory(directory)
        for name, content in _birth_files(words, credential).items():
            system_files.replace_if_different(directory / name, content)

    def _remove(self, instance_id: str) -> None:
        try:
            self._podman.remove(_name(instance_id))
        except (PodmanError, OSError) as error:
            raise BodyFailed(f"the container cannot be removed: {error}", _REMEDY) from None

    def _look_for_images(self) -> None:
        """Note which there are, the default first, and what each was made of."""
        try:
            listed = self._podman.images()
        except (PodmanError, OSError) as error:
            _log.warning("container.images_not_listed", reason=str(error))
            self._images, self._digests = (), {}
            return
        self._look_into(frozenset(listed.values()))
        known = {name: self._looked_into.get(identifier) for name, identifier in listed.items()}
        known |= {name: _digest_in([directory]) for name, directory in self._options.roots}
        default = self._options.image
        self._images = tuple(sorted(known, key=lambda name: (name != default, name)))
        self._digests = {name: digest for name, digest in known.items() if digest is not None}

    def _look_into(self, identifiers: frozenset[str]) -> None:
        """See what those are made of that are new here; what cannot be seen now is tried with the next look."""
        seen = {one: digest for one, digest in self._looked_into.items() if one in identifiers}
        for one in sorted(identifiers - seen.keys()):
            try:
                seen[one] = _digest_in(self._podman.layers(one))
            except (PodmanError, OSError) as error:
                _log.warning("container.image_not_seen", image=one, reason=str(error))
        self._looked_into = seen


#: In an image: the digest of what it was made of.
_DIGEST = Path("usr/lib/astara/image")
_A_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BIRTH, _CONSOLE, _PID, _PODMANS_PID = "birth", "console.log", "init.pid", "podman.pid"


def _digest_in(layers: Iterable[Path]) -> str | None:
    """Return what an agent in there would say its image is; the first layer that has the file decides."""
    for layer in layers:
        file = layer / _DIGEST
        if file.is_file():
            said = file.read_text(errors="replace").strip()
            return said if _A_DIGEST.fullmatch(said) else None
    return None


def _name(instance_id: str) -> str:
    return f"astara-{instance_id}"


def _birth_files(words: Words, credential: Credential) -> dict[str, bytes]:
    return {
        WORDS: encode(words),
        CA: credential.ca.encode(),
        CERTIFICATE: credential.certificate.encode(),
        KEY: credential.key.encode(),
    }
