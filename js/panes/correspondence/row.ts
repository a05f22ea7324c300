/** The pictures in a row: a click, or the arrow keys and Enter, says where the part is. */
import { aria, el, layOver, on, onFrame, onKey, shareAt, text } from "../../lib/dom";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { corner, moved } from "./geometry";
import { type CorrespondenceState, clicked, mark, type Point } from "./state";

const KEYS: Record<string, Point> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function pictureRow(view: View<CorrespondenceState>, root: HTMLElement): void {
  const { store } = view;
  const hint = el("p.cs-places__hint", { role: "status" });
  const told = el("span.cs-visually-hidden", { role: "status" });
  const row = el("div.cs-places", { role: "group", "aria-label": "Pictures" });
  root.append(hint, row, told);
  let spots: Spot[] = [];
  store.watch(["_pictures"], () => {
    spots = store.get("_pictures").map((_, picture) => spot(view, picture, (words) => text(told, words)));
    row.replaceChildren(...spots.map(({ element }) => element));
  });
  const paint = onFrame(() => {
    for (const one of spots) one.paint();
  });
  store.watch(["_pictures", "views", "shown", "covered"], paint);
  store.watch(["_pictures", "points", "size", "shown", "offline", "unread", "_network"], () => {
    for (const one of spots) one.place();
  });
  store.watch(["points", "shown", "offline", "unread", "_pictures"], () => text(hint, hintText(view)));
  const answered = () => store.get("views").length > 0 || Object.keys(store.get("unread")).length > 0;
  showAwaited(view, row, "views", ["views", "unread"], () => (answered() ? "" : "loading"));
}

function hintText({ store }: View<CorrespondenceState>): string {
  const [count, unread] = [clicked(store), Object.keys(store.get("unread")).length];
  const all = store.get("_pictures").length - unread;
  const shown = store.get("shown");
  if (shown) return `The masks of ${shown}. Click a picture to mark ${store.get("part")}.`;
  if (store.get("offline")) return "";
  if (count === 0) return "Click the same part in each picture: an eye, say. Two pictures at least.";
  if (count === 1) return "Once more: a score compares pairs, so it takes two pictures at least.";
  return count < all
    ? `${count} of ${all} pictures. Each more makes the scores surer.`
    : `All ${all} pictures.`;
}

interface Spot {
  element: HTMLElement;
  paint: () => void;
  place: () => void;
}

function spot({ store }: View<CorrespondenceState>, picture: number, tell: (words: string) => void): Spot {
  const canvas = el("canvas.cs-picture__canvas");
  const masks = el("canvas.cs-place__masks");
  const square = el("i.cs-place__square");
  const cross = el("i.cs-place__cross");
  const damaged = el("span.cs-place__unread", "cannot be read");
  const shut = () => store.get("offline") || picture in store.get("unread");
  const frame = el(
    "div.cs-place__picture",
    { role: "application", tabindex: 0 },
    canvas,
    masks,
    square,
    cross,
    damaged,
  );
  const name = store.get("_pictures")[picture]?.name ?? `picture ${picture}`;
  const element = el("div.cs-place", frame, el("div.cs-place__name", { title: name }, name));
  let cursor: Point | null = null;
  const size = () => store.get("_network").size;
  const middle = (): Point => [Math.floor(size()[0] / 2), Math.floor(size()[1] / 2)];
  const aim = (to: Point | null) => {
    cursor = to;
    cross.hidden = to === null;
    if (!to) return;
    cross.style.top = `${(100 * (to[0] + 0.5)) / size()[0]}%`;
    cross.style.left = `${(100 * (to[1] + 0.5)) / size()[1]}%`;
  };
  aim(null);
  on(frame, "click", (event) => {
    if (shut()) return;
    const [down, right] = shareAt(frame, event);
    aim(null);
    mark(
      store,
      picture,
      moved([Math.floor(down * size()[0]), Math.floor(right * size()[1])], [0, 0], size()),
    );
  });
  on(frame, "blur", () => aim(null));
  onKey(frame, ({ key, shiftKey, ctrlKey, metaKey, altKey }) => {
    if (shut() || ctrlKey || metaKey || altKey) return false;
    const from = cursor ?? store.get("points")[picture] ?? middle();
    const step = KEYS[key];
    if (step) {
      const by = shiftKey ? 10 : 1;
      const to = moved(from, [by * step[0], by * step[1]], size());
      aim(to);
      tell(`row ${to[0]}, column ${to[1]}`);
      return true;
    }
    if (key === "Enter" || key === " ") {
      mark(store, picture, from);
      tell(`set at row ${from[0]}, column ${from[1]}`);
      return true;
    }
    if (key === "Delete" || key === "Backspace") {
      mark(store, picture, null);
      tell("taken back");
      return true;
    }
    return false;
  });
  return {
    element,
    paint: () => {
      const photo = store.get("views")[picture];
      if (photo) show(canvas, photo.pixels, photo.width, photo.height);
      if (photo) frame.style.aspectRatio = `${photo.width} / ${photo.height}`;
      const covered = store.get("covered");
      const mask = covered && covered.part === store.get("shown") ? covered.masks[picture] : undefined;
      masks.hidden = !mask || !photo;
      if (mask && photo) show(masks, tinted(mask), photo.width, photo.height);
    },
    place: () => {
      const point = store.get("shown") ? null : store.get("points")[picture];
      square.hidden = !point;
      const reason = store.get("unread")[picture];
      damaged.hidden = reason === undefined;
      frame.title = reason ?? "";
      frame.tabIndex = reason === undefined ? 0 : -1;
      aria(frame, "disabled", reason !== undefined);
      const marked = point ? `row ${point[0]}, column ${point[1]}` : "not marked";
      const where = reason === undefined ? marked : "cannot be read";
      const keys = shut()
        ? ""
        : ". Arrow keys move a cursor, with Shift by 10; Enter sets the part, Delete takes it back.";
      aria(frame, "label", `${name}: ${where}${keys}`);
      frame.dataset.marked = String(Boolean(point));
      if (!point) return;
      const side = store.get("size");
      layOver(square, corner(point, side, size()), [side, side], size());
    },
  };
}

/** What a mask covers, in the accent's orange, half transparent. */
function tinted(mask: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * mask.length);
  mask.forEach((covers, at) => {
    if (covers) pixels.set([247, 103, 7, 190], 4 * at);
  });
  return pixels;
}
