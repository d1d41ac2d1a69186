"""Drivers for BMCs, switches and PDUs: devices as values, no database, no web framework."""
