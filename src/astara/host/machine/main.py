"""The first process: it becomes somebody, keeps one agent running, and ends the machine when that does not help."""

from __future__ import annotations

from astara.contract.codec import ContractError
from astara.host.first_process import outlive, say
from astara.host.links import LinkError
from astara.host.machine import birth, kernel, template
from astara.host.machine.words import TEMPLATE_READY


def main() -> None:
    """Does not return: the machine ends."""
    try:
        _live()
    except (OSError, ContractError, LinkError, ValueError) as error:
        say(f"astara: this machine cannot live: {error}")
    finally:
        kernel.end_machine()


def _live() -> None:
    kernel.mount_all()
    if birth.is_template():
        template.settle()
        say(TEMPLATE_READY)
    outlive(birth.take_up(birth.wait_for_papers()))


if __name__ == "__main__":
    main()
