/** What lies over the painted occluder: the handle that it is gripped by, and the ghost of another place. */
import { aria, el, is, layOver, svg } from "../../lib/dom";
import { isOutline, kindOf } from "../../lib/form";
import { probability } from "../../lib/format";
import { extent } from "../../lib/geometry";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

export function handle(view: View<OccluderState>): { occluder: HTMLElement; grip: HTMLElement } {
  const { store, page } = view;
  const grip = el("span.cs-occluder__grip", { "aria-hidden": "true", title: "Drag to resize" });
  const occluder = el(
    "div.cs-occluder",
    {
      role: "slider",
      tabindex: 0,
      "aria-roledescription": "occluder",
      "aria-label": "Occluder. Arrow keys move it by 1 pixel, with Shift by 10; plus and minus resize it.",
    },
    grip,
    firstHint(view),
  );
  page.keepMenu(occluder);
  followShape(view, occluder);
  store.watch(["position", "size", "_network"], () => {
    const [position, size] = [store.get("position"), extent(store.get("size"))];
    const picture = store.get("_network").size;
    layOver(occluder, [0, 0], size, picture);
    // Moved without laying out and painting anew, as often as the pointer moves: shares of its own size.
    const [down, across] = position.map((at, axis) => (100 * at) / (size[axis] ?? 1));
    occluder.style.transform = `translate(${across}%, ${down}%)`;
    aria(occluder, "valuemin", "0");
    aria(occluder, "valuemax", Math.max(0, picture[1] - size[1]));
    aria(occluder, "valuenow", position[1]);
  });
  store.watch(["position", "frame"], () => {
    const [top, left] = store.get("position");
    const target = store.get("frame")?.target;
    const value = target ? `, ${target.label} ${probability(target.now)}` : "";
    aria(occluder, "valuetext", `row ${top}, column ${left}${value}`);
  });
  store.follow("dragging", (dragging) => is(occluder, "dragging", dragging));
  return { occluder, grip };
}

/** What to do with the square, until it was done once. */
function firstHint({ store }: View<OccluderState>): HTMLElement {
  const hint = el("span.cs-occluder__hint", { "aria-hidden": "true" }, "drag me");
  store.watch(["dragging", "trail"], () => {
    if (store.get("dragging") || store.get("trail").visited.length > 1) hint.hidden = true;
  });
  return hint;
}

export function ghost(view: View<OccluderState>): HTMLElement {
  const { store } = view;
  const element = el("div.cs-ghost", { hidden: true });
  followShape(view, element);
  store.watch(["ghost", "_network"], () => {
    const at = store.get("ghost");
    element.hidden = !at;
    if (at) layOver(element, at.position, at.size, store.get("_network").size);
  });
  return element;
}

/** Give an element the occluder's shape. */
function followShape({ store }: View<OccluderState>, element: HTMLElement): void {
  store.follow("shape", (shape) => {
    element.dataset.shape = kindOf(shape);
    element.querySelector("svg")?.remove();
    if (isOutline(shape)) element.prepend(polygon(shape));
  });
}

/** A polygon of points (down, across) in 0..1 of the element that it fills. */
export function polygon(points: readonly (readonly [number, number])[]): SVGElement {
  const shape = svg("polygon", { points: points.map(([row, column]) => `${column},${row}`).join(" ") });
  return svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, shape);
}
