/** How the maps are shown: scale, opacity, colours, control. */
import { type Diverging, divergingGradient } from "../../lib/colormaps";
import { captioned, segmented, select, tied } from "../../lib/controls";
import { aria, el, on } from "../../lib/dom";
import { toolRow } from "../../lib/menu";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { opacityField } from "../shared/opacity";
import type { GallerySlice, GalleryState } from "./state";
import { randomised } from "./words";

/** Shares of the layers that the control is offered for. */
const SHARES = [0, 0.25, 0.5, 0.75, 1];

export function galleryToolsPane(view: View<GalleryState>, root: HTMLElement): void {
  const often = [scaleField(view), opacityField(view.store)];
  const seldom = [controlField(view), coloursField(view), figureButtons(view, "gallery", "the gallery")];
  root.append(toolRow(view.signal, [...often, ...seldom], seldom));
}

function scaleField({ store }: View<GalleryState>): HTMLElement {
  const scale = segmented<GallerySlice["scale_by"]>("Scale of colours", {
    method: [
      "per method",
      "All maps of a column share a scale, written at its head: compare the pictures. Methods have no common unit",
    ],
    group: [
      "per group",
      "The maps of a group in a row share a scale: compare how strong. A method too faint for it has its own, in all rows",
    ],
    map: ["per map", "Each map has a scale of its own: compare structure"],
  });
  tied(store, "scale_by", scale);
  return captioned("scale", scale.element);
}

/** Whether there is a control, and what it randomises. */
function controlField({ store }: View<GalleryState>): HTMLElement {
  const control = el(
    "button.cs-button.cs-toggle",
    {
      title: "Each map again with a part of the network randomised: what does not change was not learnt",
    },
    "control",
  );
  const top = el("select.cs-select.cs-select--wide", {
    "aria-label": "What the control randomises",
    title: "What the control randomises, from the output down",
  });
  on(control, "click", () => store.set({ control: !store.get("control") }));
  on(top, "change", () => store.set({ top: Number(top.value) }));
  store.watch(["control", "top", "offline"], () => {
    const share = store.get("top");
    aria(control, "pressed", store.get("control"));
    top.hidden = !store.get("control");
    top.disabled = store.get("offline");
    const shares = [...new Set([...SHARES, share])].sort((a, b) => a - b);
    top.replaceChildren(...shares.map((one) => el("option", { value: one }, `${randomised(one)} at random`)));
    top.value = String(share);
  });
  return captioned("", control, top);
}

function coloursField({ store, page }: View<GalleryState>): HTMLElement {
  const colours = select<Diverging>("Colours of positive and negative values", {
    "red-blue": "red / blue",
    "purple-green": "purple / green",
  });
  tied(store, "colours", colours);
  const strip = el("span.cs-signed__strip");
  const legend = el("span.cs-signed", { "aria-hidden": "true" }, "−", strip, "+");
  const show = () => {
    colours.show(store.get("colours"));
    strip.style.background = divergingGradient(store.get("colours"), page.theme());
  };
  store.watch(["colours"], show);
  page.onTheme(show);
  return captioned("colours", colours.element, legend);
}
