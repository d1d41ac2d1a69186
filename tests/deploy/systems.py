"""Images and templates for the machines of the rack, and what can be found on their disks."""

from typing import Any

from rackhand.sim.config import BootMode
from rackhand.sim.images import disk_image, tar_image
from rackhand.sim.medium import Medium
from rackhand.sim.system import InstalledSystem, find_system
from tests.conftest import Api
from tests.deploy.conftest import Deploying

SYSTEM = "Example Linux 12"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8WEgQeEeqMIgOUnVFPpH7lZrvXD laptop"
PASSWORD = "glimmering otter 7"


async def add_image(api: Api, *, name: str = "example-12", content: bytes | None = None, **more: Any) -> int:
    """Announce an image and upload it; its number."""
    body = {"name": name, "format": "tar.zst", **more}
    image: int = (await api.post("/dci/v3/os_image", body))["id"]
    await api.post(f"/dci/v3/upload/os_image/{image}", tar_image(SYSTEM) if content is None else content)
    return image


async def add_template(api: Api, *, image: int | None = None, **more: Any) -> int:
    """A template over an image, or a new one; its number."""
    if image is None:
        image = await add_image(api)
    body = {"name": "Example 12", "image_id": image, **more}
    template: int = (await api.post("/dci/v3/os_template", body))["id"]
    return template


async def add_disk_template(api: Api) -> int:
    """A template over the image of a whole disk."""
    image = await add_image(api, name="example-disk", content=disk_image(SYSTEM), format="raw")
    return await add_template(api, image=image, name="Example disk")


async def give_addresses(api: Api, server: int) -> tuple[str, str]:
    """A main IPv4 and an IPv6 address for a server, from networks with gateways."""
    for name, gateway in (("192.0.2.0/24", "192.0.2.1"), ("2001:db8::/64", "2001:db8::1")):
        await api.post("/ip/v3/userspace/public/ipnet", {"name": name, "gateway": gateway})
    await api.post(f"/dci/v3/server/{server}/ip", {"ip_name": "192.0.2.10", "set_as_main_ipv4": True})
    await api.post(f"/dci/v3/server/{server}/ip", {"ip_name": "2001:db8::10"})
    return "192.0.2.10/24", "2001:db8::10/64"


def media_of(deploying: Deploying, server: int) -> tuple[Medium, ...]:
    """The disks of a server's machine."""
    assert deploying.rack.rack is not None
    return deploying.rack.rack.boot_network.media[deploying.machine(server).name]


def system_of(deploying: Deploying, server: int) -> InstalledSystem:
    """The system that the machine's disks start, as its firmware would find it."""
    found = find_system(media_of(deploying, server), BootMode(deploying.machine(server).boot_mode))
    assert found is not None, "nobody has installed a system on these disks"
    return found
