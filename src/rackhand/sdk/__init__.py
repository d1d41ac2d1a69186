"""Python client of Rackhand: calls are values, and a client runs them.

    from rackhand.sdk import Client, servers

    with Client("https://rackhand.example.com", token="…") as client:
        started = client.run(servers.power_on(7))
        client.wait(started, timeout=300)

`AsyncClient` runs the same calls: `await client.run(servers.power_on(7))`.
"""

from rackhand.sdk import (
    addresses,
    auth,
    events,
    networks,
    pdus,
    pools,
    servers,
    switches,
    tasks,
    templates,
    users,
)
from rackhand.sdk.calls import Call, Changed, Done, Listing, Page, Started, quote
from rackhand.sdk.client import AsyncClient, Client
from rackhand.sdk.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    KeyReused,
    NotFound,
    NotReachable,
    NotSignedIn,
    RackhandError,
    Refused,
    ServerFault,
    TaskCancelled,
    TaskFailed,
    TimedOut,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
)
from rackhand.sdk.flow import Retries
from rackhand.sdk.version import __version__

__all__ = [
    "AsyncClient",
    "Busy",
    "Call",
    "Changed",
    "Client",
    "Conflict",
    "Done",
    "Forbidden",
    "Invalid",
    "KeyReused",
    "Listing",
    "NotFound",
    "NotReachable",
    "NotSignedIn",
    "Page",
    "RackhandError",
    "Refused",
    "Retries",
    "ServerFault",
    "Started",
    "TaskCancelled",
    "TaskFailed",
    "TimedOut",
    "TooManyRequests",
    "Unavailable",
    "UnexpectedAnswer",
    "__version__",
    "addresses",
    "auth",
    "events",
    "networks",
    "pdus",
    "pools",
    "quote",
    "servers",
    "switches",
    "tasks",
    "templates",
    "users",
]
