"""The operations of this slice."""

from rackhand.deploy.diagnose import DIAGNOSE
from rackhand.deploy.install_os import INSTALL_OS
from rackhand.deploy.release import RELEASE
from rackhand.deploy.rescue import START_RESCUE, STOP_RESCUE
from rackhand.deploy.wipe_disks import CLEAR_DISKS, CLEAR_NOTHING

OPERATIONS = (DIAGNOSE, CLEAR_DISKS, CLEAR_NOTHING, INSTALL_OS, START_RESCUE, STOP_RESCUE, RELEASE)
