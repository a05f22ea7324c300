/** One map, large, beside its picture and its control. Escape closes, arrows go on to the next, with Shift to places. */
import { el, on, onEnd, onFrame, text } from "../../lib/dom";
import type { View } from "../../seam";
import { moved } from "./keys";
import { lookOf, paintPicture, paintTile } from "./paint";
import { lookAt, lookByKeys, putMark, spotMark, spotOf } from "./spot";
import type { Column, GalleryState, Row } from "./state";
import { keyOf, valuesAt } from "./tiles";
import { aboutOf, meaning, placeText, randomised, rangeOf, rhoText, titleOf, valueText } from "./words";

export interface Large {
  /** Show a map; focus returns to `from` when it is closed. */
  open: (row: number, method: string, from: HTMLElement) => void;
}

/** What is shown: one place of the table. */
interface Shown {
  row: number;
  method: string;
  /** What had the focus, and gets it back. */
  from: HTMLElement | null;
}

export function largeView(view: View<GalleryState>, root: HTMLElement): Large {
  const { store, page, signal } = view;
  const title = el("h3.cs-large__title");
  const facts = el("p.cs-large__facts");
  const sentence = el("p.cs-large__facts");
  const told = el("p.cs-visually-hidden", { role: "status" });
  const close = el("button.cs-button", { "aria-label": "Close" }, "×");
  const figures = { picture: figureOf("picture"), map: figureOf("map"), control: figureOf("control") };
  const dialog = el(
    "dialog.cs-large",
    { "aria-label": "One map, large" },
    el("div.cs-large__head", title, close),
    facts,
    el("div.cs-large__figures", ...Object.values(figures).map(({ element }) => element)),
    sentence,
    told,
  );
  root.append(dialog);
  const shown: Shown = { row: 0, method: "", from: null };

  const show = onFrame(() => {
    if (!dialog.open) return;
    const { row, method } = shown;
    const picture = store.get("rows")[row];
    const column = store.get("_columns").find(({ name }) => name === method);
    if (!picture || !column) return;
    const tiles = store.get("tiles");
    const [map, control] = [tiles.get(keyOf(row, method, false)), tiles.get(keyOf(row, method, true))];
    const controlled = store.get("control") && !!control?.map;
    text(title, `${titleOf(method)}${column.extended ? " (extended)" : ""}`);
    text(facts, `${column.group} · ${map?.map ? `${map.map.label} · ` : ""}${column.summary}`);
    const rho = control?.rho ?? null;
    text(sentence, controlled ? `ρ ${rhoText(rho)}. ${meaning(rho, control?.turned).sentence}` : "");
    const [high, wide] = store.get("_network").size;
    dialog.style.setProperty("--cs-aspect", `${wide} / ${high}`);
    dialog.dataset.place = `${row} ${method}`;
    figures.control.element.hidden = !controlled;
    showPicture(view, figures.picture, picture, row);
    showMap(view, figures.map, picture, row, column, false);
    showMap(view, figures.control, picture, row, column, true);
  });
  store.onChange(["tiles", "spot", "rows", "_columns", "opacity", "scale_by", "colours", "control"], show);
  page.onTheme(show);

  for (const { frame } of Object.values(figures)) {
    const look = (event: PointerEvent) => lookAt(store, frame, shown.row, event);
    on(frame, "pointermove", look);
    on(frame, "pointerdown", look);
    on(frame, "pointerleave", () => store.set({ spot: null }));
  }
  on(close, "click", () => dialog.close());
  // A click beside the dialog is one on its backdrop.
  on(dialog, "click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => shown.from?.focus(), { signal });
  on(dialog, "keydown", (event) => {
    event.stopPropagation();
    const looked = lookByKeys(store, shown.row, shown.method, event);
    text(told, looked ?? "");
    if (looked !== null) event.preventDefault();
    else if (goOn(view, root, shown, event)) show();
  });
  onEnd(signal, () => dialog.close());
  return {
    open: (row, method, from) => {
      Object.assign(shown, { row, method, from });
      store.set({ spot: null });
      if (!dialog.open) dialog.showModal();
      close.focus();
      show();
    },
  };
}

/** Go where an arrow key leads; false for any other key. */
function goOn({ store }: View<GalleryState>, root: HTMLElement, shown: Shown, event: KeyboardEvent): boolean {
  const columns = store.get("_columns");
  const at = columns.findIndex(({ name }) => name === shown.method);
  const to = moved(event.key, [shown.row, at], store.get("rows").length, columns.length);
  if (!to) return false;
  event.preventDefault();
  shown.row = to[0];
  shown.method = columns[to[1]]?.name ?? shown.method;
  const tiles = [...root.querySelectorAll<HTMLElement>(".cs-tile[data-method]")];
  shown.from =
    tiles.find(({ dataset }) => dataset.row === String(shown.row) && dataset.method === shown.method) ??
    shown.from;
  return true;
}

interface Figure {
  element: HTMLElement;
  frame: HTMLElement;
  canvas: HTMLCanvasElement;
  note: HTMLElement;
  mark: HTMLElement;
  caption: HTMLElement;
}

function figureOf(name: string): Figure {
  const canvas = el("canvas.cs-tile__canvas");
  const note = el("span.cs-tile__note");
  const mark = spotMark();
  const frame = el("div.cs-tile", { "data-figure": name }, canvas, note, mark);
  const caption = el("figcaption.cs-cell__caption");
  return { element: el("figure", frame, caption), frame, canvas, note, mark, caption };
}

function showPicture({ store }: View<GalleryState>, figure: Figure, picture: Row, row: number): void {
  const at = spotOf(store, row);
  paintPicture(figure.canvas, picture);
  text(figure.caption, at ? placeText(at, picture) : picture.name);
  putMark(figure.mark, at);
}

function showMap(
  view: View<GalleryState>,
  { canvas, note, mark, caption }: Figure,
  picture: Row,
  row: number,
  column: Column,
  control: boolean,
): void {
  const { store } = view;
  const [tiles, at] = [store.get("tiles"), spotOf(store, row)];
  const tile = tiles.get(keyOf(row, column.name, control));
  canvas.hidden = !tile?.map;
  text(note, tile?.error ? `${tile.error.name}: ${tile.error.message}` : "");
  if (tile) paintTile(canvas, picture, tile, tiles, store.get("_columns"), lookOf(view));
  const range = tile?.map ? rangeOf(tile.map) : "";
  const value = tile?.map && at ? valueText(valuesAt(tile.map, at)) : range;
  caption.title = tile?.map ? aboutOf(tile.map) : "";
  text(caption, control ? `${value} · ${randomised(store.get("top"))} at random` : value);
  putMark(mark, at);
}
