/** An evolution for tests: three units of one layer over four checkpoints. */
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { evolutionSlice, type Winners } from "./state";

const checkpoint = (epoch: number) => ({ label: `epoch ${epoch}`, short: `${epoch}` });

/** Unit 0 keeps its picture, unit 1 has another at every checkpoint, unit 2 is active at the first only. */
export const WINNERS: Winners = {
  layer: "conv",
  channels: 3,
  value: Float32Array.from([1, 2, 3, 1, 2, 0, 1, 2, 0, 1, 5, 0]),
  image: Int32Array.from([7, 1, 4, 7, 2, -1, 7, 3, -1, 7, 4, -1]),
  jump: Uint8Array.from([0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0]),
  orders: {
    strongest: Int32Array.from([1, 0, 2]),
    jumps: Int32Array.from([1, 2, 0]),
    settling: Int32Array.from([1, 2, 0]),
    index: Int32Array.from([0, 1, 2]),
  },
};

export function evolving(count = 4) {
  const view = viewOf(networkSlice, surveySlice, selectionSlice, evolutionSlice);
  const checkpoints = [1, 2, 5, 10].slice(0, count).map(checkpoint);
  view.store.set({
    layer: "conv",
    _evolution: { ...view.store.get("_evolution"), checkpoints, pictures: 100 },
  });
  return view;
}
