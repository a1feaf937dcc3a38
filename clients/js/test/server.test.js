/** The client against the real server at DIPTYCH_URL, which has the tiny model, and the files in TEST_PICTURES. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Client, DiptychError, fileBlob, imageFile, imageFiles } from "./client.js";

const { DIPTYCH_URL, TEST_PICTURES, TEST_EMBED_DIM } = process.env;
const client = new Client();
const picture = (name) => imageFile(join(TEST_PICTURES, `${name}.png`));
const noise = (n) => Array.from({ length: n }, (_, i) => picture(`many/${String(i).padStart(2, "0")}`));
const sha256 = async (name) => createHash("sha256").update(await readFile(join(TEST_PICTURES, name))).digest("hex");

/** Run a test with a collection of its own. */
function withCollection(name, run) {
  test(name, async () => {
    const collection = createHash("sha256").update(name).digest("hex").slice(0, 16);
    await client.createCollection(collection);
    try {
      await run(collection);
    } finally {
      await client.dropCollection(collection);
    }
  });
}

const refusal = (status, fields = {}) => (error) => {
  assert.ok(error instanceof DiptychError, error);
  assert.deepEqual({ kind: error.kind, status: error.status }, { kind: "api", status }, error.message);
  for (const [name, value] of Object.entries(fields)) assert.match(String(error[name]), value);
  return true;
};

test("the server says what it is", async () => {
  assert.equal(client.url, `${DIPTYCH_URL}/`);
  assert.deepEqual(await client.ready(), { ready: true, detail: "" });
  await client.health();
  const { model, embed_dim: embedDim } = await client.version();
  assert.deepEqual([model.name, model.version, embedDim], ["tiny", 1, Number(TEST_EMBED_DIM)]);
  assert.deepEqual((await client.models()).map(({ name, active }) => [name, active]), [["tiny", 1]]);
  assert.deepEqual((await client.model("tiny")).versions.map(({ version }) => version), [1]);
  assert.equal((await client.modelVersion("tiny", 1)).manifest.name, "tiny");
  assert.match(await client.metrics(), /^diptych_requests_total/m);
});

test("embeddings have unit norm, the order of the call, and agree between texts and images", async () => {
  const { model, texts, images } = await client.embed({
    texts: ["red", "red ".repeat(100)],
    images: [picture("red"), await readFile(join(TEST_PICTURES, "blue.png"))],
  });
  assert.equal(model.name, "tiny");
  assert.deepEqual(texts.map(({ truncated }) => truncated), [false, true]);
  const rows = [...texts, ...images].map(({ embedding }) => embedding);
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  for (const row of rows) {
    assert.ok(row instanceof Float32Array);
    assert.equal(row.length, Number(TEST_EMBED_DIM));
    assert.ok(Math.abs(dot(row, row) - 1) < 1e-5);
  }
  assert.ok(dot(rows[0], rows[2]) > dot(rows[0], rows[3])); // "red" lies nearer to the red picture
});

test("more images than one request takes are embedded, and a bad one is named by its place", async () => {
  const images = [...noise(66), new Blob(["no image"])];
  assert.equal((await client.embed({ images: images.slice(0, -1) })).images.length, 66);
  await assert.rejects(client.embed({ images }), refusal(415, { item: /^images\[66\]$/, type: /unsupported-image/ }));
});

test("labels come best first, with templates and options", async () => {
  const images = [picture("red"), picture("blue")];
  const { data } = await client.classify(images, ["red", "blue", "a, b"], { template: "a {}." });
  assert.deepEqual(data.map(({ predictions }) => predictions[0].label), ["red", "blue"]);
  assert.ok(Math.abs(data[0].predictions.reduce((sum, { score }) => sum + score, 0) - 1) < 1e-5);
  const options = { templates: ["a {}.", "{}"], topK: 1 };
  assert.equal((await client.classify(images, ["red", "blue"], options)).data[1].predictions.length, 1);
  const { model, images: rows } = await client.embed({ images });
  const embeddings = rows.map(({ embedding }) => embedding);
  const again = await client.classifyEmbeddings(embeddings, ["red", "blue", "a, b"], { model, template: "a {}." });
  again.data.forEach((row, i) =>
    row.predictions.forEach(({ label, score }, j) => {
      assert.equal(label, data[i].predictions[j].label);
      assert.ok(Math.abs(score - data[i].predictions[j].score) < 1e-5);
    }),
  );
});

