"use strict";
// The decoding viewer: up to four strategies on one problem, played forward by forward.

const VIEW = DATA.viewer;
const PANES = 4;
const view = { chosen: [], panes: [], step: 0, last: 1, timer: null, loading: 0, pinned: null };
const BLOCK = new Map(Object.entries(VIEW.blocks).map(([id, [task, spec]]) => [JSON.stringify([task, spec]), id]));
const VERDICT = { r: ["✓ right", "better"], w: ["✗ wrong", "worse"], f: ["failed", "worse"], u: ["not judged", "noise"] };

const viewTask = () => byId("viewer-task").value;
const viewProblem = () => Number(byId("viewer-problem").value);
const specsOf = (task) => DATA.strategies.map(({ spec }) => spec).filter((spec) => BLOCK.has(JSON.stringify([task, spec])));

function drawProblems(keep) {
  const task = viewTask();
  const verdicts = VIEW.verdicts[task] || {};
  const onlySplit = byId("viewer-disagree").checked;
  const entries = VIEW.problems[task].map(([id, question], i) => {
    const marks = view.chosen.map((spec) => (verdicts[spec] || "")[i] || " ");
    const shown = marks.map((mark) => ({ r: "✓", w: "✗", f: "!", u: "·" })[mark] || " ").join("");
    return { id, split: new Set(marks).size > 1, text: `${id}  ${shown}  ${question.slice(0, 60)}` };
  });
  const listed = entries.filter((entry) => !onlySplit || entry.split);
  const usable = listed.length ? listed : entries;
  const chosen = usable.some((entry) => entry.id === keep) ? keep : usable[0] && usable[0].id;
  options(byId("viewer-problem"), usable.map((entry) => [entry.id, entry.text]), chosen);
}

function drawViewerChips() {
  const specs = specsOf(viewTask());
  view.chosen = view.chosen.filter((spec) => specs.includes(spec));
  for (const spec of specs) if (view.chosen.length < Math.min(2, specs.length) && !view.chosen.includes(spec)) view.chosen.push(spec);
  fill(byId("viewer-strategies"), ...specs.map((spec) => chip(spec, view.chosen.includes(spec), () => pickStrategy(spec), spec)));
}

function pickStrategy(spec) {
  if (view.chosen.includes(spec)) view.chosen = view.chosen.filter((each) => each !== spec);
  else view.chosen = [...view.chosen.slice(view.chosen.length >= PANES ? 1 : 0), spec];
  drawViewerChips();
  drawProblems(viewProblem());
  load();
}

/** Unpack what the picked problem needs and show it at its last forward. */
async function load() {
  stop();
  view.loading += 1;
  const turn = view.loading;
  const [task, id] = [viewTask(), viewProblem()];
  const blocks = await Promise.all(view.chosen.map((spec) => unpack(BLOCK.get(JSON.stringify([task, spec])))));
  const words = await unpack("vocabulary");
  if (turn !== view.loading) return;
  const problem = VIEW.problems[task].find(([number]) => number === id) || [id, "", ""];
  byId("viewer-question").textContent = problem[1] || "(not recorded)";
  byId("viewer-gold").textContent = problem[2] || "(not recorded)";
  const samples = view.chosen.map((spec, i) => ({ spec, sample: blocks[i][id] })).filter(({ sample }) => sample);
  view.panes = samples.map(({ spec, sample }) => pane(spec, sample, samples[0].sample, words));
  fill(byId("viewer-panes"), ...view.panes.map(({ element }) => element));
  view.last = Math.max(1, ...samples.map(({ sample }) => Math.max(sample.nfe || 0, ...sample.steps)));
  byId("viewer-step").max = String(view.last);
  byId("viewer-divergence").textContent = divergence(samples, words);
  show(view.last);
}

const wordOf = (words, id) => (words[id] === undefined ? `⟨${id}⟩` : words[id]);
const SPECIAL = /^<[^<>\s]+>$/;  // an end-of-text token's own name, which would fill the pane
const written = (text) => text.replace(/\r?\n/g, "⏎\n").replace(/\t/g, "⇥\t");

function pane(spec, sample, first, words) {
  const ended = sample.end === null || sample.end >= sample.ids.length ? Infinity : sample.end;
  const tokens = sample.ids.map((id, position) => {
    const text = wordOf(words, id);
    const classes = ["token", shade(sample.confidence[position])];
    if (position >= ended) classes.push("end");
    if (first !== sample && first.ids[position] !== id) classes.push("apart");
    return make("bdi", { class: classes.join(" "), "data-position": position }, position >= ended && SPECIAL.test(text) ? "∎" : written(text) || "∅");
  });
  const [verdict, kind] = VERDICT[sample.mark];
  const facts = make("span", { class: "facts" });
  const box = make("div", { class: "tokens", dir: "ltr" }, ...tokens);
  const describe = (event) => {
    const position = event.target.dataset && event.target.dataset.position;
    if (position !== undefined) byId("viewer-detail").textContent = detail(spec, sample, Number(position), words);
  };
  box.addEventListener("pointerover", describe);
  box.addEventListener("click", describe);
  const answer = sample.error ? `error: ${sample.error}` : `answer: ${sample.extracted === null ? "none found" : sample.extracted}`;
  const element = make("article", { class: "pane" },
    make("header", {}, make("strong", {}, named(spec)), make("span", { class: kind }, verdict), facts),
    box,
    make("div", { class: "final" }, make("bdi", { class: "text", dir: "auto" }, answer),
      make("details", {}, make("summary", { class: "muted" }, "decoded text"), make("bdi", { class: "text", dir: "auto" }, sample.text || "(empty)"))));
  return { spec, sample, tokens, facts, element };
}

