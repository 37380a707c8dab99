// Charts in SVG. Every bar is a filter of the table.

const BINS = 10;

/** Return bins of numbers: [low, high, count, condition]. */
function binsOf(values, isShare) {
  const low = isShare ? 0 : Math.min(...minMax(values));
  const high = isShare ? 1 : Math.max(...minMax(values));
  if (low === high) return [[low, high, values.length, `${low}..=${high}`]];
  const width = (high - low) / BINS;
  const bins = Array.from({ length: BINS }, (_, i) => {
    const last = i === BINS - 1;
    const edges = [low + i * width, last ? high : low + (i + 1) * width].map((x) => Number(x.toPrecision(12)));
    return [...edges, 0, `${edges[0]}..${last ? "=" : ""}${edges[1]}`];
  });
  for (const value of values) bins[Math.min(BINS - 1, Math.floor((value - low) / width + 1e-9))][2]++;
  return bins;
}

// `Math.min(...values)` fails for a hundred thousand values.
function minMax(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

function quantile(sorted, q) {
  const at = (sorted.length - 1) * q, low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}

/** Return a chart with vertical bars for each run; a bar is a link to its rows. */
function histogram(title, series, key, text, note) {
  const all = series.flatMap(({ bins }) => bins.map((bin) => bin[2]));
  const top = Math.max(1, ...all);
  const bins = series[0].bins;
  const chart = h("div.bars", null, bins.map(([low, high, , condition], i) => {
    const counts = series.map(({ bins }) => bins[i][2]);
    const range = low === high ? text(low) : `${text(low)} – ${text(high)}`;
    const pressed = state.score === `${key}:${condition}`;
    return h("button.bar", {
      type: "button", title: `${range}: ${counts.map((c) => plural(c, "row")).join(", ")}`,
      "aria-label": `${title}, ${range}: ${counts.map((c) => plural(c, "row")).join(", ")}`,
      "aria-pressed": String(pressed), disabled: counts.every((c) => !c),
      onclick: () => setState({ score: pressed ? null : `${key}:${condition}` }),
    }, counts.map((c, r) => h(`span.run${r}`, { style: { height: c ? `max(2px, ${(100 * c) / top}%)` : "0" } })));
  }));
  const [first, last] = [bins[0][0], bins[bins.length - 1][1]];
  return h("figure.chart", null,
    h("figcaption", null, title, note && h("span.quiet", null, note)),
    chart,
    h("div.axis", { "aria-hidden": "true" }, h("span", null, text(first)), h("span", null, text(last))));
}

/** Return the histogram of a score of all runs. */
function scoreChart(column) {
  const values = report.runs.map((run) => (run.index.scores[column.column] || []).filter((v) => typeof v === "number"));
  const all = values.flat();
  if (!all.length) return null;
  const [low, high] = minMax(all);
  const isShare = low >= 0 && high <= 1;
  const series = values.map((numbers) => ({ bins: rebin(numbers, all, isShare) }));
  return histogram(shortName(column.name), series, column.column, (x) => number(x), ` ${plural(values[0].length, "row")}`);
}

/** Bin the numbers of one run by the range of all runs. */
function rebin(numbers, all, isShare) {
  const bins = binsOf(all, isShare).map(([low, high, , condition]) => [low, high, 0, condition]);
  const [low, high] = [bins[0][0], bins[bins.length - 1][1]];
  const width = (high - low) / bins.length || 1;
  for (const value of numbers) bins[Math.min(bins.length - 1, Math.floor((value - low) / width + 1e-9))][2]++;
  return bins;
}

function latencyChart() {
  const values = report.runs.map((run) => run.index.latency.filter((v) => v !== null));
  const all = values.flat();
  if (!all.length) return null;
  const sorted = Float64Array.from(values[0]).sort();
  const note = sorted.length ? ` p50 ${seconds(quantile(sorted, 0.5))}, p95 ${seconds(quantile(sorted, 0.95))}` : "";
  const series = values.map((numbers) => ({ bins: rebin(numbers, all, false) }));
  return histogram("Latency", series, "latency", seconds, note);
}

/** Return a list of horizontal bars with counts; each is a filter. */
function rankedBars(title, counts, key) {
  const entries = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  if (!entries.length) return null;
  const top = entries[0][1];
  return h("figure.chart.ranked", null, h("figcaption", null, title), h("ul", null, entries.slice(0, 8).map(([name, n]) => {
    const pressed = state[key] === name;
    return h("li", null, h("button.rank", {
      type: "button", "aria-pressed": String(pressed), onclick: () => setState({ [key]: pressed ? null : name }),
    }, h("span.name", { dir: "auto" }, shortName(name)), h("span.track", null, h("span", { style: { width: `${(100 * n) / top}%` } })), h("span.num", null, count(n))));
  })));
}

/** Return the number of columns that fills the rows of a grid evenly. */
function evenly(things, most) { return String(Math.ceil(things / Math.ceil(things / most))); }

/** Return the interval of a metric on a line from 0 to 1, or of a difference around 0. */
function intervalLine(value, low, high, from = 0, to = 1) {
  const at = (x) => Math.min(100, Math.max(0, (100 * (x - from)) / (to - from)));
  return h("span.interval", { "aria-hidden": "true" },
    from < 0 && h("span.zero", { style: { left: `${at(0)}%` } }),
    low !== null && h("span.range", { style: { left: `${at(low)}%`, width: `${Math.max(0.5, at(high) - at(low))}%` } }),
    h("span.point", { style: { left: `${at(value)}%` } }));
}
