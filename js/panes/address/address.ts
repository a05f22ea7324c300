/** The address of what is selected, to be copied, pasted in a paper, typed in again. */
import { el, on, text } from "../../lib/dom";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { SelectionSlice } from "../shared/selection";

export function addressPane({ store }: View<NetworkSlice & SelectionSlice>, root: HTMLElement): void {
  const address = el("input.cs-address", {
    type: "text",
    spellcheck: "false",
    "aria-label": "Address of the unit: network/layer/unit",
    title: "Address of the unit: copy it, or type another and press Enter",
  });
  root.append(address);
  const current = () =>
    [store.get("_network").name, store.get("layer"), store.get("selected")]
      .filter((x) => x !== null && x !== "")
      .join("/");
  const show = () => {
    address.value = current();
    address.size = Math.max(16, address.value.length);
    address.classList.remove("cs-is-wrong");
  };
  store.watch(["layer", "selected", "_network"], show);
  const go = () => {
    const parts = address.value.trim().split("/");
    const layers = store.get("_network").layers;
    // The network's name may be left out; a layer may be followed by a unit.
    const layer = layers.find(({ name }) => parts.includes(name));
    const at = layer ? parts.indexOf(layer.name) : -1;
    const unit = parts[at + 1] === undefined ? null : Number(parts[at + 1]);
    const valid = layer && (unit === null || (Number.isInteger(unit) && unit >= 0 && unit < layer.channels));
    address.classList.toggle("cs-is-wrong", !valid);
    if (valid) store.set({ layer: layer.name, selected: unit, exemplar: null });
    else address.title = `Expected network/layer/unit, for example ${current()}`;
  };
  on(address, "keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") go();
    if (event.key === "Escape") {
      show();
      address.blur();
    }
  });
  on(address, "focus", () => address.select());
  on(address, "blur", () => text(address, address.value));
}
