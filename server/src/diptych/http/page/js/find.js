/** The left panel: search pictures by text or by picture. */

import { collectionOfAddress, goTo, queryOfAddress } from "./address.js";
import { drawCollections, listenForCollection } from "./collections.js";
import { byId, element, plural, showProblem } from "./dom.js";
import { SAMPLES } from "./gallery.js";
import { drawQueryPicture } from "./query_picture.js";
import { placeholders, tile } from "./tiles.js";

/** Fewer in a narrow window, where the other panel is below them. */
const N_TILES = matchMedia("(max-width: 899px)").matches ? 18 : 48;
const EMPTY_POLL_MS = 3000;
const NOT_READY = 503;
/** A hit with less relevance does not fit, as docs/collections-and-search.md explains. */
const MIN_RELEVANCE = 0.1;
const fits = ({ relevance }) => relevance === null || relevance === undefined || relevance >= MIN_RELEVANCE;
const DEFAULT_URL = "http://127.0.0.1:8000";  // where `diptych add` looks by itself

export class FindPanel {
  #api;
  #gallery;
  #onName;
  #onPictures;
  #known = new Map();  // id -> picture seen so far, so that a query by id can show its name
  #shown = [];
  #held = [];          // hits where none fits, until they are asked for
  #nFit = 0;
  #line = null;        // below what fits, once something less relevant is shown
  #last = true;        // the server has no more
  #upload = null;      // the picture of a query that has no id
  #query = { kind: "browse" };
  #offset = 0;
  #after = null;
  #controller = new AbortController();
  #timer = 0;          // of the next look at what is not there yet
  #hits = byId("hits");
  #more = byId("more");

