/** The classify view: pictures on one side, labels on the other, bars that move as the labels change. */

import { plural, percent } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Problem } from "../parts/feedback.js";
import { PicturePicker } from "../parts/picker.js";
import { useKind } from "../parts/thumbnail.js";
import { toast } from "../parts/toasts.js";
import { picturesIn } from "../collections/dropped.js";
import { served } from "../server.js";
import { useStore } from "../store.js";
import { knowsDrawingsOnly } from "../search/suggestions.js";
import { Camera, hasCamera } from "./camera.js";
import { DEFAULT_LABELS, Labels } from "./labels.js";
import { Examined, pictureOf } from "./examined.js";
import { Table } from "./table.js";
import { Templates } from "./templates.js";
import { takeWaiting } from "./waiting.js";

const N_BARS = 10;

/** Pictures, labels and templates stay while other views are shown. */
const kept = { pictures: [], labels: DEFAULT_LABELS, templates: null };

export function ClassifyView() {
  const server = useStore(served);
  const [pictures, setPictures] = useState(() => [...kept.pictures, ...takeWaiting().map(pictureOf)]);
  const [labels, setLabels] = useState(kept.labels);
  const [templates, setTemplates] = useState(kept.templates);
  const [at, setAt] = useState(pictures.length - 1);
  const [camera, setCamera] = useState(false);
  const [dragging, setDragging] = useState(false);
  Object.assign(kept, { pictures, labels, templates });
  const examined = useExamined(pictures, labels, templates);

  const add = (files) => {
    if (!files.length) return;
    setPictures((before) => [...before, ...files.map((file) => pictureOf({ file, name: file.name }))]);
    setAt(pictures.length + files.length - 1);
  };
  useEffect(() => {
    const onPaste = (event) => {
      if (event.clipboardData.files.length) add([...event.clipboardData.files]);
    };
    addEventListener("paste", onPaste);
    return () => removeEventListener("paste", onPaste);
  });
  const onDragOver = (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    setDragging(true);
  };
  const onDragLeave = ({ currentTarget, relatedTarget }) => {
    if (!currentTarget.contains(relatedTarget)) setDragging(false);
  };
  const onDrop = async (event) => {
    event.preventDefault();
    setDragging(false);
    await picturesIn(event.dataTransfer)
      .then((found) => add(found.map(({ file }) => file)), () => toast("The browser could not read what was dropped"));
  };
  const shown = pictures[Math.min(at, pictures.length - 1)];
  const clear = () => { setPictures([]); setAt(-1); };

  return html`
    <div class="classify">
      <section class=${dragging ? "panel dragging" : "panel"} aria-label="Pictures"
               onDragOver=${onDragOver} onDragLeave=${onDragLeave} onDrop=${onDrop}>
        ${shown ? html`<${Preview} key=${shown.key} picture=${shown}/>` : html`
          <div class="drop">
            <strong>Drop pictures here</strong>
            <span>one or many, or paste one</span>
          </div>`}
        ${pictures.length > 1 && html`<${Strip} pictures=${pictures} at=${at} choose=${setAt}/>`}
        <p class="row">
          <${PicturePicker} id="file" multiple strong=${!shown} label="Choose pictures" onFiles=${add}>
            Choose pictures
          <//>
          ${hasCamera() && html`<button type="button" class="quiet" onClick=${() => setCamera(true)}>Camera</button>`}
          ${pictures.length > 0 && html`<button type="button" class="quiet" onClick=${clear}>Clear</button>`}
        </p>
        ${knowsDrawingsOnly(server) && html`
          <p id="drawings-only" class="notice">
            This model knows drawings: emoji and icons. For photographs, serve a model that knows them.
          </p>`}
      </section>
      <section class="panel" aria-label="Labels">
        ${pictures.length === 0 && html`<p class="status">The most likely of these labels appear here.</p>`}
        ${pictures.length === 1 && html`
          <${Result} entry=${examined.entryOf(shown)} nLabels=${labels.length} retry=${examined.again}/>`}
        ${pictures.length > 1 && html`
          <${Result} entry=${examined.entryOf(shown)} nLabels=${labels.length} retry=${examined.again}
            name=${shown.name}/>`}
        <${Labels} labels=${labels} onChange=${setLabels}/>
        <${Templates} chosen=${templates} onChange=${setTemplates}/>
      </section>
      ${pictures.length > 1 && html`
        <${Table} pictures=${pictures} entryOf=${examined.entryOf}
          choose=${(picture) => setAt(pictures.indexOf(picture))}/>`}
      ${camera && html`
        <${Camera} onPicture=${(file) => { setCamera(false); add([file]); }} onClose=${() => setCamera(false)}/>`}
    </div>`;
}

