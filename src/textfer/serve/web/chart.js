/** Curves drawn by hand: the SVG stretches to its box, labels are HTML placed in percent, so that text keeps its size. */

import { el } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const SIDE = 1000;
const MAX_POINTS = 600;
const LOG_RATIO = 4; // a curve that falls by more is drawn on a log scale, else its beginning hides all that follows
const MIN_SMOOTHED = 20;
const MAX_DOTS = 60;

/**
 * A figure of `points` [[step, value], …] over the steps 0 … lastStep. `log`, `zero`: allowed where they help;
 * `best`: the step to mark, where every point is an evaluation.
 */
export function chart({ title, points, lastStep, log = false, zero = false, smooth = false, best = null }) {
  const known = points.filter(([, value]) => Number.isFinite(value));
  if (!known.length) return null;
  const values = known.map(([, value]) => value);
  const [x, y] = [scale(0, Math.max(1, lastStep), false), vertical(values, log, zero)];
  const smoothed = smooth && known.length >= MIN_SMOOTHED;
  const drawing = svg("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const tick of y.ticks) {
    const at = SIDE - y.place(tick) * SIDE;
    drawing.append(svg("line", { x1: 0, x2: SIDE, y1: at, y2: at }));
  }
  drawing.append(line(smoothed ? "raw" : "line", known, x, y));
  if (smoothed) drawing.append(line("line", movingMean(known), x, y));
  const plot = el("div", { class: "plot" }, drawing, ...labels(x, y), ...dots(known, x, y, best));
  setUpReading(plot, known, x, y);
  const notes = [smoothed && "faint: as logged, strong: mean", y.log && "log scale"].filter(Boolean).join(" · ");
  const [first, last] = [known[0], known.at(-1)];
  const told = `${title}: ${short(first[1])} at step ${first[0]}, ${short(last[1])} at step ${last[0]}`;
  const caption = el("figcaption", {}, el("b", {}, title), ` ${short(last[1])} `, el("span", { class: "soft" }, notes));
  return el("figure", { class: "card chart", role: "img", "aria-label": told }, caption, plot);
}

/** A number on an axis: "1.5k", "0.25", "3e-4". */
export function short(value) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(4))}${unit}`;
  }
  if (value && Math.abs(value) < 1e-3) return value.toExponential(2).replace(/\.?0*e/, "e");
  return String(Number(value.toPrecision(4)));
}

// ---- scales

function vertical(values, log, zero) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (log && low > 0 && high / low > LOG_RATIO) {
    const air = (high / low) ** 0.04;
    return scale(low / air, high * air, true);
  }
  if (zero && low >= 0) return scale(0, high * 1.06 || 1, false);
  const air = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
  return scale(low - air, high + air, false);
}

/** Values to shares of the axis, and its round numbers. */
function scale(low, high, log) {
  const from = log ? Math.log : (value) => value;
  const place = (value) => (from(value) - from(low)) / (from(high) - from(low));
  return { low, high, log, place, ticks: log ? logTicks(low, high) : linearTicks(low, high) };
}

function linearTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((nice) => nice * power).find((step) => step >= rough * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / size - 1e-9); at <= high / size + 1e-9; at += 1) ticks.push(Number((at * size).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) powers.push(power);
  let found = [];
  for (const mantissas of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]]) {
    found = powers.flatMap((power) => mantissas.map((one) => Number((one * 10 ** power).toPrecision(6))));
    found = found.filter((tick) => tick >= low && tick <= high);
    if (found.length >= 3) break;
  }
  return found.length ? found.filter((_, at) => at % Math.ceil(found.length / 7) === 0) : [low, high];
}

// ---- drawing

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function line(kind, points, x, y) {
  const places = thin(points).map(([step, value]) => `${(x.place(step) * SIDE).toFixed(1)},${(SIDE - y.place(value) * SIDE).toFixed(1)}`);
  return svg("polyline", { class: kind, points: places.join(" ") });
}

/** At most MAX_POINTS points that keep the shape: lowest and highest of every stretch, first and last. */
function thin(points) {
  if (points.length <= MAX_POINTS) return points;
  const kept = new Set([0, points.length - 1]);
  const width = points.length / (MAX_POINTS / 2 - 1);
  for (let start = 0; start < points.length; start += width) {
    const [from, to] = [Math.floor(start), Math.min(points.length, Math.floor(start + width))];
    let [lowest, highest] = [from, from];
    for (let at = from; at < to; at += 1) {
      if (points[at][1] < points[lowest][1]) lowest = at;
      if (points[at][1] > points[highest][1]) highest = at;
    }
    kept.add(lowest).add(highest);
  }
  return [...kept].sort((a, b) => a - b).map((at) => points[at]);
}

function movingMean(points) {
  const half = Math.max(1, Math.floor(points.length / 60));
  const sums = [0];
  for (const [, value] of points) sums.push(sums.at(-1) + value);
  return points.map(([step], at) => {
    const [from, to] = [Math.max(0, at - half), Math.min(points.length, at + half + 1)];
    return [step, (sums[to] - sums[from]) / (to - from)];
  });
}

function labels(x, y) {
  const found = y.ticks.map((tick) => placed(el("span", { class: "y" }, short(tick)), "top", 1 - y.place(tick)));
  const steps = x.ticks.filter(Number.isInteger);
  return [...found, ...steps.map((tick) => placed(el("span", { class: "x" }, short(tick)), "left", x.place(tick)))];
}

function dots(points, x, y, best) {
  const few = points.length <= MAX_DOTS && best !== null;
  const shown = few || points.length === 1 ? points : points.filter(([step]) => step === best);
  return shown.map((point) => {
    const dot = el("i", { class: point[0] === best ? "dot best" : "dot" });
    return placed(placed(dot, "left", x.place(point[0])), "top", 1 - y.place(point[1]));
  });
}

function placed(element, side, at) {
  element.style[side] = `${(100 * at).toFixed(2)}%`; // a style attribute in markup is what the page's policy forbids
  return element;
}

/** Under the pointer: the nearest point and its numbers. */
function setUpReading(plot, points, x, y) {
  const tip = el("span", { class: "tip", hidden: true });
  const dot = el("i", { class: "dot", hidden: true });
  plot.append(tip, dot);
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * x.high;
    const near = points.reduce((best, one) => (Math.abs(one[0] - at) < Math.abs(best[0] - at) ? one : best));
    tip.textContent = `step ${near[0].toLocaleString("en")}: ${short(near[1])}`;
    placed(placed(dot, "left", x.place(near[0])), "top", 1 - y.place(near[1]));
    tip.hidden = dot.hidden = false;
  });
  plot.addEventListener("pointerleave", () => (tip.hidden = dot.hidden = true));
}
