/** Going through the training: a button that plays it, and a slider whose handle stands over the checkpoint's column. */
import { aria, el, on, onKey, text } from "../../lib/dom";
import type { View } from "../../seam";
import type { Arranged } from "./arrangement";
import { LEFT, left } from "./layout";
import { checkpointOf, chooseCheckpoint, type EvolutionState } from "./state";
import { labelOf } from "./words";

/** Width of the handle, CSS px, as in the style sheet. */
const HANDLE = 14;

export function scrubber(view: View<EvolutionState>, arranged: Arranged): HTMLElement {
  const { store } = view;
  const range = el("input.cs-scrubber__range", {
    type: "range",
    min: 0,
    step: 1,
    "aria-label": "Checkpoint",
  });
  const track = el("div.cs-scrubber__track", range);
  const line = el("div.cs-scrubber", playButton(view), track);
  on(range, "input", () => {
    store.set({ playing: false });
    chooseCheckpoint(store, Number(range.value));
  });
  onKey(range, ({ key }) => {
    if (key !== " ") return false;
    store.set({ playing: !store.get("playing") });
    return true;
  });
  store.watch(["checkpoint", "_evolution"], () => {
    const { length } = store.get("_evolution").checkpoints;
    const at = checkpointOf(store);
    line.hidden = length === 0;
    range.max = String(Math.max(0, length - 1));
    range.value = String(at);
    range.disabled = length < 2;
    aria(range, "valuetext", `${labelOf(store, at)}, ${at + 1} of ${length}`);
  });
  arranged.watch(["layout", "width"], () => {
    const layout = arranged.get("layout");
    const count = store.get("_evolution").checkpoints.length;
    const wide = left(layout, Math.max(0, count - 1)) - left(layout, 0) + HANDLE;
    const from = LEFT + layout.tile / 2 - HANDLE / 2;
    // Over the columns where all of them are in sight, else over the whole width.
    const fits = layout.width - layout.gap <= arranged.get("width");
    track.style.marginLeft = `${fits ? from : LEFT}px`;
    track.style.width = fits ? `${Math.max(HANDLE, wide)}px` : "";
  });
  return line;
}

function playButton({ store }: View<EvolutionState>): HTMLElement {
  const icon = el("span", { "aria-hidden": "true" });
  const word = el("span");
  const button = el("button.cs-button.cs-scrubber__play", icon, word);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  on(button, "click", () => {
    if (!calm.matches) return store.set({ playing: !store.get("playing") });
    // Who asked for less motion goes through the training at their own pace.
    const { length } = store.get("_evolution").checkpoints;
    chooseCheckpoint(store, (checkpointOf(store) + 1) % length);
  });
  store.watch(["playing", "_evolution"], () => {
    const playing = store.get("playing");
    text(icon, playing ? "❚❚" : calm.matches ? "▶❚" : "▶");
    text(word, playing ? "pause" : calm.matches ? "next" : "play");
    button.disabled = store.get("_evolution").checkpoints.length < 2;
    button.title = playing ? "Stop here (space)" : "Go through the training (space)";
  });
  return button;
}
