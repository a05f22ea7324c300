/** The keyboard on the occluder: arrows move it, or draw its form until Enter; plus and minus resize it. */
import { onKey, withModifier } from "../../lib/dom";
import { aroundMiddle, clamp, extent, fit, toSize } from "../../lib/geometry";
import type { View } from "../../seam";
import type { Gestures } from "./gestures";
import type { OccluderState } from "./state";

export function followKeys({ store }: View<OccluderState>, occluder: HTMLElement, gestures: Gestures): void {
  const move = (down: number, right: number) => {
    if (store.get("drawing")) return gestures.draw(down, right);
    const [top, left] = store.get("position");
    store.set({ position: fit([top + down, left + right], store.get("size"), store.get("_network").size) });
  };
  const grow = (by: number) => {
    const [high, wide] = extent(store.get("size"));
    const picture = store.get("_network").size;
    const size = toSize([clamp(high + by, 1, picture[0]), clamp(wide + by, 1, picture[1])]);
    store.set({ size, position: aroundMiddle(store.get("position"), [high, wide], size, picture) });
  };
  const actions: Record<string, (step: number) => void> = {
    ArrowUp: (step) => move(-step, 0),
    ArrowDown: (step) => move(step, 0),
    ArrowLeft: (step) => move(0, -step),
    ArrowRight: (step) => move(0, step),
    Home: () => move(0, -Infinity),
    End: () => move(0, Infinity),
    PageUp: () => move(-Infinity, 0),
    PageDown: () => move(Infinity, 0),
    "+": () => grow(2),
    "=": () => grow(2),
    "-": () => grow(-2),
    _: () => grow(-2),
    Enter: gestures.finish,
    Escape: () => {
      store.set({ drawing: false });
      gestures.cancel();
    },
  };
  onKey(occluder, (event) => {
    const action = actions[event.key];
    if (!action || withModifier(event) || store.get("offline")) return false;
    action(event.shiftKey ? 10 : 1);
    return true;
  });
}
