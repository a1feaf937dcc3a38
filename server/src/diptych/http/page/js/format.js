/** Numbers, times and names as people read them. */

export const plural = (n, noun, many = `${noun}s`) => `${count(n)} ${n === 1 ? noun : many}`;
export const count = (n) => n.toLocaleString("en");

/** "82 %", "< 1 %". */
export const percent = (share, digits = 0) => {
  const least = 10 ** -digits / 100;
  return share > 0 && share < least ? `< ${least * 100} %` : `${(share * 100).toFixed(digits)} %`;
};

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** "41.7 MB"; units are powers of a thousand. */
export function bytes(n) {
  const power = n < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
}

/** "840 ms", "3.2 s", "4 min", "2 h 10 min". */
export function duration(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** "30 Nov 2026, 13:40", in the zone of the reader. */
export const moment = (text) =>
  new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** An id that the server made of the content of a file. */
const CONTENT_ID = /^[0-9a-f]{32}$/;

/**
 * The name of a picture: from its metadata, else of its file, else its id, of which one that nobody chose is cut short.
 */
export const nameOf = ({ metadata, id }) =>
  textOf(metadata?.name)
  ?? textOf(metadata?.file?.name)
  ?? textOf(metadata?.file)?.split("/").at(-1)  // as earlier releases stored it
  ?? (CONTENT_ID.test(id) ? `picture ${id.slice(0, 6)}` : id);

const textOf = (value) => (typeof value === "string" && value ? value : null);

/** "fxemoji by Mozilla, Apache-2.0", from the metadata. */
export function creditOf({ metadata }) {
  const [style, author, licence] = ["style", "author", "licence"].map((field) => textOf(metadata?.[field]));
  return [[style, author && `by ${author}`].filter(Boolean).join(" "), licence].filter(Boolean).join(", ");
}

/** ["name", "place city"]: the fields of a hit that carry the words of the query. */
export const fieldsWithWords = ({ matched_fields: fields }) => (fields ?? []).map((path) => path.replaceAll(".", " "));

/** The same as "name, place city"; null if no field carries them. */
export const wordsIn = (hit) => fieldsWithWords(hit).join(", ") || null;

/** A value of the metadata as one line of text. */
export const valueText = (value) => (typeof value === "string" ? value : JSON.stringify(value));
