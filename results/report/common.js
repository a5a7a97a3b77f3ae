"use strict";
// What every section of the page uses: the data, element building (text only, never markup), formats and themes.

const DATA = JSON.parse(document.getElementById("data").textContent);
const STRATEGY = new Map(DATA.strategies.map((each) => [each.spec, each]));

const byId = (id) => document.getElementById(id);

/** An element with properties, attributes (`aria-...`, `data-...`, `class`) and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

const known = (value) => typeof value === "number" && Number.isFinite(value);
const formats = new Map();
function number(value, digits = 1) {
  if (!known(value)) return "–";
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits).format(value).replace("-", "−");
}
const percent = (value, digits = 1) => (known(value) ? number(100 * value, digits) : "–");
const times = (value) => (known(value) ? `${number(value, 2)}×` : "–");
const bytes = (value) => (known(value) ? `${number(value / 2 ** 30, 2)} GiB` : "–");

function powers(value) {
  if (!known(value)) return "–";
  const units = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [scale, unit] = units.find(([size]) => value >= size) || [1, ""];
  return `${number(value / scale, 1)} ${unit}`.trim();
}

function options(select, entries, chosen) {
  fill(select, ...entries.map(([value, text]) => make("option", { value }, text)));
  if (chosen !== undefined) select.value = chosen;
}

/** The oracle bounds every rule and competes with none. */
const isBound = (spec) => spec.startsWith("oracle");
const isDark = () => document.documentElement.dataset.theme === "dark";
const colourOf = (spec) => (STRATEGY.has(spec) ? STRATEGY.get(spec)[isDark() ? "dark" : "colour"] : "#888888");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const themeListeners = [];
function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const listener of themeListeners) listener();
}

/** A pressed/unpressed button with a strategy's mark. */
function chip(text, pressed, onclick, spec) {
  const button = make("button", { type: "button", class: "chip", "aria-pressed": String(pressed) });
  if (spec !== undefined) button.append(markOf(spec));
  button.append(make("bdi", {}, text));
  button.addEventListener("click", () => onclick(button));
  return button;
}

const SHAPES = {
  o: "M8 2a6 6 0 1 0 .01 0z", s: "M2.5 2.5h11v11h-11z", D: "M8 1l7 7-7 7-7-7z", d: "M8 1l4.5 7L8 15 3.5 8z",
  "^": "M8 2l6.5 12h-13z", v: "M8 14L1.5 2h13z", "<": "M2 8l12-6.5v13z", ">": "M14 8L2 1.5v13z",
  P: "M5.5 1.5h5v4h4v5h-4v4h-5v-4h-4v-5h4z", X: "M4.5 1L8 4.5 11.5 1 15 4.5 11.5 8l3.5 3.5-3.5 3.5L8 11.5 4.5 15 1 11.5 4.5 8 1 4.5z",
  p: "M8 1l7 5.2L12.3 14.5H3.7L1 6.2z", h: "M8 1l6.2 3.5v7L8 15l-6.2-3.5v-7z",
  "*": "M8 .8l2.2 4.8 5 .6-3.7 3.5 1 5.2L8 12.3l-4.5 2.6 1-5.2L.8 6.2l5-.6z",
};

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The mark that a strategy has in every figure, as a small drawing that follows the theme. */
function markOf(spec) {
  const { marker, fill: filled } = STRATEGY.get(spec);
  const path = SHAPES[marker] || SHAPES.o;
  const drawing = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", "data-spec": spec },
    svg("path", { d: path, "stroke-width": 1.6, fill: filled === "full" ? "currentColor" : "none", stroke: "currentColor" }));
  if (filled === "left") drawing.append(svg("path", { d: path, "clip-path": "inset(0 50% 0 0)", fill: "currentColor" }));
  drawing.style.color = colourOf(spec);
  return drawing;
}

themeListeners.push(() => {
  for (const drawing of document.querySelectorAll("svg[data-spec]")) drawing.style.color = colourOf(drawing.dataset.spec);
});

/** The samples of one block, unpacked when first asked for; a promise. */
const unpacked = new Map();
function unpack(id) {
  if (!unpacked.has(id)) {
    unpacked.set(id, (async () => {
      const packed = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      return JSON.parse(await new Response(stream).text());
    })());
  }
  return unpacked.get(id);
}
