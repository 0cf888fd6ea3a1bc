// Runs before the first paint so that a dark page never flashes light.
(() => {
  let wish = null;
  try { wish = localStorage.getItem("lb-theme"); } catch { /* storage may be forbidden */ }
  const dark = wish ? wish === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
})();
