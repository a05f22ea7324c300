/** One of the linked panels: a map over the faint picture, what it says of a place, a legend beneath. */
import { aria, dim, el, onFrame, onResize, text } from "../../lib/dom";
import { extent, type Position } from "../../lib/geometry";
import { type Store, same } from "../../lib/store";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { cellAt, isComputed, placeOf } from "./cells";
import { chooseByKeys, chooseByPointer } from "./choose";
import { paintMap } from "./paint";
import { MAPPED, mapKey } from "./requests";
import type { MapState, Maps } from "./state";

/** What a panel is called, what it says of a cell, how it colours the cells. */
export interface Panel {
  name: string;
  title: (maps: Maps) => string;
  value: (maps: Maps, cell: number) => string;
  /** `from`: for each cell the one whose value it shows, or -1. */
  paint: (maps: Maps, from: Int32Array, words: Uint32Array) => void;
  /** What else changes its colours. */
  colouredBy?: readonly (keyof MapState)[];
  /** What is written on a map that is only estimated. */
  preview: string;
  /** There is nothing of the kind in these maps. */
  absent?: (maps: Maps) => boolean;
  /** Beneath the map: colour bar or legend. */
  foot: HTMLElement;
  showFoot: (maps: Maps) => void;
}

export function mountPanel(panel: Panel, view: View<MapState>, grid: HTMLElement): void {
  const { store, page } = view;
  const [title, value, nearest] = [el("span.cs-map__title"), el("span.cs-map__value"), dim()];
  const canvas = el("canvas.cs-map__canvas");
  const note = el("span.cs-map__note");
  const frame = el(
    "div.cs-map__frame",
    {
      tabindex: 0,
      role: "slider",
      "aria-roledescription": "map",
      "aria-valuemin": 0,
      "data-panel": panel.name,
    },
    canvas,
    note,
  );
  page.keepMenu(frame);
  const figure = el(
    "figure.cs-map",
    el("figcaption.cs-heading", title, el("span.cs-map__line", value, nearest)),
    frame,
    panel.foot,
  );
  grid.append(figure);
  keepPainted(panel, view, frame, canvas);
  chooseByPointer(view, frame);
  chooseByKeys(view, frame);
  store.watch(["maps", "cell", "position", "size"], () => {
    // What is looked at, else where the ring is.
    const maps = store.get("maps");
    const cell = store.get("cell") ?? (maps && ringCell(maps, store));
    figure.hidden = !!maps && (panel.absent?.(maps) ?? false);
    if (!maps) return;
    const [row, column] = cell ?? [0, 0];
    const at = row * maps.columns + column;
    const valueText = panel.value(maps, at);
    const what = panel.title(maps);
    text(title, what);
    text(value, valueText);
    // What is written beside the occluder itself is of its own place.
    const place = placeOf(maps, [row, column]);
    const away = !store.get("cell") && !same(place, store.get("position"));
    text(nearest, away && valueText ? "nearest" : "");
    nearest.title = `Of the nearest place of the map: row ${place[0]}, column ${place[1]}`;
    figure.title = what;
    text(note, maps.preview ? panel.preview : "");
    frame.dataset.preview = String(maps.preview);
    frame.dataset.computed = String(maps.label.reduce((sum, one) => sum + (isComputed(one) ? 1 : 0), 0));
    aria(frame, "label", what);
    aria(frame, "valuemax", maps.rows * maps.columns - 1);
    aria(frame, "valuenow", at);
    aria(frame, "valuetext", `row ${row}, column ${column}: ${valueText || "not computed yet"}`);
  });
  store.follow("maps", (maps) => {
    if (maps) panel.showFoot(maps);
  });
  showAwaited(view, figure, "map", ["maps", "mapped", ...MAPPED], () => {
    if (!store.get("maps")) return "loading";
    return store.get("offline") || store.get("mapped") === mapKey(store) ? "" : "stale";
  });
}

/** The cell of the occluder where it is. */
function ringCell(maps: Maps, store: Store<MapState>): Position {
  const [[top, left], [high, wide]] = [store.get("position"), extent(store.get("size"))];
  return cellAt(maps, [top + high / 2, left + wide / 2]);
}

function keepPainted(
  panel: Panel,
  { store, page }: View<MapState>,
  frame: HTMLElement,
  canvas: HTMLCanvasElement,
): void {
  let width = 0;
  const paint = onFrame(() => {
    const [high, wide] = store.get("_network").size;
    frame.style.aspectRatio = `${wide} / ${high}`;
    if (width > 0) paintMap(canvas, width, panel, store);
  });
  store.watch(["maps", "photo", "position", "size", "cell", "_network", "opacity"], paint);
  page.onTheme(paint);
  if (panel.colouredBy) store.onChange(panel.colouredBy, paint);
  onResize(frame, (now) => {
    width = now;
    paint();
  });
}
