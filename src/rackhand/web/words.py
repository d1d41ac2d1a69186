"""Words for what the database spells in code: states, operations, steps."""

from collections.abc import Mapping
from dataclasses import dataclass

from rackhand.web.texts import gettext, marked


@dataclass(frozen=True)
class Badge:
    """How a state is shown."""

    text: str
    colour: str
    icon: str


BADGES: Mapping[str, Mapping[str, Badge]] = {
    "server": {
        "free": Badge(marked("In stock"), "green", "package"),
        "allocated": Badge(marked("Rented"), "blue", "user"),
        "maintenance": Badge(marked("Maintenance"), "yellow", "tool"),
        "quarantined": Badge(marked("Quarantine"), "red", "ban"),
    },
    "power": {
        "on": Badge(marked("On"), "green", "bolt"),
        "off": Badge(marked("Off"), "secondary", "bolt-off"),
        "unknown": Badge(marked("Unknown"), "orange", "help-circle"),
    },
    "task": {
        "queued": Badge(marked("Queued"), "secondary", "clock"),
        "running": Badge(marked("Running"), "blue", "loader-2"),
        "waiting": Badge(marked("Waiting"), "azure", "hourglass"),
        "succeeded": Badge(marked("Done"), "green", "circle-check"),
        "failed": Badge(marked("Failed"), "red", "circle-x"),
        "cancelled": Badge(marked("Cancelled"), "secondary", "circle-minus"),
    },
    "step": {
        "pending": Badge(marked("Not yet"), "secondary", "circle-dashed"),
        "running": Badge(marked("Running"), "blue", "loader-2"),
        "waiting": Badge(marked("Waiting"), "azure", "hourglass"),
        "done": Badge(marked("Done"), "green", "circle-check"),
        "failed": Badge(marked("Failed"), "red", "circle-x"),
        "cancelled": Badge(marked("Cancelled"), "secondary", "circle-minus"),
        "skipped": Badge(marked("Skipped"), "secondary", "circle-minus"),
        "undoing": Badge(marked("Being taken back"), "orange", "history"),
        "undone": Badge(marked("Taken back"), "secondary", "history"),
        "undo_failed": Badge(marked("Could not be taken back"), "red", "alert-octagon"),
    },
    "account": {
        "active": Badge(marked("Active"), "green", "circle-check"),
        "blocked": Badge(marked("Blocked"), "red", "lock"),
    },
    "role": {
        "@admin": Badge(marked("Administrator"), "purple", "key"),
        "@user": Badge(marked("Customer"), "blue", "user"),
    },
    "link": {
        "up": Badge(marked("Up"), "green", "link"),
        "down": Badge(marked("Down"), "secondary", "unlink"),
        "unknown": Badge(marked("Unknown"), "orange", "help-circle"),
    },
    "address": {
        "allocating": Badge(marked("Being allocated"), "azure", "loader-2"),
        "allocated": Badge(marked("Allocated"), "blue", "server-2"),
        "removing": Badge(marked("Being removed"), "orange", "hourglass"),
        "problem": Badge(marked("Problem"), "red", "alert-triangle"),
        "special": Badge(marked("Kept back"), "purple", "lock"),
        "quarantined": Badge(marked("Quarantine"), "yellow", "clock"),
    },
    "template": {
        "os": Badge(marked("Operating system"), "blue", "disc"),
        "rescue": Badge(marked("Rescue system"), "orange", "heartbeat"),
    },
    "system": {
        "active": Badge(marked("Can be installed"), "green", "circle-check"),
        "disabled": Badge(marked("Switched off"), "secondary", "ban"),
        "no_image": Badge(marked("Has no image"), "orange", "alert-triangle"),
        "image_new": Badge(marked("Its image has no file"), "orange", "alert-triangle"),
        "image_receiving": Badge(marked("Its image is being sent"), "azure", "upload"),
        "image_checking": Badge(marked("Its image is being checked"), "azure", "loader-2"),
        "image_broken": Badge(marked("Its image is broken"), "red", "circle-x"),
    },
    "image": {
        "new": Badge(marked("Waits for its file"), "orange", "clock"),
        "receiving": Badge(marked("Being sent"), "azure", "upload"),
        "checking": Badge(marked("Being checked"), "azure", "loader-2"),
        "ready": Badge(marked("Ready"), "green", "circle-check"),
        "broken": Badge(marked("Broken"), "red", "circle-x"),
    },
    "purpose": {
        "customer": Badge(marked("Customer"), "blue", "user"),
        "provisioning": Badge(marked("Provisioning"), "purple", "download"),
        "parking": Badge(marked("Parking"), "secondary", "player-pause"),
        "other": Badge(marked("Other"), "secondary", "tag"),
    },
}

