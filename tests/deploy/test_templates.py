"""Templates over the API: who sees which, and what makes no sense."""

from typing import Any

from tests.conftest import Api
from tests.deploy.systems import add_disk_template, add_image, add_template


async def test_a_template_is_shown_with_what_it_needs(admin: Api) -> None:
    body: dict[str, Any] = {
        "name": "Debian 12", "os_group": "debian", "tags": ["lts"], "min_disk_gb": 20, "boot_mode": "both",
        "raid_levels": ["none", "1"], "macros": {"MIRROR": "http://192.0.2.1/"}, "script": "echo ($MIRROR)",
        "partitions": [{"mount": "/"}, {"mount": "/var", "size_gib": 2}, {"mount": "swap", "size_mib": 512}],
    }  # fmt: skip
    template = await add_template(admin, **body)
    shown = await admin.get(f"/dci/v3/os_template/{template}")
    expected = {
        "id": template, "name": "Debian 12", "kind": "os", "os_group": "debian", "tags": ["lts"],
        "access": "everyone", "adminonly": False, "boot_mode": "any", "efi": True, "state": "active",
        "installer": "image", "min_disk_gb": 20, "raid_levels": ["none", "raid1"], "is_enabled": True,
        "macros": {"MIRROR": "http://192.0.2.1/"}, "script": "echo ($MIRROR)",
        "image": {"id": 1, "name": "example-12", "state": "ready"},
        "partitions": [
            {"mount": "/", "fs": "ext4", "size_mib": None},
            {"mount": "/var", "fs": "ext4", "size_mib": 2048},
            {"mount": "swap", "fs": "swap", "size_mib": 512},
        ],
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    assert shown["metainfo"]["system"] == "Example Linux 12"
    listed = (await admin.get("/dci/v3/os_template"))["list"]
    assert listed == [shown]


async def test_a_user_sees_what_it_may_use_and_no_scripts(admin: Api, customer: Api) -> None:
    image = await add_image(admin)
    open_one = await add_template(admin, image=image, name="open", script="echo secret")
    closed = await add_template(admin, image=image, name="closed", access="admin")
    disabled = await add_template(admin, image=image, name="off", is_enabled=False)
    listed = (await customer.get("/dci/v3/os_template"))["list"]
    assert [row["name"] for row in listed] == ["open"]
    assert {"script", "macros", "image"} & set(listed[0]) == set()
    assert [row["name"] for row in (await customer.get("/vm/v3/os"))["list"]] == ["open"]
    await customer.get(f"/dci/v3/os_template/{open_one}")
    for hidden in (closed, disabled):
        await customer.refused(404, "GET", f"/dci/v3/os_template/{hidden}")
    names = [row["name"] for row in (await admin.get("/dci/v3/os_template?orderby=name"))["list"]]
    assert names == ["closed", "off", "open"]
    assert (await admin.get(f"/dci/v3/os_template/{disabled}"))["state"] == "disabled"


async def test_systems_in_the_shape_of_the_sister_product(admin: Api) -> None:
    await add_template(admin, os_group="debian", tags=["lts"], notes="the stable one", access="admins")
    await admin.post("/dci/v3/os_template", {"name": "Rescue", "kind": "rescue"})
    row = (await admin.get("/vm/v3/os"))["list"]
    assert [{**each, "updated_at": ""} for each in row] == [
        {
            "id": 1, "name": "Example 12", "adminonly": True, "os_group": "debian", "tags": ["lts"],
            "repository": "local", "state": "active", "updated_at": "", "comment": "the stable one",
            "min_ram_mib": 0,
        }
    ]  # fmt: skip


NONSENSE: list[dict[str, Any]] = [
    {"boot_mode": "coreboot"}, {"access": "friends"}, {"raid_levels": ["raid7"]}, {"min_disk_gb": -1},
    {"partitions": [{"mount": "/var"}]}, {"partitions": [{"mount": "/"}, {"mount": "relative"}]},
    {"macros": {"lower": "x"}}, {"installer": "preseed"}, {"kind": "rescue", "image_id": 1}, {"name": ""},
    {"partitions": [{"mount": "/"}, {"mount": "/var"}]},
]  # fmt: skip


async def test_what_makes_no_sense_is_refused(admin: Api) -> None:
    await add_image(admin)
    for body in NONSENSE:
        await admin.refused(400, "POST", "/dci/v3/os_template", {"name": "x", "image_id": 1, **body})
    assert (await admin.get("/dci/v3/os_template"))["size"] == 0


async def test_the_image_of_a_disk_is_not_divided(admin: Api) -> None:
    template = await add_disk_template(admin)
    assert (await admin.get(f"/dci/v3/os_template/{template}"))["raid_levels"] == ["none"]
    for body in ({"raid_levels": ["raid1"]}, {"partitions": [{"mount": "/"}]}):
        await admin.refused(400, "POST", f"/dci/v3/os_template/{template}", body)


async def test_a_template_is_changed_and_deleted(admin: Api) -> None:
    template = await add_template(admin)
    await admin.post(f"/dci/v3/os_template/{template}", {"name": "Example 13", "access": "admin"})
    shown = await admin.get(f"/dci/v3/os_template/{template}")
    assert (shown["name"], shown["access"], shown["image"]["id"]) == ("Example 13", "admins", 1)
    await admin.refused(404, "POST", f"/dci/v3/os_template/{template}", {"image_id": 77})
    other = await add_template(admin, image=1, name="other")
    await admin.refused(409, "POST", f"/dci/v3/os_template/{other}", {"name": "Example 13"})
    await admin.delete(f"/dci/v3/os_template/{template}")
    await admin.refused(404, "GET", f"/dci/v3/os_template/{template}")
    await admin.refused(404, "DELETE", f"/dci/v3/os_template/{template}")
    kinds = [row["kind"] for row in (await admin.get("/dci/v3/event?where=kind CP 'os_template.%'"))["list"]]
    assert sorted(kinds) == ["os_template.changed", "os_template.created", "os_template.created",
                             "os_template.deleted"]  # fmt: skip
