// The top of the report: header, headline, metrics, differences, charts and slices.

function header() {
  const [run] = report.runs;
  const facts = run.facts.filter(([name]) => name !== "Evaluation" || !run.run_id);
  return h("header.top", null,
    h("div.title", null,
      h("h1", { dir: "auto" }, report.title),
      h("div.actions", null, exportButton(),
        h("button", { type: "button", onclick: toggleTheme, title: "Light or dark (t)" }, "Theme"),
        h("button", { type: "button", onclick: () => window.print() }, "Print"),
        h("button", { type: "button", onclick: showHelp, title: "Keyboard (?)", "aria-haspopup": "dialog" }, "Keys"))),
    h("dl.facts", null, facts.map(([name, text]) => h("div", null, h("dt", null, name), h("dd", { dir: "auto" }, text)))));
}

function headline() {
  const [run] = report.runs;
  const { total, failed } = run.rows;
  const of = (verdict) => run.index.verdict.filter((v) => v === verdict).length;
  const [fails, passes, unknown] = [of("fail"), of("pass"), of("unknown")];
  const judged = fails + passes;
  const parts = [
    run.warning ? h("b.bad", null, run.warning) : `None of ${plural(total, "row")} failed`,
    judged > 0 && [", ", fails ? h("b.bad", null, `${count(fails)} of ${plural(judged, "judged answer")} ${fails === 1 ? "fails" : "fail"}`)
      : `all ${plural(judged, "judged answer")} pass`],
    judged + unknown === 0 && total > failed && ", no judge gave a verdict",
    ".",
  ];
  const changed = report.comparisons.length > 0 && report.comparisons[0].partners && [
    report.items.filter((item) => item.change < 0).length, report.items.filter((item) => item.change > 0).length,
  ];
  if (changed) {
    parts.push(h("span.quiet.against", null, ` Against ${report.comparisons[0].label}: ${plural(changed[0], "request")} worse, ${count(changed[1])} better.`));
  }
  const share = judged ? h("span.share", null, h("span.big", null, percent(passes / judged)), " pass") : null;
  const segments = VERDICTS.map((verdict) => [verdict, of(verdict)]).filter(([, n]) => n);
  return h("section.headline", { "aria-label": "Result" },
    h("div.sentence", null, h("p", null, parts), share),
    h("div.segments", { role: "group", "aria-label": "Rows by verdict" }, segments.map(([verdict, n]) => {
      const pressed = state.verdict === verdict;
      return h(`button.segment.${verdict}`, {
        type: "button", "aria-pressed": String(pressed), style: { "flex-grow": n },
        title: `${LABELS[verdict]}: ${plural(n, "row")}`, onclick: () => setState({ verdict: pressed ? null : verdict }),
      }, h("span.bit", { "aria-hidden": "true" }), h("span.legend", null, `${LABELS[verdict]} `, h("span.num", null, count(n))));
    })),
    run.notes.map((note) => h("p.note", { dir: "auto" }, note)));
}

function tiles() {
  const [run] = report.runs;
  const scores = run.metrics.filter((m) => m.kind === "score");
  if (!scores.length) return null;
  return h("section", { "aria-label": "Metrics" }, h("div.tiles", { style: { "--columns": evenly(scores.length, 6) } }, scores.map((metric) => {
    const share = metric.low === null ? metric.value >= 0 && metric.value <= 1 : metric.low >= 0 && metric.high <= 1;
    const difference = report.comparisons[0]?.metrics.find((m) => m.name === metric.name);
    const partial = metric.n < metric.total;
    return h("div.tile", { title: `${metric.name}: ${metric.text}` },
      h("div.label", { dir: "auto" }, shortName(metric.name)),
      h("div.value", null, number(metric.value), difference && difference.difference !== null && delta(difference.difference, false, number, difference.significant)),
      share ? intervalLine(metric.value, metric.low, metric.high) : h("span.interval.none"),
      h("div.detail", null,
        h("span", null, metric.low === null ? "no interval" : `${number(metric.low)} – ${number(metric.high)}`),
        h(partial ? "span.partial" : "span", { title: partial && metric.zeros !== null ? `${number(metric.zeros)} if failures count as 0` : null },
          `${count(metric.n)} of ${count(metric.total)}`)));
  })), h("p.legendline", null, "Value, 95 % interval, and the rows that it covers of those that it should."));
}

