/** What the filter grid asks of the kernel, and when. */
import { bytes, floats } from "../lib/kernel";
import type { Session } from "../session";
import type { Lens } from "../state";
import { ordered } from "./order";

/** A request for projections should take this long, ms: the occluder waits for one of them at most. */
const SLICE = 300;
const MOST = 64;

export function linkFilters({ store, kernel, signal }: Session): void {
  kernel.answers("grid", (answer, [data, low, high, max, mean, active]) =>
    store.set({
      grid: {
        layer: answer.layer as string,
        lens: answer.lens as Lens,
        planes: {
          channels: answer.channels as number,
          height: answer.height as number,
          width: answer.width as number,
          depth: answer.depth as 1 | 3,
          data: bytes(data),
          low: floats(low),
          high: floats(high),
        },
        max: floats(max),
        mean: floats(mean),
        active: floats(active),
      },
    }),
  );
  kernel.answers("health", (answer, [max, share, first]) =>
    store.set({
      health: {
        layer: answer.layer as string,
        max: floats(max),
        share: floats(share),
        first: new Int32Array(bytes(first).slice().buffer),
      },
    }),
  );
  kernel.answers("search", (answer, [preference]) =>
    store.set({
      found: {
        label: answer.label as string,
        layer: answer.layer as string,
        preference: floats(preference),
        units: answer.units as [string, number, number][],
      },
    }),
  );
  store.watch(
    ["label", "layer", "_survey"],
    () => {
      const label = store.get("label");
      if (!label) return store.set({ found: null });
      if (store.get("_survey").revision > 0) kernel.ask("search", { label, layer: store.get("layer") });
    },
    signal,
  );
  kernel.answers("tiles", (answer, [rgb]) => {
    const grid = store.get("grid");
    if (grid?.lens !== "projection" || grid.layer !== answer.layer || answer.method !== store.get("method")) {
      return;
    }
    const step = grid.planes.height * grid.planes.width * 3;
    const all = bytes(rgb);
    (answer.channels as number[]).forEach((channel, index) => {
      grid.planes.data.set(all.subarray(index * step, (index + 1) * step), channel * step);
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
    const [grid, surveyed] = [store.get("grid"), store.get("_survey").revision > 0];
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
  store.watch(["grid"], restart, signal);
  store.onChange(
    ["dragging"],
    () => {
      if (!store.get("dragging")) more();
    },
    signal,
  );
  const grid = () =>
    kernel.ask("grid", {
      picture: store.get("picture"),
      layer: store.get("layer"),
      lens: store.get("lens"),
    });
  store.watch(["picture", "layer", "lens", "_revision"], grid, signal);
  store.onChange(["method"], () => store.get("lens") === "projection" && grid(), signal);
  // What a survey knows of the layer: asked for again as it learns more.
  let asked = "";
  store.watch(
    ["_survey", "layer"],
    () => {
      const { revision, state } = store.get("_survey");
      const wanted = `${revision} ${store.get("layer")}`;
      if (state === "none" || revision === 0 || wanted === asked) return;
      asked = wanted;
      kernel.ask("health", { layer: store.get("layer") });
      if (store.get("lens") === "patch" || store.get("lens") === "projection") grid();
    },
    signal,
  );
}
