/** How many pictures have each value of the fields that filter: of those that the other fields let pass. */

import { useEffect, useState } from "../html.js";
import { client } from "../server.js";
import { filterOf, matchOf, queryOf } from "./query.js";

const MAX_FACETS = 8;  // of one search
const MAX_VALUES = 100;  // that the server counts of one field
const NONE = new Map();

/**
 * The counts that the panel shows while it is open: `Map {field: {of, isComplete}}`, where `of` is a map from the JSON
 * of a value to its number. They are those of the best hits of `parts`, or of all pictures without parts. Null where
 * nothing is chosen or searched: the numbers of the whole collection hold.
 */
export function useCounts({ isOpen, collection, parts, only, names }) {
  const [counts, setCounts] = useState(NONE);
  const isWhole = !parts.length && !Object.keys(only).length;
  useEffect(() => {
    setCounts((before) => (isOpen ? before : NONE));
    if (!isOpen || isWhole) return undefined;
    const controller = new AbortController();
    readCounts(collection, parts, only, names, controller.signal).then(setCounts, () => {});
    return () => controller.abort();
  }, [isOpen, collection, JSON.stringify([parts, only, names])]);
  return isWhole ? null : counts;
}

/** The values of a chosen field are counted without its own choice, so that another value can be added to it. */
async function readCounts(collection, parts, only, names, signal) {
  const free = names.filter((name) => !(name in only));
  const chosen = names.filter((name) => name in only);
  const read = parts.length ? searchCounts : fieldCounts;
  const answers = await Promise.all([
    read(collection, parts, filterOf(only), free, signal),
    ...chosen.map((name) => {
      const { [name]: _, ...others } = only;
      return read(collection, parts, filterOf(others), [name], signal);
    }),
  ]);
  return new Map(answers.flat());
}

async function searchCounts(collection, parts, filter, names, signal) {
  const asked = { collection, k: 1, filter: filter ?? undefined, match: matchOf(parts), signal };
  const some = [];
  for (let i = 0; i < names.length; i += MAX_FACETS) {
    some.push(client.search(queryOf(parts), { ...asked, facets: names.slice(i, i + MAX_FACETS) }));
  }
  const answers = await Promise.all(some);
  const facets = answers.flatMap((answer) => answer.facets);
  return facets.map(({ field, values }) => [field, numbersOf(values, values.length < MAX_VALUES)]);
}

async function fieldCounts(collection, _parts, filter, names, signal) {
  const asked = { filter: filter ?? undefined, limit: MAX_VALUES, nested: true, signal };
  const { fields } = await client.fields(collection, asked);
  const found = new Map(fields.map((field) => [field.name, field]));
  return names.map((name) => {
    const { values, n_distinct: nDistinct } = found.get(name) ?? { values: [], n_distinct: 0 };
    return [name, numbersOf(values, values.length === nDistinct)];
  });
}

const numbersOf = (values, isComplete) => ({
  of: new Map(values.map(({ value, count }) => [JSON.stringify(value), count])),
  isComplete,
});
