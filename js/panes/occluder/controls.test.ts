import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { controlsPane } from "./controls";
import { occluderSlice } from "./state";

it("has a place for what is wrong with a fill, beneath the controls", () => {
  const root = document.createElement("div");
  controlsPane(viewOf(networkSlice, picturesSlice, occluderSlice), root);
  const place = root.querySelector("[data-errors~=fill]");
  expect(place?.previousElementSibling?.contains(root.querySelector("[aria-label=Fill]"))).toBe(true);
});
