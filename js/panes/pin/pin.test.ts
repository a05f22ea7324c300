import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import type { Frame } from "../occluder/state";
import { occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { silenceSlice } from "../silence/state";
import { stripSlice } from "../strip/state";
import { type Unit, unitSlice } from "../unit/state";
import { pinnedPicture, pinPictureButton } from "./picture";
import { linkPin } from "./requests";
import { pinSlice } from "./state";
import { pinnedUnit, pinUnitButton } from "./unit";

const unit = (channel: number, layer = "conv"): Unit =>
  ({
    layer,
    channel,
    checkpoint: null,
    exemplars: [
      {
        value: 2,
        image: 0,
        name: "a",
        path: null,
        label: "cat",
        row: 0,
        column: 0,
        box: [0, 0, 1, 1],
        whole: false,
        inside: [0, 0, 1, 1],
      },
      {
        value: 0,
        image: 1,
        name: "b",
        path: null,
        label: null,
        row: 0,
        column: 0,
        box: [0, 0, 1, 1],
        whole: false,
        inside: [0, 0, 1, 1],
      },
    ],
    side: 1,
    crops: [new Uint8Array(3), new Uint8Array(3)],
  }) as unknown as Unit;

const projections = (channel: number) => ({
  layer: "conv",
  channel,
  checkpoint: null,
  method: "gradient" as const,
  places: [
    [0, 0, 0],
    [1, 0, 0],
  ] as [number, number, number][],
  side: 1,
  tiles: [new Int8Array(3), new Int8Array(3)],
  peaks: [1, 1],
  crop: "field" as const,
  crops: [],
  inside: [],
  sides: [],
});

function setup() {
  const view = viewOf(
    networkSlice,
    picturesSlice,
    selectionSlice,
    surveySlice,
    occluderSlice,
    unitSlice,
    stripSlice,
    silenceSlice,
    pinSlice,
  );
  const root = document.body.appendChild(document.createElement("div"));
  const given = { name: "given", label: null };
  view.store.set({
    layer: "conv",
    selected: 3,
    unit: unit(3),
    frame: { position: [1, 2] } as unknown as Frame,
    _pictures: [given, { ...given, name: "added", added: 5 }],
    picture: 1,
  });
  linkPin(view);
  const [pin, pinPicture] = [pinUnitButton(view), pinPictureButton(view)];
  root.append(pin, pinPicture);
  pinnedUnit(view, root, pin);
  pinnedPicture(view, root, pinPicture);
  const card = (name: string) => root.querySelector<HTMLElement>(`[aria-label="${name}"]`);
  const button = (words: string, within: HTMLElement | null = root) =>
    [...(within?.querySelectorAll("button") ?? [])].find((one) => one.textContent === words);
  return { ...view, root, pin, pinPicture, card, button };
}

it("keeps a unit in sight while others are looked at, with its value on the picture", () => {
  const { store, kernel, pin, card, button } = setup();
  const pinned = card("Pinned unit");
  expect(pinned?.hidden).toBe(true);
  store.set({ selected: null });
  expect(pin.disabled).toBe(true);
  store.set({ selected: 3 });
  pin.click();
  expect([pinned?.hidden, pin.getAttribute("aria-pressed")]).toEqual([false, "true"]);
  const asked = expect.objectContaining({ layer: "conv", channel: 3, position: [1, 2] });
  expect(kernel.ask).toHaveBeenLastCalledWith("pinned_unit", asked);
  // Its projections come after it was pinned; those of another are none of its.
  store.set({ projections: projections(3) });
  expect(pinned?.querySelector("[aria-label='Their projections, gradient']")).not.toBeNull();
  store.set({ selected: 4 });
  pin.click(); // of which nothing is known yet
  expect([store.get("pinned")?.unit.channel, pin.getAttribute("aria-pressed")]).toEqual([3, "true"]);
  store.set({ unit: unit(4), projections: projections(4) });
  expect(store.get("pinned")?.unit.channel).toBe(4);
  store.set({ selected: 3 });
  pin.click();
  pin.click();
  expect([store.get("pinned")?.unit.channel, pin.getAttribute("aria-pressed")]).toEqual([4, "false"]);
  pin.click();
  store.set({ unit: unit(3) });
  store.set({ selected: 4 });
  expect(pinned?.textContent).toBe("pinnedconv/3…unpin");
  kernel.answer("pinned_unit", { layer: "conv", channel: 3, value: 1.5, row: 0, column: 1 });
  expect(pinned?.textContent).toContain("1.50 on this picture");
  store.set({ silenced: [["conv", [3]]] });
  expect(pinned?.textContent).toContain("silenced");
  button("conv/3", pinned)?.click();
  expect(store.get("selected")).toBe(3);
  button("unpin", pinned)?.click();
  expect([pinned?.hidden, document.activeElement]).toEqual([true, pin]);
});

it("asks for what had not come when another unit was selected", () => {
  const { store, kernel, pin, card } = setup();
  const asks = (kind: string) => kernel.ask.mock.calls.filter(([one]) => one === kind).map(([, of]) => of);
  store.set({ selected: 5 });
  pin.click();
  expect([asks("pinning"), store.get("pinning")?.channel]).toEqual([[], 5]); // it comes as what is looked at
  store.set({ selected: 4 });
  expect(asks("pinning")).toEqual([]); // before the survey there is nothing to have
  store.set({ _survey: { ...store.get("_survey"), revision: 1 } });
  store.set({ _survey: { ...store.get("_survey"), revision: 2 } });
  expect(asks("pinning")).toEqual([{ layer: "conv", channel: 5 }]);
  // Of another unit that comes meanwhile it is nothing.
  store.set({ unit: unit(4), projections: projections(4) });
  expect(card("Pinned unit")?.hidden).toBe(true);
  kernel.answer("pinning", { ...unit(5) }, [new DataView(new ArrayBuffer(6))]);
  expect([card("Pinned unit")?.hidden, store.get("pinned")?.unit.channel]).toEqual([false, 5]);
  const [method, crop] = [store.get("method"), store.get("crop")];
  expect(asks("pinned_projections")).toEqual([{ layer: "conv", channel: 5, method, crop }]);
  const answer = { ...projections(5), tiles: undefined };
  kernel.answer("pinned_projections", answer, [
    new DataView(new ArrayBuffer(6)),
    new DataView(new ArrayBuffer(0)),
  ]);
  expect(card("Pinned unit")?.querySelector("[aria-label='Their projections, gradient']")).not.toBeNull();
  // What comes late, of a unit that is pinned no longer, changes nothing; the next is asked for again.
  store.set({ pinned: null, selected: 5, unit: null });
  pin.click();
  pin.click();
  store.set({ selected: 4 });
  kernel.answer("pinning", { ...unit(5) }, [new DataView(new ArrayBuffer(6))]);
  expect(store.get("pinned")).toBeNull();
  store.set({ selected: 5 });
  pin.click();
  store.set({ selected: 4 });
  expect(asks("pinning")).toHaveLength(2);
});

it("asks about the pinned unit at each place, of which the hand's request is another", () => {
  const { store, kernel, pin } = setup();
  pin.click();
  store.set({ dragging: true, frame: { position: [5, 5] } as unknown as Frame });
  const [kind, request] = kernel.ask.mock.lastCall ?? [];
  expect([kind, request?.position, request?.dragging]).toEqual(["pinned_unit", [5, 5], undefined]);
});

it("keeps a picture's classes in sight, wherever it moves, until it is removed", () => {
  const { store, kernel, pinPicture, card, button } = setup();
  const pinned = card("Pinned picture");
  pinPicture.click();
  expect(kernel.ask).toHaveBeenLastCalledWith("pinned_picture", { picture: 1 });
  kernel.answer("pinned_picture", {
    picture: 1,
    name: "added",
    classes: [
      ["cat", 0.75],
      ["dog", null],
    ],
  });
  expect(pinned?.textContent).toBe("pinnedaddedunpincat0.750dogNaN");
  expect(pinPicture.textContent).toBe("unpin");
  store.set({ picture: 0 });
  expect(pinPicture.textContent).toBe("pin");
  const [given, added] = store.get("_pictures");
  store.set({ _pictures: [given, { ...given, added: 1 }, added] as never });
  expect(kernel.ask).toHaveBeenLastCalledWith("pinned_picture", { picture: 2 });
  kernel.answer("pinned_picture", { picture: 2, name: "added", classes: [] });
  card("Go to the pinned picture")?.click();
  expect(store.get("picture")).toBe(2);
  store.set({ picture: 0, _pictures: [given] as never });
  expect([store.get("pinnedPicture"), pinned?.hidden]).toEqual([null, true]);
  pinPicture.click();
  kernel.answer("pinned_picture", { picture: 0, name: "given", classes: [] });
  expect(pinned?.hidden).toBe(false);
  button("unpin", pinned)?.click();
  expect([pinned?.hidden, document.activeElement]).toEqual([true, pinPicture]);
});
