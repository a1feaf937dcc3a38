/** Pictures of a collection as <img>. */

import { html, useEffect, useState } from "../html.js";
import { pictureAddress, pictureInMemory, served } from "../server.js";

/**
 * An <img> of a picture. Where a key is needed, it is fetched with it and shown from memory. `onMissing` is called if
 * it cannot be shown.
 */
export function Picture({ collection, id, original = false, alt = "", onMissing, ...attributes }) {
  const address = pictureAddress(collection, id, original);  // at once: many tiles are drawn in one frame
  const [inMemory, setInMemory] = useState(null);
  const [missing, setMissing] = useState(false);
  useEffect(() => {
    setMissing(false);
    if (address !== null) return undefined;
    const controller = new AbortController();
    let made = null;
    pictureInMemory(collection, id, original, controller.signal).then(
      ({ url, release }) => {
        if (controller.signal.aborted) release();
        else { made = release; setInMemory(url); }
      },
      () => { if (!controller.signal.aborted) setMissing(true); },
    );
    return () => {
      controller.abort();
      made?.();
    };
  }, [collection, id, original]);
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
                   src=${address ?? inMemory ?? undefined} ...${attributes}
    onError=${() => setMissing(true)}/>`;
}
