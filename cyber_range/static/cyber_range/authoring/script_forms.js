// Forms of objectives, hints, checks, seats, injects and campaign steps. The server says which fields each has.
import { Controls } from "./controls.js";
import { el, field, inWords, said, select } from "./dom.js";

export class ScriptForms {
  constructor(draft, config, choose, act) {
    Object.assign(this, { draft, choose, act, spec: config.script, pane: config.words, words: config.script.words });
  }

  get script() { return this.draft.state.script; }
  get controls() { return new Controls({ ...this.words, none: this.pane.none }, this.script.lists, this.own); }

  // What is shown, so that a form is drawn anew only when that has changed.
  about(chosen) {
    const item = chosen.kind === "item" ? this.script[chosen.thing]?.find((one) => one.at === chosen.at) : null;
    return [item, this.script.lists, this.draft.state.faults.map((one) => [one.path, one.what])];
  }

  build(chosen) {
    if (chosen.kind === "overview") return [el("p", { class: "text-secondary" }, chosen.thing === "step" ? this.words.steps_note : this.pane.select_hint)];
    this.own = "";
    if (chosen.kind === "new") return this.#new(chosen.thing);
    const item = this.script[chosen.thing].find((one) => one.at === chosen.at);
    this.own = chosen.thing === "step" ? item?.id : "";
    return item ? this.#item(chosen.thing, item) : [];
  }

