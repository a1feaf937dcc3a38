/** The collections view: all of them, or one with what can be done to it. */

import { addressOf, goTo } from "../address.js";
import { count, plural } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Dialog } from "../parts/dialog.js";
import { Problem, Progress } from "../parts/feedback.js";
import { client, may, noteAway, readCollections } from "../server.js";
import { AddingBar } from "./adding_bar.js";
import { useCollections, NAME, State } from "./chosen.js";
import { CollectionDetail } from "./detail.js";
import { Samples } from "./samples.js";

const POLL_MS = 3000;

const N_SAMPLES = 6;

export function CollectionsView({ rest }) {
  const collections = useCollections();
  useEffect(() => {
    const read = () => { if (!document.hidden) readCollections().catch(noteAway); };
    read();
    const timer = setInterval(read, POLL_MS);
    return () => clearInterval(timer);
  }, []);
  if (rest[0]) return html`<${CollectionDetail} key=${rest[0]} name=${rest[0]} collections=${collections}/>`;
  return html`<${All} collections=${collections}/>`;
}

function All({ collections }) {
  const [creating, setCreating] = useState(false);
  const [libraries, setLibraries] = useState([]);
  const of = new Map(libraries.map((one) => [one.name, one]));
  // They are read as often as the collections.
  useEffect(() => { client.libraries().then(setLibraries, noteAway); }, [collections]);
  return html`
    <div class="view-head">
      <h2>${plural(collections.length, "collection")}</h2>
      <span class="spring"></span>
      ${may("write") && html`
        <button type="button" class="strong" onClick=${() => setCreating(true)}>New collection</button>`}
    </div>
    <${AddingBar}/>
    ${collections.length === 0 && html`
      <div class="empty">
        <strong>No collections yet</strong><p>A collection holds pictures that are searched together.</p>
      </div>`}
    <ul class="cards">
      ${[...collections].sort(emptyLast).map((one) => html`
        <${Card} key=${one.name} collection=${one} library=${of.get(one.name)}/>`)}
    </ul>
    ${creating && html`<${Create} onClose=${() => setCreating(false)}/>`}`;
}

const emptyLast = (one, other) => (one.n_images === 0) - (other.n_images === 0);

/** What a library is at, and what of it needs somebody's look. */
function Library({ library }) {
  const { name, state, reason, n_read: done, n_to_read: total, n_missing: missing, n_problems: n } = library;
  const notes = [missing > 0 && `${count(missing)} missing`, n > 0 && plural(n, "problem")].filter(Boolean).join(", ");
  return html`
    ${state === "waiting" && html`<p class="status">waits: ${reason}</p>`}
    ${total > 0 && html`
      <p class="status">scanning ${count(done)} of ${plural(total, "file")}</p>
      <${Progress} done=${done} total=${total} label="Read files of ${name}"/>`}
    ${notes && html`<p class="status">${notes}</p>`}`;
}

function Card({ collection, library }) {
  const { name, n_images: n, n_embedded: embedded, rollout, state } = collection;
  return html`
    <li class=${n ? "panel card" : "panel card bare"}>
      ${n > 0 && html`<${Samples} name=${name} nImages=${n} n=${N_SAMPLES} rows="two-rows"/>`}
      <h3><a href=${addressOf(["collections", name])}>${name}</a></h3>
      ${state !== "ready" && html`<${State} collection=${collection}/>`}
      <p class="big">${count(n)} <span>${n === 1 ? "picture" : "pictures"}</span></p>
      ${embedded < n && html`<p class="status">${count(embedded)} of them can be found</p>`}
      ${library && html`<${Library} library=${library}/>`}
      ${rollout && html`
        <p class="status">moving to ${rollout.model} ${rollout.version}, ${rollout.precision}</p>
        <${Progress} done=${rollout.n_embedded} total=${rollout.n_images} label="Embedded pictures of ${name}"/>`}
      ${n > 0 && html`
        <p class="row"><a class="quiet small button" href=${addressOf("search", { collection: name })}>Search</a></p>`}
    </li>`;
}

function Create({ onClose }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const { name, keep } = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    setProblem(null);
    try {
      await client.createCollection(name, { keep });
      await readCollections();
      onClose();
      goTo(addressOf(["collections", name]));
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`
    <${Dialog} title="New collection" onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <label>
          Name <input name="name" required pattern=${NAME} maxlength="64" autocomplete="off" placeholder="holiday-2026"
                           title="Small letters, digits, and . _ -"/></label>
        <label>Files
          <select name="keep">
            <option value="original">keep the pictures' files</option>
            <option value="none">keep only vectors: smaller, but it cannot move to another version</option>
          </select>
        </label>
        <${Problem} problem=${problem}/>
        <p class="row end"><button type="submit" class="strong" disabled=${busy}>Create</button></p>
      </form>
    <//>`;
}
