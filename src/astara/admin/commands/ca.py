"""`astara ca …`: the deployment's own certificate authority for the mutual TLS between orchestrator and node agents."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from astara.admin.screen import show_json
from astara.admin.session import Session, json_option, pass_session
from astara.model.errors import Gone

_DIRECTORY = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/etc/astara/tls"),
    show_default=True,
    help="Where the CA keeps its key and what it issued.",
)


@click.group()
def ca() -> None:
    """Certificates of the deployment.

    By them orchestrators and node agents know each other.
    """


@ca.command("init")
@_DIRECTORY
@json_option
@pass_session
def init(session: Session, directory: Path) -> None:
    """Make the deployment's CA, once; what is there is kept."""
    from astara.clients.authority import open_authority
    from astara.clients.issuing import make_issuer

    existed = (directory / "ca.crt").exists()
    now = datetime.datetime.now(datetime.UTC)
    issuer = make_issuer(open_authority(directory, now), now)
    if session.as_json:
        show_json({"ca_file": str(directory / "ca.crt"), "made": not existed, "ca_dir": str(issuer)})
    else:
        click.echo(f"{directory / 'ca.crt'}: {'kept' if existed else 'made'}")
        click.echo(f"keep {directory / 'ca.key'} secret: whoever has it can be any node")
        click.echo(f"{issuer}: for the orchestrator, [identity] ca_dir; its key can be any instance, and nothing else")


@ca.command("issue")
@click.argument("role", type=click.Choice(["orchestrator", "node"]))
@click.argument("name")
@click.option("--address", "addresses", multiple=True, help="Host name or IP address it is reached at; repeatable.")
@click.option("--days", default=365, show_default=True, type=click.IntRange(min=1))
@_DIRECTORY
@json_option
@pass_session
def issue(session: Session, role: str, name: str, addresses: tuple[str, ...], days: int, directory: Path) -> None:
    """Issue the certificate of one orchestrator, or of the node agent called NAME in node.conf."""
    from astara.clients.authority import issue as issue_certificate
    from astara.clients.authority import open_authority
    from astara.contract.identity import ORCHESTRATOR, node_role

    _refuse_without_ca(directory)
    now = datetime.datetime.now(datetime.UTC)
    authority = open_authority(directory, now)
    wanted = ORCHESTRATOR if role == "orchestrator" else node_role(name)
    identity = issue_certificate(authority, name, wanted, addresses, now, days)
    files = {"ca_file": identity.ca_file, "cert_file": identity.cert_file, "key_file": identity.key_file}
    if session.as_json:
        show_json({option: str(path) for option, path in files.items()})
    else:
        for option, path in files.items():
            click.echo(f"{option} = {path}")


@ca.command("revoke")
@click.argument("name")
@_DIRECTORY
@json_option
@pass_session
def revoke(session: Session, name: str, directory: Path) -> None:
    """Have a certificate believed no more, by everybody who gets the new ca.crt: a stolen one, a node that is gone."""
    from astara.clients.authority import open_authority
    from astara.clients.revoking import revoke as revoke_certificate

    _refuse_without_ca(directory)
    now = datetime.datetime.now(datetime.UTC)
    file = revoke_certificate(open_authority(directory, now), name, now)
    if session.as_json:
        show_json({"ca_file": str(file), "revoked": name})
    else:
        click.echo(f"copy {file} to orchestrators and nodes: it is read again without a restart")


def _refuse_without_ca(directory: Path) -> None:
    if not (directory / "ca.key").exists():
        raise Gone(f"there is no CA in {directory}", f"make it first: astara ca init --directory {directory}")
