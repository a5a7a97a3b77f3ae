"use strict";
// The tables: summary, cost, curves, published against measured, and the lists of settings.

const MEAN = "mean";
const summaryOf = (task) => (task === MEAN ? DATA.summary.means : DATA.summary.rows.filter((row) => row.task === task));
const comparisonsOf = (task) => {
  const name = task === MEAN ? "all" : task;
  return new Map(DATA.summary.comparisons.filter((row) => row.task === name).map((row) => [row.strategy, row]));
};
const taskEntries = () => {
  const entries = DATA.tasks.map((task) => [task, task]);
  return DATA.tasks.length > 1 ? [[MEAN, `mean of ${DATA.tasks.length} suites`], ...entries] : entries;
};

/**
 * A table whose columns sort when their heads are pressed.
 * A column is {title, value(row), show(row), text, best: "max" | "min", hint}.
 */
function table(columns, rows) {
  const extreme = columns.map(({ best, value }) => {
    const values = rows.filter(({ strategy }) => !isBound(strategy)).map(value).filter(known);
    return best && values.length > 1 ? Math[best](...values) : null;
  });
  const cell = (column, row, i) => {
    const shown = column.show(row);
    const isBest = extreme[i] !== null && !isBound(row.strategy) && column.value(row) === extreme[i];
    const kind = [column.text ? "words" : "", isBest ? "best" : "", column.wrap ? "wrap" : ""].join(" ").trim();
    return make("td", { class: kind || null, title: i === 0 ? String(column.value(row)) : null }, shown);
  };
  const body = make("tbody");
  const draw = (ordered) => fill(body, ...ordered.map((row) => make("tr", {}, ...columns.map((c, i) => cell(c, row, i)))));
  const heads = columns.map((column) => {
    const head = make("th", { scope: "col", class: column.text ? "words" : null, title: column.hint });
    const press = () => {
      const rising = head.getAttribute("aria-sort") !== "ascending" && !(column.best === "max" && !head.hasAttribute("aria-sort"));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      draw([...rows].sort((a, b) => compareValues(column.value(a), column.value(b)) * (rising ? 1 : -1)));
    };
    head.append(make("button", { type: "button", onclick: press }, column.title));
    return head;
  });
  draw(rows);
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body);
}

function compareValues(a, b) {
  if (known(a) && known(b)) return a - b;
  if (known(a) !== known(b)) return known(a) ? -1 : 1;
  return String(a).localeCompare(String(b));
}

const figure = (title, name, show, extra = {}) => ({ title, value: (row) => row[name], show: (row) => show(row[name]), ...extra });
const strategyColumn = { title: "strategy", text: true, value: (row) => row.strategy, show: (row) => named(row.strategy) };

function named(spec) {
  const name = make("bdi", {});
  for (const piece of spec.split(/(?<=[:+@,=])/)) name.append(piece, make("wbr"));
  if (!STRATEGY.has(spec)) return name;
  const mark = markOf(spec);
  mark.setAttribute("width", "12");
  mark.setAttribute("height", "12");
  return make("span", {}, mark, "\u00a0", name);
}

function verdictCell(row) {
  if (!row) return "";
  const kind = { better: "better", worse: "worse" }[row.verdict] || "noise";
  const interval = `${percent(row.difference_low)} to ${percent(row.difference_high)} points, ${row.gained} gained, ${row.lost} lost, p ${number(row.p, 4)}, Holm ${number(row.p_holm, 4)}`;
  const sign = row.difference > 0 ? "+" : "";
  return make("span", { class: kind, title: interval }, `${sign}${percent(row.difference)} `, make("small", {}, row.verdict));
}

function drawSummary() {
  const task = byId("summary-task").value;
  const rows = summaryOf(task);
  const against = comparisonsOf(task);
  const base = rows.map((row) => row.speedup_baseline).find(Boolean) || "";
  const verdict = {
    title: base ? `against ${base}, points` : "", text: true, hint: "exact McNemar test on the same problems, Holm-adjusted",
    value: (row) => (against.has(row.strategy) ? against.get(row.strategy).difference : null),
    show: (row) => (row.strategy === base ? make("small", {}, "baseline") : verdictCell(against.get(row.strategy))),
  };
  const accuracy = {
    title: "accuracy %", best: "max", hint: "with its 95 % Wilson interval", value: (row) => row.accuracy,
    show: (row) => make("span", {}, percent(row.accuracy), " ", make("small", {}, `${percent(row.accuracy_low)}–${percent(row.accuracy_high)}`)),
  };
  fill(byId("summary-table"), table([
    strategyColumn, accuracy, verdict,
    figure("NFE", "nfe", number, { best: "min", hint: "forwards a sample" }),
    figure("TPF", "tpf_eos", (v) => number(v, 2), { best: "max", hint: "tokens before the end of text / forwards" }),
    figure("tokens/s", "tps", number, { best: "max" }),
    figure("speed-up", "speedup", times, { best: "max", hint: base ? `seconds of ${base} / seconds` : "no fixed baseline in this run" }),
    figure("oracle %", "oracle_share", (v) => percent(v, 0), { hint: "share of the oracle's TPF" }),
    figure("n", "n", (v) => number(v, 0)), figure("failed", "failed", (v) => number(v, 0)),
  ], rows));
  const tasks = task === MEAN ? DATA.tasks : [task];
  const notes = tasks.map((name) => DATA.summary.detectable[name]).filter(Boolean).map((each) => make("p", {}, each.sentence));
  if (!base) notes.unshift(make("p", {}, "No fixed-step baseline was run here, so there is neither a speed-up nor a test against it."));
  fill(byId("summary-notes"), ...notes);
}

