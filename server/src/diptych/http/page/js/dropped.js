/** Finds the pictures in what was dropped, in folders too; knows nothing of what is done with them. */

/** Files that systems leave in folders, such as .DS_Store. */
export const isHidden = (name) => name.split("/").some((part) => part.startsWith("."));

/** What may be a picture; of some kinds, as HEIC, a browser does not know the type. */
const mayBePicture = ({ type }) => type === "" || type.startsWith("image/");

/** A list of {name, file}; `name` is the path in the folder that was dropped. To be called within the event. */
export async function picturesIn(dataTransfer) {
  const files = [...dataTransfer.files];
  const entries = [...dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some(({ isDirectory }) => isDirectory)) return files.map((file) => ({ name: file.name, file }));
  const found = await Promise.all(entries.map((entry) => walk(entry)));
  return found.flat();
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    return mayBePicture(file) ? [{ name: entry.fullPath.slice(1), file }] : [];
  }
  const found = [];
  for (const child of await children(entry)) found.push(...(await walk(child)));
  return found;
}

async function children(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return all;  // it gives a hundred at a time
    all.push(...some);
  }
}
