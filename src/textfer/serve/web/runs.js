/** The third tab: a run's curves and samples while it trains. */

import { get, stopped } from "./api.js";
import { chart } from "./chart.js";
import { byId, el, problem } from "./dom.js";

const POLL_SECONDS = 3;
const MAX_SAMPLES = 12;
const TRAINING = [
  { key: "loss", title: "Loss", smooth: true, log: true },
  { key: "lr", title: "Learning rate", zero: true },
  { key: "grad_norm", title: "Gradient norm", smooth: true, log: true, zero: true },
  { key: "speed", title: "Tokens per second", smooth: true, zero: true },
];

let watching = null; // the AbortController of the tab while it is open
let shown = ""; // what is drawn, so that an unchanged run is not drawn again under the pointer

/** Makes the tab work. */
export function setUpRuns() {
  byId("run").addEventListener("change", () => {
    shown = "";
    watchRuns(true);
  });
}

/** Begins or ends asking the server how the runs are. */
export function watchRuns(on) {
  watching?.abort();
  watching = null;
  if (on) watch((watching = new AbortController()).signal);
}

async function watch(signal) {
  while (!signal.aborted) {
    try {
      if (!document.hidden) await look(signal);
    } catch (error) {
      if (stopped(error)) return;
      byId("run-state").textContent = "";
      const waits = error.passing && error.status !== 401; // then it is asked again by itself
      draw(error.message, () => [problem(error, waits ? null : () => watchRuns(true))]);
      if (!waits) return;
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL_SECONDS * 1000);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

async function look(signal) {
  const runs = (await get("v1/runs", { signal })).data;
  const select = byId("run");
  const chosen = runs.some((run) => run.name === select.value) ? select.value : runs[0]?.name;
  select.replaceChildren(...runs.map((run) => el("option", { value: run.name }, run.name)));
  select.closest(".row").hidden = !runs.length;
  if (!runs.length) return draw("none", nothing);
  select.value = chosen;
  const curve = await get(`v1/runs/${encodeURIComponent(chosen)}/curve`, { signal });
  if (signal.aborted) return;
  byId("run-state").textContent = state(curve);
  draw(JSON.stringify([chosen, { ...curve, seconds_ago: 0 }]), () => parts(curve));
}

function draw(content, make) {
  if (content === shown) return;
  shown = content;
  byId("run-body").replaceChildren(...make());
}

const nothing = () => [
  el(
    "div",
    { class: "card idle soft" },
    el("p", {}, "There are no runs to show. The server shows those of a folder that it is started with:"),
    el("code", {}, "textfer serve MODEL --runs runs"),
  ),
];

// ---- one run

function state({ step, num_steps: numSteps, seconds_ago: secondsAgo }) {
  const steps = numSteps ? `step ${step.toLocaleString("en")} of ${numSteps.toLocaleString("en")}` : `step ${step.toLocaleString("en")}`;
  if (numSteps && step >= numSteps) return `${steps}, finished`;
  if (!Number.isFinite(secondsAgo)) return steps;
  return `${steps}, last logged ${ago(secondsAgo)} ago`;
}

function ago(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

function parts({ summary, step, points, samples }) {
  const lines = points.filter((point) => "loss" in point);
  const evals = points.filter((point) => point.eval);
  const names = [...new Set(evals.flatMap((point) => Object.keys(point.eval)))];
  const best = bestStep(evals, names[0]);
  const charts = [
    ...names.map((key) =>
      chart({ title: key, points: evals.map((point) => [point.step, point.eval[key] ?? NaN]), lastStep: step, best }),
    ),
    ...TRAINING.map(({ key, ...more }) =>
      chart({ ...more, points: lines.map((point) => [point.step, valueOf(point, key)]), lastStep: step }),
    ),
  ].filter(Boolean);
  if (!charts.length) return [el("p", { class: "card idle soft" }, "This run has not logged anything yet.")];
  const found = [summary ? el("p", { class: "summary" }, summary) : "", el("div", { class: "charts" }, ...charts)];
  if (samples.length) found.push(el("h2", {}, "Samples"), el("div", { class: "samples" }, ...sampleCards(samples)));
  return found;
}

/** The first step with the highest main score: the checkpoint that is kept as the best. */
function bestStep(evals, name) {
  const value = (point) => point.eval[name] ?? -Infinity;
  return evals.reduce((best, point) => (best && value(point) <= value(best) ? best : point), null)?.step ?? null;
}

const valueOf = (point, key) => (key === "speed" ? (point.tokens ?? NaN) / (point.seconds ?? NaN) : point[key] ?? NaN);

/** Each example once, with its newest answer and what it was before that. */
function sampleCards(samples) {
  const byInputs = Map.groupBy(samples, (sample) => sample.inputs);
  return [...byInputs.values()].slice(0, MAX_SAMPLES).map((records) => {
    const last = records.reduce((newest, one) => (one.step >= newest.step ? one : newest));
    const before = records.filter((one) => one.step < last.step && one.answer !== last.answer).at(-1);
    const same = last.answer.trim().toLowerCase() === last.targets.trim().toLowerCase();
    const rows = [
      ["input", last.inputs, ""],
      ["gold", last.targets, ""],
      ["answer", last.answer || "(nothing)", same ? "answer same" : "answer"],
      ["before", before && `step ${before.step.toLocaleString("en")}: ${before.answer}`, "soft"],
    ].filter(([, words]) => words);
    const list = rows.flatMap(([name, words, kind]) => [el("dt", {}, name), el("dd", { class: kind }, words)]);
    return el("div", { class: "card sample" }, el("h3", {}, `step ${last.step.toLocaleString("en")}`), el("dl", {}, ...list));
  });
}
