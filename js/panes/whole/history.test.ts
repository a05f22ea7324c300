import { expect, it, vi } from "vitest";
import { viewOf } from "../../testing";
import { type Frame, occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { continued, historyPane } from "./history";
import { wholeSlice } from "./state";

const frame = (now: number, picture = 0, index = 0) =>
  ({ picture, position: [3, 4], target: { index, label: "cat", clean: 0.5, now } }) as Frame;

it("goes on with the same picture and class, and keeps the last frames", () => {
  let frames: readonly Frame[] = [];
  for (let at = 0; at < 300; at++) frames = continued(frames, frame(at / 300));
  expect(frames.map(({ target }) => target.now)).toEqual(
    Array.from({ length: 240 }, (_, at) => (at + 60) / 300),
  );
  expect(continued(frames, frame(299 / 300))).toBe(frames);
  expect(continued(frames, frame(1, 1))).toHaveLength(1);
  expect(continued(frames, frame(1, 0, 3))).toHaveLength(1);
});

it("is drawn where the instrument stands alone, and its button is pressed", async () => {
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => run());
  const view = viewOf(networkSlice, picturesSlice, occluderSlice, wholeSlice);
  const [pane, table] = historyPane(view) as [HTMLElement, HTMLDetailsElement];
  view.store.set({ frame: frame(0.25) });
  view.store.set({ frame: frame(0.75), show_history: true });
  // It fills the window then, or is not seen.
  expect(pane.classList.contains("cs-is-charted")).toBe(true);
  view.store.set({ uncharted: true });
  expect([pane.hidden, pane.classList.contains("cs-is-charted")]).toEqual([false, false]);
  expect(pane.querySelector("polyline")?.getAttribute("points")).toBe("0,48 1,16");
  table.open = true;
  table.dispatchEvent(new Event("toggle"));
  view.store.set({ frame: frame(0.5) });
  const cells = [...table.querySelectorAll("td")].map((one) => one.textContent);
  expect(cells).toEqual(["0.500", "0.750", "0.250"]);
  view.store.set({ show_history: false });
  expect([pane.hidden, table.hidden]).toEqual([true, true]);
  // A saved page has but one frame.
  view.store.set({ show_history: true, offline: true });
  expect([pane.hidden, table.hidden]).toEqual([true, true]);
});
