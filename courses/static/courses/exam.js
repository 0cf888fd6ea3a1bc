// A sitting: each change is saved at once; what a broken line swallows waits on this device and is sent again.
// The server decides everything (time, order of changes, marks); this page only shows and carries.
import { arrange, enhance, orderOf } from "./order.js";

const root = document.querySelector("[data-exam]");
const form = root.querySelector("form");
const token = form.querySelector("input[name=csrfmiddlewaretoken]").value;
const KEY = `lb-exam:${root.dataset.exam}`;
const questions = [...root.querySelectorAll(".c-exam-q")];
const byNumber = new Map(questions.map((question) => [question.dataset.number, question]));
const find = (name) => root.querySelector(`[data-${name}]`);
const RETRY = 3000; // ms between tries while the line is down

// --- what waits ------------------------------------------------------------------------------------------------------
const waiting = new Map(); // number → {seq, answer}
try {
  for (const [number, change] of Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}"))) waiting.set(number, change);
} catch { /* storage may be forbidden or hold something else */ }

function keep() {
  try {
    if (waiting.size) localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(waiting)));
    else localStorage.removeItem(KEY);
  } catch { /* storage may be forbidden */ }
}

// --- reading and showing answers ----------------------------------------------------------------------------------------
function read(question) {
  const number = question.dataset.number;
  const name = `q${number}`;
  switch (question.dataset.kind) {
    case "single": return form.querySelector(`input[name=${name}]:checked`)?.value ?? null;
    case "truefalse": {
      const chosen = form.querySelector(`input[name=${name}]:checked`);
      return chosen ? chosen.value === "true" : null;
    }
    case "multiple": {
      const chosen = [...form.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value);
      return chosen.length ? chosen : null;
    }
    case "numeric": return form.querySelector(`input[name=${name}]`).value.trim() || null;
    case "matching": {
      const pairs = [...question.querySelectorAll("select")].filter((select) => select.value)
        .map((select) => [select.name.slice(name.length + 1), select.value]);
      return pairs.length ? Object.fromEntries(pairs) : null;
    }
    default: return orderOf(question.querySelector("[data-order]"));
  }
}

function write(question, answer) {
  const name = `q${question.dataset.number}`;
  switch (question.dataset.kind) {
    case "single":
    case "truefalse":
      form.querySelectorAll(`input[name=${name}]`).forEach((radio) => { radio.checked = answer !== null && radio.value === String(answer); });
      break;
    case "multiple":
      form.querySelectorAll(`input[name=${name}]`).forEach((box) => { box.checked = (answer ?? []).includes(box.value); });
      break;
    case "numeric": form.querySelector(`input[name=${name}]`).value = answer ?? ""; break;
    case "matching":
      question.querySelectorAll("select").forEach((select) => { select.value = (answer ?? {})[select.name.slice(name.length + 1)] ?? ""; });
      break;
    default: if (answer) arrange(question.querySelector("[data-order]"), answer);
  }
  paint(question);
}

function paint(question) {
  const link = root.querySelector(`[data-go="${question.dataset.number}"]`);
  const answered = read(question) !== null;
  const flagged = question.querySelector(".c-flag input").checked;
  link.classList.toggle("is-answered", answered);
  link.classList.toggle("is-flagged", flagged);
  const state = link.querySelector("[data-state]");
  state.textContent = (answered ? state.dataset.answeredWord : state.dataset.openWord) + (flagged ? ` ${state.dataset.flagWord}` : "");
}

function mark(question, how) {
  const words = question.querySelector("[data-mark]");
  words.dataset.how = how;
  words.textContent = { ok: words.dataset.ok, wait: words.dataset.wait, busy: words.dataset.busy }[how] ?? "";
}