withCollection("added images are found by words, by image, by id and by a mix", async (collection) => {
  const items = [
    { image: picture("red"), id: "r", metadata: { colour: "red" } },
    { image: picture("blue") },
    { image: new Blob(["no image"]), id: "x" },
    { image: picture("absent") },
  ];
  const outcomes = await client.add(items, { collection });
  const blue = (await sha256("blue.png")).slice(0, 32);
  assert.deepEqual(outcomes.map(({ index, id, status }) => [index, id, status]), [
    [0, "r", "created"],
    [1, blue, "created"],
    [2, "x", "failed"],
    [3, null, "failed"],
  ]);
  assert.deepEqual(outcomes.slice(2).map(({ error }) => [error.kind, error.status]), [["api", 415], ["unreadable", 0]]);
  const ids = async (query, options = {}) =>
    (await client.search(query, { collection, ...options })).hits.map(({ id }) => id);
  assert.deepEqual(await ids("red"), ["r", blue]);
  assert.deepEqual(await ids("red", { k: 1, offset: 1 }), [blue]);
  assert.deepEqual(await ids({ image: picture("blue") }, { k: 1 }), [blue]);
  assert.deepEqual(await ids({ id: "r" }), [blue]);
  assert.deepEqual(await ids([{ text: "red" }, { id: blue, weight: -1 }]), ["r"]);
  assert.deepEqual(await ids("blue", { filter: { colour: "red" }, exact: true }), ["r"]);
  const { facets } = await client.search("blue", { collection, facets: ["colour"], collapse: 0.99 });
  assert.deepEqual(facets, [{ field: "colour", n_hits: 2, values: [{ value: "red", count: 1 }] }]);
  const { hits } = await client.search("red", { collection, match: "words" });
  assert.deepEqual(hits.map((hit) => [hit.id, hit.matched, hit.matched_fields]), [["r", ["words"], ["colour"]]]);
  const sorted = client.search("blue", { collection, orderBy: "colour", direction: "desc" });
  await assert.rejects(sorted, refusal(422, { item: /^order_by$/ }));  // the model is not calibrated
});

withCollection("several collections are searched side by side", async (collection) => {
  const other = `${collection}-other`;
  await client.createCollection(other);
  try {
    await client.add([{ image: picture("red"), id: "r" }], { collection });
    await client.add([{ image: picture("blue"), id: "b" }], { collection: other });
    const { hits } = await client.search("red", { collections: [collection, other], collapse: "picture" });
    assert.deepEqual(hits.map((hit) => [hit.id, hit.collection]), [["r", collection], ["b", other]]);
  } finally {
    await client.dropCollection(other);
  }
});

withCollection("refusals are errors with their reason", async (collection) => {
  const add = async (name, options) =>
    (await client.add([{ image: picture(name), id: "r" }], { collection, ...options }))[0];
  assert.equal((await add("red")).status, "created");
  assert.equal((await add("red")).status, "unchanged");
  assert.equal((await add("blue")).error.status, 409);
  assert.equal((await add("blue", { replace: true })).status, "replaced");
  await assert.rejects(client.createCollection(collection), refusal(409));
  await assert.rejects(client.search("red", { collection: "absent" }), refusal(404, { requestId: /.+/ }));
  await assert.rejects(client.search("red", { collection, k: 51 }), refusal(422, { message: /50.*\(HTTP 422\)$/ }));
  await assert.rejects(client.search("red", { collections: [] }), refusal(422, { message: /^collections: / }));
});

