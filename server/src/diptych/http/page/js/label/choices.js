/** The labels of a set as buttons: the keys 1 to 9 press them; where there are more, typing finds them. */

import { html, useRef, useState } from "../html.js";
import { useKeys } from "../parts/keys.js";

const N_KEYS = 9;
const MAX_SHOWN = 60;  // of the others, those that are typed are found

/** Whether letters find labels, and are no keys of their own. */
export const isLongSet = (labels) => labels.length > N_KEYS;

/**
 * `chosen` are pressed. `onChoose` receives a label, or null for "none of these", and whether it was clicked. `onNew`
 * adds a label to the set, or is null. `scope` is a reference to the element whose keys count.
 */
export function Choices({ labels, chosen, onChoose, onNew, scope }) {
  const [typed, setTyped] = useState("");
  const input = useRef(null);
  const isLong = isLongSet(labels);
  const wanted = typed.trim().toLowerCase();
  const found = isLong && wanted ? labels.filter((label) => label.toLowerCase().includes(wanted)) : labels;
  const shown = found.slice(0, MAX_SHOWN);
  const choose = (label, isClick = false) => {
    setTyped("");
    onChoose(label, isClick);
  };
  useKeys(scope, (event) => {
    if (event.ctrlKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    const nth = /^[1-9]$/.test(key) ? shown[key - 1] : undefined;
    const isNone = key === "0" || (key === "n" && !isLong);
    if (isLong && /^\p{L}$/u.test(key)) return input.current.focus();  // where it is typed
    if (nth === undefined && !isNone) return;
    event.preventDefault();
    if (!event.repeat) choose(isNone ? null : nth);
  });
  const isNew = wanted && !labels.some((label) => label.toLowerCase() === wanted);
  const add = () => {
    setTyped("");
    onNew(typed.trim());
  };
  const submit = (event) => {
    event.preventDefault();
    if (isLong && shown.length && wanted) choose(labels.find((label) => label.toLowerCase() === wanted) ?? shown[0]);
    else if (isNew && onNew) add();
    input.current.blur();
  };
  const onKeyDown = ({ key }) => {
    if (key !== "Escape") return;
    setTyped("");
    input.current.blur();
  };
  const hint = isLong ? (onNew ? "Find or add a label" : "Find a label") : "Add a label";
  return html`
    <ul class="label-choices" aria-label="Labels">
      ${shown.map((label, i) => html`
        <li key=${label}>
          <button type="button" class="choice-button" aria-pressed=${String(chosen.includes(label))}
            aria-keyshortcuts=${i < N_KEYS ? i + 1 : undefined} title=${label} onClick=${() => choose(label, true)}>
            <span>${label}</span>${i < N_KEYS && html`<kbd aria-hidden="true">${i + 1}</kbd>`}
          </button>
        </li>`)}
      <li key="">
        <button type="button" class="choice-button none" aria-keyshortcuts="0" onClick=${() => choose(null, true)}>
          <span>None of these</span><kbd aria-hidden="true">0</kbd>
        </button>
      </li>
    </ul>
    ${(isLong || onNew) && html`
      <form class="add-label" onSubmit=${submit}>
        <input ref=${input} value=${typed} aria-label=${hint} placeholder=${hint} maxlength="200" autocomplete="off"
          enterkeyhint="done" onInput=${({ target }) => setTyped(target.value)} onKeyDown=${onKeyDown}/>
        ${isNew && onNew && html`<button type="button" class="quiet" onClick=${add}>Add “${typed.trim()}”</button>`}
      </form>`}`;
}
