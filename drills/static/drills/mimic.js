// The operator's pictures. Bound to variables by data attributes, so another plant needs only another drawing; without a
// drawing its variables stand in a table. What an attribute does, VAR being a variable:
//   data-mimic="VAR VAR"   on the drawing: it is shown when the plant has all of these
//   data-value="VAR"       text: value and unit (data-digits: decimals, data-unit="no": none)
//   data-words="a|b|c" data-word="VAR"   text: the word of that number
//   data-at-of="VAR"       sets data-at to the whole number, for the style sheet (phases, doors, valves)
//   data-on / data-off="VAR"  seen while it is not 0 / is 0
//   data-spin, data-flow="VAR"  turns, runs while above zero
//   data-level="VAR" data-y data-height, data-bar="VAR" data-width   a column, a bar over the variable's span
//   data-limit="VAR:high" data-y data-height   a mark at the alarm limit
//   data-move="VAR" data-dx data-dy (data-min, data-max)   slides by that much over the span
//   data-turn="VAR" data-angle (data-min, data-max)   a needle
//   data-glow="VAR" data-min data-max (data-most)   how opaque
//   data-alarm="VAR"       data-state is "new" or "known" while it is in alarm
import { $, act, el, number, svg, sync, text, words } from "./dom.js";
import { store } from "./store.js";

// Counted things have a Chinese measure word; an English page goes without.
const english = document.documentElement.lang.startsWith("en");
const unitOf = (variable) => (english ? variable.unit.replace(/[\u4e00-\u9fff]+/g, "") : variable.unit);

let variables = new Map();
let drawings = [];
let rolling = false;
let speed = 0, offset = 0, last = 0, fill = 0, over = false;

export function showTelemetry(message) {
  if (message.variables) {
    variables = new Map(message.variables.map((one) => [one.name, one]));
    const pictures = [...document.querySelectorAll("[data-mimic]")];
    drawings = pictures.filter((one) => one.dataset.mimic.split(" ").every((name) => variables.has(name)));
    for (const picture of pictures) picture.toggleAttribute("hidden", !drawings.includes(picture));
    $("mimic").hidden = !drawings.length;
    if (!message.again) $("values").open = !drawings.length;
    drawings.forEach(prepare);
  }
  for (const drawing of drawings) bind(drawing, message);
  table(message);
}

function prepare(drawing) {
  for (const line of drawing.querySelectorAll("[data-limit]")) {
    const [name, side] = line.dataset.limit.split(":");
    const limit = variables.get(name)?.[`alarm_${side}`];
    const known = limit !== null && limit !== undefined;
    line.setAttribute("visibility", known ? "visible" : "hidden");
    if (!known) continue;
    const y = height(line, name, limit);
    line.setAttribute("y1", y);
    line.setAttribute("y2", y);
  }
  if (!rolling && drawing.querySelector("[data-bottles]")) {
    rolling = true;
    requestAnimationFrame(roll);
  }
}

// Where a value lies in its span, or in the one the shape asks for: 0 to 1.
function part(shape, name, value) {
  const low = Number(shape.dataset.min ?? variables.get(name).low);
  const high = Number(shape.dataset.max ?? variables.get(name).high);
  return Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
}

const height = (shape, name, value) => Number(shape.dataset.y) + Number(shape.dataset.height) * (1 - part(shape, name, value));

const seen = (shape, on) => shape.setAttribute("visibility", on ? "visible" : "hidden");
const slid = (shape, share) => `translate(${(Number(shape.dataset.dx ?? 0) * share).toFixed(1)} ${(Number(shape.dataset.dy ?? 0) * share).toFixed(1)})`;
const BINDINGS = {
  value: (place, name, value) => {
    const variable = variables.get(name);
    const digits = place.dataset.digits;
    const written = digits === undefined || value === null || value === undefined ? number(value, variable.counts) : value.toFixed(Number(digits));
    const unit = place.dataset.unit === "no" ? "" : unitOf(variable);
    const shown = unit ? `${written} ${unit}` : written;
    if (place.textContent !== shown) place.textContent = shown;
  },
  word: (place, name, value) => { place.textContent = place.dataset.words.split("|")[Math.round(value)] ?? ""; },
  atOf: (shape, name, value) => { if (shape.dataset.at !== String(Math.round(value))) shape.dataset.at = Math.round(value); },
  on: (shape, name, value) => seen(shape, value),
  off: (shape, name, value) => seen(shape, !value),
  spin: (shape, name, value) => shape.classList.toggle("mi-turning", value > 0.5),
  flow: (shape, name, value) => shape.classList.toggle("mi-still", !(value > 0.05)),
  level: (shape, name, value) => {
    const top = height(shape, name, value);
    shape.setAttribute("y", top);
    shape.setAttribute("height", Math.max(0, Number(shape.dataset.y) + Number(shape.dataset.height) - top));
  },
  bar: (shape, name, value) => shape.setAttribute("width", (Number(shape.dataset.width) * part(shape, name, value)).toFixed(1)),
  move: (shape, name, value) => shape.setAttribute("transform", slid(shape, part(shape, name, value))),
  turn: (shape, name, value) => shape.setAttribute("transform", `rotate(${(Number(shape.dataset.angle) * part(shape, name, value)).toFixed(1)})`),
  glow: (shape, name, value) => shape.setAttribute("fill-opacity", (Number(shape.dataset.most ?? 1) * part(shape, name, value)).toFixed(2)),
};
const ATTRIBUTES = { atOf: "at-of" };

