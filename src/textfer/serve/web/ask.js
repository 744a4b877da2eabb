/** The first tab: a text, a question, and the answer marked in the text. */

import { post, stopped } from "./api.js";
import { announce, bar, byId, count, el, keys, offerModels, problem, reveal, share } from "./dom.js";
import { length, marked, readFile, utf16Places } from "./text.js";

const EXAMPLE = {
  text: `The mill at Aldon

Maud Hale built the mill at Aldon in 1203, on the east bank of the Wend. It ground rye for seven villages until the flood of 1381 took the wheel away.

The town bought the ruin two centuries later. Rory Finch, a cooper, paid forty crowns for it and turned the lower floor into a market hall; the upper floor held a school. Fish was sold there on Mondays 🐟, bread on every other day but Sunday.

Since 1974 the mill has been a museum. The wheel that turns today was carved by pupils of the school, after a drawing found in the roof.`,
  question: "Who built the mill?",
};

const FITTED = "From 0 to 1: about how often such answers are right.";
const COMPARED = "From 0 to 1: a comparison between answers, not a promise.";

let asked = null; // { text, spots: [{text, score, start, end, evidence}], active } of the answer that is shown
let running = null; // the AbortController of the question that is being read

/** Makes the tab work. */
export function setUpAsk() {
  const [text, question] = [byId("text"), byId("question")];
  byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  keys(byId("ask"), ask, stop);
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault(); // a question is one line: Enter asks it, Shift+Enter breaks the line
    ask();
  });
  question.addEventListener("input", () => complain(""));
  text.addEventListener("input", changed);
  byId("ask-stop").addEventListener("click", stop);
  byId("text-edit").addEventListener("click", () => {
    edit();
    text.focus();
  });
  byId("text-clear").addEventListener("click", () => take("", ""));
  byId("text-open").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    open([...event.target.files]);
    event.target.value = "";
  });
  setUpDrop(byId("document"));
  changed();
}

/** Offers the models that can answer. */
export const offerAsk = (models) => offerModels(byId("ask-model"), models, "answer questions");

// ---- the text

function setUpDrop(area) {
  const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0; // entering a child comes before leaving its parent
  const hover = (by) => area.classList.toggle("hover", (depth = Math.max(0, depth + by)) > 0);
  area.addEventListener("dragenter", (event) => holdsFile(event) && hover(1));
  area.addEventListener("dragleave", (event) => holdsFile(event) && hover(-1));
  for (const name of ["dragover", "drop"]) {
    // also beside the area: a file that is dropped there would otherwise replace the page
    window.addEventListener(name, (event) => holdsFile(event) && event.preventDefault());
  }
  area.addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    hover(-depth);
    open([...event.dataTransfer.files]);
  });
}

async function open(files) {
  if (!files.length) return;
  const read = await readFile(files[0]);
  if (read.problem) return note(read.problem, true);
  const more = files.length > 1 ? ` The first of ${files.length} files; the page reads one at a time.` : "";
  take(read.text, read.note + more);
  byId("question").focus();
}

function take(text, words) {
  stop();
  byId("text").value = text;
  edit();
  changed();
  note(words);
}

function note(words, bad = false) {
  byId("text-note").textContent = words;
  byId("text-note").className = bad ? "note bad" : "note soft";
}

function changed() {
  const { value } = byId("text");
  byId("text-size").textContent = value ? count(length(value), "character") : "";
  byId("text-clear").hidden = !value;
  if (!value) note("");
  if (!running && asked?.text !== value) show(null);
}

function edit() {
  byId("reading").hidden = byId("text-edit").hidden = true;
  byId("text").hidden = false;
}

// ---- asking

function complain(words, field = byId("question")) {
  byId("question-note").textContent = words;
  for (const one of [byId("question"), byId("text")]) {
    if (words && one === field) one.setAttribute("aria-invalid", "true");
    else one.removeAttribute("aria-invalid");
  }
  if (words) field.focus();
}

async function ask() {
  if (running) return;
  const text = byId("text").value;
  const question = byId("question").value.trim();
  if (!text.trim()) {
    edit();
    return complain("Give a text first: paste one, open a file, or take the example.", byId("text"));
  }
  if (!question) return complain("Write a question first.");
  complain("");
  running = new AbortController();
  const [model, began] = [byId("ask-model").value || undefined, performance.now()];
  busy(true, `Reading ${count(length(text), "character")} …`);
  try {
    const body = { question: question.toWellFormed(), context: text.toWellFormed(), model };
    const found = await post("v1/answer", body, { signal: running.signal, onWait: waiting });
    show(found, { text, seconds: (performance.now() - began) / 1000, model });
  } catch (error) {
    show(null);
    if (!stopped(error)) {
      byId("answer").replaceChildren(problem(error, ask));
      reveal(byId("answer"));
    }
  } finally {
    running = null;
    busy(false);
  }
}

const stop = () => running?.abort();

function waiting(seconds) {
  byId("progress").textContent = seconds ? `The server is busy. Asking again in ${seconds} s …` : "Reading …";
}

function busy(on, words = "") {
  byId("ask-go").hidden = on;
  byId("ask-stop").hidden = !on;
  byId("text").readOnly = on;
  byId("answer").setAttribute("aria-busy", String(on));
  if (!on) return;
  if (!byId("reading").hidden) byId("reading").replaceChildren(asked?.text ?? byId("text").value); // no old marks beside a new question
  byId("answer").replaceChildren(el("p", { class: "busy", id: "progress" }, words));
  announce(words);
}

