// Terminals: one tab per console, side by side on wish. A ticket by POST, shown once over the socket.
import { $, ask, config, el, text, toast, words } from "./dom.js";
import { socketUrl } from "./socket.js";

const open = new Map();
let current = null;
let split = false;

export function setUp() {
  const tabs = $("term-tabs");
  if (!tabs) return;
  for (const one of config.consoles) {
    tabs.append(el("button", { type: "button", class: "btn btn-sm", "data-node": one.node, "aria-pressed": "false", onclick: () => show(one.node) }, text(one.title)));
  }
  $("split").addEventListener("click", () => { split = !split; $("split").setAttribute("aria-pressed", String(split)); arrange(); });
  new ResizeObserver(() => fitAll()).observe($("term-space"));
}

// Loaded with the first terminal: phones and observers never need it.
const library = () => Promise.all([import("../vendored/xterm/xterm.mjs"), import("../vendored/xterm/addon-fit.mjs")]);

export async function show(node) {
  const one = config.consoles.find((console) => console.node === node);
  if (!one) return;
  current = node;
  if (!open.has(node)) start(one, ...(await library()));
  arrange();
  open.get(node)?.term.focus();
}

export const showFirst = () => { if (!current && config.consoles.length) show(config.consoles[0].node); else fitAll(); };

function arrange() {
  $("term-space").dataset.split = split;
  for (const [node, one] of open) one.box.hidden = !split && node !== current;
  for (const tab of $("term-tabs").children) tab.setAttribute("aria-pressed", String(tab.dataset.node === current || (split && open.has(tab.dataset.node))));
  fitAll();
}

function fitAll() {
  for (const one of open.values()) if (!one.box.hidden && one.box.offsetParent) one.fit.fit();
}

function start(console, { Terminal }, { FitAddon }) {
  if (open.has(console.node)) return;
  const box = el("div", { class: "dr-term", "data-node": console.node });
  const screen = el("div", { class: "dr-term-screen" });
  const foot = el("div", { class: "dr-term-foot", hidden: true });
  box.append(el("div", { class: "dr-term-head" }, `${text(console.title)} · ${console.node}`), screen, foot);
  $("term-space").append(box);
  const term = new Terminal({ fontSize: 14, fontFamily: "ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'Noto Sans Mono CJK SC', monospace", scrollback: 5000, convertEol: false, screenReaderMode: false, theme: { background: "#0f171e", foreground: "#e6ecf1", cursor: "#4fc3b7" } });
  const fit = new FitAddon();
  term.loadAddon(fit);
  term.open(screen);
  const one = { box, term, fit, foot, socket: null };
  open.set(console.node, one);
  const encoder = new TextEncoder();
  term.onData((keys) => { if (one.socket?.readyState === WebSocket.OPEN && one.ready) for (let i = 0; i < keys.length; i += 4000) one.socket.send(encoder.encode(keys.slice(i, i + 4000))); });
  term.onResize(({ cols, rows }) => { if (one.socket?.readyState === WebSocket.OPEN && one.ready) one.socket.send(JSON.stringify({ size: [cols, rows] })); });
  connect(console.node, one);
}

async function connect(node, one) {
  one.foot.hidden = true;
  one.ready = false;
  one.term.write(`\x1b[2m${words.connecting}\x1b[0m\r\n`);
  one.fit.fit();
  let given;
  try {
    given = await ask("ticket/", { node });
  } catch {
    given = { ok: false, error: words.failed };
  }
  if (!given.ok) { ended(node, one, given.error); return; }
  const socket = new WebSocket(socketUrl(`/ws/drills/${config.drill}/terminal/`));
  one.socket = socket;
  socket.binaryType = "arraybuffer";
  let why = "";
  socket.addEventListener("open", () => socket.send(JSON.stringify({ ticket: given.ticket, node, columns: one.term.cols, rows: one.term.rows })));
  socket.addEventListener("message", (event) => {
    if (typeof event.data === "string") {
      const said = JSON.parse(event.data);
      if (said.opened) { one.ready = true; one.term.reset(); one.fit.fit(); socket.send(JSON.stringify({ size: [one.term.cols, one.term.rows] })); }
      if (said.ended) why = words[`t_${said.ended}`] ?? (said.text || said.ended);
      return;
    }
    const bytes = new Uint8Array(event.data);
    one.term.write(bytes, () => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ drawn: bytes.length })); });
  });
  socket.addEventListener("close", () => ended(node, one, why));
}

function ended(node, one, why) {
  one.ready = false;
  one.foot.replaceChildren(el("span", {}, `${words.terminal_ended}${why ? `:${why}` : ""}`), el("button", { class: "btn btn-sm btn-primary", type: "button", onclick: () => connect(node, one) }, words.again));
  one.foot.hidden = false;
  if (why && !document.hidden) toast(why, true);
}
