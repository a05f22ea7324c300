/** The picture as the network sees it, with the occluder on it: drag, resize, tap, draw, arrow keys. */
import { el, on, onFrame, svg, text } from "../lib/dom";
import { coverage, enclosed, isOutline, kindOf, type Shape } from "../lib/form";
import { probability } from "../lib/format";
import { type Extent, extent, fit, type Position, resize, type Size, toSize } from "../lib/geometry";
import type { Store } from "../lib/store";
import type { State } from "../state";
import { trailLayer } from "./trail";

export function picturePane(store: Store<State>, root: HTMLElement, signal: AbortSignal): void {
  const canvas = el("canvas", { class: "cs-picture__canvas", "aria-hidden": "true" });
  const grip = el("span", { class: "cs-occluder__grip", "aria-hidden": "true", title: "Drag to resize" });
  const occluder = el(
    "div",
    {
      class: "cs-occluder",
      role: "slider",
      tabindex: 0,
      "aria-roledescription": "occluder",
      "aria-label": "Occluder. Arrow keys move it by 1 pixel, with Shift by 10; plus and minus resize it.",
      // Lab's own context menu and shortcuts stay out of the way.
      "data-jp-suppress-context-menu": true,
      "data-lm-suppress-shortcuts": "true",
    },
    grip,
  );
  const ghost = el("div", { class: "cs-ghost", hidden: true });
  const frame = el("div", { class: "cs-picture" }, canvas);
  trailLayer(store, frame, signal);
  frame.append(ghost, occluder);
  root.append(frame);

  const bounds = (): Extent => store.get("_network").size;

  // ---- painting: exactly the pixels that the network gets
  const paint = onFrame(() => {
    const photo = store.get("photo");
    if (!photo) return;
    const { height, width } = photo;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      frame.style.aspectRatio = `${width} / ${height}`;
    }
    const context = canvas.getContext("2d");
    if (!context) return;
    const pixels = new Uint8ClampedArray(photo.pixels);
    const filling = store.get("filling");
    const patch = store.get("patch");
    if (filling && filling.width === width && filling.height === height) {
      const size = extent(store.get("size"));
      put(pixels, width, store.get("position"), size, covered(store.get("shape"), size), (row, column) => [
        filling.pixels,
        row * width + column,
      ]);
    } else if (patch) {
      // What the network saw last, where it saw it: what is shown at the next place is not known yet.
      const [top, left] = patch.position;
      put(pixels, width, patch.position, patch.size, null, (row, column) => [
        patch.pixels,
        (row - top) * patch.size[1] + column - left,
      ]);
    }
    context.putImageData(new ImageData(pixels, width, height), 0, 0);
  }, signal);
  store.watch(["photo", "filling", "patch", "position", "size", "shape"], paint, signal);
  let known: { shape: Shape; size: Extent; covered: Uint8Array } | null = null;
  const covered = (shape: Shape, size: Extent): Uint8Array => {
    if (known?.shape !== shape || known.size[0] !== size[0] || known.size[1] !== size[1]) {
      known = { shape, size, covered: coverage(shape, size) };
    }
    return known.covered;
  };

  // ---- the handle lies over the painted square
  store.watch(
    ["position", "size", "shape", "_network"],
    () => {
      const [top, left] = store.get("position");
      const [high, wide] = extent(store.get("size"));
      const [height, width] = bounds();
      Object.assign(occluder.style, {
        top: `${(100 * top) / height}%`,
        left: `${(100 * left) / width}%`,
        height: `${(100 * high) / height}%`,
        width: `${(100 * wide) / width}%`,
      });
      const shape = store.get("shape");
      occluder.dataset.shape = ghost.dataset.shape = kindOf(shape);
      for (const one of [occluder, ghost]) {
        one.querySelector("svg")?.remove();
        if (isOutline(shape)) one.prepend(polygon(shape.map(([row, column]) => [row, column])));
      }
      occluder.setAttribute("aria-valuemin", "0");
      occluder.setAttribute("aria-valuemax", String(Math.max(0, width - wide)));
      occluder.setAttribute("aria-valuenow", String(left));
    },
    signal,
  );
  store.watch(
    ["position", "frame"],
    () => {
      const [top, left] = store.get("position");
      const target = store.get("frame")?.target;
      const value = target ? `, ${target.label} ${probability(target.now)}` : "";
      occluder.setAttribute("aria-valuetext", `row ${top}, column ${left}${value}`);
    },
    signal,
  );
  // ---- where the maps are looked at
  store.watch(
    ["cell", "maps", "size", "_network"],
    () => {
      const [maps, cell] = [store.get("maps"), store.get("cell")];
      ghost.hidden = !maps || !cell;
      if (!maps || !cell) return;
      const [height, width] = bounds();
      Object.assign(ghost.style, {
        top: `${(100 * (maps.tops[cell[0]] ?? 0)) / height}%`,
        left: `${(100 * (maps.lefts[cell[1]] ?? 0)) / width}%`,
        height: `${(100 * maps.size[0]) / height}%`,
        width: `${(100 * maps.size[1]) / width}%`,
      });
    },
    signal,
  );

  store.watch(["dragging"], () => occluder.classList.toggle("cs-is-dragging", store.get("dragging")), signal);
  store.watch(["offline"], () => frame.classList.toggle("cs-is-offline", store.get("offline")), signal);

  // ---- pointer
  /** Where an event is on the picture, in picture pixels (row, column). */
  const point = (event: PointerEvent): Position => {
    const box = frame.getBoundingClientRect();
    const [height, width] = bounds();
    return [
      ((event.clientY - box.top) / Math.max(1, box.height)) * height,
      ((event.clientX - box.left) / Math.max(1, box.width)) * width,
    ];
  };
  let start: { position: Position; size: Size; resizing: boolean; grab: Position } | null = null;
  let line: Position[] | null = null;
  const drawn = el("div", { class: "cs-drawn" });
  frame.append(drawn);
  const showLine = () => drawn.replaceChildren(...(line ? [polygon(share(line, bounds()))] : []));
  store.watch(
    ["drawing"],
    () => {
      frame.classList.toggle("cs-is-drawing", store.get("drawing"));
      if (!store.get("drawing")) line = null;
      showLine();
    },
    signal,
  );

  on(
    frame,
    "pointerdown",
    (event) => {
      if (event.button !== 0 || store.get("offline")) return;
      const at = point(event);
      frame.setPointerCapture(event.pointerId);
      event.preventDefault();
      if (store.get("drawing")) {
        line = [at];
        return;
      }
      const size = store.get("size");
      const [high, wide] = extent(size);
      let position = store.get("position");
      const onOccluder = occluder.contains(event.target as Node);
      start = { position, size, resizing: event.target === grip, grab: [0, 0] };
      store.set({ dragging: true });
      if (!onOccluder) {
        // A tap elsewhere brings the occluder there, and the drag goes on from its middle.
        position = fit([at[0] - high / 2, at[1] - wide / 2], size, bounds());
        store.set({ position });
      }
      start.grab = [at[0] - position[0], at[1] - position[1]];
      if (start.resizing) start.grab = [at[0] - position[0] - high, at[1] - position[1] - wide];
      occluder.focus({ preventScroll: true });
    },
    signal,
  );
  on(
    frame,
    "pointermove",
    (event) => {
      if (line) {
        line.push(point(event));
        showLine();
        return;
      }
      if (!start) {
        store.set({ pointer: point(event) });
        return;
      }
      const [row, column] = point(event);
      const target: Position = [row - start.grab[0], column - start.grab[1]];
      if (start.resizing) {
        store.set({ size: resize(store.get("position"), start.size, target, bounds(), event.shiftKey) });
      } else {
        store.set({ position: fit(target, store.get("size"), bounds()) });
      }
    },
    signal,
  );
  on(frame, "pointerleave", () => store.set({ pointer: null }), signal);
  const finish = () => {
    if (line) {
      const found = enclosed(line, bounds());
      // A tap is no form: the person may try again.
      if (found) store.set({ ...found, size: toSize(found.size), drawing: false });
      line = null;
      showLine();
    }
    if (!start) return;
    start = null;
    store.set({ dragging: false });
  };
  on(frame, "pointerup", finish, signal);
  on(frame, "pointercancel", finish, signal);
  on(frame, "lostpointercapture", finish, signal);
  // Taking the widget away in the middle of a drag must not leave the others holding positions back.
  signal.addEventListener("abort", finish);

  // ---- keyboard
  const grow = (by: number) => {
    const [high, wide] = extent(store.get("size"));
    const [top, left] = store.get("position");
    const [height, width] = bounds();
    const [h, w] = [Math.min(Math.max(1, high + by), height), Math.min(Math.max(1, wide + by), width)];
    const size = toSize([h, w]);
    // Around its middle, as a magnifier would.
    store.set({ size, position: fit([top + (high - h) / 2, left + (wide - w) / 2], size, bounds()) });
  };
  on(
    occluder,
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = event.shiftKey ? 10 : 1;
      const [top, left] = store.get("position");
      const move = (down: number, right: number) =>
        store.set({ position: fit([top + down, left + right], store.get("size"), bounds()) });
      const actions: Record<string, () => void> = {
        ArrowUp: () => move(-step, 0),
        ArrowDown: () => move(step, 0),
        ArrowLeft: () => move(0, -step),
        ArrowRight: () => move(0, step),
        Home: () => move(0, -Infinity),
        End: () => move(0, bounds()[1]),
        PageUp: () => move(-Infinity, 0),
        PageDown: () => move(bounds()[0], 0),
        "+": () => grow(2),
        "=": () => grow(2),
        "-": () => grow(-2),
        _: () => grow(-2),
        Escape: () => {
          store.set({ drawing: false });
          if (!start) return;
          store.set({ position: start.position, size: start.size });
          finish();
        },
      };
      const action = actions[event.key];
      if (!action || store.get("offline")) return;
      action();
      event.preventDefault();
      // Otherwise Lab takes the arrows as "next cell".
      event.stopPropagation();
    },
    signal,
  );

  // ---- spoken, a moment after the occluder came to rest
  const spoken = el("div", { class: "cs-visually-hidden", "aria-live": "polite" });
  root.append(spoken);
  let waiting: ReturnType<typeof setTimeout> | undefined;
  store.onChange(
    ["frame"],
    () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const now = store.get("frame");
        if (!now) return;
        const flip = now.first.index === now.before.index ? "" : `, now first: ${now.first.label}`;
        text(spoken, `${now.target.label} ${probability(now.target.now)}${flip}`);
      }, 700);
    },
    signal,
  );
  signal.addEventListener("abort", () => clearTimeout(waiting));
}

type Source = (row: number, column: number) => [Uint8ClampedArray, number];

/** Write a box of another picture's pixels over a picture's, where the box is covered (null: everywhere). */
function put(
  pixels: Uint8ClampedArray,
  width: number,
  [top, left]: Position,
  [high, wide]: Extent,
  covered: Uint8Array | null,
  source: Source,
): void {
  for (let row = 0, at = 0; row < high; row++) {
    for (let column = 0; column < wide; column++, at++) {
      if (covered && !covered[at]) continue;
      const [from, index] = source(top + row, left + column);
      pixels.set(from.subarray(index * 4, index * 4 + 3), ((top + row) * width + left + column) * 4);
    }
  }
}

const share = (line: readonly Position[], [height, width]: Extent): Position[] =>
  line.map(([row, column]) => [row / height, column / width]);

/** A polygon of points in 0..1 of the element that it fills. */
function polygon(points: readonly Position[]): SVGElement {
  const shape = svg("polygon", { points: points.map(([row, column]) => `${column},${row}`).join(" ") });
  return svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, shape);
}
