// The room: what the feed says is drawn; what is clicked becomes a verb; the next bell tells what came of it.
import { $, act, clock, config, toast, words } from "./dom.js";
import { drawMap, showHealth, showSteps, showTraffic } from "./map.js";
import { showAlarms, showTelemetry } from "./mimic.js";
import { setFilters, showAttack, showEvents, showInjects, showObjectives, tickDues } from "./panels.js";
import { listen } from "./socket.js";
import { drillClock, onChange, pull, store } from "./store.js";
import { setUpTabs } from "./tabs.js";
import { setUp as setUpTerminals, show as showTerminal, showFirst } from "./terminals.js";
import { setUpWhite, showWhite } from "./white.js";

const openTab = setUpTabs((id) => { if (id === "t-term") showFirst(); });
drawMap($("map"), config.map, null, (node) => { openTab("t-term"); showTerminal(node); });
setUpTerminals();
setFilters();
setUpWhite();
if (new URLSearchParams(location.search).has("wall")) document.body.classList.add("dr-wall");

let online = true;
let gone = 0;
function line(up) {
  gone = up ? 0 : gone + 1;
  online = up;
  const place = $("lost");
  place.hidden = up || gone < 2;
  place.querySelector("span").textContent = words.lost;
  if (up) refresh();
}
async function refresh() {
  const ok = await pull();
  if (!ok && online) line(false);
}

onChange((all, fresh) => {
  const { state } = all;
  if (all.phase === "ended" || all.phase === "closed") {
    toast(words.ended_review);
    setTimeout(() => location.assign(`/drills/${config.drill}/review/`), 1500);
  }
  $("phase").textContent = words[`phase_${all.phase}`] ?? all.phase;
  $("score").textContent = `${state.score.points} / ${state.score.possible}`;
  const production = $("production");
  const key = state.production === null ? "unknown" : state.production ? "ok" : "bad";
  production.textContent = words[`production_${key}`];
  production.dataset.state = key;
  const lab = $("lab");
  lab.hidden = state.lab.state === "attached";
  lab.querySelector("span").textContent = state.lab.state === "lost" ? (config.cell === "white" ? words.lab_lost : words.lab_lost_blue) : words.lab_launching;
  if ($("relaunch")) $("relaunch").hidden = state.lab.state !== "lost";
  showInjects(state);
  showObjectives(state);
  showAttack(state);
  showAlarms(state);
  showHealth(state.nodes);
  if (config.cell === "white") showSteps(state, all.script);
  showWhite(state);
  showEvents(fresh);
  second();
});

function second() {
  const time = drillClock();
  const { state } = store;
  if (time === null || !state) return;
  $("clock").textContent = clock(time);
  const left = state.duration_s - time;
  $("left").textContent = state.started_at ? `${words.report_left} ${clock(left)}` : "";
  $("left").dataset.late = left < 300;
  tickDues();
  const legal = $("legal");
  if (legal) {
    const first = state.reports[0];
    const passed = state.known_since === null ? null : time - state.known_since;
    if (first) legal.textContent = `${words.report_done} ${clock(first.elapsed_s)}`;
    else if (passed === null) legal.textContent = words.report_clock_wait;
    else legal.textContent = passed <= state.report_limit_s ? `${words.report_left} ${clock(state.report_limit_s - passed)}` : `${words.report_late} ${clock(passed - state.report_limit_s)}`;
    legal.dataset.late = !first && passed !== null && passed > state.report_limit_s;
  }
}
setInterval(second, 1000);

$("note")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await act("note", new FormData(event.target))) event.target.text.value = "";
});
$("report-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = await act("report", new FormData(event.target));
  if (said) { toast(`${words.report_sent} ${said.number}`); $("report").open = false; }
});

listen({
  bell: refresh,
  stream: (message) => {
    if (message.stream === "telemetry") showTelemetry(message);
    else if (message.stream === "traffic") showTraffic(message);
  },
  line,
});
refresh();
