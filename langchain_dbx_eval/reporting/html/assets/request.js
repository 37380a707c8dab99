// The page of one request: answers against what was expected, documents, ratings, steps.

let showDifferences = true;
let reference = null;
let onlyDifferent = false;
const TITLE = 300;

function itemByKey(key) {
  if (!report.itemByKey) report.itemByKey = new Map(report.items.map((item) => [keyOf(item), item]));
  return report.itemByKey.get(key);
}

/** Return the rows of a request that are shown: one of each run, of one repetition. */
function unitOf(item) {
  const index = report.runs[item.home].index;
  return item.units.find((u) => state.rep && String(index.repetition[u[item.home]]) === state.rep)
    || item.units.find((u) => u[item.home] === item.main.row) || item.units[0];
}

/** Return the page of a request. */
async function requestPage(item) {
  const unit = unitOf(item);
  const details = await Promise.all(unit.map((row, run) => (row === null ? null : rowDetail(run, row))));
  let side = Number(state.side || item.home);
  if (!details[side]) side = item.home;
  const row = details[side];
  return h("article.request-page", { "aria-label": "Request" },
    crumbs(item),
    h("h1", { dir: "auto", tabindex: "-1", id: "title" }, row.question.slice(0, TITLE) || row.id),
    h("div.meta", null,
      details.map((d, r) => d && h("span.of-run", null, report.runs.length > 1 && h("span.quiet", null, `${report.runs[r].label} `), badge(d.verdict))),
      h("code", { title: "Id of the record" }, row.id), repetitions(item, unit),
      !row.matched && h("span.quiet", null, "belongs to no record of the dataset")),
    h("div.columns", null,
      h("div.main", null,
        details.map((d, r) => d && d.error !== null && failure(d, r)),
        cause(row),
        conversation(row),
        answers(details, item),
        expectations(row),
        details.filter(Boolean).length > 1 && sides(details, side),
        chunks(row), trace(row), raw(row)),
      h("aside.side", { "aria-label": "Ratings and facts" },
        ratingsCard(details, side), details[0] && ratingForm(details[0]), numbers(row), metadata(row))));
}

function crumbs(item) {
  const at = shown.indexOf(item) >= 0 ? shown.indexOf(item) : shown.findIndex((other) => keyOf(other) === keyOf(item));
  const go = (step, label, key) => {
    const other = at < 0 ? null : shown[at + step];
    return other ? h("a.button", { href: hashOf({ row: keyOf(other), rep: null }), rel: step < 0 ? "prev" : "next", title: `${label} (${key})` }, label)
      : h("span.button.off", { "aria-disabled": "true" }, label);
  };
  return h("nav.crumbs", { "aria-label": "Requests" },
    h("a.button", { href: hashOf({ row: null, rep: null, side: null }), id: "back", title: "Back (Esc)" }, "← Requests"),
    at >= 0 && h("span.quiet", null, `${count(at + 1)} of ${count(shown.length)}${hasFilters() ? " filtered" : ""}`),
    h("span.spring"), go(-1, "Previous", "k"), go(1, "Next", "j"));
}

function repetitions(item, unit) {
  if (item.units.length < 2) return null;
  const index = report.runs[item.home].index;
  return h("div.choices", { role: "group", "aria-label": "Repetition" }, item.units.map((u) => {
    const repetition = index.repetition[u[item.home]];
    return h("button.choice", {
      type: "button", "aria-pressed": String(u === unit), onclick: () => setState({ rep: String(repetition) }),
    }, `${repetition} `, dot(index.verdict[u[item.home]]));
  }));
}

function sides(details, side) {
  return h("div.choices.sides", { role: "group", "aria-label": "Documents and steps of" }, h("span.quiet", null, "Documents and steps of "),
    details.map((d, r) => d && h("button.choice", { type: "button", "aria-pressed": String(r === side), onclick: () => setState({ side: String(r) }) }, report.runs[r].label)));
}

function card(title, ...content) {
  return h("section.card", { "aria-label": typeof title === "string" ? title : null }, h("h2", null, title), content);
}

function failure(row, r) {
  const [first, ...rest] = row.error.split("\n");
  return h("section.card.failure", { "aria-label": "Error" },
    h("h2", null, badge("error", report.runs.length > 1 ? `Error in ${report.runs[r].label}` : "Error")),
    h("p", { dir: "auto" }, first), rest.length > 0 && textBlock(rest.join("\n"), "pre"),
    row.traceback && h("details", null, h("summary", null, "Traceback"), textBlock(row.traceback, "pre")),
    row.spans.filter((s) => s.error && s.error !== row.error).map((s) => h("details", null, h("summary", null, s.name), textBlock(s.error, "pre"))));
}

