/** What the maps can say, and what not. */
import { el, text } from "../../lib/dom";
import { unreadText } from "../../lib/format";
import type { View } from "../../seam";
import type { GalleryState } from "./state";

export function notesPane({ store }: View<GalleryState>, root: HTMLElement): void {
  const given = el("p");
  const unread = el("p.cs-notes__unread");
  const notes = el(
    "div.cs-notes",
    el(
      "p",
      el("b", "Function"),
      " is how the score changes with the picture; ",
      el("b", "signal"),
      " what the network picked out of it; ",
      el("b", "attribution"),
      " how much each place contributed. Two methods have no common unit: each column has its own scale of colours, written at " +
        "its head, the same for all pictures; “per group” shows the strength of methods that answer one question.",
    ),
    el(
      "p",
      "Deconvnet and guided backprop show what a unit sees, not why a class was chosen. In the pointing game the " +
        "strongest place of a deconvnet’s map lies on the object less often than the centre of the picture does " +
        "(67.5 % against 69.6 %, VOC 2007, VGG-16).",
    ),
    el(
      "p",
      "The small map beneath each is its control: the same class, with the top layers randomised. ρ compares where " +
        "both are strong, not their signs. A map that hardly changes (ρ above 0.7) hardly depends on what those layers " +
        "learnt; one that changes may still be wrong.",
    ),
    given,
    unread,
  );
  root.append(el("h3.cs-heading", "What this can and cannot say"), notes);
  store.watch(["given", "rows", "unread"], () => {
    const [damaged, shown] = [store.get("unread"), store.get("rows").length];
    const count = store.get("given") - damaged.length;
    given.hidden = count <= shown;
    text(given, `The first ${shown} of ${count} pictures are shown.`);
    unread.hidden = damaged.length === 0;
    text(unread, `${unreadText(damaged.map(([name]) => name))}.`);
    unread.title = damaged.map(([, error]) => error).join("\n");
  });
}
