/**
 * The second network's side: the state of an occluder under names of its own, the same line to the kernel, and the square,
 * which is at the same place of both pictures whichever of them it is dragged on.
 */
import { clamp, type Extent, extent, fit, type Position, type Size, toSize } from "../../lib/geometry";
import type { HostSlice, Kernel, Session } from "../../seam";
import type { OccluderState } from "../occluder/state";
import type { CompareSlice, CompareState, Together } from "./state";

const NAMES = {
  _network: "_second",
  position: "position_b",
  size: "size_b",
  target: "target_b",
  labels: "labels_b",
  pointer: "pointer_b",
  ghost: "ghost_b",
  photo: "photo_b",
  filling: "filling_b",
  frame: "frame_b",
  patch: "patch_b",
  trail: "trail_b",
  slow: "slow_b",
  errors: "errors_b",
} as const satisfies Partial<Record<keyof OccluderState | "slow" | "errors", keyof CompareSlice>>;

/** What the second network's occluder is given; picture, shape, fill and whether a drag is under way are shared. */
export function second<V extends Session<CompareState>>(
  view: V,
): Omit<V, keyof Session<object>> & Session<OccluderState> {
  return {
    ...view,
    store: view.store.as<OccluderState & Pick<HostSlice, "slow" | "errors">>(NAMES),
    kernel: aside(view.kernel),
  };
}

/** Requests, answers and news of the second network: each kind ends in "_b". */
function aside(kernel: Kernel): Kernel {
  return {
    answers: (kind, handler, inFlight) => kernel.answers(`${kind}_b`, handler, inFlight),
    ask: (kind, request) => kernel.ask(`${kind}_b`, request),
    awaits: (kind) => kernel.awaits(`${kind}_b`),
    tell: (kind, content, buffers) => kernel.tell(`${kind}_b`, content, buffers),
    hears: (event, handler) => kernel.hears(`${event}_b`, handler),
  };
}

type Box = [position: Position, size: Size];

/** The box on the second picture of one on the first, moved inside; the kernel's own rule. */
export function across({ rows, columns }: Together, [position, size]: Box, picture: Extent): Box {
  return boxed(
    [rows[0] + rows[1] * position[0], columns[0] + columns[1] * position[1]],
    [rows[1] * extent(size)[0], columns[1] * extent(size)[1]],
    picture,
  );
}

/** The box on the first picture of one on the second. */
export function back({ rows, columns }: Together, [position, size]: Box, picture: Extent): Box {
  return boxed(
    [(position[0] - rows[0]) / rows[1], (position[1] - columns[0]) / columns[1]],
    [extent(size)[0] / rows[1], extent(size)[1] / columns[1]],
    picture,
  );
}

function boxed(position: Position, size: Extent, picture: Extent): Box {
  const long = (at: 0 | 1) => clamp(Math.round(size[at]), 1, picture[at]);
  const whole: Extent = [long(0), long(1)];
  return [fit(position, whole, picture), toSize(whole)];
}

/** Keep both squares at one place. */
export function tieSquares({ store }: Session<CompareState>): void {
  // What follows a square must not lead it in turn: rounding would carry both away.
  let following = false;
  const follow = (run: () => void) => {
    if (following) return;
    following = true;
    try {
      run();
    } finally {
      following = false;
    }
  };
  store.watch(["position", "size", "together", "_second"], () =>
    follow(() => {
      const box: Box = [store.get("position"), store.get("size")];
      const [position_b, size_b] = across(store.get("together"), box, store.get("_second").size);
      store.set({ position_b, size_b });
    }),
  );
  store.onChange(["position_b", "size_b"], () =>
    follow(() => {
      const box: Box = [store.get("position_b"), store.get("size_b")];
      const [position, size] = back(store.get("together"), box, store.get("_network").size);
      store.set({ position, size });
    }),
  );
}
