// The table of requests: filters, sorts, and only those lines that are in view.

let shown = [];
let active = 0;
let found = null;
let searched = "";
let searchNumber = 0;
let table = null;

/** Return the matcher of a text or a regular expression; throws for an invalid one. */
function matcher(text, isRegex) {
  if (isRegex) {
    const pattern = new RegExp(text, "iu");
    return (value) => pattern.test(value);
  }
  const wanted = text.toLowerCase();
  return (value) => value.toLowerCase().includes(wanted);
}

/** Search the texts of all rows; the table is drawn again when the result is there. */
async function search() {
  const key = JSON.stringify([state.q, state.re]);
  if (key === searched) return;
  searched = key;
  const mine = ++searchNumber;
  const status = document.getElementById("search-status");
  const input = document.getElementById("search");
  input.removeAttribute("aria-invalid");
  status.textContent = "";
  if (!state.q) { found = null; renderRows(); return; }
  let matches;
  try {
    matches = matcher(state.q, state.re);
  } catch {
    input.setAttribute("aria-invalid", "true");
    status.textContent = "Not a valid regular expression";
    found = null;
    renderRows();
    return;
  }
  const results = [];
  for (let run = 0; run < report.runs.length; run++) {
    const rows = await searchRun(run, matches, (share) => {
      if (mine !== searchNumber) return false;
      status.textContent = share < 1 ? `Searching ${percent(share)}` : "";
      return true;
    });
    if (!rows) return;
    results.push(rows);
  }
  found = results;
  renderRows();
}

function choice(label, key, options, empty = "All") {
  return h("label.filter", null, h("span", null, label), h("select", {
    id: `filter-${key}`, onchange: (e) => setState({ [key]: e.target.value || null }),
  }, empty && h("option", { value: "" }, empty), options.map(([value, text]) =>
    h("option", { value, selected: (state[key] || "") === value }, text))));
}

/** Return the filters, with only those options that the rows have. */
function choices() {
  const [run] = report.runs;
  const names = (values) => [...new Set(values)].filter(Boolean).sort();
  const verdicts = VERDICTS.filter((v) => report.runs.some((r) => r.index.verdict.includes(v)));
  const judges = run.columns.flatMap(({ column, kind, name }) => {
    const values = new Set(run.index.scores[column]);
    const options = kind === "rating" ? [[0, "no"], [1, "yes"]].filter(([v]) => values.has(v)).map(([, c]) => c) : [];
    if (values.has("error")) options.push("error");
    return options.map((condition) => [`${column}:${condition}`, `${shortName(name)}: ${condition}`]);
  });
  // The range of a histogram's bar.
  if (state.score && !judges.some(([value]) => value === state.score)) {
    const [column, condition] = splitFilter(state.score);
    judges.push([state.score, `${shortName(column)}: ${condition.replace("..=", " – ").replace("..", " – ")}`]);
  }
  const errors = names(run.index.error), causes = names(run.index.cause);
  const sliceOptions = Object.entries(run.index.slice_values).flatMap(([column, values]) =>
    values.map((value) => [`${column}:${value}`, `${column}: ${value || "(empty)"}`]));
  const compared = report.runs.length > 1;
  const sorts = [
    ...(compared ? [["regression", "Regressions first"], ["improvement", "Improvements first"]] : []),
    ["worst", "Worst first"], ["order", "Order of the dataset"], ["slowest", "Slowest first"],
    ...run.columns.map(({ column, name }) => [`score:${column}`, `Lowest ${shortName(name)}`]),
  ];
  return [
    choice("Verdict", "verdict", verdicts.map((v) => [v, LABELS[v]])),
    compared && choice("Difference", "diff", [["any", "Anything differs"], ["flip", "Pass or fail changed"], ["worse", "Worse"], ["better", "Better"]]),
    judges.length > 0 && choice("Score", "score", judges),
    causes.length > 0 && choice("Root cause", "cause", causes.map((c) => [c, shortName(c)])),
    errors.length > 0 && choice("Error", "error", errors.map((e) => [e, e])),
    sliceOptions.length > 0 && choice("Slice", "slice", sliceOptions),
    choice("Sort", "sort", sorts.map(([value, text]) => [value === defaultSort() ? "" : value, text]), null),
    report.repeated && h("button.choice", { type: "button", id: "flat", "aria-pressed": String(!state.flat), onclick: () => setState({ flat: state.flat ? null : "1" }) }, "Group repetitions"),
    h("button.link", { type: "button", id: "clear", hidden: !hasFilters(), onclick: () => setState(NO_FILTERS) }, "Clear filters"),
  ];
}

