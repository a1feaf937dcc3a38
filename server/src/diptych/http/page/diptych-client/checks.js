import { invalidCall } from "./errors.js";
const MAX_SHOWN = 60;
const OPTIONS = "an object, such as { signal }";
export function wrongArgument(name, wanted, value, cause) {
    return invalidCall(`${name} must be ${wanted}, not ${shown(value)}`, cause);
}
export function checkedOptions(options, wanted = OPTIONS) {
    checkObject("options", wanted, options);
    for (const [name, value] of Object.entries(options)) {
        if (value === undefined || value === null)
            continue;
        if (name === "signal" && !isSignal(value))
            throw wrongArgument(name, "an AbortSignal", value);
        if (/^on[A-Z]/.test(name) && typeof value !== "function")
            throw wrongArgument(name, "a function", value);
    }
    return options;
}
export function checkObject(name, wanted, value) {
    const isFields = typeof value === "object" && value !== null && !Array.isArray(value) && !isBinary(value);
    if (!isFields)
        throw wrongArgument(name, wanted, value);
}
export function checkList(name, wanted, value) {
    if (!Array.isArray(value))
        throw wrongArgument(name, `a list of ${wanted}`, value);
}
export function checkTexts(name, value) {
    checkList(name, "strings", value);
    for (const [i, text] of value.entries())
        if (typeof text !== "string")
            throw wrongArgument(`${name}[${i}]`, "a string", text);
}
export function checkIterable(name, wanted, value) {
    const { [Symbol.iterator]: plain, [Symbol.asyncIterator]: async } = Object(value);
    if (typeof value === "string" || isBinary(value) || (typeof plain !== "function" && typeof async !== "function"))
        throw wrongArgument(name, `a list or an iterator of ${wanted}`, value);
}
export function checkKey(name, key) {
    if (key === null || key === undefined)
        return;
    if (typeof key !== "string")
        throw invalidCall(`${name} must be a string or null, not a value of type ${typeof key}`);
    if (!/^[ -~]*$/.test(key))
        throw invalidCall(`${name} has characters other than printable ASCII, which no header can carry`);
}
export function isBinary(value) {
    return value instanceof Blob || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}
function isSignal(value) {
    const { aborted, addEventListener } = Object(value);
    return typeof aborted === "boolean" && typeof addEventListener === "function";
}
function shown(value) {
    if (typeof value === "string")
        return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}...` : value);
    if (typeof value === "function")
        return "a function";
    if (typeof value !== "object" || value === null)
        return String(value);
    if (Array.isArray(value))
        return "a list";
    if (value instanceof Date && Number.isNaN(value.valueOf()))
        return "an invalid Date";
    const { name } = (value.constructor ?? Object);
    if (typeof name !== "string" || name === "" || name === "Object")
        return "an object";
    return `${/^[AEIO]/.test(name) ? "an" : "a"} ${name}`;
}