  #faults(path) {
    return this.draft.state.faults.filter((one) => path.every((step, n) => one.path[n] === step));
  }

  #form(send, ...children) {
    const form = el("form", { "data-many": "", novalidate: "" }, children);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      form.dataset.sent = "1";
      const done = await send(form);
      delete form.dataset.sent;
      if (done && !done.ok && done.field !== undefined && done.field !== null) this.controls.refused(form, done.field, done.error);
    });
    return form;
  }

  #rows(specs, values, prefix, path) {
    const row = (spec) => this.controls.row(spec, values[spec.key], prefix, this.#faults([...path, spec.key]));
    const plain = specs.filter((spec) => spec.plain !== false);
    const rest = specs.filter((spec) => spec.plain === false);
    const set = rest.some((spec) => spec.key !== "id" && JSON.stringify(values[spec.key] ?? spec.default) !== JSON.stringify(spec.default) && JSON.stringify(values[spec.key]) !== '{"zh":"","en":""}');
    const wrong = rest.some((spec) => this.#faults([...path, spec.key]).length);
    return [el("div", { class: "ca-fields" }, plain.map(row)), ...(rest.length ? [el("details", { class: "ca-more", open: set || wrong }, el("summary", {}, this.words.more), el("div", { class: "ca-fields" }, rest.map(row)))] : [])];
  }

  title(chosen) {
    if (chosen.kind === "new") return this.words[`add_${chosen.thing}`];
    const item = chosen.kind === "item" && this.script[chosen.thing].find((one) => one.at === chosen.at);
    return item ? `${this.words[`${chosen.thing}_one`]} · ${inWords(item.title) || item.id}` : this.words[chosen.thing];
  }

  // ------------------------------------------------------------ a new one

  #new(thing) {
    const specs = this.spec.fields[thing];
    const values = thing === "inject" ? { to: this.script.lists.seats.map(([key]) => key).filter((key) => !["white", "observer"].includes(key)), at: "" } : {};
    const extra = thing === "objective" ? this.#checkPicker("new") : thing === "step" ? this.#deed({ technique: "", step: "", args: {} }, []) : null;
    if (thing === "step" && !this.script.lists.attackers.length) return [el("p", { class: "text-secondary" }, this.words.no_attacker)];
    const form = this.#form(async (form) => {
      const edit = { do: `${thing}.add`, values: this.controls.values(specs, form, thing), ...(extra ? extra.values(form) : {}) };
      const done = await this.act(edit, said(this.pane.added, { name: edit.values.title.zh }));
      if (done.ok) this.choose({ kind: "item", thing, at: this.script[thing].at(-1).at }, true);
      return done;
    }, ...(thing === "step" ? [extra.place] : []), ...this.#rows(specs, values, thing, ["new"]), ...(thing === "objective" ? [extra.place] : []), el("button", { class: "btn btn-primary", "data-key": "add" }, this.pane.add));
    return [form];
  }

  // ------------------------------------------------------------ one that is there

  #item(thing, item) {
    const specs = this.spec.fields[thing];
    const list = { objective: "objectives", seat: "seats", inject: "injects", step: "campaign" }[thing];
    const path = [list, item.at];
    const title = inWords(item.title) || item.id;
    const deed = thing === "step" ? this.#deed(item, path) : null;
    const whole = this.#faults(path).filter((one) => one.path.length === 2 || (thing === "objective" && one.path[2] === "checks" && one.path.length < 5));
    const form = this.#form((form) => this.act({ do: `${thing}.set`, at: item.at, values: this.controls.values(specs, form, thing), ...(deed ? deed.values(form) : {}) }, this.pane.applied),
      ...whole.map((one) => el("p", { class: "ca-wrong" }, el("span", {}, `${one.what}　${one.remedy}（${said(this.words.line_at, { file: one.file, n: one.line })}）`))),
      ...(deed ? [deed.place] : []), ...this.#rows(specs, item.values, thing, path),
      el("div", { class: "lb-buttons" }, el("button", { class: "btn btn-primary", "data-key": "apply" }, this.pane.apply),
        el("button", { type: "button", class: "btn btn-outline-danger", "data-key": "remove", onclick: async () => {
          const done = await this.act({ do: `${thing}.remove`, at: item.at }, said(this.pane.removed, { name: title }));
          if (done.ok) { this.choose({ kind: "overview", thing }, true); document.querySelector(`[data-focus="add ${thing}"]`)?.focus(); }
        } }, this.pane.remove)));
    return [form, ...(thing === "objective" ? [this.#checks(item), this.#hints(item)] : [])];
  }

  // ------------------------------------------------------------ checks and hints of an objective

  #checks(item) {
    const adder = this.#checkPicker("more");
    return el("div", { class: "ca-sub" }, el("h3", {}, this.words.checks), ...item.checks.map((one) => {
      const specs = this.#checkSpecs(one.kind);
      const prefix = `check${one.at}`;
      return this.#form((form) => this.act({ do: "check.set", at: item.at, check: one.at, kind: one.kind, values: this.controls.values(specs, form, prefix) }, this.pane.applied),
        el("div", { class: "ca-program" }, el("h4", {}, one.word), ...this.#rows(specs, one.values, prefix, ["objectives", item.at, "checks", one.at]),
          el("div", { class: "lb-buttons mt-2" }, el("button", { class: "btn btn-sm", "data-key": `set ${prefix}`, "aria-label": `${this.pane.apply} ${one.word}` }, this.pane.apply),
            el("button", { type: "button", class: "btn btn-sm", "data-key": `drop ${prefix}`, "aria-label": `${this.pane.remove} ${one.word}`, disabled: item.checks.length < 2, onclick: () => this.act({ do: "check.remove", at: item.at, check: one.at }, said(this.pane.removed, { name: one.word })) }, this.pane.remove))));
    }), el("details", { class: "ca-more" }, el("summary", {}, this.words.add_check), this.#form((form) => this.act({ do: "check.add", at: item.at, ...adder.values(form).check }, this.pane.applied), adder.place, el("button", { class: "btn", "data-key": "add-check" }, this.words.add_check))));
  }

  #checkSpecs(kind) {
    const usual = ["choices", "tolerance", "tries", "match", "ratio", "rate", "fresh", "proto", "zone", "program", "path"];
    return (this.spec.checks.find((one) => one.kind === kind)?.fields ?? []).map((one) => ({ ...one, plain: one.must || !usual.includes(one.key) }));
  }

  // Which kind, and the fields that kind has.
  #checkPicker(prefix) {
    const kinds = select(`${prefix}-kind`, this.spec.checks.map((one) => [one.kind, one.word]), "submission");
    const place = el("div", {});
    const fill = () => place.replaceChildren(...this.#rows(this.#checkSpecs(kinds.value), {}, prefix, ["none"]));
    kinds.addEventListener("change", fill);
    fill();
    return {
      place: el("div", { class: "ca-program" }, el("div", { class: "mb-2", "data-field": "check-kind" }, field(this.words.check_kind, kinds)), place),
      values: (form) => ({ check: { kind: kinds.value, values: this.controls.values(this.#checkSpecs(kinds.value), form, prefix) } }),
    };
  }

  #hints(item) {
    const specs = this.spec.fields.hint;
    return el("div", { class: "ca-sub" }, el("h3", {}, this.words.hints), ...item.hints.map((one) => this.#form((form) => this.act({ do: "hint.set", at: one.at, values: this.controls.values(specs, form, `hint${one.at}`) }, this.pane.applied),
      el("div", { class: "ca-program" }, ...this.#rows(specs, one.values, `hint${one.at}`, ["hints", one.at]),
        el("div", { class: "lb-buttons mt-2" }, el("button", { class: "btn btn-sm", "data-key": `set hint${one.at}`, "aria-label": `${this.pane.apply} ${inWords(one.title)}` }, this.pane.apply),
          el("button", { type: "button", class: "btn btn-sm", "data-key": `drop hint${one.at}`, "aria-label": `${this.pane.remove} ${inWords(one.title)}`, onclick: () => this.act({ do: "hint.remove", at: one.at }, said(this.pane.removed, { name: this.words.hints })) }, this.pane.remove))))),
    el("details", { class: "ca-more" }, el("summary", {}, this.words.add_hint), this.#form((form) => this.act({ do: "hint.add", objective: item.id, values: this.controls.values(specs, form, "newhint") }, this.pane.applied),
      ...this.#rows(specs, {}, "newhint", ["none"]), el("button", { class: "btn", "data-key": "add-hint" }, this.words.add_hint))));
  }

  // ------------------------------------------------------------ what a step does

  #deed(item, path) {
    const technique = el("select", { class: "form-select", name: "technique", required: "" }, el("option", { value: "" }, `（${this.words.choose}）`),
      this.spec.tactics.filter((one) => one.techniques.length).map((one) => el("optgroup", { label: one.word }, one.techniques.map(([key, word]) => el("option", { value: key, selected: key === item.technique }, word)))));
    if (item.technique && technique.value !== item.technique) technique.append(el("option", { value: item.technique, selected: true }, item.technique));
    const step = el("select", { class: "form-select", name: "step", required: "" });
    const says = el("p", { class: "text-secondary mb-2", lang: "en" });
    const needs = el("p", { class: "text-secondary mb-2" });
    const place = el("div", { class: "ca-fields", "data-args": "" });
    const specs = () => this.spec.steps[step.value]?.fields ?? [];
    const steps = () => {
      const known = Object.entries(this.spec.steps).filter(([, one]) => !technique.value || one.techniques.includes(technique.value) || !one.techniques.length).map(([name]) => name);
      if (item.step && technique.value === item.technique && !known.includes(item.step)) known.unshift(item.step);
      const before = step.value || item.step;
      step.replaceChildren(...known.map((name) => el("option", { value: name, selected: name === before }, name)));
      args();
    };
    const args = () => {
      const one = this.spec.steps[step.value];
      says.textContent = one?.says ?? "";
      needs.textContent = one ? [one.needs.length && said(this.words.needs, { what: one.needs.join("、") }), one.gains.length && said(this.words.gains, { what: one.gains.join("、") })].filter(Boolean).join("　") : "";
      const values = step.value === item.step ? item.args : {};
      place.replaceChildren(...specs().map((spec) => this.controls.row(spec, values[spec.key] ?? (spec.must ? "" : undefined), "args", path.length ? this.#faults([...path, "args", spec.key]) : [])));
    };
    technique.addEventListener("change", steps);
    step.addEventListener("change", args);
    steps();
    const told = (key) => (path.length ? this.#faults([...path, key]) : []).map((one) => el("p", { class: "ca-wrong" }, el("span", {}, `${one.what}　${one.remedy}（${said(this.words.line_at, { file: one.file, n: one.line })}）`)));
    const row = (key, word, control) => { const wrapper = field(`${word} *`, control); wrapper.dataset.field = key; wrapper.append(...told(key)); return wrapper; };
    return {
      place: el("div", {}, el("div", { class: "ca-fields" }, row("technique", this.words.technique, technique), row("step", this.words.step_name, step)), says, needs, el("fieldset", { class: "ca-program" }, el("legend", { class: "form-label" }, this.words.args), place)),
      values: (form) => ({ technique: technique.value, step: step.value, args: this.controls.values(specs(), form, "args") }),
    };
  }
}
