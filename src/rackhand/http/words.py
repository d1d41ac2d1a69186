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
