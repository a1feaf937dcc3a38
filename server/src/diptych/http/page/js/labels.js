/** The editable list of labels. */

import { byId, element } from "./dom.js";

const DEFAULTS = [
  "cat", "dog", "bird", "fish", "horse", "tree", "flower", "car", "house",
  "chair", "cup", "pizza", "guitar", "rain cloud", "red heart", "smiling face",
];

export class Labels {
  #labels = [...DEFAULTS];
  #onChange;

  /** `onChange` is called after every edit. */
  constructor(onChange) {
    this.#onChange = onChange;
    byId("add-label").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add(byId("new-label").value);
      byId("new-label").value = "";
    });
    byId("new-label").addEventListener("paste", (event) => this.#pasteLines(event));
    byId("reset-labels").addEventListener("click", () => this.#set([...DEFAULTS]));
    this.#draw();
  }

  /** The current labels, without duplicates and blanks. */
  get all() {
    return [...this.#labels];
  }

  #add(...texts) {
    this.#set([...this.#labels, ...texts]);
  }

  #set(texts) {
    const before = this.#labels.join("\n");
    this.#labels = [...new Set(texts.map((text) => text.trim()).filter(Boolean))];
    this.#draw();
    if (this.#labels.join("\n") !== before) this.#onChange();
  }

  /** Pasted text becomes one label for each line. */
  #pasteLines(event) {
    const lines = event.clipboardData.getData("text").split(/\r?\n/);
    if (lines.filter((line) => line.trim()).length < 2) return;
    event.preventDefault();
    this.#add(...lines);
  }

  #draw() {
    byId("chips").replaceChildren(...this.#labels.map((label, index) => this.#chip(label, index)));
  }

  #chip(label, index) {
    const edit = (text) => this.#set(this.#labels.with(index, text));
    const input = element("input", {
      value: label, size: Math.max(2, label.length), maxlength: 200, "aria-label": `Label ${index + 1}`,
      onchange: ({ target }) => edit(target.value),
      onkeydown: ({ key, target }) => { if (key === "Enter") target.blur(); },
    });
    const remove = element("button", {
      type: "button", "aria-label": `Remove ${label}`, onclick: () => this.#remove(index),
    }, "×");
    return element("li", { class: "chip" }, input, remove);
  }

  #remove(index) {
    this.#set(this.#labels.toSpliced(index, 1));
    const buttons = byId("chips").querySelectorAll("button");
    (buttons[Math.min(index, buttons.length - 1)] ?? byId("new-label")).focus();
  }
}
