// The white cell's desk: script with times and "now", attack steps, marking, pause, extend, end.
import { $, act, clock, el, sync, text, toast, words } from "./dom.js";
import { store } from "./store.js";

export function setUpWhite() {
  if (!$("p-white")) return;
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => act(button.dataset.do, button.dataset.minutes ? { minutes: button.dataset.minutes } : {}));
  }
  for (const button of document.querySelectorAll("[data-campaign]")) {
    button.addEventListener("click", async () => { if (await act("campaign", { action: button.dataset.campaign })) toast(words.saved); });
  }
  $("go").addEventListener("click", () => act(store.phase === "ready" ? "start" : store.phase === "paused" ? "resume" : "pause"));
  $("relaunch")?.addEventListener("click", async () => { if (await act("relaunch")) toast(words.lab_launching); });
  $("end").addEventListener("submit", async (event) => { event.preventDefault(); await act("end", new FormData(event.target)); });
  $("adhoc").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await act("adhoc", new FormData(event.target))) { event.target.reset(); toast(words.sent); }
  });
  for (const form of document.querySelectorAll("[data-subject]")) {
    form.addEventListener("change", async () => {
      if (form.points.value !== "" && (await act("rate", { subject: form.dataset.subject, points: form.points.value }))) toast(words.saved);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  }
}

export function showWhite(state) {
  if (!$("p-white")) return;
  const go = $("go");
  go.hidden = !["ready", "running", "paused"].includes(store.phase);
  go.textContent = words[`go_${store.phase}`] ?? "";
  const rows = [...(store.script?.injects ?? [])].sort((a, b) => a.at_s - b.at_s);
  sync($("script"), rows.map((spec) => ({ spec, fired: state.injects[spec.id] ?? null, due: state.due?.[spec.id] ?? null, live: state.phase === "running" || state.phase === "paused" })), (item) => item.spec.id, scriptRow);
  sync($("steps"), (store.script?.steps ?? []).map((spec) => ({ spec, done: state.steps[spec.id] ?? null, live: state.phase === "running" })), (item) => item.spec.id, stepRow);
  for (const form of document.querySelectorAll("[data-subject]")) {
    const given = state.ratings[form.dataset.subject];
    if (given && document.activeElement !== form.points) form.points.value = String(given.points);
  }
}

function scriptRow({ spec, fired, due, live }) {
  const when = fired ? `${words.sent} ${clock(fired.fired_at)}` : due === null ? words.after_step : `${words.planned_at} ${clock(due)}`;
  const row = el("div", { class: "dr-script-row", "data-fired": Boolean(fired) },
    el("div", {}, el("strong", {}, text(spec.title)), el("span", { class: "text-secondary" }, ` ${when} → ${spec.to.map((id) => text(store.script.seats.find((seat) => seat.id === id)?.title) || id).join("、")}`)),
    !fired && live ? el("button", { class: "btn btn-sm", type: "button", onclick: () => act("fire", { inject: spec.id }) }, words.now) : null);
  if (fired?.replies.length) {
    const last = fired.replies[fired.replies.length - 1];
    const said = store.byNumber.get(last.seq)?.texts ?? {};
    const option = spec.options.find((one) => one.id === fired.option);
    row.append(el("p", { class: "dr-reply" }, `${store.people[last.who]?.name ?? ""}：${option ? `「${text(option.text)}」` : ""}${said.reply ?? said.reason ?? ""}`));
    if (fired.expects === "reply" && fired.possible) {
      const id = `m-${spec.id}`;
      const form = el("form", { class: "d-flex gap-1 align-items-center" }, el("label", { for: id }, `${words.mark}(${words.of} ${fired.possible})`), el("input", { class: "form-control form-control-sm", id, name: "points", type: "number", min: 0, max: fired.possible, value: fired.marked ? fired.points : "" }), el("button", { class: "btn btn-sm" }, words.mark));
      form.addEventListener("submit", async (event) => { event.preventDefault(); document.activeElement.blur(); await act("mark", { inject: spec.id, points: form.points.value }); });
      row.append(form);
    }
  }
  return row;
}

function stepRow({ spec, done, live }) {
  const state = done?.state ?? "waiting";
  return el("li", { "data-state": state }, el("code", {}, spec.technique), el("span", {}, text(spec.title)), el("span", { class: "dr-step-state" }, `${words[`step_${state}`] ?? state}${done?.started_at !== null && done ? ` ${clock(done.started_at)}` : ""}`),
    live && state !== "running" && state !== "done" ? el("button", { class: "btn btn-sm", type: "button", onclick: () => act("campaign", { action: "step", step: spec.id }) }, words.step_now) : null);
}
