import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { gridSlice } from "../grid/state";
import type { Frame } from "../occluder/state";
import { occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { detailButton } from "./detail";
import { linkDetail } from "./requests";
import { detailSlice } from "./state";

HTMLDialogElement.prototype.showModal ??= function showModal() {
  this.open = true;
};

function setup() {
  const view = viewOf(
    networkSlice,
    picturesSlice,
    selectionSlice,
    surveySlice,
    occluderSlice,
    gridSlice,
    detailSlice,
  );
  const root = document.body.appendChild(document.createElement("div"));
  view.store.set({
    layer: "conv",
    selected: 3,
    position: [1, 2],
    frame: { position: [1, 2] } as unknown as Frame,
  });
  linkDetail(view);
  const button = detailButton(view, root);
  root.append(button);
  const answer = (more: object = {}) =>
    view.kernel.answer(
      "detail",
      {
        layer: "conv",
        channel: 3,
        height: 2,
        width: 3,
        strongest: [0, 2],
        place: [0, 2],
        field: [-3, 5, 12, 20],
        effective: [0, 7, 6, 15],
        share: 0.95,
        ...more,
      },
      [new DataView(Float32Array.of(0, 1, 4, 2, 0, 0.5).buffer)],
    );
  const words = () => [...root.querySelectorAll(".cs-detail__facts > p")].map((one) => one.textContent);
  const press = (key: string) =>
    root
      .querySelector(".cs-detail__frame")
      ?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  return { ...view, root, button, answer, words, press };
}

it("asks only while it is looked at, for the strongest place first", () => {
  const { kernel, button, answer, words } = setup();
  expect(kernel.ask).not.toHaveBeenCalled();
  button.click();
  expect(kernel.ask).toHaveBeenLastCalledWith(
    "detail",
    expect.objectContaining({ layer: "conv", channel: 3, position: [1, 2], row: null, column: null }),
  );
  answer();
  expect(words().slice(0, 3)).toEqual([
    "4.00 at row 0, column 2: the strongest place",
    "receptive field 15 × 15 px",
    "6 × 8 px hold 95 % of the gradient’s energy",
  ]);
  answer({ effective: null });
  expect(words()[2]).toBe("no effective field: the gradient is zero");
});

it("goes to other places by keys, within the map, and says which are not known yet", () => {
  const { kernel, store, root, button, answer, words, press } = setup();
  button.click();
  answer();
  for (const key of ["ArrowDown", "ArrowDown", "ArrowLeft"]) press(key);
  expect(store.get("pointed")).toEqual([1, 1]);
  expect(kernel.ask).toHaveBeenLastCalledWith("detail", expect.objectContaining({ row: 1, column: 1 }));
  expect(words()[0]).toBe("0 at row 1, column 1; strongest 4.00 at row 0, column 2");
  const stale = () => root.querySelectorAll(".cs-detail__key.cs-is-stale").length;
  expect(stale()).toBe(2);
  answer({ place: [1, 1] });
  expect(stale()).toBe(0);
  press("Home");
  expect(store.get("pointed")).toBeNull();
});

it("on a saved page knows the values of all places and the fields of one", () => {
  const { kernel, store, button, answer, words, press } = setup();
  store.set({ offline: true });
  button.click();
  answer();
  const asked = kernel.ask.mock.calls.length;
  press("ArrowLeft");
  expect(words()[0]).toMatch("1.00 at row 0, column 1");
  expect(kernel.ask.mock.calls.length).toBe(asked);
});
