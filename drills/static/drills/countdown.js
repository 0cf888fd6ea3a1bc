// "还有 1 天 02:03:04" that counts by itself.
const pad = (n) => String(n).padStart(2, "0");
const tick = () => {
  for (const place of document.querySelectorAll("[data-countdown]")) {
    const left = Math.floor((new Date(place.dataset.countdown) - Date.now()) / 1000);
    if (left <= 0) { place.textContent = place.dataset.late; continue; }
    const days = Math.floor(left / 86400);
    const clock = `${pad(Math.floor(left / 3600) % 24)}:${pad(Math.floor(left / 60) % 60)}:${pad(left % 60)}`;
    place.textContent = `${place.dataset.before} ${days ? `${days}d ` : ""}${clock}`;
  }
};
tick();
setInterval(tick, 1000);
