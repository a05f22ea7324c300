/** Where the occluder has been, coloured by the probability of the target there: a map that grows with the drag. */
import { css, widened } from "../../lib/colormaps";
import { el, onFrame } from "../../lib/dom";
import { extent, type Position } from "../../lib/geometry";
import type { View } from "../../seam";
import type { OccluderState, Trail } from "./state";

/** The trail with one place more; another number begins another trail. */
export function visited(trail: Trail, number: number, position: Position, value: number): Trail {
  const before = trail.number === number ? trail.visited : [];
  const others = before.filter(
    ({ position: [row, column] }) => row !== position[0] || column !== position[1],
  );
  return { number, visited: [...others, { position, value }] };
}

/** Lowest and highest of the places' probabilities: what the ends of the colours stand for. Null without a map. */
export function trailRange({ visited: places }: Trail): [number, number] | null {
  if (places.length < 2) return null;
  let [low, high] = [1, 0];
  for (const { value } of places) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return widened(low, high);
}

/** Radius of a place, as a share of the picture's shorter side; and pixels of the canvas for one of the picture. */
const RADIUS = 0.022;
const SCALE = 2;

export function trailLayer({ store }: View<OccluderState>): HTMLElement {
  const canvas = el("canvas.cs-trail");
  let looks = "";
  let painted = new WeakSet<Trail["visited"][number]>();
  const paint = onFrame(() => {
    const { number, visited: places } = store.get("trail");
    const range = store.get("show_trail") ? trailRange(store.get("trail")) : null;
    canvas.hidden = !range;
    const context = canvas.getContext("2d");
    if (!range || !context) return;
    const [height, width] = store.get("_network").size;
    const [high, wide] = extent(store.get("size"));
    const now = [number, height, width, high, wide, ...range].join();
    // While all look alike only those that have come are painted, which are the last: a drag leaves hundreds.
    const come = now === looks ? places.filter((place) => !painted.has(place)) : places;
    if (come.length === places.length) {
      looks = now;
      painted = new WeakSet();
      canvas.height = height * SCALE;
      canvas.width = width * SCALE;
      context.scale(SCALE, SCALE);
    }
    const radius = Math.max(1, RADIUS * Math.min(height, width));
    for (const place of come) {
      const { position, value } = place;
      painted.add(place);
      context.fillStyle = css("viridis", Math.round((255 * (value - range[0])) / (range[1] - range[0])));
      context.beginPath();
      context.arc(position[1] + wide / 2, position[0] + high / 2, radius, 0, 2 * Math.PI);
      context.fill();
    }
    canvas.dataset.places = String(places.length);
  });
  store.watch(["trail", "show_trail", "size", "_network"], paint);
  return canvas;
}
