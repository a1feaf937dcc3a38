import { checkedOptions, checkList, checkObject, checkTexts } from "./checks.js";
import { DiptychError, invalidCall } from "./errors.js";
import { batches, checkImage, floats, MAX_BATCH_IMAGES } from "./images.js";
import { toJson } from "./transport.js";
const MAX_ITEMS = 256;
export async function embed(transport, input, options) {
    const { signal } = checkedOptions(options);
    checkObject("the argument of embed", "an object { texts, images }", input);
    const { texts = [], images = [] } = input;
    checkTexts("texts", texts);
    checkImages(images);
    if (texts.length === 0 && images.length === 0)
        throw invalidCall("embed needs texts or images");
    const sent = new SameModel();
    const post = async (name, start, body) => {
        const request = { method: "POST", path: ["embed"], signal, ...body };
        const read = ({ model, data }) => {
            sent.check(model);
            return data.map((row) => ({ embedding: floats(row.embedding), truncated: row.truncated }));
        };
        return renamed(name, start, transport.json(request, read));
    };
    const result = { texts: [], images: [] };
    for (let start = 0; start < texts.length; start += MAX_ITEMS) {
        const items = texts.slice(start, start + MAX_ITEMS).map((text) => ({ text }));
        const json = { input: items, encoding_format: "base64" };
        result.texts.push(...(await post("texts", start, { json })));
    }
    for await (const { start, files, urls } of sourceBatches(images)) {
        if (files.length > 0)
            files.push(["encoding_format", "base64"]);
        const json = { input: urls.map((image) => ({ image })), encoding_format: "base64" };
        result.images.push(...(await post("images", start, urls.length > 0 ? { json } : { body: form(files) })));
    }
    return { model: sent.model, ...result };
}
export async function classify(transport, images, labels, options) {
    checkedOptions(options);
    checkImages(images);
    if (images.length === 0)
        throw invalidCall("classify needs at least one image");
    const fields = classifyFields(labels, options);
    const sent = new SameModel();
    const data = [];
    let warnings = [];
    for await (const { start, files, urls } of sourceBatches(images)) {
        for (const [name, value] of Object.entries(fields))
            files.push([name, typeof value === "string" ? value : toJson(name, value)]);
        const body = urls.length > 0 ? { json: { images: urls, ...fields } } : { body: form(files) };
        const request = { method: "POST", path: ["classify"], signal: options.signal, ...body };
        const answer = await renamed("images", start, transport.json(request, sent.classified(start)));
        data.push(...answer.data);
        warnings = answer.warnings;
    }
    return { model: sent.model, data, warnings };
}
export async function classifyItems(transport, name, items, labels, options) {
    if (items.length === 0)
        throw invalidCall(`${name} needs at least one`);
    const fields = without({ ...classifyFields(labels, options), model: options.model });
    const sent = new SameModel();
    const data = [];
    let warnings = [];
    for (let start = 0; start < items.length; start += MAX_ITEMS) {
        const json = { images: items.slice(start, start + MAX_ITEMS), ...fields };
        const request = { method: "POST", path: ["classify"], signal: options.signal, json };
        const answer = await renamed(name, start, transport.json(request, sent.classified(start)));
        data.push(...answer.data);
        warnings = answer.warnings;
    }
    return { model: sent.model, data, warnings };
}
function classifyFields(labels, options) {
    checkTexts("labels", labels);
    return without({
        labels,
        template: options.template,
        templates: options.templates,
        multi_label: options.multiLabel || undefined,
        top_k: options.topK,
    });
}
export function without(values) {
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));
}
export function form(fields) {
    const body = new FormData();
    for (const [name, value] of fields)
        if (typeof value === "string")
            body.append(name, value);
        else
            body.append(name, value, "image");
    return body;
}
function checkImages(images) {
    checkList("images", "images", images);
    for (const [i, image] of images.entries())
        checkImage(`images[${i}]`, image, true);
}
async function* sourceBatches(images) {
    let start = 0;
    while (start < images.length) {
        const isUrl = images[start] instanceof URL;
        let end = start + 1;
        while (end < images.length && images[end] instanceof URL === isUrl)
            end++;
        const run = images.slice(start, end);
        if (isUrl) {
            for (let i = 0; i < run.length; i += MAX_BATCH_IMAGES) {
                const urls = run.slice(i, i + MAX_BATCH_IMAGES).map((url) => url.href);
                yield { start: start + i, files: [], urls };
            }
        }
        else {
            for await (const batch of batches(run, (image) => image, "throw", start)) {
                const first = batch[0]?.index ?? start;
                yield { start: first, files: batch.map(({ bytes }) => ["image", bytes]), urls: [] };
            }
        }
        start = end;
    }
}
async function renamed(name, start, answer) {
    try {
        return await answer;
    }
    catch (error) {
        const match = error instanceof DiptychError ? /^(?:input|images)\[(\d+)\](.*)$/.exec(error.item ?? "") : null;
        if (match === null)
            throw error;
        throw error.withItem(`${name}[${start + Number(match[1])}]${match[2]}`);
    }
}
class SameModel {
    found = null;
    get model() {
        if (this.found === null)
            throw invalidCall("nothing was sent");
        return this.found;
    }
    classified(start) {
        return ({ model, data, warnings = [] }) => {
            this.check(model);
            return { model, data: data.map((row) => ({ ...row, index: start + row.index })), warnings };
        };
    }
    check(model) {
        if (this.found !== null && shown(this.found) !== shown(model)) {
            const detail = `the server moved from ${shown(this.found)} to ${shown(model)} during the call: repeat it`;
            throw new DiptychError("version-changed", { detail });
        }
        this.found = model;
    }
}
function shown({ name, version, precision, decode }) {
    return `${name}/${version} (${precision}, ${decode} decoding)`;
}
