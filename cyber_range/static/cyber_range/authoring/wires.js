// Lines from a card to the other zones it stands in, drawn over lanes that are laid out by CSS.
const SVG = "http://www.w3.org/2000/svg";

export function draw(canvas) {
  canvas.querySelector(".ca-wires")?.remove();
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "ca-wires");
  svg.setAttribute("aria-hidden", "true");
  const frame = canvas.getBoundingClientRect();
  const lanes = new Map([...canvas.querySelectorAll("[data-zone]")].map((lane) => [lane.dataset.zone, lane.getBoundingClientRect()]));
  for (const card of canvas.querySelectorAll("[data-node][data-also]")) {
    const also = card.dataset.also.split(" ").filter((name) => lanes.has(name));
    const box = card.getBoundingClientRect();
    also.forEach((name, number) => {
      const x = box.left - frame.left + 16 + 12 * number;
      const from = box.bottom - frame.top;
      const to = lanes.get(name).bottom - frame.top - 2;
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", `M${x} ${from}V${to}`);
      const end = document.createElementNS(SVG, "circle");
      end.setAttribute("cx", x);
      end.setAttribute("cy", to);
      end.setAttribute("r", "4");
      svg.append(path, end);
    });
  }
  canvas.prepend(svg);
}

let watcher;
export function follow(canvas) {
  watcher?.disconnect();
  watcher = new ResizeObserver(() => draw(canvas));
  watcher.observe(canvas);
  draw(canvas);
}

const still = document.querySelector("[data-canvas]");
if (still && !document.querySelector("[data-editor]")) follow(still);
