"""What a MAC address boots: the disk, unless a task that goes forward says otherwise right now."""

import asyncio

import pytest
from sqlalchemy import delete, select, update

from rackhand.boot import reservations
from rackhand.boot.model import BootReservation, DiscoveredMachine
from rackhand.db import utcnow
from rackhand.servers.model import Nic
from rackhand.tasks.model import Phase, Task, TaskStatus
from tests.boot.conftest import MACS, STRANGER, Booting
from tests.conftest import Api

DISK_EFI = "#!ipxe\nexit 1\n"
DISK_BIOS = "#!ipxe\nsanboot --no-describe --drive 0x80 || exit 1\n"


async def test_without_a_reservation_everybody_boots_the_disk(booting: Booting) -> None:
    await booting.add_task()
    assert await booting.script() == DISK_BIOS
    assert await booting.script(platform="efi") == DISK_EFI
    assert await booting.script(arch="x86_64-efi") == DISK_EFI
    assert await booting.script(STRANGER) == DISK_BIOS


async def test_every_interface_of_the_server_boots_the_ramdisk_while_it_is_reserved(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    for mac in (*MACS, MACS[0].upper(), MACS[1].replace(":", "-")):
        script = await booting.script(mac, platform="efi")
        assert (
            f"{booting.url}/boot/file/ramdisk/vmlinuz initrd=initrd.img rackhand.url={booting.url} " in script
        )
        assert f"initrd --name initrd.img {booting.url}/boot/file/ramdisk/initrd.img" in script
    assert await booting.script(STRANGER) == DISK_BIOS


async def test_each_boot_has_a_nonce_of_its_own_and_none_is_stored(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    nonces = {await booting.nonce() for _ in range(5)}
    assert len(nonces) == 5
    async with booting.services.db.read() as session:
        row = (await session.scalars(select(BootReservation))).one()
    assert row.nonce_hash in {reservations.hash_secret(nonce) for nonce in nonces}
    assert not any(nonce in repr(vars(row)) for nonce in nonces)


@pytest.mark.parametrize(
    "ending",
    [
        {"status": TaskStatus.SUCCEEDED},
        {"status": TaskStatus.FAILED},
        {"status": TaskStatus.CANCELLED},
        {"phase": Phase.UNDO},
    ],
    ids=lambda ending: str(next(iter(ending.values()))),
)
async def test_a_reservation_whose_task_does_not_go_forward_is_not_armed(
    booting: Booting, ending: dict[str, str]
) -> None:
    """Nobody has to take it away: a crash right before that changes nothing."""
    task = await booting.add_task()
    await booting.reserve(task)
    nonce = await booting.nonce()
    await booting.set_task(task, **ending)
    assert await booting.script() == DISK_BIOS
    assert (await booting.hello(nonce)).status_code == 403


async def test_an_expired_reservation_is_not_armed(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    nonce = await booting.nonce()
    async with booting.services.db.write() as session:
        await session.execute(update(BootReservation).values(expires_at=utcnow()))
    assert await booting.script() == DISK_BIOS
    assert (await booting.hello(nonce)).status_code == 403


async def test_a_reservation_goes_with_its_task_its_server_and_its_release(booting: Booting) -> None:
    first = await booting.add_task()
    await booting.reserve(first)
    await booting.release(first)
    await booting.release(first)
    assert await booting.script() == DISK_BIOS
    await booting.reserve(first)
    async with booting.services.db.write() as session:
        await session.execute(delete(Task))
    async with booting.services.db.read() as session:
        assert (await session.scalars(select(BootReservation))).all() == []


async def test_reserving_twice_at_once_is_one_reservation(booting: Booting) -> None:
    task = await booting.add_task()
    await asyncio.gather(*(booting.reserve(task) for _ in range(4)))
    async with booting.services.db.read() as session:
        assert len((await session.scalars(select(BootReservation))).all()) == 1


async def test_a_later_task_takes_the_place_of_an_earlier_one(booting: Booting) -> None:
    earlier = await booting.add_task()
    await booting.reserve(earlier)
    nonce = await booting.nonce()
    await booting.set_task(earlier, status=TaskStatus.FAILED)
    later = await booting.add_task()
    await booting.reserve(later)
    assert f"task {later}" in await booting.script()
    assert (await booting.hello(nonce)).status_code == 403


async def test_an_address_that_moves_to_another_server_boots_nothing_of_the_first(booting: Booting) -> None:
    await booting.reserve(await booting.add_task())
    async with booting.services.db.write() as session:
        await session.execute(delete(Nic).where(Nic.mac == MACS[1]))
    assert await booting.script(MACS[1]) == DISK_BIOS
    assert "rackhand.nonce=" in await booting.script(MACS[0])


async def test_unknown_machines_are_listed_until_they_are_somebodys(booting: Booting, admin: Api) -> None:
    for number in range(3):
        await booting.script(f"00:00:5e:00:53:b{number}", serial=f"S{number}")
    await booting.script(MACS[0])
    listed = await admin.get("/dci/v3/discovered_machine?orderby=mac desc")
    assert [(row["mac"], row["serial"], row["times"]) for row in listed["list"]] == [
        (f"00:00:5e:00:53:b{number}", f"S{number}", 1) for number in (2, 1, 0)
    ]
    await admin.post("/dci/v3/server", {"name": "new", "nics": [{"mac": "00:00:5e:00:53:b1"}]})
    assert (await admin.get("/dci/v3/discovered_machine?where=serial EQ 'S1'"))["size"] == 0
    assert (await admin.get("/dci/v3/discovered_machine"))["size"] == 2


async def test_unknown_machines_are_remembered_once_each_and_not_without_end(
    booting: Booting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "MAX_DISCOVERED", 3)
    for _ in range(2):
        await booting.script(STRANGER, serial="S" * 1000, uuid="u", platform="efi")
    await booting.script(MACS[0])
    async with booting.services.db.read() as session:
        (row,) = (await session.scalars(select(DiscoveredMachine))).all()
    assert (row.mac, row.times, row.platform, len(row.serial)) == (STRANGER, 2, "efi", 255)
    for number in range(10):
        await booting.script(f"00:00:5e:00:53:b{number}")
    async with booting.services.db.read() as session:
        assert len((await session.scalars(select(DiscoveredMachine))).all()) == 3


@pytest.mark.parametrize("mac", ["", "00", "00:00:5e:00:53:0g", "00:00:5e:00:53:01:02", "'; --"])
async def test_what_is_no_address_is_refused(booting: Booting, mac: str) -> None:
    answer = await booting.http.get("/boot/ipxe", params={"mac": mac})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 2400)
