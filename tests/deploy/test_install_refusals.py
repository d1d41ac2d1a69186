"""What cannot be installed is refused before anything happens: no task, and no machine that was touched."""

from typing import Any

from sqlalchemy import update

from rackhand.app import Services
from rackhand.servers.model import Server
from tests.conftest import Api, server_body
from tests.deploy.systems import KEY, PASSWORD, add_disk_template, add_image, add_template

BMC = {"driver": "ipmi", "host": "127.0.0.1", "user": "a", "password": "b"}
SSDS = [{"kind": "SSD", "size_gb": 480, "serial": f"S{n}"} for n in range(2)]
GOOD = {"os_template_id": 1, "password": PASSWORD}


async def add_server(admin: Api, number: int = 1, **changes: Any) -> None:
    await admin.post(
        "/dci/v3/server",
        server_body(number, **{"bmc": {**BMC, "port": 9 + number}, "disks": SSDS, **changes}),
    )


async def refused(admin: Api, status: int, body: object, *, api: Api | None = None, server: int = 1) -> str:
    error = await (api or admin).refused(status, "POST", f"/dci/v3/server/{server}/operation_os", body)
    assert (await admin.get("/dci/v3/task"))["size"] == 0
    assert PASSWORD not in str(error)
    words: str = error["msg"]
    return words


# One database for all: what is refused leaves nothing behind.
WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"os_template_id": 77}, 404, "no template 77"),
    ({"os_template_id": 0}, 404, "no template 0"),
    ({"hdd_raid": "raid"}, 400, "expected none, raid0"),
    ({"hdd_raid": "raid5"}, 409, "needs three equal disks or more; there are: 2 SSD of 480 GB"),
    ({"hdd_raid": 10}, 409, "needs four equal disks"),
    ({"password": ""}, 400, "needed, unless ssh_pub_keys"),
    ({"password": "pass"}, 400, "expected 8 to 128 characters"),
    ({"password": "password123"}, 400, "too easy"),
    ({"ssh_pub_keys": ["ssh_keys"]}, 400, "ssh_pub_key"),
    ({"ssh_pub_keys": [KEY, "ssh-ed25519 AAAA"]}, 400, "ssh_pub_key"),
    ({"domain": "-bad-.example.com"}, 400, "host name"),
    ({"domain": "a" * 300}, 400, "host name"),
    ({"partitions": [{"mount": "/var"}]}, 400, "exactly one"),
    ({"partitions": [{"mount": "/"}, {"mount": "/var", "size_gib": 4000}]}, 409, "MiB more than each disk"),
    ({"user_data": "x" * 70_000}, 400, "user_data"),
]  # fmt: skip


async def test_what_is_asked_for_is_checked(admin: Api) -> None:
    await add_template(admin)
    await add_server(admin)
    for changes, status, words in WRONG:
        assert words in await refused(admin, status, {**GOOD, **changes}), changes


UNFIT: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"boot_mode": "bios"}, {}, "boots by UEFI, and Example 12 needs BIOS"),
    ({"boot_mode": "uefi"}, {"efi": False}, "boots by BIOS, and Example 12 needs UEFI"),
    ({"min_disk_gb": 1000}, {}, "too small: 480 GB, needed are 1000 GB"),
    ({"is_enabled": False}, {}, "cannot be installed now: disabled"),
    ({"image_id": None}, {}, "cannot be installed now: no_image"),
    ({}, {"bmc": None}, "no BMC access"),
    ({}, {"nics": []}, "no network interface"),
]


async def test_template_and_server_must_fit(admin: Api) -> None:
    image = await add_image(admin)
    for number, (template, changes, words) in enumerate(UNFIT, 1):
        await add_template(admin, **{"image": image, **template})
        await add_server(admin, number, **changes)
        told = await refused(admin, 409, {**GOOD, "os_template_id": number}, server=number)
        assert words in told, (template, changes)
        await admin.delete(f"/dci/v3/os_template/{number}")


async def test_a_template_says_which_levels_it_takes(admin: Api) -> None:
    await add_template(admin, raid_levels=["none"])
    await add_server(admin)
    assert "takes none, not raid1" in await refused(admin, 400, {**GOOD, "hdd_raid": "raid1"})


async def test_a_disk_image_takes_neither_raid_nor_partitions(admin: Api) -> None:
    await add_disk_template(admin)
    await add_server(admin)
    assert "takes none, not raid1" in await refused(admin, 400, {**GOOD, "hdd_raid": "raid1"})
    assert "not divided" in await refused(admin, 400, {**GOOD, "lvm": True})


async def test_a_protected_suspended_or_foreign_server_is_left_alone(
    admin: Api, customer: Api, services: Services
) -> None:
    await add_template(admin)
    await add_server(admin)
    await refused(admin, 404, GOOD, api=customer)
    async with services.db.write() as session:
        await session.execute(update(Server).values(owner_id=2, is_suspended=True))
    assert "is suspended" in await refused(admin, 409, GOOD, api=customer)
    await admin.post("/dci/v3/server/1/protection", {"value": True})
    error = await customer.refused(403, "POST", "/dci/v3/server/1/operation_os", GOOD)
    assert (error["code"], "protected" in error["msg"]) == (3001, True)


async def test_a_template_for_administrators_is_not_found_by_others(
    admin: Api, customer: Api, services: Services
) -> None:
    await add_template(admin, access="admins")
    await add_server(admin)
    async with services.db.write() as session:
        await session.execute(update(Server).values(owner_id=2))
    assert "no template 1" in await refused(admin, 404, GOOD, api=customer)


async def test_a_rescue_template_is_no_system(admin: Api) -> None:
    await admin.post("/dci/v3/os_template", {"name": "Rescue", "kind": "rescue"})
    await add_server(admin)
    assert "not one of an operating system" in await refused(admin, 404, GOOD)


async def test_a_busy_server_is_told_so_with_its_task(admin: Api) -> None:
    await add_template(admin)
    await add_server(admin)
    task = (await admin.post("/dci/v3/server/1/power_on"))["task"]
    error = await admin.refused(409, "POST", "/dci/v3/server/1/operation_os", GOOD)
    assert error["value"]["task"] == task
    assert (await admin.get("/dci/v3/task"))["size"] == 1
    await admin.post(f"/dci/v3/task/{task}/abort")


async def test_an_image_that_is_being_installed_is_not_deleted(admin: Api) -> None:
    image = await add_image(admin)
    await add_template(admin, image=image)
    await add_server(admin)
    task = (await admin.post("/dci/v3/server/1/operation_os", GOOD))["task"]
    await admin.post("/dci/v3/os_template/1", {"image_id": 0})
    error = await admin.refused(409, "DELETE", f"/dci/v3/os_image/{image}")
    assert f"task {task}" in error["msg"]
    await admin.post(f"/dci/v3/task/{task}/abort")
