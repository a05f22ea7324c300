/** What is mapped: layer, map of it, and how densely. */
import { el, on } from "../lib/dom";
import { extent } from "../lib/geometry";
import type { Session } from "../session";

export function mapToolsPane({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const layers = el("select", {
    class: "cs-select",
    "aria-label": "Layer",
    title: "Layer whose activity is shown",
  });
  const unit = el("input", {
    type: "number",
    class: "cs-number cs-number--unit",
    min: 0,
    "aria-label": "Map of the layer; empty for the strongest",
    title: "Map of the layer; empty for the strongest of the clean picture",
  });
  const stride = el("input", {
    type: "number",
    class: "cs-number",
    min: 1,
    "aria-label": "Distance of positions, pixels",
    title: "Distance of neighbouring positions, pixels of the network's input",
  });
  const pane = el(
    "div",
    { class: "cs-tools" },
    el("label", { class: "cs-tools__field" }, "layer", layers),
    el("label", { class: "cs-tools__field" }, "map", unit),
    el("label", { class: "cs-tools__field" }, "every", stride, el("span", { class: "cs-dim" }, "px")),
  );
  root.append(pane);

  on(layers, "change", () => store.set({ layer: layers.value, channel: null }), signal);
  on(
    unit,
    "change",
    () => {
      const wanted = unit.value === "" ? null : Math.round(Number(unit.value));
      const count =
        store.get("_network").layers.find(({ name }) => name === store.get("layer"))?.channels ?? 0;
      if (wanted === null || (wanted >= 0 && wanted < count)) store.set({ channel: wanted });
      else showUnit();
    },
    signal,
  );
  on(
    stride,
    "change",
    () => {
      const wanted = Math.round(Number(stride.value));
      if (wanted >= 1) store.set({ stride: Math.min(wanted, ...store.get("_network").size) });
      stride.value = String(extent(store.get("stride"))[0]);
    },
    signal,
  );
  for (const field of [unit, stride]) on(field, "keydown", (event) => event.stopPropagation(), signal);

  store.watch(
    ["_network", "layer"],
    () => {
      // Kernels without a map of the layer asked for would show nothing: vectors are left out.
      const maps = store.get("_network").layers.filter(({ size: [high, wide] }) => high * wide > 1);
      layers.replaceChildren(...maps.map(({ name }) => el("option", { value: name }, name)));
      layers.value = store.get("layer");
      (layers.parentElement as HTMLElement).hidden = store.get("layer") === "";
      (unit.parentElement as HTMLElement).hidden = store.get("layer") === "";
    },
    signal,
  );
  const showUnit = () => {
    const channel = store.get("channel");
    unit.value = channel === null ? "" : String(channel);
    unit.placeholder = `${store.get("maps")?.unit ?? ""}`;
  };
  store.watch(["channel", "maps"], () => document.activeElement !== unit && showUnit(), signal);
  store.watch(["stride"], () => (stride.value = String(extent(store.get("stride"))[0])), signal);
  store.watch(["offline"], () => (pane.inert = store.get("offline")), signal);
}
