import { describe, expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { type SurveyState, surveySlice, surveyWork } from "../shared/survey";
import { statusPane } from "./status";

function setup(withWork = true) {
  const view = viewOf(networkSlice, surveySlice);
  const root = document.createElement("div");
  statusPane(view, root, withWork ? surveyWork(view) : null);
  const survey = (changes: Partial<SurveyState>) =>
    view.store.set({ _survey: { ...view.store.get("_survey"), ...changes } });
  const line = root.querySelector<HTMLElement>(".cs-status__work");
  const words = () => root.querySelector(".cs-status__progress")?.textContent;
  const cancel = root.querySelectorAll<HTMLElement>(".cs-link")[0];
  return { view, root, survey, line, words, cancel };
}

describe("the status line", () => {
  it("tells of work while there is some, and stops it", () => {
    const { view, survey, line, words, cancel } = setup();
    expect(line?.hidden).toBe(true);
    survey({ state: "running" });
    expect(words()).toBe("survey begins");
    survey({ done: 5, total: 20, left: 90, skipped: 1 });
    expect(words()).toBe("survey 5 of 20, 1 min 30 s left, 1 unreadable");
    cancel?.click();
    expect(view.kernel.tell).toHaveBeenCalledWith("cancel");
    // It is said at once, and until it has stopped.
    const stops = () => [cancel?.textContent, cancel?.matches(":disabled")];
    expect([words(), ...stops()]).toEqual(["survey 5 of 20, 1 unreadable", "stopping…", true]);
    survey({ done: 8 });
    expect(stops()).toEqual(["stopping…", true]);
    survey({ state: "cancelled" });
    survey({ state: "running", done: 8 });
    expect(stops()).toEqual(["cancel", false]);
    // Other work that begins in its place is not what was stopped.
    cancel?.click();
    survey({ done: 0 });
    expect(stops()).toEqual(["cancel", false]);
    // All were visited, and one could not be read.
    survey({ state: "done", done: 20, images: 19 });
    expect([words(), cancel?.hidden]).toEqual(["survey of 19 pictures, 1 unreadable", true]);
    // One that was given, of a part.
    survey({ state: "done", done: 4, total: 20, images: 4, skipped: 0 });
    expect(words()).toBe("survey of 4 of 20 pictures");
  });

  it("goes on with work that was stopped, and begins again what has failed", () => {
    const { view, root, survey } = setup();
    const again = () => root.querySelectorAll<HTMLElement>(".cs-link")[1];
    survey({ state: "running", done: 5, total: 20 });
    expect(again()?.hidden).toBe(true);
    survey({ state: "cancelled" });
    expect([again()?.hidden, again()?.textContent]).toEqual([false, "continue"]);
    again()?.click();
    expect(view.kernel.tell).toHaveBeenLastCalledWith("resume");
    survey({ state: "failed" });
    expect(again()?.textContent).toBe("start again");
    // A saved page has nobody to go on.
    view.store.set({ offline: true });
    expect(again()?.hidden).toBe(true);
  });

  it("calls work stopped that a saved page was written in the middle of", () => {
    const { view, survey, words } = setup();
    view.store.set({ offline: true });
    survey({ state: "running", done: 5, total: 20 });
    expect(words()).toBe("survey stopped after 5 of 20");
  });

  it("says where there is no kernel; what to do is said above", () => {
    const { view, root } = setup();
    view.store.set({ absent: "The kernel is gone: run the cell again." });
    expect(root.textContent).toContain(" · no kernel");
    expect(root.textContent).not.toContain("run the cell");
    view.store.set({ absent: null });
    expect(root.textContent).toContain("ready");
  });

  it("is in one state for as long as work goes on, whatever is answered between its steps", () => {
    const { view, root, survey } = setup();
    const dot = root.querySelector<HTMLElement>(".cs-status__dot");
    const states = [["occlude"], [], ["grid"], []].map((slow) => {
      survey({ state: "running" });
      view.store.set({ slow });
      return [dot?.dataset.state, root.querySelector(".cs-status__state")?.textContent];
    });
    expect(new Set(states.map(String))).toEqual(new Set(["computing, ·  · computing"]));
    survey({ state: "done" });
    expect(dot?.dataset.state).toBe("ready");
  });

  it("says how long an answer took, in seconds where it was long", () => {
    const { view, root } = setup();
    const said = (latency: number) => {
      view.store.set({ latency });
      return root.textContent?.match(/answer in .*?s/)?.[0];
    };
    expect([said(43.6), said(8294)]).toEqual(["answer in 44 ms", "answer in 8.3 s"]);
  });

  it("has no such place where there is no work", () => {
    expect(setup(false).line).toBeNull();
  });
});
