"""The state of a server in one line: what is the matter with it, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rackhand.db import AnyRow
from rackhand.tasks.model import Task, TaskStatus
from rackhand.web.texts import gettext, marked


@dataclass(frozen=True)
class NextStep:
    """What is shown; an empty text means that the active task speaks for itself."""

    colour: str
    icon: str
    text: str
    link: str = ""
    link_text: str = ""


@dataclass(frozen=True)
class Rule:
    """A state, by the row of a server and its last task; *reason* gives the words for `%(reason)s`.

    *link* is added to the server's address.
    """

    holds: Callable[[AnyRow, Task | None], Any]
    colour: str
    icon: str
    text: str
    reason: Callable[[AnyRow, Task | None], str | None] = lambda _row, _task: None
    link: str = ""
    link_text: str = ""


# The first that holds counts: what keeps a server from being used comes before what is merely so.
FOR_OPERATORS = (
    Rule(lambda row, _: row.quarantine_reason is not None, "red", "ban", marked("In quarantine: %(reason)s"),
         lambda row, _: row.quarantine_reason, "#state", marked("Let it out")),
    Rule(lambda row, _: row.bmc_refused_at, "red", "lock",
         marked("Its BMC refused the login. It is not asked again, so that the account is not locked."),
         link="/bmc", link_text=marked("Correct the access")),
    Rule(lambda row, _: row.power_error, "red", "wifi-off", marked("Its BMC cannot be reached: %(reason)s"),
         lambda row, _: row.power_error, "/bmc", marked("Check the access")),
    Rule(lambda row, _: row.bmc_driver is None, "yellow", "plug",
         marked("There is no access to its BMC, so it cannot be installed or diagnosed."),
         link="/bmc", link_text=marked("Add the access")),
    Rule(lambda row, _: row.diagnostics_error, "red", "alert-triangle",
         marked("The last diagnosis found: %(reason)s"), lambda row, _: row.diagnostics_error),
    Rule(lambda _, task: task is not None and task.status == TaskStatus.FAILED, "red", "circle-x",
         marked("The last task failed: %(reason)s"), lambda _, task: task.error if task else "",
         "#tasks", marked("Look at it")),
    Rule(lambda row, _: row.maintenance, "yellow", "tool", marked("In maintenance: nobody is given it."),
         link="#state", link_text=marked("End it")),
    Rule(lambda row, _: row.is_suspended, "orange", "player-pause",
         marked("Suspended: its network ports are down."), link="#state", link_text=marked("Resume")),
    Rule(lambda row, _: row.owner_id is not None, "green", "circle-check",
         marked("Rented, and nothing is known to be wrong.")),
    Rule(lambda row, _: not row.configuration, "yellow", "cpu",
         marked("Not in stock: its configuration is not known."), link="/edit", link_text=marked("Write it down")),
    Rule(lambda row, _: row.is_new, "yellow", "package",
         marked("New: not in stock until somebody says that it is ready."), link="/edit",
         link_text=marked("Make it ready")),
    Rule(lambda _row, _task: True, "green", "circle-check", marked("In stock, ready to be rented.")),
)  # fmt: skip
FOR_CUSTOMERS = (
    Rule(lambda row, _: row.is_suspended, "orange", "player-pause",
         marked("Suspended: its network ports are down. Ask your provider.")),
    Rule(lambda row, _: row.power_error, "yellow", "wifi-off",
         marked("Its power state cannot be read at the moment.")),
    Rule(lambda _row, _task: True, "green", "circle-check", marked("Ready for use.")),
)  # fmt: skip


def next_step(row: AnyRow, task: Task | None, *, for_admin: bool) -> NextStep:
    """Say what is the matter with a server; *task* is its last one."""
    if task is not None and task.is_active:
        return NextStep("blue", "loader-2", "", f"/tasks/{task.id}", gettext("Follow the task"))
    rules = FOR_OPERATORS if for_admin else FOR_CUSTOMERS
    rule = next(rule for rule in rules if rule.holds(row, task))
    reason = rule.reason(row, task)
    text = gettext(rule.text)
    return NextStep(
        rule.colour,
        rule.icon,
        text if reason is None else text % {"reason": reason},
        f"/servers/{row.id}{rule.link}" if rule.link else "",
        gettext(rule.link_text),
    )
