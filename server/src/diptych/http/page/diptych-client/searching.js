import { checkedOptions, checkObject, checkTexts } from "./checks.js";
import { without } from "./encoding.js";
import { invalidCall } from "./errors.js";
import { imageJson } from "./images.js";
const QUERY = "an object { text }, { image } or { id }";
export async function search(transport, query, options) {
    const { facets, collections, orderBy, direction } = checkedOptions(options);
    if (orderBy === undefined && direction !== undefined)
        throw invalidCall("direction is given only with orderBy");
    if (facets !== undefined && facets !== null)
        checkTexts("facets", facets);
    if (collections !== undefined && collections !== null)
        checkTexts("collections", collections);
    const parts = typeof query === "string" ? { text: query } : query;
    if (isList(parts))
        for (const [i, part] of parts.entries())
            checkObject(`query[${i}]`, QUERY, part);
    else
        checkObject("query", `a string, ${QUERY}, or a list of these`, parts);
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
        match: options.match === "meaning" ? undefined : options.match,
        order_by: orderBy === undefined ? undefined : without({ field: orderBy, direction }),
    });
    return transport.json({ method: "POST", path: ["search"], json, signal: options.signal });
}
async function queryJson(query, index) {
    const { text, image, id, weight, collection } = query;
    if ([text, image, id].filter((one) => one !== undefined).length !== 1)
        throw invalidCall(`query[${index}] takes exactly one of text, image and id`);
    const data = image === undefined ? undefined : await imageJson(image, `query[${index}]`);
    return without({ text, image: data, id, weight, collection });
}
function isList(query) {
    return Array.isArray(query);
}
