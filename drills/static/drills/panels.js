// Left: messages and objectives. Right: what happened, in words.
import { $, act, clock, el, say, sync, text, toast, words, config } from "./dom.js";
import { drillClock, inject, name, objective, step, store } from "./store.js";

const me = () => config.me;
const minutes = (seconds) => (seconds === null || seconds === undefined ? "" : clock(seconds));

// ---------------------------------------------------------------- messages

export function showInjects(state) {
  const fired = Object.entries(state.injects).sort((a, b) => b[1].fired_at - a[1].fired_at);
  const mine = fired.filter(([, one]) => one.to.includes(config.seat) || config.cell !== "blue");
  const unread = mine.filter(([, one]) => one.to.includes(config.seat) && !one.read_by.includes(me())).length;
  $("unread").textContent = unread ? String(unread) : "";
  if (!mine.length) { $("injects").replaceChildren(el("p", { class: "dr-nothing" }, "—")); return; }
  $("injects").querySelector(".dr-nothing")?.remove();
  sync($("injects"), mine.map(([id, one]) => ({ id, one, texts: one.replies.map((reply) => store.byNumber.get(reply.seq)?.texts) })), (item) => item.id, injectCard);
}

function injectCard({ id, one }) {
  const spec = inject(id);
  const toMe = one.to.includes(config.seat);
  const unread = toMe && !one.read_by.includes(me());
  const open = one.expects !== "nothing" && one.option === null && !one.replies.length;
  const card = el("article", { class: "dr-inject", "data-unread": unread },
    el("div", { class: "dr-inject-head" }, el("strong", {}, text(spec?.title)), el("span", { class: "text-secondary" }, `${spec?.sender ? `${text(spec.sender)} · ` : ""}${minutes(one.fired_at)}`)),
    el("p", {}, text(spec?.body)));
  if (open && one.due_at !== null) card.append(el("p", { class: "dr-due", "data-due": one.due_at }, ""));
  for (const reply of one.replies) {
    const said = store.byNumber.get(reply.seq);
    const option = spec?.options?.find((o) => o.id === reply.option);
    card.append(el("p", { class: "dr-reply" }, `${name(reply.who)} ${minutes(reply.at)} ${option ? `「${text(option.text)}」 ` : ""}${said?.texts.reply ?? said?.texts.reason ?? ""}`));
  }
  if (toMe && one.expects === "decision" && one.option === null) card.append(decision(id, spec));
  else if (toMe && one.expects === "reply") card.append(replyForm(id));
  if (unread) card.append(el("button", { class: "btn btn-sm dr-act", type: "button", onclick: () => act("read", { inject: id }) }, words.mark_read));
  return card;
}

function decision(id, spec) {
  const form = el("form", { class: "dr-act" });
  spec.options.forEach((option, i) => form.append(el("label", { class: "dr-option" }, el("input", { type: "radio", name: "option", value: option.id, required: true, checked: false, id: `o-${id}-${i}` }), ` ${text(option.text)}`)));
  form.append(el("button", { class: "btn btn-sm btn-primary" }, words.decide));
  form.addEventListener("submit", (event) => { event.preventDefault(); const values = new FormData(form); values.append("inject", id); act("decide", values); });
  return form;
}

function replyForm(id) {
  const form = el("form", { class: "dr-act" }, el("label", { class: "visually-hidden", for: `re-${id}` }, words.reply), el("textarea", { class: "form-control mb-1", id: `re-${id}`, name: "text", rows: 2, maxlength: 2000, required: true }), el("button", { class: "btn btn-sm btn-primary" }, words.reply));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = new FormData(form);
    values.append("inject", id);
    if (await act("reply", values)) { form.reset(); document.activeElement?.blur(); }
  });
  return form;
}

// ---------------------------------------------------------------- objectives

