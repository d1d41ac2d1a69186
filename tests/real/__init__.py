"""Machines that really boot: QEMU, firmware, DHCP, iPXE, kernel, ramdisk and the agent, driven over the API.

`make real` makes the ramdisk and runs this in a network namespace of its own, so that nothing of it is seen outside.
"""
