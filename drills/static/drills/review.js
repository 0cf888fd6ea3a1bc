// Review: everything on one time axis; the slider asks for the state of that second.
import { $, clock, config, el, number, svg, text, words } from "./dom.js";
import { drawMap, showHealth, showSteps } from "./map.js";
import { sentence } from "./panels.js";
import { store } from "./store.js";

const answer = await fetch(`/drills/${config.drill}/review/timeline/`);
const data = await answer.json();
store.people = data.people;
for (const event of data.events) {
  store.byNumber.set(event.n, event);
  if (event.kind === "script.set") store.script = event.payload;
}
const whole = Math.max(1, data.end);
drawMap($("map"), config.map, null);

// The words of messages need the fold once: the last state has them all.
const moment = async (second) => (await fetch(`/drills/${config.drill}/review/moment/?at=${second}`)).json();
store.state = await moment(whole + 1);

const LANES = [
  [words.lane_attack, "rv-attack", (e) => (e.kind === "range.step" && e.payload.data.state !== "waiting") || e.kind === "range.hand"],
  [words.lane_alert, "rv-alert", (e) => ["range.alert", "range.alarm", "range.trip"].includes(e.kind)],
  [words.lane_team, "rv-team", (e) => ["range.submission", "note.added", "report.submitted", "inject.replied", "inject.decided", "hint.given", "range.console", "alarm.acknowledged"].includes(e.kind) || (e.kind === "range.objective" && e.payload.data.state === "verified")],
  [words.lane_inject, "rv-inject", (e) => e.kind === "inject.fired"],
];
const started = data.events.find((event) => event.kind === "drill.started")?.n ?? 0;
const during = data.events.filter((event) => event.n >= started);
const x = (second) => (Math.min(second, whole) / whole) * 1000;
const marks = [];
function lane(title, drawing) {
  $("lanes").append(el("span", { class: "text-secondary" }, title), drawing);
  const mark = svg("line", { class: "rv-now", y1: 0, y2: 34, x1: 1000, x2: 1000 });
  drawing.append(mark);
  marks.push(mark);
}
for (const [title, css, wanted] of LANES) {
  const found = during.filter(wanted);
  lane(title, svg("svg", { viewBox: "0 0 1000 34", preserveAspectRatio: "none", role: "img", "aria-label": `${title} ${found.length}` }, svg("line", { class: "rv-lane-line", x1: 0, x2: 1000, y1: 17, y2: 17 }),
    found.map((event) => { const dot = svg("rect", { class: `rv-dot ${css}`, x: x(event.clock) - 1.5, y: 6, width: 4, height: 22 }, svg("title", {}, `${clock(event.clock)} ${sentence(event)}`)); dot.addEventListener("click", () => go(event.clock)); return dot; })));
}
// Score as a staircase, from the same events the score is counted from.
const steps = [[0, 0]];
let points = 0;
const done = new Set();
for (const event of during) {
  const d = event.payload.data ?? {};
  const spec = store.script?.objectives.find((one) => one.id === d.objective);
  if (event.kind === "range.objective" && d.state === "verified" && spec && !done.has(spec.id)) { done.add(spec.id); points += spec.points; } else if (event.kind === "inject.decided") points += event.payload.points; else if (event.kind === "inject.marked") points += event.payload.points; else if (event.kind === "range.hint") points -= d.cost ?? 0; else continue;
  steps.push([event.clock, points]);
}
const top = Math.max(1, store.state.score.possible);
const y = (value) => 66 - (Math.max(0, value) / top) * 60;
let path = `M0 ${y(0)}`;
for (const [second, value] of steps) path += `H${x(second).toFixed(1)}V${y(value).toFixed(1)}`;
const plot = svg("svg", { class: "rv-plot", viewBox: "0 0 1000 70", preserveAspectRatio: "none", role: "img", "aria-label": `${words.score} ${points}/${top}` }, svg("path", { class: "rv-score", d: `${path}H1000` }));
lane(words.score, plot);
marks.at(-1).setAttribute("y2", 70);
// Plant values that crossed: alarms with their numbers.
const values = during.filter((event) => ["range.alarm", "range.crossing"].includes(event.kind) && typeof event.payload.data.value === "number");
const names = [...new Set(values.map((event) => event.payload.data.name.replace(/_(high|low)$/, "")))];
for (const name of names.slice(0, 4)) {
  const known = config.plant?.[name];
  const title = known ? `${text(known.title)}${known.unit ? `（${known.unit}）` : ""}` : name;
  const mine = values.filter((event) => event.payload.data.name.startsWith(name));
  const high = Math.max(...mine.map((event) => event.payload.data.value)), low = Math.min(...mine.map((event) => event.payload.data.value));
  const height = (value) => 28 - ((value - low) / (high - low || 1)) * 22;
  lane(title, svg("svg", { viewBox: "0 0 1000 34", preserveAspectRatio: "none", role: "img", "aria-label": `${title} ${number(low)}–${number(high)}` }, svg("polyline", { class: "rv-score", points: mine.map((event) => `${x(event.clock).toFixed(1)},${height(event.payload.data.value).toFixed(1)}`).join(" ") }), mine.map((event) => svg("rect", { class: "rv-dot rv-alert", x: x(event.clock) - 1.5, y: height(event.payload.data.value) - 4, width: 4, height: 8 }, svg("title", {}, `${clock(event.clock)} ${event.payload.data.text ?? event.payload.data.value}`)))));
}

const rows = [];
for (const event of during) {
  const line = sentence(event);
  if (!line) continue;
  const row = el("li", { "data-clock": event.clock, "data-seq": event.n }, el("time", {}, clock(event.clock)), el("span", {}, line), el("b", {}, `#${event.n}`));
  rows.push(row);
  $("list").append(row);
}

const slide = $("slide");
slide.max = Math.ceil(whole);
slide.value = slide.max;
let asked = 0;
async function show() {
  const second = Number(slide.value);
  $("slide-at").textContent = `${clock(second)} / ${clock(whole)}`;
  for (const mark of marks) { mark.setAttribute("x1", x(second)); mark.setAttribute("x2", x(second)); }
  let last = null;
  for (const row of rows) { const future = Number(row.dataset.clock) > second; row.dataset.future = future; if (!future) last = row; }
  if (last) $("list").scrollTop = last.offsetTop - $("list").offsetTop - 120;
  const mine = ++asked;
  const state = await moment(second);
  if (mine !== asked) return;
  showHealth(state.nodes);
  showSteps(state, store.script);
  const verified = Object.values(state.objectives).filter((one) => one.verified_at !== null).length;
  const alarms = Object.values(state.alarms).filter((one) => one.on).length;
  $("moment").replaceChildren(...[
    `${words.score} ${state.score.points}/${state.score.possible}`, `${words.verified} ${verified}/${store.script?.objectives.length ?? 0}`, `${words.alarm_on} ${alarms}`,
    words[`production_${state.production === null ? "unknown" : state.production ? "ok" : "bad"}`],
  ].map((line) => el("span", { class: "lb-chip" }, line)));
}
function go(second) { slide.value = Math.round(second); show(); }
let timer;
slide.addEventListener("input", () => { $("slide-at").textContent = `${clock(Number(slide.value))} / ${clock(whole)}`; clearTimeout(timer); timer = setTimeout(show, 120); });
show();
