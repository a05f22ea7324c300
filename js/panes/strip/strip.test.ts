import { expect, it } from "vitest";
import { keepFocus } from "../../lib/focus";
import { viewOf } from "../../testing";
import { picturesSlice } from "../shared/pictures";
import { linkStrip } from "./requests";
import { stripSlice } from "./state";
import { stripPane } from "./strip";

function setup() {
  const view = viewOf(picturesSlice, stripSlice);
  const root = document.body.appendChild(document.createElement("div"));
  view.store.set({
    _pictures: [
      { name: "given", label: null },
      { name: "first", label: null, added: 4 },
      { name: "second", label: null, added: 7 },
    ],
    picture: 2,
  });
  stripPane(view, root, root);
  const named = (name: string) => root.querySelector<HTMLElement>(`[aria-label="${name}"]`);
  return { ...view, root, named };
}

it("offers to remove what was added, by a button and by a key, and nothing else", () => {
  const { kernel, store, root, named } = setup();
  // First, so that it is in sight however many pictures there are.
  expect(root.querySelector(".cs-strip")?.firstElementChild).toBe(named("Add pictures"));
  expect([...root.querySelectorAll("[data-remove]")].map((one) => one.getAttribute("aria-label"))).toEqual([
    "Remove first",
    "Remove second",
  ]);
  expect(named("Remove second")?.tabIndex).toBe(0);
  named("Remove first")?.click();
  expect(kernel.tell).toHaveBeenLastCalledWith("remove", { added: 4 });
  expect(store.get("picture")).toBe(2);
  named("second")?.focus();
  named("second")?.dispatchEvent(new KeyboardEvent("keydown", { key: "Delete", bubbles: true }));
  expect(kernel.tell).toHaveBeenLastCalledWith("remove", { added: 7 });
  named("given")?.focus();
  named("given")?.dispatchEvent(new KeyboardEvent("keydown", { key: "Delete", bubbles: true }));
  expect(kernel.tell).toHaveBeenCalledTimes(2);
  store.set({ offline: true });
  expect(root.querySelector("[data-remove]")).toBeNull();
});

it("gives the focus of one that is removed to its neighbour", async () => {
  const { store, named, root, signal } = setup();
  keepFocus(root, signal);
  const [given, first, second] = store.get("_pictures");
  named("Remove first")?.focus();
  store.set({ _pictures: [given, second] as never, picture: 1 });
  await Promise.resolve();
  expect(document.activeElement).toBe(named("Remove second"));
  store.set({ _pictures: [given] as never, picture: 0 });
  await Promise.resolve();
  expect(document.activeElement).toBe(named("given"));
  named("Add pictures")?.focus();
  store.set({ _pictures: [given, first] as never });
  await Promise.resolve();
  expect(document.activeElement).toBe(named("Add pictures"));
  named("first")?.focus();
  store.set({ _pictures: [given, second] as never });
  await Promise.resolve();
  expect(document.activeElement).toBe(named("second"));
});

it("has thumbnails of the first pictures and of those that were added", () => {
  const { kernel, store, ...view } = setup();
  linkStrip({ kernel, store, ...view });
  expect(kernel.ask).toHaveBeenLastCalledWith("thumbnails", {});
  kernel.answer("thumbnails", { side: 1, count: 2, pictures: [0, 2] }, [new DataView(new ArrayBuffer(6))]);
  expect(store.get("thumbnails").map((photo) => photo?.picture)).toEqual([0, undefined, 2]);
});

it("says which pictures cannot be read, and passes them by", () => {
  const { kernel, store, root, named, ...view } = setup();
  linkStrip({ kernel, store, ...view });
  const answer = (unread: object) =>
    kernel.answer("thumbnails", { side: 1, count: 1, pictures: [0], unread }, [
      new DataView(new ArrayBuffer(3)),
    ]);
  answer({ 1: "first is damaged" });
  const words = () => root.querySelector(".cs-strip__unread")?.textContent;
  expect([words(), named("first")?.title, (named("first") as HTMLButtonElement).disabled]).toEqual([
    "first cannot be read",
    "first is damaged",
    true,
  ]);
  const press = (key: string) =>
    named("given")?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press("ArrowLeft");
  expect(store.get("picture")).toBe(0);
  press("ArrowRight");
  expect(store.get("picture")).toBe(2);
  answer({ 0: "given is damaged", 1: "first is damaged" });
  expect(words()).toBe("given and 1 more cannot be read");
  press("ArrowLeft");
  expect(store.get("picture")).toBe(2);
  answer({});
  expect([words(), (named("first") as HTMLButtonElement).disabled]).toEqual(["", false]);
});
