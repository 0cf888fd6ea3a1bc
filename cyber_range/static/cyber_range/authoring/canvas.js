// The drawing: lanes and cards out of the draft, and dragging them. Everything a drag does, the form does too (WCAG 2.5.7).
import { el, icon, inWords, said } from "./dom.js";
import { follow } from "./wires.js";

const FAR = 6; // pixels a pointer moves before it is a drag

export class Canvas {
  constructor(draft, config, choose, act) {
    this.draft = draft;
    this.words = config.words;
    this.roles = Object.fromEntries(config.roles.map((one) => [one.value, one.word]));
    this.choose = choose;
    this.act = act;
    this.locked = config.archived;
    this.place = document.querySelector("[data-canvas]");
    this.#palette(config.roles);
  }

  #palette(roles) {
    const bar = document.querySelector("[data-palette]");
    const chips = [["zone", this.words.zone], ...roles.map((one) => [one.value, one.word])];
    for (const [value, word] of chips) {
      const button = el("button", { type: "button", class: "btn btn-sm", "data-add": value, disabled: this.locked }, icon("plus"), word);
      button.addEventListener("click", () => this.choose(value === "zone" ? { kind: "new-zone" } : { kind: "new-node", role: value }, true));
      if (value === "zone") this.#drag(button, { word, onto: (target) => target.lane, drop: (target) => this.#dropZone(target) });
      else this.#drag(button, { word, onto: (target) => (value === "sensor" ? target.canvas : target.lane), drop: (target) => this.act({ do: "node.add", role: value, zone: target.zone, title: word }, said(this.words.added, { name: word })) });
      bar.append(button);
    }
  }

  render(chosen) {
    const { picture, faults } = this.draft.state;
    const faulty = new Set(faults.map((one) => one.node).filter(Boolean));
    const badZones = new Set(faults.map((one) => one.zone).filter(Boolean));
    const focus = document.activeElement?.dataset?.focus;
    const lanes = picture.zones.map((zone) => this.#lane(zone, chosen, faulty, badZones));
    const extra = (nodes, title) => nodes.length
      ? [el("section", { class: "ca-lane ca-lane-hub", "aria-label": title }, el("header", { class: "ca-lane-head" }, el("h3", {}, title)), el("div", { class: "ca-cards" }, nodes.map((node) => this.#card(node, chosen, faulty))))]
      : [];
    this.place.replaceChildren(...lanes, ...extra(picture.hubs, this.words.hub), ...extra(picture.lost, this.words.lost));
    if (focus) this.place.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    follow(this.place);
  }

  #lane(zone, chosen, faulty, badZones) {
    const open = el("button", { type: "button", class: "ca-lane-open", "data-focus": `zone ${zone.name}`, "aria-pressed": String(chosen.kind === "zone" && chosen.name === zone.name) },
      el("b", {}, inWords(zone.title) || zone.name), el("span", {}, `${this.words.level_word} ${zone.purdue} · /${zone.prefix}`),
      zone.hidden && el("span", {}, this.words.hidden), badZones.has(zone.name) && this.#mark());
    open.addEventListener("click", () => this.choose({ kind: "zone", name: zone.name }, true));
    this.#drag(open, { word: inWords(zone.title) || zone.name, onto: (target) => target.zone !== zone.name && target.lane, drop: (target) => this.#relevel(zone, target) });
    const lane = el("section", { class: `ca-lane${zone.hidden ? " ca-lane-hidden" : ""}`, "data-zone": zone.name, "aria-label": inWords(zone.title) || zone.name },
      el("header", { class: "ca-lane-head" }, open), el("div", { class: "ca-cards" }, zone.nodes.map((node) => this.#card(node, chosen, faulty))));
    lane.classList.toggle("ca-chosen", chosen.kind === "zone" && chosen.name === zone.name);
    return lane;
  }

  #card(node, chosen, faulty) {
    const title = inWords(node.title) || node.name;
    const lines = [
      ...node.legs.map((leg) => [ "network", `${leg.zone} · ${leg.host === "{draw}" ? this.words.drawn : leg.host ? `.${leg.host}` : this.words.given}` ]),
      ...node.programs.map((one) => ["stack-2", [(document.documentElement.lang === "en" && one.en) || one.zh || one.use, one.ports.join("、")].filter(Boolean).join(" · ")]),
      ...(node.shell ? [["terminal-2", this.words.shell_chip]] : []),
    ];
    const open = el("button", { type: "button", class: "ca-card-open", "data-focus": `node ${node.name}`, "aria-pressed": String(chosen.kind === "node" && chosen.name === node.name), "aria-describedby": "draghelp" },
      el("b", {}, icon(node.icon), el("span", {}, title)), el("span", { class: "ca-name" }, el("code", {}, node.name), ` ${this.roles[node.role] ?? node.role}`),
      faulty.has(node.name) && this.#mark());
    open.addEventListener("click", () => this.choose({ kind: "node", name: node.name }, true));
    const list = el("ul", { class: "ca-lines" }, lines.map(([name, text]) => el("li", {}, icon(name), el("span", {}, text))));
    const card = el("article", { class: `ca-card ca-pickable ca-role-${node.role}`, "data-node": node.name, "data-also": node.also.join(" ") }, open, list);
    card.classList.toggle("ca-chosen", chosen.kind === "node" && chosen.name === node.name);
    card.classList.toggle("ca-faulty", faulty.has(node.name));
    if (!node.hub && !this.locked) {
      this.#drag(open, { word: title, onto: (target) => target.lane, drop: (target) => this.#dropNode(node, title, target) });
      const handle = el("span", { class: "ca-handle", title: this.words.link_handle, "aria-hidden": "true" }, "+");
      this.#drag(handle, {
        word: `+ ${title}`, onto: (target) => (node.legs.some((leg) => leg.zone === target.zone) ? null : target.lane),
        drop: (target) => this.act({ do: "leg.add", node: node.name, zone: target.zone }, said(this.words.linked, { name: title, zone: target.title })),
      });
      card.append(handle);
    }
    return card;
  }

  #mark() { return el("span", { class: "ca-faulty-mark" }, icon("alert-triangle"), this.words.faults); }

  #dropNode(node, title, target) {
    if (target.zone === node.home) {
      if (target.before === node.name) return;
      this.act({ do: "node.order", node: node.name, before: target.before }, this.words.applied);
    } else this.act({ do: "node.move", node: node.name, from: node.home, to: target.zone }, said(this.words.moved, { name: title, zone: target.title }));
  }

  // Above the upper half of a lane, below the lower one: the level lies between its neighbours there.
  #between(target, without = "") {
    const zones = this.draft.state.picture.zones.filter((zone) => zone.name !== without);
    const at = zones.findIndex((zone) => zone.name === target.zone);
    const upper = target.upper ? zones[at - 1]?.purdue ?? Math.min(6, zones[at].purdue + 1) : zones[at].purdue;
    const lower = target.upper ? zones[at].purdue : zones[at + 1]?.purdue ?? Math.max(0, zones[at].purdue - 1);
    return Math.round(((upper + lower) / 2) * 100) / 100;
  }

  #dropZone(target) { this.act({ do: "zone.add", title: this.words.zone, purdue: this.#between(target) }, said(this.words.added, { name: this.words.zone })); }

  #relevel(zone, target) {
    this.act({ do: "zone.set", zone: zone.name, name: zone.name, title: zone.title.zh, title_en: zone.title.en, prefix: zone.prefix, hidden: zone.hidden, arp: zone.arp, purdue: this.#between(target, zone.name) }, this.words.applied);
  }

  // ------------------------------------------------------------ dragging

  #drag(handle, { word, onto, drop }) {
    if (this.locked) return;
    handle.addEventListener("pointerdown", (start) => {
      if (start.button !== 0 || !start.isPrimary) return;
      // A finger on a card scrolls the page; the round handle is there for dragging, the form for everything.
      if (start.pointerType === "touch" && !handle.classList.contains("ca-handle")) return;
      let ghost = null;
      let target = null;
      const move = (event) => {
        if (!ghost && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) < FAR) return;
        if (!ghost) {
          ghost = el("div", { class: "ca-ghost" }, word);
          document.body.append(ghost);
          handle.setPointerCapture(start.pointerId);
        }
        event.preventDefault();
        ghost.style.transform = `translate(${event.clientX + 12}px, ${event.clientY + 12}px)`;
        if (event.clientY < 80) scrollBy(0, -12);
        if (event.clientY > innerHeight - 60) scrollBy(0, 12);
        target?.element.classList.remove("ca-over");
        target = this.#under(event, onto);
        target?.element.classList.add("ca-over");
        ghost.textContent = target?.title ? `${word} → ${said(this.words.drop_here, { zone: target.title })}` : word;
      };
      const end = (event) => {
        removeEventListener("pointermove", move);
        removeEventListener("pointerup", end);
        removeEventListener("pointercancel", end);
        removeEventListener("keydown", leave, true);
        target?.element.classList.remove("ca-over");
        if (!ghost) return;
        ghost.remove();
        // The click that follows a drag is not a click.
        addEventListener("click", stop, { capture: true, once: true });
        setTimeout(() => removeEventListener("click", stop, { capture: true }), 0);
        if (event.type === "pointerup" && target) drop(target);
      };
      const leave = (event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        target?.element.classList.remove("ca-over");
        target = null;
        end(event);
      };
      addEventListener("pointermove", move, { passive: false });
      addEventListener("pointerup", end);
      addEventListener("pointercancel", end);
      addEventListener("keydown", leave, true);
    });
  }

  // What lies under the pointer: {element, zone, title, upper, before}.
  #under(event, onto) {
    const found = document.elementsFromPoint(event.clientX, event.clientY);
    const lane = found.map((one) => one.closest?.("[data-zone]")).find(Boolean) ?? null;
    const canvas = found.map((one) => one.closest?.("[data-canvas]")).find(Boolean) ?? null;
    const zone = lane?.dataset.zone ?? "";
    const element = onto({ lane, canvas, zone });
    if (!element) return null;
    const box = element.getBoundingClientRect();
    const cards = lane ? [...lane.querySelectorAll("[data-node]")] : [];
    const next = cards.find((card) => { const place = card.getBoundingClientRect(); return event.clientY < place.bottom && event.clientX < place.left + place.width / 2; });
    return { element, zone, title: lane?.getAttribute("aria-label") ?? "", upper: event.clientY < box.top + box.height / 2, before: next?.dataset.node ?? "" };
  }
}

function stop(event) { event.preventDefault(); event.stopPropagation(); }