function drawCost() {
  const rows = summaryOf(byId("cost-task").value);
  const low = { best: "min" };
  fill(byId("cost-table"), table([
    strategyColumn,
    figure("NFE", "nfe", number, low), figure("refreshes", "refresh_nfe", number),
    figure("queries", "query_tokens", (v) => number(v, 0), low), figure("FLOPs", "flops", powers, low),
    figure("seconds", "latency_s", (v) => number(v, 3), low), figure("tokens/s", "tps", number, { best: "max" }),
    figure("tokens", "tokens_eos", number), figure("peak memory", "peak_memory_bytes", bytes), figure("batch", "batch_size", (v) => number(v, 0)),
  ], rows));
}

function drawCurves() {
  const task = byId("curves-task").value;
  const rows = DATA.summary.curves.filter((curve) => curve.task === task).map((curve) => ({ ...curve, strategy: curve.family }));
  fill(byId("curves-table"), table([
    strategyColumn, figure("settings", "specs", (v) => String(v.length)),
    figure("AUP (d3LLM, v1)", "aup_d3llm_v1", number, { best: "max" }),
    figure("plain area", "plain_area", number, { best: "max" }), figure("hypervolume", "hypervolume", number, { best: "max" }),
    { title: "note", text: true, wrap: true, value: (row) => row.note, show: (row) => row.note },
  ], rows));
  const pool = rows.length ? `AUP's pool: best accuracy ${number(rows[0].pool_best)} % among ${rows[0].pool.join(", ")}. ` : "";
  fill(byId("curves-notes"),
    make("p", {}, pool, "AUP changes with its pool; the plain area and the hypervolume (from the origin) do not."),
    make("p", {}, "With a single setting every area is that point's rectangle; sweep a threshold to get a curve."));
  const tuned = DATA.summary.tuned;
  if (tuned) {
    const picked = tuned.picked.filter((each) => each.task === task);
    const said = [...picked.map((each) => each.sentence), ...(tuned.reason ? [tuned.reason] : [])];
    byId("curves-notes").append(...said.map((sentence) => make("p", {}, sentence)));
  }
}

function drawPublished() {
  const task = byId("published-task").value;
  const rows = (DATA.summary.published || []).filter((row) => row.task === task);
  if (!rows.length) {
    fill(byId("published-table"), make("p", { class: "muted" }, "No published figure is for this model, this suite and these strategies."));
    return;
  }
  const pair = (title, name, show) => figure(title, `published_${name}`, null, {
    hint: "published, and what this run measured",
    show: (row) => (!known(row[`published_${name}`]) ? "–" : make("span", {}, show(row[`published_${name}`]), " ", make("small", {}, `here ${show(row[`measured_${name}`])}`))),
  });
  fill(byId("published-table"), table([
    strategyColumn,
    pair("accuracy %", "accuracy", percent), pair("NFE", "nfe", number), pair("TPF", "tpf", (v) => number(v, 2)),
    pair("tokens/s", "tps", number), pair("seconds", "latency_s", number), pair("speed-up", "speedup", times),
    { title: "source", text: true, wrap: true, value: (row) => row.source, show: (row) => row.source },
    { title: "settings that differ", text: true, wrap: true, value: (row) => row.differs, show: (row) => row.differs || "none known" },
  ], rows));
}

function drawEnvironment() {
  const list = (title, entries) => make("div", {}, make("h3", {}, title), make("dl", {}, ...entries.flatMap(([key, value]) => [
    make("dt", {}, key), make("dd", {}, plainText(value))])));
  const blocks = DATA.runs.flatMap((run) => [
    list(`${run.name}: settings`, Object.entries(run.config)), list(`${run.name}: environment`, Object.entries(run.environment))]);
  fill(byId("environment-lists"), ...blocks);
}

function plainText(value) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return !value.length ? "none" : value.map(plainText).join("\n");
  if (typeof value === "object") return !Object.keys(value).length ? "none" : Object.entries(value).map(([key, each]) => `${key}: ${plainText(each)}`).join("\n");
  return String(value);
}

function startTables() {
  for (const [name, draw] of [["summary", drawSummary], ["cost", drawCost]]) {
    options(byId(`${name}-task`), taskEntries());
    byId(`${name}-task`).addEventListener("change", draw);
    draw();
  }
  options(byId("curves-task"), DATA.tasks.map((task) => [task, task]));
  byId("curves-task").addEventListener("change", drawCurves);
  if (DATA.tasks.length) drawCurves();
  const published = new Set((DATA.summary.published || []).map((row) => row.task));
  options(byId("published-task"), DATA.tasks.map((task) => [task, task]), DATA.tasks.find((task) => published.has(task)));
  byId("published-task").addEventListener("change", drawPublished);
  drawPublished();
  drawEnvironment();
}
