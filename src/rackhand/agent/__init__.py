"""The agent: runs in the ramdisk of a machine that was booted over the network, and does what the manager asks.

It needs Python's standard library alone and imports nothing of the manager. The same code runs on real iron
(`linux`) and on the machines of the virtual rack.
"""