export function showObjectives(state) {
  const specs = store.script?.objectives ?? [];
  const hints = store.script?.hints ?? [];
  sync($("objectives"), specs.map((spec) => ({ spec, done: state.objectives[spec.id] ?? null, hints: hints.filter((h) => h.objective === spec.id).map((h) => ({ ...h, taken: state.hints[h.id] ?? null })) })), (item) => item.spec.id, objectiveCard);
}

function objectiveCard({ spec, done, hints }) {
  const verified = done?.verified_at !== null && done?.verified_at !== undefined;
  const state = verified ? (done.state === "lost" ? "lost_again" : "verified") : done?.state === "holding" ? "holding" : "open";
  const play = config.cell === "blue";
  const card = el("article", { class: "dr-objective", "data-state": state },
    el("div", { class: "dr-objective-head" }, el("span", { class: "dr-mark-icon", "aria-hidden": "true" }, verified ? "✔" : state === "holding" ? "◔" : "○"), el("strong", {}, text(spec.title)), el("span", { class: "dr-points" }, `${spec.points} ${words.points}`)),
    el("p", { class: "dr-objective-state" }, `${words[state]}${verified ? ` · ${minutes(done.verified_at)}` : ""}`),
    spec.text && el("p", {}, text(spec.text)));
  if (play && spec.submission && !verified) card.append(submission(spec, done));
  for (const hint of hints) {
    if (hint.taken?.text) card.append(el("p", { class: "dr-hint" }, `${words.hint}（−${hint.cost}）：${text(hint.taken.text)}`));
    else if (play && !verified) card.append(el("button", { class: "btn btn-sm dr-act", type: "button", onclick: async () => { if (confirm(words.hint_confirm)) await act("hint", { hint: hint.id }); } }, `${words.take_hint}（−${hint.cost}）`));
  }
  if (verified && done.evidence.length) card.append(el("details", { class: "dr-evidence" }, el("summary", {}, words.evidence), el("ul", {}, done.evidence.map((one) => el("li", {}, `${one.check}：${one.measured ?? ""}（${one.where ?? ""}）`)))));
  return card;
}

function submission(spec, done) {
  const id = `s-${spec.id}`;
  const { prompt, choices = [] } = spec.submission;
  const field = choices.length
    ? el("select", { class: "form-select", id, name: "value" }, choices.map((choice) => el("option", { value: choice.zh }, text(choice))))
    : el("input", { class: "form-control", id, name: "value", maxlength: 400, autocomplete: "off", required: true });
  const form = el("form", { class: "dr-act dr-submit" }, el("label", { class: "form-label", for: id }, text(prompt)), el("div", { class: "d-flex gap-1" }, field, el("button", { class: "btn btn-sm btn-primary" }, words.submit)), done?.wrong ? el("p", { class: "text-secondary mb-0" }, `${words.wrong} ×${done.wrong}`) : null);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = new FormData(form);
    values.append("objective", spec.id);
    const said = await act("submit", values);
    if (!said) return;
    document.activeElement?.blur();
    if (said.right) toast(words.right);
    else toast(`${words.wrong}${said.tries_left !== null && said.tries_left !== undefined ? ` ${words.tries_left} ${said.tries_left}` : ""}`, true);
  });
  return form;
}

// ---------------------------------------------------------------- red: how far the attack is

export function showAttack(state) {
  if (!$("attack")) return;
  sync($("attack"), (store.script?.steps ?? []).map((spec) => ({ spec, done: state.steps[spec.id] ?? null })), (item) => item.spec.id, ({ spec, done }) => {
    const now = done?.state ?? "waiting";
    return el("li", { "data-state": now }, el("code", {}, spec.technique), el("span", {}, text(spec.title)), el("span", { class: "dr-step-state" }, `${words[`step_${now}`] ?? now}${done?.started_at ? ` ${minutes(done.started_at)}` : ""}`));
  });
}

// ---------------------------------------------------------------- what happened

const GROUP = { alert: ["range.alert", "range.alarm", "range.trip", "range.crossing", "range.production", "range.asset"], drill: ["drill.", "inject.fired", "lab.", "range.step", "range.hand", "campaign.", "range.node", "range.warning", "inject.marked", "rating."] };
let filter = "all";
let printed = 0;

