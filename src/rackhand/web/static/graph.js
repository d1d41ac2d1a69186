"use strict";
// Draws what a page gives as `[Unix time, in, out, mark]`; a gap in the samples is a gap in the line.
function scaled(value) {
  if (value === null || value === undefined) return "–";
  const units = ["", "k", "M", "G", "T"];
  let at = 0;
  while (Math.abs(value) >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${value >= 100 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

for (const box of document.querySelectorAll(".graph")) {
  const rows = JSON.parse(box.dataset.series);
  const data = [rows.map((row) => row[0]), rows.map((row) => row[1]), rows.map((row) => row[2])];
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--tblr-body-color").trim() || "#182433";
  const faint = style.getPropertyValue("--tblr-border-color").trim() || "#dce1e7";
  const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
  const unit = box.dataset.unit;
  const graph = new uPlot({
    width: box.clientWidth,
    height: 300,
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
    series: [
      {},
      { label: box.dataset.in, stroke: "#2fb344", width: 1.5, fill: "rgba(47,179,68,.12)", value: (_, value) => scaled(value) + unit },
      { label: box.dataset.out, stroke: "#066fd1", width: 1.5, dash: [6, 3], value: (_, value) => scaled(value) + unit },
    ],
    axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => scaled(tick) + unit) }],
  }, data, box);
  new ResizeObserver(() => graph.setSize({ width: box.clientWidth, height: 300 })).observe(box);
}
