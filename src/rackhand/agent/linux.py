"""The agent's machine on real iron: Linux."""


class LinuxHost:
    """To be written."""
