/** The address of what is selected, to be copied, pasted in a paper, typed in again. */
import { complained } from "../../lib/complaint";
import { el, on, text } from "../../lib/dom";
import type { Store } from "../../lib/store";
import type { View } from "../../seam";
import type { LayerInfo, NetworkSlice } from "../shared/network";
import type { SelectionSlice } from "../shared/selection";

type AddressState = NetworkSlice & SelectionSlice;

const TITLE = "Address of the unit: copy it, or type another and press Enter";

/** How long the button says that it has copied, ms. */
const COPIED_MS = 1500;

export function addressPane({ store }: View<AddressState>, root: HTMLElement): void {
  const address = el("input.cs-address", {
    type: "text",
    spellcheck: "false",
    "aria-label": "Address of the unit: network/layer/unit",
    title: TITLE,
  });
  const { element, complain } = complained(address, copyButton(address));
  element.classList.add("cs-addressed");
  root.append(element);
  const show = () => {
    address.value = current(store);
    address.size = Math.max(16, address.value.length);
    complain("");
  };
  store.watch(["layer", "selected", "_network"], show);
  // It can be copied from a saved page, but leads nowhere there.
  store.follow("offline", (offline) => {
    address.readOnly = offline;
    address.title = offline ? "Address of the unit" : TITLE;
  });
  on(address, "keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !address.readOnly) {
      const found = find(store, address.value);
      if ("expected" in found) complain(found.expected);
      else {
        store.set({ ...found, exemplar: null });
        show();
      }
    }
    if (event.key === "Escape") show();
  });
  on(address, "focus", () => address.select());
}

const current = (store: Store<AddressState>): string =>
  [store.get("_network").name, store.get("layer"), store.get("selected")]
    .filter((x) => x !== null && x !== "")
    .join("/");

/** What an address leads to, or what was expected in its place. The network's name and the unit may be left out. */
function find(
  store: Store<AddressState>,
  address: string,
): { layer: string; selected: number | null } | { expected: string } {
  const { layers, name } = store.get("_network");
  const parts = address.trim().split("/");
  const known = new Map(layers.map((layer) => [layer.name, layer]));
  const at = parts.findIndex((part) => known.has(part));
  const example = `Expected network/layer/unit, as ${current(store)}`;
  if (at < 0) {
    const wanted = parts.find((part) => part !== name) || "nothing";
    return { expected: `${example}; got ${wanted}, which is no layer shown here.` };
  }
  const [layer, unit] = [known.get(parts[at] ?? "") as LayerInfo, parts[at + 1]];
  if (unit === undefined) return { layer: layer.name, selected: null };
  if (!/^\d+$/.test(unit) || Number(unit) >= layer.channels || parts.length > at + 2) {
    const got = parts.slice(at + 1).join("/");
    return {
      expected: `Expected a unit of ${layer.name}, 0 to ${layer.channels - 1}; got ${got || "nothing"}.`,
    };
  }
  return { layer: layer.name, selected: Number(unit) };
}

function copyButton(address: HTMLInputElement): HTMLElement {
  const button = el("button.cs-link", { title: "Copy the address" }, "copy");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(address.value);
    } catch {
      // A page that came over the network unencrypted has no clipboard; what is selected can be copied still.
      address.select();
      if (!document.execCommand("copy")) return;
      button.focus({ preventScroll: true });
    }
    text(button, "copied");
    setTimeout(() => text(button, "copy"), COPIED_MS);
  };
  on(button, "click", () => void copy());
  return button;
}
