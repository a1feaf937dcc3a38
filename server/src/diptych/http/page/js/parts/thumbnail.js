/** Pictures of a collection as <img>. */

import { html, useEffect, useState } from "../html.js";
import { pictureAddress } from "../server.js";

/** An <img> of a picture. Where a key is needed, it is fetched with it and shown from memory. */
export function Picture({ collection, id, original = false, alt = "", ...attributes }) {
  const [address, setAddress] = useState(null);
  useEffect(() => {
    const controller = new AbortController();
    let made = null;
    pictureAddress(collection, id, { original, signal: controller.signal }).then(
      ({ url, release }) => {
        if (controller.signal.aborted) release();
        else { made = release; setAddress(url); }
      },
      () => { if (!controller.signal.aborted) setAddress(null); },
    );
    return () => {
      controller.abort();
      made?.();
    };
  }, [collection, id, original]);
  return html`<img alt=${alt} draggable=${false} decoding="async" src=${address ?? undefined} ...${attributes}/>`;
}
