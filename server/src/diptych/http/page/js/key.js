/** Asks a person for the API key in a dialog; knows nothing of where it is kept. */

import { byId } from "./dom.js";

/** Resolves to the typed key, or to null when the dialog was dismissed. `isRefused`: the one before was wrong. */
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

/** Wire the dialog's own buttons, once. */
export function prepareKeyDialog() {
  const dialog = byId("key-dialog");
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close(byId("key").value.trim());
  });
  byId("key-cancel").addEventListener("click", () => dialog.close(""));
}
