/** What the filter grid asks of the kernel, and when. */

import type { Planes } from "../../lib/atlas";
import { bytes, floats, int32s } from "../../lib/buffers";
import type { Session } from "../../seam";
import { isSurveyed } from "../shared/survey";
import { ordered } from "./order";
import type { Found, Grid, GridState, Health } from "./state";

/** A request for projections should take this long, ms: the occluder waits for one of them at most. */
const SLICE = 300;
const MOST = 64;

export function linkGrid({ store, kernel }: Session<GridState>): void {
  kernel.answers("grid", (answer, [data, low, high, max, mean, active, inside]) => {
    const planes = answer as unknown as Omit<Planes, "data" | "low" | "high">;
    store.set({
      grid: {
        ...(answer as unknown as Pick<Grid, "layer" | "lens" | "names" | "ceiling" | "silenced">),
        planes: { ...planes, data: bytes(data), low: floats(low), high: floats(high) },
        max: floats(max),
        mean: floats(mean),
        active: floats(active),
        inside: floats(inside),
      },
    });
  });
  kernel.answers("health", (answer, [max, share, first, state]) => {
    const known = answer as unknown as Pick<Health, "layer" | "images" | "short" | "ceiling">;
    const values = { max: floats(max), share: floats(share), first: int32s(first), state: bytes(state) };
    store.set({ health: { ...known, ...values } });
  });
  kernel.answers("search", (answer, [preference]) => {
    const found = answer as unknown as Omit<Found, "preference">;
    store.set({ found: { ...found, preference: floats(preference) } });
  });
  store.watch(["label", "layer", "_survey"], () => {
    const label = store.get("label");
    if (!label) return store.set({ found: null });
    if (isSurveyed(store)) kernel.ask("search", { label, layer: store.get("layer") });
  });
  kernel.answers("tiles", (answer, [rgb, strongest]) => {
    const grid = store.get("grid");
    if (grid?.lens !== "projection" || grid.layer !== answer.layer || answer.method !== store.get("method")) {
      return;
    }
    const step = grid.planes.height * grid.planes.width * 3;
    const [all, peaks] = [bytes(rgb), floats(strongest)];
    (answer.channels as number[]).forEach((channel, index) => {
      grid.planes.data.set(all.subarray(index * step, (index + 1) * step), channel * step);
      grid.planes.high[channel] = peaks[index] ?? 0;
      grid.planes.low[channel] = -(peaks[index] ?? 0);
      missing.delete(channel);
    });
    store.set({ tiled: grid.planes.channels - missing.size });
    const pace = SLICE / Math.max(1, performance.now() - (answer.at as number));
    chunk = Math.min(MOST, Math.max(1, Math.round(chunk * Math.min(2, pace))));
    more();
  });
  /** Channels whose projections have not come yet, in the order in which they are shown. */
  let missing = new Set<number>();
  let chunk = 4;
  const more = () => {
    const [grid, surveyed] = [store.get("grid"), isSurveyed(store)];
    // A drag goes first: the tiles go on when it rests.
    if (missing.size === 0 || grid?.lens !== "projection" || store.get("dragging") || !surveyed) return;
    kernel.ask("tiles", {
      layer: grid.layer,
      method: store.get("method"),
      channels: [...missing].slice(0, chunk),
      at: performance.now(),
    });
  };
  const restart = () => {
    const grid = store.get("grid");
    missing = new Set(
      grid?.lens === "projection"
        ? ordered(grid, store.get("order"), store.get("health"), store.get("found"))
        : [],
    );
    store.set({ tiled: 0 });
    more();
  };
  store.watch(["grid"], restart);
  store.onChange(["dragging"], () => {
    if (!store.get("dragging")) more();
  });
  const grid = () =>
    kernel.ask("grid", {
      picture: store.get("picture"),
      layer: store.get("layer"),
      lens: store.get("lens"),
    });
  store.watch(["picture", "layer", "lens", "_revision"], grid);
  store.onChange(["method"], () => store.get("lens") === "projection" && grid());
  // What a survey knows of the layer: asked for again as it learns more.
  let asked = "";
  store.watch(["_survey", "layer"], () => {
    const { revision, state } = store.get("_survey");
    const wanted = `${revision} ${store.get("layer")}`;
    if (state === "none" || revision === 0 || wanted === asked) return;
    asked = wanted;
    kernel.ask("health", { layer: store.get("layer") });
    if (store.get("lens") === "patch" || store.get("lens") === "projection") grid();
  });
}
