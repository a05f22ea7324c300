import { expect, it } from "vitest";
import type { Session } from "../../seam";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { linkGrid } from "./requests";
import { type GridState, gridSlice } from "./state";

const CHANNELS = 5;
const METHOD = "deconvnet";
const of = (values: ArrayLike<number>) => new DataView(Uint8Array.from(values).buffer);
const floats = (values: number[]) => new DataView(new Float32Array(values).buffer);
const each = (value: number) => Array<number>(CHANNELS).fill(value);

function opened() {
  const methodSlice = { initial: { method: METHOD } };
  const view = viewOf(networkSlice, picturesSlice, selectionSlice, surveySlice, methodSlice, gridSlice);
  const { store, kernel } = view;
  store.set({ layer: "stem", lens: "projection", _survey: { ...store.get("_survey"), revision: 1 } });
  linkGrid(view as unknown as Session<GridState>);
  /** A grid as the kernel answers: grey, 1 px a tile. */
  const grid = (layer = "stem", ...max: number[]) => {
    const answer = {
      layer,
      lens: "projection",
      names: null,
      ceiling: null,
      silenced: [],
      channels: CHANNELS,
    };
    const maxima = floats(max.length > 0 ? max : [5, 4, 3, 2, 1]);
    const numbers = [each(0), each(0)].map(floats);
    kernel.answer("grid", { ...answer, height: 1, width: 1, depth: 3, signed: true }, [
      of(each(128).flatMap((grey) => [grey, grey, grey])),
      ...numbers,
      maxima,
      ...[each(0), each(0), each(0)].map(floats),
    ]);
  };
  const asked = () =>
    kernel.ask.mock.calls.filter(([kind]) => kind === "tiles").map(([, content]) => content);
  const last = () => asked().at(-1) as { layer: string; method: string; channels: number[]; at: number };
  /** Answers what was asked: tiles of a shade, of channel c 10 c more. */
  const answer = (request: ReturnType<typeof last>, shade: number) => {
    const shades = request.channels.map((channel) => shade + 10 * channel);
    kernel.answer("tiles", { ...request, side: 1 }, [
      of(shades.flatMap((one) => [one, one, one])),
      floats(shades),
    ]);
  };
  /** Until all have come. */
  const finish = (shade: number) => {
    for (let turn = 0; turn < CHANNELS && store.get("tiled") < CHANNELS; turn++) answer(last(), shade);
  };
  const shown = () => {
    const { data, high, low } = store.get("grid")?.planes ?? { data: [], high: [], low: [] };
    expect(store.get("tiled")).toBe(CHANNELS);
    expect([...low].map((value) => -value)).toEqual([...high]);
    return [...data].filter((_, index) => index % 3 === 0);
  };
  return { store, grid, asked, last, answer, finish, shown };
}

const shades = (shade: number) => Array.from({ length: CHANNELS }, (_, channel) => shade + 10 * channel);

it("keeps projections when another picture is chosen or units are silenced: they depend on neither", () => {
  const { store, grid, asked, finish, shown } = opened();
  grid();
  finish(1);
  expect(shown()).toEqual(shades(1));
  const before = asked().length;
  store.set({ picture: 1 });
  grid("stem", 1, 2, 3, 4, 5);
  expect(shown()).toEqual(shades(1));
  store.set({ _revision: 1 });
  grid();
  expect(shown()).toEqual(shades(1));
  expect(asked().length).toBe(before);
});

it("asks only for those that have not come when the picture changes before all are there", () => {
  const { store, grid, last, answer, finish, shown } = opened();
  grid();
  const first = last();
  answer(first, 1);
  expect(store.get("tiled")).toBe(4);
  store.set({ picture: 1 });
  grid();
  expect(store.get("tiled")).toBe(4);
  expect(last().channels).toEqual([4]);
  finish(1);
  expect(shown()).toEqual(shades(1));
});

it("begins again with another method, layer or survey, and takes no answer from before", () => {
  const { store, grid, last, answer, finish, shown } = opened();
  grid();
  finish(1);
  store.set({ _survey: { ...store.get("_survey"), revision: 2 } });
  grid();
  expect(store.get("tiled")).toBe(0);
  const late = last();
  store.set({ _survey: { ...store.get("_survey"), revision: 3 } });
  answer(late, 100);
  grid();
  expect(store.get("tiled")).toBe(0);
  finish(2);
  expect(shown()).toEqual(shades(2));
  store.set({ method: "gradient" } as never);
  const old = last();
  grid();
  answer(old, 100);
  finish(3);
  expect(shown()).toEqual(shades(3));
  store.set({ layer: "head" });
  grid("head");
  finish(4);
  expect(shown()).toEqual(shades(4));
});
