// The operator's picture. Bound to variables by data attributes, so another plant needs only another drawing; without a
// drawing its variables stand in a table.
import { $, act, el, number, svg, sync, text, words } from "./dom.js";
import { store } from "./store.js";

let variables = new Map();
let drawing = null;
let speed = 0, offset = 0, last = 0, fill = 0, over = false;

export function showTelemetry(message) {
  if (message.variables) {
    variables = new Map(message.variables.map((one) => [one.name, one]));
    const picture = document.querySelector("[data-mimic]");
    drawing = picture && picture.dataset.mimic.split(" ").every((name) => variables.has(name)) ? picture : null;
    $("mimic").hidden = !drawing;
    $("values").open = !drawing;
    if (drawing) prepare();
  }
  if (drawing) bind(message);
  table(message);
}

function prepare() {
  for (const line of drawing.querySelectorAll("[data-limit]")) {
    const [name, side] = line.dataset.limit.split(":");
    const limit = variables.get(name)?.[`alarm_${side}`];
    if (limit === null || limit === undefined) { line.setAttribute("visibility", "hidden"); continue; }
    const y = height(line, name, limit);
    line.setAttribute("y1", y);
    line.setAttribute("y2", y);
  }
  requestAnimationFrame(roll);
}

function height(shape, name, value) {
  const { low, high } = variables.get(name);
  const part = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  return Number(shape.dataset.y) + Number(shape.dataset.height) * (1 - part);
}

function bind({ values, alarms }) {
  for (const place of drawing.querySelectorAll("[data-value]")) {
    const variable = variables.get(place.dataset.value);
    if (variable) place.textContent = `${number(values[variable.name], variable.counts)} ${variable.unit}`;
  }
  for (const shape of drawing.querySelectorAll("[data-level]")) {
    const name = shape.dataset.level;
    if (!variables.has(name)) continue;
    const top = height(shape, name, values[name]);
    shape.setAttribute("y", top);
    shape.setAttribute("height", Math.max(0, Number(shape.dataset.y) + Number(shape.dataset.height) - top));
  }
  for (const pipe of drawing.querySelectorAll("[data-flow]")) pipe.classList.toggle("mi-still", !(values[pipe.dataset.flow] > 0.05));
  for (const light of drawing.querySelectorAll("[data-on]")) light.setAttribute("visibility", values[light.dataset.on] ? "visible" : "hidden");
  for (const part of drawing.querySelectorAll("[data-alarm]")) {
    const on = alarms.includes(part.dataset.alarm);
    const open = Object.entries(store.state?.alarms ?? {}).some(([name, alarm]) => name.startsWith(part.dataset.alarm) && alarm.on && !alarm.acknowledged_by);
    part.dataset.state = on ? (open ? "new" : "known") : "";
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
  const belt = drawing?.querySelector("[data-bottles]");
  if (!belt || $("p-hmi").hidden) { last = time; return; }
  const { from, to, pitch, filler } = Object.fromEntries(Object.entries(belt.dataset).map(([key, value]) => [key, Number(value)]));
  offset = (offset + Math.min(0.2, (time - last) / 1000) * (speed / 60) * pitch) % pitch;
  last = time;
  const count = Math.floor((to - from) / pitch);
  while (belt.children.length < count) belt.append(svg("g", {}, svg("path", { class: "mi-bottle", d: "M-4-80v12c0 6-8 8-8 18v46c0 4 2 6 6 6h12c4 0 6-2 6-6v-46c0-10-8-12-8-18v-12z" }), svg("rect", { class: "mi-drink", x: -10, width: 20, rx: 3 })));
  [...belt.children].forEach((bottle, i) => {
    const x = from + i * pitch + offset;
    const part = Math.min(1, Math.max(0, (x - (filler - 80)) / 140));
    const level = 52 * part * Math.min(1.25, fill / 500);
    bottle.setAttribute("transform", `translate(${x.toFixed(1)} 350)`);
    const drink = bottle.lastChild;
    drink.setAttribute("y", -2 - Math.min(level, 62));
    drink.setAttribute("height", Math.min(level, 62));
    drink.classList.toggle("mi-over", over && part === 1);
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
      row = el("tr", { "data-name": variable.name }, el("th", { scope: "row" }, text(variable.title)), el("td"), el("td", { class: "text-secondary" }, variable.unit));
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
