// The data inside the file: gzip in base64, decoded by the browser when it is needed.

const CACHED_PAGES = 80;
const pageCache = new Map();

/** Decode the element with an id. */
async function decode(id) {
  const text = document.getElementById(id).textContent;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Return the rows of a page; the pages that were used last stay in memory. */
function rowsOfPage(run, page) {
  const key = `page-${run}-${page}`;
  const known = pageCache.get(key);
  pageCache.delete(key);
  const rows = known || decode(key);
  pageCache.set(key, rows);
  if (pageCache.size > CACHED_PAGES) pageCache.delete(pageCache.keys().next().value);
  return rows;
}

/** Return all of a row, by the position of the row in its run. */
async function rowDetail(run, position) {
  const pages = report.runs[run].index.page;
  const page = pages[position];
  const rows = await rowsOfPage(run, page);
  // The rows of a page have consecutive positions.
  return rows[position - report.runs[run].firstOfPage[page]];
}

/** Return the texts of a row in which a search looks. */
function searchedTexts(row) {
  const texts = [row.id, row.question, row.answer, row.expected, row.error];
  for (const message of row.messages) texts.push(message.text);
  for (const rating of row.ratings) texts.push(rating.rationale, rating.error);
  return texts;
}

/**
 * Find the rows of a run whose texts match.
 *
 * `progress` is called with the share that is searched; the search ends when it returns false.
 */
async function searchRun(run, matches, progress) {
  const { pages, firstOfPage } = report.runs[run];
  const found = new Set();
  for (let page = 0; page < pages; page++) {
    const rows = await rowsOfPage(run, page);
    rows.forEach((row, i) => {
      if (searchedTexts(row).some((text) => text && matches(text))) found.add(firstOfPage[page] + i);
    });
    if (!progress((page + 1) / pages)) return null;
  }
  return found;
}

let report = null;

/** Decode the overview and derive what all views need. */
async function loadReport() {
  report = await decode("overview");
  for (const run of report.runs) {
    run.firstOfPage = [];
    run.index.page.forEach((page, i) => {
      if (run.firstOfPage[page] === undefined) run.firstOfPage[page] = i;
    });
    run.shares = run.columns.filter(({ column }) =>
      run.index.scores[column].every((v) => typeof v !== "number" || (v >= 0 && v <= 1)));
    run.quality = run.index.id.map((_, row) => meanScore(run, row));
  }
  report.units = makeUnits();
  report.items = makeItems(report.units);
  report.single = report.units.map((unit) => makeItem([unit]));
  report.repeated = report.items.length < report.units.length;
  return report;
}

/** Return the mean of the scores of a row that are between 0 and 1; null without one. */
function meanScore(run, row) {
  let sum = 0, count = 0;
  for (const { column } of run.shares) {
    const value = run.index.scores[column][row];
    if (typeof value === "number") { sum += value; count++; }
  }
  return count ? sum / count : null;
}

/** Return one unit per row: its position in each run, or null. */
function makeUnits() {
  const [first, ...others] = report.runs;
  const units = first.index.id.map((_, row) => [row]);
  const extra = new Map();
  others.forEach((run, i) => {
    const partners = report.comparisons[i].partners;
    const used = new Set();
    units.forEach((unit, row) => {
      unit.push(partners[row]);
      if (partners[row] !== null) used.add(partners[row]);
    });
    run.index.id.forEach((id, row) => {
      if (used.has(row)) return;
      const key = JSON.stringify([id, run.index.repetition[row], run.index.number[row]]);
      const unit = extra.get(key) || report.runs.map(() => null);
      unit[i + 1] = row;
      extra.set(key, unit);
    });
  });
  return [...units, ...extra.values()];
}

/** Group the units of one record: its repetitions. */
function makeItems(units) {
  const groups = new Map();
  for (const unit of units) {
    const run = unit.findIndex((row) => row !== null);
    const index = report.runs[run].index;
    const key = JSON.stringify([run > 0, index.id[unit[run]], index.number[unit[run]]]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(unit);
  }
  return [...groups.values()].map(makeItem);
}

const VERDICTS = ["error", "fail", "empty", "unknown", "none", "pass"];

/** Return a line of the table: one record, or one of its repetitions. */
function makeItem(units) {
  const home = units[0].findIndex((row) => row !== null);
  const index = report.runs[home].index;
  const item = { units, home, id: index.id[units[0][home]], number: index.number[units[0][home]] };
  item.sides = report.runs.map((run, r) => {
    const rows = units.map((unit) => unit[r]).filter((row) => row !== null);
    if (!rows.length) return null;
    const verdicts = rows.map((row) => run.index.verdict[row]);
    const worst = verdicts.reduce((a, b) => (VERDICTS.indexOf(a) <= VERDICTS.indexOf(b) ? a : b));
    const at = verdicts.indexOf(worst);
    return {
      rows, verdicts, verdict: worst, row: rows[at],
      quality: mean(rows.map((row) => run.quality[row])),
      latency: mean(rows.map((row) => run.index.latency[row])),
    };
  });
  item.main = item.sides[home];
  item.change = changeOf(item);
  return item;
}

/** Return the mean of the numbers in a list; null without one. */
function mean(values) {
  const numbers = values.filter((value) => typeof value === "number");
  return numbers.length ? numbers.reduce((a, b) => a + b, 0) / numbers.length : null;
}

/** Return the share of the rows of a side that pass; null if none has a verdict. */
function passShare(side) {
  const graded = side.verdicts.filter((v) => v === "pass" || v === "fail" || v === "error");
  return graded.length ? graded.filter((v) => v === "pass").length / graded.length : null;
}

/** Return how much better the first run is than the baseline: of the verdicts, then the scores. */
function changeOf(item, baseline = 1) {
  const [run, other] = [item.sides[0], item.sides[baseline]];
  if (!run || !other) return null;
  const failed = (side) => side.verdicts.filter((v) => v === "error").length / side.rows.length;
  const [after, before] = [passShare(run), passShare(other)];
  const passed = after === null || before === null ? failed(other) - failed(run) : after - before;
  const quality = (side) => (side.verdict === "error" ? 0 : side.quality);
  const scores = quality(run) === null || quality(other) === null ? 0 : quality(run) - quality(other);
  return 10 * passed + scores;
}
