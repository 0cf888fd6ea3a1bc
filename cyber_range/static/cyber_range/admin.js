// A table that renews itself while nobody is in the middle of it: [data-poll] names the fragment.
const EVERY = 3000;
const last = new WeakMap(); // what the table said when it was drawn last

async function renew(place) {
  const busy = place.contains(document.activeElement) && document.activeElement.matches("button, a, input, select");
  if (document.hidden || busy) return;
  const answer = await fetch(place.dataset.poll, { headers: { "X-Requested-With": "XMLHttpRequest" } });
  if (!answer.ok || answer.redirected) return;
  const text = await answer.text();
  const said = text.replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, ""); // new with every answer
  if (said === last.get(place)) return;
  last.set(place, said);
  place.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
}

for (const place of document.querySelectorAll("[data-poll]")) {
  setInterval(() => renew(place).catch(() => {}), EVERY);
}
