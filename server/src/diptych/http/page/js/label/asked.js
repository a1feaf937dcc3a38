/** The picture that is asked about: large, with its proposal, the labels, and the keys. */

import { nameOf, percent, plural } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Problem, Spinner } from "../parts/feedback.js";
import { useKeys } from "../parts/keys.js";
import { toast } from "../parts/toasts.js";
import { Picture } from "../parts/thumbnail.js";
import { client, isPassing } from "../server.js";
import { Original } from "../search/picture.js";
import { hasAnswered } from "./answers.js";
import { Choices, isLongSet } from "./choices.js";

const N_NEXT = 5;
const N_PREPARED = 2;  // files of the next pictures are read before they are shown

const DOUBLE_CLICK_MS = 400;

const DRAWN = "Every fifth picture is drawn at random: only those tell how often the model is right";

/** The labels that a confirmation gives. `none` is a hint only: it doubts wide labels that are right, too. */
const proposedOf = (item, labels) => item.proposed.filter((label) => labels.includes(label));

const toggled = (labels, label) =>
  (labels.includes(label) ? labels.filter((one) => one !== label) : [...labels, label]);

/** A picture, which is another one after it was replaced. */
const keyOf = ({ id, sha256 }) => `${id} ${sha256}`;

/** `set`: the label set; `onNew` adds a label to it, or is null. */
export function Asked({ place, set, review, onNew }) {
  const panel = useRef(null);
  const stage = useRef(null);
  const item = review.current;
  const labels = set.labels.map(({ label }) => label);
  const isMany = set.kind === "many";
  const isLong = isLongSet(labels);
  const proposed = item ? proposedOf(item, labels) : [];
  const [picked, setPicked] = useState({ key: null, labels: [] });  // of kind many, in place of what is proposed
  const chosen = item && picked.key === keyOf(item) ? picked.labels.filter((one) => labels.includes(one)) : proposed;
  const [looks, setLooks] = useState({});  // "shown" or "missing", by picture
  const noteLook = (one, look) => setLooks((known) => ({ ...known, [keyOf(one)]: look }));
  const look = item && looks[keyOf(item)];
  const askedAt = useMemo(() => performance.now(), [item && keyOf(item)]);
  // nobody answers what is not to be seen, but for a click where there is nothing to see
  const answer = (some, isClick) => {
    if (look === "shown" || (look === "missing" && isClick)) review.answer(some);
    if (panel.current.contains(document.activeElement)) stage.current?.focus({ preventScroll: true });
  };
  const choose = (label, isClick) => {
    if (label === null || !isMany) answer(label === null ? [] : [label], isClick);
    else setPicked({ key: keyOf(item), labels: toggled(chosen, label) });
  };
  const leaveOutDoubleClick = (event) => {  // its second click is meant for the picture before
    if (event.detail > 1 && performance.now() - askedAt < DOUBLE_CLICK_MS) event.stopPropagation();
  };
  const undo = () => {
    const answer = review.undo();
    const isShown = answer?.items.length === 1 && review.current?.id === answer.items[0].id;
    if (answer && !isShown) toast(`Taken back: ${plural(answer.items.length, "answer")}`);
  };
  useKeys(panel, (event) => {
    const { ctrlKey, metaKey, shiftKey } = event;
    const isCommand = ctrlKey || metaKey;
    const isUndo = event.key.toLowerCase() === "z" && (isCommand ? !shiftKey : !isLong);
    const work = {
      " ": item && (() => answer(chosen)),
      ArrowRight: item && (() => review.skip()),
      ArrowLeft: () => review.goBack(),
    };
    const run = isUndo ? undo : !isCommand && work[event.key];
    if (!run) return;
    event.preventDefault();
    if (!event.repeat) run();
  });
  const buttons = html`
    <p class="row review-steps">
      ${item && html`
        <button type="button" class="quiet" aria-keyshortcuts="ArrowRight" onClick=${() => review.skip()}>
          Skip <kbd aria-hidden="true">→</kbd>
        </button>`}
      <button type="button" class="quiet" aria-keyshortcuts="z Control+z" disabled=${!hasAnswered(place)}
        onClick=${undo}>
        Undo <kbd aria-hidden="true">${isLong ? "Ctrl Z" : "Z"}</kbd>
      </button>
    </p>`;
  return html`
    <div class="asked" ref=${panel} onClickCapture=${leaveOutDoubleClick}>
      <p class="unseen" role="status">${item && `${nameOf(item)}: ${proposed.join(", ") || "none of these"}?`}</p>
      ${item ? html`
        <div class="asked-picture">
          <div class="asked-stage" tabindex="-1" ref=${stage}>
            ${review.items.slice(0, 1 + N_PREPARED).map((one, i) => html`
              <${Large} key=${keyOf(one)} collection=${place.collection} item=${one} isShown=${i === 0}
                onLook=${noteLook}/>`)}
          </div>
          <${Next} collection=${place.collection} items=${review.items.slice(1, 1 + N_NEXT)}/>
        </div>
        <div class="asked-side">
          <${Confirm} item=${item} chosen=${chosen} isMany=${isMany} look=${look}
            onConfirm=${() => answer(chosen, true)}/>
          <${Choices} labels=${labels} chosen=${chosen} onChoose=${choose} onNew=${onNew} scope=${panel}/>
          ${buttons}
          <${Keys} isMany=${isMany} isLong=${isLong}/>
        </div>`
      : html`<${NoneLeft} review=${review}>${buttons}<//>`}
    </div>`;
}

/** What Space says, as a button. */
function Confirm({ item, chosen, isMany, look, onConfirm }) {
  const text = chosen.join(", ") || "None of these";
  const isProposal = chosen.length === 1 && item.proposed[0] === chosen[0];
  const verb = isMany ? "Save" : "Confirm";
  const by = item.proposed.length > 0 ? "The model proposes" : "The model proposes no label";
  return html`
    <p class="status proposal">
      ${by}${item.none && item.proposed.length > 0 && "; perhaps none of these fits"}${" "}
      ${item.drawn && html`<span class="tag" title=${DRAWN}>drawn at random</span>`}
    </p>
    ${look === "missing" && html`
      <p class="notice" role="status">The picture cannot be shown: skip it, or answer with a click.</p>`}
    <button type="button" class="strong confirm" aria-keyshortcuts="Space" disabled=${!look} onClick=${onConfirm}>
      <span title=${text}><span class="unseen">${verb}: </span>${text}</span>
      ${isProposal && html`<span class="score">${percent(item.score)}</span>`}
      <kbd aria-hidden="true">Space</kbd>
    </button>`;
}

/** The next pictures are there already, unseen. `onLook(item, look)` tells whether a picture can be seen. */
function Large({ collection, item, isShown, onLook }) {
  const { id } = item;
  const [image, setImage] = useState(null);
  const isKept = image?.kept ?? true;
  useEffect(() => { if (!isKept) onLook(item, "missing"); }, [isKept]);
  useEffect(() => {
    const controller = new AbortController();
    client.getImage(collection, id, { signal: controller.signal }).then(setImage, () => {});
    return () => controller.abort();
  }, [collection, id]);
  const name = nameOf(image ?? { id });
  return html`
    <figure hidden=${!isShown}>
      <${Original} collection=${collection} image=${image} id=${id} name=${name}
        onLoad=${() => onLook(item, "shown")} onMissing=${() => onLook(item, "missing")}/>
      <figcaption>${name}</figcaption>
    </figure>`;
}

const Next = ({ collection, items }) => items.length > 0 && html`
  <ul class="strip asked-next" aria-label="The next pictures">
    ${items.map(({ id }) => html`<li key=${id}><${Picture} collection=${collection} id=${id}/></li>`)}
  </ul>`;

function NoneLeft({ review, children }) {
  const { problem, isReading, skipped: { size: nSkipped } } = review;
  if (problem && !isPassing(problem)) return html`<${Problem} problem=${problem} retry=${() => review.read()}/>`;
  if (problem) {
    return html`
      <div class="empty" role="status">
        <strong>${problem.kind === "unreachable" ? "No answer from the server" : "Not ready yet"}</strong>
        <p>${problem.detail} It is asked again by itself.</p>
      </div>`;
  }
  if (isReading) return html`<div class="empty"><${Spinner} label="Looking for pictures to review"/></div>`;
  return html`
    <div class="empty" role="status">
      <strong>${nSkipped ? "Only skipped pictures are left" : "Every picture is reviewed"}</strong>
      <p>${nSkipped ? "All others are reviewed." : "New pictures are proposed here once they are added."}</p>
      ${nSkipped > 0 && html`
        <button type="button" class="strong" onClick=${() => review.askSkipped()}>Look at them again</button>`}
      ${children}
    </div>`;
}

const Keys = ({ isMany, isLong }) => html`
  <details class="keys">
    <summary>Keys</summary>
    <dl class="details">
      <div><dt><kbd>Space</kbd></dt><dd>${isMany ? "saves the pressed labels" : "confirms the proposal"}</dd></div>
      <div><dt><kbd>1</kbd> to <kbd>9</kbd></dt>
        <dd>${isMany ? "presses a label, or takes it back" : "gives that label"}</dd></div>
      ${isLong && html`<div><dt>letters</dt><dd>find a label, Enter gives the first one</dd></div>`}
      <div><dt><kbd>0</kbd>${!isLong && html` or <kbd>N</kbd>`}</dt><dd>none of these</dd></div>
      <div><dt><kbd>→</kbd></dt><dd>skips the picture; <kbd>←</kbd> goes back to it</dd></div>
      <div><dt>${!isLong && html`<kbd>Z</kbd> or `}<kbd>Ctrl</kbd>+<kbd>Z</kbd></dt>
        <dd>takes the last answer back</dd></div>
    </dl>
  </details>`;
