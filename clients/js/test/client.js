/** The compiled client: the one of the server's page, or of the folder that TEST_CLIENT names. */

import { pathToFileURL } from "node:url";
import { join, resolve } from "node:path";

const PAGE = join(import.meta.dirname, "../../../server/src/diptych/http/page/diptych-client");
const folder = resolve(process.env.TEST_CLIENT || PAGE);

export const { Client, DiptychError } = await import(pathToFileURL(join(folder, "index.js")).href);
export const { imageFile, imageFiles, fileBlob } = await import(pathToFileURL(join(folder, "node.js")).href);
