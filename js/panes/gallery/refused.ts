/** Methods that are not among the columns, with the reason, and a button where an extension makes them possible. */
import { el, on } from "../../lib/dom";
import type { View } from "../../seam";
import type { GalleryState, Refused } from "./state";
import { titleOf } from "./words";

const HEADINGS = {
  network: "Not for this network",
  missing: "Not installed",
  more: "Not shown",
} as const;

export function refusedPane({ store }: View<GalleryState>, root: HTMLElement): void {
  const item = (refused: Refused) => {
    const { name, reason, extension } = refused;
    const box = el(
      "div.cs-refused",
      { "data-method": name },
      el("div.cs-refused__name", { title: refused.summary }, titleOf(name)),
      el("div.cs-refused__reason", { tabindex: 0 }, reason),
    );
    if (extension) {
      const extend = el(
        "button.cs-button",
        {
          disabled: store.get("offline"),
          title: `Compute it with extension="${extension}" where the published method says nothing; it is labelled`,
        },
        "compute it extended",
      );
      on(extend, "click", () => store.set({ extended: [...store.get("extended"), name] }));
      box.append(extend);
    }
    return box;
  };
  store.watch(["_refused", "offline"], () => {
    const refused = store.get("_refused");
    root.hidden = refused.length === 0;
    root.replaceChildren();
    for (const [kind, heading] of Object.entries(HEADINGS)) {
      const of = refused.filter((one) => one.kind === kind);
      if (of.length > 0) root.append(el("h3.cs-heading", heading), ...of.map(item));
    }
  });
}
