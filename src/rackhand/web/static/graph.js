"use strict";
// Draws what a page gives as `[Unix time, value, value, …]`; a gap in the samples is a gap in the line.
const LINES = [{ stroke: "#2fb344", fill: "rgba(47,179,68,.12)" }, { stroke: "#066fd1", dash: [6, 3] }];

const DAY = 86400;
const DAYS = [1, 2, 7, 14, 31].map((days) => days * DAY);
const spoken = document.documentElement.lang || "en";
const hourFormat = new Intl.DateTimeFormat(spoken, { hour: "2-digit", minute: "2-digit", hour12: false });
const dayFormat = new Intl.DateTimeFormat(spoken, { day: "numeric", month: "short" });
const momentText = new Intl.DateTimeFormat(spoken, { dateStyle: "medium", timeStyle: "short" });

function scaled(value) {
  const units = ["", "k", "M", "G", "T"];
  let at = 0;
  while (Math.abs(value) >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${value >= 100 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

function draw(within) {
  for (const box of within.querySelectorAll(".graph:empty")) {
    const rows = JSON.parse(box.dataset.series);
    const labels = JSON.parse(box.dataset.labels);
    const ink = getComputedStyle(box).color;
    const faint = getComputedStyle(box.closest(".card")).borderTopColor;
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
    const isLong = rows.length > 1 && rows[rows.length - 1][0] - rows[0][0] > 2 * DAY;
    const time = isLong ? { incrs: DAYS, values: (_, ticks) => ticks.map((tick) => dayFormat.format(tick * 1000)) }
      : { values: (_, ticks) => ticks.map((tick) => hourFormat.format(tick * 1000)) };
    const unit = box.dataset.unit;
    const isSmall = box.classList.contains("graph-small");
    const height = isSmall ? 150 : 300;
    const graph = new uPlot({
      width: box.clientWidth,
      height,
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
      series: [{ label: box.dataset.time, value: (_, value) => (value ? momentText.format(value * 1000) : "–") }, ...labels.map((label, at) => ({ ...LINES[at], label, width: 1.5, value: (_, value) => (value === null || value === undefined ? "–" : scaled(value) + unit) }))],
      legend: { live: !isSmall },
      axes: [{ ...axis, ...time }, { ...axis, size: 88, values: (_, ticks) => ticks.map((tick) => scaled(tick) + unit) }],
    }, [rows.map((row) => row[0]), ...labels.map((_, at) => rows.map((row) => row[at + 1]))], box);
    new ResizeObserver(() => graph.setSize({ width: box.clientWidth, height })).observe(box);
  }
}

draw(document);
document.addEventListener("htmx:afterSwap", (event) => draw(event.target.parentElement || document));
