"""Where a device stands: its location, rack and unit, checked the same way for all kinds of devices."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Invalid, NotFound
from rackhand.servers.model import Location, Rack


async def settle_place(
    session: AsyncSession, *, location_id: int | None, rack_id: int | None, unit: int | None
) -> int:
    """Return the location: the given one, the rack's, or the only one there is.

    Raises `NotFound` for what does not exist and `Invalid` for what does not fit together. Nothing is flushed: what
    clashes is caught where it is saved.
    """
    with session.no_autoflush:
        rack = None if rack_id is None else await session.get(Rack, rack_id)
        if rack_id is not None and rack is None:
            raise NotFound(f"There is no rack {rack_id}.")
        if unit is not None and rack is None:
            raise Invalid("unit: say the rack as well.")
        if rack is not None and unit is not None and unit > rack.size:
            raise Invalid(f"unit: rack {rack.name} has {rack.size} units, got {unit}.")
        if location_id is None:
            return rack.location_id if rack else await only_location(session)
        if rack is not None and rack.location_id != location_id:
            raise Invalid(f"rack_id: rack {rack.name} stands in location {rack.location_id}.")
        if rack is None and await session.get(Location, location_id) is None:
            raise NotFound(f"There is no location {location_id}.")
        return location_id


async def only_location(session: AsyncSession) -> int:
    """The location of an installation that has one."""
    ids = (await session.scalars(select(Location.id).order_by(Location.id).limit(2))).all()
    if len(ids) != 1:
        raise Invalid(
            "location_id: say which one, there is more than one." if ids else "Add a location first."
        )
    return ids[0]
