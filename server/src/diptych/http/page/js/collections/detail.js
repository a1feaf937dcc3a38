/** One collection: add pictures, look at what it holds, change it, delete it. */

import { addressOf, goTo } from "../address.js";
import { bytes, count, duration, moment, plural, valueText } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Confirm } from "../parts/dialog.js";
import { Problem, Progress } from "../parts/feedback.js";
import { toast } from "../parts/toasts.js";
import { client, may, readCollections } from "../server.js";
import { AddButton, AddingBar, addPictures } from "./adding_bar.js";
import { picturesIn } from "./dropped.js";
import { Duplicates } from "./duplicates.js";
import { addable, NAME, State } from "./chosen.js";
import { Samples } from "./samples.js";

const N_SAMPLES = 12;

export function CollectionDetail({ name, collections }) {
  const collection = collections.find((one) => one.name === name);
  const [dragging, setDragging] = useState(false);
  if (!collection) {
    return html`
      <div class="empty">
        <strong>There is no collection “${name}” here</strong>
        <a class="quiet button" href=${addressOf("collections")}>All collections</a>
      </div>`;
  }
  const writes = may("write");
  const adds = addable(collection) === name && collection.state !== "unserved";
  const onDrop = async (event) => {
    event.preventDefault();
    setDragging(false);
    if (!adds) return;
    await picturesIn(event.dataTransfer)
      .then((pictures) => addPictures(name, pictures), () => toast("The browser could not read what was dropped"));
  };
  const onDragOver = (event) => {
    event.preventDefault();
    setDragging(adds && event.dataTransfer.types.includes("Files"));
  };
  return html`
    <div class="detail" onDragOver=${onDragOver} onDrop=${onDrop} onDragLeave=${({ currentTarget, relatedTarget }) => {
      if (!currentTarget.contains(relatedTarget)) setDragging(false);
    }}>
      <div class="view-head">
        <h2><a href=${addressOf("collections")}>Collections</a> / ${name}</h2>
        ${collection.state !== "ready" && html`<${State} collection=${collection}/>`}
        <span class="status">${plural(collection.n_images, "picture")}</span>
        <span class="spring"></span>
        <a class="quiet button" href=${addressOf("search", { collection: name })}>Search</a>
      </div>
      <${AddingBar}/>
      ${collection.n_images > 0 && html`
        <${Samples} name=${name} nImages=${collection.n_images} n=${N_SAMPLES} rows="one-row"/>`}
      ${adds && html`
        <section class=${dragging ? "panel dragging" : "panel"} aria-label="Add pictures">
          <div class="drop">
            <strong>Drop pictures or a folder here</strong>
            <span>what is there already is not added twice</span>
            <p class="row">
              <${AddButton} target=${name}/>
              <${FolderButton} target=${name}/>
            </p>
          </div>
        </section>`}
      <${Fields} name=${name} nImages=${collection.n_images}/>
      <${Duplicates} name=${name} nImages=${collection.n_images}/>
      <${Facts} collection=${collection}/>
      ${writes && html`<${Settings} collection=${collection}/>`}
    </div>`;
}

/** Chooses a whole folder. */
function FolderButton({ target }) {
  const input = useRef(null);
  useEffect(() => { input.current.webkitdirectory = true; }, []);  // no attribute of HTML, but all browsers have it
  const add = ({ target: { files } }) => {
    addPictures(target, [...files].filter(({ type }) => type === "" || type.startsWith("image/"))
      .map((file) => ({ name: file.webkitRelativePath || file.name, file })));
    input.current.value = "";
  };
  return html`
    <label class="quiet button">
      <input ref=${input} class="unseen" type="file" multiple aria-label="Add a folder to ${target}" onChange=${add}/>
      Add a folder
    </label>`;
}

const vectorsText = ({ name, version, precision, decode }) =>
  `${name} version ${version}, ${precision}, ${decode} decoding`;

const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** How many of the nearest pictures searches find. */
const recallText = (index, recall, by) =>
  index.kind === "flat" || !by
    ? `recall ${recall}`
    : `finds ${percent(by.names)} of the nearest by names, ${percent(by.nouns)} by other nouns, `
      + `${percent(by.images)} by pictures`;

