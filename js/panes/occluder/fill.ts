/** What shows in the occluder's place: a name, any colour, another picture, a file. */
import { select } from "../../lib/controls";
import { el, on } from "../../lib/dom";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

/** The list's entries for what has further choices: the kernel writes "#rrggbb" and "picture:N". */
const COLOUR = "colour";
const PICTURE = "picture";
/** The last entry among the pictures. */
const FILE = "file";

export function fillField({ store, kernel }: View<OccluderState>): HTMLElement[] {
  const fills = select<string>("Fill", {
    grey: "grey",
    mean: "mean",
    blur: "blur",
    noise: "noise",
    inpaint: "inpaint",
    [COLOUR]: "colour",
    [PICTURE]: "picture…",
  });
  fills.onChoose((fill) => {
    if (fill === COLOUR) store.set({ fill: colour.value });
    else if (fill !== PICTURE) store.set({ fill });
    else if (store.get("_pictures").length > 1) store.set({ fill: `picture:${another()}` });
    else choose();
  });
  const pictures = el("select.cs-select", { "aria-label": "Picture that fills the occluder" });
  const file = el("input", { type: "file", accept: "image/*", hidden: true });
  const colour = el("input.cs-colour", {
    type: "color",
    title: "Any colour",
    "aria-label": "Fill colour",
    value: "#d9480f",
  });
  /** A picture that is not the current one. */
  const another = () => (store.get("picture") + 1) % store.get("_pictures").length;
  const choose = () => {
    // Until a file is chosen, the list says what still holds.
    show();
    file.click();
  };
  const show = () => {
    const fill = store.get("fill");
    const [isColour, isPicture] = [fill.startsWith("#"), fill.startsWith("picture:")];
    fills.show(isColour ? COLOUR : isPicture ? PICTURE : fill);
    if (isColour) colour.value = fill;
    colour.hidden = !isColour;
    pictures.hidden = !isPicture;
    pictures.replaceChildren(
      ...store.get("_pictures").map(({ name }, index) => el("option", { value: index }, name)),
      el("option", { value: FILE }, "choose a file…"),
    );
    pictures.value = fill.slice("picture:".length);
  };
  on(pictures, "change", () =>
    pictures.value === FILE ? choose() : store.set({ fill: `picture:${pictures.value}` }),
  );
  on(file, "change", async () => {
    const [one] = file.files ?? [];
    if (one) kernel.tell("add", { as: "fill", name: one.name }, [await one.arrayBuffer()]);
    file.value = "";
  });
  on(colour, "input", () => store.set({ fill: colour.value }));
  store.watch(["fill", "_pictures"], show);
  return [fills.element, pictures, file, colour];
}
