/** Asks the user for the API key in a dialog. */

import { byId } from "./dom.js";

/** Resolves to the typed key, or to null if the dialog was dismissed. `isRefused`: the previous key was wrong. */
export function askForKey(isRefused) {
  const dialog = byId("key-dialog");
  const input = byId("key");
  input.value = "";
  byId("key-refused").hidden = !isRefused;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const finish = () => resolve(dialog.returnValue || null);
    dialog.addEventListener("close", finish, { once: true });
  });
}

/** Connect the buttons of the dialog, once. */
export function prepareKeyDialog() {
  const dialog = byId("key-dialog");
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close(byId("key").value.trim());
  });
  byId("key-cancel").addEventListener("click", () => dialog.close(""));
}
