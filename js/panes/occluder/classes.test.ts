import { describe, expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { classesPane } from "./classes";
import { linkOccluder } from "./requests";
import { type ClassScore, type Frame, occluderSlice } from "./state";

const score = (index: number, clean: number, now: number): ClassScore => ({
  index,
  label: `class ${index}`,
  clean,
  now,
});

function setup(changes: Partial<Frame> = {}) {
  const root = document.createElement("div");
  const view = viewOf(networkSlice, picturesSlice, occluderSlice);
  const { store } = view;
  classesPane(view, root);
  const frame: Frame = {
    picture: 0,
    position: [3, 4],
    size: 50,
    target: score(0, 0.6, 0.2),
    before: score(0, 0.6, 0.2),
    first: score(0, 0.6, 0.2),
    classes: [score(0, 0.6, 0.2), score(1, 0.2, 0.1), score(2, 0.1, 0.1)],
    other: score(9, 0.01, 0.15),
    independent: false,
    trail: 1,
    milliseconds: 3,
    ...changes,
  };
  store.set({ frame, position: [3, 4] });
  return { root, store, frame, view };
}

const words = (root: HTMLElement, selector: string) =>
  [...root.querySelectorAll(selector)].map(({ textContent }) => textContent);

describe("class probabilities", () => {
  it("keep the clean picture's order, with whatever else is strongest now beneath", () => {
    const { root } = setup();
    expect(words(root, ".cs-class:not(.cs-is-empty) .cs-class__label")).toEqual([
      "class 0",
      "class 1",
      "class 2",
      "class 9",
    ]);
    expect(words(root, ".cs-target__value")).toEqual(["0.200"]);
    expect(words(root, ".cs-target__change")).toEqual(["−0.400"]);
    expect(root.querySelector<HTMLElement>(".cs-class__bar--after")?.style.width).toBe("20%");
    expect(root.querySelector(".cs-flip.cs-is-flipped")).toBeNull();
  });

  it("say that the network returns NaN, which comes as null", () => {
    const { root, frame, view } = setup();
    const none = { index: 0, label: "class 0", clean: null, now: null };
    linkOccluder(view);
    view.kernel.answer("occlude", {
      ...frame,
      target: none,
      before: none,
      first: none,
      classes: [none],
      other: null,
    });
    expect(words(root, ".cs-target__value")).toEqual(["NaN"]);
    expect(words(root, ".cs-target__change")).toEqual([""]);
    expect(words(root, ".cs-flip")).toEqual(["the network returns NaN here"]);
  });

  it("say when another class comes first", () => {
    const { root } = setup({ first: score(9, 0.01, 0.7), other: score(9, 0.01, 0.7) });
    expect(words(root, ".cs-flip.cs-is-flipped")).toEqual(["class 0 → class 9"]);
    expect(words(root, ".cs-is-first .cs-class__label")).toEqual(["class 9"]);
  });

  it("say of silence only what the whole network does not say under the same occluder", () => {
    const occluded = { silenced: 1, first: score(9, 0.01, 0.7) };
    const flip = (changes: Partial<Frame>) => words(setup(changes).root, ".cs-flip.cs-is-flipped")[0];
    expect(flip({ ...occluded, unsilenced: { index: 9, label: "class 9" } })).toBe("class 0 → class 9");
    expect(flip({ ...occluded, unsilenced: { index: 0, label: "class 0" } })).toBe(
      "without 1 unit: class 9 instead of class 0",
    );
    // The occluder would have changed the class, but for the silence.
    expect(flip({ silenced: 2, unsilenced: { index: 9, label: "class 9" } })).toBe(
      "without 2 units: class 0 instead of class 9",
    );
    expect(flip({ silenced: 1, unsilenced: { index: 0, label: "class 0" } })).toBeUndefined();
  });

  it("say when they are independent, so that they need not sum to 1", () => {
    const heading = (root: HTMLElement) => words(root, ".cs-heading")[0];
    expect(heading(setup().root)).not.toContain("independent");
    expect(heading(setup({ independent: true }).root)).toContain("independent");
  });

  it("choose the class to follow by a click, and let go of it by another", () => {
    const { root, store } = setup();
    const second = root.querySelectorAll<HTMLElement>(".cs-class")[1];
    second?.click();
    expect(store.get("target")).toBe(1);
    second?.click();
    expect(store.get("target")).toBeNull();
  });

  it("have a row for the class that is followed, wherever it stands", () => {
    const { root, store, frame } = setup();
    const followed = root.querySelectorAll<HTMLElement>(".cs-class")[5];
    expect(followed?.hidden).toBe(true);
    const classes = [0, 1, 2, 3, 4, 77].map((index) => score(index, 0.1, index === 77 ? 0.3 : 0.1));
    store.set({ frame: { ...frame, classes, target: score(77, 0.1, 0.3) } });
    expect([followed?.hidden, followed?.getAttribute("aria-pressed")]).toEqual([false, "true"]);
    expect(words(followed as HTMLElement, ".cs-class__label, .cs-class__value")).toEqual([
      "class 77",
      "0.300",
    ]);
    const bars = [...(followed?.querySelectorAll<HTMLElement>(".cs-class__bar") ?? [])];
    expect(bars.map(({ style }) => style.width)).toEqual(["10%", "30%"]);
    expect(words(root, ".cs-class:not(.cs-is-empty) .cs-class__label").at(-1)).toBe("class 9");
  });

  it("follow a class that was asked for before the classes have come, and complain only once they have", () => {
    const { root, store, view } = setup();
    linkOccluder(view);
    const field = root.querySelector<HTMLInputElement>(".cs-follow") as HTMLInputElement;
    const complaint = root.querySelector<HTMLElement>(".cs-complaint");
    const enter = (query: string) => {
      field.value = query;
      field.dispatchEvent(new Event("input"));
      field.dispatchEvent(new Event("change"));
    };
    enter("beagle");
    expect(view.kernel.ask).toHaveBeenCalledWith("labels", {});
    expect([store.get("target"), complaint?.hidden]).toEqual([null, true]);
    view.kernel.answer("labels", { labels: ["pug", "English beagle"] });
    expect([store.get("target"), field.value, complaint?.hidden]).toEqual([1, "", true]);
    // What is wrong is said, and goes with the next class, however that was chosen.
    enter("tench");
    expect(complaint?.textContent).toContain("“tench”. No class has it.");
    root.querySelector<HTMLElement>(".cs-class")?.click();
    expect([store.get("target"), complaint?.hidden]).toEqual([0, true]);
  });

  it("forget what was asked for before they have come where a person types on", () => {
    const { root, store, view } = setup();
    linkOccluder(view);
    const field = root.querySelector<HTMLInputElement>(".cs-follow") as HTMLInputElement;
    field.value = "pug";
    field.dispatchEvent(new Event("change"));
    field.value = "pu";
    field.dispatchEvent(new Event("input"));
    view.kernel.answer("labels", { labels: ["pug"] });
    expect([store.get("target"), field.value]).toEqual([null, "pu"]);
  });

  it("are to be read only, on a saved page", () => {
    const { root, store } = setup();
    store.set({ offline: true });
    const [first] = root.querySelectorAll<HTMLButtonElement>(".cs-class");
    expect(first?.disabled).toBe(true);
    store.set({ offline: false });
    expect(first?.disabled).toBe(false);
  });

  it("are dimmed only when the kernel is slow and the square has gone on", () => {
    const { root, store } = setup();
    const stale = () => root.querySelector(".cs-is-stale") !== null;
    store.set({ slow: ["occlude"] });
    expect(stale()).toBe(false);
    expect(root.querySelector("[aria-busy=true]")).not.toBeNull();
    store.set({ position: [50, 50] });
    expect(stale()).toBe(true);
    store.set({ slow: ["grid"] });
    expect(stale()).toBe(false);
  });
});
