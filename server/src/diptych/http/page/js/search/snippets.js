/** The search that is shown, as code to copy. */

import { hasKey } from "../server.js";
import { matchOf } from "./query.js";

const K = 10;
const KEY = "DIPTYCH_API_KEY";  // the code names the key, and does not hold it
const HERE = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

/** The body of `POST /search`; a picture of the user stands for its file. */
function bodyOf({ collection, parts, filter }) {
  const query = parts.map(({ kind, value, weight }) => ({
    ...(kind === "upload" ? { image: "data:image/png;base64,..." } : { [kind]: value }),
    ...(weight !== 1 && { weight }),
  }));
  return {
    collection, query: query.length === 1 ? query[0] : query, k: K, ...(filter && { filter }), ...asksWords(parts),
  };
}

/** The option by which words count too, as the page asks; by default meaning alone does. */
const asksWords = (parts) => (matchOf(parts) === "both" ? { match: "both" } : {});

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const CONSTANTS = new Map([[true, "True"], [false, "False"], [null, "None"]]);

/** A value of JSON as Python writes it. */
function python(value) {
  if (CONSTANTS.has(value)) return CONSTANTS.get(value);
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, inner]) => `${python(name)}: ${python(inner)}`).join(", ")}}`;
}

const FILE = "picture.png";

/** The query as an argument of the Python client, and what it must import. */
function pythonQuery(parts) {
  const [first] = parts;
  if (parts.length > 1) return [`queries=[${parts.map(pythonPart).join(", ")}]`, "Client, Query"];
  if (first.kind === "upload") return [`image="${FILE}"`, "Client"];
  return [first.kind === "text" ? python(first.value) : `id=${python(first.value)}`, "Client"];
}

function pythonPart({ kind, value, weight }) {
  const what = kind === "upload" ? `image="${FILE}"` : `${kind}=${python(value)}`;
  return `Query(${what}${weight === 1 ? "" : `, weight=${weight}`})`;
}

export const SNIPPETS = {
  curl: (search) => `curl -s ${HERE()}/search \\${hasKey() ? `
  -H "Authorization: Bearer $${KEY}" \\` : ""}
  -H 'Content-Type: application/json' \\
  -d ${shellQuoted(JSON.stringify(bodyOf(search)))}`,

  Python: ({ collection, parts, filter }) => {
    const [asked, names] = pythonQuery(parts);
    const filtered = filter && `filter=${python(filter)}`;
    const match = asksWords(parts).match && `match="both"`;
    const options = [`collection=${python(collection)}`, `k=${K}`, filtered, match].filter(Boolean);
    return `${hasKey() ? "import os\n\n" : ""}from diptych_client import ${names}

with Client("${HERE()}"${hasKey() ? `, os.environ["${KEY}"]` : ""}) as client:
    answer = client.search(${[asked, ...options].join(", ")})
    for hit in answer.hits:
        print(hit.id, hit.cosine)`;
  },

  JavaScript: (search) => {
    const { query, ...options } = bodyOf(search);
    return `import { Client } from "diptych-client";

const client = new Client("${HERE()}"${hasKey() ? `, { apiKey: process.env.${KEY} }` : ""});
const { hits } = await client.search(${JSON.stringify(query)}, ${JSON.stringify(options)});
for (const { id, cosine } of hits) console.log(id, cosine);`;
  },
};
