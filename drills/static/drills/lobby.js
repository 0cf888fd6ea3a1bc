// The lobby follows what others do: when the drill moved, the page is asked again and its body replaced.
const script = document.querySelector("script[data-feed]");
let seen = script.dataset.seq;
async function look() {
  if (document.hidden || document.activeElement?.matches("input, select, textarea")) return;
  try {
    const answer = await fetch(script.dataset.feed, { headers: { "X-Lobby": "1" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("script[data-feed]");
    if (!fresh || fresh.dataset.phase !== script.dataset.phase) { location.reload(); return; }
    if (fresh.dataset.seq !== seen) {
      seen = fresh.dataset.seq;
      document.querySelector(".dr-lobby").replaceWith(page.querySelector(".dr-lobby"));
      window.htmx?.process(document.querySelector(".dr-lobby"));
    }
  } catch { /* the line is down; the next look tells */ }
}
setInterval(look, 2000);
