"""Chassis power: the operations that change it and the poller that watches it."""
