// The form beside the drawing: one for the whole, one for a zone, one for a node. It can do everything the drawing can.
import { check, el, field, input, inWords, said, select } from "./dom.js";
import { ScriptForms } from "./script_forms.js";

export class Forms {
  constructor(draft, config, choose, act) {
    this.draft = draft;
    this.config = config;
    this.words = config.words;
    this.choose = choose;
    this.act = act;
    this.place = document.querySelector("[data-form]");
    this.shown = "";
    this.script = new ScriptForms(draft, config, choose, act);
  }

  get zones() { return this.draft.state.picture.zones; }
  get nodes() {
    const { zones, hubs, lost } = this.draft.state.picture;
    return [...zones.flatMap((zone) => zone.nodes), ...hubs, ...lost];
  }

  // Redrawn when what it shows has changed; what somebody is typing into it stays otherwise.
  render(chosen, force) {
    const zone = this.zones.find((one) => one.name === chosen.name);
    const node = this.nodes.find((one) => one.name === chosen.name);
    const form = chosen.kind === "node" && node ? () => this.#node(node)
      : chosen.kind === "zone" && zone ? () => this.#zone(zone)
      : chosen.kind === "new-node" ? () => this.#newNode(chosen.role)
      : chosen.kind === "new-zone" ? () => this.#newZone()
      : chosen.thing ? () => [this.#head(this.script.title(chosen)), ...this.script.build(chosen)]
      : () => this.#whole();
    const about = JSON.stringify([chosen, node ?? zone ?? this.draft.state.whole, this.zones.map((one) => [one.name, one.purdue]), this.draft.state.readable, chosen.thing && this.script.about(chosen)]);
    if (!force && about === this.shown) return;
    const focus = this.place.contains(document.activeElement) ? document.activeElement.name || document.activeElement.dataset.key : "";
    this.shown = about;
    const typed = force ? [] : [...this.place.querySelectorAll("form:not([data-sent]) :is(input, textarea)")].filter((one) => !["checkbox", "hidden"].includes(one.type) && one.value !== one.dataset.was);
    this.place.replaceChildren(...(this.draft.state.readable ? [] : [el("p", { class: "text-danger" }, this.words.unreadable)]), ...form());
    // What is being typed into another form of this place stays.
    for (const one of this.place.querySelectorAll("input, textarea")) one.dataset.was = one.value;
    for (const old of typed) { const now = this.place.querySelector(`[name="${CSS.escape(old.name)}"]`); if (now && now.dataset.was === old.dataset.was) now.value = old.value; }
    if (this.config.archived) for (const one of this.place.querySelectorAll("input, select, textarea, button:not([data-browse])")) one.disabled = true;
    if (focus) this.place.querySelector(`[name="${CSS.escape(focus)}"], [data-key="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }

  #form(send, ...children) {
    const form = el("form", { "data-many": "" }, children);
    form.addEventListener("submit", (event) => { event.preventDefault(); send(new FormData(form), form); });
    return form;
  }

  #button(word, work, more = {}) {
    return el("button", { type: "button", class: "btn", "data-key": more["data-key"] ?? word, ...more, onclick: work }, word);
  }

  #titles(title) {
    return [field(this.words.title, input("title", title.zh, { required: "", maxlength: 80 })), field(this.words.english, input("title_en", title.en, { maxlength: 120 }))];
  }

  #head(text) {
    return el("div", { class: "lb-heading" }, el("h3", { class: "h4 mb-0 flex-fill" }, text),
      el("button", { type: "button", class: "btn btn-sm", "data-browse": "", "data-key": "whole", onclick: () => this.choose({ kind: "whole" }, true) }, this.words.whole));
  }

  #zoneOptions(skip = []) { return this.zones.filter((zone) => !skip.includes(zone.name)).map((zone) => [zone.name, `${inWords(zone.title) || zone.name}（${zone.name}）`]); }
  #roleOptions() { return this.config.roles.map((one) => [one.value, one.word]); }

  // ------------------------------------------------------------ the whole

  #whole() {
    const { whole } = this.draft.state;
    const text = (value) => (value && typeof value === "object" ? value : { zh: String(value ?? ""), en: "" });
    const title = text(whole.title);
    const summary = el("textarea", { class: "form-control", name: "summary", rows: 3, required: "" });
    summary.value = text(whole.summary).zh ?? "";
    const form = this.#form(
      (data) => this.act({ do: "scenario.set", values: Object.fromEntries(data) }, this.words.applied),
      el("div", { class: "ca-fields" }, this.#titles({ zh: title.zh ?? "", en: title.en ?? "" }), field(this.words.summary, summary, { wide: true }),
        field(this.words.difficulty, select("difficulty", ["入门", "基础", "进阶", "专项"].map((one) => [one, one]), whole.difficulty)),
        field(this.words.duration, input("duration", whole.duration, { type: "number", min: 1, max: 600 })),
        field(this.words.incident, input("incident_class", whole.incident_class, { maxlength: 20 })),
        field(this.words.requirements, input("requirements", Array.isArray(whole.requirements) ? whole.requirements.join(" ") : ""), { wide: true })),
      el("button", { class: "btn btn-primary" }, this.words.apply));
    return [el("h3", { class: "h4" }, this.words.whole), el("p", { class: "text-secondary" }, this.words.select_hint), form];
  }

  // ------------------------------------------------------------ zones

  #zoneFields(zone) {
    return el("div", { class: "ca-fields" }, this.#titles(zone.title), field(this.words.code, input("name", zone.name, { maxlength: 31, pattern: "[a-z][a-z0-9_\\-]*" })),
      field(this.words.level, input("purdue", zone.purdue, { type: "number", min: 0, max: 6, step: "any", required: "" })),
      field(this.words.size, select("prefix", [["29", "/29（5）"], ["28", "/28（13）"], ["27", "/27（29）"], ["26", "/26（61）"], ["25", "/25（125）"], ["24", "/24（253）"]], String(zone.prefix))),
      el("div", { class: "ca-wide" }, check("hidden", this.words.hidden, zone.hidden)));
  }

  #zone(zone) {
    const at = this.zones.indexOf(zone);
    const form = this.#form(async (data) => {
      const values = Object.fromEntries(data);
      const done = await this.act({ do: "zone.set", zone: zone.name, ...values, hidden: data.has("hidden") }, this.words.applied);
      if (done.ok) this.choose({ kind: "zone", name: values.name }, false);
    }, this.#zoneFields(zone), el("div", { class: "ca-fields" }, field(this.words.arp, select("arp", [["fixed", this.words.arp_fixed], ["learned", this.words.arp_learned]], zone.arp))),
      el("div", { class: "lb-buttons" }, el("button", { class: "btn btn-primary" }, this.words.apply),
        this.#button(this.words.upward, () => this.#level(zone, at - 1, at - 2), { disabled: at === 0 }),
        this.#button(this.words.downward, () => this.#level(zone, at + 1, at + 2), { disabled: at === this.zones.length - 1 }),
        this.#button(this.words.remove, async () => {
          const done = await this.act({ do: "zone.remove", zone: zone.name }, said(this.words.removed, { name: inWords(zone.title) }));
          if (done.ok) this.choose({ kind: "whole" }, true);
        }, { class: "btn btn-outline-danger" })));
    return [this.#head(`${this.words.zone} · ${inWords(zone.title) || zone.name}`), form, this.#adder(zone.name)];
  }

  // Past the neighbour: between it and the one beyond.
  #level(zone, near, far) {
    const one = this.zones[near].purdue;
    const two = this.zones[far]?.purdue ?? (near < far ? Math.max(0, one - 1) : Math.min(6, one + 1));
    this.act({ do: "zone.set", zone: zone.name, name: zone.name, title: zone.title.zh, title_en: zone.title.en, prefix: zone.prefix, hidden: zone.hidden, arp: zone.arp, purdue: Math.round(((one + two) / 2) * 100) / 100 }, this.words.applied);
  }

  #newZone() {
    return [this.#head(this.words.add_zone), this.#form(async (data) => {
      const values = Object.fromEntries(data);
      const before = new Set(this.zones.map((one) => one.name));
      const done = await this.act({ do: "zone.add", ...values, hidden: data.has("hidden") }, said(this.words.added, { name: values.title }));
      if (done.ok) this.choose({ kind: "zone", name: this.zones.find((one) => !before.has(one.name))?.name }, false);
    }, this.#zoneFields({ name: "", title: { zh: "", en: "" }, purdue: 3, prefix: 28, hidden: false }), el("button", { class: "btn btn-primary" }, this.words.add))];
  }

  // ------------------------------------------------------------ nodes

  #adder(zone) {
    return el("div", { class: "ca-sub" }, el("h3", {}, this.words.add_node), this.#newNodeForm("plc", zone));
  }

  #newNode(role) { return [this.#head(this.words.add_node), this.zones.length ? this.#newNodeForm(role, this.zones[0]?.name) : el("p", {}, this.words.no_zone)]; }

  #newNodeForm(role, zone) {
    return this.#form(async (data) => {
      const values = Object.fromEntries(data);
      const before = new Set(this.nodes.map((one) => one.name));
      const done = await this.act({ do: "node.add", ...values }, said(this.words.added, { name: values.title }));
      if (done.ok) this.choose({ kind: "node", name: this.nodes.find((one) => !before.has(one.name))?.name }, false);
    }, el("div", { class: "ca-fields" }, field(this.words.title, input("title", "", { required: "", maxlength: 80 })), field(this.words.role, select("role", this.#roleOptions(), role)),
      field(this.words.into, select("zone", this.#zoneOptions(), zone)), field(this.words.code, input("name", "", { maxlength: 31, pattern: "[a-z][a-z0-9_\\-]*" }))),
    el("button", { class: "btn btn-primary" }, this.words.add));
  }

  #node(node) {
    const title = inWords(node.title) || node.name;
    const gates = this.nodes.filter((one) => one.forwards && one.name !== node.name).map((one) => [one.name, `${inWords(one.title)}（${one.name}）`]);
    if (node.gateway && !gates.some(([name]) => name === node.gateway)) gates.push([node.gateway, node.gateway]);
    const form = this.#form(async (data) => {
      const values = Object.fromEntries(data);
      const caps = ["net_raw", "net_admin"].filter((cap) => data.has(cap));
      const done = await this.act({ do: "node.set", node: node.name, ...values, caps, shell: data.has("shell"), forwards: data.has("forwards") }, this.words.applied);
      if (done.ok) this.choose({ kind: "node", name: values.name }, false);
    }, el("div", { class: "ca-fields" }, this.#titles(node.title), field(this.words.code, input("name", node.name, { required: "", maxlength: 31, pattern: "[a-z][a-z0-9_\\-]*" })),
      field(this.words.role, select("role", this.#roleOptions(), node.role)),
      field(this.words.gateway, select("gateway", [["", this.words.none], ...gates], node.gateway)),
      field(this.words.oui, input("oui", node.oui, { maxlength: 8 }), { help: this.words.oui_help }),
      el("div", { class: "ca-wide" }, check("shell", this.words.shell, node.shell), check("forwards", this.words.forwards, node.forwards), check("net_raw", this.words.raw, node.caps.includes("net_raw")), check("net_admin", this.words.admin, node.caps.includes("net_admin")))),
    el("div", { class: "lb-buttons" }, el("button", { class: "btn btn-primary" }, this.words.apply), ...this.#order(node),
      this.#button(this.words.copy, () => this.act({ do: "node.copy", node: node.name }, this.words.applied)),
      this.#button(this.words.remove, async () => {
        const done = await this.act({ do: "node.remove", node: node.name }, said(this.words.removed, { name: title }));
        if (done.ok) this.choose({ kind: "whole" }, true);
      }, { class: "btn btn-outline-danger" })));
    return [this.#head(`${this.words.node} · ${title}`), form, ...(node.hub ? [] : [this.#legs(node, title)]), this.#services(node)];
  }

  #order(node) {
    const row = this.zones.find((zone) => zone.name === node.home)?.nodes ?? [];
    const at = row.findIndex((one) => one.name === node.name);
    if (at < 0) return [];
    return [
      this.#button(this.words.earlier, () => this.act({ do: "node.order", node: node.name, before: row[at - 1].name }, this.words.applied), { disabled: at === 0 }),
      this.#button(this.words.later, () => this.act({ do: "node.order", node: node.name, before: row[at + 2]?.name ?? "" }, this.words.applied), { disabled: at === row.length - 1 }),
    ];
  }

  #legs(node, title) {
    const own = node.legs.map((leg) => leg.zone);
    const name = (zone) => { const found = this.zones.find((one) => one.name === zone); return found ? `${inWords(found.title)}（${zone}）` : zone; };
    const choose = (key, word, verb, done) => {
      const options = this.#zoneOptions(own);
      if (!options.length) return null;
      return this.#form((data) => this.act({ ...verb(data.get(key)) }, said(done, { name: title, zone: name(data.get(key)) })),
        el("div", { class: "ca-pick-row" }, field(word, select(key, options)), el("button", { class: "btn" }, key === "to" ? this.words.move : this.words.connect)));
    };
    return el("div", { class: "ca-sub" }, el("h3", {}, this.words.legs),
      el("ul", { class: "ca-pairs" }, node.legs.map((leg) => el("li", {}, el("span", {}, `${name(leg.zone)} · ${leg.host === "{draw}" ? this.words.drawn : leg.host ? `.${leg.host}` : this.words.given}`),
        this.#button(this.words.disconnect, () => this.act({ do: "leg.remove", node: node.name, zone: leg.zone }, this.words.applied), { class: "btn btn-sm", "aria-label": `${this.words.disconnect} ${name(leg.zone)}`, "data-key": `cut ${leg.zone}`, disabled: node.legs.length < 2 })))),
      choose("to", this.words.move_to, (to) => ({ do: "node.move", node: node.name, from: node.home, to }), this.words.moved),
      choose("zone", this.words.connect, (zone) => ({ do: "leg.add", node: node.name, zone }), this.words.linked));
  }

  #services(node) {
    const word = (one) => (document.documentElement.lang === "en" ? one.en : one.zh) || one.value || one.use;
    const uses = this.config.uses.filter((one) => (one.value === "sensor") === node.hub);
    uses.sort((one, two) => Number(two.roles.includes(node.role)) - Number(one.roles.includes(node.role)));
    return el("div", { class: "ca-sub" }, el("h3", {}, this.words.services),
      ...(node.programs.length ? [] : [el("p", { class: "text-secondary" }, this.words.no_services)]),
      ...node.programs.map((one) => {
        const text = el("textarea", { class: "form-control", name: `with ${one.name}`, rows: Math.min(14, Math.max(2, one.with.split("\n").length)), spellcheck: "false", wrap: "off" });
        text.value = one.with;
        return this.#form(() => this.act({ do: "program.set", node: node.name, program: one.name, with: text.value }, this.words.applied),
          el("div", { class: "ca-program" }, el("h4", {}, word(one), " ", el("code", {}, one.name)),
            ...(one.speaks || one.ports.length ? [el("p", { class: "text-secondary mb-1" }, [one.speaks, one.ports.length ? `${this.words.port} ${one.ports.join("、")}` : ""].filter(Boolean).join(" · "))] : []),
            field(this.words.with, text), el("div", { class: "lb-buttons mt-2" }, el("button", { class: "btn btn-sm", "data-key": `set ${one.name}`, "aria-label": `${this.words.apply} ${one.name}` }, this.words.apply),
              this.#button(this.words.remove, () => this.act({ do: "program.remove", node: node.name, program: one.name }, said(this.words.removed, { name: word(one) })), { class: "btn btn-sm", "aria-label": `${this.words.remove} ${one.name}`, "data-key": `drop ${one.name}` }))));
      }),
      this.#form((data) => this.act({ do: "program.add", node: node.name, use: data.get("use") }, said(this.words.added, { name: data.get("use") })),
        el("div", { class: "ca-pick-row" }, field(this.words.add_service, select("use", uses.map((one) => [one.value, word(one)]))), el("button", { class: "btn", "data-key": "add-service" }, this.words.add))));
  }
}
