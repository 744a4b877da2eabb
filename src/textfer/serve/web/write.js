/** The second tab: any text-to-text task by its prefix, and labels with their shares. */

import { post, stopped, stream } from "./api.js";
import { announce, bar, byId, count, el, keys, offerModels, problem, reveal } from "./dom.js";

const PREFIXES = {
  summarize: () => "summarize: ",
  translate: () => `translate ${byId("from").value.trim()} to ${byId("to").value.trim()}: `,
  classify: () => "",
  free: () => "",
};

let models = [];
let running = null;

const task = () => byId("write-form").elements.task.value;

/** Makes the tab work. */
export function setUpWrite() {
  byId("write-form").addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  keys(byId("write"), write, stop);
  for (const radio of document.querySelectorAll("input[name=task]")) radio.addEventListener("change", chosen);
  for (const name of ["from", "to"]) byId(name).addEventListener("input", () => (byId("prefix").value = PREFIXES[task()]()));
  byId("input").addEventListener("input", () => complain(""));
  byId("labels").addEventListener("input", () => complain(""));
  byId("write-stop").addEventListener("click", stop);
  byId("write-model").addEventListener("change", ownLabels);
  chosen();
}

/** Offers the models that can do the chosen task. */
export function offerWrite(all) {
  models = all;
  const need = task() === "classify" ? "classify" : "generate";
  offerModels(byId("write-model"), models.filter((model) => model.can.includes(need)), need === "classify" ? need : "write");
  ownLabels();
}

/** Labels that the chosen model brings; others cannot be put to it. */
function ownLabels() {
  const model = models.find((one) => one.id === byId("write-model").value);
  const own = Object.values(model?.labels ?? {}).flat();
  byId("labels").disabled = own.length > 0;
  byId("labels-hint").textContent = own.length ? `This model has its own: ${own.join(", ")}.` : "Two or more, with commas between.";
}

function chosen() {
  byId("languages").hidden = task() !== "translate";
  byId("labels-field").hidden = task() !== "classify";
  byId("most-field").hidden = task() === "classify";
  byId("prefix").value = PREFIXES[task()]();
  byId("write-go").textContent = document.querySelector("input[name=task]:checked + span").textContent.replace("Free", "Write");
  if (models.length) offerWrite(models);
  complain("");
  if (!running) output(idle());
}

const idle = () =>
  el("p", { class: "idle soft" }, task() === "classify" ? "The labels will stand here with their shares." : "What the model writes will stand here.");

const output = (...parts) => byId("output").replaceChildren(...parts);

function complain(words, field = byId("input")) {
  byId("input-note").textContent = words;
  for (const one of [byId("input"), byId("labels")]) {
    if (words && one === field) one.setAttribute("aria-invalid", "true");
    else one.removeAttribute("aria-invalid");
  }
  if (words) field.focus();
}

async function write() {
  if (running) return;
  const words = byId("input").value;
  if (!words.trim()) return complain("Give a text first.");
  const choices = byId("labels").disabled ? null : labels();
  if (task() === "classify" && choices?.length < 2) return complain("Give two different labels or more.", byId("labels"));
  complain("");
  const body = { text: (byId("prefix").value + words).toWellFormed(), model: byId("write-model").value || undefined };
  running = new AbortController();
  busy(true);
  try {
    if (task() === "classify") showLabels(await post("v1/classify", { ...body, choices }, { signal: running.signal, onWait: waiting }));
    else await writeOut(body);
  } catch (error) {
    if (!stopped(error)) {
      byId("output").append(problem(error, write));
      reveal(byId("output"));
    } else if (!byId("output").querySelector(".facts")) output(idle());
  } finally {
    byId("progress")?.remove();
    running = null;
    busy(false);
  }
}

const stop = () => running?.abort();

function labels() {
  const all = byId("labels").value.split(/[,;\n]/).map((label) => label.trim());
  const found = [...new Set(all)].filter(Boolean);
  return found.map((label) => label.toWellFormed());
}

function busy(on) {
  byId("write-go").hidden = on;
  byId("write-stop").hidden = !on;
  byId("output").setAttribute("aria-busy", String(on));
  if (!on) return;
  output(el("p", { class: "busy", id: "progress" }, "The model is reading …"));
  announce("The model is reading.");
}

function waiting(seconds) {
  byId("progress").textContent = seconds ? `The server is busy. Asking again in ${seconds} s …` : "The model is reading …";
}

// ---- written text

async function writeOut(body) {
  const written = el("div", { class: "written growing" });
  const began = performance.now();
  let ended = "";
  try {
    const request = { ...body, max_new_tokens: Number(byId("most").value) };
    for await (const event of stream("v1/generate", request, { signal: running.signal, onWait: waiting })) {
      if (event.finish_reason === "length") ended = "cut off there; more tokens may be allowed";
      if (!event.text) continue;
      if (!written.isConnected) output(el("h2", {}, "Output"), written);
      if (!written.textContent) reveal(byId("output"));
      written.append(event.text);
    }
  } catch (error) {
    ended = stopped(error) ? "stopped" : "broken off";
    throw error;
  } finally {
    written.normalize();
    written.classList.remove("growing");
    finish(written, ended, (performance.now() - began) / 1000);
  }
}

function finish(written, ended, seconds) {
  const text = written.textContent;
  if (!text && ["stopped", "broken off"].includes(ended)) return;
  if (!text) {
    output(el("h2", {}, "Output"), el("p", { class: "none" }, "The model wrote nothing."));
    return announce("The model wrote nothing.");
  }
  const words = text.trim().split(/\s+/).length;
  const facts = [count(words, "word"), `${seconds.toFixed(1)} s`, ended].filter(Boolean).join(" · ");
  byId("output").append(el("p", { class: "soft facts" }, facts, navigator.clipboard ? copyButton(text) : null));
  announce(`Output: ${text}${ended && `; ${ended}`}`);
}

function copyButton(text) {
  const click = async (event) => {
    await navigator.clipboard.writeText(text);
    event.target.textContent = "Copied";
  };
  return el("button", { type: "button", class: "quiet", onclick: click }, "Copy");
}

// ---- labels

function showLabels({ choice, probs }) {
  const rows = Object.entries(probs).sort(([, a], [, b]) => b - a);
  const items = rows.map(([label, value]) =>
    el(
      "li",
      { class: label === choice ? "chosen" : null },
      el("span", { class: "words" }, label),
      bar(value),
      el("span", { class: "number" }, percent(value)),
    ),
  );
  output(el("h2", {}, "Label"), el("p", { class: "label" }, choice), el("ol", { class: "bars" }, ...items));
  announce(`${choice}, ${percent(probs[choice])}.`);
  reveal(byId("output"));
}

const percent = (value) => (value > 0 && value < 0.001 ? "< 0.1 %" : `${(100 * value).toFixed(1)} %`);
