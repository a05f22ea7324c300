/** A layer opens on the unit that answers most strongly to the picture, unless another was chosen. */
import type { Session } from "../../seam";
import { openOn } from "../shared/selection";
import { ordered } from "./order";
import type { GridState } from "./state";

export function openOnStrongest(session: Session<GridState>): void {
  const { store } = session;
  let opened = "";
  // Who leaves a layer before it is there, and comes back, opens it again.
  store.onChange(["layer"], () => {
    opened = "";
  });
  store.onChange(["grid"], () => {
    const grid = store.get("grid");
    if (!grid || grid.layer !== store.get("layer") || grid.layer === opened) return;
    opened = grid.layer;
    openOn(session, grid.layer, ordered(grid, "strongest", null)[0]);
  });
}
