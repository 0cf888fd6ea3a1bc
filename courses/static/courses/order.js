// Ordering questions: buttons instead of place lists, for thumbs and keyboards alike. Without script the lists remain.
function number(list, settled) {
  [...list.children].forEach((item, place) => {
    const select = item.querySelector("select");
    select.value = settled ? String(place + 1) : "";
  });
  list.dataset.settled = settled ? "1" : "";
  const keep = list.parentElement.querySelector("[data-order-keep]");
  if (keep) keep.hidden = settled;
}

function changed(list) {
  number(list, true);
  list.dispatchEvent(new Event("change", { bubbles: true }));
}

export function orderOf(list) {
  return list.dataset.settled ? [...list.children].map((item) => item.dataset.item) : null;
}

export function arrange(list, ids) {
  for (const id of ids) {
    const item = [...list.children].find((one) => one.dataset.item === id);
    if (item) list.append(item);
  }
  number(list, true);
}

export function enhance(root) {
  root.querySelectorAll("[data-order]:not([data-ready])").forEach((list) => {
    list.dataset.ready = "1";
    const settled = [...list.querySelectorAll("select")].every((select) => select.value !== "");
    list.querySelectorAll(".c-order-place").forEach((label) => { label.hidden = true; });
    list.querySelectorAll(".c-order-moves").forEach((moves) => { moves.hidden = false; });
    number(list, settled);
    list.addEventListener("click", (event) => {
      const button = event.target.closest("[data-move]");
      if (!button) return;
      const item = button.closest("li");
      if (button.dataset.move === "-1") item.previousElementSibling?.before(item);
      else item.nextElementSibling?.after(item);
      changed(list);
      button.focus();
    });
    list.parentElement.querySelector("[data-order-keep]")?.addEventListener("click", () => changed(list));
    // In a lesson, sending the form means that the order shown is the answer.
    if (!list.closest("[data-exam]")) {
      list.closest("form")?.addEventListener("submit", () => number(list, true), { capture: true });
    }
  });
}

enhance(document);
document.addEventListener("htmx:afterSwap", () => enhance(document));
document.addEventListener("htmx:configRequest", (event) => {
  // htmx reads the form before its submit event reaches us
  const form = event.detail.elt?.closest?.("form");
  form?.querySelectorAll("[data-order]").forEach((list) => {
    [...list.children].forEach((item, place) => { event.detail.parameters[item.querySelector("select").name] = String(place + 1); });
  });
});