function bind(drawing, { values, alarms }) {
  for (const [kind, show] of Object.entries(BINDINGS)) {
    for (const shape of drawing.querySelectorAll(`[data-${ATTRIBUTES[kind] ?? kind}]`)) {
      const name = shape.dataset[kind];
      const value = values[name];
      if (variables.has(name) && (kind === "value" || (value !== null && value !== undefined))) show(shape, name, value);
    }
  }
  const rung = store.state?.alarms ?? {};
  for (const shape of drawing.querySelectorAll("[data-alarm]")) {
    const name = shape.dataset.alarm;
    const open = [`${name}_high`, `${name}_low`].some((one) => rung[one]?.on && !rung[one].acknowledged_by);
    shape.dataset.state = alarms.includes(name) ? (open ? "new" : "known") : "";
  }
  const belt = drawing.querySelector("[data-bottles]");
  if (belt) {
    speed = values[belt.dataset.bottles] ?? 0;
    fill = values[belt.dataset.fill] ?? 0;
    over = alarms.includes(belt.dataset.fill);
  }
}

// Bottles move with the belt's real speed (bottles a minute times their distance on the picture).
function roll(time) {
  requestAnimationFrame(roll);
  const belt = drawings.map((one) => one.querySelector("[data-bottles]")).find(Boolean);
  if (!belt || $("p-hmi").hidden) { last = time; return; }
  const { from, to, pitch, filler, base } = Object.fromEntries(Object.entries(belt.dataset).map(([key, value]) => [key, Number(value)]));
  offset = (offset + Math.min(0.2, (time - last) / 1000) * (speed / 60) * pitch) % pitch;
  last = time;
  const count = Math.floor((to - from) / pitch);
  while (belt.children.length < count) belt.append(svg("g", {}, svg("path", { class: "mi-bottle", d: "M-4-80v12c0 6-8 8-8 18v46c0 4 2 6 6 6h12c4 0 6-2 6-6v-46c0-10-8-12-8-18v-12z" }), svg("rect", { class: "mi-drink", x: -10, width: 20, rx: 3 })));
  [...belt.children].forEach((bottle, i) => {
    const x = from + i * pitch + offset;
    const done = Math.min(1, Math.max(0, (x - (filler - 80)) / 140));
    const level = 52 * done * Math.min(1.25, fill / 500);
    bottle.setAttribute("transform", `translate(${x.toFixed(1)} ${base})`);
    const drink = bottle.lastChild;
    drink.setAttribute("y", -2 - Math.min(level, 62));
    drink.setAttribute("height", Math.min(level, 62));
    drink.classList.toggle("mi-over", over && done === 1);
  });
}

function table({ values, alarms }) {
  const place = $("values");
  if (!variables.size) return;
  let body = place.querySelector("tbody");
  if (!body) {
    body = el("tbody");
    place.lastElementChild.replaceChildren(el("table", { class: "table dr-values" }, body));
  }
  for (const variable of variables.values()) {
    let row = body.querySelector(`[data-name="${variable.name}"]`);
    if (!row) {
      row = el("tr", { "data-name": variable.name }, el("th", { scope: "row" }, text(variable.title)), el("td"), el("td", { class: "text-secondary" }, unitOf(variable)));
      body.append(row);
    }
    row.children[1].textContent = number(values[variable.name], variable.counts);
    row.dataset.alarm = alarms.includes(variable.name);
  }
}

export function showAlarms(state) {
  const alarms = Object.entries(state.alarms).filter(([, alarm]) => alarm.on || !alarm.acknowledged_by).sort((a, b) => b[1].at - a[1].at);
  sync($("alarm-list"), alarms, ([name]) => name, ([name, alarm]) => el("div", { class: "dr-alarm", "data-on": alarm.on, "data-new": !alarm.acknowledged_by },
    el("span", {}, `${alarm.on ? "▲" : "△"} ${alarm.text || name}`), el("span", { class: "text-secondary" }, `+${Math.floor((alarm.at ?? 0) / 60)}′`),
    alarm.acknowledged_by ? el("span", { class: "text-secondary" }, words.acked) : el("button", { class: "btn btn-sm dr-act", type: "button", onclick: () => act("alarm", { name }) }, words.ack)));
  const on = alarms.filter(([, alarm]) => alarm.on);
  $("alarms").textContent = on.length ? String(on.length) : words.no_alarm;
  $("lamp").dataset.lamp = on.some(([, alarm]) => !alarm.acknowledged_by) ? "new" : on.length ? "known" : "none";
}
