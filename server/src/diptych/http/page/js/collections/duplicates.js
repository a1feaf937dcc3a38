/** Pictures of a collection that are there more than once, side by side. */

import { bytes, nameOf, plural } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problem, Spinner } from "../parts/feedback.js";
import { isFocusLost } from "../parts/grid.js";
import { Picture } from "../parts/thumbnail.js";
import { deleteWithUndo, hidden, withoutHidden } from "../search/deleting.js";
import { client, isAbort, may } from "../server.js";
import { useStore } from "../store.js";

const PAGE = 20;

export function Duplicates({ name, nImages }) {
  const [open, setOpen] = useState(false);
  if (nImages < 2) return null;
  return html`
    <section class="panel" aria-label="Duplicates">
      <h3>Duplicates</h3>
      ${open
        ? html`<${Groups} name=${name}/>`
        : html`
          <p class="row">
            <button type="button" class="quiet" onClick=${() => setOpen(true)}>Look for duplicates</button>
          </p>`}
    </section>`;
}

const KINDS = { picture: "the same picture", bytes: "the same file" };

function Groups({ name }) {
  const [kind, setKind] = useState("picture");
  const [pages, setPages] = useState(null);
  const [problem, setProblem] = useState(null);
  useStore(hidden);
  const read = async (before, signal) => {
    setProblem(null);
    const after = before.at(-1)?.next ?? null;
    await client.duplicates(name, { kind, after, limit: PAGE, signal })
      .then((page) => setPages([...before, page]), (error) => { if (!isAbort(error)) setProblem(error); });
  };
  useEffect(() => {
    const controller = new AbortController();
    setPages(null);
    read([], controller.signal);
    return () => controller.abort();
  }, [name, kind]);
  return html`
    <p class="tabs" role="tablist" aria-label="Kind of duplicates">
      ${Object.entries(KINDS).map(([value, text]) => html`
        <button key=${value} type="button" role="tab" aria-selected=${String(kind === value)}
          onClick=${() => setKind(value)}>
          ${text}
        </button>`)}
    </p>
    <${Problem} problem=${problem} retry=${() => read(pages ?? [])}/>
    ${pages === null && !problem && html`
      <p class="row"><${Spinner} label="Comparing"/><span class="status">Comparing all pictures</span></p>`}
    ${pages && html`<${Found} name=${name} pages=${pages} more=${() => read(pages)}/>`}`;
}

function Found({ name, pages, more }) {
  const { n_groups: nGroups, n_duplicates: nDuplicates, n_unknown: nUnknown, next } = pages.at(-1);
  const groups = pages.flatMap((page) => page.groups)
    .map(({ images }) => withoutHidden(name, images))
    .filter((images) => images.length > 1);
  const status = useRef(null);
  const list = useRef(null);
  const [deleted, setDeleted] = useState(null);
  const buttons = () => [...list.current.querySelectorAll("button")];
  const remove = (image, { currentTarget }) => {
    setDeleted({ index: buttons().indexOf(currentTarget) });
    deleteWithUndo(name, [image]);
  };
  useEffect(() => {  // with the picture its button is gone, and with the last but one of a group all of them
    if (deleted && isFocusLost()) (buttons()[deleted.index] ?? buttons().at(-1) ?? status.current).focus();
  }, [deleted]);
  return html`
    <p class="status" role="status" tabindex="-1" ref=${status}>
      ${nGroups
        ? `${plural(nGroups, "group")}; ${plural(nDuplicates, "picture")} could go if one of each stayed`
        : "None: every picture is there once."}
      ${nUnknown > 0 && ` ${plural(nUnknown, "picture")} could be compared by their bytes only.`}
    </p>
    <ul class="groups" ref=${list}>
      ${groups.map((images) => html`
        <li key=${images[0].id}>
          ${images.map((image) => html`
            <${Copy} key=${image.id} name=${name} image=${image} onDelete=${(event) => remove(image, event)}/>`)}
        </li>`)}
    </ul>
    ${next !== null && html`
      <p class="row"><button type="button" class="quiet" onClick=${more}>Further groups</button></p>`}`;
}

function Copy({ name, image, onDelete }) {
  const size = image.width > 0 ? `${image.width} × ${image.height}, ` : "";
  return html`
    <figure>
      <${Picture} collection=${name} id=${image.id} alt=${nameOf(image)}/>
      <figcaption>${nameOf(image)}<br/><span class="status">${size}${bytes(image.n_bytes)}</span></figcaption>
      ${may("write") && html`
        <button type="button" class="quiet small danger" aria-label="Delete ${nameOf(image)}" onClick=${onDelete}>
          Delete
        </button>`}
    </figure>`;
}
