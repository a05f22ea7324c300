import { beforeEach, expect, it, vi } from "vitest";
import { el } from "../lib/dom";
import { Store } from "../lib/store";
import { hostSlice } from "../seam";
import { AWAITED_MS, watchChart } from "./charts";

beforeEach(() => {
  vi.useFakeTimers();
  // Tells of every element at once that it has a size.
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(private run: () => void) {}
      observe = () => this.run();
      disconnect = () => {};
    },
  );
});

function setup(classes: string) {
  const outer = el("div.cs-host");
  const box = el("div", { class: classes }, el("div", outer));
  document.body.append(box);
  const store = new Store(hostSlice.initial);
  const ending = new AbortController();
  watchChart(store, outer, ending.signal);
  return { box, store, ending, figure: el("div.bqplot.figure") };
}

it("draws a chart that does not come, and no more when it comes late", async () => {
  const { box, store, figure } = setup("cs-box cs-has-chart");
  await vi.advanceTimersByTimeAsync(AWAITED_MS - 1);
  expect(store.get("uncharted")).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(store.get("uncharted")).toBe(true);
  box.append(el("div", figure));
  await vi.advanceTimersByTimeAsync(10 * AWAITED_MS);
  expect(store.get("uncharted")).toBe(false);
});

it("misses none that is there, that is not wanted, or in a layout of one's own", async () => {
  for (const classes of ["cs-box cs-has-chart", "cs-box", "another"]) {
    const { box, store, figure } = setup(classes);
    if (classes.includes("chart")) box.append(figure);
    await vi.advanceTimersByTimeAsync(10 * AWAITED_MS);
    expect(store.get("uncharted")).toBe(false);
  }
});

it("looks for a chart that is asked for later, as long as there is a view", async () => {
  const { box, store, ending } = setup("cs-box");
  await vi.advanceTimersByTimeAsync(10 * AWAITED_MS);
  box.classList.add("cs-has-chart");
  await vi.advanceTimersByTimeAsync(2 * AWAITED_MS);
  expect(store.get("uncharted")).toBe(true);
  box.classList.remove("cs-has-chart");
  await vi.advanceTimersByTimeAsync(AWAITED_MS);
  expect(store.get("uncharted")).toBe(false);
  ending.abort();
  expect(vi.getTimerCount()).toBe(0);
});
