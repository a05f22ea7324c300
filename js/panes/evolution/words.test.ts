import { expect, it } from "vitest";
import { legend } from "./bar";
import { evolving, WINNERS } from "./fixture";
import { liveText } from "./head";
import { cellKey } from "./state";
import { cellText, complaintOf, fateOf, jumpsOf, layerText } from "./words";

it("a search that finds nothing says what there is", () => {
  const { store } = evolving();
  store.set({ winners: WINNERS, query: "77" });
  expect(complaintOf(store, 0, false)).toBe("No unit matches “77”: this layer has units 0 to 2.");
  expect(complaintOf(store, 3, true)).toContain("names no unit: type numbers");
  expect([complaintOf(store, 1, false), complaintOf(evolving().store, 0, false)]).toEqual(["", ""]);
});

it("a unit's fate is its jumps, or that it died", () => {
  expect([0, 1, 2].map((unit) => fateOf(WINNERS, unit, "dead"))).toEqual(["no jump", "3 jumps", "died"]);
  expect(fateOf(WINNERS, 2, "inactive")).toBe("became inactive");
  expect(jumpsOf(WINNERS, 1)).toEqual([1, 2, 3]);
  expect(fateOf({ ...WINNERS, image: new Int32Array(12).fill(-1) }, 0, "dead")).toBe("dead");
  expect(fateOf({ ...WINNERS, value: Float32Array.from([1, 1, 1]) }, 0, "dead")).toBe("");
});

it("how many steps are jumps is said of the layer that is looked at, not of the one before", () => {
  const view = evolving();
  const jumps = () =>
    legend(view, { onChange: () => {}, get: () => [] } as never).querySelector(".cs-jump")?.textContent;
  view.store.set({ winners: WINNERS });
  expect(jumps()).toMatch(/, \d+ % of the steps$/);
  view.store.set({ layer: "fc" });
  expect(jumps()).toBe("jump: another picture won, or none");
});

it("a cell says which picture won, how strongly, and whether another did before", () => {
  const { store } = evolving();
  store.set({ winners: WINNERS });
  expect(cellText(store, [1, 3])).toBe("unit 1 · epoch 10 · 5.00 · jump: another picture than at epoch 5");
  expect(cellText(store, [2, 1])).toBe("unit 2 · epoch 2 · inactive: the same on every picture");
  const cell = {
    shades: new Int8Array(),
    crop: new Uint8Array(),
    peak: 1,
    inside: [0, 0, 1, 1] as const,
    name: "7.png",
    label: "cup",
  };
  store.set({
    cells: { layer: "conv", method: "deconvnet", side: 1, known: new Map([[cellKey(0, 0), cell]]) },
  });
  expect(cellText(store, [0, 0])).toBe("unit 0 · epoch 1 · 1.00 · cup");
});

it("a layer says how many of its units are shown, and inactive at the end", () => {
  const { store } = evolving();
  store.set({ winners: WINNERS });
  expect(layerText(store, 2)).toBe(
    "2 of 3 units · the strongest of 100 pictures at each checkpoint · 1 inactive at epoch 10",
  );
});

it("a training says how far it is", () => {
  const info = { ...evolving().store.get("_evolution"), live: "training" as const, recorded: 3 };
  expect(liveText({ ...info, planned: 8 }, false)).toBe("live · 3 of 8 recorded");
  expect(liveText({ ...info, planned: null }, false)).toBe("live · 3 recorded");
  expect(liveText({ ...info, planned: 8 }, true)).toBe("live · failed at 3 of 8");
  expect(liveText({ ...info, live: "ended", recorded: 8, planned: 8 }, false)).toBe(
    "training ended, 8 of 8 recorded",
  );
});
