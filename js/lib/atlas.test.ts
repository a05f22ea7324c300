import { describe, expect, it } from "vitest";
import {
  clearBeyond,
  layout,
  type Planes,
  paintTile,
  place,
  ranges,
  rgba,
  signedRgba,
  tileAt,
  visible,
} from "./atlas";
import { css, table } from "./colormaps";

describe("layout", () => {
  it("fills the width to the pixel with tiles of about the wanted size", () => {
    for (const width of [120, 333, 672, 1280]) {
      const grid = layout(672, width, 42);
      expect(grid.columns * (grid.tile + grid.gap) - grid.gap).toBeCloseTo(width, 6);
      expect(Math.abs(grid.tile - 42)).toBeLessThan(12);
      expect(grid.columns * grid.rows).toBeGreaterThanOrEqual(672);
      expect(grid.columns * (grid.rows - 1)).toBeLessThan(672);
    }
  });

  it("does not stretch three tiles over the pane", () => {
    const grid = layout(3, 672, 42);
    expect(grid.columns).toBe(3);
    expect(grid.tile).toBeLessThan(50);
  });

  it("copes with no tiles", () => {
    expect(layout(0, 300, 42)).toMatchObject({ rows: 0, height: 0 });
  });
});

describe("tileAt", () => {
  it("finds every tile by its middle, and none in the gaps or beyond the last", () => {
    const grid = layout(50, 300, 42);
    for (let index = 0; index < 50; index++) {
      const { x, y } = place(grid, index);
      expect(tileAt(grid, 50, x + grid.tile / 2, y + grid.tile / 2)).toBe(index);
      expect(tileAt(grid, 50, x + grid.tile + grid.gap / 2, y)).toBeNull();
    }
    const { x, y } = place(grid, 50);
    expect(tileAt(grid, 50, x + 1, y + 1)).toBeNull();
    expect(tileAt(grid, 50, -1, 0)).toBeNull();
  });
});

describe("visible", () => {
  it("names all tiles that a window shows, and few others", () => {
    const grid = layout(5000, 672, 42);
    const step = grid.tile + grid.gap;
    for (const top of [0, 17, 1000, grid.height - 600]) {
      const [first, last] = visible(grid, 5000, top, 600);
      for (let index = 0; index < 5000; index++) {
        const { y } = place(grid, index);
        if (y + grid.tile > top && y < top + 600) {
          expect(index >= first && index < last).toBe(true);
        }
      }
      expect(last - first).toBeLessThanOrEqual((Math.ceil(600 / step) + 2) * grid.columns);
    }
  });
});

const planes: Planes = {
  channels: 2,
  height: 1,
  width: 2,
  depth: 1,
  signed: false,
  data: Uint8Array.from([0, 255, 0, 255]),
  low: Float32Array.from([0, 0]),
  high: Float32Array.from([1, 4]),
};

