// The scenario editor: drawing, form and file are three views of one draft on the server.
import { Canvas } from "./canvas.js";
import { el, icon, said } from "./dom.js";
import { Draft } from "./draft.js";
import { Forms } from "./forms.js";
import { Pane } from "./pane.js";
import { Script } from "./script.js";

const config = JSON.parse(document.getElementById("ca-config").textContent);
const words = config.words;
const find = (name) => document.querySelector(`[data-${name}]`);
const draft = new Draft(config);
const told = find("said");
let chosen = { kind: "whole" };

function choose(what, go) {
  chosen = what;
  forms.render(chosen, true);
  canvas.render(chosen);
  script.render(chosen);
  if (what.name) pane.reveal(what.name);
  // On a narrow screen the form stands below the drawing: bring it into sight and the keyboard with it.
  if (go && matchMedia("(max-width: 1199px)").matches) {
    document.getElementById("form").scrollIntoView({ block: "start" });
    document.getElementById("form").focus({ preventScroll: true });
  }
}

function tell(error) {
  told.hidden = !error;
  told.replaceChildren(...(error ? [icon("alert-triangle"), el("div", {}, error)] : []));
}

async function act(edit, done) {
  if (config.archived) return { ok: false };
  await pane.flush();
  // A file's save says which kind it is; everything else is an edit of scenario.yml.
  const answer = edit === "file" ? await draft.file(done.name, done.text) : await draft.edit(edit);
  tell(answer.error);
  if (answer.ok && typeof done === "string") find("state").textContent = `${done} · ${words.saved}`;
  return answer;
}

function faults() {
  const { faults, valid } = draft.state;
  if (valid) return [el("p", { class: "lb-status lb-status-done mb-0" }, icon("circle-check"), words.right)];
  return [
    el("p", {}, `${faults.length} ${words.faults}`),
    el("ul", { class: "ca-faults" }, faults.slice(0, 40).map((one) => el("li", {}, icon("alert-triangle"),
      el("div", {}, el("b", {}, one.where || one.file), el("div", {}, one.what, one.remedy && el("span", { class: "text-secondary" }, `　${one.remedy}`)),
        el("span", { class: "text-secondary" }, `${one.file}${one.line ? ` · ${said(words.line, { n: one.line })}` : ""}`)),
      el("button", { type: "button", class: "btn btn-sm", "aria-label": `${words.goto}：${one.file} ${one.line ? said(words.line, { n: one.line }) : ""} ${one.what}`, onclick: () => pane.goto(one.file, one.line || 1) }, words.goto)))),
  ];
}

function show() {
  canvas.render(chosen);
  script.render(chosen);
  find("refs").replaceChildren(...draft.state.script.references.map((one) => el("option", { value: one })));
  forms.render(chosen, false);
  pane.render();
  find("faults").replaceChildren(...faults());
  find("undo").disabled = config.archived || !draft.past.length;
  find("redo").disabled = config.archived || !draft.future.length;
  for (const one of document.querySelectorAll("[data-revision]")) one.value = draft.state.revision;
  find("try").disabled = config.archived;
  find("publish").disabled = config.archived || !draft.state.valid;
}

const canvas = new Canvas(draft, config, choose, act);
const forms = new Forms(draft, config, choose, act);
const pane = new Pane(draft, config, act);
const script = new Script(draft, config, choose, act);
// A row that moves takes its open form with it.
script.moved = (thing, from, to) => {
  if (chosen.kind !== "item" || chosen.thing !== thing) return;
  if (chosen.at === from) chosen = { ...chosen, at: to };
  else if (chosen.at === to) chosen = { ...chosen, at: from };
};

draft.addEventListener("known", show);
draft.addEventListener("saving", () => { find("state").textContent = words.saving; });
draft.addEventListener("saved", () => { find("state").textContent = words.saved; tell(""); });
draft.addEventListener("unsaved", () => { find("state").textContent = words.unsaved; });
draft.addEventListener("failed", (event) => { find("state").textContent = words.failed; tell(event.detail); });
find("undo").addEventListener("click", async () => { await pane.flush(); const done = await draft.undo(); if (done.ok) find("state").textContent = words.undone; });
find("redo").addEventListener("click", async () => { await pane.flush(); const done = await draft.redo(); if (done.ok) find("state").textContent = words.redone; });
addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.closest?.("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) { event.preventDefault(); find("undo").click(); }
  if (key === "y" || (key === "z" && event.shiftKey)) { event.preventDefault(); find("redo").click(); }
});
// Publishing and trying take the draft as it stands: what is still being typed is saved first.
for (const place of document.querySelectorAll(".ca-publish, .ca-try")) place.addEventListener("submit", async (event) => {
  if (!pane.dirty) return;
  event.preventDefault();
  const form = event.target;
  await pane.flush();
  if (draft.state.valid || form.matches(".ca-try")) { delete form.dataset.sent; form.requestSubmit(form.querySelector("button")); }
});

show();
