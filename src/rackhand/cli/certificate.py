"""Certificates of erasure, checked without a server."""

from pathlib import Path
from typing import Annotated

import typer

certificate_app = typer.Typer(no_args_is_help=True, help="Certificates of erasure.")


@certificate_app.callback()
def certificates_of_erasure() -> None:
    """Check certificates of erasure."""


@certificate_app.command("verify")
def verify(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The certificate as the API gave it.")
    ],
    public_key: Annotated[
        str | None, typer.Option(help="Public key in base64, as `GET dci/v3/certificate_key` shows it.")
    ] = None,
) -> None:
    """Check that a certificate was not changed since it was signed; needs no server and no network."""
    from rackhand.deploy import certificates

    try:
        document = certificates.verify(file.read_bytes(), public_key=public_key)
    except certificates.BadCertificate as error:
        print(error)
        raise typer.Exit(1) from error
    server = document["server"]
    print(
        f"Server {server['name']}, {server['model']}, serial {server['serial']}; {document['finished_at']} UTC"
    )
    for disk in document["disks"]:
        print(
            f"  {disk['serial']}: {disk['method']} (NIST SP 800-88: {disk['category']}), {disk['samples']} samples"
        )
    if public_key is None:
        print(
            "The certificate is as it was signed. Give --public-key to see that it was signed by whom you trust."
        )
    else:
        print("The certificate is as it was signed, and was signed with this key.")
