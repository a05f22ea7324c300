import { describe, expect, it } from "vitest";
import { diverging, STEPS } from "../../lib/colormaps";
import { moved } from "./keys";
import type { Column, Map16, Tile, TileAnswer } from "./state";
import { endOf, keyOf, merged, painted, valuesAt } from "./tiles";
import { aboutOf, meaning, randomised, rangeOf, titleOf } from "./words";

const map = (values: number[], extra: Partial<Map16> = {}): Map16 => ({
  depth: 1,
  height: 1,
  width: values.length,
  values: Int16Array.from(values),
  limit: 2,
  strong: 1,
  target: 0,
  label: "cat",
  score: 1,
  brief: "97 % arrives",
  account: "score 1 = 0.97 arrived + biases 0.03",
  notes: [],
  ...extra,
});
const tile = (method: string, strong: number, control = false): Tile => ({
  row: 0,
  method,
  control,
  number: 1,
  map: map([1], { strong }),
  rho: null,
  turned: false,
  error: null,
  stale: false,
});
const column = (name: string, group: Column["group"]): Column => ({
  name,
  group,
  summary: "",
  extended: null,
});
const rgb = (word: number | undefined) =>
  [word ?? 0, (word ?? 0) >> 8, (word ?? 0) >> 16].map((one) => one & 255);

