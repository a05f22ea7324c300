import { expect, it } from "vitest";
import { keepFocus } from "../../lib/focus";
import { viewOf } from "../../testing";
import { occluderSlice } from "../occluder/state";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { silenceButtons } from "./buttons";
import { silenceChips } from "./chips";
import { linkSilence } from "./requests";
import { changed, silenceSlice } from "./state";

function setup() {
  const view = viewOf(networkSlice, picturesSlice, selectionSlice, surveySlice, occluderSlice, silenceSlice);
  const root = document.body.appendChild(document.createElement("div"));
  root.tabIndex = -1;
  const layer = {
    kind: "conv",
    channels: 8,
    size: [4, 4] as [number, number],
    field: 3,
    gated: false,
    signed: false,
  };
  view.store.set({
    _network: {
      name: "n",
      device: "cpu",
      size: [8, 8],
      layers: [
        { ...layer, name: "stem" },
        { ...layer, name: "head" },
      ],
    },
    layer: "stem",
    selected: 3,
  });
  linkSilence(view);
  const { silence, layer: half, refusal } = silenceButtons(view);
  const [toggle, more] = [silence as HTMLButtonElement, half as HTMLSelectElement];
  root.append(toggle, more, refusal);
  silenceChips(view, root);
  const chips = () => [...root.querySelectorAll<HTMLElement>(".cs-chip")];
  const words = () => root.querySelector(".cs-silenced summary")?.textContent;
  return { ...view, root, toggle, more, chips, words };
}

it("keeps units of a layer ascending, and no layer without any", () => {
  const silenced = changed([["stem", [5]]], "stem", (units) => [...units, 2]);
  expect(silenced).toEqual([["stem", [2, 5]]]);
  expect(changed(silenced, "stem", () => [])).toEqual([]);
});

it("asks where a drag ends what the silence does there", () => {
  const { store, kernel } = setup();
  const asked = () =>
    kernel.ask.mock.calls.filter(([kind]) => kind === "occlude").map(([, request]) => request);
  store.set({ dragging: true });
  store.set({ position: [3, 4], dragging: false });
  expect(asked()).toEqual([]);
  store.set({ silenced: [["stem", [3]]], dragging: true });
  expect(asked()).toEqual([]);
  store.set({ dragging: false });
  expect(asked()).toMatchObject([{ position: [3, 4], dragging: false }]);
});

it("silences the unit that is looked at, and takes it back", () => {
  const { store, root, toggle, chips, words } = setup();
  const part = root.querySelector<HTMLElement>(".cs-silenced");
  expect(part?.hidden).toBe(true);
  toggle.click();
  expect([store.get("silenced"), toggle.getAttribute("aria-pressed"), words()]).toEqual([
    [["stem", [3]]],
    "true",
    "1 unit silenced",
  ]);
  store.set({ selected: 1 });
  expect(toggle.getAttribute("aria-pressed")).toBe("false");
  toggle.click();
  expect([chips().length, words()]).toEqual([2, "2 units silenced"]);
  toggle.click();
  expect(store.get("silenced")).toEqual([["stem", [3]]]);
  chips()[0]?.click();
  expect([store.get("silenced"), part?.hidden]).toEqual([[], true]);
});

it("gives the focus of a chip that goes to the next, and of the last to the instrument", async () => {
  const { store, root, more, chips, signal } = setup();
  keepFocus(root, signal);
  store.set({
    silenced: [
      ["stem", [1, 2]],
      ["head", [0, 1, 2, 3, 4, 5]],
    ],
  });
  expect(chips().map((one) => one.getAttribute("aria-label"))).toEqual([
    "Silence unit 1 of stem no longer",
    "Silence unit 2 of stem no longer",
    "Silence 6 of 8 units of head no longer",
  ]);
  chips()[1]?.focus();
  chips()[1]?.click();
  await Promise.resolve();
  expect(document.activeElement).toBe(chips()[1]);
  chips()[1]?.click();
  await Promise.resolve();
  expect([store.get("silenced"), document.activeElement]).toEqual([[["stem", [1]]], chips()[0]]);
  chips()[0]?.click();
  await Promise.resolve();
  // Beside them is the button that silences.
  expect(document.activeElement).toBe(more);
});

it("asks for more of the layer, and whether its units can be silenced at all", () => {
  const { store, kernel, toggle, more, root } = setup();
  expect(kernel.ask).toHaveBeenLastCalledWith("silenceable", { layer: "stem" });
  const offered = () => [...more.options].filter(({ hidden }) => !hidden).map(({ value }) => value);
  expect(offered()).toEqual(["", "all", "none"]);
  store.set({ _survey: { ...store.get("_survey"), revision: 1 } });
  expect(offered()).toEqual(["", "strongest", "weakest", "all", "none"]);
  more.value = "weakest";
  more.dispatchEvent(new Event("change"));
  expect(kernel.tell).toHaveBeenLastCalledWith("silence", { layer: "stem", which: "weakest" });
  expect(more.value).toBe("");
  kernel.answer("silenceable", { layer: "stem", refused: "Expected a convolution, got a sum." });
  const why = root.querySelector<HTMLElement>("[title^='Expected a convolution']");
  expect([toggle.hidden, more.hidden, why?.textContent]).toEqual([true, true, "cannot be silenced"]);
  store.set({ layer: "head", selected: 0 });
  expect([toggle.hidden, toggle.disabled, why?.textContent]).toEqual([false, false, ""]);
  store.set({ offline: true, silenced: [["head", [0]]] });
  expect(root.querySelector<HTMLButtonElement>(".cs-chip")?.disabled).toBe(true);
});
