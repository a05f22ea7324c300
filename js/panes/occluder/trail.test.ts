import { describe, expect, it, vi } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { occluderSlice, type Trail } from "./state";
import { trailLayer, trailRange, visited } from "./trail";

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

describe("its painting", () => {
  it("adds what has come while all look alike, and begins again where they do not", () => {
    vi.stubGlobal("requestAnimationFrame", (run: () => void) => run());
    const context = { scale: vi.fn(), beginPath: () => {}, arc: vi.fn(), fill: () => {} };
    HTMLCanvasElement.prototype.getContext = (() => context) as never;
    const { store, ...view } = viewOf(networkSlice, picturesSlice, occluderSlice);
    trailLayer({ store, ...view });
    let trail = none;
    const after = (change: () => Trail) => {
      context.arc.mockClear();
      context.scale.mockClear();
      trail = change();
      store.set({ show_trail: true, trail });
      return [context.arc.mock.calls.length, context.scale.mock.calls.length];
    };
    const go = (row: number, value: number) => after(() => visited(trail, trail.number, [row, 0], value));
    expect(go(0, 0.1)).toEqual([0, 0]);
    expect(go(1, 0.9)).toEqual([2, 1]);
    expect(go(2, 0.5)).toEqual([1, 0]);
    expect(go(2, 0.6)).toEqual([1, 0]);
    // Colours are shared out between the lowest and the highest.
    expect(go(3, 1)).toEqual([4, 1]);
    // Two at once, of which the first is one that was painted last.
    trail = visited(trail, 4, [3, 0], 0.7);
    expect(go(4, 1)).toEqual([2, 0]);
    expect(after(() => visited(visited(trail, 5, [0, 0], 0), 5, [1, 0], 1))).toEqual([2, 1]);
    // The kernel tells all of them anew.
    expect(after(() => ({ number: 5, visited: trail.visited.map((one) => ({ ...one })) }))).toEqual([2, 1]);
    vi.unstubAllGlobals();
  });
});
