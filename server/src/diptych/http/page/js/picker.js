/** Ways to give the page a picture: drop, paste, choose a file. */

import { byId } from "./dom.js";
import { DRAG_TYPE } from "./tiles.js";

const imageIn = (files) => [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];

/** `onFile` receives a File, `onItem` a picture of the collection that was dragged here. */
export function listenForPictures(onFile, onItem) {
  const file = byId("file");
  file.addEventListener("change", () => {
    if (file.files.length) onFile(imageIn(file.files));
    file.value = "";
  });
  window.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files.length) onFile(imageIn(clipboardData.files));
  });
  listenForDrops(byId("name"), onFile, onItem);
}

function listenForDrops(panel, onFile, onItem) {
  const carriesPicture = ({ dataTransfer }) =>
    dataTransfer.types.includes("Files") || dataTransfer.types.includes(DRAG_TYPE);
  // Otherwise a picture dropped beside the panel replaces the page.
  window.addEventListener("dragover", (event) => { if (carriesPicture(event)) event.preventDefault(); });
  window.addEventListener("drop", (event) => { if (carriesPicture(event)) event.preventDefault(); });
  panel.addEventListener("dragover", (event) => panel.classList.toggle("dragging", carriesPicture(event)));
  panel.addEventListener("dragleave", (event) => {
    if (!panel.contains(event.relatedTarget)) panel.classList.remove("dragging");
  });
  panel.addEventListener("drop", ({ dataTransfer }) => {
    panel.classList.remove("dragging");
    const item = dataTransfer.getData(DRAG_TYPE);
    if (item) onItem(JSON.parse(item));
    else if (dataTransfer.files.length) onFile(imageIn(dataTransfer.files));
  });
}
