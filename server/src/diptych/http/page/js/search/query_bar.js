/** The query: words in a box, and further parts as chips with a weight from minus to plus. */

import { html, useEffect, useRef, useState } from "../html.js";
import { nameOf } from "../format.js";
import { Spinner } from "../parts/feedback.js";
import { Picture } from "../parts/thumbnail.js";
import { client } from "../server.js";
import { PicturePicker } from "../parts/picker.js";
import { keepUpload, uploaded } from "./query.js";

const TYPING_MS = 90;
const STEP_MS = 3000;  // who types again after so long types another query

/** `onChange(parts, {replace})`: without `replace` it is a new step in the history. */
export function QueryBar({ collection, parts, onChange, busy }) {
  const text = parts.find(({ main }) => main)?.value ?? "";
  const further = parts.filter(({ main }) => !main);
  const [typed, setTyped] = useState(text);
  const timer = useRef(0);
  const typing = useRef(false);
  const typedAt = useRef(0);
  const latest = useRef(null);
  latest.current = { further, text };
  useEffect(() => {
    if (typed.trim() === text.trim()) return;
    setTyped(text);
    typing.current = false;
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const input = useRef(null);
  useEffect(() => {
    const focusWithSlash = (event) => {
      if (event.key !== "/" || event.target.closest?.("input, textarea, select, dialog")) return;
      event.preventDefault();
      input.current.focus();
      input.current.select();
    };
    addEventListener("keydown", focusWithSlash);
    return () => removeEventListener("keydown", focusWithSlash);
  }, []);

  const search = (value, options) => {
    clearTimeout(timer.current);
    const words = value.trim();
    if (words === latest.current.text.trim()) return;
    const main = words ? [{ kind: "text", value: words, weight: 1, main: true }] : [];
    onChange([...main, ...latest.current.further], options);
  };
  // Letters of one query are one step in the history.
  const onInput = ({ target }) => {
    setTyped(target.value);
    clearTimeout(timer.current);
    if (performance.now() - typedAt.current > STEP_MS) typing.current = false;
    typedAt.current = performance.now();
    timer.current = setTimeout(() => {
      search(target.value, { replace: typing.current });
      typing.current = true;
    }, TYPING_MS);
  };
  const onSubmit = (event) => {
    event.preventDefault();
    search(typed, { replace: typing.current });
    typing.current = false;
  };
  const addText = () => {
    clearTimeout(timer.current);
    setTyped("");
    onChange([...further, { kind: "text", value: typed.trim(), weight: 1 }]);
  };
  const setWeight = (changed, weight) =>
    onChange(parts.map((part) => (part === changed ? { ...part, weight } : part)), { replace: true });
  return html`
    <form id="search" class="search" role="search" onSubmit=${onSubmit}>
      <label class="unseen" for="query">Describe the picture you look for</label>
      <input id="query" ref=${input} type="search" aria-keyshortcuts="/"
             placeholder=${further.length ? "Add words" : "Describe a picture"} maxlength="1000" autocomplete="off"
             spellcheck=${false} enterkeyhint="search" value=${typed} onInput=${onInput}
             autofocus=${matchMedia("(hover: hover)").matches}/>
      ${busy && html`<${Spinner} label="Searching"/>`}
      <button type="button" class="quiet as-part" onClick=${addText}
        style=${{ visibility: typed.trim() ? "visible" : "hidden" }}
        title="Make these words a part of the query with a weight of its own">
        Add as part
      </button>
      <${PicturePicker} label="Search with a picture"
        onFiles=${([file]) => onChange([...parts, { kind: "upload", value: keepUpload(file), weight: 1 }])}>
        <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
          <path d="M2 4h16v12H2zM2 14l5-5 4 4 3-3 4 4M13 7h.01"/>
        </svg>
        <span class="wordy">By picture</span>
      <//>
      <button type="submit" class="strong">Search</button>
    </form>
    ${further.length > 0 && html`
      <ul class="parts" aria-label="Further parts of the query">
        ${further.map((part) => html`
          <${Part} key=${`${part.kind}:${part.value}`} part=${part} collection=${collection}
            onWeight=${(weight) => setWeight(part, weight)}
            onRemove=${() => onChange(parts.filter((one) => one !== part))}/>`)}
        ${parts.length > 1 && html`
          <li><button type="button" class="quiet small" onClick=${() => onChange([])}>Clear all</button></li>`}
      </ul>`}`;
}

/** One further part: its picture or words, and a slider for its weight. */
function Part({ part: { kind, value, weight }, collection, onWeight, onRemove }) {
  const [name, setName] = useState(value);
  useEffect(() => {
    if (kind !== "id") return undefined;
    const controller = new AbortController();
    client.getImage(collection, value, { signal: controller.signal }).then((item) => setName(nameOf(item)), () => {});
    return () => controller.abort();
  }, [value]);
  const label = kind === "text" ? `“${value}”` : kind === "id" ? name : uploaded(value)?.name ?? "your picture";
  const prefix = kind === "text" ? "" : "like ";
  return html`
    <li class=${weight < 0 ? "part minus" : "part"}>
      ${kind === "id" && html`<${Picture} collection=${collection} id=${value}/>`}
      ${kind === "upload" && html`<${Upload} file=${uploaded(value)}/>`}
      <span class="part-name">${prefix}${label}</span>
      <label class="weight">
        <span class="unseen">Weight of ${label}</span>
        <input type="range" min="-1" max="1" step="0.1" value=${weight}
          onInput=${({ target }) => onWeight(Number(target.value))}/>
        <output>${weight === 0 ? "" : weight > 0 ? "+" : "−"}${Math.abs(weight).toFixed(1)}</output>
      </label>
      <button type="button" class="icon small" aria-label="Remove ${label}" onClick=${onRemove}>×</button>
    </li>`;
}

function Upload({ file }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return html`<img alt="" src=${url}/>`;
}
