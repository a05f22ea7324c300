/** The maps in words, of a network that returns NaN at places. */
import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { mapsPane } from "./maps";
import { linkMaps } from "./requests";
import { mapSlice } from "./state";

/** Three places: a class, NaN, not computed. */
function opened(clean: number | null) {
  const view = viewOf(networkSlice, picturesSlice, occluderSlice, mapSlice);
  const root = document.body.appendChild(document.createElement("div"));
  linkMaps(view);
  mapsPane(view, root);
  const buffers = [
    Float32Array.of(0.25, Number.NaN, Number.NaN),
    Float32Array.of(1, Number.NaN, Number.NaN),
    Int32Array.of(1, -2, -1),
  ].map(({ buffer }) => new DataView(buffer));
  const answer = {
    rows: 1,
    columns: 3,
    tops: [0],
    lefts: [0, 4, 8],
    size: [4, 4],
    stride: [4, 4],
    preview: false,
    target: { index: 1, label: "dog" },
    clean: { index: 1, label: "dog", probability: clean, activity: clean },
    layer: "conv",
    unit: 0,
    labels: { 1: "dog" },
  };
  const come = (at: string) => view.kernel.answer("map", { ...answer, at } as never, buffers);
  come("");
  const words = (column: number | null, ring = 0) => {
    view.store.set({ cell: column === null ? null : [0, column], position: [0, ring], size: [4, 4] });
    return [...root.querySelectorAll(".cs-map__value")].map(({ textContent }) => textContent);
  };
  return { root, view, words, answer: come };
}

it("say where the network returns NaN, and that there is no class", () => {
  const { root, words } = opened(0.5);
  // Where nothing is looked at it is about the place of the ring; the clean picture's values are under their marks.
  expect(words(null, 0)).toEqual(words(0));
  expect(words(null, 4)).toEqual(words(1));
  const marks = [...root.querySelectorAll(".cs-bar__marked")].map(({ textContent }) => textContent);
  expect(marks).toEqual(["clean 0.500", "clean 0.500"]);
  expect(words(0)).toEqual(["1.00", "−0.250  0.250", "dog"]);
  expect(words(1)).toEqual(["NaN", "NaN", "none: NaN"]);
  expect(words(2)).toEqual(["", "", ""]);
  expect(root.querySelector(".cs-labels")?.textContent).toBe("dog50 %The network returns NaN at 1 place.");
  expect(
    [...root.querySelectorAll<HTMLElement>("[data-computed]")].map((one) => one.dataset.computed),
  ).toEqual(["2", "2", "2"]);
});

it("say where they are of another place than the occluder's", () => {
  const { root, words } = opened(0.5);
  const nearest = () => root.querySelector(".cs-map__value + .cs-dim")?.textContent;
  words(null, 4);
  expect(nearest()).toBe("");
  words(null, 1);
  expect(nearest()).toBe("nearest");
  // What is looked at is its own place.
  words(0, 1);
  expect(nearest()).toBe("");
});

it("say it of the picture without occluder, too", () => {
  const { root, words } = opened(null);
  expect([...root.querySelectorAll(".cs-bar__marked")].map(({ textContent }) => textContent)).toEqual([
    "",
    "",
  ]);
  expect(words(0)).toEqual(["1.00", "0.250", "dog"]);
});

it("say that they are of before until those of another setting come", () => {
  const { root, view, answer } = opened(0.5);
  const stale = () =>
    [...root.querySelectorAll("figure")].map((one) => one.classList.contains("cs-is-stale"));
  const lastAt = () => (view.kernel.ask.mock.lastCall?.[1] as { at?: string } | undefined)?.at ?? "";
  const first = lastAt();
  answer(first);
  expect(stale()).toEqual([false, false, false]);
  for (const change of [{ fill: "blur" }, { size: 9 }, { target: 2 }, { channel: 1 }, { _revision: 1 }]) {
    view.store.set(change);
    expect(stale()).toEqual([true, true, true]);
    answer(first); // one that was on its way
    expect(stale()).toEqual([true, true, true]);
    answer(lastAt());
    expect(stale()).toEqual([false, false, false]);
  }
  // A saved page holds those of its own setting.
  view.store.set({ offline: true, target: 0 });
  expect(stale()).toEqual([false, false, false]);
});
