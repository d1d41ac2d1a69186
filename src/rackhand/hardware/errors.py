"""What can go wrong with a device, in the five kinds that the rest of the program tells apart."""


class HardwareError(Exception):
    """A device did not do what was asked; `str()` is a sentence for the operator."""


class Retryable(HardwareError):
    """The same request may succeed later."""


class Unreachable(Retryable):
    """Nothing answered at the address, or the connection was refused or cut."""


class Timeout(Retryable):
    """The device took the request and did not answer in time, or is busy or restarting."""


class AuthFailed(HardwareError):
    """The device refused the user name or the password; asking again may lock the account."""


class Refused(HardwareError):
    """The device understood the request and refused it."""


class Unsupported(HardwareError):
    """The device or its driver cannot do what was asked."""