function cause(row) {
  if (!row.cause) return null;
  return h("section.card.cause-card", { "aria-label": "Root cause" },
    h("h2", null, "Root cause: ", shortName(row.cause)),
    row.cause_rationale && textBlock(row.cause_rationale),
    row.action && h("p.action", { dir: "auto" }, h("b", null, "Suggested: "), row.action));
}

function conversation(row) {
  const messages = [...row.messages];
  const last = messages[messages.length - 1];
  if (messages.length > 1 && last.text === row.answer && !last.calls.length) messages.pop();
  // The title has the whole question.
  if (messages.length === 1 && messages[0].text === row.question && row.question.length <= TITLE) return null;
  return card(messages.length > 1 ? "Conversation" : "Request", h("ol.messages", null, messages.map((m) =>
    h(`li.message`, { "data-role": m.role },
      messages.length > 1 && h("div.role", null, m.role),
      (m.text || !m.calls.length) && textBlock(m.text),
      m.calls.map((call) => textBlock(callText(call), "pre"))))));
}

function callText(call) {
  const called = call.function || call;
  const args = called.arguments ?? called.args;
  return `${called.name}(${typeof args === "string" ? args : JSON.stringify(args ?? {})})`;
}

/** Return the expected response and the answers side by side, with their differences. */
function answers(details, item) {
  const home = details[item.home];
  const compared = details.filter(Boolean).length > 1;
  const options = [];
  if (home.expected) options.push(["expected", "expected"]);
  if (compared) details.forEach((d, r) => { if (d && r > 0) options.push([String(r), report.runs[r].label]); });
  const chosen = options.some(([key]) => key === reference) ? reference : options[0]?.[0];
  const text = chosen === "expected" ? home.expected : details[Number(chosen)]?.answer;
  const pane = (title, d, r) => {
    const answer = r === null ? d.expected : d.answer;
    const isReference = r === null ? chosen === "expected" : chosen === String(r);
    let block = null, note = null;
    if (chosen !== undefined && !isReference && r !== null && answer && text && showDifferences) {
      if (answer === text) note = "equal";
      else {
        const parts = wordDiff(text, answer);
        if (parts === null) note = "too different to mark words";
        else if (similarity(parts) < 0.25) note = "almost nothing in common";
        else block = diffBlock(parts);
      }
    }
    if (r !== null && d.error !== null) block = h("p.bad", { dir: "auto" }, d.error.split("\n")[0]);
    return h("div.pane", { role: "group", "aria-label": title },
      (options.length > 0 || compared) && h("h3", null, h("span", { dir: "auto" }, title), isReference && options.length > 1 && h("span.quiet", null, " reference"), note && h("span.quiet", null, ` ${note}`)),
      block || textBlock(answer));
  };
  const panes = [];
  if (home.expected) panes.push(pane("Expected", home, null));
  // The baselines before the run, as time goes.
  const order = details.map((d, r) => r).reverse();
  for (const r of order) if (details[r]) panes.push(pane(compared || report.runs.length > 1 ? report.runs[r].label : "Answer", details[r], r));
  const controls = options.length > 0 && h("span.controls", null,
    options.length > 1 && h("select", { "aria-label": "Reference", onchange: (e) => { reference = e.target.value; render(); } },
      options.map(([value, label]) => h("option", { value, selected: value === chosen }, `against ${label}`))),
    h("button.choice", { type: "button", id: "diff", "aria-pressed": String(showDifferences), title: "Mark words (d)", onclick: toggleDifferences }, "Differences"));
  return card([panes.length > 1 ? "Answers" : "Answer", controls], h("div.panes", { style: { "--panes": evenly(panes.length, 3) } }, panes));
}

function toggleDifferences() { showDifferences = !showDifferences; render(); }

/** Return which words of a fact the answer has: [found, all]. */
function wordsFound(fact, answer) {
  const wordsOf = (text) => (text || "").toLowerCase().match(/[\p{L}\p{N}]+/gu) || [];
  const known = new Set(wordsOf(answer));
  const wanted = wordsOf(fact);
  return [wanted.filter((word) => known.has(word)).length, wanted.length];
}