function tally() {
  find("answered").textContent = String(questions.filter((question) => read(question) !== null).length);
  const text = find("saved-text");
  const how = waiting.size === 0 ? "all" : down ? "waiting" : "saving";
  text.textContent = { all: text.dataset.all, waiting: text.dataset.waiting, saving: text.dataset.saving }[how];
  find("saved").dataset.how = how;
}

// --- sending ---------------------------------------------------------------------------------------------------------------
let down = false;
let sending = false;
let stopped = false;
let offset = Number(root.dataset.now) - Date.now(); // server's clock minus this device's

async function post(url, values) {
  const body = new URLSearchParams({ csrfmiddlewaretoken: token, ...values });
  const answer = await fetch(url, { method: "POST", body, credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(10000) });
  if (answer.type === "opaqueredirect" || answer.status === 403) { stop(null); throw new Error("signed out"); }
  return answer;
}

async function flush() {
  if (sending || stopped) return;
  sending = true;
  try {
    while (waiting.size && !stopped) {
      const [number, change] = waiting.entries().next().value;
      const question = byNumber.get(number);
      if (!question) { waiting.delete(number); continue; }
      mark(question, "busy");
      const reply = await post(root.dataset.save, { number, seq: change.seq, answer: JSON.stringify(change.answer) });
      if (reply.status >= 500) throw new Error(String(reply.status));
      const said = await reply.json();
      offset = said.now - Date.now();
      online();
      if (reply.ok) {
        question.dataset.seq = String(Math.max(Number(question.dataset.seq), said.seq));
        if (waiting.get(number) === change) waiting.delete(number);
        if (said.state === "stale" && !waiting.has(number)) write(question, said.answer);
        mark(question, waiting.has(number) ? "busy" : "ok");
      } else {
        if (said.over) { stop(said); break; }
        waiting.delete(number);
        question.querySelector("[data-mark]").textContent = said.what + said.remedy;
      }
      keep();
      tally();
    }
  } catch {
    if (!stopped) offline();
  } finally {
    sending = false;
    tally();
  }
}

function change(question) {
  const number = question.dataset.number;
  const seq = Math.max(Number(question.dataset.seq), waiting.get(number)?.seq ?? 0) + 1;
  question.dataset.seq = String(seq);
  waiting.set(number, { seq, answer: read(question) });
  keep();
  paint(question);
  mark(question, down ? "wait" : "busy");
  tally();
  flush();
}

function offline() {
  waiting.forEach((_, number) => { const question = byNumber.get(number); if (question) mark(question, "wait"); });
  if (!down) {
    down = true;
    const words = find("offline-text");
    const saved = questions.filter((question) => read(question) !== null && !waiting.has(question.dataset.number)).length;
    words.textContent = words.dataset.words.replace("SAVED", String(saved))
      + (waiting.size ? words.dataset.queued.replace("QUEUED", String(waiting.size)) : "");
    find("offline").hidden = false;
    find("offline-close").focus();
  }
  setTimeout(flush, RETRY);
}

function online() {
  if (!down) return;
  down = false;
  find("offline").hidden = true;
}

function stop(said) {
  stopped = true;
  const title = find("stopped-title"), text = find("stopped-text");
  title.textContent = said ? said.what : title.dataset.signedOut;
  text.textContent = said ? said.remedy : text.dataset.signedOut;
  find("stopped-login").hidden = Boolean(said);
  find("stopped-go").hidden = !said;
  find("stopped").hidden = false;
  find("offline").hidden = true;
  if (said) { waiting.clear(); keep(); }
  find(said ? "stopped-go" : "stopped-login").focus();
  if (!said) addEventListener("focus", () => { stopped = false; find("stopped").hidden = true; flush(); }, { once: true });
}

