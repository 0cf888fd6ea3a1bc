// The drill's script beside the network: campaign as a graph, objectives, injects and seats as rows that move by keyboard.
import { el, icon, inWords, said } from "./dom.js";
import { wire } from "./graph.js";

const VIEWS = ["network", "step", "objective", "inject", "seat"];
const LISTS = { objective: "objectives", seat: "seats", inject: "injects", step: "campaign" };

export class Script {
  constructor(draft, config, choose, act) {
    Object.assign(this, { draft, choose, act, archived: config.archived, roles: config.script, words: config.script.words });
    this.view = "network";
    this.tabs = document.querySelector("[data-tabs]");
    this.panel = (name) => document.querySelector(`[data-panel="${name}"]`);
    for (const name of VIEWS) {
      const tab = el("button", { type: "button", role: "tab", id: `ca-tab-${name}`, class: "ca-tab", "aria-controls": `ca-panel-${name}`, "data-tab": name });
      tab.addEventListener("click", () => this.show(name));
      this.tabs.append(tab);
    }
    this.tabs.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? VIEWS.length - 1 : step ? (VIEWS.indexOf(this.view) + step + VIEWS.length) % VIEWS.length : -1;
      if (to < 0) return;
      event.preventDefault();
      this.show(VIEWS[to]);
      this.tabs.children[to].focus();
    });
  }

  show(name) {
    this.view = name;
    this.choose(name === "network" ? { kind: "whole" } : { kind: "overview", thing: name }, false);
  }

  faultsOf(thing, at) {
    return this.draft.state.faults.filter((one) => one.path[0] === LISTS[thing] && one.path[1] === at);
  }

  render(chosen) {
    const { script } = this.draft.state;
    if (chosen.thing && VIEWS.includes(chosen.thing)) this.view = chosen.thing;
    else if (chosen.kind !== "whole") this.view = "network";
    for (const tab of this.tabs.children) {
      const name = tab.dataset.tab;
      const on = name === this.view;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      const count = name === "network" ? null : script[name].length;
      tab.replaceChildren(this.words[name], ...(count === null ? [] : [el("span", { class: "ca-count" }, String(count))]));
      this.panel(name).hidden = !on;
    }
    const focus = document.activeElement?.dataset?.focus;
    for (const name of VIEWS.slice(1)) {
      if (name !== this.view) { this.panel(name).replaceChildren(); continue; }
      const items = script[name];
      this.panel(name).replaceChildren(...this.#head(name), ...(items.length ? [name === "step" ? this.#graph(items, chosen) : name === "inject" ? this.#table(items, chosen) : this.#rows(name, items, chosen)] : [el("p", { class: "text-secondary" }, this.words[`no_${name}`])]));
    }
    if (focus && this.view !== "network") {
      const there = this.panel(this.view).querySelector(`[data-focus="${CSS.escape(focus)}"]`);
      // A row at the end cannot move on: its other button takes over.
      (there?.disabled ? there.parentElement.querySelector("button:not(:disabled)") : there)?.focus({ preventScroll: true });
    }
    if (this.view === "step") wire(this.panel("step").querySelector(".ca-graph"));
  }

  #head(name) {
    const add = el("button", { type: "button", class: "btn", "data-focus": `add ${name}`, disabled: this.archived, onclick: () => this.choose({ kind: "new", thing: name }, true) }, icon("plus"), this.words[`add_${name}`]);
    const key = name === "step" && this.draft.state.script.step.length ? [el("p", { class: "ca-key" }, el("span", { class: "ca-key-after" }, this.words.key_after), el("span", { class: "ca-key-blocked" }, this.words.key_blocked))] : [];
    return [el("div", { class: "lb-buttons mb-3" }, add), ...key];
  }

  #open(thing, item, chosen, ...children) {
    const on = chosen.kind === "item" && chosen.thing === thing && chosen.at === item.at;
    return el("button", { type: "button", class: "ca-open", "data-focus": `${thing} ${item.id}`, "aria-pressed": String(on), onclick: () => this.choose({ kind: "item", thing, at: item.at }, true) }, children, ...this.#mark(thing, item));
  }

  #mark(thing, item) { return this.faultsOf(thing, item.at).length ? [el("span", { class: "ca-faulty-mark" }, icon("alert-triangle"), this.words.fault)] : []; }

  // Buttons that put a row before or behind its neighbour.
  #order(thing, items, at) {
    const item = items[at];
    const name = inWords(item.title) || item.id;
    const button = (word, short, to, key) => el("button", { type: "button", class: "btn btn-sm", "aria-label": said(word, { name }), "data-focus": `${key} ${thing} ${item.id}`, disabled: this.archived || !items[to],
      onclick: () => { this.moved(thing, item.at, items[to].at); this.act({ do: `${thing}.move`, at: item.at, to: items[to].at }, said(this.words.moved, { name })); } }, short);
    return el("div", { class: "ca-order" }, button(this.words.up, this.words.up_short, at - 1, "up"), button(this.words.down, this.words.down_short, at + 1, "down"));
  }

  moved() { /* the editor keeps what is chosen in step */ }

  #rows(thing, items, chosen) {
    const facts = (item) => thing === "objective"
      ? [this.roles.fields.objective.find((one) => one.key === "kind").among.find(([key]) => key === item.values.kind)?.[1] ?? item.values.kind, `${item.values.points} ${this.words.points}`]
      : [this.roles.fields.seat.find((one) => one.key === "cell").among.find(([key]) => key === item.values.cell)?.[1] ?? item.values.cell, said(this.words.people, { n: item.values.max })];
    const detail = (item) => thing === "objective" ? item.checks.map((one) => `${one.word}：${one.says}`) : item.values.consoles.length ? [`${this.words.consoles}：${item.values.consoles.join("、")}`] : [];
    return el("ol", { class: "ca-list" }, items.map((item, at) => el("li", { "data-item": item.id }, this.#open(thing, item, chosen, el("b", {}, inWords(item.title) || item.id), el("span", { class: "ca-facts" }, facts(item).map((word) => el("span", { class: "lb-chip" }, word))), ...detail(item).map((word) => el("span", { class: "ca-quiet" }, word))), this.#order(thing, items, at))));
  }

  #table(items, chosen) {
    const { lists } = this.draft.state.script;
    const word = (list, key) => lists[list].find(([one]) => one === key)?.[1] ?? key;
    const expects = this.roles.fields.inject.find((one) => one.key === "expects").among;
    const when = (item) => item.values.after_step ? said(this.words.minute_after, { step: word("steps", item.values.after_step), n: item.values.at }) : said(this.words.minute, { n: item.values.at });
    return el("table", { class: "table lb-stack ca-table" }, el("thead", {}, el("tr", {}, ["when", "what", "to", "expects", "order"].map((name) => el("th", { scope: "col" }, this.words[name])))),
      el("tbody", {}, items.map((item, at) => el("tr", { "data-item": item.id }, el("td", { "data-label": this.words.when }, when(item)), el("th", { scope: "row" }, this.#open("inject", item, chosen, el("b", {}, inWords(item.title) || item.id))),
        el("td", { "data-label": this.words.to }, item.values.to.map((one) => word("seats", one)).join("、")), el("td", { "data-label": this.words.expects }, expects.find(([key]) => key === item.values.expects)?.[1] ?? item.values.expects), el("td", {}, this.#order("inject", items, at))))));
  }

  #graph(items, chosen) {
    const rows = [];
    items.forEach((item, at) => { (rows[item.row] ??= []).push([item, at]); });
    const names = Object.fromEntries(items.map((one) => [one.id, inWords(one.title) || one.id]));
    const line = (word, ids) => ids.length ? [el("span", { class: "ca-quiet" }, `${word}：${ids.map((id) => names[id] ?? id).join("、")}`)] : [];
    return el("div", { class: "ca-graph" }, rows.filter(Boolean).map((row) => el("div", { class: "ca-graph-row" }, row.map(([item, at]) => el("article", { class: "ca-step", "data-step": item.id, "data-item": item.id, "data-after": item.values.after.join(" "), "data-blocked": item.values.on_blocked },
      this.#open("step", item, chosen, el("b", {}, inWords(item.title) || item.id), el("span", { class: "ca-facts" }, el("code", {}, item.technique), ` ${this.roles.techniques[item.technique] ?? ""}`), ...line(this.words.after, item.values.after), ...line(this.words.blocked, item.values.on_blocked ? [item.values.on_blocked] : [])),
      this.#order("step", items, at))))));
  }
}
