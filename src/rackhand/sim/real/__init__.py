"""Machines that really boot: QEMU behind the BMCs of a virtual rack, and Linux bridges behind its switches.

Everything else is the virtual rack as it is: who is powered, what is overridden, which fault is on, which port is in
which VLAN is decided by its models; QEMU only runs what a machine does between two starts of its firmware.
"""
