import { describe, expect, it } from "vitest";
import { type Extent, extent, fit, type Position, resize, type Size } from "./geometry";

/** Every combination of a few values, the ends among them. */
function* cases(): Generator<{ position: Position; size: Size; picture: Extent }> {
  for (const row of [-500, -1, 0, 13.4, 200, 900])
    for (const column of [-1, 0, 87.6, 224])
      for (const size of [1, 50, [20, 90] as Extent, 224])
        for (const picture of [[224, 224] as Extent, [224, 300] as Extent])
          yield { position: [row, column], size, picture };
}

describe("fit", () => {
  it("puts the occluder inside the picture, on whole pixels, and leaves one that is inside alone", () => {
    for (const { position, size, picture } of cases()) {
      const [top, left] = fit(position, size, picture);
      const [high, wide] = extent(size);
      expect(Number.isInteger(top) && Number.isInteger(left)).toBe(true);
      expect(top).toBeGreaterThanOrEqual(0);
      expect(left).toBeGreaterThanOrEqual(0);
      expect(top + high).toBeLessThanOrEqual(picture[0]);
      expect(left + wide).toBeLessThanOrEqual(picture[1]);
      expect(fit([top, left], size, picture)).toEqual([top, left]);
    }
  });
});

describe("resize", () => {
  it("follows the corner and keeps a square square", () => {
    expect(resize([10, 20], 50, [70, 75], [224, 224], false)).toBe(60);
  });

  it("stops at the picture's edge and at the least size", () => {
    expect(resize([200, 0], 20, [999, 999], [224, 224], false)).toBe(24);
    expect(resize([10, 10], 50, [-99, -99], [224, 224], false)).toBe(4);
  });

  it("keeps the proportions of a rectangle, or changes each side alone when free", () => {
    expect(resize([0, 0], [20, 40], [30, 60], [224, 224], false)).toEqual([30, 60]);
    expect(resize([0, 0], [20, 40], [33, 55], [224, 224], true)).toEqual([33, 55]);
    expect(resize([0, 0], [20, 40], [50, 50], [224, 224], true)).toBe(50);
  });
});