function shade(thousandths) {
  if (thousandths === undefined || thousandths < 0) return "unknown";
  return thousandths >= 900 ? "high" : thousandths >= 600 ? "mid" : "low";
}

const surely = (sample, position) => {
  const value = sample.confidence[position];
  return value === undefined || value < 0 ? "confidence unknown" : `confidence ${number(value / 1000, 3)}`;
};

function detail(spec, sample, position, words) {
  const step = sample.steps[position];
  const when = step ? `committed by forward ${step}${sample.refreshes.includes(step) ? " (a refresh)" : ""}` : "never committed";
  return `${spec}, position ${position + 1}: ${JSON.stringify(wordOf(words, sample.ids[position]))} (token ${sample.ids[position]}), ${when}, ${surely(sample, position)}`;
}

/** In words: where the others leave the first strategy's answer, and who was right. */
function divergence(samples, words) {
  if (samples.length < 2) return "";
  const [{ spec, sample }, ...others] = samples;
  const right = samples.filter((each) => each.sample.mark === "r").map((each) => each.spec);
  const parts = others.map((other) => {
    const longest = Math.max(sample.ids.length, other.sample.ids.length);
    let at = 0;
    while (at < longest && sample.ids[at] === other.sample.ids[at]) at += 1;
    if (at === longest) return `${other.spec} gives the same tokens as ${spec}`;
    const side = (each) => (at < each.ids.length ? `${JSON.stringify(wordOf(words, each.ids[at]))} (forward ${each.steps[at]}, ${surely(each, at)})` : "its end");
    return `${other.spec} leaves ${spec} at position ${at + 1}: ${side(other.sample)} where ${spec} has ${side(sample)}`;
  });
  const who = right.length === samples.length ? "All are right." : right.length ? `Right: ${right.join(", ")}.` : "None is right.";
  return `${parts.join(". ")}. ${who}`;
}

function show(step) {
  view.step = step;
  byId("viewer-step").value = String(step);
  byId("viewer-count").textContent = `forward ${step} of ${view.last}`;
  for (const { sample, tokens, facts } of view.panes) {
    tokens.forEach((token, position) => {
      const committed = sample.steps[position] || 0;
      token.classList.toggle("masked", committed > step || (committed === 0 && sample.steps.length > 0));
      token.classList.toggle("new", committed === step && step > 0);
    });
    const last = sample.nfe || Math.max(0, ...sample.steps);
    const state = step >= last ? `done after ${last}` : `forward ${step} of ${last}`;
    facts.textContent = `${state}${sample.refreshes.includes(step) ? ", refresh" : ""}${known(sample.seconds) ? `, ${number(sample.seconds, 3)} s` : ""}`;
  }
}

function stop() {
  clearInterval(view.timer);
  view.timer = null;
  byId("viewer-play").textContent = "▶";
  byId("viewer-play").setAttribute("aria-label", "Play");
}

function play() {
  if (view.timer) return stop();
  if (view.step >= view.last) show(0);
  byId("viewer-play").textContent = "❚❚";
  byId("viewer-play").setAttribute("aria-label", "Pause");
  view.timer = setInterval(() => (view.step < view.last ? show(view.step + 1) : stop()), Number(byId("viewer-pace").value));
  return undefined;
}

function move(by) {
  const select = byId("viewer-problem");
  select.selectedIndex = Math.min(select.options.length - 1, Math.max(0, select.selectedIndex + by));
  load();
}

function startViewer() {
  if (!DATA.tasks.length) return;
  options(byId("viewer-task"), DATA.tasks.map((task) => {
    const [shown, all] = [VIEW.problems[task].length, VIEW.total[task]];
    return [task, shown < all ? `${task} (first ${shown} of ${all})` : task];
  }));
  const preferred = ["fixed", "confidence"].filter((spec) => STRATEGY.has(spec));
  view.chosen = preferred;
  byId("viewer-task").addEventListener("change", () => { drawViewerChips(); drawProblems(); load(); });
  byId("viewer-problem").addEventListener("change", load);
  byId("viewer-disagree").addEventListener("change", () => { drawProblems(viewProblem()); load(); });
  byId("viewer-previous").addEventListener("click", () => move(-1));
  byId("viewer-next").addEventListener("click", () => move(1));
  byId("viewer-play").addEventListener("click", play);
  byId("viewer-pace").addEventListener("change", () => { if (view.timer) { stop(); play(); } });
  byId("viewer-step").addEventListener("input", (event) => { stop(); show(Number(event.target.value)); });
  drawViewerChips();
  drawProblems();
  load();
}
