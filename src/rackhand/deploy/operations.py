"""The operations of this slice."""

from rackhand.deploy.diagnose import DIAGNOSE
from rackhand.deploy.wipe_disks import CLEAR_DISKS, CLEAR_NOTHING

OPERATIONS = (DIAGNOSE, CLEAR_DISKS, CLEAR_NOTHING)
