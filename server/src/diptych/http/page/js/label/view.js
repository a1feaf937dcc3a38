/** The label view: choose or define a label set, review its pictures, and see them by label. */

import { addressOf, changeParams } from "../address.js";
import { plural } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Problem, Spinner } from "../parts/feedback.js";
import { saveFile } from "../parts/save.js";
import { toast } from "../parts/toasts.js";
import { shownCollection, useCollections } from "../collections/chosen.js";
import { client, isAbort, isPassing, isReadOnly, may, noteAway, readCollections, served } from "../server.js";
import { CollectionChooser, NoSuchCollection, usePassing } from "../search/view.js";
import { useStore } from "../store.js";
import { answers, isOfOtherKey, isSent, leaveOut, sendAgain } from "./answers.js";
import { Asked } from "./asked.js";
import { Columns } from "./columns.js";
import { LabelledDialog } from "./labelled.js";
import { Agreement, Contested, Goal, useReport } from "./report.js";
import { useReview } from "./review.js";
import { nameChanges, problemOf, putSet, readSet, SetDialog } from "./sets.js";

const CONFLICT = 409;
const POLL_MS = 3000;

export function LabelView({ params }) {
  const collections = useCollections();
  useEffect(() => {  // pictures are added, and other versions serve, while nobody answers
    const timer = setInterval(() => { if (!document.hidden) readCollections().catch(noteAway); }, POLL_MS);
    return () => clearInterval(timer);
  }, []);
  const chosen = shownCollection(collections, params.get("collection"));
  if (chosen.missing) return html`<${NoSuchCollection} name=${chosen.name} view="label"/>`;
  return html`
    <div class="label-view"><${Sets} key=${chosen.name} collection=${chosen} asked=${params.get("set")}/></div>`;
}