// --- events -------------------------------------------------------------------------------------------------------------
form.addEventListener("change", (event) => {
  const question = event.target.closest(".c-exam-q");
  if (!question || event.target.closest(".c-order-place")) return;
  if (event.target.name?.startsWith("flag")) {
    paint(question);
    post(root.dataset.flag, { number: question.dataset.number, flagged: event.target.checked ? "1" : "0" }).catch(() => {});
    return;
  }
  change(question);
});
let typing;
form.addEventListener("input", (event) => {
  const question = event.target.closest(".c-exam-q[data-kind=numeric]");
  if (!question || event.target.name?.startsWith("flag")) return;
  clearTimeout(typing);
  typing = setTimeout(() => change(question), 800);
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(typing);
  await flush();
  if (!waiting.size) location.assign(root.dataset.handIn);
  else offline();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input:not([type=checkbox]):not([type=radio])")) { event.preventDefault(); event.target.blur(); }
});
find("offline-close").addEventListener("click", () => { find("offline").hidden = true; });
addEventListener("online", flush);
addEventListener("beforeunload", (event) => { if (waiting.size) event.preventDefault(); });

// --- the clock -------------------------------------------------------------------------------------------------------------
const deadline = Number(root.dataset.deadline);
let said = "";
function tick() {
  const left = Math.max(0, Math.floor((deadline - Date.now() - offset) / 1000));
  const minutes = Math.floor(left / 60), seconds = String(left % 60).padStart(2, "0");
  find("clock-text").textContent = `${minutes}:${seconds}`;
  find("clock").classList.toggle("is-late", left <= 300);
  const call = left <= 0 ? "over" : left <= 60 ? "one" : left <= 300 ? "five" : "";
  if (call && call !== said) { said = call; find("announce").textContent = find("announce").dataset[call]; }
  if (left <= 0) { clearInterval(clock); over(); }
}
async function over() {
  clearTimeout(typing);
  await flush();
  if (stopped || waiting.size) return;
  try {
    await post(root.dataset.handIn, {});
  } catch { if (stopped) return; }
  location.assign(root.dataset.handIn);
}
const clock = setInterval(tick, 500);
tick();

// --- one question a screen on a phone --------------------------------------------------------------------------------------
const narrow = matchMedia("(max-width: 767px)");
const thumb = find("thumb");
let here = 0;
function show(place, focus) {
  here = Math.max(0, Math.min(questions.length - 1, place));
  questions.forEach((question, index) => question.classList.toggle("is-here", index === here));
  find("card-text").textContent = `${here + 1}/${questions.length}`;
  thumb.querySelector("[data-step='-1']").disabled = here === 0;
  thumb.querySelector("[data-step='1']").disabled = here === questions.length - 1;
  if (focus) { questions[here].focus({ preventScroll: narrow.matches }); if (narrow.matches) scrollTo({ top: 0 }); }
}
function layout() {
  root.classList.toggle("is-single", narrow.matches);
  thumb.hidden = !narrow.matches;
}
thumb.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  if (step) show(here + Number(step.dataset.step), true);
  if (event.target.closest("[data-card]")) { event.preventDefault(); root.querySelector(".c-exam-side").classList.toggle("is-open"); }
});
root.querySelector(".c-exam-nav").addEventListener("click", (event) => {
  const link = event.target.closest("[data-go]");
  if (!link) return;
  root.querySelector(".c-exam-side").classList.remove("is-open");
  show(Number(link.dataset.go) - 1, true);
  if (narrow.matches) event.preventDefault();
});
narrow.addEventListener("change", layout);
const wanted = /^#q(\d+)$/.exec(location.hash);
root.classList.add("is-live");
enhance(root);
layout();
show(wanted ? Number(wanted[1]) - 1 : questions.findIndex((question) => read(question) === null) > 0 && narrow.matches ? questions.findIndex((question) => read(question) === null) : 0, false);

// What was left from before a reload or a closed window.
waiting.forEach((change, number) => {
  const question = byNumber.get(number);
  if (!question) return;
  if (change.seq <= Number(question.dataset.seq)) { waiting.delete(number); return; }
  question.dataset.seq = String(change.seq);
  write(question, change.answer);
});
keep();
tally();
flush();