function expectations(row) {
  const { expected_facts: facts, expected_retrieved_context: documents, ...others } = row.expectations;
  const correct = row.ratings.find((r) => r.name === "correctness")?.value === "yes";
  const parts = [];
  if (Array.isArray(facts) && facts.length) {
    parts.push(card("Expected facts", h("ul.facts-list", null, facts.map((fact) => {
      const [found, all] = wordsFound(fact, row.answer);
      const ticked = correct || found === all;
      const reason = correct ? "the judge of correctness found all facts" : ticked ? "all words are in the answer" : `${found} of ${all} words are in the answer`;
      return h("li", null, dot(ticked ? "pass" : "none", ticked ? "found" : "not certain"), h("span", { dir: "auto" }, String(fact)), h("span.quiet.small", null, reason));
    }))));
  }
  const rest = Object.entries(others).filter(([, value]) => value !== null);
  if (rest.length) parts.push(card("Other expectations", values(rest)));
  return parts;
}

function values(entries) {
  return h("dl.values", null, entries.map(([name, value]) => h("div", null, h("dt", { dir: "auto" }, name), h("dd", null, jsonBlock(value)))));
}

function jsonBlock(value) {
  if (typeof value === "string") return /^https?:\/\/\S+$/i.test(value) ? link(value) : textBlock(value);
  if (value === null || typeof value !== "object") return h("span", null, String(value));
  if (Array.isArray(value) && value.every((v) => typeof v === "string")) return h("ul", null, value.map((v) => h("li", { dir: "auto" }, v)));
  return textBlock(JSON.stringify(value, null, 2), "pre");
}

function chunks(row) {
  if (row.chunks === null && !row.missed.length) return null;
  const list = row.chunks || [];
  return card(["Retrieved documents ", h("span.quiet", null, count(list.length))],
    h("ol.chunks", null, list.map((chunk, i) => h("li", null, h("details", { open: i < 4 && list.length <= 8 },
      h("summary", null, h("span.rank", null, i + 1), h("span.uri", { dir: "auto" }, chunk.uri || "(no URI)"),
        chunk.expected !== null && h(chunk.expected ? "span.tag.pass" : "span.tag", null, chunk.expected ? "expected" : "not expected"),
        chunk.relevant && h(`span.tag.${chunk.relevant === "yes" ? "pass" : "fail"}`, null, chunk.relevant === "yes" ? "relevant" : "irrelevant")),
      textBlock(chunk.content), link(chunk.uri) !== chunk.uri && h("p.small", null, link(chunk.uri, "Open")), chunk.rationale && h("p.quiet", { dir: "auto" }, chunk.rationale))))),
    row.missed.length > 0 && h("div.missed", null, h("h3", null, "Expected, but not retrieved"), h("ul", null, row.missed.map((uri) => h("li", { dir: "auto" }, link(uri))))));
}

const MAX_STEPS = 400;

/** Return the steps as a tree with a bar for the time of each. */
function trace(row) {
  const { spans } = row;
  if (!spans.length) return null;
  const depths = [];
  spans.forEach((span, i) => depths.push(span.parent === null || span.parent >= i ? 0 : depths[span.parent] + 1));
  const end = Math.max(1e-6, ...spans.slice(0, 5000).map((s) => s.start + s.duration));
  const tokens = (span) => span.input_tokens === null && span.output_tokens === null ? "" : `${number(span.input_tokens ?? 0)} → ${number(span.output_tokens ?? 0)}`;
  const list = `ol.trace${spans.some(tokens) ? "" : ".no-tokens"}${spans.some((s) => s.cost !== null) ? "" : ".no-cost"}`;
  return card(["Trace ", h("span.quiet", null, plural(spans.length, "step"))], h(list, null, spans.slice(0, MAX_STEPS).map((span, i) =>
    h("li", null, h("details", null,
      h("summary", null,
        h("span.name", { style: { "padding-left": `${depths[i] * 14}px` }, dir: "auto" }, h("span.tag.kind", null, span.kind.toLowerCase().replace("_", " ")), span.name, span.error && [" ", dot("error", "failed")]),
        h("span.track", { "aria-hidden": "true" }, h(span.error ? "span.bad" : "span", { style: { left: `${(100 * span.start) / end}%`, width: `max(2px, ${(100 * span.duration) / end}%)` } })),
        h("span.num", { title: span.first_token === null ? null : `first token after ${seconds(span.first_token / 1000)}` }, seconds(span.duration / 1000)),
        h("span.num.tokens", { title: "Tokens read → written" }, tokens(span)),
        h("span.num.cost", { title: "Cost" }, span.cost === null ? "" : dollars(span.cost))),
      span.error && textBlock(span.error, "pre.bad"),
      h("h3", null, "Input"), jsonBlock(span.inputs), h("h3", null, "Output"), jsonBlock(span.outputs))))),
    spans.length > MAX_STEPS && h("p.quiet", null, `The first ${MAX_STEPS} steps; the raw JSON has all.`));
}

