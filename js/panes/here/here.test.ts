import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { herePane } from "./here";
import { hereSlice } from "./state";

it("says that a unit is silenced, of a layer whose zero says something, too", () => {
  const view = viewOf(networkSlice, picturesSlice, selectionSlice, occluderSlice, hereSlice);
  const { store } = view;
  const root = document.createElement("div");
  let silenced = false;
  herePane(view, root, () => silenced);
  const layer = { kind: "conv", channels: 8, size: [4, 4] as [number, number], field: 3, gated: false };
  const layers = [
    { ...layer, name: "linear", signed: true },
    { ...layer, name: "rectified", signed: false },
  ];
  store.set({ _network: { ...store.get("_network"), layers } });
  const words = (layer: string, value: number) => {
    store.set({ layer, selected: 3 });
    const at = { layer, channel: 3, picture: 0, row: 0, column: 0, before: null };
    store.set({ here: { ...at, value, box: [0, 0, 0, 0], shades: new Int8Array() } });
    return root.querySelector<HTMLElement>(".cs-context__caption")?.title;
  };
  expect(words("linear", 0)).toBe("0 · row 0, column 0");
  expect(words("rectified", 0)).toBe("inactive here");
  silenced = true;
  expect([words("linear", 0), words("rectified", 0)]).toEqual(["silenced", "silenced"]);
});
