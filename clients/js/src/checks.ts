/** Checks of arguments, so that a wrong call says what is wrong with it before anything is sent. */

import { invalidCall, type DiptychError } from "./errors.js";

const MAX_SHOWN = 60;
const OPTIONS = "an object, such as { signal }";

/** Make the error for an argument of another kind. */
export function wrongArgument(name: string, wanted: string, value: unknown, cause?: unknown): DiptychError {
  return invalidCall(`${name} must be ${wanted}, not ${shown(value)}`, cause);
}

/** Return the options of a call. Throws for what are none, for a `signal` that is none and callbacks that are none. */
export function checkedOptions<T extends object>(options: T, wanted = OPTIONS): T {
  checkObject("options", wanted, options);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    if (name === "signal" && !isSignal(value)) throw wrongArgument(name, "an AbortSignal", value);
    if (/^on[A-Z]/.test(name) && typeof value !== "function") throw wrongArgument(name, "a function", value);
  }
  return options;
}

/** Throw if a value is no object of named fields. */
export function checkObject(name: string, wanted: string, value: unknown): asserts value is object {
  const isFields = typeof value === "object" && value !== null && !Array.isArray(value) && !isBinary(value);
  if (!isFields) throw wrongArgument(name, wanted, value);
}

/** Throw if a value is no list. */
export function checkList(name: string, wanted: string, value: unknown): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) throw wrongArgument(name, `a list of ${wanted}`, value);
}

/** Throw if a value is no list of strings. */
export function checkTexts(name: string, value: unknown): asserts value is readonly string[] {
  checkList(name, "strings", value);
  for (const [i, text] of value.entries())
    if (typeof text !== "string") throw wrongArgument(`${name}[${i}]`, "a string", text);
}

/** Throw if a value is no iterable, such as a list or an async generator. */
export function checkIterable(name: string, wanted: string, value: unknown): void {
  const { [Symbol.iterator]: plain, [Symbol.asyncIterator]: async } = Object(value) as Record<symbol, unknown>;
  if (typeof value === "string" || isBinary(value) || (typeof plain !== "function" && typeof async !== "function"))
    throw wrongArgument(name, `a list or an iterator of ${wanted}`, value);
}

/** Throw if a value cannot be sent as a key in a header. The error does not show the key. */
export function checkKey(name: string, key: unknown): asserts key is string | null | undefined {
  if (key === null || key === undefined) return;
  if (typeof key !== "string") throw invalidCall(`${name} must be a string or null, not a value of type ${typeof key}`);
  if (!/^[ -~]*$/.test(key))
    throw invalidCall(`${name} has characters other than printable ASCII, which no header can carry`);
}

/** Whether a value is a `Blob` or bytes in memory. */
export function isBinary(value: unknown): boolean {
  return value instanceof Blob || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

function isSignal(value: unknown): boolean {
  const { aborted, addEventListener } = Object(value) as Partial<AbortSignal>;
  return typeof aborted === "boolean" && typeof addEventListener === "function";
}

/** Describe a value in a message: `"a cat"`, `3`, `a Blob`, `undefined`. */
function shown(value: unknown): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}...` : value);
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return "a list";
  if (value instanceof Date && Number.isNaN(value.valueOf())) return "an invalid Date";
  const { name } = (value.constructor ?? Object) as { name?: unknown };
  if (typeof name !== "string" || name === "" || name === "Object") return "an object";
  return `${/^[AEIO]/.test(name) ? "an" : "a"} ${name}`;
}
