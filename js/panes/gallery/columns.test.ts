import { expect, it } from "vitest";
import { GAP, leastWidth } from "./columns";
import type { Column } from "./state";

const columns = ["function", "function", "signal", "attribution", "attribution"].map(
  (group, at) => ({ name: `method ${at}`, group }) as unknown as Column,
);
const LEAST = 116;

it("shows whole columns at every width: beside one method nothing of the next, else no more than a gap between groups", () => {
  for (let width = 2 * LEAST + GAP; width < 1200; width++) {
    const least = leastWidth(width, columns);
    expect(least).toBeGreaterThanOrEqual(LEAST);
    // Where each begins, the picture's first: between groups there is a track of its own, with gaps on either side.
    const starts = [0];
    for (const [at, { group }] of columns.entries()) {
      const apart = at > 0 && columns[at - 1]?.group !== group ? GAP + 4 : 0;
      starts.push((starts.at(-1) ?? 0) + least + GAP + apart);
    }
    const fits = starts.filter((start) => start + least <= width).length;
    // All of them fit, and grow with what is left.
    if (fits === starts.length) continue;
    expect(fits).toBeGreaterThanOrEqual(2);
    const next = starts[fits] ?? 0;
    expect(width - next, `${width}`).toBeLessThanOrEqual(fits === 2 ? 0 : GAP + 4);
  }
});