  /** `onName` receives a picture that the other panel should classify, `onPictures` all pictures that are shown. */
  constructor(api, gallery, onName, onPictures) {
    this.#api = api;
    this.#gallery = gallery;
    this.#onName = onName;
    this.#onPictures = onPictures;
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      const q = byId("query").value.trim();
      goTo(q ? { q } : {});
    });
    byId("query").addEventListener("input", ({ target }) => {
      if (!target.value && this.#query.kind === "text") goTo({});
    });
    byId("examples").addEventListener("click", ({ target }) => {
      if (target.tagName === "BUTTON") goTo({ q: target.textContent });
    });
    listenForCollection();
    this.#more.addEventListener("click", () => this.#load(true));
    window.addEventListener("hashchange", () => this.show());
  }

  /** Show the query in the address. */
  show() {
    const asked = queryOfAddress();
    this.#query = asked.kind === "upload" && !this.#upload ? { kind: "browse" } : asked;
    this.#offset = 0;
    this.#after = null;
    byId("query").value = this.#query.text ?? "";
    return this.#load(false);
  }

  /** Search by a picture that is not in the collection. */
  findAlike(file) {
    this.#upload = file;
    goTo({ upload: Date.now() });
  }

  async #load(append) {
    const signal = this.#begin();
    try {
      const chosen = await this.#gallery.choose(collectionOfAddress());
      if (signal.aborted) return;
      this.#turnTo(chosen, append);
      const { total } = chosen;
      const started = performance.now();
      const { list, last } = total ? await this.#fetch(signal) : { list: [], last: true };
      const elapsed_ms = performance.now() - started;
      if (signal.aborted) return;
      this.#draw(list, append, last);
      this.#report(total, elapsed_ms);
    } catch (error) {
      if (!signal.aborted) this.#fail(error, append);
    }
    if (!signal.aborted) this.#hits.removeAttribute("aria-busy");
  }

  #begin() {
    this.#controller.abort();
    this.#controller = new AbortController();
    clearTimeout(this.#timer);
    byId("find-problem").replaceChildren();
    this.#hits.setAttribute("aria-busy", "true");
    this.#more.hidden = true;
    if (!this.#hits.children.length) this.#hits.replaceChildren(...placeholders(18));
    return this.#controller.signal;
  }

  #turnTo({ name, names }, append) {
    if (name !== this.#gallery.name) this.#known.clear();
    this.#gallery.name = name;
    drawCollections(names, name);
    byId("examples").hidden = name !== SAMPLES;  // what they look for is there
    byId("add-files").parentElement.title = `to the collection “${this.#gallery.target}”`;
    if (append) return;
    const { id } = this.#query;
    const item = this.#known.get(id) ?? { id, links: this.#gallery.links(id) };
    drawQueryPicture(this.#api, this.#query, item, this.#upload, () => this.#onName(item));
  }

  async #fetch(signal) {
    if (this.#query.kind === "browse") {
      const page = await this.#gallery.page(this.#after, N_TILES);
      signal.throwIfAborted();
      this.#after = page.next;
      return { list: page.images, last: page.next === null };
    }
    const { hits: list } = await this.#search(signal);
    signal.throwIfAborted();
    this.#offset += list.length;
    return { list, last: list.length < N_TILES };
  }

  #search(signal) {
    const { kind, text, id } = this.#query;
    const { name } = this.#gallery;
    if (kind === "upload") return this.#api.searchByImage(name, this.#upload, N_TILES, this.#offset, signal);
    return this.#api.search(name, kind === "text" ? { text } : { id }, N_TILES, this.#offset, signal);
  }

  #draw(list, append, last) {
    this.#last = last;
    for (const item of list) this.#known.set(item.id, item);
    const others = list.filter(({ id }) => id !== this.#query.id);
    if (!append) this.#clear();
    const fitting = this.#line ? [] : others.filter(fits);  // best first, so what fits comes first
    const rest = others.slice(fitting.length);
    this.#nFit += fitting.length;
    if (!append && rest.length && !fitting.length) return this.#showNothingFits(rest);
    this.#add(fitting);
    if (rest.length) this.#addBelowLine(rest);
  }

  #clear() {
    this.#shown = [];
    this.#held = [];
    this.#nFit = 0;
    this.#line = null;
    this.#hits.replaceChildren();
    this.#hits.parentElement.scrollTop = 0;
  }

  #add(items) {
    this.#shown = [...this.#shown, ...items];
    this.#hits.append(...items.map((item) => tile(this.#api, item, ({ id }) => goTo({ id }))));
    this.#more.hidden = this.#last;
    this.#onPictures(this.#shown);
  }

  #addBelowLine(items) {
    if (!this.#line) {
      this.#line = element("li", { class: "line" }, "Less relevant");
      this.#hits.append(this.#line);
    }
    this.#add(items);
  }

  #report(total, elapsed_ms) {
    const nShown = this.#shown.length;
    if (total === 0) return this.#showEmpty();
    const ms = `${Math.max(1, Math.round(elapsed_ms))} ms`;
    const all = plural(total, "picture");
    const found = this.#line || this.#held.length
      ? `${this.#nFit || "None"} of ${all} may fit`
      : nShown ? `Best ${nShown} of ${all}` : "Nothing found";
    byId("find-status").textContent = this.#query.kind === "browse" ? all : `${found}, ${ms}`;
  }

  #showNothingFits(held) {
    this.#held = held;
    this.#hits.replaceChildren(element("li", { class: "empty" },
      element("strong", {}, "Nothing here fits"),
      element("p", {}, "The nearest pictures show something else."),
      element("button", { type: "button", class: "quiet", onclick: () => this.#showHeld() }, "Show them anyway")));
    this.#onPictures([]);
  }

  #showHeld() {
    const held = this.#held;
    this.#held = [];
    this.#hits.replaceChildren();
    this.#addBelowLine(held);
    byId("find-status").textContent = `Nearest ${plural(this.#shown.length, "picture")}`;
  }

  /** A collection is being loaded, or the server is busy: the search is asked again by itself. */
  #showWaiting({ message, retryAfter_s }) {
    this.#hits.replaceChildren(element("li", { class: "empty" },
      element("strong", {}, "One moment"), element("p", {}, message)));
    this.#timer = setTimeout(() => this.#load(false), 1000 * retryAfter_s);
  }

  #showEmpty() {
    byId("find-status").textContent = "";
    this.#hits.replaceChildren(element("li", { class: "empty" },
      element("strong", {}, "No pictures here yet"),
      element("p", {}, "Drop some here, or add a folder of them:"),
      element("code", {}, addCommand(this.#gallery))));
    this.#timer = setTimeout(() => this.#load(false), EMPTY_POLL_MS);
  }

  #fail(error, append) {
    if (!append) this.#hits.replaceChildren();
    byId("find-status").textContent = "";
    if (error.status === NOT_READY && !append) return this.#showWaiting(error);
    showProblem(byId("find-problem"), error, () => this.#load(append));
  }
}

/** The command that adds a folder to the shown collection. */
function addCommand({ target, own }) {
  const here = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const words = ["diptych add", here !== DEFAULT_URL && `--url ${here}`, target !== own && `--collection ${target}`, "FOLDER"];
  return words.filter(Boolean).join(" ");
}
