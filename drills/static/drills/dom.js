// Elements made of words only: whatever people or attackers wrote is set as text, never as markup.
const SVG = "http://www.w3.org/2000/svg";
export const config = JSON.parse(document.getElementById("room-config").textContent);
export const words = JSON.parse(document.getElementById("room-words").textContent);
const english = document.documentElement.lang.startsWith("en");

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const text = (value) => (value ? (english && value.en) || value.zh || "" : "");
export const $ = (id) => document.getElementById(id);
export const say = (template, values) => template.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");

export function clock(seconds) {
  if (seconds === null || seconds === undefined) return "--:--";
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
}

export function number(value, counts) {
  if (value === null || value === undefined) return "–";
  return counts || Math.abs(value) >= 100 ? Math.round(value).toLocaleString("zh-CN") : value.toFixed(1);
}

let timer;
export function toast(message, bad = false) {
  const place = $("toast");
  place.textContent = message;
  place.dataset.bad = bad;
  place.dataset.shown = "true";
  clearTimeout(timer);
  timer = setTimeout(() => { place.dataset.shown = "false"; }, 4500);
}

const cookie = (name) => decodeURIComponent(document.cookie.match(`(?:^|; )${name}=([^;]+)`)?.[1] ?? "");

// A verb of the room. Gives the result, or null after saying why not.
export async function act(verb, values) {
  const body = values instanceof FormData ? values : new FormData();
  if (!(values instanceof FormData)) for (const [name, value] of Object.entries(values ?? {})) body.append(name, value);
  try {
    const answer = await fetch(`/drills/${config.drill}/act/${verb}/`, { method: "POST", body, headers: { "X-CSRFToken": cookie("csrftoken") } });
    const said = await answer.json();
    if (answer.ok) return said.result ?? {};
    toast(said.error ?? words.failed, true);
  } catch {
    toast(words.failed, true);
  }
  return null;
}

export async function ask(path, values) {
  const body = new FormData();
  for (const [name, value] of Object.entries(values)) body.append(name, value);
  const answer = await fetch(`/drills/${config.drill}/${path}`, { method: "POST", body, headers: { "X-CSRFToken": cookie("csrftoken") } });
  return { ok: answer.ok, ...(await answer.json()) };
}

// Replaces a list's children only where they changed, so that focus, typed words and open details stay.
export function sync(place, items, key, make) {
  const old = new Map([...place.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const id = String(key(item));
    const print = JSON.stringify(item);
    let node = old.get(id);
    old.delete(id);
    if (!node || (node.dataset.print !== print && !node.contains(document.activeElement))) {
      const fresh = make(item);
      fresh.dataset.key = id;
      fresh.dataset.print = print;
      if (node) node.replaceWith(fresh);
      node = fresh;
    }
    const after = before ? before.nextSibling : place.firstChild;
    if (node !== after) place.insertBefore(node, after);
    before = node;
  }
  for (const node of old.values()) node.remove();
}
