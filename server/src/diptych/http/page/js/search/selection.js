/** Several pictures at once: delete, tag and label with undo, export and print. */

import { addressOf } from "../address.js";
import { nameOf, plural } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Dialog } from "../parts/dialog.js";
import { Progress } from "../parts/feedback.js";
import { csv, saveFile } from "../parts/save.js";
import { Picture } from "../parts/thumbnail.js";
import { zip, zipEntry } from "../parts/zip.js";
import { give, takeBack } from "../label/answers.js";
import { toast } from "../parts/toasts.js";
import { client, may } from "../server.js";
import { noteTagged } from "./filters.js";

const AT_ONCE = 4;

/**
 * The selected pictures of `shown`, until `key` changes. A click with Shift selects all up to the last selected one.
 * Where pictures are shown in several lists, `toggle` also receives the list of the clicked one and its name.
 */
export function useSelection(shown, key) {
  const [active, setActive] = useState(false);
  const [picked, setPicked] = useState(new Map());  // id -> item
  const [last, setLast] = useState({ list: null });
  const end = () => {
    setActive(false);
    setPicked(new Map());
  };
  useEffect(end, [key]);
  const toggle = (item, index, range, items = shown, list = null) => {
    const next = new Map(picked);
    const from = last.list === list ? last.index ?? index : index;
    if (range) for (const one of items.slice(Math.min(from, index), Math.max(from, index) + 1)) next.set(one.id, one);
    else if (!next.delete(item.id)) next.set(item.id, item);
    setPicked(next);
    setLast({ index, list });
    setActive(true);
  };
  /** A range from where its first step began; it shrinks as it grew. */
  const extend = (from, to) => {
    const range = last.reach === from ? last : { index: from, list: null, before: picked };
    const [first, end] = [range.index, to].toSorted((a, b) => a - b);
    const items = shown.slice(first, end + 1);
    setPicked(new Map([...range.before, ...items.map((item) => [item.id, item])]));
    setLast({ ...range, reach: to });
    setActive(true);
  };
  return {
    active, end, toggle, extend,
    items: [...picked.values()],
    has: (id) => picked.has(id),
    all: () => setPicked(new Map(shown.map((item) => [item.id, item]))),
    Toggle: html`
      <button type="button" class="quiet" aria-pressed=${String(active)}
        onClick=${() => (active ? end() : setActive(true))}>
        Select
      </button>`,
  };
}

export function SelectionBar({ selection, collection, items, remove }) {
  const [open, setOpen] = useState(null);
  if (!selection.active) return null;
  const chosen = selection.items;
  const removeChosen = () => {
    remove(chosen);
    selection.end();
  };
  const none = chosen.length === 0;
  return html`
    <div class="selection" role="toolbar" aria-label="Selected pictures">
      <strong role="status">${none ? "Choose pictures" : `${plural(chosen.length, "picture")} selected`}</strong>
      <button type="button" class="link" onClick=${selection.all}>All ${items.length} that are loaded</button>
      <span class="spring"></span>
      ${may("write") && html`
        <button type="button" class="quiet" disabled=${none} onClick=${() => setOpen("tag")}>Tag</button>
        <button type="button" class="quiet" disabled=${none} onClick=${() => setOpen("label")}>Label</button>`}
      <button type="button" class="quiet" disabled=${none} onClick=${() => setOpen("export")}>Export</button>
      <button type="button" class="quiet" disabled=${none} onClick=${() => setOpen("print")}>Print</button>
      ${may("write") && html`
        <button type="button" class="quiet danger" disabled=${none} onClick=${removeChosen}>Delete</button>`}
      <button type="button" class="quiet" onClick=${selection.end}>Done</button>
    </div>
    ${DIALOGS[open] && html`
      <${DIALOGS[open]} collection=${collection} items=${chosen} onClose=${() => setOpen(null)}/>`}`;
}

