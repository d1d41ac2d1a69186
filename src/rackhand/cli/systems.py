"""Images of systems without the API: taken from files of this machine into the product."""

from pathlib import Path

from rackhand.app import open_services
from rackhand.deploy import images, templates
from rackhand.errors import RackhandError
from rackhand.events.service import Actor
from rackhand.settings import Settings

ACTOR = Actor(email="command line")


async def add_image(
    settings: Settings, file: Path, *, name: str, source_format: str, minisig: str = "", template: str = ""
) -> None:
    """Add an image, and a template over it when *template* names one; ends with a sentence when that fails."""
    async with open_services(settings, runs_tasks=False, polls=False) as services:
        try:
            async with services.db.write() as session:
                image = await images.add_image(
                    session,
                    settings,
                    name=name,
                    source_format=source_format,
                    sha256="",
                    minisig=minisig,
                    notes="",
                    actor=ACTOR,
                )
                image_id = image.id
            checked = await images.take_file(services.db, settings, image_id, file, actor=ACTOR)
            print(
                f"Image {image_id} ({name}): {checked.system or checked.format}, {checked.size_bytes} bytes"
            )
            if template:
                async with services.db.write() as session:
                    values = {"name": template, "image_id": image_id}
                    added = await templates.add_template(session, values, actor=ACTOR)
                    print(f"Template {added.id}: {template}")
        except RackhandError as error:
            raise SystemExit(error.message) from error
