"""`rackhand image`: makes what machines boot and what is installed on them."""

import os
from pathlib import Path
from typing import Annotated

import typer

image_app = typer.Typer(
    no_args_is_help=True, help="Images that machines boot, and that are installed on them."
)
build_app = typer.Typer(no_args_is_help=True, help="Make an image from Debian's packages.")
image_app.add_typer(build_app, name="build")

DEFAULT_DATA = Path("var")


@build_app.command("ramdisk")
def build_ramdisk(
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory of the product.", envvar="RACKHAND_DATA")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the files; `boot/ramdisk` in the data directory when absent."),
    ] = None,
    package: Annotated[
        list[str] | None,
        typer.Option(help="A further package, such as firmware of a network card; may be repeated."),
    ] = None,
) -> None:
    """Make the ramdisk with the agent that diagnoses, wipes and installs servers."""
    from rackhand.boot.debian import BuildFailed
    from rackhand.boot.ramdisk import build_ramdisk as build

    os.umask(0o022)
    folder = out or (data or DEFAULT_DATA) / "boot" / "ramdisk"
    try:
        built = build(folder, more=package or ())
    except BuildFailed as error:
        raise SystemExit(str(error)) from error
    age = "kept from an earlier time" if built.was_kept else "made now"
    print(f"{folder}: {len(built.packages)} packages, {age}, recipe {built.key[:12]}")
    for path in sorted(folder.iterdir()):
        print(f"  {path.stat().st_size / 1e6:7.1f} MB  {path.name}")
