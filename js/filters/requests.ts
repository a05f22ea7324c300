/** What the filter grid asks of the kernel, and when. */
import { bytes, floats } from "../lib/kernel";
import type { Session } from "../session";
import type { Lens } from "../state";

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
  kernel.answers("health", (answer, [max, share]) =>
    store.set({ health: { layer: answer.layer as string, max: floats(max), share: floats(share) } }),
  );
  const grid = () =>
    kernel.ask("grid", {
      picture: store.get("picture"),
      layer: store.get("layer"),
      lens: store.get("lens"),
    });
  store.watch(["picture", "layer", "lens", "_revision"], grid, signal);
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
      if (store.get("lens") === "patch") grid();
    },
    signal,
  );
}
