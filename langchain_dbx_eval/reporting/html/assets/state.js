// What is shown, in the fragment of the URL: a link shows the same rows in the same order.

const KEYS = ["q", "re", "verdict", "score", "error", "cause", "slice", "diff", "sort", "flat", "row", "rep", "side"];
let state = {};

// In a notebook the page is a frame without an address of its own, "about:srcdoc": its fragments
// would be those of the notebook.
const isFramed = location.protocol === "about:";
let fragment = "";

function readState() {
  const query = new URLSearchParams((isFramed ? fragment : location.hash).replace(/^#/, ""));
  state = {};
  for (const key of KEYS) if (query.get(key)) state[key] = query.get(key);
}

function hashOf(changes) {
  const query = new URLSearchParams();
  const next = { ...state, ...changes };
  for (const key of KEYS) if (next[key]) query.set(key, next[key]);
  return `#${query}`;
}

/** Change what is shown; only the change to another row is a step of the history. */
function setState(changes) {
  if (!isFramed) history.replaceState(null, "", hashOf(changes));
  else fragment = hashOf(changes);
  readState();
  render();
}

/** Go to a fragment, which is a step of the history. */
function goTo(hash) {
  if (!isFramed) { location.hash = hash; return; }
  fragment = hash;
  readState();
  render();
}

/** Follow a link to a fragment inside a frame. */
function followLink(event) {
  const anchor = event.target.closest?.('a[href^="#"]');
  if (!anchor || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  goTo(anchor.getAttribute("href"));
}

function defaultSort() { return report.runs.length > 1 ? "regression" : "worst"; }

function hasFilters() {
  return ["q", "verdict", "score", "error", "cause", "slice", "diff"].some((key) => state[key]);
}

const NO_FILTERS = { q: null, re: null, verdict: null, score: null, error: null, cause: null, slice: null, diff: null };

/** Return the key of an item in the URL: the id of its record, with its number if others share it. */
function keyOf(item) {
  if (!report.ids) {
    report.ids = new Map();
    for (const { id, home } of report.items) report.ids.set(id, (report.ids.get(id) || 0) + 1);
  }
  return report.ids.get(item.id) > 1 ? `${item.id}~${item.number}` : item.id;
}

/** Split "column:condition", where the column may contain colons. */
function splitFilter(text) {
  const at = text.lastIndexOf(":");
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Return whether a score meets a condition: yes, no, error, none, "low..high" or a text. */
function meets(value, condition, kind) {
  if (condition === "error") return value === "error";
  if (condition === "none") return value === null;
  if (kind === "rating" && condition === "yes") return value === 1;
  if (kind === "rating" && condition === "no") return value === 0;
  const range = /^(-?[\d.e+-]+)\.\.(=?)(-?[\d.e+-]+)$/.exec(condition);
  if (!range) return value === condition;
  const [low, high] = [Number(range[1]), Number(range[3])];
  return typeof value === "number" && value >= low && (range[2] ? value <= high : value < high);
}

/** Return the function that decides whether a row of a run meets the filters of the URL. */
function rowFilter(run) {
  const { index, columns } = run;
  const checks = [];
  if (state.verdict) {
    const wanted = new Set(state.verdict.split(","));
    checks.push((row) => wanted.has(index.verdict[row]));
  }
  if (state.score) {
    const [column, condition] = splitFilter(state.score);
    const kind = columns.find((c) => c.column === column)?.kind;
    const values = column === "latency" ? index.latency : index.scores[column] || [];
    checks.push((row) => meets(values[row] ?? null, condition, kind));
  }
  if (state.error) checks.push((row) => index.error[row] === state.error);
  if (state.cause) checks.push((row) => index.cause[row] === state.cause);
  if (state.slice) {
    const column = Object.keys(index.slice_values).find((name) => state.slice.startsWith(`${name}:`));
    const wanted = column === undefined ? -1 : index.slice_values[column].indexOf(state.slice.slice(column.length + 1));
    checks.push((row) => index.slices[column]?.[row] === wanted && wanted >= 0);
  }
  return (row) => checks.every((check) => check(row));
}

/** Return how the sides of an item differ. */
function differs(item, mode) {
  const [run, ...others] = item.sides;
  const known = others.filter(Boolean);
  if (!run || !known.length) return mode === "any";
  if (mode === "worse") return item.change < 0;
  if (mode === "better") return item.change > 0;
  if (mode === "flip") return known.some((side) => side.verdict !== run.verdict);
  const answer = (r, side) => side.rows.map((row) => report.runs[r].index.digest[row]).join();
  return item.sides.some((side, r) => r > 0 && side &&
    (side.verdict !== run.verdict || item.change !== 0 || answer(r, side) !== answer(0, run)));
}

/** Return the items that meet the filters, sorted; `found` has the rows of each run that match the text. */
function visibleItems(found) {
  const filters = report.runs.map(rowFilter);
  const items = (state.flat ? report.single : report.items).filter((item) => {
    if (!item.main.rows.some((row) => filters[item.home](row))) return false;
    if (state.diff && !differs(item, state.diff)) return false;
    return !found || item.sides.some((side, r) => side && side.rows.some((row) => found[r].has(row)));
  });
  const order = comparator(state.sort || defaultSort());
  return items.map((item, i) => [item, i]).sort((a, b) => order(a[0], b[0]) || a[1] - b[1]).map(([item]) => item);
}

/** Compare two numbers; null comes last. */
function ascending(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return a - b;
}

function worst(a, b) {
  const rank = (item) => Math.min(VERDICTS.indexOf(item.main.verdict), 4);
  return rank(a) - rank(b) || ascending(a.main.quality, b.main.quality);
}

function comparator(sort) {
  if (sort === "order") return () => 0;
  if (sort === "slowest") return (a, b) => ascending(a.main.latency && -a.main.latency, b.main.latency && -b.main.latency);
  if (sort === "regression") return (a, b) => ascending(a.change, b.change) || worst(a, b);
  if (sort === "improvement") return (a, b) => ascending(a.change && -a.change, b.change && -b.change) || worst(a, b);
  if (sort.startsWith("score:")) {
    const column = sort.slice(6);
    const score = (item) => mean(item.main.rows.map((row) => report.runs[item.home].index.scores[column]?.[row]));
    return (a, b) => ascending(score(a), score(b)) || worst(a, b);
  }
  return worst;
}
