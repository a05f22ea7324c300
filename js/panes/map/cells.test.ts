import { describe, expect, it } from "vitest";
import { area, cellAt, colours, extremes, frequencies, placeOf, shown, word } from "./cells";
import type { Maps } from "./state";

const maps: Maps = {
  rows: 30,
  columns: 30,
  tops: Array.from({ length: 30 }, (_, index) => 6 * index),
  lefts: Array.from({ length: 30 }, (_, index) => 6 * index),
  size: [50, 50],
  stride: [6, 6],
  preview: false,
  target: { index: 3, label: "dog" },
  clean: { index: 3, label: "dog", probability: 0.9, activity: null },
  layer: null,
  unit: null,
  labels: {},
  probability: new Float32Array(900),
  activity: new Float32Array(900),
  label: new Int32Array(900),
};

describe("shown", () => {
  it("shows each cell its own value once it is computed", () => {
    expect([...shown(() => true, 5, 3)]).toEqual([...Array(15).keys()]);
    expect([...shown(() => false, 2, 2)]).toEqual([-1, -1, -1, -1]);
  });

  it("until then the finest coarser cell that is computed, above and to the left", () => {
    const [rows, columns] = [11, 13];
    const computed = (index: number) => {
      const [row, column] = [Math.floor(index / columns), index % columns];
      return (row % 8 === 0 && column % 8 === 0) || (row < 4 && row % 4 === 0 && column % 4 === 0);
    };
    const found = shown(computed, rows, columns);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = found[row * columns + column] ?? -1;
        expect(computed(from)).toBe(true);
        const step = row < 4 ? 4 : 8;
        expect(from).toBe((row - (row % step)) * columns + column - (column % step));
      }
    }
  });
});

describe("cells and places", () => {
  it("the paper's map of 30 x 30 leaves a margin of half an occluder, less half a step", () => {
    expect(area(maps)).toEqual({ top: 22, left: 22, height: 180, width: 180 });
  });

  it("the cell under the centre of an occluder is the occluder's own, for each of them", () => {
    for (const row of [0, 1, 17, 29])
      for (const column of [0, 8, 29]) {
        const [top, left] = placeOf(maps, [row, column]);
        expect(cellAt(maps, [top + 25, left + 25])).toEqual([row, column]);
        expect(cellAt(maps, [top + 25 + 2.9, left + 25 - 2.9])).toEqual([row, column]);
      }
  });

  it("beyond the outermost cells the nearest counts", () => {
    expect(cellAt(maps, [0, 223])).toEqual([0, 29]);
    expect(cellAt(maps, [500, -3])).toEqual([29, 0]);
  });
});

describe("values", () => {
  it("the extremes leave out what is not computed", () => {
    expect(extremes([0.5, Number.NaN], [0.25])).toEqual([0.25, 0.5]);
    expect(extremes([Number.NaN], [])).toBeNull();
  });

  it("classes are counted, most frequent first, the others by number", () => {
    expect(frequencies(Int32Array.of(4, -1, 2, 9, 2))).toEqual([
      [2, 2],
      [4, 1],
      [9, 1],
    ]);
  });

  it("a class keeps its colour as more come up, and no two of the first ten share one", () => {
    const first = colours(new Map(), { clean: maps.clean, label: Int32Array.of(3, 3, 7) });
    const label = Int32Array.from([3, 7, 11, 11, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    const second = colours(first, { clean: maps.clean, label });
    expect(second.get(3)).toBe(first.get(3));
    expect(second.get(7)).toBe(first.get(7));
    expect(new Set(second.values()).size).toBe(second.size);
  });

  it("a class has its colour on every picture, and no longer that of the clean one where it is not", () => {
    const label = Int32Array.of(3, 7, 7);
    const here = colours(new Map(), { clean: maps.clean, label });
    const there = colours(new Map(), { clean: { ...maps.clean, index: 5 }, label: Int32Array.of(9, 7, 9) });
    expect(there.get(7)).toBe(here.get(7));
    const next = colours(here, { clean: { ...maps.clean, index: 7 }, label });
    expect(next.get(7)).toBe(here.get(3));
    expect(next.get(3)).not.toBe(next.get(7));
  });

  it("colours are written in the byte order of an ImageData", () => {
    expect([...new Uint8Array(Uint32Array.of(word("#12ab56")).buffer)]).toEqual([0x12, 0xab, 0x56, 0xff]);
  });
});
