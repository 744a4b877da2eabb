/** Texts: where places lie in them, how they are shown with marks, how they are read from files. */

import { el } from "./dom.js";

const READABLE = { txt: "text", text: "text", md: "text", markdown: "text", html: "html", htm: "html" };
const MAX_FILE_BYTES = 32 * 1024 * 1024;
const MAX_UNREADABLE_SHARE = 0.02;
const UNSEEN = new Set(["SCRIPT", "STYLE", "TEMPLATE", "NOSCRIPT", "HEAD", "SVG", "IFRAME", "OBJECT", "SELECT"]);
const BLOCKS = new Set(
  "ADDRESS ARTICLE ASIDE BLOCKQUOTE BR DD DIV DL DT FIGCAPTION FIGURE FOOTER FORM H1 H2 H3 H4 H5 H6 HEADER HR LI MAIN NAV OL P PRE SECTION TABLE TR UL".split(
    " ",
  ),
);

/** The server counts characters (code points), JavaScript UTF-16 units: 🙂 is one or two. Places of the former as places of the latter. */
export function utf16Places(text, places) {
  const found = new Map();
  let points = 0;
  let units = 0;
  for (const place of [...new Set(places)].sort((a, b) => a - b)) {
    while (points < place && units < text.length) {
      units += text.codePointAt(units) > 0xffff ? 2 : 1;
      points += 1;
    }
    found.set(place, units);
  }
  return places.map((place) => found.get(place));
}

/** How many characters (code points) a text has. */
export function length(text) {
  let points = 0;
  for (let units = 0; units < text.length; points += 1) units += text.codePointAt(units) > 0xffff ? 2 : 1;
  return points;
}

/** The text as nodes. `spans`: {start, end, kind} in UTF-16 units, which may overlap; "answer" hides other kinds. */
export function marked(text, spans) {
  const edges = [...new Set([0, text.length, ...spans.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  const pieces = [];
  for (let at = 0; at + 1 < edges.length; at += 1) {
    const [start, end] = [edges[at], edges[at + 1]];
    const kinds = new Set(spans.filter((span) => span.start <= start && end <= span.end).map((span) => span.kind));
    const kind = kinds.has("answer") ? "answer" : [...kinds].sort().join(" ");
    if (pieces.at(-1)?.kind === kind) pieces.at(-1).end = end;
    else pieces.push({ start, end, kind });
  }
  return pieces.map(({ start, end, kind }) => {
    const words = text.slice(start, end);
    if (!kind) return document.createTextNode(words);
    return el(kind === "answer" ? "mark" : "span", { class: kind }, words);
  });
}

/** {text, note} of a file, or {problem} in words. */
export async function readFile(file) {
  const ending = file.name.includes(".") ? file.name.split(".").pop().toLowerCase() : "";
  const kind = READABLE[ending];
  if (!kind) {
    const named = ending ? `.${ending} files` : "files without an ending";
    const other = ["pdf", "docx"].includes(ending) ? ` On the command line: textfer ask --file ${file.name}` : "";
    return { problem: `This page cannot read ${named}, only .txt, .md and .html.${other}` };
  }
  if (file.size > MAX_FILE_BYTES) {
    return { problem: `${file.name} is larger than the ${MAX_FILE_BYTES / 2 ** 20} MiB that this page opens.` };
  }
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    return { problem: `${file.name} could not be opened.` };
  }
  const decoded = decode(bytes);
  const lost = decoded.split("\ufffd").length - 1;
  if (decoded.includes("\0") || lost > MAX_UNREADABLE_SHARE * decoded.length) {
    return { problem: `${file.name} does not hold text, or not as UTF-8.` };
  }
  const text = (kind === "html" ? seen(decoded) : decoded).replace(/\r\n?/g, "\n").toWellFormed();
  if (!text.trim()) return { problem: `${file.name} holds no text.` };
  return { text, note: lost ? `${file.name}: ${lost} unreadable characters are shown as \ufffd.` : file.name };
}

function decode(bytes) {
  const starts = (...mark) => mark.every((byte, at) => bytes[at] === byte);
  const encoding = starts(0xff, 0xfe) ? "utf-16le" : starts(0xfe, 0xff) ? "utf-16be" : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}

// Where the browser has Trusted Types, no string becomes HTML but by this policy; what it makes is never shown or run.
const inert = globalThis.trustedTypes?.createPolicy("read-html", { createHTML: (text) => text });

/** The words of a page that a reader sees, a line a block. */
function seen(html) {
  const page = new DOMParser().parseFromString(inert ? inert.createHTML(html) : html, "text/html");
  const parts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      parts.push(node.parentElement.closest("pre") ? node.data : node.data.replace(/\s+/g, " "));
    }
    if (node.nodeType !== Node.ELEMENT_NODE || UNSEEN.has(node.tagName.toUpperCase())) return;
    const block = BLOCKS.has(node.tagName);
    if (block) parts.push("\n");
    node.childNodes.forEach(walk);
    if (block) parts.push("\n");
    if (node.tagName === "TD" || node.tagName === "TH") parts.push("\t");
  };
  walk(page.body);
  return parts.join("").replace(/[ \t]*\n[ \t]*/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
}
