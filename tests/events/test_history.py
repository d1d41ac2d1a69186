"""The history through the API."""

from tests.conftest import ADMIN, Api, server_body


async def test_a_change_is_listed_with_its_subject_and_its_actor(admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1), x_request_id="billing-17")
    listed = await admin.get("/dci/v3/event?where=kind EQ 'server.created'")
    event = listed["list"][0]
    assert (listed["size"], listed["last_notify"]) == (1, event["id"])
    assert event == {
        "id": event["id"],
        "at": event["at"],
        "kind": "server.created",
        "message": event["message"],
        "subject": {"kind": "server", "id": 1, "name": "srv-1"},
        "actor": {"id": 1, "email": ADMIN},
        "address": "192.0.2.10",
        "request_id": "billing-17",
        "task": None,
        "data": event["data"],
    }
    assert await admin.get(f"/dci/v3/event/{event['id']}") == event


async def test_events_are_filtered_ordered_and_cut(admin: Api) -> None:
    for number in range(1, 6):
        await admin.post("/dci/v3/server", server_body(number))
    path = (
        "/dci/v3/event?where=subject.kind EQ 'server' AND subject.id IN (2, 3, 4)&orderby=id desc&limit=1,2"
    )
    page = await admin.get(path)
    assert ([event["subject"]["id"] for event in page["list"]], page["size"]) == ([3, 2], 3)
    mine = await admin.get(f"/dci/v3/event?where=actor.email EQ '{ADMIN}' AND kind CP 'server.%'")
    assert mine["size"] == 5
    assert (await admin.refused(400, "GET", "/dci/v3/event?where=colour EQ 'red'"))["code"] == 3008
    assert (await admin.refused(400, "GET", "/dci/v3/event?limit=x"))["code"] == 2400


async def test_a_refused_change_leaves_no_event(admin: Api) -> None:
    before = (await admin.get("/dci/v3/event"))["size"]
    await admin.refused(400, "POST", "/dci/v3/server", {"name": ""})
    await admin.refused(404, "POST", "/dci/v3/server/9/owner", {"owner": 1})
    await admin.refused(409, "POST", "/dci/v3/user", {"email": ADMIN, "password": "pass"})
    assert (await admin.get("/dci/v3/event"))["size"] == before


async def test_a_user_sees_the_events_of_what_it_owns(admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/dci/v3/server", server_body(2))
    await admin.post("/dci/v3/server/2/owner", {"owner": 2})
    await customer.post("/dci/v3/server/2", {"notes": "mine"})
    await admin.post("/dci/v3/server/1", {"notes": "not yours"})
    listed = (await customer.get("/dci/v3/event"))["list"]
    assert {(event["subject"]["kind"], event["subject"]["id"]) for event in listed} <= {
        ("server", 2),
        ("user", 2),
    }
    assert any(event["data"] or event["message"] for event in listed)
    everything = (await admin.get("/dci/v3/event"))["list"]
    seen = {event["id"] for event in listed}
    for event in everything:
        status = 200 if event["id"] in seen else 404
        assert (await customer.call("GET", f"/dci/v3/event/{event['id']}")).status_code == status
    assert (await customer.get("/dci/v3/event?where=subject.id EQ 1 OR id GT 0"))["size"] == len(listed)


async def test_an_event_that_does_not_exist_is_not_found(admin: Api) -> None:
    assert (await admin.refused(404, "GET", "/dci/v3/event/999999"))["code"] == 3080
    assert (await admin.refused(400, "GET", "/dci/v3/event/first"))["code"] == 2400
    assert (await admin.refused(400, "GET", f"/dci/v3/event/{2**63}"))["code"] == 2400
