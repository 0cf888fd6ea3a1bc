// Lessons remember where their reader was: down the page, in videos, and which items of a checklist were ticked.
import "./order.js";

const article = document.querySelector("[data-position-url]");
const url = article?.dataset.positionUrl;

function send(values) {
  const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value;
  if (!url || !token) return;
  const body = new FormData();
  body.set("csrfmiddlewaretoken", token);
  for (const [name, value] of Object.entries(values)) body.set(name, value);
  navigator.sendBeacon(url, body);
}

if (article) {
  const saved = Number(article.dataset.scroll);
  if (saved > 50 && saved < 950 && !location.hash) {
    scrollTo({ top: (document.documentElement.scrollHeight - innerHeight) * saved / 1000 });
  }
  let told = saved;
  const tell = () => {
    const room = document.documentElement.scrollHeight - innerHeight;
    const now = room > 0 ? Math.round(scrollY / room * 1000) : 0;
    if (Math.abs(now - told) > 30) { told = now; send({ scroll: now }); }
  };
  addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") tell(); });
  setInterval(tell, 15000);

  const seen = JSON.parse(document.getElementById("video-positions")?.textContent ?? "{}");
  document.querySelectorAll("video[data-video]").forEach((video) => {
    let last = 0;
    const resume = () => {
      const second = seen[video.dataset.video] ?? 0;
      // Watched to its end (but for the credits): from the beginning again.
      if (second > 5 && second < video.duration - 10) { last = second; video.currentTime = second; }
    };
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) resume();
    else video.addEventListener("loadedmetadata", resume, { once: true });
    video.addEventListener("timeupdate", () => {
      if (Math.abs(video.currentTime - last) > 10) {
        last = video.currentTime;
        send({ video: video.dataset.video, second: Math.round(last) });
      }
    });
    video.addEventListener("pause", () => send({ video: video.dataset.video, second: Math.round(video.currentTime) }));
  });

  document.querySelectorAll(".c-checklist").forEach((list, index) => {
    const key = `lb-ticks:${location.pathname}:${index}`;
    let ticks = [];
    try { ticks = JSON.parse(localStorage.getItem(key) ?? "[]"); } catch { /* storage may be forbidden */ }
    list.querySelectorAll("[data-tick]").forEach((box) => { box.checked = ticks.includes(box.dataset.tick); });
    list.addEventListener("change", () => {
      const now = [...list.querySelectorAll("[data-tick]:checked")].map((box) => box.dataset.tick);
      try { localStorage.setItem(key, JSON.stringify(now)); } catch { /* storage may be forbidden */ }
    });
  });
}
