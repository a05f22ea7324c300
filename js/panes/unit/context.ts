/** The whole picture that an exemplar comes from, and where in it. */
import { el, on, text } from "../../lib/dom";
import { inTwoLines } from "../../lib/format";
import { type Photo, show } from "../../lib/photo";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { hasSurvey } from "../shared/survey";
import { describe, putAtMiddle } from "./exemplar";
import { type Exemplar, exemplarsOf, type UnitState } from "./state";

export function contextFigure(view: View<UnitState>): HTMLElement {
  const { store } = view;
  const { frame, showIn } = framedPicture();
  const caption = el("p.cs-context__caption");
  const source = el("bdi.cs-context__source");
  const file = fileButton(view, () => source.title);
  const figure = el(
    "figure.cs-context",
    el("h3.cs-heading", "In its picture"),
    frame,
    el("figcaption", caption, el("p.cs-context__line", source, file)),
  );
  store.follow("_network", ({ size: [height, width] }) => {
    frame.style.aspectRatio = `${width} / ${height}`;
  });
  store.watch(["unit", "weaker", "exemplar", "context", "_survey", "errors", "offline"], () => {
    const exemplar = exemplarHere(view);
    figure.hidden = !exemplar && !isToCome(view);
    if (!exemplar) return;
    caption.title = describe(exemplar);
    // Its name stands beneath.
    const said = exemplar.label ? caption.title : caption.title.replace(` · ${exemplar.name}`, "");
    text(caption, inTwoLines(said));
    source.title = exemplar.path ?? exemplar.name;
    text(source, exemplar.name);
    file.hidden = !exemplar.path;
    const photo = store.get("context");
    const come = photo?.picture === exemplar.image;
    if (photo && come) showIn(photo, exemplar);
  });
  showAwaited(view, figure, "whole", ["unit", "weaker", "exemplar", "context"], () => {
    const [photo, exemplar] = [store.get("context"), exemplarHere(view)];
    return photo?.picture === exemplar?.image ? "" : photo ? "stale" : "loading";
  });
  return figure;
}

/** Whether a unit is still looked up, so that there is to be room for it. */
export const isToCome = ({ store }: View<UnitState>): boolean =>
  !store.get("unit") && hasSurvey(store) && !store.get("offline") && !("unit" in store.get("errors"));

/** The exemplar whose picture is shown. */
const exemplarHere = ({ store }: View<UnitState>): Exemplar | undefined =>
  exemplarsOf(store.get("unit"), store.get("weaker"))[store.get("exemplar") ?? 0];

/** A picture with a box around the receptive field, or a ring where that is larger than the picture. */
function framedPicture(): { frame: HTMLElement; showIn: (photo: Photo, exemplar: Exemplar) => void } {
  const canvas = el("canvas.cs-context__canvas");
  // Of a picture that is still to come there is no place.
  const box = el("div.cs-context__box", { hidden: true });
  const ring = el("i.cs-mark", { hidden: true });
  return {
    frame: el("div.cs-context__frame", canvas, box, ring),
    showIn: ({ pixels, width, height }, exemplar) => {
      show(canvas, pixels, width, height);
      ring.hidden = !exemplar.whole;
      box.hidden = exemplar.whole;
      if (exemplar.whole) putAtMiddle(ring, exemplar, [height, width]);
      const [top, left] = [Math.max(0, exemplar.box[0]), Math.max(0, exemplar.box[1])];
      const [bottom, right] = [Math.min(height, exemplar.box[2]), Math.min(width, exemplar.box[3])];
      // By its middle, so that a field of a few pixels can be drawn larger than it is and still point at the place.
      Object.assign(box.style, {
        top: `${(50 * (top + bottom)) / height}%`,
        left: `${(50 * (left + right)) / width}%`,
        height: `${(100 * (bottom - top)) / height}%`,
        width: `${(100 * (right - left)) / width}%`,
      });
    },
  };
}

function fileButton({ store, page }: View<UnitState>, path: () => string): HTMLElement {
  const file = el("button.cs-link", { hidden: true });
  on(file, "click", () => page.file.act(path())?.then(() => text(file, "copied")));
  store.watch(["exemplar", "unit"], () => text(file, page.file.name));
  return file;
}
