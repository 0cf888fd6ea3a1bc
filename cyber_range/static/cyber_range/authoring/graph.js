// Edges of the campaign's graph over cards that CSS lays out: solid to what follows, dashed to the way round.
const SVG = "http://www.w3.org/2000/svg";
let watcher;

function draw(place) {
  place.querySelector("svg.ca-edges")?.remove();
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "ca-edges");
  svg.setAttribute("aria-hidden", "true");
  const frame = place.getBoundingClientRect();
  const cards = new Map([...place.querySelectorAll("[data-step]")].map((card) => [card.dataset.step, card]));
  const edge = (from, to, kind) => {
    if (!from || !to || from === to) return;
    const [a, b] = [from.getBoundingClientRect(), to.getBoundingClientRect()];
    const shift = kind === "blocked" ? 14 : -6;
    const [x1, y1, x2, y2] = [a.left + a.width / 2 + shift - frame.left, a.bottom - frame.top, b.left + b.width / 2 + shift - frame.left, b.top - frame.top];
    const half = Math.max(12, Math.abs(y2 - y1) / 2);
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", `ca-edge-${kind}`);
    path.setAttribute("d", `M${x1} ${y1}C${x1} ${y1 + half} ${x2} ${y2 - half} ${x2} ${y2 - 6}`);
    const tip = document.createElementNS(SVG, "path");
    tip.setAttribute("class", `ca-tip-${kind}`);
    tip.setAttribute("d", `M${x2 - 5} ${y2 - 8}L${x2} ${y2}L${x2 + 5} ${y2 - 8}Z`);
    svg.append(path, tip);
  };
  for (const card of cards.values()) {
    for (const name of card.dataset.after.split(" ").filter(Boolean)) edge(cards.get(name), card, "after");
    edge(card, cards.get(card.dataset.blocked), "blocked");
  }
  place.prepend(svg);
}

export function wire(place) {
  watcher?.disconnect();
  if (!place) return;
  watcher = new ResizeObserver(() => draw(place));
  watcher.observe(place);
  draw(place);
}
