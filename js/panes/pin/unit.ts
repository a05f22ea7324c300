/** The pinned unit beneath the one that is looked at: its patches and projections in a row each, aligned. */
import { aria, dim, el, on, text } from "../../lib/dom";
import { cutOff } from "../../lib/format";
import type { View } from "../../seam";
import { croppedAs, paintPatch, paintProjection } from "../shared/patches";
import { isSilenced } from "../silence/state";
import { type Exemplar, inOrder, type Of } from "../unit/state";
import type { PinnedUnit, PinState } from "./state";

export function pinUnitButton({ store }: View<PinState>): HTMLButtonElement {
  const pin = el(
    "button.cs-button.cs-toggle.cs-asks",
    { title: "Keep this unit in sight beneath others" },
    "pin",
  );
  const isHere = (of: Omit<Of, "checkpoint"> | null | undefined) =>
    of?.layer === store.get("layer") && of?.channel === store.get("selected");
  const isPinned = () => isHere(store.get("pinned")?.unit) || isHere(store.get("pinning"));
  on(pin, "click", () => {
    const [layer, channel] = [store.get("layer"), store.get("selected")];
    if (isHere(store.get("pinning"))) store.set({ pinning: null });
    else if (isPinned()) store.set({ pinned: null });
    else if (channel !== null) store.set({ pinning: { layer, channel } });
  });
  store.watch(["pinned", "pinning", "layer", "selected"], () => {
    aria(pin, "pressed", isPinned());
    pin.disabled = store.get("selected") === null;
  });
  return pin;
}

/** `pin`: what takes the focus when it goes. */
export function pinnedUnit({ store }: View<PinState>, root: HTMLElement, pin: HTMLElement): void {
  const address = el("button.cs-link", { title: "Go to it" });
  const value = dim();
  const unpin = el("button.cs-button", { title: "Keep it in sight no longer" }, "unpin");
  const patches = el("div.cs-pinned__row", { role: "img" });
  const projections = el("div.cs-pinned__row", { role: "img" });
  const card = el(
    "div.cs-pinned",
    { role: "group", "aria-label": "Pinned unit" },
    el("div.cs-pinned__head", el("b", "pinned"), address, value, unpin),
    patches,
    projections,
  );
  root.append(card);
  on(unpin, "click", () => {
    pin.focus({ preventScroll: true });
    store.set({ pinned: null });
  });
  on(address, "click", () => {
    const pinned = store.get("pinned");
    if (pinned) store.set({ layer: pinned.unit.layer, selected: pinned.unit.channel, exemplar: null });
  });
  store.follow("pinned", (pinned) => {
    card.hidden = !pinned;
    if (!pinned) return;
    const { layer, channel, exemplars } = pinned.unit;
    text(address, `${layer}/${channel}`);
    aria(patches, "label", `Its top patches: ${exemplars.map(describe).join("; ")}`);
    aria(projections, "label", `Their projections, ${pinned.projections?.method ?? "not there yet"}`);
    patches.replaceChildren(...tilesOf(pinned, false));
    projections.replaceChildren(...tilesOf(pinned, true));
  });
  store.watch(["pinned", "pinnedValue", "silenced"], () => {
    const [pinned, found] = [store.get("pinned"), store.get("pinnedValue")];
    if (!pinned) return;
    const { layer, channel } = pinned.unit;
    const come = found?.layer === layer && found.channel === channel;
    if (isSilenced(store.get("silenced"), layer, channel)) text(value, "silenced");
    else text(value, come ? `${cutOff(found.value, found.before)} on this picture` : "…");
  });
}

const describe = ({ value, before, label, name }: Exemplar): string =>
  `${cutOff(value, before)} · ${label ?? name}`;

function tilesOf({ unit, projections: known }: PinnedUnit, projected: boolean): HTMLElement[] {
  const projections = known && inOrder(known, unit.exemplars);
  return unit.exemplars.map((exemplar, index) => {
    const canvas = el("canvas.cs-pinned__tile", { title: describe(exemplar) });
    canvas.classList.toggle("cs-pinned__tile--projection", projected);
    canvas.classList.toggle("cs-pinned__tile--inactive", exemplar.value === 0);
    if (!projected) paintPatch(canvas, projections ? croppedAs(unit, projections) : unit, index);
    else if (projections) paintProjection(canvas, projections, unit, index);
    return canvas;
  });
}
