// Bundles the front end into the Python package: js/instruments/NAME.ts -> NAME.js, and js/convscope.css, which imports
// the panes' style sheets, -> convscope.css. The text of both travels in the state of every widget, so each instrument
// has a bundle of its own, and its size is part of the contract.
import { readdirSync, rmSync, statSync } from "node:fs";
import { dirname, parse, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

// Bytes of minified JavaScript an instrument. The explorer is six of them in one (ribbon, occluder, strip, grid, unit, what is
// silenced), so that they share a selection, with what belongs to the whole beside them, and the chart of the drag where
// a host has no other; what was pinned before it had come it asks for (500 bytes).
// An evolution has a unit's panel beside its table of checkpoints, the numbers of two charts, and tools that fold; it
// asks the kernel to select what it opens on (100 bytes). A comparison has the occluder beside its matrix. Every one has
// 1 kB that says, where a person acts, why nothing comes of it, and what tells one kernel from the next; and what judges
// an entry only when its list has come.
const LIMIT = 60_000;
const LARGER = { explorer: 115_000, evolution: 76_200, compare: 67_000 };
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const outdir = resolve(root, "widgets/convscope/static");
const names = readdirSync(resolve(root, "js/instruments"))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => parse(file).name);
const watch = process.argv.includes("--watch");

/** @type {esbuild.BuildOptions} */
const options = {
  absWorkingDir: root,
  entryPoints: [
    ...names.map((name) => ({ in: `js/instruments/${name}.ts`, out: name })),
    { in: "js/convscope.css", out: "convscope" },
  ],
  outdir,
  bundle: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  minify: !watch,
  charset: "utf8",
  // Of our own parts, and neither of the state nor of what the kernel and the page say: nobody outside reads these names.
  mangleProps: watch
    ? undefined
    : /^(abandon|awaiting|awaits|begins|busy|charted|colouredBy|complain|density|element|failure|finish|flights|follow|grab|handler|headed|hears|initial|keepMenu|markTitle|noun|offer|page|progress|resizing|rest|resume|retry|settle|showFoot|store|submit|timer|watch|watchers|on(Change|Choose|Error|Heard|Patch|Slow|Theme|Unsent))$/,
  sourcemap: watch ? "inline" : false,
  legalComments: "none",
  logLevel: "info",
};

if (watch) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  // What an older build left, of an instrument that has another name now, would go into the wheel.
  rmSync(outdir, { recursive: true, force: true });
  await esbuild.build(options);
  for (const name of names) {
    const size = statSync(resolve(outdir, `${name}.js`)).size;
    const limit = LARGER[name] ?? LIMIT;
    console.log(`${name}.js: ${size} of ${limit} bytes`);
    if (size > limit) {
      console.error(`${name}.js is over the limit. Take something out, or say here why not.`);
      process.exitCode = 1;
    }
  }
}
