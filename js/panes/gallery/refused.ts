/** Methods that are not among the columns, with the reason, and a button where an extension makes them possible. */
import { dim, el, on } from "../../lib/dom";
import type { View } from "../../seam";
import type { GalleryState, Refused } from "./state";
import { titleOf } from "./words";

const HEADINGS = {
  network: "Not for this network",
  missing: "Not installed",
} as const;

/** Methods that the network supports and that are not shown: a click adds one. */
function addable({ store }: View<GalleryState>, refused: readonly Refused[]): HTMLElement[] {
  const buttons = refused.map(({ name, kind, summary, reason }) => {
    const lacking = kind === "patterns";
    const button = el(
      "button.cs-button",
      { "data-method": name, title: lacking ? reason : summary, disabled: lacking || store.get("offline") },
      lacking ? titleOf(name) : `+ ${titleOf(name)}`,
    );
    on(button, "click", () => {
      const shown = store.get("_columns").map((column) => column.name);
      store.set({ methods: [...shown, name] });
    });
    return lacking ? el("span.cs-refused__lacking", button, dim("needs fitted patterns")) : button;
  });
  return buttons.length > 0 ? [el("h3.cs-heading", "Not shown"), el("div.cs-refused__more", ...buttons)] : [];
}

export function refusedPane(view: View<GalleryState>, root: HTMLElement): void {
  const { store } = view;
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
    root.replaceChildren(
      ...addable(
        view,
        refused.filter(({ kind }) => kind === "more" || kind === "patterns"),
      ),
    );
    for (const [kind, heading] of Object.entries(HEADINGS)) {
      const of = refused.filter((one) => one.kind === kind);
      if (of.length > 0) root.append(el("h3.cs-heading", heading), ...of.map(item));
    }
  });
}