/** The pictures with their names, which only a printer shows; it prints them once they are loaded. */
function ContactSheet({ items, onClose }) {
  const sheet = useRef(null);
  const [done, setDone] = useState(0);
  useEffect(() => {
    forEach(sheet.current.querySelectorAll("img"), (image) => image.decode(), setDone).then(() => {
      if (!sheet.current) return;
      print();
      onClose();
    });
  }, []);
  return html`
    <${Dialog} title="Print ${plural(items.length, "picture")}" onClose=${onClose}>
      <${Progress} done=${done} total=${items.length} label="Loaded pictures"/>
    <//>
    <ul class="sheet" ref=${sheet}>
      ${items.map((item) => html`
        <li key=${item.id}>
          <${Picture} collection=${item.collection} id=${item.id} size=${512}/>
          ${nameOf(item)}
        </li>`)}
    </ul>`;
}

/** Do `work` for each item, a few at a time. Resolves to the problems. */
async function forEach(items, work, onProgress) {
  const left = [...items];
  const problems = [];
  let n = 0;
  const one = async () => {
    for (let item = left.shift(); item; item = left.shift()) {
      await work(item).catch((problem) => problems.push(problem));
      onProgress(n += 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return problems;
}

/** Sets one field of the metadata. */
function TagDialog({ collection, items, onClose }) {
  const [done, setDone] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const { field, value } = Object.fromEntries(new FormData(event.target));
    setDone(0);
    const before = new Map(items.map(({ id, metadata }) => [id, metadata]));
    const patchAll = (word, patch, options) => patchEach(collection, items, { word, patch, ...options });
    await patchAll("tagged", () => patchOf(field.trim(), valueOf(value)), {
      onProgress: setDone,
      action: {
        label: "Undo",
        run: () => patchAll("as before", ({ id }) => patchBack(before.get(id) ?? {}, field.trim())),
      },
    });
    onClose();
  };
  return html`
    <${Dialog} title="Tag ${plural(items.length, "picture")}" onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <label>
          Field <input name="field" required maxlength="100" value="tag" autocomplete="off"
                       pattern="(?! *(file|exif) *([.]|$))[^.]+([.][^.]+)*"
                       title="A name, or a path such as camera.make, not of file or exif"/>
        </label>
        <label>Value <input name="value" required maxlength="1000" autocomplete="off"/></label>
        <p class="status">The field of each picture's metadata is set; its other fields stay.</p>
        ${done !== null && html`<${Progress} done=${done} total=${items.length} label="Tagged pictures"/>`}
        <p class="row end"><button type="submit" class="strong" disabled=${done !== null}>Tag</button></p>
      </form>
    <//>`;
}

/** Change the metadata of pictures by `patch(item)`, and say how many are what `word` says. */
async function patchEach(collection, items, { word, patch, onProgress = () => {}, action }) {
  const problems = await forEach(items, async (item) => {
    item.metadata = (await client.patchImage(collection, item.id, patch(item))).metadata;
  }, onProgress);
  noteTagged();
  const done = `${plural(items.length - problems.length, "picture")} ${word}`;
  toast(problems.length ? `${done}, ${problems.length} failed: ${problems[0].detail}` : done, {
    action: problems.length < items.length && action,
  });
}

/** The change that gives a field the value again that it has in `metadata`. */
function patchBack(metadata, field) {
  const [key, ...rest] = field.split(".");
  const isInside = rest.length && typeof metadata[key] === "object" && metadata[key] !== null;
  return { [key]: isInside ? patchBack(metadata[key], rest.join(".")) : metadata[key] ?? null };
}

/** Says one label of a label set of all pictures. */
function LabelDialog({ collection, items, onClose }) {
  const [sets, setSets] = useState(null);
  useEffect(() => { client.labelSets(collection).then(setSets, () => setSets([])); }, []);
  const submit = (event) => {
    event.preventDefault();
    const [set, label] = JSON.parse(new FormData(event.target).get("label"));
    const place = { collection, set };
    const answer = give(place, items.map(({ id, sha256 }) => ({ id, sha256, labels: [] })), [label]);
    toast(`${plural(items.length, "picture")} labelled “${label}”`, {
      action: { label: "Undo", run: () => takeBack(place, answer) },
    });
    onClose();
  };
  return html`
    <${Dialog} title="Label ${plural(items.length, "picture")}" onClose=${onClose}>
      ${sets?.length === 0 && html`<p><a href=${addressOf("label", { collection })}>Define labels</a> first.</p>`}
      ${sets?.length > 0 && html`
        <form class="form" onSubmit=${submit}>
          <label>
            Label
            <select name="label">
              ${sets.map(({ name, labels }) => html`
                <optgroup label=${name}>
                  ${labels.map(({ label }) => html`<option value=${JSON.stringify([name, label])}>${label}</option>`)}
                </optgroup>`)}
            </select>
          </label>
          <p class="status">It becomes the only label that the pictures have of its set.</p>
          <p class="row end"><button type="submit" class="strong">Label</button></p>
        </form>`}
    <//>`;
}

/** The change of the metadata that sets a field, or one inside of objects by its path, such as `camera.make`. */
const patchOf = (field, value) => field.split(".").reduceRight((inner, key) => ({ [key]: inner }), value);

/** A number or true and false as such, so that filters can compare them; else text. */
function valueOf(text) {
  const trimmed = text.trim();
  return /^(-?\d+(\.\d+)?|true|false)$/.test(trimmed) ? JSON.parse(trimmed) : trimmed;
}

function ExportDialog({ collection, items, onClose }) {
  const [done, setDone] = useState(null);
  const saveTable = () => {
    const fields = [...new Set(items.flatMap(({ metadata }) => Object.keys(metadata ?? {})))];
    const valuesOf = (item) => fields.map((field) => flat(item.metadata?.[field]));
    const rows = items.map((item) => [item.id, item.cosine, item.relevance, ...valuesOf(item)]);
    saveFile(`${collection}.csv`, csv([["id", "cosine", "relevance", ...fields], ...rows]));
    onClose();
  };
  const saveJson = () => {
    const rows = items.map(({ id, cosine, relevance, metadata }) => ({ id, cosine, relevance, metadata }));
    const lines = rows.map((row) => `${JSON.stringify(row)}\n`);
    saveFile(`${collection}.jsonl`, new Blob(lines, { type: "application/jsonl" }));
    onClose();
  };
  const savePictures = async () => {
    setDone(0);
    const files = [];
    const problems = await forEach(items, async (item) => {
      const blob = await client.original(collection, item.id);
      files.push(await zipEntry(fileName(item, blob.type), blob));
    }, setDone);
    if (files.length) saveFile(`${collection}.zip`, zip(files));
    if (problems.length) toast(`${plural(problems.length, "picture")} left out: ${problems[0].detail}`);
    onClose();
  };
  return html`
    <${Dialog} title="Export ${plural(items.length, "picture")}" onClose=${onClose}>
      <p>What do you want to keep?</p>
      <p class="row">
        <button type="button" class="quiet" onClick=${saveTable}>Table (CSV)</button>
        <button type="button" class="quiet" onClick=${saveJson}>JSON lines</button>
        <button type="button" class="quiet" disabled=${done !== null} onClick=${savePictures}>Pictures (ZIP)</button>
      </p>
      ${done !== null && html`<${Progress} done=${done} total=${items.length} label="Downloaded pictures"/>`}
    <//>`;
}

const DIALOGS = { tag: TagDialog, label: LabelDialog, export: ExportDialog, print: ContactSheet };

const flat = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : value);

const FORBIDDEN = /[\p{Cc}"*/:<>?\\|]/gu;  // in names of some file system

/** The path of a picture in an archive. */
function fileName(item, type) {
  const folder = (item.metadata?.file?.folder ?? "").split("/").filter((part) => /[^.]/.test(part));
  const name = [...folder, nameOf(item)].map((part) => part.replace(FORBIDDEN, "_")).join("/");
  if (/\.\w{3,4}$/.test(name)) return name;
  return `${name}.${type.split("/")[1]?.replace("jpeg", "jpg").replace("svg+xml", "svg") ?? "bin"}`;
}
