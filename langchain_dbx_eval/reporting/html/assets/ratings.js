// Ratings of a person: kept in this browser, exported as JSON for `import_ratings`.

const ratings = new Map();

function ratingsStore() { return `dbx-eval-ratings/${report.runs[0].evaluation_id}`; }

function loadRatings() {
  try {
    for (const rating of JSON.parse(localStorage.getItem(ratingsStore()) || "[]")) ratings.set(ratingKey(rating), rating);
  } catch { /* The browser keeps nothing for this file. */ }
}

function ratingKey({ number, repetition }) { return `${number}/${repetition}`; }

function saveRating(rating) {
  if (rating.value || rating.rationale) ratings.set(ratingKey(rating), rating);
  else ratings.delete(ratingKey(rating));
  try {
    localStorage.setItem(ratingsStore(), JSON.stringify([...ratings.values()]));
  } catch { /* As above. */ }
  updateExport();
}

function exportRatings() {
  const { evaluation_id, run_id } = report.runs[0];
  const content = { format: "langchain-dbx-eval ratings", version: 1, evaluation_id, run_id, ratings: [...ratings.values()] };
  download(`ratings-${evaluation_id}.json`, JSON.stringify(content, null, 2));
  announce(`${plural(ratings.size, "rating")} exported`);
}

/** Return the button of the header; it is hidden without ratings. */
function exportButton() {
  return h("button.export", { type: "button", onclick: exportRatings, hidden: ratings.size === 0 },
    `Export ${plural(ratings.size, "rating")}`);
}

function updateExport() {
  for (const button of document.querySelectorAll("button.export")) button.replaceWith(exportButton());
}

/** Return the form for the rating of a row of the first run. */
function ratingForm(row) {
  const rating = {
    request_id: row.id, number: row.number, repetition: row.repetition, value: null, rationale: "",
    ...ratings.get(`${row.number}/${row.repetition}`),
  };
  const save = (changes) => {
    Object.assign(rating, changes, { rated_at: new Date().toISOString() });
    saveRating({ ...rating });
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === rating.value));
  };
  const buttons = [["yes", "Pass"], ["no", "Fail"]].map(([value, label]) =>
    h("button.choice", {
      type: "button", "data-value": value, "aria-pressed": String(rating.value === value),
      onclick: () => save({ value: rating.value === value ? null : value }),
    }, h("span", { "aria-hidden": "true" }, value === "yes" ? "✓ " : "✕ "), label));
  const note = h("textarea", {
    id: "note", rows: 2, placeholder: "Why?", value: rating.rationale, onchange: (e) => save({ rationale: e.target.value }),
  });
  return h("section.card.yours", { "aria-label": "Your rating" },
    h("h2", null, "Your rating"),
    h("div.choices", { role: "group", "aria-label": "Your rating" }, buttons),
    h("label.unseen", { for: "note" }, "Note"), note,
    h("p.quiet.small", null, "Kept in this browser. Export it, and add it with import_ratings()."));
}
