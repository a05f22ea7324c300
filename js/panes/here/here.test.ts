import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { type Frame, occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { herePane } from "./here";
import { linkHere } from "./requests";
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
  expect(words("rectified", 0)).toBe("inactive here\nnowhere above zero");
  silenced = true;
  const zero = "silenced\nheld at zero by you";
  expect([words("linear", 0), words("rectified", 0)]).toEqual([zero, zero]);
});

it("goes with a hand at work only where the kernel is quick with it", () => {
  const view = viewOf(networkSlice, picturesSlice, selectionSlice, occluderSlice, hereSlice);
  const { store, kernel } = view;
  linkHere(view);
  store.set({ layer: "conv", selected: 3, dragging: true });
  const asked = (row: number) => {
    store.set({ frame: { position: [row, 0] } as unknown as Frame });
    const [kind, request] = kernel.ask.mock.lastCall ?? [];
    expect([kind, request?.position, request?.channel]).toEqual(["here", [row, 0], 3]);
    return request?.dragging;
  };
  expect(asked(0)).toBe(false); // nothing is known yet
  kernel.answer("here", { milliseconds: 3 }, [new DataView(new ArrayBuffer(0))]);
  expect(asked(1)).toBe(true);
  kernel.answer("here", { milliseconds: 30 }, [new DataView(new ArrayBuffer(0))]);
  expect(asked(2)).toBe(false);
  kernel.answer("here", { milliseconds: 3 }, [new DataView(new ArrayBuffer(0))]);
  store.set({ dragging: false });
  expect(asked(3)).toBe(false);
});