describe("colouring", () => {
  const paint = (channel: number, scale: "unit" | "layer") => {
    const words = new Uint32Array(2);
    paintTile(planes, channel, ranges(planes, scale)(channel), table("gray"), words, 0, 2);
    return [...new Uint8Array(words.buffer)].filter((_, index) => index % 4 === 0);
  };

  it("gives each unit the whole range, or all units of the layer one range", () => {
    expect(paint(0, "unit")).toEqual([0, 255]);
    expect(paint(1, "unit")).toEqual([0, 255]);
    expect(paint(0, "layer")).toEqual([0, 64]);
    expect(paint(1, "layer")).toEqual([0, 255]);
  });

  it("shows a constant channel as the lowest colour, not as noise", () => {
    const flat = { ...planes, high: Float32Array.from([0, 0]) };
    const words = new Uint32Array(2);
    paintTile(flat, 0, ranges(flat, "unit")(0), table("gray"), words, 0, 2);
    expect(words[0]).toBe(0xff000000);
  });

  it("has zero in the middle of signed colours, on one range or each its own", () => {
    const range = { low: Float32Array.from([-1, -2]), high: Float32Array.from([4, 1]) };
    const signed = { ...planes, ...range, signed: true };
    expect(ranges(signed, "layer")(1)).toEqual([-4, 4]);
    expect(ranges(signed, "unit")(1)).toEqual([-2, 2]);
    const colours = Uint32Array.from({ length: 511 }, (_, index) => index);
    const words = new Uint32Array(2);
    paintTile({ ...signed, data: Uint8Array.from([0, 51, 0, 0]) }, 0, [-4, 4], colours, words, 0, 2);
    expect([...words]).toEqual([Math.round((3 / 8) * 510), 255]);
  });

  it("shows a signed layer that is zero everywhere in the colour of zero, on either scale", () => {
    const zero = { ...planes, low: new Float32Array(2), high: new Float32Array(2), signed: true };
    const colours = Uint32Array.from({ length: 511 }, (_, index) => index);
    for (const data of [new Uint8Array(4), planes.data]) {
      for (const scale of ["unit", "layer"] as const) {
        const words = new Uint32Array(2);
        const range = ranges(zero, scale)(0);
        expect(range).toEqual([0, 0]);
        paintTile({ ...zero, data }, 0, range, colours, words, 0, 2);
        expect([...words]).toEqual([255, 255]);
      }
    }
    // Whatever the values at hand are, zero is in the middle.
    expect(ranges({ ...planes, signed: true }, "layer")(0)).toEqual([-4, 4]);
  });

  it("gives single values one range that begins at zero, so that they are not all black", () => {
    const vector = { ...planes, width: 1, low: Float32Array.from([1, 4]), high: Float32Array.from([1, 4]) };
    expect(ranges(vector, "unit")(0)).toEqual([0, 4]);
    const flat = { ...planes, low: Float32Array.from([3, 0]), high: Float32Array.from([3, 4]) };
    expect(ranges(flat, "unit")(0)).toEqual([0, 3]);
  });

  it("copies photographs as they are, and brings signed RGB to one range", () => {
    const none = { low: new Float32Array(1), high: new Float32Array(1) };
    const data = Uint8Array.from([1, 2, 3, 250, 251, 252]);
    const rgb: Planes = { ...planes, ...none, channels: 1, depth: 3, data };
    const words = new Uint32Array(2);
    const own = { ...rgb, low: Float32Array.from([-1]), high: Float32Array.from([1]) };
    paintTile(
      { ...own, data: Uint8Array.from([128, 255, 1, 128, 128, 128]) },
      0,
      [-2, 2],
      table("gray"),
      words,
      0,
      2,
    );
    expect([...new Uint8Array(words.buffer)].slice(0, 3)).toEqual([128, 192, 65]);
    paintTile(rgb, 0, ranges(rgb, "unit")(0), table("gray"), words, 0, 2);
    expect([...new Uint8Array(words.buffer)]).toEqual([1, 2, 3, 255, 250, 251, 252, 255]);
    expect([...rgba(rgb.data)]).toEqual([1, 2, 3, 255, 250, 251, 252, 255]);
  });

  it("has the published ends of the colour maps", () => {
    expect(css("viridis", 0)).toBe("rgb(68 1 84)");
    expect(css("viridis", 255)).toBe("rgb(253 231 37)");
    expect(css("inferno", 0)).toBe("rgb(0 0 4)");
    expect(css("inferno", 255)).toBe("rgb(252 255 164)");
    expect(table("gray")).toHaveLength(256);
    expect(css("gray", 77)).toBe("rgb(77 77 77)");
  });
});

describe("clearBeyond", () => {
  it("leaves of a tile what is the picture, at its place", () => {
    const words = new Uint32Array(5 * 6).fill(1);
    clearBeyond(words, 4, [0.25, 0, 1, 0.6], 6, 6);
    const rows = Array.from({ length: 5 }, (_, y) => [...words.slice(6 * y, 6 * y + 6)].join(""));
    // The row before the tile and the columns behind it are another's; the third column is the picture's only in part.
    expect(rows).toEqual(["111111", "000011", "110011", "110011", "110011"]);
    const whole = new Uint32Array(4).fill(1);
    clearBeyond(whole, 2, [0, 0, 1, 1]);
    expect([...whole]).toEqual([1, 1, 1, 1]);
  });
});

describe("signedRgba", () => {
  it("shows zero mid-grey, the strongest values black and white, and less of each with less gain", () => {
    const shades = Int8Array.of(0, 127, -127);
    expect([...signedRgba(shades, 1)]).toEqual([128, 255, 1, 255]);
    expect([...signedRgba(shades, 0.5)]).toEqual([128, 192, 64, 255]);
    expect([...signedRgba(shades, 3)]).toEqual([128, 255, 0, 255]);
  });
});
