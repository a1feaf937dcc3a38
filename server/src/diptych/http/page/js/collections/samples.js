/** Some pictures of a collection, which lead to all of them. */

import { addressOf } from "../address.js";
import { html, useEffect, useState } from "../html.js";
import { Mounted } from "../parts/thumbnail.js";
import { client } from "../server.js";

/** The first `n` of its `nImages` pictures; `rows` says how they are laid out. */
export function Samples({ name, nImages, n, rows }) {
  const [images, setImages] = useState(null);
  useEffect(() => {
    const controller = new AbortController();
    client.listImages(name, { limit: n, signal: controller.signal })
      .then((page) => setImages(page.images.filter(({ kept }) => kept)), () => setImages([]));
    return () => controller.abort();
  }, [name, nImages, n]);
  return html`
    <a class="samples ${rows}" href=${addressOf("search", { collection: name })} aria-label="Search ${name}"
       tabindex="-1">
      ${images?.map(({ id }) => html`<${Mounted} key=${id} collection=${name} id=${id}/>`)}
      ${images?.length === 0 && html`<span>${nImages ? "No files are kept" : "No pictures yet"}</span>`}
    </a>`;
}
