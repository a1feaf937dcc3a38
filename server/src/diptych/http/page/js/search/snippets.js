/** The search that is shown, as code to copy. */

const K = 10;
const HERE = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

/** The body of `POST /search`; a picture of the user stands for its file. */
function bodyOf({ collection, parts, filter }) {
  const query = parts.map(({ kind, value, weight }) => ({
    ...(kind === "upload" ? { image: "data:image/png;base64,..." } : { [kind]: value }), ...(weight !== 1 && { weight }),
  }));
  return { collection, query: query.length === 1 ? query[0] : query, k: K, ...(filter && { filter }) };
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** JSON as Python writes it. */
const python = (value) => JSON.stringify(value).replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");

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
  curl: (search) => `curl -s ${HERE()}/search \\
  -H 'Content-Type: application/json' \\
  -d ${shellQuoted(JSON.stringify(bodyOf(search)))}`,

  Python: ({ collection, parts, filter }) => {
    const [asked, names] = pythonQuery(parts);
    const options = [`collection=${python(collection)}`, `k=${K}`, filter && `filter=${python(filter)}`].filter(Boolean);
    return `from diptych_client import ${names}

with Client("${HERE()}") as client:
    answer = client.search(${[asked, ...options].join(", ")})
    for hit in answer.hits:
        print(hit.id, hit.cosine)`;
  },

  JavaScript: (search) => {
    const { query, ...options } = bodyOf(search);
    return `import { Client } from "diptych-client";

const client = new Client("${HERE()}");
const { hits } = await client.search(${JSON.stringify(query)}, ${JSON.stringify(options)});
for (const { id, cosine } of hits) console.log(id, cosine);`;
  },
};
