// From a QR: the code stands behind #, where no server sees it. It is read, taken out of the address bar and sent in the body.
const form = document.getElementById("verify-form");
const code = decodeURIComponent(location.hash.slice(1));
if (form && code) {
  history.replaceState(null, "", location.pathname);
  form.elements.code.value = code;
  if (form.elements.number.value) {
    // After htmx has taken the form over (it waits for DOMContentLoaded, too, and was there first).
    if (document.readyState === "complete") form.requestSubmit();
    else document.addEventListener("DOMContentLoaded", () => form.requestSubmit(), { once: true });
  }
}
