"""People: accounts, roles, sessions, keys."""
