/** What an instrument's first line offers of the whole: the chart beneath it. */
import type { Slice } from "../../seam";

export interface WholeSlice {
  /** Whether the chart of the drag is shown beneath. */
  show_history: boolean;
}

export const wholeSlice: Slice<WholeSlice> = { initial: { show_history: false }, writes: ["show_history"] };
