/** Programs that must compile against the packed client. They are not run. */

import { Client, DiptychError, type Filter, type Hit, type Query } from "diptych-client";
import { fileBlob, imageFile, imageFiles } from "diptych-client/node";

const client = new Client(undefined, { onUnauthorized: ({ status }) => (status === 401 ? prompt("key") : null) });
const filter: Filter = { or: [{ year: 2001 }, { not: { colour: "red" } }], "place.city": { in: ["Rome"] } };
const queries: readonly Query[] = [{ text: "a" }, { id: "x", weight: -1 }];

async function* items() {
  yield { image: new File([], "a"), metadata: { year: 1 } };
}

export async function use(signal: AbortSignal): Promise<Hit[]> {
  const onUploadProgress = ({ totalBytes }: { totalBytes: number | null }): string | undefined => totalBytes?.toFixed();
  const outcomes = await client.add(items(), { collection: "a", signal, onUploadProgress });
  const kinds = outcomes.map(({ error }) => error?.kind);
  await client.add(imageFiles("a"));
  await client.addTar(await fileBlob("a.tar"));
  await client.search({ image: new URL("https://a.example/b.png") }, { filter });
  await client.search({ image: imageFile("a.png") }, { minRelevance: 0.5, match: "both" });
  const { images } = await client.embed({ images: [new Uint8Array(3), async () => (await fetch("x")).blob()] });
  const vector: Float32Array | undefined = images[0]?.embedding;
  for await (const event of client.jobEvents("a", { signal }))
    console.log(kinds, vector, event.type === "outcome" ? event.outcome.status : event.job.n_done);
  const found = await client.findImages("a", ["b"]);
  console.log(found.get("b")?.metadata["year"]);
  try {
    await client.activate("a", 2, { precision: "int8" });
    await client.rollback();
  } catch (error) {
    if (error instanceof DiptychError && error.kind === "api") console.log(error.retryAfterSeconds);
  }
  const { hits } = await client.search(queries, { collapse: "picture", facets: ["a"], collections: ["*"] });
  return hits;
}

export const wrong = [
  // @ts-expect-error: the path of a file is no image
  () => client.classify(["cat.png"], ["cat"]),
  // @ts-expect-error: no such option
  () => client.search("cat", { limit: 3 }),
  // @ts-expect-error: no such field
  async () => (await client.version()).embedDim,
];
