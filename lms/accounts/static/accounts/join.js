// The printed code's picture carries the code behind "#", which no browser sends to a server. Taken over once, then gone
// from the address, so that it stays in no history either.
const code = decodeURIComponent(location.hash.slice(1));
if (/^[0-9A-Za-z-]{12,20}$/.test(code)) {
  const field = document.querySelector("input[name=code]");
  field.value ||= code;
  document.querySelector("input[name=password]").focus();
  history.replaceState(null, "", location.pathname + location.search);
}
