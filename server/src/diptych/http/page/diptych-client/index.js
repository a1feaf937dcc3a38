export { Client } from "./client.js";
export { DiptychError } from "./errors.js";
