import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { axisOf, corner, moved, unpacked } from "./geometry";
import { linkCorrespondence } from "./requests";
import { pictureRow } from "./row";
import { scoreDots, scoreTable } from "./scores";
import { correspondenceSlice, type PartRow, type Scores } from "./state";
import { correspondenceTools } from "./tools";
import { chanceText, shareText, spreadText } from "./words";

const SCORES: Scores = {
  delta: 0.25,
  spread: 0.05,
  random: 0.4,
  random_spread: 0.1,
  low: 0.35,
  high: 0.45,
  p: 0.0001,
};
const row = (name: string, current: boolean): PartRow => ({
  name,
  current,
  pictures: 2,
  scores: { conv: { all: SCORES, changed: { ...SCORES, delta: 0.1, spread: null, p: 0.5 } } },
});

function opened() {
  const view = viewOf(networkSlice, correspondenceSlice);
  view.store.set({
    _network: { ...view.store.get("_network"), size: [20, 30] },
    _pictures: ["one", "two", "three"].map((name) => ({ name, label: null })),
    points: [null, null, null],
    size: 6,
    layers: ["conv"],
    part: "nose",
  });
  return view;
}

const press = (element: Element | undefined, key: string, shiftKey = false) =>
  element?.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));

it("squares stay in the picture, and so does the cursor", () => {
  expect(corner([10, 10], 6, [20, 30])).toEqual([7, 7]);
  expect(corner([10, 10], 5, [20, 30])).toEqual([8, 8]);
  expect(corner([0, 29], 6, [20, 30])).toEqual([0, 24]);
  expect(moved([19, 0], [1, -1], [20, 30])).toEqual([19, 0]);
  expect(moved([5, 5], [-10, 10], [20, 30])).toEqual([0, 15]);
});

it("a mask is a bit a pixel, the first in the highest", () => {
  expect([...unpacked(new Uint8Array([0b10100000, 0b01000000]), 10)]).toEqual([1, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
});

it("writes shares as the paper does", () => {
  expect(shareText(0.067)).toBe(".067");
  expect(shareText(1)).toBe("1.000");
  expect(spreadText(0.067, 0.007)).toBe(".067 ± .007");
  expect(spreadText(0.5, null)).toBe(".500");
  expect([chanceText(0.0001), chanceText(0.011), chanceText(null)]).toEqual(["p <.001", "p .011", "no p"]);
  expect(axisOf([row("nose", true)], "all")).toEqual([0.25, 0.45]);
  expect(axisOf([], "all")).toEqual([0, 0.05]);
});

it("arrow keys move a cursor, Enter sets the part, Delete takes it back", () => {
  const view = opened();
  pictureRow(view, document.body);
  const [, second] = document.querySelectorAll(".cs-place__picture");
  press(second, "ArrowUp");
  press(second, "ArrowRight", true);
  expect(view.store.get("points")).toEqual([null, null, null]);
  press(second, "Enter");
  expect(view.store.get("points")).toEqual([null, [9, 25], null]);
  expect(second?.getAttribute("aria-label")).toContain("two: row 9, column 25");
  expect(document.querySelector(".cs-places__hint")?.textContent).toContain("two pictures at least");
  press(second, "Delete");
  expect(view.store.get("points")).toEqual([null, null, null]);
});

it("a picture that cannot be read says so, and cannot be marked", () => {
  const view = opened();
  linkCorrespondence(view);
  pictureRow(view, document.body);
  view.kernel.answer(
    "views",
    { count: 2, pictures: [0, 2], unread: { 1: "two is damaged" }, height: 1, width: 1 },
    [new DataView(new Uint8Array([1, 2, 3, 4, 5, 6]).buffer)],
  );
  expect(view.store.get("views").map((one) => one && [one.picture, one.pixels[0]])).toEqual([
    [0, 1],
    undefined,
    [2, 4],
  ]);
  const frames = [...document.querySelectorAll<HTMLElement>(".cs-place__picture")];
  const word = (frame: HTMLElement) => frame.querySelector<HTMLElement>(".cs-place__unread");
  expect(frames.map((one) => word(one)?.hidden)).toEqual([true, false, true]);
  const [first, second, third] = frames;
  expect([second?.title, second?.tabIndex]).toEqual(["two is damaged", -1]);
  expect(second?.getAttribute("aria-label")).toBe("two: cannot be read");
  second?.click();
  for (const one of frames) press(one, "Enter");
  expect(view.store.get("points").map(Boolean)).toEqual([true, false, true]);
  expect(document.querySelector(".cs-places__hint")?.textContent).toBe("All 2 pictures.");
  expect([first?.tabIndex, third?.tabIndex]).toEqual([0, 0]);
});

it("on a saved page nothing is marked", () => {
  const view = opened();
  pictureRow(view, document.body);
  view.store.set({ offline: true });
  const [first] = document.querySelectorAll<HTMLElement>(".cs-place__picture");
  first?.click();
  press(first, "Enter");
  expect(view.store.get("points")).toEqual([null, null, null]);
});

it("the table shows what is counted, and a part's masks by its name", () => {
  const view = opened();
  linkCorrespondence(view);
  scoreDots(view, document.body);
  scoreTable(view, document.body);
  expect(document.querySelector(".cs-empty")?.textContent).toContain("two pictures at least");
  view.store.set({ _rows: [row("eye", false), row("nose", true)] });
  const cells = () => [...document.querySelectorAll("td")].map((one) => one.textContent);
  expect(cells()).toEqual([".250 ± .050", ".400 ± .100", ".250 ± .050", ".400 ± .100"]);
  expect(document.querySelectorAll(".cs-dots__dot")).toHaveLength(2);
  view.store.set({ entries: "changed" });
  expect(cells()[0]).toBe(".100");
  document.querySelector<HTMLElement>("[data-part=eye]")?.click();
  expect(view.kernel.ask).toHaveBeenLastCalledWith("covered", { shown: "eye" });
  expect(document.querySelector("[data-part=eye]")?.getAttribute("aria-pressed")).toBe("true");
});

it("a part is kept only when its scores are whole", () => {
  const view = opened();
  correspondenceTools(view, document.body);
  const [keep, reset] = document.querySelectorAll<HTMLButtonElement>("button.cs-button");
  expect([keep?.disabled, reset?.disabled]).toEqual([true, true]);
  view.store.set({
    points: [[1, 1], [2, 2], null],
    _work: { ...view.store.get("_work"), state: "done" },
  });
  expect([keep?.disabled, reset?.disabled]).toEqual([false, false]);
  keep?.click();
  expect(view.kernel.tell).toHaveBeenCalledWith("keep");
  reset?.click();
  expect(view.store.get("points")).toEqual([null, null, null]);
});
