/** The probability, spoken a moment after the occluder came to rest. */
import { el, text } from "../../lib/dom";
import { probability } from "../../lib/format";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

const REST_MS = 700;

export function speech({ store }: View<OccluderState>): HTMLElement {
  const spoken = el("div.cs-visually-hidden", { "aria-live": "polite" });
  let waiting: ReturnType<typeof setTimeout> | undefined;
  const speak = () => {
    const now = store.get("frame");
    if (!now) return;
    const flip = now.first.index === now.before.index ? "" : `, now first: ${now.first.label}`;
    text(spoken, `${now.target.label} ${probability(now.target.now)}${flip}`);
  };
  store.onChange(["frame"], () => {
    clearTimeout(waiting);
    waiting = setTimeout(speak, REST_MS);
  });
  return spoken;
}
