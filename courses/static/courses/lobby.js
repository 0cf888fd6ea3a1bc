// The device check before an exam: is the line up, may we keep answers on this device, is the clock right.
const checks = document.querySelector("[data-device-check]");

function say(name, good) {
  const row = checks.querySelector(`[data-check=${name}]`);
  const words = row.querySelector("small");
  row.classList.add(good ? "is-good" : "is-bad");
  words.textContent = good ? words.dataset.ok : words.dataset.bad;
}

if (checks) {
  try {
    localStorage.setItem("lb-try", "1");
    localStorage.removeItem("lb-try");
    say("store", true);
  } catch { say("store", false); }
  fetch("/healthz", { cache: "no-store" }).then((answer) => {
    say("line", answer.ok);
    const date = answer.headers.get("Date");
    say("clock", !date || Math.abs(Date.parse(date) - Date.now()) < 60000);
  }).catch(() => { say("line", false); say("clock", true); });
}
