/** Adds pictures while the user goes on: a button, and a bar with the progress and what failed. */

import { plural } from "../format.js";
import { html } from "../html.js";
import { Problem, Progress } from "../parts/feedback.js";
import { PicturePicker } from "../parts/picker.js";
import { toast } from "../parts/toasts.js";
import { readCollections } from "../server.js";
import { createStore, useStore } from "../store.js";
import { Adding } from "./adding.js";
import { isHidden } from "./dropped.js";

const N_FAILURES = 200;  // shown; all are counted

/** `adding` is null before the first pictures; `n` changes with each outcome. */
const state = createStore({ adding: null, collection: null, running: false, problem: null, ended: false, n: 0 });
const changed = () => state.set({ n: state.get().n + 1 });

/** Add a list of {name, file}; it may be called again while pictures are being sent. */
export function addPictures(collection, pictures) {
  const wanted = pictures.filter(({ name }) => !isHidden(name)).map((picture) => ({ ...picture, collection }));
  if (!wanted.length) return void toast("There are no pictures among them");
  const { adding, ended } = state.get();
  const now = adding && !ended ? adding : new Adding(changed);
  state.set({ adding: now, collection, ended: false, problem: null });
  now.push(wanted);
  if (!state.get().running) run();
}

async function run() {
  const { adding } = state.get();
  state.set({ running: true, problem: null });
  try {
    await adding.run();
    state.set({ ended: true });
  } catch (problem) {
    state.set({ problem });
  }
  state.set({ running: false });
  await readCollections().catch(() => {});
}

addEventListener("beforeunload", (event) => {
  const { adding, ended } = state.get();
  if (adding && !ended) event.preventDefault();
});

/** A button that chooses files; nothing where nothing may be added (`target` null). */
export function AddButton({ target }) {
  if (!target) return null;
  const named = (file) => ({ name: file.webkitRelativePath || file.name, file });
  const add = (files) => addPictures(target, files.map(named));
  return html`
    <${PicturePicker} id="add-files" multiple label="Add pictures to the collection “${target}”" onFiles=${add}>
      Add<span class="wordy">${" "}pictures</span>
    <//>`;
}

export function AddingBar() {
  const { adding, collection, running, problem, ended } = useStore(state);
  if (!adding) return null;
  const close = () => state.set({ adding: null, problem: null, ended: false });
  const stopOrClose = () => (running ? adding.stop() : close());
  return html`
    <section class="adding" aria-label="Adding pictures">
      <p id="adding-status" role="status">${ended ? endText(adding) : goingText(adding, collection)}</p>
      <button id="adding-stop" type="button" class="quiet small" onClick=${stopOrClose}>
        ${running ? "Stop" : "Close"}
      </button>
      ${!ended && html`<${Progress} done=${adding.done} total=${adding.total} label="Added pictures"/>`}
      ${problem && html`<${Problem} problem=${problem} retry=${run}/>`}
      ${adding.failures.length > 0 && html`
        <details id="adding-failures">
          <summary>${plural(adding.failures.length, "picture")} failed</summary>
          <ul>
            ${adding.failures.slice(0, N_FAILURES).map(({ name, reason }) => html`
              <li><strong>${name}</strong> ${reason}</li>`)}
            ${adding.failures.length > N_FAILURES && html`<li>and ${adding.failures.length - N_FAILURES} more</li>`}
          </ul>
        </details>`}
      ${adding.newest.length > 0 && html`
        <details class="outcomes">
          <summary>Each picture</summary>
          <ul>${adding.newest.map(({ name, status }) => html`<li><strong>${name}</strong> ${STATUS[status]}</li>`)}</ul>
        </details>`}
    </section>`;
}

const STATUS = { created: "added", unchanged: "there already", replaced: "replaced", failed: "failed" };

const goingText = ({ stopped, done, total }, collection) =>
  `${stopped ? "Stopping" : `Adding to ${collection}`}: ${done} of ${plural(total, "picture")}`;

function endText({ counts, done, total }) {
  const said = [
    `${counts.created} added`,
    counts.replaced && `${counts.replaced} replaced`,
    counts.unchanged && `${counts.unchanged} there already`,
    counts.failed && `${counts.failed} failed`,
    total > done && `${total - done} not sent`,
  ];
  return `${plural(total, "picture")}: ${said.filter(Boolean).join(", ")}`;
}
