// The texts: read and typed, saved by themselves a moment after the last key, with what may be written at the cursor.
import { el, said } from "./dom.js";

const WAIT = 900; // ms after the last key

export class Pane {
  constructor(draft, config, act) {
    this.draft = draft;
    this.config = config;
    this.words = config.words;
    this.act = act;
    const find = (name) => document.querySelector(`[data-${name}]`);
    [this.which, this.text, this.gutter, this.where, this.here, this.conflict, this.naming, this.newName] =
      ["which", "text", "gutter", "where", "here", "conflict", "naming", "newname"].map(find);
    this.name = "scenario.yml";
    this.base = null; // the server's text this page began from
    this.timer = 0;
    this.asked = 0;
    this.which.addEventListener("change", async () => { await this.flush(); this.open(this.which.value); });
    this.text.addEventListener("input", () => { this.#lines(); this.touched(); });
    this.text.addEventListener("blur", () => this.flush());
    this.text.addEventListener("scroll", () => { this.gutter.scrollTop = this.text.scrollTop; });
    this.text.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("selectionchange", () => { if (document.activeElement === this.text) this.#moved(); });
    find("newfile").addEventListener("click", () => { this.naming.hidden = false; this.newName.focus(); });
    find("noname").addEventListener("click", () => { this.naming.hidden = true; find("newfile").focus(); });
    this.naming.addEventListener("submit", (event) => { event.preventDefault(); this.#add(); });
    find("dropfile").addEventListener("click", () => this.#remove());
    addEventListener("beforeunload", (event) => { if (this.dirty) { this.flush(); event.preventDefault(); } });
    this.text.readOnly = config.archived;
    if (config.archived) for (const one of ["newfile", "dropfile"]) find(one).disabled = true;
  }

  get dirty() { return this.base !== null && this.text.value !== this.base; }

  render() {
    const names = Object.keys(this.draft.state.files);
    const order = ["scenario.yml", "story.yml", "process.yml", "README.md"];
    names.sort((a, b) => (order.indexOf(a) + 1 || 9) - (order.indexOf(b) + 1 || 9) || a.localeCompare(b));
    if (!names.includes(this.name)) { this.name = "scenario.yml"; this.base = null; }
    this.which.replaceChildren(...names.map((name) => el("option", { value: name, selected: name === this.name }, name)));
    const now = this.draft.state.files[this.name];
    if (this.base === null || (!this.dirty && now !== this.text.value)) this.#show(now);
  }

  open(name) { this.name = name; this.base = null; this.render(); }

  #show(text) {
    const { selectionStart, scrollTop } = this.text;
    this.base = text;
    this.text.value = text;
    this.text.setSelectionRange(selectionStart, selectionStart);
    this.text.scrollTop = scrollTop;
    this.#lines();
  }

  #lines() {
    const count = this.text.value.split("\n").length;
    if (count !== this.count) this.gutter.textContent = Array.from({ length: count }, (_, i) => i + 1).join("\n") + "\n\n\n";
    this.count = count;
    this.gutter.scrollTop = this.text.scrollTop;
  }

  touched() {
    clearTimeout(this.timer);
    if (!this.conflict.hidden) return;
    this.draft.dispatchEvent(new Event("unsaved"));
    this.timer = setTimeout(() => this.flush(), WAIT);
  }

  // Saves what is typed; what came in from elsewhere meanwhile is asked about first.
  async flush() {
    clearTimeout(this.timer);
    if (!this.dirty || !this.conflict.hidden || this.config.archived) return;
    const mine = this.text.value;
    const name = this.name;
    const base = this.base;
    this.base = mine;
    const done = await this.draft.file(name, mine);
    if (done.ok) return;
    if (this.name === name) this.base = base;
    if (done.conflict) this.#ask(name);
    else setTimeout(() => this.flush(), 5000);
  }

  #ask(name) {
    this.conflict.hidden = false;
    const settle = (work) => () => { this.conflict.hidden = true; work(); this.text.focus(); };
    this.conflict.replaceChildren(
      el("button", { type: "button", class: "btn", onclick: settle(() => { this.base = ""; this.flush(); }) }, this.words.conflict_mine),
      el("button", { type: "button", class: "btn", onclick: settle(() => this.#show(this.draft.state.files[name] ?? "")) }, this.words.conflict_theirs));
  }

  async #add() {
    const name = this.newName.value.trim();
    if (!name) return;
    await this.flush();
    const done = await this.act("file", { name, text: "" });
    if (!done.ok) return;
    this.naming.hidden = true;
    this.newName.value = "";
    this.open(name);
    this.text.focus();
  }

  async #remove() {
    if (!confirm(said(this.words.delete_file, { name: this.name }))) return;
    clearTimeout(this.timer);
    const name = this.name;
    const done = await this.act("file", { name, text: null });
    if (done.ok) this.open("scenario.yml");
  }

  // Brings what was chosen on the drawing into sight here, too; the cursor of somebody who types stays where it is.
  reveal(name) {
    if (this.name !== "scenario.yml" || document.activeElement === this.text) return;
    const lines = this.text.value.split("\n");
    const at = lines.findIndex((line) => new RegExp(`^\\s*- \\{?name: ["']?${name}["']?\\s*(,|\\}|$)`).test(line));
    if (at >= 0) this.text.scrollTop = Math.max(0, (at - 1) * (this.text.scrollHeight / lines.length));
  }

  goto(file, line) {
    if (this.draft.state.files[file] !== undefined && file !== this.name) { this.which.value = file; this.open(file); }
    const lines = this.text.value.split("\n");
    const start = lines.slice(0, Math.max(0, line - 1)).reduce((sum, one) => sum + one.length + 1, 0);
    this.text.focus();
    this.text.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    this.text.scrollTop = Math.max(0, (line - 6) * (this.text.scrollHeight / Math.max(1, lines.length)));
    this.#moved();
  }

  // Enter keeps the indentation. Tab leaves the field, as it does in every form.
  #key(event) {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey || !/\.ya?ml$/.test(this.name)) return;
    event.preventDefault();
    const before = this.text.value.slice(0, this.text.selectionStart);
    const line = before.slice(before.lastIndexOf("\n") + 1);
    const deeper = /:\s*$/.test(line) ? "  " : "";
    this.#type("\n" + line.match(/^ */)[0] + deeper);
  }

  #type(words) {
    this.text.focus();
    // The browser's own undo keeps working with this, which setRangeText would end.
    if (!document.execCommand("insertText", false, words)) {
      this.text.setRangeText(words, this.text.selectionStart, this.text.selectionEnd, "end");
      this.text.dispatchEvent(new Event("input"));
    }
  }

  #moved() {
    const before = this.text.value.slice(0, this.text.selectionStart);
    const line = before.split("\n").length - 1;
    const column = before.length - before.lastIndexOf("\n") - 1;
    this.where.textContent = said(this.words.position, { line: line + 1, column: column + 1 });
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.#allowed(line, column), 250);
  }

  async #allowed(line, column) {
    if (!["scenario.yml", "story.yml"].includes(this.name)) { this.here.replaceChildren(el("p", { class: "text-secondary" }, this.words.nothing_here)); return; }
    const number = ++this.asked;
    const token = decodeURIComponent(document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "");
    let found;
    try {
      const answer = await fetch(this.draft.urls.allowed, { method: "POST", headers: { "Content-Type": "application/json", "X-CSRFToken": token }, body: JSON.stringify({ name: this.name, text: this.text.value, line, column }) });
      if (!answer.ok) return;
      found = await answer.json();
    } catch { return; }
    if (number !== this.asked) return;
    const chip = (words, insert, more = {}) => el("button", { type: "button", ...more, onmousedown: (event) => event.preventDefault(), onclick: () => this.#type(insert) }, words);
    const row = (children) => (children.length ? [el("div", { class: "ca-here-keys" }, children)] : []);
    const keys = found.keys.filter((key) => !key.there);
    this.here.replaceChildren(
      el("p", { class: "text-secondary mb-0" }, found.path || this.name),
      ...row(found.values.slice(0, 60).map((value) => chip(value, value))),
      ...row(keys.map((key) => chip(key.must ? `${key.name} *` : key.name, `${key.name}: `, { class: key.must ? "ca-must" : "", title: [key.must ? this.words.must : "", key.says].filter(Boolean).join(" · ") }))),
      ...(found.values.length || keys.length ? [] : [el("p", { class: "text-secondary" }, this.words.nothing_here)]));
  }
}
