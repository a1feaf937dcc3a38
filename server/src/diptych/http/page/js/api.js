/** Calls the API of the server that this page came from. */

const KEY = "diptych.api_key";

/** An error, with the message of the server (problem+json) if there is one. `status` 0: no response. */
export class Problem extends Error {
  constructor(status, title, detail, requestId = null, retryAfter_s = 1) {
    super(detail);
    this.status = status;
    this.title = title;
    this.requestId = requestId;
    this.retryAfter_s = retryAfter_s;
  }
}

/** A search or classification here has one picture, so its item name is left out. */
const reasonIn = ({ detail }) => detail?.replace(/^(images\[0\]|query\[0\]): /, "") ?? "It gave no reason.";

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const requestId = body.request_id ?? response.headers.get("x-request-id");
  const title = body.title ?? `The server answered ${response.status}`;
  return new Problem(response.status, title, reasonIn(body), requestId, Number(response.headers.get("retry-after")) || 1);
}

/**
 * The API. `askForKey(isRefused)` resolves to the key that the user typed, or to null; it is called once at a time.
 * `onModel(model)` is called with the model of each classification: the server may have moved to another version.
 */
export function createApi(askForKey, onModel) {
  let asking = null;

  async function send(path, options, key) {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    try {
      return await fetch(new URL(path, document.baseURI), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "No answer from the server", "It may be stopped, or the connection is down.");
    }
  }

  /** A key other than the `refused` one (null: none was sent), or null if the user gives none. */
  async function renewKey(refused) {
    const kept = sessionStorage.getItem(KEY);
    if (kept !== refused) return kept;
    asking ??= askForKey(refused !== null).finally(() => { asking = null; });
    const key = await asking;
    if (key) sessionStorage.setItem(KEY, key);
    return key;
  }

  async function request(path, options = {}) {
    let key = sessionStorage.getItem(KEY);
    let response = await send(path, options, key);
    while (response.status === 401 && (key = await renewKey(key))) response = await send(path, options, key);
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  const get = async (path, options) => (await request(path, options)).json();

  return {
    /** True once the model is loaded and its last self-test passed. */
    ready: async () => (await send("readyz", {}, null)).ok,
    models: () => get("models"),
    version: () => get("version"),
    collections: () => get("collections"),
    images: (collection, after, limit) => {
      const page = new URLSearchParams({ limit, ...(after && { after }) });
      return get(`collections/${encodeURIComponent(collection)}/images?${page}`);
    },

    /** Hits for one query, `{text}` or `{id}`, best first. */
    search: (collection, query, k, offset, signal) =>
      get("search", {
        method: "POST", signal,
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ collection, query, k, offset }),
      }),

    /** Hits for an uploaded picture. */
    searchByImage: (collection, file, k, offset, signal) => {
      const body = new FormData();
      body.append("collection", collection);
      body.append("image", file);
      body.append("k", k);
      body.append("offset", offset);
      return get("search", { method: "POST", signal, body });
    },

    /** Predictions for one picture, best first. Labels are sent as one JSON array, so a label may contain a comma. */
    classify: async (file, labels, topK, signal) => {
      const body = new FormData();
      body.append("image", file);
      body.append("labels", JSON.stringify(labels));
      body.append("top_k", topK);
      const answer = await get("classify", { method: "POST", signal, body });
      onModel(answer.model);
      return answer;
    },

    /** Add a list of {name, file}: `{outcomes}`, or the job that the server created. */
    add: (collection, pictures, signal) => {
      const body = new FormData();
      body.append("items", JSON.stringify(pictures.map(({ name }) => ({ metadata: { file: name } }))));
      for (const { file } of pictures) body.append("image", file);
      return get(`collections/${encodeURIComponent(collection)}/images`, { method: "POST", signal, body });
    },

    outcomes: (job, after) => get(`jobs/${encodeURIComponent(job)}/outcomes?${new URLSearchParams({ after })}`),
    cancelJob: (job) => get(`jobs/${encodeURIComponent(job)}`, { method: "DELETE" }),

    blob: async (path) => (await request(path)).blob(),

    /** A URL for an <img>: the path, or if a key is needed, a blob URL. */
    picture: async (path) => {
      if (!sessionStorage.getItem(KEY)) return path;
      return URL.createObjectURL(await (await request(path)).blob());
    },
  };
}
