/** Buttons for the instrument as a whole: back and forward, the chart beneath it, and as large as the window. */
import { aria, el, on, svg } from "../../lib/dom";
import { type Filling, filling } from "../../lib/window";
import type { View } from "../../seam";
import type { OccluderState } from "../occluder/state";
import type { NetworkSlice } from "../shared/network";
import type { PicturesSlice } from "../shared/pictures";
import type { SelectionSlice } from "../shared/selection";
import { historyPane } from "./history";
import { pastButtons } from "./past";
import type { WholeSlice } from "./state";

/** `whole`: the instrument. */
export function wholePane(
  view: View<NetworkSlice & SelectionSlice & PicturesSlice & OccluderState & WholeSlice>,
  root: HTMLElement,
  whole: HTMLElement,
): void {
  const fill = windowButton(filling(whole, view.signal));
  root.append(el("span.cs-whole", pastButtons(view), historyButton(view), fill));
  whole.append(...historyPane(view));
}

function historyButton({ store }: View<WholeSlice>): HTMLElement {
  const button = el(
    "button.cs-button.cs-toggle.cs-live",
    { title: "How the probability went, frame by frame: a chart beneath" },
    "history",
  );
  on(button, "click", () => store.set({ show_history: !store.get("show_history") }));
  store.follow("show_history", (shown) => aria(button, "pressed", shown));
  return button;
}

/** The four corners of a window. */
function corners(): SVGElement {
  const line = svg("path", { d: "M1 4V1h3M8 1h3v3M11 8v3H8M4 11H1V8", fill: "none", stroke: "currentColor" });
  return svg("svg", { viewBox: "0 0 12 12", width: "12", height: "12", "aria-hidden": "true" }, line);
}

function windowButton(window: Filling): HTMLElement {
  const button = el("button.cs-button.cs-toggle", { "aria-label": "Fill the window" }, corners(), "window");
  on(button, "click", window.toggle);
  window.onChange((filled) => {
    aria(button, "pressed", filled);
    button.title = filled ? "Back to the page (Esc)" : "As large as the window";
  });
  return button;
}
