/** `search`: images of collections by a text, by an image, by one of their own, or by a weighted mix. */

import { checkedOptions, checkObject, checkTexts } from "./checks.js";
import { without } from "./encoding.js";
import { invalidCall } from "./errors.js";
import { imageJson, type ImageSource } from "./images.js";
import type { CallOptions, Transport } from "./transport.js";
import type { Direction, Filter, SearchResult } from "./types.js";

/** One part of a query. Give exactly one of `text`, `image` and `id`. */
export interface Query {
  text?: string;
  image?: ImageSource;
  /** An image of the collection, which is itself no hit. */
  id?: string;
  /** A negative weight moves away from what is named; 1 by default. */
  weight?: number;
  /** The collection of the image with this `id`, needed when several are searched. */
  collection?: string;
}

/** Options of `search`. */
export interface SearchOptions extends CallOptions {
  /** How many hits; 10 by default. */
  k?: number;
  /** How many of the best hits to skip. */
  offset?: number;
  /** A condition on metadata. */
  filter?: Filter;
  /** The default collection of the server without it. */
  collection?: string;
  /** Instead of `collection`: several of one model and version, or `["*"]` for all; an empty list is refused. */
  collections?: readonly string[];
  /** Compare with every image on the CPU, also where an index or a GPU searches. */
  exact?: boolean;
  /** Leave out hits with less relevance, from 0 to 1: an empty answer means that nothing fits. */
  minRelevance?: number;
  /** Metadata fields whose values are counted among the best hits. */
  facets?: readonly string[];
  /** Fold images with the same bytes, of the same picture, or with at least this cosine, into the best of them. */
  collapse?: "bytes" | "picture" | number;
  /** What finds hits: the meaning of the query (the default), the words of its one text in names and metadata, or both. */
  match?: "meaning" | "words" | "both";
  /** Sort the hits that may fit by this metadata field, such as the date of the picture. */
  orderBy?: string;
  /** Of `orderBy`; "asc" by default. */
  direction?: Direction;
}

const QUERY = "an object { text }, { image } or { id }";

export async function search(
  transport: Transport,
  query: string | Query | readonly Query[],
  options: SearchOptions,
): Promise<SearchResult> {
  const { facets, collections, orderBy, direction } = checkedOptions(options);
  if (orderBy === undefined && direction !== undefined) throw invalidCall("direction is given only with orderBy");
  if (facets !== undefined && facets !== null) checkTexts("facets", facets);
  if (collections !== undefined && collections !== null) checkTexts("collections", collections);
  const parts = typeof query === "string" ? { text: query } : query;
  if (isList(parts)) for (const [i, part] of parts.entries()) checkObject(`query[${i}]`, QUERY, part);
  else checkObject("query", `a string, ${QUERY}, or a list of these`, parts);
  const json = without({
    query: isList(parts) ? await Promise.all(parts.map(queryJson)) : await queryJson(parts, 0),
    k: options.k,
    offset: options.offset,
    filter: options.filter,
    collection: options.collection,
    collections,
    exact: options.exact,
    min_relevance: options.minRelevance,
    facets: facets?.length ? facets : undefined,
    collapse: options.collapse,
    match: options.match === "meaning" ? undefined : options.match, // older servers do not know it
    order_by: orderBy === undefined ? undefined : without({ field: orderBy, direction }),
  });
  return transport.json({ method: "POST", path: ["search"], json, signal: options.signal });
}

async function queryJson(query: Query, index: number): Promise<object> {
  const { text, image, id, weight, collection } = query;
  if ([text, image, id].filter((one) => one !== undefined).length !== 1)
    throw invalidCall(`query[${index}] takes exactly one of text, image and id`);
  const data = image === undefined ? undefined : await imageJson(image, `query[${index}]`);
  return without({ text, image: data, id, weight, collection });
}

/** `Array.isArray` does not narrow readonly arrays. */
function isList(query: Query | readonly Query[]): query is readonly Query[] {
  return Array.isArray(query);
}