/** Return the bar of filters; the text stays while the choices are drawn again. */
function filterBar() {
  let timer = 0;
  return h("div.filters", { role: "search" },
    h("div.searchbox", null,
      h("label.unseen", { for: "search" }, "Search"),
      h("input", {
        id: "search", type: "search", placeholder: "Search requests, answers, rationales  ( / )", value: state.q || "", autocomplete: "off", spellcheck: "false",
        oninput: (e) => { clearTimeout(timer); timer = setTimeout(() => setState({ q: e.target.value || null }), 150); },
      }),
      h("button.choice", { type: "button", id: "regex", title: "Regular expression", "aria-label": "Regular expression", "aria-pressed": String(Boolean(state.re)), onclick: () => setState({ re: state.re ? null : "1" }) }, ".*"),
      h("span", { id: "search-status", role: "status" })),
    h("div.choicesbar", null, choices()));
}

/** Return the section of the table; `renderRows` fills it. */
function requests() {
  const columns = tableColumns();
  table = {
    columns,
    body: h("div.rows", { role: "rowgroup" }),
    count: h("span.quiet", { id: "count" }),
    grid: h("div.grid", { role: "table", "aria-label": "Requests", id: "table" }),
    head: h("div.row.head", { role: "row", "aria-rowindex": 1 }, columns.map((c) => h(`div.cell.${c.css}`, { role: "columnheader", title: c.title }, c.name))),
  };
  append(table.grid, [h("div", { role: "rowgroup" }, table.head), table.body]);
  return h("section.requests", { "aria-label": "Requests" },
    h("h2", { id: "requests" }, "Requests ", table.count), filterBar(), table.grid, h("p.printnote"));
}

const MAX_SCORES = 6;
const LINES = 16;

function tableColumns() {
  const [run] = report.runs;
  const compared = report.runs.length > 1;
  const scores = run.columns.slice(0, MAX_SCORES);
  return [
    { name: "", css: "verdict", title: "Verdict" },
    { name: "Request and answer", css: "request", title: null },
    ...(compared ? [{ name: "Change", css: "change", title: "Change from the first baseline" }] : []),
    ...scores.map((c) => ({ name: shortName(c.name), css: "score", title: c.column, score: c })),
    { name: "Latency", css: "latency", title: "Latency" },
  ];
}

function renderRows() {
  if (!table) return;
  shown = visibleItems(found);
  active = Math.min(active, Math.max(0, shown.length - 1));
  const total = (state.flat ? report.single : report.items).length;
  table.count.textContent = shown.length === total ? count(total) : `${count(shown.length)} of ${count(total)}`;
  announce(`${plural(shown.length, "request")}`);
  table.grid.setAttribute("aria-rowcount", shown.length + 1);
  table.height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
  table.body.style.setProperty("height", `${Math.max(1, shown.length) * table.height}px`);
  table.first = table.last = -1;
  if (!shown.length) {
    replace(table.body, h("div.row.nothing", { role: "row" }, h("div.cell", { role: "cell" }, "No request meets the filters.")));
    return;
  }
  drawRows();
}

/** Draw the lines in view, and a few around them. */
function drawRows() {
  if (!table || !table.body.isConnected || !shown.length) return;
  const top = -table.body.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / table.height) - 8);
  // A table below the window has lines too: the keyboard and screen readers go to them.
  const last = Math.min(shown.length, Math.max(first + LINES, Math.ceil((top + window.innerHeight) / table.height) + 8));
  if (first === table.first && last === table.last) return;
  const focused = document.activeElement?.closest?.(".row")?.getAttribute("aria-rowindex");
  [table.first, table.last] = [first, last];
  replace(table.body, shown.slice(first, last).map((item, i) => rowLine(item, first + i)));
  if (focused) table.body.querySelector(`[aria-rowindex="${focused}"] a`)?.focus({ preventScroll: true });
}

