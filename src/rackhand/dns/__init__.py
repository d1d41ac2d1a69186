"""Drivers of name servers: what they say of an address, and how that is changed. Knows no database."""
