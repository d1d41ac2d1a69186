"""Asks every route that reads, on a small virtual rack, and writes what came into `rackhand/http/examples.json`."""

import asyncio
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import iter_route_contexts

from rackhand import logs
from rackhand.app import create_app, open_services
from rackhand.cli.demo import fill
from rackhand.http.examples import FILE, is_described
from rackhand.settings import Settings
from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import running_rack
from tests.conftest import Api

PASSWORD = "a password for the examples"  # of a database that is thrown away
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/dci/v3/server/1/owner", {"owner": 2}),
    ("/dci/v3/server/1/ip", {"ip_pool": 1, "domain": "srv-1.example.com", "set_as_main_ipv4": True}),
    ("/dci/v3/server/1/suspend", {}),
    ("/auth/v4/token", {"description": "billing"}),
    (
        "/dci/v3/dns_server",
        {"name": "ns1", "driver": "powerdns", "host": "192.0.2.53", "password": "a key for the examples"},
    ),
    ("/dci/v3/dns_zone", {"name": "100.51.198.in-addr.arpa", "dns_server": 1}),
)
# Objects of which the first is not number 1, or that are not named by a number.
NAMED = {"token": "1", "name": "public", "space": "public", "user": "2"}
# What grows with every run, or is a secret of the moment.
FLEETING = re.compile(r"(_at|_notify|last_access|expires|session|since|until)$")


async def main() -> int:
    """Write the file; gives the number of routes that refused to answer."""
    logs.configure("error", as_json=False)
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data=Path(directory), boot_listen="")
        async with (
            running_rack(demo_rack(4, time_scale=30)) as rack,
            open_services(settings, polls=False) as services,
        ):
            os.environ |= {
                "RACKHAND_ADMIN_EMAIL": "operator@example.com",
                "RACKHAND_ADMIN_PASSWORD": PASSWORD,
            }
            await fill(services, rack.config)
            app = create_app(services)
            transport = httpx.ASGITransport(app, client=("192.0.2.10", 40000))
            async with httpx.AsyncClient(transport=transport, base_url="http://rackhand.example.com") as http:
                api = await Api(http).sign_in("operator@example.com", PASSWORD)
                for path, body in CALLS:
                    answer = await api.post(path, body)
                    if "task" in answer:
                        await api.finished(answer["task"], timeout=60)
                examples: dict[str, Any] = {}
                for method, path in sorted(_readers(app)):
                    response = await api.call(method, _filled(path))
                    if response.status_code == 200 and response.headers["content-type"] == "application/json":
                        examples[f"{method} {path}"] = _shortened(response.json())
                    else:
                        failed += 1
                        print(
                            f"{method} {path}: {response.status_code} {response.text[:160]}", file=sys.stderr
                        )
    FILE.write_text(json.dumps(examples, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(f"{len(examples)} examples written, {failed} routes gave none")
    return 0


def _readers(app: Any) -> set[tuple[str, str]]:
    paths = {
        context.path or "" for context in iter_route_contexts(app.routes) if "GET" in (context.methods or ())
    }
    return {("GET", path) for path in paths if is_described(path) and "stream" not in path}


def _filled(path: str) -> str:
    return re.sub(r"\{([^}:]+)[^}]*\}", lambda match: NAMED.get(match[1], "1"), path)


def _shortened(answer: Any) -> Any:
    """One row of a list, and no more of what is long."""
    if isinstance(answer, dict):
        return {
            key: "2026-11-25 12:00:00"
            if FLEETING.search(key) and isinstance(value, str) and value[:2] == "20"
            else _shortened(value)
            for key, value in answer.items()
        }
    if isinstance(answer, list):
        return [_shortened(each) for each in answer[:1]]
    return answer


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