/** Return a difference; that of a metric is green or red only if it is significant. */
function delta(value, lowerIsBetter = false, text = number, significant = true) {
  const better = lowerIsBetter ? value < 0 : value > 0;
  const same = value === 0 || !significant;
  return h(`span.delta.${same ? "same" : better ? "better" : "worse"}`, {
    title: significant ? null : "not significant: p is 0.05 or more, corrected for the number of metrics",
  }, signed(value, text));
}

/** Return the table of differences with the baselines. */
function differences() {
  if (!report.comparisons.length) return null;
  return h("section.card", { "aria-label": "Differences" }, report.comparisons.map((comparison, i) => {
    const lower = (metric) => metric.kind !== "score";
    const shown = comparison.metrics.filter((m) => m.kind === "score" || (m.kind === "count" ? m.difference : m.difference !== null));
    const text = (m) => (m.name.includes("seconds") ? seconds : number);
    const widest = (kind) => Math.max(1e-9, ...shown.filter((m) => m.kind === kind).flatMap((m) => [m.low, m.high, m.difference].filter((x) => x !== null).map(Math.abs)));
    const scale = { score: Math.min(1, widest("score")) };
    return [
      h("h2", null, `Difference from ${comparison.label}`, h("span.quiet", null,
        ` ${plural(comparison.paired, "row")} in common`,
        comparison.only_baseline > 0 && `, ${count(comparison.only_baseline)} only there`,
        comparison.only_run > 0 && `, ${count(comparison.only_run)} only here`)),
      h("div.scroll", { tabindex: "0", role: "region", "aria-label": `Difference from ${comparison.label}` }, h("table.plain", null,
        h("thead", null, h("tr", null, ["Metric", "Baseline", "This run", "Difference", "95 % interval", "", "p (Holm)", "Pairs"].map((t, c) =>
          t ? h(c ? "th.num" : "th", { scope: "col" }, t) : h("td")))),
        h("tbody", null, shown.map((m) => h("tr", null,
          h("th", { scope: "row", title: m.name, dir: "auto" }, shortName(m.name)),
          h("td.num", null, text(m)(m.baseline)), h("td.num", null, text(m)(m.candidate)),
          h("td.num", null, m.difference === null ? "–" : delta(m.difference, lower(m), text(m), m.significant)),
          h("td.num", null, m.low === null ? "–" : `${signed(m.low, text(m))} … ${signed(m.high, text(m))}`),
          h("td.line", null, m.low !== null && m.kind === "score" && intervalLine(m.difference, m.low, m.high, -scale.score, scale.score)),
          h(m.significant ? "td.num.significant" : "td.num", null, m.p === null ? "–" : m.p < 0.001 ? "< 0.001" : m.p.toFixed(3)),
          h("td.num", null, m.pairs ? count(m.pairs) + (m.lacking ? ` of ${count(m.pairs + m.lacking)}` : "") : "–")))))),
      flipsList(comparison, i),
    ];
  }));
}

/** Return the rows whose pass or fail changed, with the root causes. */
function flipsList(comparison, i) {
  if (!comparison.flips.length) return h("p.quiet", null, "No row changed between pass and fail.");
  const sorted = [...comparison.flips].sort((a, b) => a.passed - b.passed);
  const worse = sorted.filter((f) => !f.passed).length;
  const label = (cause) => cause || "no cause";
  return h("details", { open: sorted.length <= 8 },
    h("summary", null, `${plural(sorted.length, "flip")} between pass and fail: ${count(worse)} worse, ${count(sorted.length - worse)} better`),
    h("ul.flips", null, sorted.slice(0, 60).map((flip) => {
      const item = flip.row === null ? null : report.units[flip.row] && itemOfRow(flip.row);
      return h("li", null,
        dot(flip.passed ? "pass" : "fail", flip.passed ? "now passes" : "now fails"),
        h("span.name", null, shortName(flip.metric)),
        item ? h("a", { href: hashOf({ row: keyOf(item) }), dir: "auto" }, report.runs[0].index.question[flip.row] || flip.request_id)
          : h("span", { dir: "auto" }, flip.request_id),
        h("span.quiet", null, flip.passed ? `was: ${label(flip.cause_before)}` : `now: ${label(flip.cause_after)}`));
    })),
    sorted.length > 60 && h("p.quiet", null, `${count(sorted.length - 60)} more: filter by “Pass or fail changed”.`));
}

function itemOfRow(row) {
  if (!report.itemByRow) {
    report.itemByRow = new Map();
    for (const item of report.items) for (const unit of item.units) if (unit[0] !== null) report.itemByRow.set(unit[0], item);
  }
  return report.itemByRow.get(row);
}

