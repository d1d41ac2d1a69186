"""`python -m rackhand`."""

from rackhand.cli.main import app

app()
