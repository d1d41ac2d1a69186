"""The version of this client: that of the product it is released with."""

__version__ = "0.1.0"
