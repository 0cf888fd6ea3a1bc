// Tabs by keyboard and mouse, and the phone's four panels.
export function setUpTabs(onShow) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const show = (tab, focus = true) => {
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) tab.focus();
    try { sessionStorage.setItem("dr-tab", tab.id); } catch { /* storage may be forbidden */ }
    onShow(tab.id);
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (move) show(tabs[(i + move + tabs.length) % tabs.length]);
    });
  });
  let wish = null;
  try { wish = sessionStorage.getItem("dr-tab"); } catch { /* storage may be forbidden */ }
  const first = tabs.find((tab) => tab.id === wish);
  if (first) show(first, false);
  for (const button of document.querySelectorAll("[data-panel]")) {
    button.addEventListener("click", () => {
      document.querySelector(".dr-grid").dataset.shown = button.dataset.panel;
      for (const one of document.querySelectorAll("[data-panel]")) one.setAttribute("aria-pressed", String(one === button));
      if (button.dataset.panel === "report") { const report = document.getElementById("report"); if (report) report.open = true; }
    });
  }
  return (id) => { const tab = tabs.find((one) => one.id === id); if (tab) show(tab); };
}
