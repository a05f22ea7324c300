import { expect, it, vi } from "vitest";
import { viewOf } from "../../testing";
import { type LayerInfo, networkSlice } from "../shared/network";
import { selectionSlice } from "../shared/selection";
import { addressPane } from "./address";

const layer = (name: string, channels: number): LayerInfo => ({
  name,
  kind: "conv",
  channels,
  size: [7, 7],
  field: 3,
  gated: false,
  signed: false,
});

function setup() {
  const { store, ...rest } = viewOf(networkSlice, selectionSlice);
  const layers = [layer("stem", 8), layer("head", 32)];
  store.set({ _network: { name: "net", device: "cpu", size: [64, 64], layers }, layer: "stem" });
  const root = document.createElement("div");
  addressPane({ store, ...rest }, root);
  const field = root.querySelector("input") as HTMLInputElement;
  const go = (address: string) => {
    field.value = address;
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
    return [store.get("layer"), store.get("selected"), field.getAttribute("aria-invalid") === "true"];
  };
  return { store, root, field, go };
}

it("says where one is", () => {
  const { store, field } = setup();
  expect(field.value).toBe("net/stem");
  store.set({ selected: 3, exemplar: 2 });
  expect(field.value).toBe("net/stem/3");
});

it("leads to a unit, with or without the network's name, and from the first of its exemplars", () => {
  const { store, go } = setup();
  store.set({ exemplar: 2 });
  expect(go("net/head/31")).toEqual(["head", 31, false]);
  expect(store.get("exemplar")).toBeNull();
  expect(go(" stem/0 ")).toEqual(["stem", 0, false]);
  expect(go("head")).toEqual(["head", null, false]);
});

it("says what was expected of a wrong one, until it is put right", () => {
  const { root, go, store } = setup();
  const complaint = root.querySelector<HTMLElement>(".cs-complaint");
  store.set({ selected: 3 });
  expect(complaint?.hidden).toBe(true);
  go("net/head/32");
  expect(complaint?.textContent).toBe("Expected a unit of head, 0 to 31; got 32.");
  go("net/tail/1");
  expect(complaint?.textContent).toBe(
    "Expected network/layer/unit, as net/stem/3; got tail, which is no layer shown here.",
  );
  expect(complaint?.hidden).toBe(false);
  go("net/head/31");
  expect(complaint?.hidden).toBe(true);
});

it("is copied by a button, which says so", async () => {
  const { root, store } = setup();
  store.set({ selected: 3 });
  const written: string[] = [];
  vi.stubGlobal("navigator", { clipboard: { writeText: async (one: string) => void written.push(one) } });
  const button = root.querySelector("button");
  button?.click();
  await vi.waitFor(() => expect(button?.textContent).toBe("copied"));
  expect(written).toEqual(["net/stem/3"]);
  vi.unstubAllGlobals();
});

it("stays where it is for an address that there is not", () => {
  const { go } = setup();
  for (const address of ["net/tail/1", "head/32", "head/-1", "head/1.5", "head/", "head/1/2", ""]) {
    expect(go(address)).toEqual(["stem", null, true]);
  }
});
