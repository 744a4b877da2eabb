/** The API key: asked for when the server wants one, kept for this tab only, sent nowhere else. */

import { byId } from "./dom.js";

const NAME = "textfer-key";
let asking = null;

/** The key, or null. */
export const savedKey = () => sessionStorage.getItem(NAME);

/** Whether a key was given; several requests that want one share one dialog. */
export function askForKey(why) {
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

function ask(why) {
  const dialog = byId("key-dialog");
  const input = byId("key");
  byId("key-why").textContent = why;
  input.value = "";
  dialog.returnValue = "";
  byId("key-cancel").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const key = dialog.returnValue === "use" ? input.value.trim() : "";
        if (key) sessionStorage.setItem(NAME, key);
        input.value = "";
        resolve(Boolean(key));
      },
      { once: true },
    );
  });
}
