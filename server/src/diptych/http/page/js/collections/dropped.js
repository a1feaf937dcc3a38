/** Finds the pictures in dropped files and folders. */

/** Files that operating systems leave in folders, such as .DS_Store. */
export const isHidden = (name) => name.split("/").some((part) => part.startsWith("."));

/** Whether a file may be a picture. Browsers do not know the type of some formats, such as HEIC. */
const mayBePicture = ({ type }) => type === "" || type.startsWith("image/");

/** A list of {name, file}; `name` is the path in the dropped folder. Call it within the drop event. */
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
