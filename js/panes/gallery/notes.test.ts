import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { notesPane } from "./notes";
import { linkGallery } from "./requests";
import { gallerySlice } from "./state";

it("says how many pictures are shown of those that can be read, and which cannot", () => {
  const view = viewOf(networkSlice, gallerySlice);
  linkGallery(view);
  notesPane(view, document.body);
  const words = () =>
    [...document.querySelectorAll<HTMLElement>(".cs-notes > p")]
      .slice(3)
      .map(({ hidden, textContent }) => !hidden && textContent);
  const rows = [{ name: "a", classes: [], height: 1, width: 1 }];
  const pixels = [new DataView(new ArrayBuffer(3))];
  const answer = (given: number, unread: unknown[]) =>
    view.kernel.answer("rows", { rows, given, unread }, pixels);
  answer(1, []);
  expect(words()).toEqual([false, false]);
  answer(3, [["b", "b is damaged"]]);
  expect(words()).toEqual(["The first 1 of 2 pictures are shown.", "b cannot be read."]);
  expect(document.querySelector<HTMLElement>(".cs-notes__unread")?.title).toBe("b is damaged");
  answer(3, [
    ["b", ""],
    ["c", ""],
  ]);
  expect(words()).toEqual([false, "b and 1 more cannot be read."]);
});
