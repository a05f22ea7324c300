/** While a survey runs what excites a unit changes: what is beside one another belongs together, what is pointed at stays. */
import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { notePointing } from "./pointing";
import { linkUnit } from "./requests";
import { currentProjections, unitSlice } from "./state";
import { unitPane } from "./unit";

const OF = { layer: "conv", channel: 3 };
const exemplar = (image: number) => ({
  value: 2,
  before: null,
  image,
  name: `picture ${image}`,
  path: null,
  label: null,
  row: 0,
  column: image,
  box: [0, 0, 1, 1],
  whole: false,
  inside: [0, 0, 1, 1],
});

function setup() {
  const view = viewOf(networkSlice, surveySlice, selectionSlice, unitSlice);
  const { store, kernel } = view;
  store.set({
    layer: "conv",
    selected: 3,
    method: "gradient",
    _survey: { ...store.get("_survey"), state: "running", revision: 1 },
  });
  linkUnit(view);
  const root = document.createElement("div");
  document.body.replaceChildren(root);
  unitPane(view, root);
  notePointing(view, root);
  const bytes = (values: number[]) => new DataView(Uint8Array.from(values).buffer);
  const units = (images: number[], channel = 3) =>
    kernel.answer(
      "unit",
      {
        ...OF,
        channel,
        exemplars: images.map(exemplar),
        side: 1,
        images: images.length,
        counts: [],
        edges: [],
        share: 1,
        purity: null,
        classes: [],
        similar: [],
        sampled: 0,
        name: null,
        short: [],
        ceiling: null,
        values: null,
      },
      [bytes(images.flatMap((one) => [one, one, one]))],
    );
  /** The projection of a picture is made of its number. */
  const projections = (images: number[]) =>
    kernel.answer(
      "projections",
      {
        ...OF,
        method: "gradient",
        crop: "field",
        places: images.map((one) => [one, 0, one]),
        peaks: images,
        inside: [],
        sides: [],
        side: 1,
      },
      [bytes(images.flatMap((one) => [one, one, one])), bytes([])],
    );
  const list = (name: string) => root.querySelector<HTMLElement>(`[aria-label="${name}"]`) as HTMLElement;
  const tiles = (name: string) => [...list(name).querySelectorAll<HTMLElement>(".cs-patch")];
  const images = () => tiles("Top patches").map(({ dataset }) => Number(dataset.image));
  const shown = () => ({
    peaks: tiles("Projections").map(({ dataset }) => Number(dataset.peak)),
    drawn: currentProjections(store)?.tiles.map((one) => one?.[0] ?? null),
    stale: list("Projections").classList.contains("cs-is-stale"),
  });
  return { ...view, root, units, projections, list, tiles, images, shown };
}

it("puts each projection beside its patch, and says where one is still to come", () => {
  const { units, projections, images, shown } = setup();
  units([5, 7, 9]);
  projections([5, 7, 9]);
  expect(shown()).toEqual({ peaks: [5, 7, 9], drawn: [5, 7, 9], stale: false });
  // The patches come first...
  units([8, 9, 5]);
  expect(images()).toEqual([8, 9, 5]);
  expect(shown()).toEqual({ peaks: [0, 9, 5], drawn: [null, 9, 5], stale: true });
  projections([8, 9, 5]);
  expect(shown()).toEqual({ peaks: [8, 9, 5], drawn: [8, 9, 5], stale: false });
  // ...or the projections do.
  projections([4, 8, 9]);
  expect(images()).toEqual([8, 9, 5]);
  expect(shown()).toEqual({ peaks: [8, 9, 0], drawn: [8, 9, null], stale: true });
  units([4, 8, 9]);
  expect(shown()).toEqual({ peaks: [4, 8, 9], drawn: [4, 8, 9], stale: false });
});

it("keeps patches in place while one points at them, and renews them afterwards", () => {
  const { store, units, projections, images, tiles, list, root } = setup();
  units([5, 7, 9]);
  projections([5, 7, 9]);
  const pointed = tiles("Top patches")[1];
  pointed?.dispatchEvent(new Event("pointerover", { bubbles: true }));
  units([1, 2, 3]);
  units([4, 5, 7]);
  expect([images(), tiles("Top patches")[1]]).toEqual([[5, 7, 9], pointed]);
  expect(root.textContent).toContain("of 3 pictures · newer to come");
  list("Projections").dispatchEvent(new Event("pointerover", { bubbles: true }));
  expect(images()).toEqual([5, 7, 9]);
  root.dispatchEvent(new Event("pointerleave"));
  expect(images()).toEqual([4, 5, 7]);
  expect(root.textContent).not.toContain("newer to come");
  // Another unit does not wait, and what waited of the one before is gone.
  tiles("Top patches")[0]?.dispatchEvent(new Event("pointerover", { bubbles: true }));
  units([6, 5, 7]);
  store.set({ selected: 4 });
  units([2, 3], 4);
  expect(images()).toEqual([2, 3]);
  root.dispatchEvent(new Event("pointerleave"));
  expect(images()).toEqual([2, 3]);
});
