import { expect, it } from "vitest";
import { Store } from "../../lib/store";
import { type HostSlice, hostSlice } from "../../seam";
import { type OpacitySlice, opacityField } from "./opacity";

it.each(["change", "pointerup", "blur"])("is let go at %s", (end) => {
  const store = new Store<OpacitySlice & HostSlice>({ ...(hostSlice.initial as HostSlice), opacity: 0.5 });
  const slider = opacityField(store).querySelector("input") as HTMLInputElement;
  slider.value = "70";
  slider.dispatchEvent(new Event("input"));
  expect([store.get("opacity"), store.get("dragging")]).toEqual([0.7, true]);
  slider.dispatchEvent(new Event(end));
  expect(store.get("dragging")).toBe(false);
});
