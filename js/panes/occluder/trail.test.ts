import { describe, expect, it } from "vitest";
import type { Trail } from "./state";
import { trailRange, visited } from "./trail";

const none: Trail = { number: 4, visited: [] };

describe("the trail", () => {
  it("grows by the places visited, the newest last, each once", () => {
    let trail = visited(none, 4, [0, 0], 0.2);
    trail = visited(trail, 4, [3, 5], 0.9);
    trail = visited(trail, 4, [0, 0], 0.3);
    expect(trail.visited).toEqual([
      { position: [3, 5], value: 0.9 },
      { position: [0, 0], value: 0.3 },
    ]);
  });

  it("starts again when the kernel says so", () => {
    const trail = visited(visited(none, 4, [0, 0], 0.2), 5, [1, 1], 0.4);
    expect(trail).toEqual({ number: 5, visited: [{ position: [1, 1], value: 0.4 }] });
  });

  it("is a map from two places on; its colours span what was found, but never next to nothing", () => {
    expect(trailRange(visited(none, 4, [0, 0], 0.2))).toBeNull();
    const apart = [0.9, 0.1, 0.5].reduce((trail, value, row) => visited(trail, 4, [row, 0], value), none);
    expect(trailRange(apart)).toEqual([0.1, 0.9]);
    for (const value of [0, 0.5, 1]) {
      const alike = [0, 1, 2].reduce((trail, row) => visited(trail, 4, [row, 0], value), none);
      const [low, high] = trailRange(alike) ?? [0, 0];
      expect(high - low).toBeCloseTo(0.05);
      expect(low).toBeGreaterThanOrEqual(0);
      expect(low).toBeLessThanOrEqual(value);
      expect(high).toBeGreaterThanOrEqual(value);
    }
  });
});