/** What is known of each picture: `{predictions, elapsed_ms, problem}`, or nothing yet. */
function useExamined(pictures, labels, templates) {
  const [, redraw] = useState(0);
  const examined = useMemo(() => new Examined(() => redraw((n) => n + 1)), []);
  useEffect(() => { examined.ask(pictures, labels, templates); }, [pictures, labels, templates]);
  const { state } = useStore(served);
  useEffect(() => { if (state === "ready") examined.again(); }, [state]);  // the server may have been away
  useEffect(() => () => examined.close(), []);
  return examined;
}

function Preview({ picture }) {
  const [url, setUrl] = useState(null);
  const [unreadable, setUnreadable] = useState(false);
  const [kind, onLoad] = useKind(picture.key);
  useEffect(() => {
    let made = null;
    let closed = false;
    picture.blob().then((blob) => {
      if (closed) return;
      made = URL.createObjectURL(blob);
      setUrl(made);
    }, () => setUnreadable(true));
    return () => {
      closed = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [picture]);
  return html`
    <figure class="preview">
      ${url && !unreadable
        ? html`<img id="preview" class=${kind === "mounted" ? kind : ""} alt=${picture.name} src=${url}
            onLoad=${onLoad} onError=${() => setUnreadable(true)}/>`
        : html`<span class="status">${unreadable ? "The browser cannot show this picture" : ""}</span>`}
      <figcaption>${picture.name}</figcaption>
    </figure>`;
}

function Strip({ pictures, at, choose }) {
  return html`
    <ul class="strip" aria-label="All pictures">
      ${pictures.map((picture, i) => html`
        <li key=${picture.key}>
          <button type="button" aria-label=${picture.name} aria-current=${i === at ? "true" : undefined}
            onClick=${() => choose(i)}>
            <${Preview} picture=${picture}/>
          </button>
        </li>`)}
    </ul>`;
}

function Result({ entry, nLabels, retry, name }) {
  const [all, setAll] = useState(false);
  if (entry?.problem) return html`<${Problem} problem=${entry.problem} retry=${retry}/>`;
  if (!nLabels) return html`<p id="name-status" class="status" role="status">Add a label to choose from.</p>`;
  if (!entry?.predictions) return html`<p id="name-status" class="status" role="status">Looking</p>`;
  const { predictions, elapsed_ms, busy } = entry;
  const shown = all ? predictions : predictions.slice(0, N_BARS);
  return html`
    <p id="name-status" class="status" role="status">
      ${name ? `${name}: most` : "Most"} likely of ${plural(predictions.length, "label")},${" "}
      ${Math.max(1, Math.round(elapsed_ms))} ms
    </p>
    <ol id="bars" class="bars" aria-label="Labels, most likely first" aria-busy=${busy}>
      ${shown.map(({ label, score, cosine }) => html`
        <${Bar} key=${label} label=${label} score=${score} cosine=${cosine}/>`)}
    </ol>
    ${predictions.length > N_BARS && html`
      <button type="button" class="link" onClick=${() => setAll(!all)}>
        ${all ? "Fewer" : `All ${predictions.length}`}
      </button>`}`;
}

function Bar({ label, score, cosine }) {
  const fill = useRef(null);
  // From the width before, so that bars move as labels change.
  useEffect(() => {
    requestAnimationFrame(() => { if (fill.current) fill.current.style.width = `${score * 100}%`; });
  }, [score]);
  return html`
    <li title="cosine ${cosine.toFixed(3)}">
      <span class="label">${label}</span>
      <span class="score">${percent(score, 1)}</span>
      <span class="bar" aria-hidden="true"><span ref=${fill}></span></span>
    </li>`;
}
