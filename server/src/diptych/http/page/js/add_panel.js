/** Adds chosen or dropped pictures and folders to a collection; shows progress and errors. */

import { Adding } from "./adding.js";
import { byId, element, plural, showProblem } from "./dom.js";
import { isHidden, picturesIn } from "./dropped.js";

const N_FAILURES = 200;  // shown; all are counted

export class AddPanel {
  #api;
  #gallery;
  #onAdded;
  #adding = null;  // what is being sent, or could not be
  #collection = null;  // of the last ones
  #running = false;

  /** `onAdded` is called with the collection when it has new pictures. */
  constructor(api, gallery, onAdded) {
    this.#api = api;
    this.#gallery = gallery;
    this.#onAdded = onAdded;
    const chosen = byId("add-files");
    chosen.addEventListener("change", () => {
      this.add([...chosen.files].map((file) => ({ name: file.webkitRelativePath || file.name, file })));
      chosen.value = "";
    });
    byId("adding-stop").addEventListener("click", () => this.#stopOrClose());
    window.addEventListener("beforeunload", (event) => { if (this.#adding) event.preventDefault(); });
    listenForDrops(byId("find"), (pictures) => this.add(pictures));
  }

  /** Add a list of {name, file}. It may be called again while pictures are being sent. */
  add(pictures) {
    const collection = this.#gallery.target;
    const wanted = pictures.filter(({ name }) => !isHidden(name)).map((picture) => ({ ...picture, collection }));
    if (!wanted.length) return;
    this.#collection = collection;
    this.#adding ??= new Adding(this.#api, () => this.#draw());
    this.#adding.push(wanted);
    if (!this.#running) this.#run();
  }

  async #run() {
    const adding = this.#adding;
    this.#running = true;
    byId("adding").hidden = false;
    byId("adding-problem").replaceChildren();
    try {
      await adding.run();
      this.#end();
    } catch (problem) {
      showProblem(byId("adding-problem"), problem, () => this.#run());
    }
    this.#running = false;
    if (adding.counts.created) this.#onAdded(this.#collection);
  }

  #stopOrClose() {
    if (this.#adding === null) byId("adding").hidden = true;
    else if (this.#running) this.#adding.stop();
    else this.#end();  // after a problem nothing is at work
  }

  #end() {
    const adding = this.#adding;
    this.#adding = null;
    byId("adding-problem").replaceChildren();
    drawEnd(adding);
  }

  #draw() {
    const { done, total, stopped } = this.#adding;
    const bar = byId("adding-bar");
    bar.hidden = false;
    bar.max = total;
    bar.value = done;
    byId("adding-stop").textContent = "Stop";
    byId("adding-status").textContent = `${stopped ? "Stopping" : "Adding"}: ${done} of ${plural(total, "picture")}`;
    drawFailures(this.#adding.failures);
  }
}

function drawEnd({ counts, done, total, failures }) {
  byId("adding-bar").hidden = true;
  byId("adding-stop").textContent = "Close";
  const said = [
    `${counts.created} added`,
    counts.unchanged && `${counts.unchanged} there already`,
    counts.failed && `${counts.failed} failed`,
    total > done && `${total - done} not sent`,
  ];
  byId("adding-status").textContent = `${plural(total, "picture")}: ${said.filter(Boolean).join(", ")}`;
  drawFailures(failures);
}

function drawFailures(failures) {
  const box = byId("adding-failures");
  box.hidden = failures.length === 0;
  if (box.hidden) return;
  const shown = failures.slice(0, N_FAILURES);
  const lines = shown.map(({ name, reason }) => element("li", {}, element("strong", {}, name), ` ${reason}`));
  if (shown.length < failures.length) lines.push(element("li", {}, `and ${failures.length - shown.length} more`));
  box.querySelector("summary").textContent = `${plural(failures.length, "picture")} failed`;
  box.querySelector("ul").replaceChildren(...lines);
}

function listenForDrops(panel, onPictures) {
  const carriesFiles = ({ dataTransfer }) => dataTransfer.types.includes("Files");
  panel.addEventListener("dragover", (event) => panel.classList.toggle("dragging", carriesFiles(event)));
  panel.addEventListener("dragleave", (event) => {
    if (!panel.contains(event.relatedTarget)) panel.classList.remove("dragging");
  });
  panel.addEventListener("drop", async (event) => {
    panel.classList.remove("dragging");
    if (carriesFiles(event)) onPictures(await picturesIn(event.dataTransfer));
  });
}
