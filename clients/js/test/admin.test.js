/** Keys, versions and rollouts, against a server with two versions that TEST_API_KEY administers. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { Client, fileBlob, imageFile } from "./client.js";

const { TEST_API_KEY, TEST_PICTURES } = process.env;
const client = new Client(undefined, { apiKey: TEST_API_KEY });

test("keys are made, limited and revoked", async () => {
  await client.createCollection("pets");
  await client.createCollection("plants");
  const expiresAt = new Date(Date.now() + 3_600_000);
  const made = await client.createKey("page", "read", { collections: ["pets"], expiresAt });
  assert.deepEqual([made.name, made.scopes, made.collections], ["page", ["read"], ["pets"]]);
  const reader = new Client(client.url, { apiKey: made.key });
  assert.deepEqual((await reader.collections()).map(({ name }) => name), ["pets"]);
  await assert.rejects(reader.dropCollection("pets"), { kind: "api", status: 403 });
  assert.ok((await client.keys()).some(({ prefix }) => prefix === made.prefix));
  await client.revokeKey(made.prefix);
  await assert.rejects(reader.collections(), { kind: "api", status: 401 });
  await assert.rejects(new Client().collections(), { kind: "api", status: 401 });
  const asking = new Client(client.url, { onUnauthorized: () => TEST_API_KEY });
  assert.ok((await asking.collections()).some(({ name }) => name === "plants"));
});

test("the server moves to a version and back, and both are compared", async () => {
  await client.add([{ image: imageFile(join(TEST_PICTURES, "red.png")) }], { collection: "pets" });
  const versions = async () => {
    const { texts, model } = await client.embed({ texts: ["red"] });
    assert.equal(texts.length, 1);
    return [model.version, (await client.search("red", { collection: "pets" })).model.version];
  };
  assert.deepEqual(await versions(), [2, 2]);
  const states = [];
  const { id } = await client.activate("tiny", 1);
  const rollout = await client.waitForRollout(id, { onProgress: ({ state }) => states.push(state) });
  assert.deepEqual([rollout.state, states.at(-1), await versions()], ["active", "active", [1, 1]]);
  const { collections } = await client.compareVersions("tiny", 2, 1, { collection: "pets" });
  assert.deepEqual(collections.map(({ collection, n_images: n }) => [collection, n]), [["pets", 1]]);
  assert.equal((await client.rolloutStatus()).previous.version, 2);
  const back = await client.waitForRollout((await client.rollback()).id);
  assert.deepEqual([back.state, await versions()], ["active", [2, 2]]);
  assert.deepEqual((await client.rollouts({ limit: 2 })).map(({ target }) => target.version), [2, 1]);
  await assert.rejects(client.cancelRollout(id), { kind: "api", status: 409 });
});

test("a version is pushed, with progress", async () => {
  const archive = await fileBlob(join(TEST_PICTURES, "bundle.tar"));
  const sent = [];
  const pushed = await client.pushModel("mine", archive, { onUploadProgress: ({ sentBytes }) => sent.push(sentBytes) });
  assert.deepEqual([pushed.name, pushed.version, pushed.created, pushed.active], ["mine", 1, true, false]);
  assert.equal(sent.at(-1), archive.size);
  assert.equal((await client.pushModel("mine", archive)).created, false);
  assert.equal((await client.modelVersion("mine", 1)).active, false);
});
