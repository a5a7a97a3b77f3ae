"use strict";
// The interactive trade-off: a chart a suite, error bars and frontier, strategies and suites to pick.

const SPEEDS = {
  tpf_eos: { title: "tokens per forward (TPF)", better: 1, bounded: true, show: (v) => number(v, 2) },
  nfe: { title: "forwards a sample (NFE)", better: -1, bounded: true, show: number },
  tps: { title: "tokens per second", better: 1, show: number },
  flops: { title: "estimated FLOPs a sample", better: -1, show: powers },
  query_tokens: { title: "recomputed columns a sample", better: -1, show: (v) => number(v, 0) },
  speedup: { title: "speed-up over fixed", better: 1, show: times },
};
const chartState = { hidden: new Set(), tasks: new Set(), charts: [] };

/** Vertical bars of the accuracy's interval, drawn under the marks. */
const errorBars = {
  id: "errorBars",
  beforeDatasetsDraw(chart) {
    const { ctx, scales: { x, y }, chartArea } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(chartArea.left, chartArea.top, chartArea.width, chartArea.height);
    ctx.clip();
    for (const dataset of chart.data.datasets) {
      for (const point of dataset.data) {
        if (!point || point.low === undefined) continue;
        ctx.strokeStyle = `${dataset.borderColor}66`;
        ctx.lineWidth = 1.3;
        ctx.beginPath();
        ctx.moveTo(x.getPixelForValue(point.x), y.getPixelForValue(point.low));
        ctx.lineTo(x.getPixelForValue(point.x), y.getPixelForValue(point.high));
        ctx.stroke();
      }
    }
    ctx.restore();
  },
};

const PUBLISHED = "M8 1l2 5 5 2-5 2-2 5-2-5-5-2 5-2z";

const MARK = 15; // pixels

/** The strategies' marks and the published stars, drawn as paths so that they are sharp and of one size on any screen. */
const chartMarks = {
  id: "marks",
  afterDatasetsDraw(chart) {
    chart.data.datasets.forEach((dataset, i) => {
      if (!dataset.mark) return;
      for (const { x, y } of chart.getDatasetMeta(i).data) paint(chart.ctx, x, y, dataset.mark, dataset.borderColor);
    });
  },
};

function shapeOf(spec) {
  const { marker, fill: filled } = STRATEGY.get(spec);
  return { outline: SHAPES[marker] || SHAPES.o, filled };
}

function paint(context, x, y, { outline, filled }, colour) {
  const path = new Path2D(outline);
  context.save();
  context.translate(x - MARK / 2, y - MARK / 2);
  context.scale(MARK / 16, MARK / 16);
  context.lineWidth = 1.6;
  context.strokeStyle = colour;
  context.fillStyle = css("--card");
  context.fill(path);
  context.fillStyle = colour;
  if (filled === "left") {
    context.save();
    context.beginPath();
    context.rect(0, 0, 8, 16);
    context.clip();
    context.fill(path);
    context.restore();
  }
  if (filled === "full") context.fill(path);
  else context.stroke(path);
  context.restore();
}

function pointsOf(task, axis) {
  return summaryOf(task).filter((row) => known(row[axis]) && known(row.accuracy) && !chartState.hidden.has(row.strategy))
    .map((row) => ({ x: row[axis], y: 100 * row.accuracy, low: 100 * row.accuracy_low, high: 100 * row.accuracy_high, row }));
}

/** What papers report for the suite; only accuracy and speed are known of them. */
function publishedOf(task, axis) {
  return DATA.summary.published_points.filter((row) => row.task === task && known(row[axis]) && known(row.accuracy))
    .map((row) => ({ x: row[axis], y: 100 * row.accuracy, row }));
}

