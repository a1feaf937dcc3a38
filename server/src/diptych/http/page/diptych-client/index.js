export { Client } from "./client.js";
export { DiptychError } from "./errors.js";
export { fileMetadata } from "./adding.js";
