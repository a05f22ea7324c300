import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { pastButtons } from "./past";

function setup() {
  const view = viewOf(networkSlice, selectionSlice, picturesSlice);
  const { store } = view;
  const picture = { name: "a", label: null };
  store.set({ layer: "stem", selected: 1, picture: 0, _pictures: [picture, picture] });
  const [back, forward] = [...pastButtons(view).querySelectorAll("button")] as [
    HTMLButtonElement,
    HTMLButtonElement,
  ];
  const here = () => [store.get("layer"), store.get("selected"), store.get("picture")];
  return { store, back, forward, here };
}

it("goes back and forward through layers, units and pictures", () => {
  const { store, back, forward, here } = setup();
  expect([back.disabled, forward.disabled]).toEqual([true, true]);
  store.set({ selected: 2 });
  store.set({ layer: "head", selected: null }); // opens
  store.set({ selected: 7 });
  store.set({ picture: 1 });
  back.click();
  expect(here()).toEqual(["head", 7, 0]);
  back.click();
  expect(here()).toEqual(["stem", 2, 0]);
  back.click();
  expect([here(), back.disabled]).toEqual([["stem", 1, 0], true]);
  forward.click();
  expect(here()).toEqual(["stem", 2, 0]);
});

it("begins another way from where one went back to", () => {
  const { store, back, forward, here } = setup();
  store.set({ selected: 2 });
  back.click();
  store.set({ selected: 3 });
  expect(forward.disabled).toBe(true);
  back.click();
  expect(here()).toEqual(["stem", 1, 0]);
});

it("knows pictures again when one before them is removed, and stays where the one of then is gone", () => {
  const { store, back, here } = setup();
  const [given, first, second] = [
    { name: "a", label: null },
    { name: "a", label: null, added: 4 },
    { name: "a", label: null, added: 7 },
  ];
  store.set({ _pictures: [given, first, second], picture: 1, selected: 2 });
  store.set({ picture: 2, selected: 3 });
  store.set({ picture: 0, selected: 4 });
  store.set({ _pictures: [given, second] });
  back.click();
  expect(here()).toEqual(["stem", 3, 1]);
  back.click();
  expect(here()).toEqual(["stem", 2, 1]);
});