withCollection("many images come from an iterator, in batches that report progress", async (collection) => {
  async function* items() {
    for (const image of noise(70)) yield { image };
  }
  const progress = [];
  const uploads = [];
  const seen = [];
  const outcomes = await client.add(items(), {
    collection,
    onOutcome: ({ index }) => seen.push(index),
    onProgress: (one) => progress.push(one),
    onUploadProgress: (one) => uploads.push(one),
  });
  assert.deepEqual(new Set(outcomes.map(({ status }) => status)), new Set(["created"]));
  assert.deepEqual(seen, Array.from({ length: 70 }, (_, i) => i));
  assert.deepEqual(progress, [
    { nDone: 64, nFailed: 0, nItems: null },
    { nDone: 70, nFailed: 0, nItems: null },
    { nDone: 70, nFailed: 0, nItems: 70 },
  ]);
  const sizes = await Promise.all(noise(70).map(async (read) => (await read()).byteLength));
  const sent = uploads.map(({ sentBytes }) => sentBytes);
  assert.deepEqual(sent, [...sent].sort((a, b) => a - b));
  assert.equal(sent.at(-1), sizes.reduce((sum, size) => sum + size));
  const first = await client.listImages(collection, { limit: 60 });
  const second = await client.listImages(collection, { after: first.next, limit: 60 });
  assert.deepEqual([first.images.length, second.images.length, second.next], [60, 10, null]);
  assert.equal((await client.collection(collection)).n_images, 70);
  assert.equal(first.total, 70);
});

withCollection("images are labelled, corrected, filtered and exported", async (collection) => {
  await client.add(["red", "blue"].map((id) => ({ image: picture(id), id })), { collection });
  const made = await client.putLabelSet(collection, "kind", ["red", { label: "blue", words: ["green"] }], {
    templates: "plain",
    minScore: 0.1,
  });
  assert.deepEqual([made.revision, made.labels[1].words, made.min_score], [1, ["green"], 0.1]);
  assert.deepEqual((await client.labelSets(collection)).map(({ name }) => name), ["kind"]);
  const proposals = await client.labelProposals(collection, "kind", { limit: 2 });
  assert.deepEqual([proposals.images.length, proposals.n_unreviewed, proposals.revision], [2, 2, 1]);
  const { verdicts, unknown, replaced } = await client.giveVerdicts(collection, "kind", [
    { id: "red", label: null, drawn: true },
    { id: "no", label: "red" },
    { id: "blue", label: "blue", sha256: "0".repeat(64) },
  ]);
  assert.deepEqual([verdicts[0].before, unknown, replaced], [null, ["no"], ["blue"]]);
  const none = await client.labelledImages(collection, "kind", { label: "" });
  assert.deepEqual(none.images.map(({ id, by, proposed }) => [id, by, proposed]), [["red", "person", ["red"]]]);
  const open = await client.labelledImages(collection, "kind", { uncertainFirst: true, limit: 1 });
  assert.deepEqual([open.images[0].id, open.next], ["blue", null]);
  const filter = { label: { set: "kind", in: [null] } };
  assert.deepEqual((await client.listImages(collection, { filter })).images.map(({ id }) => id), ["red"]);
  const { n_reviewed, accuracy } = await client.labelSet(collection, "kind");
  assert.deepEqual([n_reviewed, accuracy.n], [1, 1]);
  const csv = await (await client.exportLabels(collection, "kind", { format: "csv" })).text();
  assert.equal(csv.split("\n")[2].startsWith("red,,"), true);
  assert.deepEqual((await client.withdrawVerdict(collection, "kind", "red")).labels, []);
  await client.dropLabelSet(collection, "kind");
  assert.deepEqual(await client.labelSets(collection), []);
});

