"""Words of the API whose spelling is not published in full: one table, so that a correction is one edit.

Left is the word on the wire, right is ours. Sources: `api-facts` parts 4, 5.1, 5.4, 7; what is marked there
as a guess is one here too.
"""

# `level` is what the published example for adding a user sends; it means the role with the fewest rights.
ROLES = {
    "@admin": "@admin",
    "admin": "@admin",
    "@user": "@user",
    "user": "@user",
    "level": "@user",
    "": "@user",
}

# Task status: the word to answer, by our status.
TASK_STATUS = {
    "queued": "created",
    "running": "running",
    "waiting": "running",
    "succeeded": "complete",
    "failed": "fail",
    "cancelled": "canceled",
}
# The words that `where` takes, and what they match.
TASK_STATUS_WHERE: dict[str, tuple[str, ...]] = {
    "created": ("queued",),
    "running": ("running", "waiting"),
    "complete": ("succeeded",),
    "fail": ("failed",),
    "failed": ("failed",),
    "canceled": ("cancelled",),
    "cancelled": ("cancelled",),
}
# `operation.status` of a server row, by the status of its last task.
OPERATION_STATUS = {
    "queued": "new",
    "running": "running",
    "waiting": "running",
    "succeeded": "ok",
    "failed": "failed",
    "cancelled": "canceled",
}
OPERATION_STATUS_WHERE: dict[str, tuple[str, ...]] = {
    "new": ("queued",),
    "running": ("running", "waiting"),
    "ok": ("succeeded",),
    "failed": ("failed",),
    "canceled": ("cancelled",),
}
# How disks are cleared: nothing, the start of each, or all of it (api-facts 5.4).
CLEAR_HDD = {
    "none": "none",
    "": "none",
    "fast": "fast",
    "quick": "fast",
    "full": "full",
}
# Software RAID of an installation (api-facts 5.4); the published example has only the placeholder `raid`.
HDD_RAID = {
    "none": "none",
    "no": "none",
    "": "none",
    "raid0": "raid0",
    "0": "raid0",
    "raid1": "raid1",
    "1": "raid1",
    "raid5": "raid5",
    "5": "raid5",
    "raid6": "raid6",
    "6": "raid6",
    "raid10": "raid10",
    "10": "raid10",
}
# Who may use a template.
TEMPLATE_ACCESS = {
    "everyone": "everyone",
    "all": "everyone",
    "": "everyone",
    "admins": "admins",
    "admin": "admins",
    "@admin": "admins",
}
# The firmware that a system starts with.
TEMPLATE_BOOT = {
    "any": "any",
    "both": "any",
    "": "any",
    "bios": "bios",
    "legacy": "bios",
    "uefi": "uefi",
    "efi": "uefi",
}
