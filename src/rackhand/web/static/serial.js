"use strict";
// The terminal of a serial console: events of the stream into xterm.js, keys back, replay of recordings.

const COLUMNS = 80, ROWS = 24; // what firmware and systems take a serial line for
const CELL_WIDTH = 0.605, CELL_HEIGHT = 1.2; // of a monospaced font, in parts of its size
const SMALLEST = 9, LARGEST = 18;
const MOST_BYTES = 3000; // typed at once
const LONGEST_PAUSE = 1000; // of a replay, in milliseconds

// xterm.js writes style elements and attributes, which the page's policy forbids. It gets an inert element instead, whose
// text goes into a style sheet of the document, and its attributes are set one property at a time.
const createElement = document.createElement.bind(document);
document.createElement = (name, options) => {
  if (String(name).toLowerCase() !== "style") return createElement(name, options);
  const element = createElement("template");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, "textContent", { set: (text) => sheet.replaceSync(text), get: () => "" });
  Object.defineProperty(element, "sheet", { get: () => sheet });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
};
HTMLSpanElement.prototype.setAttribute = function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value; else Element.prototype.setAttribute.call(this, name, value);
};

const root = document.getElementById("serial");
const part = (name) => root.querySelector(`[data-${name}]`);
const base = `/api/dci/v3/server/${root.dataset.server}/console`;
const mayType = root.dataset.types === "yes";
let terminal = null, stream = null, replay = 0, typed = [], isSending = false, isLive = false;

function say(text, colour) {
  const status = part("status");
  status.textContent = text;
  status.className = `badge text-wrap bg-${colour}-lt`;
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function fit() {
  const frame = part("frame");
  const style = getComputedStyle(frame);
  const width = frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  let size = Math.floor(width / COLUMNS / CELL_WIDTH);
  if (document.fullscreenElement) size = Math.min(size, Math.floor((frame.clientHeight - 16) / ROWS / CELL_HEIGHT));
  else size = Math.min(size, LARGEST);
  terminal.options.fontSize = Math.max(SMALLEST, size);
}

function disconnect() {
  if (stream) stream.close();
  stream = null;
  isLive = false;
  replay += 1; // whatever plays stops
}

async function connect() {
  disconnect();
  say(root.dataset.connecting, "yellow");
  const answer = await fetch(base).catch(() => null);
  const state = answer && answer.ok ? await answer.json() : null;
  if (!state || state.state === "other_process") { say(state ? root.dataset.other : root.dataset.refused, "red"); return; }
  const source = new EventSource(`${base}/stream`);
  stream = source;
  source.addEventListener("reset", () => terminal.reset());
  source.addEventListener("output", (event) => terminal.write(bytesOf(event.data)));
  source.addEventListener("state", (event) => {
    isLive = JSON.parse(event.data).state === "open";
    if (isLive) say(mayType ? root.dataset.open : root.dataset.openRead, "green"); else say(root.dataset.connecting, "yellow");
    if (isLive) terminal.focus();
  });
  source.addEventListener("end", (event) => {
    disconnect();
    say(`${root.dataset.closed}: ${JSON.parse(event.data).message}`, "secondary");
  });
  source.addEventListener("error", () => {
    isLive = false;
    if (source.readyState === EventSource.CLOSED) say(root.dataset.refused, "red"); else say(root.dataset.lost, "yellow");
  });
}

function type(bytes) {
  if (!mayType || !isLive) return;
  typed.push(...bytes);
  if (!isSending) send();
}

// One request at a time, so that keys come in their order; what is typed meanwhile goes together.
async function send() {
  isSending = true;
  while (typed.length) {
    const bytes = typed.splice(0, MOST_BYTES);
    const body = new URLSearchParams({ data: btoa(String.fromCharCode(...bytes)) });
    const answer = await fetch(`/servers/${root.dataset.server}/console/input`, { method: "POST", body }).catch(() => null);
    if (!answer || !answer.ok) {
      typed = [];
      say(`${root.dataset.notTyped} ${answer && answer.status < 500 ? await answer.text() : root.dataset.lost}`, "red");
    }
  }
  isSending = false;
}

async function paste() {
  const text = await navigator.clipboard.readText().catch(() => "");
  terminal.focus();
  if (text) terminal.paste(text);
}

async function play(name) {
  disconnect();
  const mine = replay;
  say(root.dataset.replay, "azure");
  terminal.reset();
  root.scrollIntoView({ block: "start" });
  const answer = await fetch(`${base}/log/${name}/cast`).catch(() => null);
  if (!answer || !answer.ok) { say(root.dataset.refused, "red"); return; }
  let before = null;
  for (const line of (await answer.text()).split("\n").slice(1)) {
    let event;
    try { event = JSON.parse(line); } catch { continue; }
    const [seconds, kind, text] = event;
    const pause = before === null ? 0 : Math.min((seconds - before) * 1000, LONGEST_PAUSE);
    before = seconds;
    if (pause > 4) await new Promise((resolve) => { setTimeout(resolve, pause); });
    if (mine !== replay) return;
    terminal.write(kind === "m" ? `\r\n\x1b[7m ${text} \x1b[0m\r\n` : text);
  }
  say(root.dataset.replayed, "secondary");
}

async function begin() {
  const { Terminal } = await import(root.dataset.terminal);
  terminal = new Terminal({
    cols: COLUMNS, rows: ROWS, scrollback: 5000, cursorBlink: true,
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace", minimumContrastRatio: 4.5,
    theme: { background: "#101418", foreground: "#e6e9ec" },
  });
  terminal.open(part("screen"));
  terminal.textarea.setAttribute("aria-label", root.dataset.label);
  const encoder = new TextEncoder();
  terminal.onData((text) => type(encoder.encode(text)));
  terminal.onBinary((text) => type(Uint8Array.from(text, (character) => character.charCodeAt(0))));
  fit();
  addEventListener("resize", fit);
  document.addEventListener("fullscreenchange", fit);
  part("connect").addEventListener("click", connect);
  if (part("paste")) part("paste").addEventListener("click", paste);
  // Not always: it takes no text that comes without keys, such as from the keyboard of a phone.
  part("aloud").addEventListener("click", (event) => {
    const isOn = !terminal.options.screenReaderMode;
    terminal.options.screenReaderMode = isOn;
    event.currentTarget.setAttribute("aria-pressed", String(isOn));
    event.currentTarget.classList.toggle("active", isOn);
    terminal.focus();
  });
  part("full").addEventListener("click", () => part("frame").requestFullscreen().then(() => terminal.focus()).catch(() => {}));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-replay]");
    if (button) play(button.dataset.replay);
  });
  root.dataset.ready = "yes";
  if (root.dataset.opens === "yes") connect();
}

begin();