function raw(row) {
  const text = () => JSON.stringify(row, null, 2);
  const block = h("div");
  const copy = h("button", { type: "button", id: "copy", onclick: () => copyText(text(), copy) }, "Copy");
  return h("section.card.raw", { "aria-label": "Raw JSON" }, copy, h("details", { ontoggle: (e) => { if (e.target.open && !block.firstChild) block.append(textBlock(text(), "pre")); } },
    h("summary", null, h("h2", null, "Raw JSON")), block));
}

/** Return each judge's and metric's result; of all runs in a comparison. */
function ratingsCard(details, side) {
  const compared = details.filter(Boolean).length > 1;
  const row = details[side];
  const columns = [...new Set(details.filter(Boolean).flatMap((d) => d.ratings.map((r) => r.column)))];
  const order = report.runs[0].columns.map((c) => c.column);
  columns.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  const of = (d, column) => d?.ratings.find((r) => r.column === column);
  const list = columns.map((column) => {
    const each = details.map((d) => of(d, column));
    const rating = of(row, column) || each.find(Boolean);
    const text = (r) => JSON.stringify(r ? r.value : null);
    const same = each.every((r, i) => !details[i] || text(r) === text(each.find(Boolean)));
    if (onlyDifferent && compared && same) return null;
    const marks = compared
      ? h("span.marks", null, each.map((r, i) => [r, i]).filter(([, i]) => details[i]).reverse().map(([r, i], n) => [n > 0 && " → ", h("span", { title: report.runs[i].label }, ratingMark(r))]))
      : ratingMark(rating);
    const rationales = compared && !same ? each.map((r, i) => [r, i]).filter(([r]) => r && (r.rationale || r.error)).reverse() : [[rating, side]];
    const isOverall = rating.name === "overall_assessment";
    return h("li", null,
      h("div.rating", null, h("span.name", { title: column, dir: "auto" }, shortName(rating.name)), marks),
      (isOverall ? [] : rationales).map(([r, i]) => [
        rationales.length > 1 && h("div.role", null, report.runs[i].label),
        r.error && h("p.bad.small", { dir: "auto" }, r.error),
        r.rationale && h("p.rationale", { dir: "auto" }, r.rationale),
        r.source === "HUMAN" && h("span.tag", null, "human"),
      ]),
      rating.judge && h("div.quiet.small", null, [rating.judge, rating.tokens && plural(rating.tokens, "token"), rating.cost !== null && dollars(rating.cost), rating.seconds !== null && seconds(rating.seconds)].filter(Boolean).join(" · ")));
  }).filter(Boolean);
  const toggle = compared && h("button.choice", { type: "button", id: "only-different", "aria-pressed": String(onlyDifferent), onclick: () => { onlyDifferent = !onlyDifferent; render(); } }, "Only what differs");
  return card(["Ratings", toggle],
    compared && h("p.quiet.small", null, details.map((d, r) => d && report.runs[r].label).filter(Boolean).reverse().join(" → ")),
    list.length ? h("ul.ratings", null, list) : h("p.quiet", null, onlyDifferent ? "Nothing differs." : "None"),
    row.skipped.map(([name, reason]) => h("p.quiet.small", null, `${shortName(name)}: skipped without ${reason}`)));
}

function ratingMark(rating) {
  if (!rating) return h("span.quiet", null, "–");
  if (rating.value === null) return rating.error ? badge("error", "error") : h("span.quiet", null, "–");
  const { value } = rating;
  if (value === "yes" || value === true) return badge("pass", value === true ? "true" : "yes");
  if (value === "no" || value === false) return badge("fail", value === false ? "false" : "no");
  return h("span.num.value", { dir: "auto" }, number(value));
}

function numbers(row) {
  const entries = [
    ["Latency", row.latency === null ? null : seconds(row.latency)],
    ["First token", row.first_token === null ? null : seconds(row.first_token)],
    ["Input tokens", row.input_tokens === null ? null : count(row.input_tokens)],
    ["Output tokens", row.output_tokens === null ? null : count(row.output_tokens)],
    ["Cost", row.cost === null ? null : dollars(row.cost)],
    ["MLflow trace", row.trace_id && h("code", null, row.trace_id)],
  ].filter(([, value]) => value !== null);
  return entries.length ? card("Call", h("dl.list", null, entries.map(([name, value]) => h("div", null, h("dt", null, name), h("dd.num", null, value))))) : null;
}

function metadata(row) {
  const entries = Object.entries(row.metadata);
  return entries.length ? card("Metadata", values(entries)) : null;
}
