/** Which transformation, how far, and what comes in at the border. */
import { type Control, captioned, segmented, select, tied } from "../../lib/controls";
import { aria, el, on, text } from "../../lib/dom";
import { many } from "../../lib/format";
import type { View } from "../../seam";
import { unreadable, type Work } from "../shared/work";
import { chooseTransform, type Distance, type InvarianceState, transformOf } from "./state";
import { FILL_WORDS, valueText } from "./words";

export function invarianceTools(view: View<InvarianceState>, root: HTMLElement): void {
  const { store } = view;
  const choice = el("span");
  const fills = el("span.cs-tools__field");
  const distance = segmented<Distance>("Distance", {
    raw: ["raw", "Euclidean distance of the features to those of the picture as it is"],
    relative: ["relative", "The same, divided by the norm of the features of the picture as it is"],
    cosine: ["cosine", "One minus the cosine: blind to how strong all features are"],
  });
  const line = el(
    "div.cs-tools",
    captioned("change", choice),
    fills,
    captioned("distance", tied(store, "distance", distance).element),
  );
  const range = el("input.cs-scrubber__range", { type: "range", "aria-label": "How far" });
  const value = el("output.cs-slide__value");
  const back = el("button.cs-button", { title: "The picture as it is" }, "reset");
  const slide = el("div.cs-slide", el("span.cs-slide__caption", "how far"), range, value, back);
  root.append(line, slide);
  on(range, "input", () => {
    const at = Number(range.value);
    store.set({ value: store.get("offline") ? nearest(transformOf(store)?.values ?? [], at) : at });
  });
  on(back, "click", () => store.set({ value: transformOf(store)?.identity ?? 0 }));

  let offered = "";
  store.watch(["_invariance", "transform", "fill"], () => {
    const { transforms, fills: known, moves } = store.get("_invariance");
    const names = `${transforms.map(({ name }) => name).join()} ${known.join()}`;
    if (names !== offered) {
      offered = names;
      const transform: Control<string> = select(
        "Transformation",
        Object.fromEntries(transforms.map((one) => [one.name, one.words])),
      );
      transform.onChoose((name) => chooseTransform(store, name));
      choice.replaceChildren(transform.element);
      const fill = select<string>(
        "What comes in at the border",
        Object.fromEntries(known.map((one) => [one, FILL_WORDS[one] ?? one])),
      );
      fill.onChoose((name) => store.set({ fill: name }));
      fills.replaceChildren("border", fill.element);
    }
    const [transform, fill] = [choice.querySelector("select"), fills.querySelector("select")];
    if (transform) transform.value = store.get("transform");
    if (fill) fill.value = store.get("fill");
    fills.hidden = !moves.includes(store.get("transform"));
  });
  store.watch(["_invariance", "transform", "value"], () => {
    const found = transformOf(store);
    slide.hidden = !found;
    if (!found) return;
    const at = store.get("value");
    range.min = String(Math.min(...found.values, found.identity));
    range.max = String(Math.max(...found.values, found.identity));
    range.step = String(found.step);
    range.value = String(at);
    const words = valueText(found, at);
    aria(range, "valuetext", words);
    text(value, words);
    back.disabled = at === found.identity;
  });
  store.follow("offline", (offline) => {
    for (const one of [...root.querySelectorAll("select"), back]) one.disabled = offline;
  });
}

/** A saved page holds the pictures at the values that were measured. */
function nearest(values: readonly number[], at: number): number {
  return values.reduce(
    (best, one) => (Math.abs(one - at) < Math.abs(best - at) ? one : best),
    values[0] ?? at,
  );
}

/** The work behind it, for the status line. */
export const invarianceWork = ({ store, kernel }: View<InvarianceState>): Work => ({
  label: "Measuring",
  noun: "measured:",
  begins: "measuring begins",
  progress: () => store.get("_work"),
  onChange: (run) => store.onChange(["_work", "_invariance"], run),
  whole: () => {
    const { pictures } = store.get("_invariance").curves[store.get("transform")] ?? { pictures: 0 };
    return `curves and consistency of ${many(pictures, "picture")}`;
  },
  note: () => unreadable(store.get("_invariance").curves[store.get("transform")]?.skipped ?? 0),
  resume: () => kernel.tell("resume"),
  failure: () => "measuring failed",
  retry: "try again",
});
