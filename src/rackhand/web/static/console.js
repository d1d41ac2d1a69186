"use strict";
// What pages do beside htmx: times in the viewer's zone, questions before dangerous buttons, keys, lost connections.

const language = document.documentElement.lang || "en";
const momentFormat = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const exactFormat = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" });
const relativeFormat = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function showTimes(within) {
  for (const element of within.querySelectorAll("time[data-time]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title = exactFormat.format(moment);
    element.textContent = element.dataset.time === "relative" ? relative(moment) : momentFormat.format(moment);
  }
}

function relative(moment) {
  const seconds = Math.round((moment.getTime() - Date.now()) / 1000);
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || UNITS[UNITS.length - 1];
  return relativeFormat.format(Math.trunc(seconds / size), unit);
}

function toast(isOffline) {
  const box = document.getElementById("offline");
  if (box) box.hidden = !isOffline;
}

// A form with data-confirm asks first; Enter and Escape work as in any dialogue.
function askFirst(event) {
  const form = event.target;
  const button = event.submitter;
  const question = (button && button.dataset.confirm) || form.dataset.confirm;
  const dialog = document.getElementById("confirm");
  if (!question || !dialog || form.dataset.confirmed) return;
  event.preventDefault();
  dialog.querySelector("#confirm-title").textContent = question;
  dialog.querySelector("#confirm-text").textContent = (button && button.dataset.confirmText) || form.dataset.confirmText || "";
  dialog.querySelector("#confirm-yes").textContent = (button && button.textContent.trim()) || "OK";
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.confirmed = "yes";
    form.requestSubmit(button);
  }, { once: true });
  dialog.showModal();
}

function sendOnce(event) {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
}

document.addEventListener("submit", askFirst);
document.addEventListener("submit", sendOnce);
// A page that comes back out of the browser's memory may send its forms again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form")) { delete form.dataset.sent; delete form.dataset.confirmed; }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.getElementById("search");
  event.preventDefault();
  if (search && search.offsetParent) { search.focus(); search.select(); } else location.assign("/search");
});

// Choosing a value of a filter is enough; the button is for those without this script.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  if (event.target.matches("[data-check-all]")) {
    for (const box of document.querySelectorAll(`input[name="${event.target.dataset.checkAll}"]`)) box.checked = event.target.checked;
  }
  if (event.target.matches("input[type=checkbox][data-counted], [data-check-all]")) countChosen();
});

// Which columns a table shows is kept in this browser.
for (const menu of document.querySelectorAll("[data-columns-of]")) {
  const key = `columns.${menu.dataset.columnsOf}`;
  const boxes = [...menu.querySelectorAll("input")];
  const show = () => {
    for (const box of boxes) {
      for (const cell of document.querySelectorAll(`main table [data-column="${box.value}"]`)) cell.hidden = !box.checked;
    }
  };
  let left = [];
  try { left = JSON.parse(localStorage.getItem(key)) || []; } catch { /* nothing that can be read is kept */ }
  for (const box of boxes) box.checked = !left.includes(box.value);
  show();
  menu.hidden = false;
  menu.addEventListener("change", () => {
    localStorage.setItem(key, JSON.stringify(boxes.filter((box) => !box.checked).map((box) => box.value)));
    show();
  });
}
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.columns[open]")) if (!menu.contains(event.target)) menu.open = false;
});

function countChosen() {
  const chosen = document.querySelectorAll("input[data-counted]:checked").length;
  for (const bar of document.querySelectorAll("[data-chosen-bar]")) {
    bar.hidden = chosen === 0;
    const count = bar.querySelector("[data-chosen]");
    if (count) count.textContent = String(chosen);
  }
}

// A whole row is a target for the mouse; the link in it is one for everybody.
document.addEventListener("click", (event) => {
  const row = event.target.closest("[data-href]");
  if (!row || event.target.closest("a, button, input, label, select, summary, form") || String(getSelection())) return;
  location.assign(row.dataset.href);
});

// Files are read here and sent as the text that stands in the box, where everybody can see it first.
document.addEventListener("change", async (event) => {
  if (!event.target.matches("input[type=file][data-into]")) return;
  const file = event.target.files[0];
  if (file) document.getElementById(event.target.dataset.into).value = await file.text();
});

document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.hasAttribute("data-live")) event.preventDefault();
});
document.addEventListener("htmx:sendError", () => toast(true));
document.addEventListener("htmx:timeout", () => toast(true));
document.addEventListener("htmx:responseError", (event) => { if (event.detail.xhr.status >= 500) toast(true); });
document.addEventListener("htmx:afterOnLoad", () => toast(false));
document.addEventListener("htmx:afterSwap", (event) => showTimes(event.target.parentElement || document));
window.addEventListener("offline", () => toast(true));
window.addEventListener("online", () => toast(false));

showTimes(document);
countChosen();
setInterval(() => showTimes(document), 15000);
const firstWrong = document.querySelector("[aria-invalid=true]");
if (firstWrong) firstWrong.focus();
