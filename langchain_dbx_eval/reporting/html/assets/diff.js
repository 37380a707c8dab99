// Differences between two texts, word by word.

const MAX_EDITS = 800;
const MAX_WORDS = 40000;

/** Split a text at the boundaries of words, in any language. */
function words(text) {
  if (typeof Intl.Segmenter !== "function") return text.match(/\s+|[\p{L}\p{N}_]+|[^\s]/gu) || [];
  return Array.from(new Intl.Segmenter(undefined, { granularity: "word" }).segment(text), (s) => s.segment);
}

/**
 * Return the parts of two texts: ["same" | "del" | "ins", text].
 *
 * The shortest edit script (E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986).
 * Returns null for texts that differ too much for it.
 */
function wordDiff(before, after) {
  if (before.length + after.length > 200000) return null;
  const [a, b] = [words(before), words(after)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const middle = shortestEdits(a.slice(start, a.length - end), b.slice(start, b.length - end));
  if (middle === null) return null;
  const parts = [["same", a.slice(0, start).join("")], ...middle, ["same", a.slice(a.length - end).join("")]];
  const merged = [];
  for (const [kind, text] of parts) {
    if (!text) continue;
    const last = merged[merged.length - 1];
    if (last && last[0] === kind) last[1] += text;
    else merged.push([kind, text]);
  }
  return tidy(merged);
}

function shortestEdits(a, b) {
  const [n, m] = [a.length, b.length];
  if (n + m > MAX_WORDS) return null;
  const limit = Math.min(n + m, MAX_EDITS);
  const ends = new Map([[1, 0]]);
  const history = [];
  for (let edits = 0; edits <= limit; edits++) {
    history.push(new Map(ends));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && (ends.get(k - 1) ?? -1) < (ends.get(k + 1) ?? -1));
      let x = down ? ends.get(k + 1) : ends.get(k - 1) + 1;
      while (x < n && x - k < m && a[x] === b[x - k]) x++;
      ends.set(k, x);
      if (x >= n && x - k >= m) return backtrack(a, b, history, edits);
    }
  }
  return null;
}

function backtrack(a, b, history, edits) {
  const parts = [];
  let [x, y] = [a.length, b.length];
  for (let d = edits; d > 0; d--) {
    const ends = history[d];
    const k = x - y;
    const down = k === -d || (k !== d && (ends.get(k - 1) ?? -1) < (ends.get(k + 1) ?? -1));
    const from = down ? k + 1 : k - 1;
    const startX = ends.get(from);
    const startY = startX - from;
    const afterX = down ? startX : startX + 1;
    while (x > afterX && y > afterX - k) { parts.push(["same", a[--x]]); y--; }
    if (down) parts.push(["ins", b[--y]]);
    else parts.push(["del", a[--x]]);
    [x, y] = [startX, startY];
  }
  while (x > 0) parts.push(["same", a[--x]]);
  return parts.reverse();
}

/** Put the deletions of a change before its insertions, and take single spaces into it. */
function tidy(parts) {
  const tidied = [];
  let change = { del: "", ins: "" };
  const flush = () => {
    if (change.del) tidied.push(["del", change.del]);
    if (change.ins) tidied.push(["ins", change.ins]);
    change = { del: "", ins: "" };
  };
  parts.forEach(([kind, text], i) => {
    const between = kind === "same" && /^\s+$/.test(text) && i > 0 && i < parts.length - 1;
    if (between) { change.del += text; change.ins += text; }
    else if (kind === "same") { flush(); tidied.push([kind, text]); }
    else change[kind] += text;
  });
  flush();
  return tidied;
}

/** Return how much of two texts is the same, from 0 to 1. */
function similarity(parts) {
  const length = (kind) => parts.filter((p) => p[0] === kind).reduce((sum, p) => sum + p[1].length, 0);
  const [same, del, ins] = ["same", "del", "ins"].map(length);
  return same / Math.max(1, same + (del + ins) / 2);
}

/** Return a block with the words that are missing in a text, and those that are new. */
function diffBlock(parts) {
  const block = h("div.text", { dir: "auto" });
  for (const [kind, text] of parts) append(block, [kind === "same" ? text : h(kind, null, text)]);
  return block;
}
