/** Retries, timeouts, cancellation and answers that no server should give, against servers made for each test. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Client, DiptychError, fileBlob } from "./client.js";

const MODEL = { name: "tiny", version: 1, precision: "fp32", decode: "exact" };
const ROW = { index: 0, embedding: Buffer.from(new Float32Array([1, 0]).buffer).toString("base64"), truncated: false };

/** Serve a list of answers: functions that get request and response. Records what was asked. */
async function withServer(answers, run) {
  const asked = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // the client broke off
    }
    asked.push({ method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(chunks) });
    await (answers[asked.length - 1] ?? answers.at(-1))(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await run(`http://127.0.0.1:${server.address().port}/prefix`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const json = (body, status = 200, headers = {}) => (_, response) => {
  const type = status >= 400 ? "application/problem+json" : "application/json";
  response.writeHead(status, { "Content-Type": type, ...headers }).end(JSON.stringify(body));
};
const busy = (seconds, status = 429) =>
  json({ type: "urn:diptych:error:overloaded", title: "Overloaded", status, detail: "the queue is full" }, status, {
    "Retry-After": seconds,
    "X-Request-Id": "abc",
  });
const lost = (request) => request.socket.destroy();
const silent = () => {};
const proxy = (status) => (_, response) => response.writeHead(status, { "Content-Type": "text/html" }).end("<p>gone");
const version = json({ version: "0.1.0", default_collection: "default" });

test("a busy server is asked again after the time that it names", async () => {
  await withServer([busy("0.2"), busy("0", 503), version], async (url, asked) => {
    const began = performance.now();
    assert.equal((await new Client(url).version()).version, "0.1.0");
    assert.ok(performance.now() - began >= 190);
    assert.deepEqual(asked.map((one) => one.url), Array(3).fill("/prefix/version"));
  });
});

test("retries end, and the error has what the server said", async () => {
  await withServer([busy("0")], async (url, asked) => {
    await assert.rejects(new Client(url, { retries: 2 }).version(), {
      name: "DiptychError",
      kind: "api",
      status: 429,
      type: "urn:diptych:error:overloaded",
      title: "Overloaded",
      detail: "the queue is full",
      message: "the queue is full (HTTP 429)",
      item: null,
      requestId: "abc",
      retryAfterSeconds: 0,
    });
    assert.equal(asked.length, 3);
  });
});

test("a wait of more than a minute is left to the caller", async () => {
  await withServer([busy("61")], async (url, asked) => {
    await assert.rejects(new Client(url).version(), { status: 429, retryAfterSeconds: 61 });
    assert.equal(asked.length, 1);
  });
});

test("what may not be repeated is sent once", async () => {
  for (const answer of [busy("0"), lost])
    await withServer([answer], async (url, asked) => {
      await assert.rejects(new Client(url).createKey("mine"), DiptychError);
      await assert.rejects(new Client(url).createCollection("mine"), DiptychError);
      assert.equal(asked.length, 2);
    });
});

test("a lost connection is tried again, with the same body", async () => {
  await withServer([lost, json({ model: MODEL, data: [ROW] })], async (url, asked) => {
    const { images } = await new Client(url).embed({ images: [new Uint8Array([1, 2, 3])] });
    assert.deepEqual([...images[0].embedding], [1, 0]);
    assert.equal(asked.length, 2);
    for (const { body } of asked) assert.ok(body.includes(Buffer.from([1, 2, 3])));
  });
});

test("a proxy that does not reach the server is tried again, its other errors are not", async () => {
  await withServer([proxy(413)], async (url) => {
    await assert.rejects(new Client(url).version(), { kind: "api", status: 413, detail: /proxy.*smaller limit/ });
  });
  await withServer([proxy(502)], async (url, asked) => {
    const controller = new AbortController();
    const called = new Client(url).version({ signal: controller.signal });
    setTimeout(() => controller.abort(), 300); // it waits two seconds
    await assert.rejects(called, { kind: "aborted" });
    assert.equal(asked.length, 1);
  });
});

test("no server, no answer in time and a cancelled call are told apart", async () => {
  await assert.rejects(new Client("http://127.0.0.1:9", { retries: 0 }).version(), {
    kind: "unreachable",
    status: 0,
    message: /^cannot reach http:\/\/127\.0\.0\.1:9\/: .*Is `diptych serve` running\?$/,
  });
  await withServer([silent], async (url) => {
    const client = new Client(url, { timeoutSeconds: 0.2 });
    await assert.rejects(client.version(), { kind: "timeout", message: /did not answer in 0.2 s/ });
    const signal = AbortSignal.timeout(50);
    await assert.rejects(client.version({ signal }), (error) => {
      assert.deepEqual([error.kind, error.cause], ["aborted", signal.reason]);
      return true;
    });
    await assert.rejects(client.version({ signal }), { kind: "aborted" }); // nothing is sent
  });
});

test("an answer that stops in the middle is a timeout", async () => {
  const half = (_, response) => void response.writeHead(200, { "Content-Type": "application/json" }).write("{");
  await withServer([half], async (url) => {
    await assert.rejects(new Client(url, { timeoutSeconds: 0.2 }).version(), { kind: "timeout" });
  });
});

test("a cancelled add stops, and keeps what was reported", async () => {
  const added = json({ model: MODEL, collection: "pets", outcomes: [{ index: 0, id: "a", status: "created", error: null }] });
  await withServer([added, silent], async (url) => {
    const controller = new AbortController();
    const outcomes = [];
    const items = Array.from({ length: 3 }, () => ({ image: new Uint8Array(20_000_000) }));
    const onOutcome = (outcome) => {
      outcomes.push(outcome.id);
      setTimeout(() => controller.abort(), 100);
    };
    const { signal } = controller;
    await assert.rejects(new Client(url).add(items, { collection: "pets", onOutcome, signal }), { kind: "aborted" });
    assert.deepEqual(outcomes, ["a"]);
  });
});

test("a refused batch is halved until only the bad image fails", async () => {
  const asked = [];
  const fetch = async (url, { body }) => {
    const items = JSON.parse(body.get("items"));
    asked.push(items.map(({ id }) => id).join(""));
    if (asked.at(-1).includes("c"))
      return new Response(JSON.stringify({ title: "Too large", detail: "too many bytes" }), {
        status: 413,
        headers: { "Content-Type": "application/problem+json" },
      });
    const outcomes = items.map(({ id }, index) => ({ index, id, status: "created", error: null }));
    return new Response(JSON.stringify({ model: MODEL, collection: "pets", outcomes }));
  };
  const items = ["a", "b", "c", "d"].map((id) => ({ id, image: new Uint8Array(9) }));
  const uploads = [];
  const found = await new Client("http://diptych.example.org", { fetch }).add(items, {
    collection: "pets",
    onProgress: (progress) => uploads.push(progress),
  });
  assert.deepEqual(asked, ["abcd", "ab", "cd", "c", "d"]);
  assert.deepEqual(found.map(({ index, status, error }) => [index, status, error?.status ?? null]), [
    [0, "created", null],
    [1, "created", null],
    [2, "failed", 413],
    [3, "created", null],
  ]);
  assert.deepEqual(uploads, [{ nDone: 4, nFailed: 1, nItems: 4 }]);
});

test("vectors of two versions are never mixed", async () => {
  const answers = [1, 2].map((version) =>
    json({ model: { ...MODEL, version }, data: Array.from({ length: 64 }, (_, index) => ({ ...ROW, index })) }),
  );
  await withServer(answers, async (url) => {
    const images = Array.from({ length: 65 }, () => new Uint8Array([1]));
    await assert.rejects(new Client(url).embed({ images }), { kind: "version-changed", message: /tiny\/1 .* tiny\/2 / });
  });
});

test("answers that no diptych server gives are named", async () => {
  const page = (_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>");
  await withServer([page], async (url) => {
    await assert.rejects(new Client(url).version(), { kind: "unexpected", message: /text\/html.*not JSON/ });
  });
  const event = (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end("event: end\ndata: {\n\n");
  };
  await withServer([event], async (url) => {
    await assert.rejects(new Client(url).followJob("j"), { kind: "unexpected", message: /not JSON/ });
  });
  const image = new Uint8Array([1]);
  for (const body of [null, 3, "a", [], {}, { model: {}, data: [null], outcomes: [null], images: [null] }])
    await withServer([json(body)], async (url) => {
      const client = new Client(url);
      const calls = [
        client.embed({ texts: ["a"] }),
        client.classify([image], ["a"]),
        client.classifyStored(["a"], ["b"]),
        client.add([{ image }], { collection: "pets" }),
        client.addVectors([{ vector: [1] }], { model: MODEL, collection: "pets" }),
        client.findImages("pets", ["a"]),
        client.collections(),
        client.jobs(),
        client.models(),
        client.rollouts(),
        client.keys(),
      ];
      for (const { reason } of await Promise.allSettled(calls)) {
        assert.equal(reason?.kind, "unexpected", String(reason));
        assert.match(reason.message, /is this a diptych server\?|outcomes for 1 items/);
      }
    });
  const moved = (_, response) => response.writeHead(302, { Location: "/elsewhere" }).end();
  await withServer([moved], async (url, asked) => {
    await assert.rejects(new Client(url).version(), { kind: "unexpected", status: 302 });
    const archive = new Blob(["an archive"]);
    await assert.rejects(new Client(url).pushModel("mine", archive), { kind: "unexpected", detail: /redirects/ });
    assert.equal(asked.length, 2);
  });
});

test("a refused key is asked for once, and kept", async () => {
  const refused = json({ title: "Unauthorized", status: 401, detail: "the key is wrong" }, 401);
  const answer = (request, response) =>
    (request.headers.authorization === "Bearer sesame" ? version : refused)(request, response);
  await withServer([answer], async (url) => {
    let n = 0;
    const onUnauthorized = async ({ status }) => {
      n++;
      assert.equal(status, 401);
      return "sesame";
    };
    const client = new Client(url, { apiKey: "wrong", onUnauthorized });
    await Promise.all([client.version(), client.version(), client.version()]);
    assert.deepEqual([n, client.apiKey], [1, "sesame"]);
    const unasked = new Client(url, { onUnauthorized: () => null });
    await assert.rejects(unasked.version(), { status: 401, detail: "the key is wrong" });
    await assert.rejects(new Client(url).version(), { status: 401 });
  });
});

test("a renewed key costs no retry", async () => {
  const refused = json({ title: "Unauthorized", status: 401, detail: "the key is wrong" }, 401);
  await withServer([refused, busy("0"), version], async (url, asked) => {
    await new Client(url, { retries: 1, onUnauthorized: () => "sesame" }).version();
    assert.equal(asked.length, 3);
  });
});

test("a lost stream of events goes on behind the last outcome", async () => {
  const job = { id: "j", state: "running", n_done: 1, n_items: 2 };
  const outcome = (index) => `id: ${index}\nevent: outcome\ndata: ${JSON.stringify({ index, status: "created" })}\n\n`;
  const first = (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(`retry: 1000\n\n${outcome(0)}event: progress\ndata: ${JSON.stringify(job)}\n\n: still here\n\nevent: out`);
    setTimeout(() => response.socket.destroy(), 50);
  };
  const second = (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end(`${outcome(1)}event: end\ndata: ${JSON.stringify({ ...job, state: "done", n_done: 2 })}\n\n`);
  };
  await withServer([first, second], async (url, asked) => {
    const seen = [];
    const ended = await new Client(url).followJob("j", {
      onOutcome: ({ index }) => seen.push(index),
      onProgress: ({ n_done: nDone }) => seen.push(`${nDone} done`),
    });
    assert.deepEqual([seen, ended.state], [[0, "1 done", 1], "done"]);
    assert.deepEqual(asked.map((one) => one.url), ["/prefix/jobs/j/events?after=-1", "/prefix/jobs/j/events?after=0"]);
  });
  await withServer([first, lost], async (url) => {
    await assert.rejects(new Client(url, { retries: 0 }).followJob("j"), { kind: "unreachable" });
  });
});

test("an archive of any size is read while it is sent", async () => {
  const folder = await mkdtemp(join(tmpdir(), "diptych-client-"));
  const file = join(folder, "large.tar");
  await writeFile(file, "");
  await truncate(file, 150_000_000);
  const server = createServer((request, response) => {
    let n = 0;
    request.on("data", (chunk) => (n += chunk.length));
    request.on("end", () => json({ n })(request, response));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const client = new Client(`http://127.0.0.1:${server.address().port}`);
    for (const onUploadProgress of [undefined, () => {}]) {
      const before = process.memoryUsage().rss;
      let peak = before;
      const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 10);
      const { n } = await client.addTar(await fileBlob(file), { collection: "pets", onUploadProgress });
      clearInterval(watch);
      assert.equal(n, 150_000_000);
      assert.ok(peak - before < 100_000_000, `${peak - before} bytes`);
    }
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
});

test("a stream of events ends the connection when its reader stops", async () => {
  let closed;
  const endless = (request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write('event: progress\ndata: {"state": "running"}\n\n');
    closed = once(response, "close");
  };
  await withServer([endless], async (url) => {
    for await (const { type } of new Client(url).jobEvents("j")) {
      assert.equal(type, "progress");
      break;
    }
    await closed;
  });
});

test("a search by meaning names nothing that older servers do not know", async () => {
  const bodies = [];
  const fetch = async (url, { body }) => {
    bodies.push(JSON.parse(body));
    return Response.json({ hits: [] });
  };
  const client = new Client("http://diptych.example.org", { fetch });
  for (const match of [undefined, "meaning", "both"]) await client.search("red", { match });
  assert.deepEqual(bodies, [{ query: { text: "red" } }, { query: { text: "red" } }, { query: { text: "red" }, match: "both" }]);
});

test("calls that cannot be sent are refused before", async () => {
  const client = new Client("http://127.0.0.1:9", { retries: 0 });
  const refused = { kind: "invalid-call", status: 0 };
  assert.throws(() => new Client("127.0.0.1:8000"), refused);
  assert.throws(() => new Client("ftp://127.0.0.1"), refused);
  assert.throws(() => new Client("http://127.0.0.1", { timeoutSeconds: 0 }), refused);
  assert.throws(() => new Client("http://127.0.0.1", { retries: -1 }), refused);
  assert.throws(() => client.thumbnailUrl("pets", "."), refused);
  await assert.rejects(client.embed({}), refused);
  await assert.rejects(client.classify([], ["cat"]), refused);
  await assert.rejects(client.classify(["cat.png"], ["cat"]), { ...refused, message: /images\[0\].*imageFile/ });
  await assert.rejects(client.search({ text: "a", id: "b" }), refused);
  await assert.rejects(client.search("a", { minRelevance: Number.NaN }), refused);
  await assert.rejects(client.search("a", { direction: "desc" }), refused);
  await assert.rejects(client.getImage("pets", "\ud800"), { ...refused, message: /lone surrogate/ });
  await assert.rejects(client.patchImage("pets", "a", { n: 1n }), refused);
  assert.equal(client.thumbnailUrl("my pets", "a~b", { size: 64 }), "http://127.0.0.1:9/collections/my%20pets/images/a~b/thumbnail?size=64");
});

test("every wrong argument is named, with what came and what is wanted", async () => {
  const url = "http://127.0.0.1:9";
  const client = new Client(url, { retries: 0 });
  const blob = new Blob(["a"]);
  const model = MODEL;
  const withKey = async (apiKey) => new Client(url, { apiKey });
  const wrong = [
    [async () => new Client(null, { fetch: "fetch" }), /^fetch must be a function, not "fetch"$/],
    [async () => new Client(url, "dpt_1"), /^options must be an object, such as { apiKey }, not "dpt_1"$/],
    [async () => new Client(url, { timeoutSeconds: "5" }), /^timeoutSeconds must be a number .*, not "5"$/],
    [() => withKey("ключ"), /^apiKey has characters other than printable ASCII/],
    [() => client.version({ signal: new AbortController() }), /^signal must be an AbortSignal, not an AbortController$/],
    [() => client.embed(), /^the argument of embed must be an object { texts, images }, not undefined$/],
    [() => client.embed({ texts: "a cat" }), /^texts must be a list of strings, not "a cat"$/],
    [() => client.embed({ images: [blob, () => "a.png"] }), /^images\[1\] must be a Blob.*imageFile.*, not "a.png"$/],
    [() => client.classify([blob]), /^labels must be a list of strings, not undefined$/],
    [() => client.classifyEmbeddings([[1]], ["a"]), /^options must be an object with { model }, not undefined$/],
    [() => client.classifyEmbeddings([["1"]], ["a"], { model }), /^embeddings\[0\]\[0\] must be a number, not "1"$/],
    [() => client.classifyStored("tom", ["a"]), /^ids must be a list of strings, not "tom"$/],
    [() => client.search(), /^query must be a string, an object { text }, .*, not undefined$/],
    [() => client.search(["a cat"]), /^query\[0\] must be an object { text }, .*, not "a cat"$/],
    [() => client.search("a", { facets: "year" }), /^facets must be a list of strings, not "year"$/],
    [() => client.search({ image: "cat.png" }), /^query\[0\] must be a Blob.*, not "cat.png"$/],
    [() => client.add(), /^items must be a list or an iterator of objects { image, id, metadata }, not undefined$/],
    [() => client.add([{ image: blob }, { id: "a" }]), /^items\[1\]\.image must be a Blob, .*, not undefined$/],
    [() => client.add([], { onOutcome: true }), /^onOutcome must be a function, not true$/],
    [() => client.addTar("some.tar"), /^archive must be a Blob; fileBlob\(\) .*, not "some.tar"$/],
    [() => client.addVectors([{ vector: [1] }]), /^options must be an object with { model }, not undefined$/],
    [() => client.addVectors([{ vector: [1n] }], { model, collection: "a" }), /^items\[0\]\.vector\[0\] must be a number, not 1$/],
    [() => client.collection(), /^the name of the collection must be a string, not undefined$/],
    [() => client.getImage("pets", 7), /^the id of the image must be a string, not 7$/],
    [() => client.findImages("pets", "tom"), /^ids must be a list of strings, not "tom"$/],
    [() => client.deleteImages("pets"), /^options must be an object with { filter } or { lacking }, not undefined$/],
    [() => client.modelVersion("tiny", "newest"), /^the version of the model must be a whole number, not "newest"$/],
    [() => client.listImages("pets", { after: {} }), /^after must be a string, a number or a boolean, not an object$/],
    [() => client.createKey("mine", "read", { expiresAt: "2030-01-01" }), /^expiresAt must be a valid Date, not "2030-01-01"$/],
    [() => client.waitForRollout("r", { onProgress: 1 }), /^onProgress must be a function, not 1$/],
  ];
  for (const [call, message] of wrong) {
    const called = call(); // a promise: no call throws before it returns one
    await assert.rejects(called, { name: "DiptychError", kind: "invalid-call", status: 0, message }, String(call));
  }
});

test("a key that cannot be sent is refused when it is asked for, too", async () => {
  await withServer([json({ title: "Unauthorized", status: 401, detail: "no" }, 401)], async (url) => {
    const client = new Client(url, { onUnauthorized: () => "ключ" });
    await assert.rejects(client.version(), { kind: "invalid-call", message: /onUnauthorized .* printable ASCII/ });
  });
});

test("each step of an upload is reported once", async () => {
  const added = (n) =>
    json({ model: MODEL, collection: "pets", outcomes: Array.from({ length: n }, (_, index) => ({ index, id: "a", status: "created", error: null })) });
  await withServer([added(64), added(6)], async (url) => {
    const items = Array.from({ length: 70 }, () => ({ image: new Uint8Array(10) }));
    const uploads = [];
    await new Client(url).add(items, { collection: "pets", onUploadProgress: (one) => uploads.push(one) });
    assert.deepEqual(uploads, [640, 700].map((sentBytes) => ({ sentBytes, totalBytes: 700 })));
  });
});