function Sets({ collection: { name: collection, n_images: nImages, vectors }, asked }) {
  const [sets, setSets] = useState(null);
  const [problem, setProblem] = useState(null);
  const [editing, setEditing] = useState(null);  // "new", or the set that is changed
  const read = (signal) => client.labelSets(collection, { signal }).then(
    (found) => { setSets(found); setProblem(null); },
    (error) => { if (!isAbort(error)) setProblem(noteAway(error)); },
  );
  useEffect(() => {
    const controller = new AbortController();
    read(controller.signal);
    return () => controller.abort();
  }, [collection, asked]);
  usePassing(problem, () => read());
  const { nSurprises } = useStore(answers);
  const known = useRef(nSurprises);
  useEffect(() => {
    if (known.current !== nSurprises) read();
    known.current = nSurprises;
  }, [nSurprises]);
  const set = asked ? sets?.find(({ name }) => name === asked) : sets?.[0];
  const done = async (name) => {
    setEditing(null);
    await read();
    changeParams({ set: name });
  };
  return html`
    <div class="toolbar">
      <${CollectionChooser} name=${collection} view="label"/>
      ${sets?.length > 0 && html`
        <label>
          <span class="unseen">Label set</span>
          <select id="label-set" value=${set?.name} onChange=${({ target }) => changeParams({ set: target.value })}>
            ${!set && html`<option></option>`}
            ${sets.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select>
        </label>`}
      <span class="spring"></span>
      ${may("write") && set && html`
        <button type="button" class="quiet" onClick=${() => setEditing(set)}>
          Edit<span class="wordy"> labels</span>
        </button>`}
      ${may("write") && sets?.length > 0 && html`
        <button type="button" class="quiet" onClick=${() => setEditing("new")}>
          New<span class="wordy"> set</span>
        </button>`}
    </div>
    <${Unsent}/>
    ${problem && html`<${Unavailable} problem=${problem} retry=${() => read()}/>`}
    ${!sets && !problem && html`<div class="empty"><${Spinner} label="Reading the label sets"/></div>`}
    ${sets?.length === 0 && html`<${NoSet} nImages=${nImages} make=${() => setEditing("new")}/>`}
    ${sets?.length > 0 && !set && html`
      <div class="empty">
        <strong>There is no label set “${asked}” here</strong>
        <p>It was deleted, or belongs to another collection.</p>
      </div>`}
    ${set && nImages === 0 && html`<${NoPictures} collection=${collection}/>`}
    ${set && nImages > 0 && html`
      <${OneSet} key=${set.name} collection=${collection} set=${set} nImages=${nImages}
        version=${JSON.stringify(vectors)} onChanged=${() => read()}/>`}
    ${editing && html`
      <${SetDialog} collection=${collection} set=${editing === "new" ? null : editing}
        names=${(sets ?? []).map(({ name }) => name)} onDone=${done} onClose=${() => setEditing(null)}/>`}`;
}

function Unavailable({ problem, retry }) {
  const isPassed = isPassing(problem);
  if (!isPassed && problem.status !== CONFLICT) return html`<${Problem} problem=${problem} retry=${retry}/>`;
  return html`
    <div class="empty" role="status">
      <strong>These pictures cannot be labelled now</strong>
      <p>${problem.detail || problem.title}</p>
      ${isPassed
        ? html`<p>It is tried again by itself.</p>`
        : html`<button type="button" class="quiet" onClick=${retry}>Try again</button>`}
    </div>`;
}

const NoSet = ({ nImages, make }) => html`
  <div class="empty">
    <strong>Sort ${nImages ? plural(nImages, "picture") : "your pictures"} by labels of your own</strong>
    <p>Name a few things, such as cat, dog and rocket. All pictures get a label at once, and so do later ones.</p>
    <p>You correct what is wrong, and your word stands.</p>
    ${may("write")
      ? html`<button type="button" class="strong" onClick=${make}>Define labels</button>`
      : html`<p>${readerText()}</p>`}
  </div>`;

const NoPictures = ({ collection }) => html`
  <div class="empty">
    <strong>No pictures here yet</strong>
    <p>They get their labels when they are added.</p>
    <a class="quiet button" href=${addressOf("search", { collection })}>Add pictures</a>
  </div>`;

const readerText = () => (isReadOnly()
  ? "This server is read-only: labels can be looked at, but not reviewed."
  : "Your key may look, but not review.");

function OneSet({ collection, set, nImages, version, onChanged }) {
  const place = { collection, set: set.name };
  const { report, touched, nOthers, problem, read } = useReport(collection, set.name);
  const review = useReview(collection, set.name, set.revision, report?.model, nOthers);
  const [opened, setOpened] = useState(null);  // {id, items}
  const revision = useRef(set.revision);
  useEffect(() => {
    if (revision.current !== set.revision || report) read();
    revision.current = set.revision;
  }, [set.revision, nImages, version]);
  useEffect(() => { if (nOthers && report.revision !== set.revision) onChanged(); }, [nOthers]);
  const addLabel = async (label) => {
    try {
      const found = await readSet(collection, set.name);  // somebody else may have changed it
      const labels = [...found.labels, { label, words: [] }];
      const problem = problemOf(labels);
      if (problem) throw problem;
      await putSet(collection, set.name, { ...found, labels });
      const changes = found.revision === set.revision ? "" : `; somebody else ${nameChanges(set, found)}`;
      toast(`“${label}” is a label now${changes}`);
    } catch (error) {
      toast(`“${label}” is no label yet: ${error.detail || error.title}`);
    }
    onChanged();
  };
  const isReviewer = may("write");
  const columns = useMemo(() => report && html`
    <${Columns} place=${place} report=${report} touched=${touched} nOthers=${nOthers}
      open=${(item, items) => setOpened({ item, items })}/>`, [report]);  // not drawn again with each answer
  if (!report && problem) return html`<${Unavailable} problem=${problem} retry=${read}/>`;
  if (!report) return html`<div class="empty"><${Spinner} label="Applying the labels"/></div>`;
  return html`
    <section class="panel review" aria-label="Review">
      <${Goal} place=${place} report=${report} touched=${touched}/>
      <${Contested} place=${place} report=${report} open=${(item, items) => setOpened({ item, items })}/>
      <${Note}/>
      ${isReviewer
        ? html`<${Asked} place=${place} set=${set} review=${review} onNew=${addLabel}/>`
        : html`<p class="notice">${readerText()}</p>`}
    </section>
    ${columns}
    <${Agreement} report=${report}/>
    <${Exports} place=${place}/>
    ${opened && html`
      <${LabelledDialog} place=${place} set=${set} ...${opened} onNew=${isReviewer ? addLabel : null}
        onClose=${() => setOpened(null)}/>`}`;
}

/** Whose word was replaced, or stands. */
function Note() {
  const { note } = useStore(answers);
  return note && html`<p class="notice" role="status">${note}</p>`;
}

/** Answers that the server has not stored: it is away, or refuses them, or they are of another key. */
function Unsent() {
  const { problem, waiting } = useStore(answers);
  useStore(served);
  const away = problem ? waiting.filter(isSent) : [];
  const refused = waiting.filter((one) => one.refused && !isOfOtherKey(one));
  const others = waiting.filter(isOfOtherKey);
  const reasons = [...new Set(refused.map((one) => one.refused))];
  return html`
    ${away.length > 0 && html`
      <div class="problem" role="alert">
        <strong>${plural(away.length, "answer")} not stored yet</strong>
        <p>${problem.detail || problem.title}</p>
        <p>They are kept, and sent again by themselves.</p>
      </div>`}
    ${refused.length > 0 && html`
      <div class="problem" role="alert">
        <strong>${plural(refused.length, "answer")} refused, and set aside</strong>
        ${reasons.map((reason) => html`
          <p key=${reason}>${describe(refused.filter((one) => one.refused === reason))}: ${reason}</p>`)}
        <p class="row">
          <button type="button" class="quiet" onClick=${sendAgain}>Send again</button>
          <button type="button" class="quiet danger" onClick=${() => leaveOut(refused)}>Leave out</button>
        </p>
      </div>`}
    ${others.length > 0 && html`
      <div class="problem" role="alert">
        <strong>${plural(others.length, "answer")} of another key</strong>
        <p>They were given with the key “${others[0].owner}”, and are sent when this tab has it again.</p>
        <p class="row">
          <button type="button" class="quiet danger" onClick=${() => leaveOut(others)}>Leave out</button>
        </p>
      </div>`}`;
}

/** "p3: sport" or "4 answers". */
function describe(some) {
  const [{ set, items, labels, undoes }] = some;
  if (some.length > 1 || undoes || items.length > 1) return `${plural(some.length, "answer")} about “${set}”`;
  return `${items[0].id}: ${labels.join(", ") || "none of these"} (in “${set}”)`;
}

function Exports({ place: { collection, set } }) {
  const save = (format) => client.exportLabels(collection, set, { format }).then(
    (blob) => saveFile(`${collection}-${set}.${format}`, blob),
    (problem) => toast(`The labels could not be exported: ${problem.detail || problem.title}`),
  );
  return html`
    <p class="row">
      <span class="status">Export the labels</span>
      <button type="button" class="quiet small" onClick=${() => save("csv")}>CSV</button>
      <button type="button" class="quiet small" onClick=${() => save("jsonl")}>JSON Lines</button>
    </p>`;
}
