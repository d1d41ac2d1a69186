"""`rackhand image`: makes what machines boot and what is installed on them."""

import asyncio
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
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data directory of the product.", envvar="RACKHAND_DATA")
]


@build_app.command("ramdisk")
def build_ramdisk(
    data: DataOption = None,
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


@build_app.command("debian-12")
def build_debian_12(
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the tar.zst here instead of adding it to the product.")
    ] = None,
    lean: Annotated[bool, typer.Option(help="Leave out what a test does not need.")] = False,
    kernel: Annotated[str | None, typer.Option(help="Package of the kernel.")] = None,
    package: Annotated[list[str] | None, typer.Option(help="A further package; may be repeated.")] = None,
) -> None:
    """Make the image of a Debian 12 system, and add it to the product with a template."""
    from rackhand.boot.debian import BuildFailed, place_of_cache
    from rackhand.boot.system_image import KERNEL
    from rackhand.boot.system_image import build_debian_12 as build

    target = out or place_of_cache() / "debian-12.tar.zst"
    try:
        build(target, lean=lean, kernel=kernel or KERNEL, more=package or ())
    except BuildFailed as error:
        raise SystemExit(str(error)) from error
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    if out is None:
        add_image(target, name="debian-12", data=data, template="Debian 12")


@image_app.command("import")
def add_image(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="Name of the image.")],
    data: DataOption = None,
    format: Annotated[str, typer.Option(help="tar.zst, raw, raw.zst or qcow2.")] = "tar.zst",
    minisig: Annotated[Path | None, typer.Option(help="Signature file of minisign.")] = None,
    template: Annotated[str, typer.Option(help="Add a template of this name as well.")] = "",
) -> None:
    """Add an image from a file of this machine, as an upload over the API does."""
    from rackhand.cli import systems
    from rackhand.settings import load

    os.umask(0o077)
    signature = minisig.read_text() if minisig else ""
    settings = load(data=data)
    asyncio.run(
        systems.add_image(
            settings, file, name=name, source_format=format, minisig=signature, template=template
        )
    )