/** The staircase that the points nobody beats span, from edge to edge; the oracle is a bound, no competitor. */
function frontierOf(points, better, frame) {
  const ordered = points.filter((point) => !isBound(point.row.strategy)).sort((a, b) => better * (b.x - a.x) || b.y - a.y);
  const kept = [];
  for (const point of ordered) if (!kept.length || point.y > kept[kept.length - 1].y) kept.push(point);
  if (!kept.length) return [];
  const corners = [{ x: kept[0].x, y: frame.bottom }];
  kept.forEach((point, i) => {
    const slower = i + 1 < kept.length ? kept[i + 1].x : better > 0 ? frame.left : frame.right;
    corners.push({ x: point.x, y: point.y }, { x: slower, y: point.y });
  });
  return corners;
}

/** The bounds of a chart: every interval inside, with room at the edges of the logarithmic axis. */
function frameOf(points) {
  const xs = points.map((point) => point.x);
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const room = Math.max(1.06, (high / low) ** 0.07);
  const bottom = Math.floor((Math.min(...points.map((point) => point.low ?? point.y)) - 1) / 5) * 5;
  const top = Math.ceil((Math.max(...points.map((point) => point.high ?? point.y)) + 1) / 5) * 5;
  return { left: low / room, right: high * room, bottom: Math.max(0, bottom), top: Math.min(100, top) };
}

// Chart.js finds what is pointed at; `chartMarks` draws it.
const UNSEEN = {
  pointBackgroundColor: "transparent", pointBorderColor: "transparent", pointHoverBackgroundColor: "transparent",
  pointHoverBorderColor: "transparent", pointRadius: 7, pointHitRadius: 10, showLine: false, clip: false,
};

function datasets(task, axis, points, frame) {
  const better = SPEEDS[axis].better;
  const found = points.map((point) => ({
    label: point.row.strategy, data: [point], mark: shapeOf(point.row.strategy), borderColor: colourOf(point.row.strategy), ...UNSEEN,
  }));
  for (const point of publishedOf(task, axis)) {
    found.push({
      label: `${point.row.strategy} (published: ${point.row.source})`, data: [point], mark: { outline: PUBLISHED, filled: "none" },
      borderColor: css("--muted"), ...UNSEEN,
    });
  }
  for (const bound of SPEEDS[axis].bounded ? points.filter((point) => isBound(point.row.strategy)) : []) {
    found.push({
      label: "", data: [{ x: bound.x, y: frame.bottom }, { x: bound.x, y: frame.top }], showLine: true, pointRadius: 0, pointHitRadius: 0,
      borderColor: css("--muted"), borderDash: [5, 4], borderWidth: 1, fill: false,
    });
  }
  found.push({
    label: "", data: frontierOf(points, better, frame), showLine: true, pointRadius: 0, pointHitRadius: 0, borderColor: css("--muted"),
    borderWidth: 1.2, fill: false, clip: 0,
  });
  return found;
}

function lines(item) {
  const { row } = item.raw;
  const axis = byId("chart-axis").value;
  if (!row) return "";
  if (row.accuracy_low === undefined) return `${item.dataset.label}: ${percent(row.accuracy)} %, ${SPEEDS[axis].show(row[axis])}`;
  return [
    row.strategy, `accuracy ${percent(row.accuracy)} % (${percent(row.accuracy_low)}–${percent(row.accuracy_high)})`,
    `${SPEEDS[axis].title}: ${SPEEDS[axis].show(row[axis])}`, `NFE ${number(row.nfe)}, TPF ${number(row.tpf_eos, 2)}, ${number(row.tps)} tokens/s`,
  ];
}

const ROUND = [1, 1.5, 2, 3, 5, 7];
function logTicks(scale) {
  const found = [];
  for (let power = Math.floor(Math.log10(scale.min)); power <= Math.ceil(Math.log10(scale.max)); power += 1) {
    for (const step of ROUND) found.push(step * 10 ** power);
  }
  const inside = found.filter((value) => value >= scale.min && value <= scale.max);
  const every = Math.ceil(inside.length / 7);
  scale.ticks = inside.filter((_, i) => i % every === 0).map((value) => ({ value }));
}