// ---- the answer

function show(found, told) {
  asked = null;
  if (!found) return byId("answer").replaceChildren(idle());
  const places = (found.candidates ?? []).filter((one) => one.text);
  const best = found.answer === null ? null : { ...found, text: found.answer };
  const others = places.filter((one) => !best || one.text !== best.text || one.start !== best.start);
  asked = { text: told.text, spots: placed(told.text, best ? [best, ...others] : others), active: -1 };
  const list = best ? asked.spots.slice(1) : asked.spots;
  const parts = best ? answered(asked.spots[0]) : unanswered(found, list.length);
  if (found.note) parts.push(el("p", { class: "note" }, `Not all of the text was read: ${found.note}.`));
  if (list.length) parts.push(alternatives(list, best ? "Other answers" : "Nearest, but not likely"));
  const facts = [told.model, `${told.seconds.toFixed(1)} s`].filter(Boolean).join(" · ");
  byId("answer").replaceChildren(...parts, el("p", { class: "soft facts" }, facts));
  if (best) choose(0);
  announce(best ? `Answer: ${best.text}. Score ${share(best.score)}.` : "The text does not seem to answer this.");
  reveal(byId("answer"));
}

function idle() {
  const example = () => {
    take(EXAMPLE.text, "");
    byId("question").value = EXAMPLE.question;
    complain("");
    byId("question").focus();
  };
  return el(
    "div",
    { class: "idle soft" },
    el("p", {}, "The answer will stand here, and be marked in the text."),
    byId("text").value ? null : el("button", { type: "button", id: "example", onclick: example }, "Take the example"),
  );
}

/** Answers with their places in UTF-16 units; without a place start is null. */
function placed(text, spots) {
  const known = spots.filter((spot) => Number.isInteger(spot.start) && Number.isInteger(spot.end));
  const units = utf16Places(text, known.flatMap(({ start, end }) => [start, end]));
  return spots.map((spot) => {
    const at = known.indexOf(spot);
    return at < 0 ? { ...spot, start: null, end: null } : { ...spot, start: units[2 * at], end: units[2 * at + 1] };
  });
}

function answered(best) {
  const parts = [
    el("h2", {}, "Answer"),
    el("button", { type: "button", class: "spot best", onclick: () => choose(0, true) }, best.text),
    score(best.score, best.calibrated ? "calibrated score" : "score", best.calibrated ? FITTED : COMPARED),
  ];
  if (best.start === null) {
    parts.push(el("p", { class: "note" }, "These are the model's own words; they do not stand in the text like this."));
  } else if (best.evidence) parts.push(el("blockquote", {}, ...evidence(best)));
  return parts;
}

/** The sentence around the answer, the answer strong. */
function evidence(best) {
  const words = asked.text.slice(best.start, best.end);
  const around = sentence(best);
  if (!around) return [best.evidence];
  const before = asked.text.slice(around.start, best.start);
  return [before, el("b", {}, words), asked.text.slice(best.end, around.end)];
}

/** Where the evidence stands around its answer, in UTF-16 units, or null. */
function sentence({ start, end, evidence: words }) {
  if (!words || start === null) return null;
  const at = asked.text.lastIndexOf(words, start);
  return at >= 0 && end <= at + words.length ? { start: at, end: at + words.length } : null;
}

function unanswered(found, near) {
  return [
    el("h2", {}, "No answer"),
    el("p", { class: "none" }, "The text does not seem to answer this question."),
    Number.isFinite(found.score) ? score(found.score, near ? "how sure of that" : "how sure") : null,
  ].filter(Boolean);
}

function score(value, what, title = COMPARED) {
  return el("p", { class: "score", title }, el("span", {}, `${what} ${share(value)}`), bar(value));
}

function alternatives(list, title) {
  const items = list.map((spot) => {
    const at = asked.spots.indexOf(spot);
    const words = [el("span", { class: "words" }, spot.text), bar(spot.score), el("span", { class: "soft" }, share(spot.score))];
    const click = () => choose(at, true);
    return el("li", {}, el("button", { type: "button", class: "spot", onclick: click, disabled: spot.start === null }, ...words));
  });
  return el("div", { class: "others" }, el("h2", {}, title), el("ol", {}, ...items));
}

/** Marks one of the answers in the text and brings it into view; `page`: the page itself may move for it too. */
function choose(number, page = false) {
  asked.active = number;
  const spot = asked.spots[number];
  document.querySelectorAll("#answer .spot").forEach((button, at) => button.setAttribute("aria-pressed", String(at === number)));
  const spans = asked.spots
    .map((one, at) => ({ ...one, kind: at === number ? "answer" : "other" }))
    .filter((one) => one.start !== null);
  const around = sentence(spot);
  if (around) spans.push({ ...around, kind: "evidence" });
  const reading = byId("reading");
  reading.replaceChildren(...marked(asked.text, spans));
  byId("text").hidden = true;
  reading.hidden = byId("text-edit").hidden = false;
  const mark = reading.querySelector("mark");
  if (!mark) return (reading.scrollTop = 0);
  const [top, height] = [mark.offsetTop - reading.offsetTop, reading.clientHeight];
  if (top < reading.scrollTop + 24 || top > reading.scrollTop + height - 48) reading.scrollTop = top - height / 3;
  if (page) mark.scrollIntoView({ block: "nearest" });
}
