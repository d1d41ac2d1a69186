"""Switches, their ports and VLANs, what is plugged where, and the traffic through it."""
