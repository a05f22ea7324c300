// Bundles the front end into the Python package: js/index.ts -> convscope.js, js/convscope.css -> convscope.css.
// The text of both travels in the state of every widget, so the size is part of the contract.
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const LIMIT = 60_000; // bytes of minified JavaScript
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const outdir = resolve(root, "widgets/convscope/static");
const watch = process.argv.includes("--watch");

/** @type {esbuild.BuildOptions} */
const options = {
  absWorkingDir: root,
  entryPoints: [
    { in: "js/index.ts", out: "convscope" },
    { in: "js/convscope.css", out: "convscope" },
  ],
  outdir,
  bundle: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  minify: !watch,
  sourcemap: watch ? "inline" : false,
  legalComments: "none",
  logLevel: "info",
};

if (watch) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  await esbuild.build(options);
  const size = statSync(resolve(outdir, "convscope.js")).size;
  if (size > LIMIT) {
    console.error(
      `convscope.js has ${size} bytes; the limit is ${LIMIT}. Take something out, or say here why not.`,
    );
    process.exit(1);
  }
  console.log(`convscope.js: ${size} of ${LIMIT} bytes`);
}
