// Start, keyboard, and which page is shown.

const app = document.getElementById("app");
let list = null;
let scroll = 0;
let rendering = 0;
let openRow = null;

/** Show the list, or the request of the URL. */
async function render() {
  const mine = ++rendering;
  const item = state.row && itemByKey(state.row);
  if (item) {
    if (!list) shown = visibleItems(null);
    const page = await requestPage(item);
    if (mine !== rendering) return;
    const isNew = openRow !== state.row;
    if (openRow === null) scroll = window.scrollY;
    const focused = focusPath();
    replace(app, page);
    if (isNew) {
      window.scrollTo(0, 0);
      page.querySelector("#title").focus({ preventScroll: true });
    } else restoreFocus(focused);
    openRow = state.row;
    document.title = `${page.querySelector("#title").textContent.slice(0, 60)} · ${report.title}`;
    return;
  }
  document.title = report.title;
  if (!list) {
    list = { overview: h("div.overview"), requests: requests() };
  }
  const focused = focusPath();
  replace(list.overview, header(), headline(), tiles(), differences(), charts(), slices());
  replace(list.requests.querySelector(".choicesbar"), choices());
  const input = list.requests.querySelector("#search");
  if (document.activeElement !== input) input.value = state.q || "";
  list.requests.querySelector("#regex").setAttribute("aria-pressed", String(Boolean(state.re)));
  if (!list.overview.isConnected) replace(app, list.overview, list.requests);
  renderRows();
  if (openRow !== null) {
    const at = shown.findIndex((one) => keyOf(one) === openRow);
    openRow = null;
    window.scrollTo(0, scroll);
    if (at >= 0) activate(at);
  } else restoreFocus(focused);
  search();
}

const FOCUSABLE = "button, select, a, input, textarea, summary";

/** Remember which control has the focus: drawing replaces it by an equal one. */
function focusPath() {
  const element = document.activeElement;
  if (!element || element === document.body || element.closest(".rows")) return null;
  if (element.id) return `#${element.id}`;
  const container = element.closest("section, header, nav, aside, article");
  if (!container) return null;
  const label = container.getAttribute("aria-label");
  return [label, Array.from(container.querySelectorAll(FOCUSABLE)).indexOf(element)];
}

function restoreFocus(path) {
  if (!path || document.activeElement !== document.body) return;
  const element = typeof path === "string" ? document.querySelector(path)
    : Array.from(app.querySelectorAll(`[aria-label="${CSS.escape(path[0] || "")}"]`)).map((c) => c.querySelectorAll(FOCUSABLE)[path[1]])[0];
  element?.focus({ preventScroll: true });
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("dbx-eval-theme", root.dataset.theme); } catch { /* Kept until the page is closed. */ }
}

const SHORTCUTS = [
  ["j / ↓", "Next request"], ["k / ↑", "Previous request"], ["Enter", "Open the request"], ["Esc", "Back to the list, or clear the search"],
  ["/", "Search"], ["f", "Only failures"], ["c", "Clear all filters"], ["g", "Group repetitions"], ["d", "Mark differences"],
  ["y / n", "Rate the open request: pass or fail"], ["t", "Light or dark"], ["?", "These keys"],
];

function showHelp() {
  const dialog = h("dialog", { "aria-label": "Keyboard", onclose: () => dialog.remove() },
    h("h2", null, "Keyboard"),
    h("dl.list", null, SHORTCUTS.map(([keys, text]) => h("div", null, h("dt", null, h("kbd", null, keys)), h("dd", null, text)))),
    h("p.quiet.small", null, `${report.generator}. The link in the address bar has the filters and the open request.`),
    h("form", { method: "dialog" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}

function step(by) {
  if (!state.row) return activate(table.body.querySelector(".row.active a") === document.activeElement ? active + by : active);
  document.querySelector(`.crumbs [rel="${by < 0 ? "prev" : "next"}"]`)?.click();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = event.target instanceof Element ? event.target : document.body;
  const typing = target.matches("input, textarea, select");
  const { key } = event;
  if (key === "Escape") {
    if (target.id === "search") { target.value = ""; setState({ q: null }); target.blur(); }
    else if (typing) target.blur();
    else if (state.row) goTo(hashOf({ row: null, rep: null, side: null }));
    return;
  }
  if (typing) return;
  const press = (selector) => { document.querySelector(selector)?.click(); return true; };
  const onLine = target.closest(".rows") || target === document.body;
  const actions = {
    j: () => step(1), k: () => step(-1),
    ArrowDown: onLine && !state.row ? () => step(1) : null,
    ArrowUp: onLine && !state.row ? () => step(-1) : null,
    "/": () => document.getElementById("search")?.focus(),
    f: () => !state.row && setState({ verdict: state.verdict ? null : "error,fail,empty" }),
    c: () => setState(NO_FILTERS), g: () => press("#flat"), d: () => press("#diff"), t: toggleTheme, "?": showHelp,
    y: () => state.row && press('.yours [data-value="yes"]'), n: () => state.row && press('.yours [data-value="no"]'),
  };
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
}

async function start() {
  try {
    const theme = localStorage.getItem("dbx-eval-theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch { /* As the system has it. */ }
  if (typeof DecompressionStream !== "function") {
    replace(app, h("p.loading", null, "This browser is too old for the report: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4)."));
    return;
  }
  await loadReport();
  loadRatings();
  readState();
  window.addEventListener("hashchange", () => { readState(); render(); });
  window.addEventListener("scroll", drawRows, { passive: true });
  window.addEventListener("resize", () => { if (list?.overview.isConnected) renderRows(); });
  window.addEventListener("beforeprint", beforePrint);
  window.addEventListener("afterprint", () => { if (list?.overview.isConnected) renderRows(); });
  document.addEventListener("keydown", onKey);
  if (isFramed) document.addEventListener("click", followLink);
  await render();
  document.documentElement.dataset.ready = "true";
}

start();
