"""Alembic's environment: the connection comes from `Database.migrate`."""

from alembic import context

from rackhand.boot import model as _boot  # noqa: F401  # rows register themselves
from rackhand.consoles import model as _consoles  # noqa: F401
from rackhand.db import Base
from rackhand.deploy import model as _deploy  # noqa: F401
from rackhand.deploy import os_model as _systems  # noqa: F401
from rackhand.events import model as _events  # noqa: F401
from rackhand.http import idempotency as _idempotency  # noqa: F401
from rackhand.ipam import model as _ipam  # noqa: F401
from rackhand.power import model as _power  # noqa: F401
from rackhand.servers import model as _servers  # noqa: F401
from rackhand.switches import model as _switches  # noqa: F401
from rackhand.tasks import lease as _lease  # noqa: F401
from rackhand.tasks import model as _tasks  # noqa: F401
from rackhand.users import model as _users  # noqa: F401

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
