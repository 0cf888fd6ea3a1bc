// Building elements: el("button", {class: "btn", type: "button"}, "词", child…). Text is text, never markup.
export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && typeof value === "boolean") node[key] = value;
    else node.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

export function icon(name) {
  const source = document.querySelector(`template[data-icon="${CSS.escape(name)}"]`);
  return source ? source.content.cloneNode(true) : "";
}

const english = document.documentElement.lang === "en";
export const inWords = (text) => (english && text.en) || text.zh || text.en || "";
export const said = (text, values) => text.replace(/\{(\w+)\}/g, (all, key) => values[key] ?? all);

let count = 0;
// A labelled control: [wrapper, control].
export function field(label, control, { help = "", wide = false } = {}) {
  control.id ||= `ca-f${++count}`;
  const parts = [el("label", { class: "form-label", for: control.id }, label), control];
  if (help) {
    parts.push(el("p", { class: "form-hint mb-0", id: `${control.id}-h` }, help));
    control.setAttribute("aria-describedby", `${control.id}-h`);
  }
  return el("div", { class: wide ? "ca-wide" : "" }, parts);
}

export function input(name, value, more = {}) {
  const node = el("input", { class: "form-control", name, autocomplete: "off", ...more });
  node.value = value ?? "";
  return node;
}

export function select(name, options, value) {
  const node = el("select", { class: "form-select", name });
  for (const [key, word] of options) node.append(el("option", { value: key, selected: key === value }, word));
  return node;
}

export function check(name, word, on) {
  const box = el("input", { class: "form-check-input", type: "checkbox", name, checked: Boolean(on) });
  return el("label", { class: "form-check" }, box, el("span", {}, word));
}