withCollection("images that pass a filter are listed, fields and months counted and duplicates found", async (collection) => {
  const items = [1999, 2001].map((year) => ({ image: picture("red"), id: `y${year}`, metadata: { year, day: `${year}-05-01` } }));
  await client.add(items, { collection });
  const page = await client.listImages(collection, { filter: { year: { gte: 2000 } } });
  assert.deepEqual([page.images.map(({ id }) => id), page.total], [["y2001"], 1]);
  const newest = await client.listImages(collection, { orderBy: "year", direction: "desc", limit: 1 });
  const older = await client.listImages(collection, { orderBy: "year", direction: "desc", after: newest.next });
  assert.deepEqual([newest, older].map(({ images }) => images.map(({ id }) => id)), [["y2001"], ["y1999"]]);
  const { n_images: n, fields } = await client.fields(collection, { limit: 1 });
  const year = fields.find(({ name }) => name === "year");
  assert.deepEqual([n, year.min, year.max, year.values.length], [2, 1999, 2001, 1]);
  const { months } = await client.months(collection, "day", { filter: { year: { gte: 2000 } } });
  assert.deepEqual(months, [{ month: "2001-05", n_images: 1 }]);
  const { groups } = await client.duplicates(collection, { kind: "picture" });
  assert.deepEqual(groups.map(({ images }) => images.map(({ id }) => id)), [["y1999", "y2001"]]);
});

withCollection("known images are not sent again", async (collection) => {
  const image = picture("red");
  await client.add([{ image, id: "r", metadata: { a: 1, b: 2 } }], { collection });
  const again = async (metadata, replace) =>
    (await client.add([{ image, id: "r", metadata }], { collection, skipKnown: true, replace }))[0].status;
  assert.equal(await again({ b: 2, a: 1 }, true), "unchanged");
  assert.equal(await again({ a: 2 }, true), "replaced");
  for (const skipKnown of [true, false])
    for (const [metadata, differs] of [[{ a: 3 }, true], [{ a: 2, file: "r.png" }, false], [undefined, false]]) {
      const [{ metadata_differs }] = await client.add([{ image, id: "r", metadata }], { collection, skipKnown });
      assert.equal(metadata_differs, differs);
    }
  let nBytes = 0;
  const bytes = new Uint8Array(await image());
  await client.add([{ image: bytes, id: "r" }], { collection, skipKnown: true, onUploadProgress: (p) => (nBytes = p) });
  assert.deepEqual(nBytes, { sentBytes: bytes.length, totalBytes: bytes.length });
});

withCollection("one image is read, patched and deleted", async (collection) => {
  await client.add([{ image: picture("red"), id: "r", metadata: { a: 1, b: 2 } }], { collection });
  const record = await client.getImage(collection, "r");
  assert.deepEqual([record.width, record.height, record.media_type], [40, 32, "image/png"]);
  const original = await client.original(collection, "r");
  assert.deepEqual(Buffer.from(await original.arrayBuffer()), await readFile(join(TEST_PICTURES, "red.png")));
  assert.equal(original.type, "image/png");
  assert.ok((await client.thumbnail(collection, "r", { size: 64 })).size > 0);
  for (const url of [client.originalUrl(collection, "r"), client.thumbnailUrl(collection, "r", { size: 64 })])
    assert.equal((await fetch(url)).status, 200, url);
  assert.deepEqual((await client.patchImage(collection, "r", { a: null, c: 3 })).metadata, { b: 2, c: 3 });
  assert.deepEqual([...(await client.findImages(collection, ["r", "x"])).keys()], ["r"]);
  assert.equal((await client.deleteImages(collection, { filter: { c: 3 }, preview: true })).n_images, 1);
  await client.deleteImage(collection, "r");
  await assert.rejects(client.getImage(collection, "r"), refusal(404));
  await assert.rejects(client.deleteImage(collection, ".."), { kind: "invalid-call" });
});

withCollection("vectors are added", async (collection) => {
  const { model, images } = await client.embed({ images: [picture("red")] });
  const items = [{ vector: images[0].embedding, id: "r", metadata: { a: 1 } }, { vector: [...images[0].embedding] }];
  const outcomes = await client.addVectors(items, { model, collection });
  assert.deepEqual(outcomes.map(({ status }) => status), ["created", "created"]);
  assert.equal((await client.search({ image: picture("red") }, { collection, k: 1 })).hits[0].id, "r");
  const short = [...items, { vector: [1] }];
  await assert.rejects(client.addVectors(short, { model, collection }), { kind: "invalid-call" });
});