function Facts({ collection }) {
  const {
    n_images: n, n_embedded: embedded, n_kept: kept, kept_bytes: keptBytes, memory_bytes: memory, load_s: load,
    model, vectors, created_at: created, keep, index, recall, recall_by: recallBy, rollout, reason, stays, state,
  } = collection;
  const none = state === "unserved" ? `of ${model}, which is not served` : "none yet";
  const later = keep === "none" ? "; those of new pictures are not kept" : "";
  const rows = [
    ["pictures", `${count(n)}${embedded < n ? `, of which ${count(embedded)} can be found` : ""}`],
    ["files", keep === "none" && !kept ? "not kept" : `${count(kept)}, ${bytes(keptBytes)}${later}`],
    ["vectors", vectors ? vectorsText(vectors) : none],
    ["in memory", `${bytes(memory)}${load ? `, read in ${duration(load)} at the start` : ""}`],
    ["searched on", index ? `${index.device}, ${recallText(index, recall, recallBy)}` : "nothing yet"],
    ["created", moment(created)],
  ];
  return html`
    <section class="panel" aria-label="Facts">
      <h3>Facts</h3>
      ${(reason || stays) && html`<p class="notice">${[reason, stays].filter(Boolean).join("; ")}</p>`}
      ${rollout && html`
        <p>
          Moving to ${rollout.model} version ${rollout.version}, ${rollout.precision}:${" "}
          ${count(rollout.n_embedded)} of ${plural(rollout.n_images, "picture")}
        </p>
        <${Progress} done=${rollout.n_embedded} total=${rollout.n_images} label="Embedded pictures"/>`}
      <dl class="details">
        ${rows.map(([term, text]) => html`<div key=${term}><dt>${term}</dt><dd>${text}</dd></div>`)}
      </dl>
    </section>`;
}

/** Some pictures have the same value: it is no name or address of one. */
const isShared = (nDistinct, n) => nDistinct < n || n <= 1;

/** What is inside of them has fields of its own. */
const hasOnlyObjects = ({ kinds }) => kinds.every((kind) => kind === "object");

/** The fields of the metadata and their most frequent values, each a link to its pictures. */
function Fields({ name, nImages }) {
  const [fields, setFields] = useState(null);
  useEffect(() => {
    const controller = new AbortController();
    client.fields(name, { limit: 8, nested: true, signal: controller.signal }).then(
      ({ fields: found }) => setFields(found.filter((field) => !hasOnlyObjects(field))),
      () => {},
    );
    return () => controller.abort();
  }, [name, nImages]);
  if (!fields?.length) return null;
  return html`
    <section class="panel" aria-label="Metadata">
      <h3>Metadata</h3>
      <dl class="details">
        ${fields.map((field) => html`<${FieldRow} key=${field.name} collection=${name} field=${field}/>`)}
      </dl>
    </section>`;
}

function FieldRow({ collection, field: { name, n_images: n, n_distinct: nDistinct, values } }) {
  const listed = isShared(nDistinct, n) ? values : [];
  const link = (value) => addressOf("search", { collection, only: JSON.stringify({ [name]: [value] }) });
  return html`
    <div>
      <dt>${name}</dt>
      <dd>
        <span class="status">
          ${nDistinct ? plural(nDistinct, "value") : "nested,"} in ${plural(n, "picture")}${listed.length ? ":" : ""}
        </span>
        ${listed.map(({ value, count: m }, i) => html`
          ${i ? ", " : " "}<a href=${link(value)}>${valueText(value)}</a> <span class="status">${count(m)}</span>`)}
      </dd>
    </div>`;
}

function Settings({ collection }) {
  const { name, keep } = collection;
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const change = async (changes, done) => {
    setBusy(true);
    setProblem(null);
    try {
      await client.changeCollection(name, changes);
      await readCollections();
      toast(done);
      if (changes.newName) goTo(addressOf(["collections", changes.newName]), { replace: true });
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  const rename = (event) => {
    event.preventDefault();
    const newName = new FormData(event.target).get("name");
    if (newName !== name) change({ newName }, `Renamed to ${newName}`);
  };
  const remove = async () => {
    setDeleting(false);
    setBusy(true);
    try {
      await client.dropCollection(name);
      await readCollections();
      toast(`${name} deleted`);
      goTo(addressOf("collections"), { replace: true });
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`
    <section class="panel" aria-label="Settings">
      <h3>Settings</h3>
      <${Problem} problem=${problem}/>
      <form class="row" onSubmit=${rename}>
        <label class="row">
          Name <input name="name" required pattern=${NAME} title="Small letters, digits, and . _ -" value=${name}/>
        </label>
        <button type="submit" class="quiet" disabled=${busy}>Rename</button>
      </form>
      <label class="check">
        <input type="checkbox" checked=${keep === "original"} disabled=${busy}
          onChange=${({ target: { checked } }) =>
            change({ keep: checked ? "original" : "none" }, "Changed for new pictures")}/>
        <span>Keep the files of new pictures</span>
      </label>
      <p class="row">
        <button type="button" class="quiet danger" disabled=${busy} onClick=${() => setDeleting(true)}>
          Delete the collection
        </button>
      </p>
      ${deleting && html`
        <${Confirm} title="Delete “${name}”?" action="Delete it" onConfirm=${remove}
          onClose=${() => setDeleting(false)}>
          <p>${plural(collection.n_images, "picture")}, their files and vectors are deleted. This cannot be undone.</p>
        <//>`}
    </section>`;
}
