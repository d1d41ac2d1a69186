"""The inventory of machines: locations, racks, servers, NICs, disks, BMC access."""
