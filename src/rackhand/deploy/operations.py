"""The operations of this slice."""

from rackhand.deploy.diagnose import DIAGNOSE

OPERATIONS = (DIAGNOSE,)
