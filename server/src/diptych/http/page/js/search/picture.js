/** One picture, large: what is known of it, what is like it, and what can be done with it. */

import { addressOf, readAddress } from "../address.js";
import { bytes, moment, nameOf, percent, wordsIn } from "../format.js";
import { Fragment, html, useEffect, useRef, useState } from "../html.js";
import { classifyLater } from "../classify/waiting.js";
import { CodeBlock } from "../parts/copy.js";
import { Problem } from "../parts/feedback.js";
import { saveFile } from "../parts/save.js";
import { Mounted, Picture, useKind } from "../parts/thumbnail.js";
import { toast } from "../parts/toasts.js";
import { client, isAbort, may } from "../server.js";
import { Metadata } from "./metadata.js";
import { askedOf } from "./query.js";
import { SNIPPETS } from "./snippets.js";

const N_NEIGHBOURS = 12;
const SWIPE_PX = 50;
const PACES_S = [3, 5, 10];

/**
 * `items` are the pictures that are shown behind it, through which the arrow keys go. `onParts` changes the query,
 * `onChanged` gets the picture after a change of its metadata, `remove` deletes pictures; `children` stand below the
 * name.
 */
export function PictureDialog({
  collection, id, items, isSearch, parts, filter, open, onParts, onChanged, remove, onClose, children,
}) {
  const dialog = useRef(null);
  const [image, setImage] = useState(null);
  const [problem, setProblem] = useState(null);
  const at = items.findIndex((item) => item.id === id);
  const hit = items[at];
  const [pace, setPace] = useState(PACES_S[1]);
  const [playing, setPlaying] = useState(false);
  const play = (on) => {
    setPlaying(on);
    dialog.current.focus();  // the keys are for it: no button is in sight
  };
  useEffect(() => {
    dialog.current.showModal();
    dialog.current.focus();
  }, []);
  useEffect(() => {
    const next = () => (items[at + 1] ? step(1) : setPlaying(false));
    const timer = playing && setTimeout(next, 1000 * pace);
    return () => clearTimeout(timer);
  }, [playing, id, items.length]);
  useEffect(() => {
    const controller = new AbortController();
    setProblem(null);
    client.getImage(collection, id, { signal: controller.signal })
      .then(setImage, (error) => { if (!isAbort(error)) setProblem(error); });
    return () => controller.abort();
  }, [collection, id]);
  const step = (by) => { if (items[at + by]) open(items[at + by].id); };
  const onKeyDown = (event) => {
    if (event.target.closest("input, textarea, pre, select")) return;
    if (playing || (event.key === " " && event.target === dialog.current)) {
      event.preventDefault();
      play(!playing);
    } else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  };
  const swipeFrom = useRef(null);
  const onTouchStart = ({ touches }) => {
    const isZoomed = visualViewport.scale > 1;  // by two fingers: one of them moves around in the picture
    swipeFrom.current = touches.length === 1 && !isZoomed ? touches[0] : null;
  };
  const onTouchEnd = ({ changedTouches: [end] }) => {
    const start = swipeFrom.current;
    if (!start) return;
    const across = end.clientX - start.clientX;
    const down = end.clientY - start.clientY;
    if (Math.abs(across) > Math.max(SWIPE_PX, 2 * Math.abs(down))) step(across < 0 ? 1 : -1);
  };
  const onBackdrop = ({ target }) => { if (target === dialog.current) dialog.current.close(); };
  const shown = image?.id === id ? image : hit;
  const isGone = problem?.status === 404;
  const name = shown ? nameOf(shown) : id;
  const others = parts.filter(({ kind, value }) => kind !== "id" || value !== id);
  const addPart = (weight) => onParts([...others, { kind: "id", value: id, weight }]);
  const removeThis = () => {
    dialog.current.close();
    remove([{ id }]);
  };
  return html`
    <dialog class=${playing ? "picture playing" : "picture"} tabindex="-1" ref=${dialog} aria-label=${name}
      onClose=${onClose} onClick=${onBackdrop} onKeyDown=${onKeyDown}>
      <div class="picture-body">
        <div class="picture-stage" onClick=${() => setPlaying(false)} onTouchStart=${onTouchStart}
          onTouchEnd=${onTouchEnd}>
          <${Original} key=${id} collection=${collection} image=${image?.id === id ? image : null} id=${id}
            name=${name}/>
          ${at > 0 && html`
            <button type="button" class="step back" aria-label="Previous picture" onClick=${() => step(-1)}>
              ‹
            </button>`}
          ${at >= 0 && at < items.length - 1 && html`
            <button type="button" class="step on" aria-label="Next picture" onClick=${() => step(1)}>
              ›
            </button>`}
        </div>
        <div class="picture-side">
          <header class="dialog-head">
            <h2>${name}</h2>
            <button type="button" class="icon" aria-label="Close" onClick=${() => dialog.current.close()}>×</button>
          </header>
          ${problem && html`<${Problem} problem=${problem}/>`}
          ${isSearch && hit && html`<${Match} hit=${hit}/>`}
          ${!isGone && children}
          ${!isGone && html`<${Fragment}>
          <p class="row">
            <button type="button" class="strong" onClick=${() => onParts([{ kind: "id", value: id, weight: 1 }])}>
              More like this
            </button>
            ${parts.length > 0 && html`
              <button type="button" class="quiet" title="Add this picture to the query" onClick=${() => addPart(0.5)}>
                And like this
              </button>
              <button type="button" class="quiet" title="Move the query away from this picture"
                onClick=${() => addPart(-0.5)}>
                Not like this
              </button>`}
            <button type="button" class="quiet" onClick=${() => classifyLater({ collection, id, name })}>
              Classify
            </button>
            ${image?.kept && html`
              <button type="button" class="quiet" onClick=${() => download(image, collection).catch(setProblem)}>
                Download
              </button>`}
          </p>
          <p class="row">
            ${items.length > 1 && html`
              <button type="button" class="quiet" title="Space; any key stops" onClick=${() => play(true)}>
                Slideshow
              </button>
              <select aria-label="Pace" value=${pace} onChange=${({ target }) => setPace(Number(target.value))}>
                ${PACES_S.map((s) => html`<option value=${s}>${s} s</option>`)}
              </select>`}
            <button type="button" class="quiet" onClick=${() => share(collection, id)}>Share</button>
          </p>
          ${image?.id === id && html`
            <${Metadata} key=${id} collection=${collection} image=${image}
              onChange=${(changed) => { setImage(changed); onChanged(changed); }}>
              <${FileFacts} image=${image}/>
            <//>`}
          <${Neighbours} collection=${collection} id=${id} open=${open}/>
          <${Snippets} collection=${collection} id=${id} parts=${parts} filter=${filter}/>
          ${may("write") && html`
            <p class="row"><button type="button" class="quiet danger" onClick=${removeThis}>Delete</button></p>`}
          <//>`}
        </div>
      </div>
    </dialog>`;
}

/**
 * The file as it was added; where none is kept, a note. The thumbnail stands in until it is there; `attributes` are
 * those of both. A drawing has the class "mounted".
 */
export function Original({ collection, image, id, name, onLoad: onShown, ...attributes }) {
  const [kind, noteKind] = useKind(`${collection}/${id}`);
  if (image && !image.kept) return html`<p class="notice">No file of this picture is kept, only its vector.</p>`;
  const classes = [!image && "stand-in", kind === "mounted" && kind].filter(Boolean).join(" ");
  const onLoad = (event) => {
    noteKind(event);
    onShown?.(event);
  };
  return html`<${Picture} collection=${collection} id=${id} original=${Boolean(image)} alt=${name} class=${classes}
                         onLoad=${onLoad} ...${attributes}/>`;
}

function Match({ hit }) {
  const { relevance, cosine } = hit;
  const words = wordsIn(hit);
  const found = words && html`<p class="status">The words are in ${words}</p>`;
  if (relevance === null || relevance === undefined) {
    return html`${found}<p class="status">cosine ${cosine.toFixed(3)}</p>`;
  }
  return html`
    ${found}
    <p class="status" title="The probability that this picture is what the query means">
      relevance ${percent(relevance)}, cosine ${cosine.toFixed(3)}
    </p>`;
}

function FileFacts({ image }) {
  return html`
    <div><dt>id</dt><dd><code>${image.id}</code></dd></div>
    ${image.width > 0 && html`
      <div><dt>size</dt><dd>${image.width} × ${image.height}, ${bytes(image.n_bytes)}, ${image.media_type}</dd></div>`}
    <div><dt>added</dt><dd>${moment(image.created_at)}</dd></div>`;
}

function Neighbours({ collection, id, open }) {
  const [hits, setHits] = useState([]);
  useEffect(() => {
    const controller = new AbortController();
    client.search({ id }, { collection, k: N_NEIGHBOURS, signal: controller.signal })
      .then((answer) => setHits(answer.hits), () => setHits([]));
    return () => controller.abort();
  }, [collection, id]);
  if (!hits.length) return null;
  return html`
    <section>
      <h3>Nearest pictures</h3>
      <ul class="strip">
        ${hits.map((hit) => html`
          <li key=${hit.id}>
            <button type="button" aria-label=${nameOf(hit)} title=${`${nameOf(hit)}\ncosine ${hit.cosine.toFixed(2)}`}
              onClick=${() => open(hit.id)}>
              <${Mounted} collection=${collection} id=${hit.id}/>
            </button>
          </li>`)}
      </ul>
    </section>`;
}

function Snippets({ collection, id, parts, filter }) {
  const [language, setLanguage] = useState("curl");
  const query = askedOf(parts);
  const asked = query.length ? query : [{ kind: "id", value: id, weight: 1 }];
  return html`
    <details class="snippets">
      <summary>${query.length ? "This search" : "A search for pictures like this"} as code</summary>
      <p class="tabs" role="tablist" aria-label="Language">
        ${Object.keys(SNIPPETS).map((name) => html`
          <button key=${name} type="button" role="tab" aria-selected=${String(name === language)}
            onClick=${() => setLanguage(name)}>
            ${name}
          </button>`)}
      </p>
      <${CodeBlock} code=${SNIPPETS[language]({ collection, parts: asked, filter })} label=${language}/>
    </details>`;
}

/** Give a link to the picture, with the query, the filters and the order that showed it. */
function share(collection, id) {
  const { view, params } = readAddress();
  const shown = view === "search" ? params : new URLSearchParams();
  shown.set("collection", collection);
  shown.set("picture", id);
  const { href } = new URL(addressOf("search", shown), location.href);
  navigator.clipboard?.writeText(href).then(() => toast("Link copied"), () => toast(href)) ?? toast(href);
}

const EXTENSIONS = { "image/jpeg": "jpg", "image/svg+xml": "svg" };

async function download(image, collection) {
  const blob = await client.original(collection, image.id);
  const extension = EXTENSIONS[image.media_type] ?? image.media_type.split("/")[1];
  saveFile(`${image.id.replace(/\.\w{3,4}$/, "")}.${extension}`, blob);
}

