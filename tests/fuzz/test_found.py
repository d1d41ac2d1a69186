"""What the fuzzer has found, one by one."""

from tests.conftest import Api, server_body


async def test_the_mac_address_of_another_server_is_a_conflict_in_a_rack_too(admin: Api) -> None:
    await admin.post("/dci/v3/rack", {"name": "A-01"})
    for number in (1, 2):
        await admin.post("/dci/v3/server", server_body(number, rack=1, unit=number))
    taken = {"mac": "00:00:5e:00:53:02"}
    for path, body in (("/dci/v3/server/1/nic", taken), ("/dci/v3/server/1", {"nics": [taken]})):
        assert "MAC" in (await admin.refused(409, "POST", path, body))["msg"], path
    assert [nic["mac"] for nic in (await admin.get("/dci/v3/server/1"))["nics"]] == ["00:00:5e:00:53:01"]
