import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { pictureHeading } from "./heading";
import { type Frame, occluderSlice } from "./state";

it("says of a picture whose class is known whether it was classified right", () => {
  const view = viewOf(networkSlice, picturesSlice, occluderSlice);
  pictureHeading(view, document.body);
  const written = () => document.querySelector(".cs-heading__name")?.textContent;
  view.store.set({ _pictures: [{ name: "n01/1.jpg", label: "tench", class: 0 }] });
  expect(written()).toBe("n01/1.jpg");
  const frame = (index: number, label: string) =>
    ({ picture: 0, before: { index, label } }) as unknown as Frame;
  view.store.set({ frame: frame(0, "tench") });
  expect(written()).toBe("✓ tench, classified right");
  view.store.set({ frame: frame(1, "goldfish") });
  expect(written()).toBe("✗ tench, taken for goldfish");
  view.store.set({ _pictures: [{ name: "n01/1.jpg", label: "fish", class: null }] });
  expect(written()).toBe("n01/1.jpg");
});
