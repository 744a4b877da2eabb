/** Building and finding elements. Text is only ever set as text: nothing here, or anywhere else, parses HTML. */

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element: `el("p", { class: "soft" }, "text", child, …)`. Names that begin with "on" are listeners. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Says something to screen readers, once. */
export function announce(text) {
  const region = byId("live");
  region.textContent = "";
  requestAnimationFrame(() => (region.textContent = text)); // the same words twice must be two changes
}

/** A count with its noun: "1 passage", "12,000 characters". */
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** A share of 1 with two digits; what would round to nothing says so. */
export const share = (value) => (value > 0 && value < 0.005 ? "< 0.01" : value.toFixed(2));

/** A bar as long as a share of 1. */
export function bar(value) {
  const fill = el("i");
  fill.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/** An error in words, with the server's own words below it and a button to try again. */
export function problem(failure, again) {
  const parts = [el("p", {}, failure.message)];
  if (failure.detail) parts.push(el("p", { class: "soft detail" }, failure.detail));
  if (again && failure.passing) parts.push(el("button", { type: "button", onclick: again }, "Try again"));
  return el("div", { class: "problem", role: "alert" }, ...parts);
}

/** The models for a list, each also under the adapters that it may put on, with what these can. */
export const withAdapters = (models) =>
  models.flatMap((model) => [
    model,
    ...(model.adapters ?? []).map((name) => ({ ...model, ...model.under?.[name], id: `${model.id}:${name}` })),
  ]);

/** Fills a list of models; where there is only one, it is told and cannot be changed. */
export function offerModels(select, models, verb) {
  const before = select.value;
  select.replaceChildren(...models.map((model) => el("option", { value: model.id }, model.id)));
  if (models.some((model) => model.id === before)) select.value = before;
  select.disabled = models.length < 2;
  select.closest(".model").hidden = models.length === 0;
  const missing = byId(`${select.id}-missing`);
  missing.hidden = models.length > 0;
  missing.textContent = `No model of this server can ${verb}.`;
}

/** Scrolls to an element that lies below what is seen. */
export function reveal(element) {
  if (element.getBoundingClientRect().top > window.innerHeight - 120) element.scrollIntoView();
}

/** Calls `act` on Ctrl+Enter (⌘ Enter on a Mac), and `stop` on Escape, while a tab is open. */
export function keys(tab, act, stop) {
  document.addEventListener("keydown", (event) => {
    if (tab.hidden || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      act();
    } else if (event.key === "Escape") stop();
  });
}
