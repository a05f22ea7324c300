/** Beside a unit's name: hold it at zero, or more of its layer. */
import { select } from "../../lib/controls";
import { aria, dim, el, on, text } from "../../lib/dom";
import type { View } from "../../seam";
import { isSurveyed } from "../shared/survey";
import { changed, isSilencedHere, type SilenceState } from "./state";

const MORE = {
  "": "choose…",
  strongest: "its strongest half",
  weakest: "its weakest half",
  all: "all of it",
  none: "none of it",
};

const TITLE = "Silence more of the layer; its halves are by mean activation in the survey";

export function silenceButtons(view: View<SilenceState>): {
  silence: HTMLElement;
  layer: HTMLElement;
  refusal: HTMLElement;
} {
  const { store, kernel } = view;
  const toggle = el("button.cs-button.cs-toggle.cs-asks", "silence");
  const more = select("Silence more of the layer", MORE);
  more.element.title = TITLE;
  more.element.classList.add("cs-asks");
  on(toggle, "click", () => {
    const [silenced, layer, unit] = [store.get("silenced"), store.get("layer"), store.get("selected")];
    if (unit === null) return;
    const flip = (units: readonly number[]) =>
      units.includes(unit) ? units.filter((one) => one !== unit) : [...units, unit];
    store.set({ silenced: changed(silenced, layer, flip) });
  });
  more.onChoose((which) => {
    kernel.tell("silence", { layer: store.get("layer"), which });
    more.show("");
  });
  const refusal = dim();
  store.watch(["layer", "selected", "silenced", "silenceable", "_survey"], () => {
    const [layer, unit, found] = [store.get("layer"), store.get("selected"), store.get("silenceable")];
    const refused = found?.layer === layer ? found.refused : null;
    const held = isSilencedHere(view);
    aria(toggle, "pressed", held);
    toggle.title = held ? "It is held at zero" : "Hold this unit at zero";
    toggle.disabled = unit === null;
    toggle.hidden = more.element.hidden = refused !== null;
    more.offer(isSurveyed(store) ? ["", "strongest", "weakest", "all", "none"] : ["", "all", "none"]);
    refusal.title = refused ?? "";
    text(refusal, refused === null ? "" : "cannot be silenced");
  });
  return { silence: toggle, layer: more.element, refusal };
}
