/** The pointer on the picture: it drags and resizes the occluder, taps it to another place, and draws its form. */
import { el, is, on, onEnd, onFrame, shareAt } from "../../lib/dom";
import { enclosed } from "../../lib/form";
import {
  clamp,
  type Extent,
  extent,
  fit,
  type Position,
  resize,
  type Size,
  toSize,
} from "../../lib/geometry";
import type { View } from "../../seam";
import { polygon } from "./handle";
import type { OccluderState } from "./state";

export interface Gestures {
  /** Undo the drag that is under way. */
  cancel: () => void;
  /** Draw on by keys, from the occluder's middle. */
  draw: (down: number, right: number) => void;
  /** What is being drawn, or dragged, is done. */
  finish: () => void;
}

export function followPointer(
  view: View<OccluderState>,
  frame: HTMLElement,
  occluder: HTMLElement,
  grip: HTMLElement,
): Gestures {
  const { store, signal } = view;
  const bounds = (): Extent => store.get("_network").size;
  /** Where the picture was a frame ago, while the pointer moves: to ask now lays out first what the last answer changed. */
  let box: DOMRect | undefined;
  let moved = false;
  const measure = onFrame(() => {
    box = moved ? frame.getBoundingClientRect() : undefined;
    if (moved) measure();
    moved = false;
  });
  /** Where an event is on the picture, in picture pixels (row, column). */
  const point = (event: PointerEvent): Position => {
    const [down, across] = shareAt(frame, event, box);
    const [height, width] = bounds();
    return [down * height, across * width];
  };
  let drag: Drag | null = null;
  /** The finger that drags or draws: others are not for the occluder. */
  let finger: number | null = null;
  const line = drawing(view, frame, bounds);

  const begin = (at: Position, target: Node) => {
    const size = store.get("size");
    const [high, wide] = extent(size);
    const started = store.get("position");
    store.set({ dragging: true });
    if (!occluder.contains(target)) {
      // A tap elsewhere brings the occluder there, and the drag goes on from its middle.
      store.set({ position: fit([at[0] - high / 2, at[1] - wide / 2], size, bounds()) });
    }
    const [top, left] = store.get("position");
    const resizing = target === grip;
    const held: Position = resizing ? [top + high, left + wide] : [top, left];
    drag = { position: started, size, resizing, grab: [at[0] - held[0], at[1] - held[1]] };
    occluder.focus({ preventScroll: true });
  };
  const follow = ({ size, resizing, grab }: Drag, [row, column]: Position, free: boolean) => {
    const target: Position = [row - grab[0], column - grab[1]];
    if (resizing) store.set({ size: resize(store.get("position"), size, target, bounds(), free) });
    else store.set({ position: fit(target, store.get("size"), bounds()) });
  };
  const finish = () => {
    line.finish();
    finger = null;
    if (!drag) return;
    drag = null;
    store.set({ dragging: false });
  };

  on(frame, "pointerdown", (event) => {
    if (event.button !== 0 || finger !== null || store.get("offline")) return;
    frame.setPointerCapture(event.pointerId);
    finger = event.pointerId;
    event.preventDefault();
    if (store.get("drawing")) line.begin(point(event));
    else begin(point(event), event.target as Node);
  });
  on(frame, "pointermove", (event) => {
    if (finger !== null && finger !== event.pointerId) return;
    const at = point(event);
    moved = true;
    measure();
    if (line.follow(at)) return;
    if (drag) follow(drag, at, event.shiftKey);
    else store.set({ pointer: at });
  });
  on(frame, "pointerleave", () => store.set({ pointer: null }));
  const cancel = () => {
    if (!drag) return;
    store.set({ position: drag.position, size: drag.size });
    finish();
  };
  for (const [end, run] of [
    ["pointerup", finish],
    // The browser has taken the finger, for two that enlarge the page.
    ["pointercancel", cancel],
    ["lostpointercapture", finish],
  ] as const)
    on(frame, end, ({ pointerId }) => pointerId === finger && run());
  // Taking the widget away in the middle of a drag must not leave the others holding positions back.
  onEnd(signal, finish);

  return {
    draw: line.go,
    finish,
    cancel,
  };
}

/** Where a drag began, and what it does. */
interface Drag {
  position: Position;
  size: Size;
  resizing: boolean;
  /** From the point that is dragged (the occluder's corner) to the pointer. */
  grab: Position;
}

/** The line that is drawn around something, and becomes the occluder's form. */
function drawing({ store }: View<OccluderState>, frame: HTMLElement, bounds: () => Extent) {
  const drawn = el("div.cs-drawn");
  frame.append(drawn);
  let line: Position[] | null = null;
  const show = () => {
    const [height, width] = bounds();
    const points = line?.map(([row, column]) => [row / height, column / width] as const);
    drawn.replaceChildren(...(points ? [polygon(points)] : []));
  };
  store.follow("drawing", (drawing) => {
    is(frame, "drawing", drawing);
    if (!drawing) line = null;
    show();
  });
  return {
    begin: (at: Position) => {
      line = [at];
    },
    go: (down: number, right: number) => {
      const [[top, left], [high, wide]] = [store.get("position"), extent(store.get("size"))];
      line ??= [[top + high / 2, left + wide / 2]];
      const [row, column] = line.at(-1) ?? [0, 0];
      line.push([clamp(row + down, 0, bounds()[0]), clamp(column + right, 0, bounds()[1])]);
      show();
    },
    /** Whether a line is being drawn. */
    follow: (at: Position) => {
      line?.push(at);
      if (line) show();
      return line !== null;
    },
    finish: () => {
      if (!line) return;
      const found = enclosed(line, bounds());
      // A tap is no form: the person may try again.
      if (found) store.set({ ...found, size: toSize(found.size), drawing: false });
      line = null;
      show();
    },
  };
}
