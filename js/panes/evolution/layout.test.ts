import { describe, expect, it } from "vitest";
import { at, columnsIn, DOWN, LEFT, layout, left, revealed, rowsIn, TOP, top } from "./layout";

describe("the cells", () => {
  it("fill the width as far as their size allows", () => {
    expect(layout(8, 12, 700, 0, true).width).toBeLessThanOrEqual(700);
    expect(layout(8, 12, 2000, 0, true).tile).toBe(76);
    expect(layout(8, 12, 2000, 0, false).tile).toBe(92);
    expect(layout(64, 12, 700, 0, true).tile).toBe(36);
    expect(layout(8, 12, 900, 1, true).tile).toBeGreaterThan(layout(8, 12, 900, 0, true).tile);
  });

  it("are found where they lie, and nothing is in the margins", () => {
    const of = layout(5, 4, 640, 0, true);
    for (let row = 0; row < 4; row++) {
      for (let column = 0; column < 5; column++) {
        expect(at(of, left(of, column) + 1, top(of, row) + of.cell - 1)).toEqual({ row, column });
      }
    }
    expect(at(of, LEFT - 1, TOP + 1)).toEqual({ row: 0, column: null });
    expect(at(of, LEFT + 1, TOP - 1)).toEqual({ row: null, column: 0 });
    expect(at(of, of.width + 1, of.height + 1)).toEqual({ row: null, column: null });
  });

  it("in sight are all that a brute search finds", () => {
    const of = layout(30, 40, 600, 0, true);
    for (const from of [0, 1, 55, 333, of.height - 300]) {
      const [first, last] = rowsIn(of, from, 300);
      for (let row = 0; row < of.rows; row++) {
        // The margin above covers what scrolls beneath it.
        const seen = top(of, row) + of.cell > from + TOP && top(of, row) < from + 300;
        if (seen) expect(row >= first && row < last).toBe(true);
      }
      expect(last - first).toBeLessThanOrEqual(300 / (of.cell + DOWN) + 2);
      const [begin, end] = columnsIn(of, from, 300);
      expect(end - begin).toBeLessThanOrEqual(300 / (of.tile + of.gap) + 2);
    }
  });

  it("are scrolled to by the least that shows them", () => {
    expect(revealed(0, 100, 150, TOP, 300)).toBe(0);
    expect(revealed(200, 100, 150, TOP, 300)).toBe(100 - TOP);
    expect(revealed(0, 400, 450, TOP, 300)).toBe(150);
  });

  it("are shown in whole rows, whichever is scrolled to", () => {
    for (const [rows, zoom, two] of [
      [12, 0, true],
      [40, 1, false],
      [9, 3, true],
      [3, 0, true],
    ] as const) {
      const of = layout(8, rows, 700, zoom, two);
      expect(of.seen).toBeLessThanOrEqual(Math.min(720, of.height));
      for (let row = 0; row < rows; row++) {
        const now = revealed(0, top(of, row), top(of, row) + of.cell + DOWN, TOP, of.seen);
        expect(now % (of.cell + DOWN)).toBe(0);
        expect(now).toBeLessThanOrEqual(of.height - of.seen);
      }
    }
  });
});
