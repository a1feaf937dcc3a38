/** What the server has stored of an answer: storing it, and taking it back. */

import { plural } from "../format.js";
import { toast } from "../parts/toasts.js";
import { client } from "../server.js";

const AT_ONCE = 4;
const MAX_POSTED = 500;
const GONE = 404;

const isSame = (one, other) => one.length === other.length && one.every((label) => other.includes(label));
const isOf = (verdict, { owner, labels }) => verdict.by === owner && isSame(verdict.labels, labels);

export const verdictsOf = ({ items, labels }) =>
  items.map(({ id, sha256, drawn }) => ({ id, labels, sha256, drawn: drawn || undefined }));

/** Post verdicts in parts that the server takes. */
async function post({ collection, set }, verdicts) {
  const given = [];
  const unknown = [];
  const replaced = [];
  for (let at = 0; at < verdicts.length; at += MAX_POSTED) {
    const found = await client.giveVerdicts(collection, set, verdicts.slice(at, at + MAX_POSTED));
    given.push(...found.verdicts);
    unknown.push(...found.unknown);
    replaced.push(...found.replaced);
  }
  return { given, unknown, replaced };
}

/**
 * Store an answer, and note in it what was said before. Where it `wasSent` already, and the server had stored it, that
 * is what it has changed, or what the page knew when the answer was given. Returns a note, and how many pictures were
 * `replaced`.
 */
export async function store(answer, wasSent) {
  const { given, unknown, replaced } = await post(answer, verdictsOf(answer));
  const known = new Map(answer.items.map(({ id, verdict }) => [id, verdict ?? null]));
  const isRepeated = ({ before }) => wasSent && before && isOf(before, answer);
  answer.given = given.map((one) =>
    (isRepeated(one) ? { ...one, before: one.before.before ?? known.get(one.id) } : one));
  answer.items = answer.items.filter(({ id }) => !replaced.includes(id));  // they are asked about again
  if (replaced.length) toast(`${nameAll(replaced)} replaced by another picture meanwhile: look again`);
  if (unknown.length) toast(`${nameAll(unknown)} deleted meanwhile`);
  return { note: noteOf(answer), nReplaced: replaced.length };
}

const nameAll = (ids) => (ids.length === 1 ? `“${ids[0]}” was` : `${plural(ids.length, "picture")} were`);
export const textOf = ({ labels }) => labels.join(", ") || "none of these";

/** Whether somebody else had said something of the pictures. */
function noteOf({ given, owner }) {
  const others = given.filter(({ before }) => before && before.by !== owner);
  if (!others.length) return null;
  const [{ id, before }] = others;
  const more = others.length > 1 ? `, and more of ${others.length - 1} others` : "";
  return `“${before.by}” had said ${textOf(before)} of ${id}${more}. Your word is the later one, and stands.`;
}

/**
 * Take an answer back where it is the newest word: the server lets the word of another key stand again as it stood,
 * with its dispute. Returns a note about the words of others that stand.
 */
export async function restore(answer) {
  const before = new Map((answer.given ?? []).map((one) => [one.id, one.before]));
  const left = answer.items.map(({ id, verdict }) => ({ id, was: before.has(id) ? before.get(id) : verdict }));
  const again = [];
  const others = [];
  const restoreOne = async ({ id, was }) => {
    const stored = (await readLabelled(answer, id))?.verdict;
    if (!stored) return;
    if (!isOf(stored, answer)) {
      if (!was || !isSame(stored.labels, was.labels)) others.push({ id, stored });
    } else if (was?.by === answer.owner) again.push({ id, labels: was.labels, drawn: was.drawn || undefined });
    else await unlessGone(client.withdrawVerdict(answer.collection, answer.set, id));
  };
  const work = async () => {
    for (let next = left.pop(); next; next = left.pop()) await restoreOne(next);
  };
  await unlessGone(Promise.all(Array.from({ length: AT_ONCE }, work)));
  await post(answer, again);
  if (!others.length) return null;
  const [{ id, stored }] = others;
  const more = others.length > 1 ? `, and something of ${others.length - 1} others` : "";
  return `“${stored.by}” has said ${textOf(stored)} of ${id}${more} meanwhile: that stands, and was not taken back.`;
}

async function unlessGone(work) {
  await work.catch((problem) => { if (problem.status !== GONE) throw problem; });
}

/** A picture as the server lists it, or null: the first one behind all ids that are before its own. */
export async function readLabelled({ collection, set }, id, signal) {
  const page = await client.labelledImages(collection, set, { after: justBefore(id), limit: 1, signal });
  return page.images.find((one) => one.id === id) ?? null;
}

function justBefore(id) {
  const characters = [...id];
  const last = characters.pop().codePointAt(0);
  if (last === 0) return characters.join("");
  const previous = last === 0xe000 ? 0xd7ff : last - 1;  // between them are no characters
  return `${characters.join("")}${String.fromCodePoint(previous)}\u{10ffff}`;
}