withCollection("a collection is renamed and keeps no files", async (collection) => {
  const changed = await client.changeCollection(collection, { newName: `${collection}-new`, keep: "none" });
  assert.deepEqual([changed.name, changed.keep], [`${collection}-new`, "none"]);
  assert.ok((await client.collections()).some(({ name }) => name === `${collection}-new`));
  const few = await client.changeCollection(`${collection}-new`, { textFields: ["caption"] });
  assert.deepEqual(few.text_fields, ["caption"]);
  const all = await client.changeCollection(`${collection}-new`, { newName: collection, textFields: null });
  assert.equal(all.text_fields, null);
});

withCollection("a tar archive becomes a job, whose events are followed", async (collection) => {
  const uploads = [];
  const archive = await fileBlob(join(TEST_PICTURES, "some.tar"));
  const job = await client.addTar(archive, { collection, onUploadProgress: (one) => uploads.push(one) });
  assert.deepEqual(uploads.at(-1), { sentBytes: archive.size, totalBytes: archive.size });
  const events = [];
  for await (const event of client.jobEvents(job.id)) events.push(event);
  const outcomes = events.filter(({ type }) => type === "outcome").map(({ outcome }) => outcome);
  assert.deepEqual(outcomes.map(({ index, file, status }) => [index, file, status]), [
    [0, "red.png", "created"],
    [1, "blue.png", "created"],
    [2, "broken.png", "failed"],
  ]);
  assert.deepEqual([events.at(-1).type, events.at(-1).job.state], ["end", "done"]);
  const later = [];
  const ended = await client.followJob(job.id, { after: 1, onOutcome: ({ index }) => later.push(index) });
  assert.deepEqual([ended.state, later], ["done", [2]]);
  assert.equal((await client.jobOutcomes(job.id, { limit: 2 })).next, 1);
  assert.equal((await client.job(job.id)).id, job.id);
  assert.ok((await client.jobs()).some(({ id }) => id === job.id));
  assert.equal((await client.cancelJob(job.id)).state, "done");
});

withCollection("a folder is added with the names of its files", async (collection) => {
  const outcomes = await client.add(imageFiles(join(TEST_PICTURES, "few")), { collection });
  assert.deepEqual(outcomes.map(({ status }) => status), ["created", "created"]);
  const { images } = await client.listImages(collection);
  const files = images.map(({ metadata }) => metadata.file).sort((one, other) => one.name.localeCompare(other.name));
  assert.deepEqual(files.map(({ name, folder }) => [name, folder]), [["blue.png", "a"], ["red.png", "."]]);
  assert.match(files[0].modified, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
});

test("a device is not read", async () => {
  await assert.rejects(imageFile("/dev/zero")(), /\/dev\/zero is not a regular file/);
});

test("rollouts are started, followed and listed", async () => {
  const rollout = await client.activate("tiny", 1);
  assert.equal(rollout.state, "active"); // it serves already
  const states = [];
  assert.ok(Array.isArray(await client.rollouts({ limit: 5 })));
  const { policy, previous, models } = await client.rolloutStatus();
  assert.deepEqual([typeof policy, previous, models.length], ["string", null, 1]);
  await assert.rejects(client.rollback(), refusal(404, { detail: /no version to go back to/ }));
  await assert.rejects(client.waitForRollout("absent", { onProgress: ({ state }) => states.push(state) }), refusal(404));
  await assert.rejects(client.cancelRollout("absent"), refusal(404));
  await assert.rejects(client.compareVersions("tiny", 1, 2), refusal(404));
  await assert.rejects(client.pushModel("mine", new Blob(["no archive"])), (error) => error.status >= 400);
  assert.deepEqual(states, []);
});
