/** What the filter grid asks of the kernel, and when. */

import type { Planes } from "../../lib/atlas";
import { bytes, floats, int32s } from "../../lib/buffers";
import type { Session } from "../../seam";
import { isSurveyed } from "../shared/survey";
import { ordered } from "./order";
import type { Found, Grid, GridState, Health } from "./state";

/** A request for projections should take this long, ms: an occluder that sets out waits for one of them at most. */
const SLICE = 300;
const MOST = 64;

export function linkGrid({ store, kernel }: Session<GridState>): void {
  /** Projections of best patches, by channel, and what they depend on: neither the picture nor what is silenced. */
  const kept = new Map<number, { rgb: Uint8Array; peak: number }>();
  let keptOf = "";
  const keep = (layer: string) => {
    const now = JSON.stringify([layer, store.get("method"), store.get("_survey").revision]);
    if (now !== keptOf) kept.clear();
    keptOf = now;
    return kept;
  };
  const put = (planes: Planes, channel: number) => {
    const tile = kept.get(channel);
    if (!tile) return;
    planes.data.set(tile.rgb, channel * planes.height * planes.width * 3);
    planes.high[channel] = tile.peak;
    planes.low[channel] = -tile.peak;
  };
  kernel.answers("grid", (answer, [data, low, high, max, mean, active, inside]) => {
    const known = answer as unknown as Pick<Grid, "layer" | "lens" | "names" | "ceiling" | "silenced">;
    const sizes = answer as unknown as Omit<Planes, "data" | "low" | "high">;
    const planes = { ...sizes, data: bytes(data), low: floats(low), high: floats(high) };
    if (known.lens === "projection") for (const channel of keep(known.layer).keys()) put(planes, channel);
    store.set({
      grid: {
        ...known,
        planes,
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
    // An answer to what was asked before may be of a survey that knew less; a saved page's has no time.
    if (typeof answer.at === "number" && answer.at !== asked.at) return;
    keep(grid.layer);
    if (typeof answer.at === "number" && asked.of !== keptOf) return more();
    const step = grid.planes.height * grid.planes.width * 3;
    const [all, peaks] = [bytes(rgb), floats(strongest)];
    (answer.channels as number[]).forEach((channel, index) => {
      kept.set(channel, { rgb: all.slice(index * step, (index + 1) * step), peak: peaks[index] ?? 0 });
      put(grid.planes, channel);
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
  /** When they were last asked for, and of what. */
  let asked = { at: 0, of: "" };
  const more = () => {
    const [grid, surveyed] = [store.get("grid"), isSurveyed(store)];
    if (missing.size === 0 || grid?.lens !== "projection" || !surveyed) return;
    keep(grid.layer);
    asked = { at: performance.now(), of: keptOf };
    kernel.ask("tiles", {
      layer: grid.layer,
      method: store.get("method"),
      channels: [...missing].slice(0, chunk),
      at: asked.at,
    });
  };
  const restart = () => {
    const grid = store.get("grid");
    const all =
      grid?.lens === "projection"
        ? ordered(grid, store.get("order"), store.get("health"), store.get("found"))
        : [];
    const there = grid ? keep(grid.layer) : kept;
    missing = new Set(all.filter((channel) => !there.has(channel)));
    store.set({ tiled: all.length - missing.size });
    more();
  };
  store.watch(["grid"], restart);
  const grid = () =>
    kernel.ask("grid", {
      picture: store.get("picture"),
      layer: store.get("layer"),
      lens: store.get("lens"),
    });
  store.watch(["picture", "layer", "lens", "_revision"], grid);
  store.onChange(["method"], () => store.get("lens") === "projection" && grid());
  // What a survey knows of the layer: asked for again as it learns more.
  let looked = "";
  store.watch(["_survey", "layer"], () => {
    const { revision, state } = store.get("_survey");
    const wanted = `${revision} ${store.get("layer")}`;
    if (state === "none" || revision === 0 || wanted === looked) return;
    looked = wanted;
    kernel.ask("health", { layer: store.get("layer") });
    if (store.get("lens") === "patch" || store.get("lens") === "projection") grid();
  });
}
