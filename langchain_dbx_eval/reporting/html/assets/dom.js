// Elements and texts. Text of the data becomes text nodes only, never markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "line", "path", "g", "title", "circle"]);

/** Create an element; attributes that are null or false are left out. */
function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = SVG_TAGS.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (key === "value") node.value = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(visible(String(child))));
  }
}

function replace(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/** Return a text with visible control characters, such as NUL and the escapes of a terminal. */
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, (c) =>
    String.fromCharCode(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)));
}

const LONG = 8000;

/** Return a block of text of the data; a long one is cut until it is asked for. */
function textBlock(text, tag = "div.text") {
  const block = h(tag, { dir: "auto" });
  if (text === null || text === undefined || text === "") {
    block.append(h("span.quiet", null, "(empty)"));
  } else if (text.length > LONG) {
    // Not between the halves of a character.
    const end = /[\ud800-\udbff]/.test(text[LONG - 1]) ? LONG - 1 : LONG;
    const more = h("button.link", { type: "button", onclick: () => replace(block, text) },
      `… show all ${count(text.length)} characters`);
    append(block, [text.slice(0, end), more]);
  } else append(block, [text]);
  return block;
}

/** Return a link for an address of the web, else the text. */
function link(address, label = address) {
  if (!/^https?:\/\/[^\s]+$/i.test(address || "")) return address;
  return h("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, label);
}

const format = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
function count(number) { return format.format(number); }
function plural(number, one, many = `${one}s`) { return `${count(number)} ${number === 1 ? one : many}`; }

/** Return a number with as many digits as a person reads. */
function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value)) return count(value);
  if (size >= 100) return count(value);
  if (size >= 10) return value.toFixed(1);
  if (size >= 0.01) return value.toFixed(2);
  return value.toPrecision(2);
}

function signed(value, text = number) {
  if (value === null || value === undefined) return "–";
  return value === 0 ? "0" : (value > 0 ? "+" : "−") + text(Math.abs(value));
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return value < 100 ? `${value.toFixed(value < 10 ? 2 : 1)} s` : `${count(value)} s`;
}

/** Return an amount with two significant digits, and at least cents. */
function dollars(value) {
  if (value === 0 || value >= 0.1) return `$${value.toFixed(2)}`;
  return `$${Number(value.toPrecision(2)).toFixed(Math.min(9, 1 - Math.floor(Math.log10(value))))}`;
}

function percent(value) {
  if (value === null || value === undefined) return "–";
  return `${(100 * value).toFixed(value > 0.995 && value < 1 || value < 0.005 && value > 0 ? 1 : 0)} %`;
}

/** Return the name of a metric or column without what all names have in common. */
function shortName(name) {
  return name
    .replace(/^(response|retrieval)\/(llm_judged|ground_truth|format)\//, "")
    .replace(/^agent\//, "")
    .replace(/^rows\/(\w+).*/, "$1 rows")
    .replace(/^judge\/(.*)\/error_count$/, "$1 errors")
    .replace(/^response\/overall_assessment\/rating/, "overall")
    .replace(/\/(rating|precision|value)(?=\/|$)/, "")
    .replace(/\/(average|percentage)$/, "")
    .replace(/_seconds$/, "")
    .replace(/_/g, " ");
}

const LABELS = { error: "Error", fail: "Fail", empty: "Empty", unknown: "Unknown", none: "Not judged", pass: "Pass" };
const MARKS = { error: "!", fail: "✕", empty: "∅", unknown: "?", none: "·", pass: "✓" };

function badge(verdict, text = LABELS[verdict]) {
  return h(`span.badge.${verdict}`, null, h("span", { "aria-hidden": "true" }, MARKS[verdict]), " ", text);
}

function dot(verdict, label = LABELS[verdict]) {
  return h(`span.dot.${verdict}`, { role: "img", "aria-label": label, title: label }, MARKS[verdict]);
}

/** Return the mark of a score: yes, no, an error, a number or another text. */
function scoreMark(value, kind) {
  if (value === null || value === undefined) return h("span.quiet", null, "–");
  if (value === "error") return dot("error", "error");
  if (kind === "rating" && value === 1) return dot("pass", "yes");
  if (kind === "rating" && value === 0) return dot("fail", "no");
  return h("span.num", null, number(value));
}

function announce(text) { document.getElementById("live").textContent = text; }

/** Copy a text, also where the browser has no clipboard for files. */
async function copyText(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1500);
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