OPERATIONS = {
    "power_on": marked("Power on"),
    "power_off": marked("Power off"),
    "power_reset": marked("Reset"),
    "allocate_ip": marked("Allocate an address"),
    "release_ip": marked("Remove an address"),
    "discover": marked("Read a switch"),
    "suspend": marked("Suspend"),
    "resume": marked("Resume"),
    "set_ports": marked("Set ports"),
    "set_switch_ports": marked("Set ports of a switch"),
    "operation_diag": marked("Diagnosis"),
    "operation_os": marked("Installation"),
    "operation_clear_hdd": marked("Wipe disks"),
    "operation_clear_hdd_none": marked("Leave the disks alone"),
    "operation_recovery": marked("Rescue system"),
    "operation_recovery_stop": marked("End of the rescue"),
    "release": marked("Release"),
    "set_outlet": marked("Switch an outlet"),
    "set_pdu_outlet": marked("Switch an outlet of a PDU"),
    "discover_pdu": marked("Read a PDU"),
}


# Steps whose function's name, said aloud, is not how a person would say it, and those that are.
STEPS = {
    "enable_outlets": marked("Switch the outlets on"),
    "await_bmc": marked("Wait for the BMC"),
    "switch_on_chassis": marked("Switch the server on"),
    "ask_system_to_shut_down": marked("Ask the operating system to shut down"),
    "switch_off_chassis": marked("Switch the server off"),
    "switch_off_outlets": marked("Switch the outlets off"),
    "change_outlet": marked("Switch the outlet"),
    "read_all_outlets": marked("Read the outlets"),
    "allocate_address": marked("Allocate the address"),
    "release_address": marked("Release the address"),
    "check_wiring": marked("Check that the cables are as written down"),
    "change_ports": marked("Change the ports"),
    "change_switch_ports": marked("Change the ports"),
    "note_suspension": marked("Write down whether it is suspended"),
    "read_ports": marked("Read the ports"),
    "learn_wiring": marked("Learn the cables"),
    "look_at_power": marked("Look at the power"),
    "check_cables": marked("Check the cables"),
    "reserve_boot": marked("Say what the server boots next"),
    "switch_off": marked("Switch the server off"),
    "join_provisioning_vlan": marked("Move its ports into the provisioning VLAN"),
    "boot_from_network": marked("Boot from the network"),
    "await_agent": marked("Wait for the agent"),
    "take_inventory": marked("See what is in the server"),
    "measure_speed": marked("Measure disks, memory and links"),
    "begin_wipe": marked("Begin the wipe"),
    "wipe_disks": marked("Wipe the disks"),
    "record_diagnosis": marked("Write down what was found"),
    "release_boot": marked("Boot from the disk from now on"),
    "shut_down": marked("Shut the agent down"),
    "leave_provisioning_vlan": marked("Move its ports back"),
    "return_to_disk": marked("Leave the server as it was found"),
    "touch_nothing": marked("Leave the disks alone"),
    "plan_disks": marked("Plan the disks"),
    "write_image": marked("Write the system"),
    "configure_system": marked("Configure the system"),
    "record_system": marked("Write down what was installed"),
    "boot_from_disk": marked("Start the system"),
    "await_first_boot": marked("Wait until the system says that it runs"),
    "record_first_boot": marked("Write down that it runs"),
    "start_rescue": marked("Start the rescue system"),
    "record_rescue": marked("Write down that it is in rescue"),
    "end_rescue": marked("End the rescue"),
    "park_ports": marked("Park its ports"),
    "release_addresses": marked("Release its addresses"),
    "forget_override": marked("Forget what was to boot"),
}

# What other slices say and people without English should read too; the text there and here must be equal.
SENTENCES = (
    marked("The e-mail address or the password is wrong."),
    marked("Too many refused sign-ins. Wait 15 minutes, or sign in from an address used before."),
    marked("Your role does not allow this function."),
    marked("The old password is wrong."),
    marked("There is a server of this name already."),
    marked("This unit of the rack is taken."),
    marked("One of the MAC addresses belongs to another server."),
    marked("The BMC address belongs to another server."),
)


def operation_title(name: str) -> str:
    """An operation as a person calls it."""
    return gettext(OPERATIONS[name]) if name in OPERATIONS else _spoken(name)


def step_title(name: str) -> str:
    """A step as a person calls it; one that is not known here by the verb and the noun of its function."""
    return gettext(STEPS[name]) if name in STEPS else _spoken(name)


def _spoken(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def badge_text(word: str, kind: str) -> str:
    """The words of a state."""
    found = BADGES[kind].get(word)
    return gettext(found.text) if found else word
