/**
 * Rewrites what is made from other files: `src/schema.ts` from the description of the API, and the modules that the
 * server's page loads from `src/`. The digests tell tests without npm whether both are current.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const DESCRIPTION = "../../server/openapi.json";
const PAGE = "../../server/src/diptych/http/page/diptych-client";
process.chdir(import.meta.dirname);

const digest = (...files) => {
  const hash = createHash("sha256");
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest("hex");
};
const run = (program, ...words) =>
  execFileSync(`node_modules/.bin/${program}`, words, { stdio: ["ignore", "ignore", "inherit"] });

run("openapi-typescript", DESCRIPTION, "--output", "src/schema.ts");
const schema = readFileSync("src/schema.ts", "utf8");
writeFileSync("src/schema.ts", `// Made by \`make js-client\` from server/openapi.json, sha256 ${digest(DESCRIPTION)}\n${schema}`);

rmSync(PAGE, { recursive: true, force: true });
run("tsc", "--outDir", PAGE, "--removeComments", "--declaration", "false");
for (const file of ["schema.js", "types.js"]) rmSync(`${PAGE}/${file}`); // types only
const { name, version, license } = JSON.parse(readFileSync("package.json", "utf8"));
const sources = readdirSync("src").filter((file) => file !== "schema.ts").sort().map((file) => `src/${file}`);
const made = {
  name,
  version,
  license,
  description: "Made by `make js-client` from clients/js",
  type: "module",
  exports: { ".": "./index.js", "./node": "./node.js" },
  sources_sha256: digest("tsconfig.json", ...sources),
};
writeFileSync(`${PAGE}/package.json`, `${JSON.stringify(made, null, 2)}\n`);
