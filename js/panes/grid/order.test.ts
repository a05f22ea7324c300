import { describe, expect, it } from "vitest";
import { ailing, ordered, shows } from "./order";
import type { Found, Grid, Health, Show } from "./state";

const grid = {
  layer: "conv",
  planes: { channels: 4 },
  max: Float32Array.from([1, 3, 3, 0]),
  mean: Float32Array.from([0.5, 0.1, 0.2, 0]),
} as unknown as Grid;
const health = {
  layer: "conv",
  max: Float32Array.from([1, 2, 3, 4]),
  share: Float32Array.from([0.5, 0, 1, 0.005]),
  first: Int32Array.from([0, 1, 0, 3]),
  state: Uint8Array.from([0, 1, 0, 2]),
} as Health;

describe("ordered", () => {
  it("sorts by what is asked for, equal ones by index", () => {
    expect(ordered(grid, "strongest", null)).toEqual([1, 2, 0, 3]);
    expect(ordered(grid, "mean", null)).toEqual([0, 2, 1, 3]);
    expect(ordered(grid, "index", health)).toEqual([0, 1, 2, 3]);
    expect(ordered(grid, "best", health)).toEqual([3, 2, 1, 0]);
    expect(ordered(grid, "rare", health)).toEqual([1, 3, 0, 2]);
    const found = { label: "cat", layer: "conv", preference: Float32Array.from([0, -1, 2, 2]), units: [] };
    expect(ordered(grid, "class", health, found as unknown as Found)).toEqual([2, 3, 0, 1]);
  });

  it("falls back to the index where the survey has not seen this layer", () => {
    expect(ordered(grid, "best", null)).toEqual([0, 1, 2, 3]);
    expect(ordered(grid, "class", null)).toEqual([0, 1, 2, 3]);
    expect(ordered(grid, "rare", { ...health, layer: "other" })).toEqual([0, 1, 2, 3]);
  });
});

describe("health of a unit", () => {
  it("is put in words", () => {
    expect([0, 1, 2, 3].map((channel) => ailing(health, channel, "dead"))).toEqual([
      "",
      "dead",
      "repeats 0",
      "rarely active",
    ]);
  });

  it("is not death in few pictures", () => {
    expect(ailing(health, 1, "inactive")).toBe("inactive");
  });

  it("chooses which are shown", () => {
    const shown = (show: Show) => [0, 1, 2, 3].filter((channel) => shows(show, health, channel));
    expect(shown("all")).toEqual([0, 1, 2, 3]);
    expect(shown("alive")).toEqual([0, 2, 3]);
    expect(shown("dead")).toEqual([1]);
    expect(shown("rare")).toEqual([3]);
    expect(shown("repeated")).toEqual([0, 2]);
  });
});
