// From a QR: the code stands behind #, where no server sees it. It is read, taken out of the address bar and sent in the body.
const form = document.getElementById("verify-form");
const code = decodeURIComponent(location.hash.slice(1));
if (form && code) {
  history.replaceState(null, "", location.pathname);
  form.elements.code.value = code;
  if (form.elements.number.value) {
    if (window.htmx) form.requestSubmit();
    else addEventListener("load", () => form.requestSubmit(), { once: true });
  }
}