describe("colours of signed values", () => {
  it("have paper or night at zero and are as dark on one side as on the other", () => {
    const light = (word: number | undefined) => {
      const [r = 0, g = 0, b = 0] = rgb(word).map((one) => (one / 255) ** 2.2);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    for (const name of ["red-blue", "purple-green"] as const) {
      expect(rgb(diverging(name, "light")[STEPS])).toEqual([0xf7, 0xf7, 0xf7]);
      expect(rgb(diverging(name, "dark")[STEPS])).toEqual([0x16, 0x18, 0x1b]);
      for (const theme of ["light", "dark"] as const) {
        const colours = diverging(name, theme);
        expect(colours.length).toBe(2 * STEPS + 1);
        for (let step = 15; step <= STEPS; step += 15) {
          const [plus, minus] = [light(colours[STEPS + step]), light(colours[STEPS - step])];
          expect(Math.abs(plus - minus)).toBeLessThan(0.2);
          const further = light(colours[STEPS + step]) - light(colours[STEPS + step - 15]);
          expect(theme === "light" ? further < 0 : further > 0).toBe(true);
        }
      }
    }
  });

  it("are red for positive, blue for negative", () => {
    const [r = 0, , b = 0] = rgb(diverging("red-blue", "light")[STEPS + 150]);
    expect(r).toBeGreaterThan(b + 50);
    const [r2 = 0, , b2 = 0] = rgb(diverging("red-blue", "light")[STEPS - 150]);
    expect(b2).toBeGreaterThan(r2 + 50);
  });
});

describe("painting", () => {
  const colours = diverging("red-blue", "light");

  it("puts zero in the middle, the end's magnitude at the ends, and clips beyond", () => {
    // limit 2: 16384 stands for 1, the end of the colours.
    const words = painted(map([0, 16384, -16384, 32767, 8192]), 1, colours);
    expect([...words]).toEqual(
      [STEPS, 2 * STEPS, 0, 2 * STEPS, STEPS + Math.round(STEPS * 0.5)].map((at) => colours[at]),
    );
  });

  it("shows three planes as colours around mid-grey", () => {
    const words = painted(map([32767, 0, -32767], { depth: 3, width: 1 }), 2, colours);
    expect(rgb(words[0])).toEqual([255, 128, 1]);
  });

  it("shows a map of zeros as zero", () => {
    expect(painted(map([0], { limit: 0, strong: 0 }), 0, colours)[0]).toBe(colours[STEPS]);
  });
});

describe("scales", () => {
  const columns = [column("a", "function"), column("b", "signal"), column("c", "signal")];
  const tiles = new Map(
    [tile("a", 9), tile("b", 2), tile("c", 5), tile("c", 70, true)].map((one) => [
      keyOf(0, one.method, one.control),
      one,
    ]),
  );

  it("end at the group's strongest map of the row, or at the map's own", () => {
    expect(endOf(tile("b", 2), tiles, columns, "group")).toBe(5);
    expect(endOf(tile("b", 2), tiles, columns, "map")).toBe(2);
    expect(endOf(tile("a", 9), tiles, columns, "group")).toBe(9);
    expect(endOf({ ...tile("b", 2), row: 1 }, tiles, columns, "group")).toBe(2);
  });

  it("are a map's own where the group's would leave it blank", () => {
    const faint = new Map([...tiles, [keyOf(0, "b", false), tile("b", 0.2)]]);
    expect(endOf(tile("b", 0.2), faint, columns, "group")).toBe(0.2);
    // In the other rows, too: a column's colours mean one thing.
    const below = { ...tile("b", 4), row: 1 };
    const both = new Map([
      ...faint,
      [keyOf(1, "a", false), { ...tile("a", 5), row: 1 }],
      [keyOf(1, "b", false), below],
    ]);
    expect(endOf(below, both, columns, "group")).toBe(4);
    expect(endOf({ ...tile("a", 5), row: 1 }, both, columns, "group")).toBe(5);
    const fair = new Map([...tiles, [keyOf(0, "b", false), tile("b", 0.26)]]);
    expect(endOf(tile("b", 0.26), fair, columns, "group")).toBe(5);
  });

  it("end by method at its strongest map in all rows, whatever other methods say", () => {
    const below = { ...tile("b", 0.5), row: 1 };
    const both = new Map([
      ...tiles,
      [keyOf(1, "b", false), below],
      [keyOf(1, "b", true), { ...tile("b", 80, true), row: 1 }],
    ]);
    for (const one of [tile("b", 2), below]) expect(endOf(one, both, columns, "method")).toBe(2);
    expect(endOf(tile("c", 5), both, columns, "method")).toBe(5);
  });

  it("are a control's own", () => {
    expect(endOf(tile("c", 70, true), tiles, columns, "group")).toBe(70);
    expect(endOf(tile("c", 70, true), tiles, columns, "method")).toBe(70);
  });
});

describe("reading", () => {
  it("finds the value under a place, for maps of any size", () => {
    const wide = map([0, 32767, -16384, 100], { height: 2, width: 2 });
    expect(valuesAt(wide, [0.49, 0.5])).toEqual([2]);
    expect(valuesAt(wide, [0.5, 0.2])[0]).toBeCloseTo(-1, 4);
    expect(valuesAt(map([1, 2, 3], { depth: 3, width: 1, limit: 32767 }), [0, 0.9])).toEqual([1, 2, 3]);
  });

  it("says what a similarity means", () => {
    expect(meaning(0.71).warn).toBe(true);
    expect(meaning(0.7).warn).toBe(false);
    expect(meaning(null).word).toBe("no order");
    expect(meaning(-0.9).word).toBe("changes");
    expect(meaning(0.71, true)).toMatchObject({ word: "only signs change", warn: true });
    expect(meaning(0.3, true).word).toBe("changes");
  });

  it("names methods and shares", () => {
    expect(titleOf("input_times_gradient")).toBe("input × gradient");
    expect(titleOf("guided_backprop")).toBe("guided backprop");
    expect([0, 0.25, 1].map(randomised)).toEqual(["classifier", "top 25 % of layers", "all layers"]);
  });
});

describe("what is written under a map", () => {
  it("is how strong it is and how much arrives, or that the class speaks against itself", () => {
    expect(rangeOf(map([1]))).toBe("± 1.00 · 97 % arrives");
    expect(rangeOf(map([1], { brief: "" }))).toBe("± 1.00");
    const against = map([1], { score: -2, notes: ["the score is negative (-2)"] });
    expect(rangeOf(against)).toBe("± 1.00 · speaks against itself");
    expect(aboutOf(against)).toContain("the score is negative");
    expect(aboutOf(map([1]))).toContain("biases 0.03");
  });
});

describe("answers", () => {
  const answerOf = (number: number, extra: Partial<TileAnswer> = {}): TileAnswer => ({
    row: 0,
    method: "a",
    control: false,
    number,
    depth: 1,
    height: 1,
    width: 1,
    limit: 1,
    strong: 1,
    target: 0,
    label: "cat",
    score: 0,
    brief: "",
    account: "",
    notes: [],
    rho: null,
    turned: false,
    error: null,
    new: true,
    ...extra,
  });
  const error = { kind: "tiles", name: "Error", message: "the lamp went out", details: "" };

  it("give each map its own plane, errors none", () => {
    const tiles = merged(
      new Map(),
      [answerOf(1), answerOf(2, { method: "b", error }), answerOf(3, { method: "c" })],
      [Int16Array.of(7), Int16Array.of(8)],
      false,
    );
    expect([...tiles.values()].map(({ map: one }) => one?.values[0])).toEqual([7, undefined, 8]);
    expect(tiles.get(keyOf(0, "b", false))?.error).toBe(error);
  });

  it("keep a map that is being computed again, marked, until its successor comes", () => {
    const first = merged(new Map(), [answerOf(1)], [Int16Array.of(7)], false);
    const between = merged(first, [], [], false);
    expect(between.get(keyOf(0, "a", false))).toMatchObject({ number: 1, stale: true });
    const back = merged(between, [answerOf(1, { new: false })], [], false);
    expect(back.get(keyOf(0, "a", false))?.stale).toBe(false);
    const next = merged(between, [answerOf(2)], [Int16Array.of(9)], false);
    expect(next.get(keyOf(0, "a", false))).toMatchObject({ number: 2, stale: false });
  });

  it("mark nothing while more of the same answer is to come", () => {
    const first = merged(new Map(), [answerOf(1)], [Int16Array.of(7)], false);
    expect(merged(first, [], [], true).get(keyOf(0, "a", false))?.stale).toBe(false);
  });
});

describe("arrows", () => {
  it("stay within the table", () => {
    expect(moved("ArrowRight", [0, 3], 2, 4)).toEqual([0, 3]);
    expect(moved("ArrowDown", [0, 3], 2, 4)).toEqual([1, 3]);
    expect(moved("Home", [1, 3], 2, 4)).toEqual([1, 0]);
    expect(moved("a", [1, 3], 2, 4)).toBeNull();
  });
});
