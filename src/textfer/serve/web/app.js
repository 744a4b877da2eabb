/** The page: tabs, and what all of them need from the server. */

import { get } from "./api.js";
import { offerAsk, setUpAsk } from "./ask.js";
import { byId, problem, withAdapters } from "./dom.js";
import { setUpRuns, watchRuns } from "./runs.js";
import { offerWrite, setUpWrite } from "./write.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function open(tab, focus = false) {
  for (const one of tabs) {
    const on = one === tab;
    one.setAttribute("aria-selected", String(on));
    one.tabIndex = on ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus) tab.focus();
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
  watchRuns(tab.id === "tab-runs");
}

function setUpTabs() {
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      open(tabs.at(steps[event.key] % tabs.length), true);
    });
  }
  const named = () => tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  window.addEventListener("hashchange", () => named() && open(named()));
  open(named() ?? tabs[0]);
}

async function loadModels() {
  byId("banner").replaceChildren();
  try {
    const models = withAdapters((await get("v1/models")).data);
    offerAsk(models.filter((model) => model.can.includes("answer")));
    offerWrite(models);
  } catch (error) {
    byId("banner").replaceChildren(problem(error, loadModels));
  }
}

setUpAsk();
setUpWrite();
setUpRuns();
setUpTabs();
loadModels();