function settings(task, axis) {
  const { title, better, show } = SPEEDS[axis];
  const points = pointsOf(task, axis);
  const shown = [...points, ...publishedOf(task, axis)];
  const frame = shown.length ? frameOf(shown) : { left: 1, right: 10, bottom: 0, top: 100 };
  const ink = { color: css("--muted"), font: { size: 12 } };
  return {
    type: "scatter",
    data: { datasets: datasets(task, axis, points, frame) },
    plugins: [errorBars, chartMarks],
    options: {
      animation: false, responsive: true, maintainAspectRatio: false, layout: { padding: { top: 26, right: 8 } },
      interaction: { mode: "nearest", intersect: true },
      scales: {
        x: {
          type: "logarithmic", min: frame.left, max: frame.right, grid: { color: css("--line") }, border: { color: css("--muted") },
          title: { display: true, text: `${title}  ${better > 0 ? "faster →" : "← faster"}`, ...ink },
          afterBuildTicks: logTicks, ticks: { ...ink, maxRotation: 0, callback: (value) => (value >= 1e4 ? powers(value) : Number(value.toPrecision(3))) },
        },
        y: {
          min: frame.bottom, max: frame.top, grid: { color: css("--line") }, border: { color: css("--muted") },
          title: { display: true, text: "accuracy %", ...ink }, ticks: ink,
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          displayColors: false, filter: (item) => Boolean(item.raw.row), callbacks: { title: () => "", label: lines },
          backgroundColor: css("--ink"), titleColor: css("--ground"), bodyColor: css("--ground"), padding: 9,
        },
      },
    },
  };
}

/** What the marks that are no strategy's mean, or what to do where nothing is drawn. */
function keyOf(axis) {
  const drawn = taskEntries().filter(([task]) => chartState.tasks.has(task));
  const points = drawn.flatMap(([task]) => pointsOf(task, axis));
  const printed = drawn.flatMap(([task]) => publishedOf(task, axis));
  if (!points.length && !printed.length) return "Nothing to draw: pick a suite above and a strategy below.";
  const said = ["Bars: 95 % intervals. Grey steps: what no other strategy beats."];
  if (SPEEDS[axis].bounded && points.some((point) => isBound(point.row.strategy))) said.push("Dashed: the oracle's bound.");
  if (printed.length) said.push("Grey stars: published figures.");
  return said.join(" ");
}

function drawCharts() {
  for (const chart of chartState.charts) chart.destroy();
  chartState.charts = [];
  const axis = byId("chart-axis").value;
  const frames = taskEntries().filter(([task]) => chartState.tasks.has(task)).map(([task, text]) => {
    const canvas = make("canvas", { role: "img", "aria-label": `${text}: accuracy against ${SPEEDS[axis].title}; the figures are in the summary table` });
    return { task, canvas, frame: make("div", { class: "plot" }, make("h3", {}, text), canvas) };
  });
  fill(byId("charts"), ...frames.map(({ frame }) => frame));
  byId("chart-key").textContent = keyOf(axis);
  for (const { task, canvas } of frames) chartState.charts.push(new Chart(canvas, settings(task, axis)));
}

function toggle(set, value, button) {
  if (set.has(value)) set.delete(value);
  else set.add(value);
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  drawCharts();
}

function startChart() {
  const usable = Object.entries(SPEEDS).filter(([name]) => DATA.summary.rows.some((row) => known(row[name])));
  options(byId("chart-axis"), usable.map(([name, { title }]) => [name, title]));
  byId("chart-axis").addEventListener("change", drawCharts);
  const entries = taskEntries();
  for (const [task] of entries.slice(0, 1)) chartState.tasks.add(task);
  byId("chart-tasks").append(...entries.map(([task, text]) =>
    chip(text, chartState.tasks.has(task), (button) => toggle(chartState.tasks, task, button))));
  fill(byId("chart-strategies"), ...DATA.strategies.map(({ spec }) =>
    chip(spec, true, (button) => toggle(chartState.hidden, spec, button), spec)));
  if (usable.length) drawCharts();
  themeListeners.push(() => usable.length && drawCharts());
}
