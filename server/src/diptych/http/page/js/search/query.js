/**
 * The query of the search view and its form in the address.
 *
 * A query is a list of parts `{kind: "text" | "id" | "upload", value, weight, main}`. The words in the box are the
 * `main` part, of weight 1: `q=red`. A single picture of weight 1 is `id=cat`; every other part is
 * `part=KIND:VALUE*WEIGHT`. An upload is a picture of the user that only this tab knows.
 */

const KINDS = { t: "text", i: "id", u: "upload" };
const LETTERS = { text: "t", id: "i", upload: "u" };

const uploads = new Map();  // number -> File

/** The name under which a picture of the user stands in the address. */
export function keepUpload(file) {
  const number = String(uploads.size + 1);
  uploads.set(number, file);
  return number;
}

export const uploaded = (number) => uploads.get(number) ?? null;

/** The parts that an address asks for; uploads of another tab are left out. */
export function partsOf(params) {
  const parts = [];
  if (params.get("q")?.trim()) parts.push({ kind: "text", value: params.get("q"), weight: 1, main: true });
  if (params.get("id")) parts.push({ kind: "id", value: params.get("id"), weight: 1 });
  for (const text of params.getAll("part")) {
    const found = /^([tiu]):(.+)\*(-?\d+(?:\.\d+)?)$/s.exec(text);
    if (found) parts.push({ kind: KINDS[found[1]], value: found[2], weight: Number(found[3]) });
  }
  return parts.filter(({ kind, value }) => kind !== "upload" || uploads.has(value));
}

/** Whether an address asks for a picture that was given to another tab, or before this one was loaded anew. */
export const hasLostUpload = (params) =>
  params.getAll("part").some((text) => text.startsWith("u:") && !uploads.has(text.slice(2).split("*")[0]));

/** Parameters of the address for these parts. */
export function paramsOfParts(parts) {
  const further = parts.filter(({ main }) => !main);
  const [first] = further;
  const alone = further.length === 1 && first.kind === "id" && first.weight === 1;
  return {
    q: parts.find(({ main }) => main)?.value ?? null,
    id: alone ? first.value : null,
    part: alone ? [] : further.map(({ kind, value, weight }) => `${LETTERS[kind]}:${value}*${weight}`),
  };
}

/**
 * The chosen values of metadata fields: `{field: [value, ...]}`, ranges of numbers: `{field: {gte, lte}}`, and labels
 * of a label set: `{label: {set, in}}`.
 */
export function chosenOf(params) {
  try {
    const chosen = JSON.parse(params.get("only") ?? "{}");
    return chosen !== null && typeof chosen === "object" && !Array.isArray(chosen) ? chosen : {};
  } catch {
    return {};
  }
}

/** Whether labels of a label set are chosen, not values of a field. */
export const areLabels = (chosen) => Array.isArray(chosen?.in);

export const paramOfChosen = (chosen) => (Object.keys(chosen).length ? JSON.stringify(chosen) : null);

/** The filter of the API for the chosen values, or null. */
export function filterOf(chosen) {
  const conditionOf = (values) => (Array.isArray(values) ? { in: values } : values);
  const conditions = Object.entries(chosen).map(([field, values]) => [field, conditionOf(values)]);
  return conditions.length ? Object.fromEntries(conditions) : null;
}

/** The parts that count: one of weight 0 waits in the query without a say. */
export const askedOf = (parts) => parts.filter(({ weight }) => weight !== 0);

/** What finds the hits: where the query has exactly one text to look for, its words too. */
export const matchOf = (parts) =>
  parts.filter(({ kind, weight }) => kind === "text" && weight > 0).length === 1 ? "both" : "meaning";

/** The query as the API takes it, pictures of the user as files. */
export const queryOf = (parts) =>
  parts.map(({ kind, value, weight }) =>
    kind === "upload" ? { image: uploads.get(value), weight } : { [kind]: value, weight });
