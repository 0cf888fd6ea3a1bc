// Zones as lanes, nodes on their bus, links that pulse with real packet rates; the white cell also sees the attacker's steps.
import { $, config, el, number, svg, text, words } from "./dom.js";
import { store } from "./store.js";

const W = 118, H = 54;
const spots = new Map();
const links = new Map();
let layer = null;
let traffic = { nodes: [] };
let chosen = null;
let openTerminal = () => {};

export function drawMap(place, map, icons, onTerminal) {
  if (!map) return;
  openTerminal = onTerminal ?? openTerminal;
  const root = svg("svg", { class: "cr-map", viewBox: `0 0 ${map.width} ${map.height}`, role: "group", "aria-label": words.map });
  map.lanes.forEach((lane, i) => root.append(
    svg("rect", { class: `cr-lane cr-lane-${"ab"[i % 2]}${lane.hidden ? " cr-lane-hidden" : ""}`, x: 0, y: lane.y, width: map.width, height: lane.height, rx: 10 }),
    svg("text", { class: "cr-lane-name", x: 14, y: lane.y + 34 }, text(lane.title)),
    svg("text", { class: "cr-lane-level", x: 14, y: lane.y + 56 }, `Purdue ${lane.purdue}`),
    svg("line", { class: "cr-bus", x1: 116, x2: map.width - 14, y1: lane.bus, y2: lane.bus, "data-zone": lane.name }),
  ));
  for (const wire of map.wires) root.append(svg("path", { class: "cr-wire", d: `M${wire.x} ${wire.y1}V${wire.y2}` }));
  layer = svg("g", { class: "cr-links" });
  root.append(layer);
  for (const node of map.nodes) {
    const group = svg("g", { class: `cr-node cr-role-${node.role}`, transform: `translate(${node.x - W / 2} ${node.y - H / 2})`, tabindex: 0, role: "button" },
      svg("title", {}, text(node.title)), svg("rect", { width: W, height: H, rx: 8 }), svg("text", { x: W / 2, y: 33 }, short(text(node.title))), svg("text", { class: "cr-node-sub", x: W / 2, y: 48 }, ""), svg("circle", { class: "cr-health", cx: W - 10, cy: 10, r: 5 }), svg("g", { class: "cr-badge", visibility: "hidden" }, svg("rect", { x: -8, y: -9, width: 52, height: 18, rx: 9 }), svg("text", { x: 18, y: 4 })));
    const show = () => { chosen = chosen === node.name ? null : node.name; card(); };
    group.addEventListener("click", show);
    group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(); } });
    root.append(group);
    spots.set(node.name, { ...node, group });
  }
  place.replaceChildren(root);
}

const wide = (words) => [...words].reduce((sum, letter) => sum + (letter.charCodeAt(0) > 255 ? 13 : 7), 0);
const short = (words) => { let cut = words; while (wide(cut) > 108) cut = cut.slice(0, -1); return cut === words ? words : `${cut.slice(0, -1)}…`; };

export function showTraffic(message) {
  traffic = message;
  for (const node of message.nodes) {
    const spot = spots.get(node.name);
    if (!spot) continue;
    spot.group.dataset.health = node.health?.state ?? node.health ?? "";
    spot.group.dataset.alerts = node.alerts > 0;
    spot.group.querySelector(".cr-node-sub").textContent = node.packets_s >= 0.1 ? `${number(node.packets_s)} ${words.packets_s}` : "";
  }
  const seen = new Set();
  for (const link of message.links) {
    const a = spots.get(link.source), b = spots.get(link.target);
    if (!a || !b || link.packets_s < 0.05) continue;
    const key = `${link.source}>${link.target}:${link.proto}${link.port}`;
    seen.add(key);
    let path = links.get(key);
    if (!path) {
      path = svg("path", { class: `cr-link cr-link-${link.port === 502 ? "modbus" : link.proto}`, d: curve(a, b) }, svg("title"));
      links.set(key, path);
      layer.append(path);
    }
    path.querySelector("title").textContent = `${text(a.title)} → ${text(b.title)} ${link.proto}/${link.port} ${number(link.packets_s)} ${words.packets_s}`;
    path.setAttribute("stroke-width", (1 + Math.min(4, Math.log2(1 + link.packets_s))).toFixed(1));
    const pace = Math.max(0.25, 2.4 / Math.max(0.6, Math.log2(1 + link.packets_s)));
    if (path.dataset.pace !== pace.toFixed(1)) { path.dataset.pace = pace.toFixed(1); path.style.animationDuration = `${pace.toFixed(1)}s`; }
  }
  for (const [key, path] of links) if (!seen.has(key)) { path.remove(); links.delete(key); }
  card();
}

function curve(a, b) {
  const bend = a.y === b.y ? -46 : 0;
  const mx = (a.x + b.x) / 2, my = (a.y + b.y) / 2 + bend;
  return `M${a.x} ${a.y}Q${a.y === b.y ? mx : a.x * 0.3 + b.x * 0.7} ${my} ${b.x} ${b.y}`;
}

// Which step of the attack is at which node (white cell, review).
export function showSteps(state, script) {
  for (const spot of spots.values()) spot.group.querySelector(".cr-badge").setAttribute("visibility", "hidden");
  for (const spec of script?.steps ?? []) {
    const done = state?.steps[spec.id];
    const spot = spots.get(spec.node);
    if (!done || !spot || done.state === "waiting") continue;
    const badge = spot.group.querySelector(".cr-badge");
    badge.setAttribute("visibility", "visible");
    badge.dataset.state = done.state;
    badge.querySelector("text").textContent = spec.technique;
  }
}

export function showHealth(nodes) {
  for (const [name, health] of Object.entries(nodes ?? {})) {
    const spot = spots.get(name);
    if (spot) spot.group.dataset.health = health;
  }
}

function card() {
  const place = $("node");
  if (!place) return;
  const spot = spots.get(chosen);
  place.hidden = !spot;
  for (const [name, one] of spots) one.group.setAttribute("aria-expanded", String(name === chosen));
  if (!spot) return;
  const live = traffic.nodes.find((node) => node.name === chosen);
  const health = live?.health?.state ?? live?.health ?? store.state?.nodes?.[chosen] ?? "";
  const rows = [
    [words.address, (live?.legs ?? []).map((leg) => leg.ip).join(" · ") || "–"],
    [words.health, words[`node_${health}`] ?? (health || "–")],
    [words.rate, live ? `${number(live.packets_s)} ${words.packets_s}` : "–"],
    [words.alerts, String(live?.alerts ?? 0)],
  ];
  const terminal = (config.consoles ?? []).some((one) => one.node === chosen);
  place.replaceChildren(
    el("div", { class: "d-flex align-items-center gap-2" }, el("strong", {}, text(spot.title)), el("code", {}, spot.name), el("button", { class: "btn btn-sm ms-auto", type: "button", "aria-label": words.close, onclick: () => { chosen = null; card(); } }, "✕")),
    el("dl", { class: "cr-facts" }, rows.map(([key, value]) => [el("dt", {}, key), el("dd", {}, value)])),
    terminal && el("button", { class: "btn btn-sm btn-primary mt-2", type: "button", onclick: () => openTerminal(spot.name) }, words.open_terminal),
  );
}
