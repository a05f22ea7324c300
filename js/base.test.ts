/** The colours of both themes: text has a contrast of 4.5 to what it stands on, what else carries meaning one of 3. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const sheet = readFileSync("js/base.css", "utf8");

type Colours = Record<string, string>;

/** The colours that a rule sets, by name; of what the host may give, what there is without it. */
function coloursOf(selector: string): Colours {
  const from = sheet.indexOf(`\n${selector} {`);
  const rule = sheet.slice(from, sheet.indexOf("\n}", from));
  const found = [...rule.matchAll(/--cs-([a-z-]+):[^;]*?(#[0-9a-f]{3,6})\)*;/g)];
  return Object.fromEntries(found.map(([, name, colour]) => [name, colour]));
}

function lightOf(colour: string): number {
  const hex = colour.length === 4 ? colour.replace(/[0-9a-f]/g, "$&$&") : colour;
  const parts = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255);
  const linear = parts.map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
  return 0.2126 * (linear[0] ?? 0) + 0.7152 * (linear[1] ?? 0) + 0.0722 * (linear[2] ?? 0);
}

function contrast(one: string, other: string): number {
  const [less = 0, more = 0] = [lightOf(one), lightOf(other)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}

const LIGHT: Colours = coloursOf(".cs-host");
const DARK: Colours = { ...LIGHT, ...coloursOf('.cs-host[data-theme="dark"]') };
// JupyterLab's dark page, and that of many editors.
const THEMES: Record<string, Colours> = {
  light: LIGHT,
  dark: DARK,
  "dark JupyterLab": { ...DARK, bg: "#111" },
  editor: { ...DARK, bg: "#1e1e1e" },
};

it("is measured as WCAG 2.2 does", () => {
  expect(contrast("#000", "#ffffff")).toBeCloseTo(21, 5);
  expect(contrast("#767676", "#fff")).toBeCloseTo(4.54, 2);
});

it.each(Object.entries(THEMES))("%s", (_name, colours) => {
  const low: string[] = [];
  const check = (names: readonly string[], least: number) => {
    for (const name of names) {
      for (const under of ["bg", "soft"]) {
        const found = contrast(colours[name] ?? "", colours[under] ?? "");
        if (!(found >= least)) low.push(`${name} on ${under}: ${found.toFixed(2)}`);
      }
    }
  };
  check(["fg", "dim", "accent-text", "after"], 4.5);
  check(["edge", "accent", "before", "rare", "filter", "ready"], 3);
  expect(low).toEqual([]);
  expect(contrast(colours.fg ?? "", colours["warn-bg"] ?? "")).toBeGreaterThan(4.5);
  // Dead and rarely active stand side by side in one bar, and are of one hue.
  expect(contrast(colours.accent ?? "", colours.rare ?? "")).toBeGreaterThan(1.5);
});
