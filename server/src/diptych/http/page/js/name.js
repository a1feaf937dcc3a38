/** The right panel: classify a picture. */

import { byId, element, plural, showProblem } from "./dom.js";
import { Labels } from "./labels.js";
import { listenForPictures } from "./picker.js";

const N_BARS = 8;

export class NamePanel {
  #api;
  #gallery;
  #labels = new Labels(() => this.#classify());
  #file = null;
  #controller = new AbortController();

  /** `onFindAlike` receives the picture that the other panel should search by. */
  constructor(api, gallery, onFindAlike) {
    this.#api = api;
    this.#gallery = gallery;
    listenForPictures((file) => this.show(file), (item) => this.showItem(item));
    byId("find-alike").addEventListener("click", () => onFindAlike(this.#file));
    byId("use-own-names").addEventListener("change", () => this.#classify());
  }

  /** Classify a picture from the user. */
  show(file) {
    this.#file = file;
    const preview = byId("preview");
    URL.revokeObjectURL(preview.src);
    preview.onload = () => { preview.hidden = false; };
    preview.onerror = () => { preview.hidden = true; };
    preview.src = URL.createObjectURL(file);
    byId("drop-text").replaceChildren("Drop, paste or ", element("u", {}, "choose"), " another");
    byId("find-alike").hidden = true;  // until the server could read it
    return this.#classify();
  }

  /** Classify a picture of the collection. */
  async showItem(item) {
    try {
      await this.show(await this.#api.blob(item.links.original));
      byId("name").scrollIntoView({ block: "nearest" });
    } catch (error) {
      showProblem(byId("name-problem"), error);
    }
  }

  async #classify() {
    if (!this.#file) return;
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    byId("name-problem").replaceChildren();
    byId("bars").setAttribute("aria-busy", "true");
    const started = performance.now();
    try {
      const labels = await this.#allLabels();
      const answer = await this.#api.classify(this.#file, labels, N_BARS, signal);
      if (signal.aborted) return;
      drawBars(answer.data[0].predictions);
      byId("find-alike").hidden = false;
      report(labels.length, performance.now() - started);
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
    if (!signal.aborted) byId("bars").removeAttribute("aria-busy");
  }

  async #allLabels() {
    if (!byId("use-own-names").checked) return this.#labels.all;
    return [...new Set([...this.#labels.all, ...(await this.#gallery.names())])];
  }

  #fail(error) {
    byId("bars").replaceChildren();
    byId("name-status").textContent = "";
    showProblem(byId("name-problem"), error, () => this.#classify());
  }
}

function report(nLabels, elapsed_ms) {
  const ms = `${Math.max(1, Math.round(elapsed_ms))} ms`;
  byId("name-status").textContent = `Most likely of ${plural(nLabels, "label")}, ${ms}`;
}

function drawBars(predictions) {
  const rows = predictions.map(({ label, score }) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    const fill = element("span", {});
    bar.append(fill);
    requestAnimationFrame(() => { fill.style.width = `${score * 100}%`; });
    return element("li", {}, element("span", { class: "label" }, label),
      element("span", { class: "score" }, percent(score)), bar);
  });
  byId("bars").replaceChildren(...rows);
}

const percent = (score) => (score < 0.001 ? "< 0.1 %" : `${(score * 100).toFixed(1)} %`);
