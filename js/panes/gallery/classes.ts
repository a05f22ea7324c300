/** Which class each row explains. */
import { el } from "../../lib/dom";
import { probability } from "../../lib/format";
import type { View } from "../../seam";
import type { PictureCell } from "./cells";
import type { ExplainedClass, GalleryState } from "./state";

/** The classes of each row: the most probable ones, and whatever else is explained. */
export function showClasses({ store }: View<GalleryState>, pictures: readonly PictureCell[]): void {
  const [rows, explained, targets] = [store.get("rows"), store.get("explained"), store.get("targets")];
  for (const { row, classes } of pictures) {
    const known = rows[row]?.classes ?? [];
    const chosen = targets[row] ?? known[0]?.index;
    const now = explained[row];
    const other = now && now.index === chosen && !known.some(({ index }) => index === chosen) ? [now] : [];
    classes.replaceChildren(
      ...[...known, ...other].map((one) => classButton(one, one.index === chosen, store.get("offline"))),
    );
  }
}

function classButton(
  { index, label, probability: value }: ExplainedClass,
  chosen: boolean,
  offline: boolean,
) {
  return el(
    "button.cs-explained__class",
    {
      "data-class": index,
      "aria-pressed": String(chosen),
      title: `${label}: explain this class`,
      disabled: offline && !chosen,
    },
    el("span.cs-explained__name", label),
    el("span.cs-explained__value", probability(value)),
  );
}
