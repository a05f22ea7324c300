import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { viewOf } from "../../testing";
import { linkOccluder } from "../occluder/requests";
import { occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { stripSlice } from "../strip/state";
import { firstLayerPane } from "./first";
import { matrixPane } from "./matrix";
import { numbersPane } from "./numbers";
import { pairsPane } from "./pairs";
import { picturesPane } from "./pictures";
import { linkCompare } from "./requests";
import { across, back, second } from "./sides";
import { type Comparison, compareSlice, type FirstLayer } from "./state";
import { counted, firstLayerRows, likeness, milliseconds } from "./words";

const first: FirstLayer = {
  layer: "conv1",
  stride: [2, 2],
  dead: [1],
  dead_by: "activations",
  dominant: [],
  repeated: [0, 2],
  coverage: 0.5,
  folded: 0.25,
  above: null,
  next: null,
};
const COMPARED: Comparison = {
  known: true,
  sides: [
    { name: "one", layers: ["conv1", "conv2"], first, complaint: null },
    { name: "other", layers: ["a", "b", "c"], first: null, complaint: "Expected a convolution, got none." },
  ],
  numbers: [
    { name: "accuracy", kind: "share", values: [0.975, null] },
    { name: "parameters", kind: "count", values: [177362, 25] },
    { name: "seconds a picture", kind: "seconds", values: [0.0005, 0.25] },
  ],
  agreement: 0.9,
  compared: 40,
  unread: 0,
  disagreements: 30,
  complaint: null,
  cka: null,
  answers: [
    { image: 7, label: "cat", answers: ["cat", "dog"], probabilities: [0.9, 0.8], right: [true, false] },
    { image: 3, label: "ant", answers: ["cow", "dog"], probabilities: [0.7, 0.6], right: [null, null] },
  ],
};

function opened(changes: Partial<Comparison> = {}) {
  const view = viewOf(networkSlice, picturesSlice, stripSlice, occluderSlice, compareSlice);
  view.store.set({
    _network: { ...view.store.get("_network"), name: "one", size: [20, 20] },
    _second: { ...view.store.get("_second"), name: "other", size: [30, 30] },
    _comparison: { ...COMPARED, ...changes },
    _pictures: [
      { name: "seven.png", label: "cat" },
      { name: "three.png", label: null },
    ],
    layer_a: "conv2",
    layer_b: "b",
    size: 8,
    position: [4, 4],
  });
  return view;
}

const buffer = (values: ArrayLike<number>) => new DataView(Uint8Array.from(values).buffer);
const numbers = (values: number[]) => new DataView(new Float32Array(values).buffer);
const press = (element: Element | null, key: string) =>
  element?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const words = (selector: string) =>
  [...document.querySelectorAll(selector)].map(({ textContent }) => textContent);

beforeEach(() => document.body.replaceChildren());
afterEach(() => document.body.replaceChildren());

describe("the square", () => {
  const together = { picture: 0, rows: [3, 1.5] as [number, number], columns: [0, 2] as [number, number] };

  it("is at the same place of both pictures, and inside", () => {
    expect(across(together, [[4, 4], 8], [60, 60])).toEqual([
      [9, 8],
      [12, 16],
    ]);
    expect(
      back(
        together,
        [
          [9, 8],
          [12, 16],
        ],
        [20, 20],
      ),
    ).toEqual([[4, 4], 8]);
    expect(across(together, [[19, 19], 1], [30, 30])).toEqual([[28, 28], 2]);
    expect(across(together, [[0, 0], 20], [12, 12])).toEqual([[0, 0], 12]);
  });

  it("follows whichever is dragged, and is not carried away by rounding", () => {
    const view = opened();
    linkCompare(view);
    view.kernel.answer("together", { picture: 0, rows: [0, 1.5], columns: [0, 1.5] });
    expect([view.store.get("position_b"), view.store.get("size_b")]).toEqual([[6, 6], 12]);
    const other = second(view).store;
    expect(other.get("_network").name).toBe("other");
    other.set({ position: [10, 13] });
    expect(view.store.get("position")).toEqual([7, 9]);
    // Where it was put it stays.
    expect(view.store.get("position_b")).toEqual([10, 13]);
    other.set({ size: 15 });
    expect(view.store.get("size")).toBe(10);
    view.store.set({ position: [0, 0] });
    expect(other.get("position")).toEqual([0, 0]);
  });

  it("asks either network for its own", () => {
    const view = opened();
    linkCompare(view);
    linkOccluder(view);
    linkOccluder(second(view));
    const last = (kind: string) => view.kernel.ask.mock.calls.filter(([one]) => one === kind).at(-1)?.[1];
    view.kernel.answer("together", { picture: 0, rows: [0, 1.5], columns: [0, 1.5] });
    expect(last("occlude")).toMatchObject({ position: [4, 4], size: 8, picture: 0 });
    expect(last("occlude_b")).toMatchObject({ position: [6, 6], size: 12, picture: 0 });
    view.store.set({ picture: 1 });
    expect(last("photo_b")).toEqual({ picture: 1 });
    expect(last("together")).toEqual({ picture: 1 });
    view.store.set({ slow: ["occlude_b", "photo"] });
    expect(second(view).store.get("slow")).toEqual(["occlude"]);
  });
});

it("asks for matched units when the comparison is known, and once for the same cell", () => {
  const view = opened({ known: false });
  linkCompare(view);
  const asked = () => view.kernel.ask.mock.calls.filter(([kind]) => kind === "matches" || kind === "cka");
  expect(asked()).toEqual([]);
  view.store.set({ _comparison: COMPARED });
  view.store.set({ _comparison: { ...COMPARED } });
  expect(asked().map(([kind]) => kind)).toEqual(["cka", "matches"]);
  view.store.set({ layer_b: "c" });
  expect(asked().at(-1)?.[1]).toEqual({
    layer_a: "conv2",
    layer_b: "c",
    pair_order: "mutual",
    pair_show: "patch",
    pairs: 12,
  });
});

it("walks the layers by keys, and says what is chosen", () => {
  const view = opened();
  linkCompare(view);
  matrixPane(view, document.body);
  view.kernel.answer("cka", { rows: 2, columns: 3 }, [numbers([1, 0.5, 0.25, -0.04, 0.75, Number.NaN])]);
  const frame = document.querySelector("[role=slider]");
  expect(frame?.getAttribute("aria-valuetext")).toBe("conv2 × b: .75");
  expect(words(".cs-cka__value")).toEqual(["conv2 × b .75"]);
  expect(words(".cs-cka__rows > *")).toEqual(["conv1", "conv2"]);
  expect(words(".cs-cka__columns > [data-chosen]")).toEqual(["b"]);
  press(frame, "ArrowRight");
  expect([view.store.get("layer_a"), view.store.get("layer_b")]).toEqual(["conv2", "c"]);
  expect(frame?.getAttribute("aria-valuetext")).toBe("conv2 × c: –");
  press(frame, "ArrowUp");
  press(frame, "Home");
  expect([view.store.get("layer_a"), view.store.get("layer_b")]).toEqual(["conv1", "a"]);
  press(frame, "ArrowLeft");
  expect(frame?.getAttribute("aria-valuenow")).toBe("0");
  view.store.set({ _comparison: { ...COMPARED, cka: "Expected at least 4 pictures, got 3." } });
  expect(words(".cs-empty")).toEqual(["Expected at least 4 pictures, got 3."]);
});

it("shows pairs with their patches, more of them on demand", () => {
  const view = opened();
  linkCompare(view);
  pairsPane(view, document.body);
  const pair = (units: number[], r: number, mutual: boolean, patches: number[]) => ({
    units,
    r,
    mutual,
    patches,
  });
  view.kernel.answer(
    "matches",
    {
      layer_a: "conv2",
      layer_b: "b",
      pair_order: "mutual",
      pair_show: "patch",
      side: 2,
      all: 20,
      pairs: [pair([4, 1], 0.91, true, [2, 1]), pair([3, 1], -0.2, false, [0, 1])],
      inside: [
        [
          [0, 0, 1, 1],
          [0, 0, 1, 1],
        ],
        [
          [0, 0, 1, 1],
          [0, 0, 1, 1],
        ],
      ],
    },
    [buffer(new Uint8Array(24)), buffer(new Uint8Array(24))],
  );
  expect(words(".cs-pair__r b")).toEqual([".91", "−.20"]);
  expect(words(".cs-pair__r .cs-dim")).toEqual(["mutual", "one way"]);
  const counts = [...document.querySelectorAll(".cs-pair__patches")].map((one) => one.childElementCount);
  expect(counts).toEqual([2, 1, 0, 1]);
  expect(words(".cs-pairs__side")).toEqual(["one, conv2", "other, b"]);
  const list = document.querySelector(".cs-pairs");
  view.store.set({ layer_a: "conv1" });
  expect(list?.getAttribute("aria-busy")).toBe("true");
  view.store.set({ layer_a: "conv2" });
  expect(list?.getAttribute("aria-busy")).toBe("false");
  document.querySelector<HTMLElement>("button.cs-link")?.click();
  expect(view.store.get("pairs")).toBe(24);
});

it("lists the pictures with both answers; a click or a key puts one under the squares", () => {
  const view = opened();
  picturesPane(view, document.body);
  expect(document.querySelector(".cs-heading")?.textContent).toBe(
    "They disagreeon 30 pictures, 2 shown; both surest first",
  );
  expect(words(".cs-card__class")).toEqual(["cat", "dog", "cow", "dog"]);
  const right = [...document.querySelectorAll<HTMLElement>(".cs-card__answer")].map(
    ({ dataset }) => dataset.right,
  );
  expect(right).toEqual(["true", "false", undefined, undefined]);
  document.querySelectorAll<HTMLElement>(".cs-card")[1]?.click();
  expect(view.store.get("picture")).toBe(1);
  press(document.querySelector(".cs-cards"), "ArrowLeft");
  expect(view.store.get("picture")).toBe(0);
  expect(document.activeElement).toBe(document.querySelector(".cs-card"));
  view.store.set({ _comparison: { ...COMPARED, disagreements: null } });
  expect(words(".cs-heading span")).toEqual(["their classes have nothing in common"]);
});

it("says of first layers what is known, and why nothing is", () => {
  const view = opened();
  linkCompare(view);
  firstLayerPane(view, document.body, 0);
  firstLayerPane(view, document.body, 1);
  view.kernel.answer("filters", { sides: [{ layer: "conv1", count: 3, height: 2, width: 2 }, null] }, [
    buffer(new Uint8Array(36)),
    buffer([]),
  ]);
  expect(words(".cs-first__caption")).toEqual(["3 filters of 2 × 2, stride 2", ""]);
  expect(words(".cs-first__rows span:last-child").slice(0, 5)).toEqual(["1", "0", "2", "50.0 %", "25.0 %"]);
  expect(words(".cs-empty")).toEqual(["", "Expected a convolution, got none."]);
});

it("has a table of what either reaches and costs", () => {
  const view = opened();
  numbersPane(view, document.body);
  expect(words(".cs-agreement")).toEqual(["90.0 % the same answer on 40 pictures"]);
  for (const row of document.querySelectorAll<HTMLElement>("tbody tr")) expect(row.title).not.toBe("");
  expect(words("td").slice(1)).toEqual(["97.5 %", "–", "177 k", "25", "0.50 ms", "250 ms"]);
  view.store.set({ _comparison: { ...COMPARED, agreement: null, complaint: "Expected classes in common." } });
  expect(words(".cs-agreement, .cs-empty")).toEqual(["No class in common", "Expected classes in common."]);
});

it("writes numbers short", () => {
  expect([0, 9999, 12345, 3_504_872, 123e6, 2.1e9].map(counted)).toEqual([
    "0",
    "9,999",
    "12.3 k",
    "3.50 M",
    "123 M",
    "2.10 G",
  ]);
  expect([0.834, 1, 0.999, -0.05, -0.001, null].map(likeness)).toEqual([
    ".83",
    "1.00",
    "1.00",
    "−.05",
    ".00",
    "–",
  ]);
  expect(milliseconds(null)).toBe("–");
  expect(firstLayerRows({ ...first, stride: [1, 1] }).find(([name]) => name.startsWith("folded"))?.[1]).toBe(
    "–",
  );
});
