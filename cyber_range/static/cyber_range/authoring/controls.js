// Controls out of the server's description of a field, and what stands in them. One row per field, named "prefix.key".
import { check, el, field, icon, input, said, select } from "./dom.js";

let count = 0;

export class Controls {
  // `own`: the thing itself, which is not to be picked from its own lists.
  constructor(words, lists, own = "") {
    this.words = words;
    this.lists = own ? { ...lists, steps: lists.steps.filter(([key]) => key !== own) } : lists;
  }

  // `faults`: what the check of the whole draft says about this field.
  row(spec, value, prefix, faults = []) {
    const name = `${prefix}.${spec.key}`;
    const row = this.#row(spec, value ?? spec.default, name);
    row.dataset.field = spec.key;
    for (const one of faults) this.#under(row, `${one.what}${one.remedy ? `　${one.remedy}` : ""}（${said(this.words.line_at, { file: one.file, n: one.line })}）`);
    return row;
  }

  #under(row, text) {
    const told = el("p", { class: "ca-wrong", id: `ca-w${++count}` }, icon("alert-triangle"), el("span", {}, text));
    row.append(told);
    const control = row.querySelector("input, select, textarea");
    control?.setAttribute("aria-invalid", "true");
    control?.setAttribute("aria-describedby", [control.getAttribute("aria-describedby"), told.id].filter(Boolean).join(" "));
    return control;
  }

  // What the server refused, under the control it is about, with the focus there.
  refused(form, key, text) {
    const [first, second] = key.startsWith("args.") ? ["args", key.slice(5)] : ["", key];
    const row = [...form.querySelectorAll("[data-field]")].find((one) => one.dataset.field === second && Boolean(first) === Boolean(one.closest("[data-args]")));
    if (!row) return false;
    for (const old of row.querySelectorAll(".ca-wrong")) old.remove();
    const more = row.closest("details");
    if (more) more.open = true;
    this.#under(row, text)?.focus();
    return true;
  }

  #row(spec, value, name) {
    const must = spec.must ? { required: "" } : {};
    const word = spec.must ? `${spec.word} *` : spec.word;
    const help = { help: spec.help };
    switch (spec.type) {
      case "words": case "long": {
        const make = (part, more) => {
          if (spec.type === "words") return input(`${name}.${part}`, value?.[part], { maxlength: 200, ...more });
          const box = el("textarea", { class: "form-control", name: `${name}.${part}`, rows: part === "zh" ? 3 : 2, ...more });
          box.value = value?.[part] ?? "";
          return box;
        };
        return el("div", { class: "ca-wide ca-pair" }, field(`${word}（${this.words.zh}）`, make("zh", must), help), field(`${spec.word}（${this.words.en}）`, make("en", { lang: "en" })));
      }
      case "bool": return el("div", {}, check(name, word, value));
      case "choice": return field(word, this.#select(name, spec.among, value, spec.must && !value), help);
      case "pick": {
        const list = [...(this.lists[spec.among] ?? [])];
        if (value && !list.some(([key]) => key === value)) list.push([value, value]);
        return field(word, this.#select(name, list, value, true, !spec.must), help);
      }
      case "several": return this.#several(spec, word, value, name);
      case "options": return this.#options(spec, value ?? [], name);
      case "lines": case "yaml": case "value": {
        const box = el("textarea", { class: "form-control", name, rows: Math.min(8, Math.max(spec.type === "value" ? 1 : 2, String(value ?? "").split("\n").length)), spellcheck: "false", ...must });
        box.value = value ?? "";
        return field(word, box, { ...help, wide: true });
      }
      case "number": case "whole": return field(word, input(name, value, { inputmode: "decimal", list: "ca-refs", ...must }), help);
      default: return field(word, input(name, value, { maxlength: 500, list: spec.key === "id" ? null : "ca-refs", spellcheck: "false", ...must }), help);
    }
  }

  #select(name, options, value, empty, optional = false) {
    return select(name, [...(empty ? [["", optional ? this.words.none : `（${this.words.choose}）`]] : []), ...options], value ?? "");
  }

  #several(spec, word, value, name) {
    const chosen = Array.isArray(value) ? value : [];
    const list = [...(this.lists[spec.among] ?? [])];
    for (const one of chosen) if (one !== "*" && !list.some(([key]) => key === one)) list.push([one, one]);
    const hint = spec.help && el("p", { class: "form-hint mb-0", id: `ca-h${++count}` }, spec.help);
    return el("fieldset", { class: "ca-wide ca-several", ...(hint ? { "aria-describedby": hint.id } : {}) }, el("legend", { class: "form-label" }, word),
      list.length ? el("div", { class: "ca-boxes" }, list.map(([key, title]) => { const box = check(name, title, chosen.includes(key)); box.firstChild.value = key; return box; })) : el("p", { class: "text-secondary mb-0" }, this.words.nobody), hint);
  }

  #options(spec, rows, name) {
    const place = el("div", { class: "ca-options" });
    const add = (row) => {
      const n = place.children.length + 1;
      const word = said(this.words.option, { n });
      place.append(el("div", { class: "ca-option" }, el("input", { type: "hidden", name: `${name}.id`, value: row.id }),
        field(word, input(`${name}.text`, row.text, { maxlength: 200 })), field(this.words.points, input(`${name}.points`, row.points, { inputmode: "numeric", "aria-label": `${word} ${this.words.points}` }))));
    };
    for (const row of rows) add(row);
    for (let n = rows.length; n < Math.max(2, rows.length + 1); n += 1) add({ id: "", text: "", points: "0" });
    return el("fieldset", { class: "ca-wide ca-several" }, el("legend", { class: "form-label" }, spec.word), place);
  }

  // What the form's rows hold now, by field.
  values(specs, form, prefix) {
    const data = new FormData(form);
    const values = {};
    for (const spec of specs) {
      const name = `${prefix}.${spec.key}`;
      if (spec.type === "words" || spec.type === "long") values[spec.key] = { zh: data.get(`${name}.zh`) ?? "", en: data.get(`${name}.en`) ?? "" };
      else if (spec.type === "bool") values[spec.key] = data.has(name);
      else if (spec.type === "several") values[spec.key] = data.getAll(name);
      else if (spec.type === "options") {
        const [ids, texts, points] = ["id", "text", "points"].map((part) => data.getAll(`${name}.${part}`));
        values[spec.key] = texts.map((text, n) => ({ id: ids[n], text, points: points[n] })).filter((one) => one.text);
      } else if (data.has(name)) values[spec.key] = String(data.get(name)).replaceAll("\r\n", "\n");
    }
    return values;
  }
}
