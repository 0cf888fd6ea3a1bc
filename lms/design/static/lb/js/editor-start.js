// Starts Wagtail's widgets without inline scripts, so that /cms/ needs no 'unsafe-inline'.
//
// Wagtail writes `<script>new InlinePanel(…)</script>` beside a widget; our templates write an empty <template> that names
// what is to be started. A mutation observer starts it wherever it appears: while the page is parsed, in a modal, in a
// form that was added to an inline panel. Only names listed here can be started, whatever a page may hold.
// Not a module: it must be here before the widgets are parsed.
(() => {
  const make = (name) => (...args) => new window[name](...args);
  const call = (name) => (...args) => window[name](...args);
  const STARTERS = {
    InlinePanel: make("InlinePanel"),
    MultipleChooserPanel: make("MultipleChooserPanel"),
    Chooser: make("Chooser"),
    PageChooser: make("PageChooser"),
    ImageChooser: make("ImageChooser"),
    DocumentChooser: make("DocumentChooser"),
    SnippetChooser: make("SnippetChooser"),
    createTaskChooser: call("createTaskChooser"),
    initDateChooser: call("initDateChooser"),
    initTimeChooser: call("initTimeChooser"),
    initDateTimeChooser: call("initDateTimeChooser"),
  };
  const started = new WeakSet();
  const late = new Set();

  function start(mark) {
    const name = mark.dataset.lbStart;
    if (started.has(mark) || !mark.isConnected || !Object.hasOwn(STARTERS, name)) return;
    if (!(name in window)) {
      late.add(mark); // its file comes after it: once more when everything is loaded
      return;
    }
    started.add(mark);
    const args = [];
    if (mark.dataset.lbId) args.push(mark.dataset.lbId);
    // escapejs, as Wagtail writes it: inside an empty form the number of the form is put in up to the next \u0022
    if (mark.dataset.lbOptions) args.push(JSON.parse(JSON.parse(`"${mark.dataset.lbOptions}"`)));
    STARTERS[name](...args);
  }

  function look(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (node.matches("template[data-lb-start]")) start(node);
    node.querySelectorAll("template[data-lb-start]").forEach(start);
  }

  look(document.documentElement);
  new MutationObserver((records) => records.forEach((record) => record.addedNodes.forEach(look))).observe(document.documentElement, { childList: true, subtree: true });
  addEventListener("load", () => late.forEach(start));
})();
