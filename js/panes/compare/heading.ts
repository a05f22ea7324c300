/** Whose picture it is, under the square that both share. */
import { aria, el, text } from "../../lib/dom";
import { side } from "../../lib/format";
import type { View } from "../../seam";
import { type CompareState, names } from "./state";

export function squareHeading({ store }: View<CompareState>, root: HTMLElement, which: 0 | 1): void {
  const [title, size] = [el("span.cs-heading__name"), el("span")];
  root.append(el("h3.cs-heading.cs-heading--side", title, size));
  // Both squares are called the same; whose they are is said of the group.
  root.setAttribute("role", "group");
  store.watch(["_comparison", "_network", "_second"], () => {
    aria(root, "label", names(store)[which]);
    text(title, names(store)[which]);
    text(size, `sees ${side(store.get(which === 0 ? "_network" : "_second").size)} px`);
  });
}
