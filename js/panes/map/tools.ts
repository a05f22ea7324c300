/** What is mapped: layer, map of it, and how densely. */
import { complained } from "../../lib/complaint";
import { captioned } from "../../lib/controls";
import { dim, el, focused, on } from "../../lib/dom";
import { extent } from "../../lib/geometry";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { layerOf } from "../shared/network";
import { opacityField } from "../shared/opacity";
import type { MapState } from "./state";

export function mapToolsPane(view: View<MapState>, root: HTMLElement): void {
  const { store } = view;
  const asks = el("span.cs-tools__asks.cs-asks", ...layerFields(view), strideField(view));
  const save = figureButtons(view, "maps", "the maps");
  root.append(el("div.cs-tools", asks, opacityField(store), save));
}

/** The layer, and which of its maps. */
function layerFields({ store }: View<MapState>): HTMLElement[] {
  const layers = el("select.cs-select", {
    "aria-label": "Layer",
    title: "Layer whose activity is shown",
  });
  const unit = el("input.cs-number.cs-number--unit", {
    type: "number",
    min: 0,
    "aria-label": "Map of the layer; empty for the strongest",
    title: "Map of the layer; empty for the strongest of the clean picture",
  });
  const { element, complain } = complained(unit);
  const fields = [captioned("layer", layers), captioned("map", element)];
  const showUnit = () => {
    unit.value = `${store.get("channel") ?? ""}`;
    unit.placeholder = `${store.get("maps")?.unit ?? ""}`;
  };
  on(layers, "change", () => store.set({ layer: layers.value, channel: null }));
  on(unit, "change", () => {
    const wanted = unit.value === "" ? null : Math.round(Number(unit.value));
    const layer = layerOf(store);
    const channels = layer?.channels ?? 0;
    if (wanted === null || (wanted >= 0 && wanted < channels)) store.set({ channel: wanted });
    else complain(`Expected a map of ${layer?.name}, 0 to ${channels - 1}, or nothing; got ${unit.value}.`);
  });
  store.watch(["channel", "maps"], () => focused(unit) !== unit && showUnit());
  store.watch(["_network", "layer"], () => {
    // Kernels without a map of the layer asked for would show nothing: vectors are left out.
    const maps = store.get("_network").layers.filter(({ size: [high, wide] }) => high * wide > 1);
    layers.replaceChildren(...maps.map(({ name }) => el("option", { value: name }, name)));
    layers.value = store.get("layer");
    for (const field of fields) field.hidden = store.get("layer") === "";
  });
  return fields;
}

function strideField({ store }: View<MapState>): HTMLElement {
  const stride = el("input.cs-number", {
    type: "number",
    min: 1,
    "aria-label": "Distance of positions, pixels",
    title: "Distance of neighbouring positions, pixels of the network's input",
  });
  const { element, complain } = complained(stride);
  const show = () => {
    stride.value = String(extent(store.get("stride"))[0]);
  };
  on(stride, "change", () => {
    const wanted = Math.round(Number(stride.value));
    if (!(wanted >= 1)) return complain(`Expected 1 pixel or more, got “${stride.value}”.`);
    store.set({ stride: Math.min(wanted, ...store.get("_network").size) });
    show();
  });
  store.watch(["stride"], show);
  return captioned("every", element, dim("px"));
}