function rowLine(item, position) {
  const run = report.runs[item.home], { index } = run, row = item.main.row;
  const cells = table.columns.map((column) => h(`div.cell.${column.css}`, { role: "cell" }, cellOf(item, column, index, row)));
  return h(position === active ? "div.row.active" : "div.row", {
    role: "row", "aria-rowindex": position + 2, style: { transform: `translateY(${position * table.height}px)` },
  }, cells);
}

function cellOf(item, column, index, row) {
  // The baselines before the run, as time goes.
  if (column.css === "verdict") return item.sides.map((side, r) => side ? verdictOf(side, r) : h("span.dot.absent", { role: "img", "aria-label": `${report.runs[r].label}: none` }, "–")).reverse();
  if (column.css === "request") {
    return [
      h("a.open", { href: hashOf({ row: keyOf(item), rep: state.flat && item.units.length === 1 && report.repeated ? String(index.repetition[row]) : null }), dir: "auto" },
        index.question[row] || item.id),
      h(index.verdict[row] === "error" ? "div.answer.bad" : "div.answer", { dir: "auto" },
        index.cause[row] && h("span.cause", null, shortName(index.cause[row])),
        index.answer[row] || "(empty answer)"),
    ];
  }
  if (column.css === "latency") return h("span.num", null, seconds(item.main.latency));
  if (column.css === "change") {
    const [run, baseline] = item.sides;
    if (!run || !baseline) return h("span.quiet", null, run ? "new" : "gone");
    if (run.verdict !== baseline.verdict) return h(`span.delta.${item.change < 0 ? "worse" : item.change > 0 ? "better" : "same"}`, null, `${MARKS[baseline.verdict]} → ${MARKS[run.verdict]}`);
    const difference = run.quality === null || baseline.quality === null ? 0 : run.quality - baseline.quality;
    return difference ? delta(difference) : h("span.quiet", null, "=");
  }
  const values = item.main.rows.map((r) => index.scores[column.score.column]?.[r] ?? null);
  return scoreMark(values.length > 1 ? combined(values) : values[0], column.score.kind);
}

/** Return the mean of the scores of repetitions; an error if one has an error. */
function combined(values) {
  return values.includes("error") ? "error" : mean(values) ?? values.find((v) => v !== null) ?? null;
}

function verdictOf(side, r) {
  const label = `${report.runs.length > 1 ? `${report.runs[r].label}: ` : ""}${LABELS[side.verdict]}`;
  if (side.rows.length === 1) return dot(side.verdict, label);
  const passed = side.verdicts.filter((v) => v === "pass").length;
  return [dot(side.verdict, `${label}, worst of ${side.rows.length} repetitions`), h("span.of", null, passed ? `${passed}/${side.rows.length}` : `×${side.rows.length}`)];
}

/** Make a line the active one, and move the focus to it. */
function activate(position) {
  if (!shown.length) return;
  active = Math.min(Math.max(position, 0), shown.length - 1);
  const box = table.body.getBoundingClientRect();
  const y = box.top + active * table.height;
  const above = document.querySelector(".filters").getBoundingClientRect().height + table.height;
  if (y < above) window.scrollBy(0, y - above);
  else if (y + table.height > window.innerHeight) window.scrollBy(0, y + table.height - window.innerHeight + 8);
  table.first = -1;
  drawRows();
  table.body.querySelector(".row.active a")?.focus({ preventScroll: true });
}

const PRINTED = 300;

/** Draw the first lines without scrolling, for the printer. */
function beforePrint() {
  if (!table || !table.body.isConnected || !shown.length) return;
  table.first = -1;
  replace(table.body, shown.slice(0, PRINTED).map(rowLine));
  const rest = shown.length - PRINTED;
  document.querySelector(".printnote").textContent = rest > 0 ? `The first ${PRINTED} of ${count(shown.length)} requests.` : "";
}