function counted(values) {
  const counts = {};
  for (const value of values) if (value) counts[value] = (counts[value] || 0) + 1;
  return counts;
}

function charts() {
  const [run] = report.runs;
  const figures = [
    rankedBars("Root causes", counted(run.index.cause), "cause"),
    rankedBars("Errors", counted(run.index.error), "error"),
    ...run.columns.filter((c) => c.kind === "number").map(scoreChart),
    latencyChart(),
    ratingsChart(),
    operations(),
  ].filter(Boolean);
  const legend = report.runs.length > 1 && h("p.legendline", null, report.runs.map((r, i) =>
    h("span.key", null, h(`span.swatch.run${i}`), r.label, i ? "" : " (this run)")));
  return figures.length ? h("section", { "aria-label": "Charts" }, legend, h("div.charts", { style: { "--columns": evenly(figures.length, 4) } }, figures)) : null;
}

/** Return the yes and no of each judge. */
function ratingsChart() {
  const [run] = report.runs;
  const columns = run.columns.filter((c) => c.kind === "rating");
  if (!columns.length) return null;
  return h("figure.chart.ranked", null, h("figcaption", null, "Ratings", h("span.quiet", null, "  rated no, of all")), h("ul", null, columns.map(({ column, name }) => {
    const values = run.index.scores[column];
    const [no, yes] = [0, 1].map((x) => values.filter((v) => v === x).length);
    const pressed = state.score === `${column}:no`;
    return h("li", null, h("button.rank", {
      type: "button", "aria-pressed": String(pressed), disabled: no === 0, title: `${name}: ${no} no, ${yes} yes`,
      onclick: () => setState({ score: pressed ? null : `${column}:no` }),
    }, h("span.name", null, shortName(name)), h("span.track.yes", null, h("span.no", { style: { width: `${(100 * no) / Math.max(1, no + yes)}%` } })),
    h("span.num", null, `${count(no)} / ${count(no + yes)}`)));
  })));
}

function operations() {
  const metrics = report.runs[0].metrics.filter((m) => m.kind === "operational");
  // The chart of the latency has it already.
  if (metrics.length < 2) return null;
  return h("figure.chart", null, h("figcaption", null, "Latency and tokens", h("span.quiet", null, " mean")), h("dl.list", null, metrics.map((m) => {
    const text = m.name.includes("seconds") ? seconds : number;
    return h("div", { title: m.name }, h("dt", null, shortName(m.name)), h("dd.num", null, text(m.value),
      m.low !== null && h("span.quiet", null, ` ${text(m.low)} – ${text(m.high)}`)));
  })));
}

let sliceColumn = null;

/** Return the metrics by the values of a column of the records. */
function slices() {
  const all = report.runs[0].slices;
  if (!all.length) return null;
  const columns = [...new Set(all.map((s) => s.column))];
  if (!columns.includes(sliceColumn)) sliceColumn = columns[0];
  const shown = all.filter((s) => s.column === sliceColumn);
  const names = [...new Set(shown.flatMap((s) => s.metrics.map((m) => m.name)))].slice(0, 6);
  const select = h("select", { "aria-label": "Column of the slices", onchange: (e) => { sliceColumn = e.target.value; render(); } },
    columns.map((c) => h("option", { value: c, selected: c === sliceColumn }, c)));
  return h("section.card", { "aria-label": "Slices" },
    h("h2", null, "Slices by ", columns.length > 1 ? select : sliceColumn),
    h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Slices" }, h("table.plain", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, sliceColumn), h("th.num", { scope: "col" }, "Rows"), h("th.num", { scope: "col" }, "Failed"),
        names.map((name) => h("th.num", { scope: "col", title: name }, shortName(name))))),
      h("tbody", null, shown.map((slice) => {
        const filter = `${slice.column}:${slice.value}`;
        const pressed = state.slice === filter;
        return h("tr", null,
          h("th", { scope: "row" }, h("button.link", { type: "button", dir: "auto", "aria-pressed": String(pressed), onclick: () => setState({ slice: pressed ? null : filter }) }, slice.value || "(empty)")),
          h("td.num", null, count(slice.rows)), h(slice.failed ? "td.num.bad" : "td.num", null, count(slice.failed)),
          names.map((name) => {
            const m = slice.metrics.find((one) => one.name === name);
            return h("td.num", null, m ? [number(m.value), m.low !== null && h("span.quiet.range", null, ` ${number(m.low)} – ${number(m.high)}`)] : "–");
          }));
      })))));
}
