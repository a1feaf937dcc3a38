/** Takes files and folders that are dropped on a view: to add them, or to search with one. */

import { changeParams } from "../address.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { keepUpload, paramsOfParts } from "../search/query.js";
import { addPictures } from "./adding_bar.js";
import { toast } from "../parts/toasts.js";
import { picturesIn } from "./dropped.js";

const carriesFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");

/**
 * `target` is the collection that dropped pictures are added to, or null where they cannot be; pasted ones are searched
 * with.
 */
export function DropZone({ target, children }) {
  const [dragging, setDragging] = useState(false);
  const depth = useRef(0);
  const searchWith = ([file]) => {
    if (!file) return;
    const part = { kind: "upload", value: keepUpload(file), weight: 1 };
    changeParams({ ...paramsOfParts([part]), picture: null });
  };
  useEffect(() => {
    const onPaste = ({ clipboardData }) => searchWith([...clipboardData.files]);
    // A picture that is dropped elsewhere would replace the page.
    const keepPage = (event) => { if (carriesFiles(event)) event.preventDefault(); };
    addEventListener("paste", onPaste);
    addEventListener("dragover", keepPage);
    addEventListener("drop", keepPage);
    return () => {
      removeEventListener("paste", onPaste);
      removeEventListener("dragover", keepPage);
      removeEventListener("drop", keepPage);
    };
  }, []);
  const enter = (event) => {
    if (!carriesFiles(event)) return;
    depth.current += 1;
    setDragging(true);
  };
  const leave = () => {
    depth.current = Math.max(0, depth.current - 1);
    if (!depth.current) setDragging(false);
  };
  const drop = async (event, take) => {
    event.preventDefault();
    depth.current = 0;
    setDragging(false);
    if (!carriesFiles(event)) return;
    await picturesIn(event.dataTransfer).then(take, () => toast("The browser could not read what was dropped"));
  };
  const searchWithFound = (found) => searchWith(found.map(({ file }) => file));
  const add = (found) => (target ? addPictures(target, found) : searchWithFound(found));
  const dropToSearch = (event) => {
    event.stopPropagation();
    drop(event, searchWithFound);
  };
  return html`
    <div class="drop-zone" onDragEnter=${enter} onDragLeave=${leave} onDrop=${(event) => drop(event, add)}>
      ${children}
      ${dragging && html`
        <div class="drop-targets">
          ${target && html`<div id="drop-add" class="drop-target">Add to “${target}”</div>`}
          <div id="drop-search" class="drop-target" onDrop=${dropToSearch}>
            Search with this picture
          </div>
        </div>`}
    </div>`;
}