export function setFilters() {
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => {
      filter = button.dataset.filter;
      for (const one of document.querySelectorAll("[data-filter]")) one.setAttribute("aria-pressed", String(one === button));
      for (const row of $("events").children) row.hidden = !shown(row.dataset.group);
    });
  }
}
const shown = (group) => filter === "all" || filter === group;
const groupOf = (kind) => Object.keys(GROUP).find((group) => GROUP[group].some((start) => kind.startsWith(start))) ?? "team";

export function sentence(event) {
  const p = event.payload, d = p.data ?? {};
  const who = name(event.actor) || name(d.session) || words.system;
  const values = { ...p, ...d, who, text: d.text ?? event.texts.text ?? event.texts.reply ?? text(p.text) ?? "" };
  let kind = event.kind;
  switch (kind) {
    case "drill.extended": values.minutes = Math.round(p.seconds / 60); break;
    case "inject.fired": case "inject.read": case "inject.replied": case "inject.decided": case "inject.marked": {
      const spec = inject(p.inject);
      values.title = text(spec?.title);
      values.option = text(spec?.options?.find((o) => o.id === p.option)?.text);
      if (event.texts.reply === null) values.text = words.erased;
      break;
    }
    case "seat.taken": case "seat.left": values.who = name(p.who) || words.system; break;
    case "note.added": if (event.texts.text === null) values.text = words.erased; break;
    case "range.step": values.state = words[`step_${d.state}`] ?? d.state; values.title = text(d.title) || text(step(d.step)?.title); break;
    case "range.hand": values.who = name(event.actor) || words.red; values.state = words[`step_${d.result}`] ?? d.result; values.title = text(step(d.script)?.title); values.technique = (d.techniques ?? []).join(" "); break;
    case "campaign.steered": kind += `_${p.action}`; values.title = text(step(p.step)?.title); break;
    case "range.objective": if (!["verified", "lost", "holding"].includes(d.state)) return ""; values.title = text(objective(d.objective)?.title); values.state = words[d.state === "lost" ? "lost_again" : d.state]; break;
    case "range.submission": kind += d.right ? "_right" : "_wrong"; values.title = text(objective(d.objective)?.title); break;
    case "range.cheat": values.title = text(objective(d.objective)?.title); break;
    case "range.production": kind += d.alive ? "_ok" : "_bad"; break;
    case "range.console": kind += Object.values(d).includes("opened") ? "_opened" : "_closed"; break;
    case "range.node": values.health = words[`node_${d.health}`] ?? d.health; break;
    case "range.asset": if (d.known) return ""; break;
    default:
  }
  const template = words[`e_${kind}`];
  return template ? say(template, values) : "";
}

export function showEvents(fresh) {
  const list = $("events");
  const bottom = list.scrollTop < 20;
  for (const event of fresh) {
    const line = sentence(event);
    if (!line) continue;
    const group = groupOf(event.kind);
    const at = new Date(event.at * 1000);
    const row = el("li", { "data-group": group, "data-kind": event.kind, "data-severity": event.payload.data?.severity ?? "", hidden: !shown(group) },
      el("time", { datetime: at.toISOString() }, at.toLocaleTimeString("zh-CN", { hour12: false })), el("span", {}, line));
    list.prepend(row);
    printed += 1;
  }
  while (list.children.length > 400) list.lastChild.remove();
  if (!printed && !list.children.length) list.append(el("li", { class: "dr-nothing" }, words.feed_empty));
  if (printed) list.querySelector(".dr-nothing")?.remove();
  if (bottom) list.scrollTop = 0;
}

// Once a second: everything that runs by itself.
export function tickDues() {
  const clockNow = drillClock();
  for (const place of document.querySelectorAll("[data-due]")) {
    const left = Number(place.dataset.due) - clockNow;
    place.textContent = left > 0 ? `${words.due_in} ${clock(left)}` : words.overdue;
    place.dataset.late = left <= 0;
  }
}
