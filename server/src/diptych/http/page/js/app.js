/** Sets up the page: waits for the model, then opens both panels. */

import { AddPanel } from "./add_panel.js";
import { goTo } from "./address.js";
import { createApi } from "./api.js";
import { byId, showProblem } from "./dom.js";
import { FindPanel } from "./find.js";
import { Gallery, SAMPLES } from "./gallery.js";
import { askForKey, prepareKeyDialog } from "./key.js";
import { NamePanel } from "./name.js";
import { placeholders } from "./tiles.js";
import { drawCredits, drawModel, drawWaiting } from "./about.js";

const READY_POLL_MS = 1500;

async function untilReady(api) {
  for (;;) {
    const state = await api.ready().then((ready) => (ready ? "ready" : "loading"), () => "away");
    if (state === "ready") return;
    drawWaiting(state);
    await new Promise((resolve) => { setTimeout(resolve, READY_POLL_MS); });
  }
}

async function open() {
  prepareKeyDialog();
  let shown = null;
  async function drawServed() {
    const version = await api.version();
    shown = version.model;
    drawModel(version, await api.models());
    return version;
  }
  const isShown = ({ name, version }) => name === shown.name && version === shown.version;
  const api = createApi(askForKey, (model) => { if (!isShown(model)) drawServed().catch(() => {}); });
  byId("hits").replaceChildren(...placeholders(18));
  await untilReady(api);
  const version = await drawServed();
  const gallery = new Gallery(api, version.default_collection);
  const name = new NamePanel(api, gallery, (file) => find.findAlike(file));
  const find = new FindPanel(api, gallery, (item) => name.showItem(item), drawCredits);
  // Nothing is added to the samples: after adding pictures while they are shown, show the user's own collection.
  const show = (added) => (gallery.name === SAMPLES && added !== SAMPLES ? goTo({ collection: added }) : find.show());
  new AddPanel(api, gallery, show);
  document.querySelector("main").inert = false;  // nothing can be asked before the panels listen
  await find.show();
}

open().catch((error) => {
  document.querySelector("main").inert = false;
  byId("hits").replaceChildren();
  showProblem(byId("find-problem"), error, () => location.reload());
});
