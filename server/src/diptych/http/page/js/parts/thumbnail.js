/** Pictures of a collection as <img>. */

import { html, useEffect, useState } from "../html.js";
import { pictureAddress, pictureInMemory, served } from "../server.js";
import { createStore } from "../store.js";

/**
 * An <img> of a picture: the file if `original`, else a thumbnail of `size` pixels. Where a key is needed, it is
 * fetched with it and shown from memory. `onMissing` is called if it cannot be shown.
 */
export function Picture({ collection, id, original = false, size, alt = "", onMissing, ...attributes }) {
  const address = pictureAddress(collection, id, original, size);  // at once: many tiles are drawn in one frame
  const [inMemory, setInMemory] = useState(null);  // {url, release}
  const [missing, setMissing] = useState(false);
  useEffect(() => {
    setMissing(false);
    if (address !== null) return undefined;
    const controller = new AbortController();
    pictureInMemory(collection, id, { original, size }, controller.signal).then(
      (made) => {
        if (controller.signal.aborted) made.release();
        else setInMemory(made);
      },
      () => { if (!controller.signal.aborted) setMissing(true); },
    );
    return () => controller.abort();
  }, [collection, id, original, size]);
  useEffect(() => () => inMemory?.release(), [inMemory]);  // not before another one is shown: it may still be read
  useEffect(() => {
    if (!missing) return undefined;
    onMissing?.();
    let was = served.get().state;
    return served.subscribe(() => {  // the server may have been away
      const { state } = served.get();
      if (state === "ready" && was !== "ready") setMissing(false);
      was = state;
    });
  }, [missing]);
  if (missing) {
    return html`<span class="missing" role=${alt ? "img" : undefined}
                      aria-label=${alt ? `${alt}, which cannot be shown` : undefined}
      title="This picture cannot be shown"></span>`;
  }
  return html`<img alt=${alt} draggable=${false} decoding="async"
                   src=${address ?? inMemory?.url} ...${attributes}
    onError=${() => setMissing(true)}/>`;
}

const ratios = new Map();  // pictures that were seen -> width by height as they are shown, turned upright
/** `n` changes when proportions of further pictures are known. */
export const seen = createStore({ n: 0 });
export const ratioOf = (collection, id) => ratios.get(`${collection}/${id}`);

const fillings = new Map();  // pictures that were seen -> whether they fill their tile
const EDGE_PX = 32;

/**
 * `[kind, onLoad]` of an <img>: a photograph "fills" its tile, a drawing is "mounted", and either is "unseen-yet" until
 * an <img> of this name has loaded.
 */
export function useKind(name) {
  const [fills, setFills] = useState(fillings.get(name));
  const onLoad = ({ target }) => {
    if (!ratios.has(name)) {
      ratios.set(name, target.naturalWidth / target.naturalHeight);
      seen.set({ n: ratios.size });
    }
    if (fills !== undefined) return;
    hasPlainGround(target).catch(() => true).then((isPlain) => {
      fillings.set(name, !isPlain);
      setFills(!isPlain);
    });
  };
  return [fills === undefined ? "unseen-yet" : fills ? "fills" : "mounted", onLoad];
}

/**
 * A thumbnail in a square: a photograph fills it, a drawing on white or transparent ground keeps a mount around it.
 * It is shown once it is known which of both it is.
 */
export function Mounted({ collection, id, size }) {
  const [kind, onLoad] = useKind(`${collection}/${id}`);
  return html`<${Picture} collection=${collection} id=${id} size=${size} class=${kind} onLoad=${onLoad}/>`;
}

/** Whether at least three corners of the picture are transparent or nearly white. The fourth may be drawn on. */
async function hasPlainGround(image) {
  const small = await createImageBitmap(image, { resizeWidth: EDGE_PX, resizeHeight: EDGE_PX });
  const context = new OffscreenCanvas(EDGE_PX, EDGE_PX).getContext("2d", { willReadFrequently: true });
  context.drawImage(small, 0, 0);
  const { data } = context.getImageData(0, 0, EDGE_PX, EDGE_PX);
  const last = EDGE_PX - 1;
  const corners = [0, last, last * EDGE_PX, last * EDGE_PX + last].map((pixel) => data.subarray(4 * pixel));
  const isPlain = ([red, green, blue, opacity]) => opacity < 250 || Math.min(red, green, blue) > 235;
  return corners.filter(isPlain).length >= 3;
}
