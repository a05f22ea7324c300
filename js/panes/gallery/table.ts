/** The table of maps: a row a picture, a column a method; every map with its control beneath it. */
import { aria, el, on, onFrame, onResize, text, within } from "../../lib/dom";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { figureButtons } from "../shared/figure";
import { beyond } from "./beyond";
import { showCaptions, showCell } from "./captions";
import { type MapCell, mapCell, type PictureCell, pictureCell } from "./cells";
import { showClasses } from "./classes";
import { GAP, groupHeads, leastWidth, methodHeads, showScales, trackOf, tracks } from "./columns";
import { moveByKeys } from "./keys";
import { largeView } from "./large";
import { lookOf, paintPicture, paintTile } from "./paint";
import { explain } from "./requests";
import { lookAt, putMark } from "./spot";
import type { GalleryState } from "./state";
import { keyOf } from "./tiles";

export function tablePane(view: View<GalleryState>, root: HTMLElement): void {
  const { store, page } = view;
  const table = el("div.cs-gallery", {
    role: "grid",
    "aria-label": "Maps of every picture by every method; with Shift, arrow keys look at places",
  });
  const scroller = el("div.cs-gallery__scroller", table);
  const told = el("div.cs-visually-hidden", { role: "status" });
  const others = beyond(scroller);
  root.append(others.element, el("div.cs-gallery__frame", scroller), told);
  let width = 0;
  const fit = () => {
    const least = leastWidth(width, store.get("_columns"));
    if (width > 0) table.style.setProperty("--cs-tile-least", `${least}px`);
    // Beside the picture, which stays within the margin.
    scroller.style.scrollPaddingLeft = `${MARGIN + least + GAP}px`;
    others.show();
  };
  onResize(scroller, (now) => {
    width = now - 2 * MARGIN;
    fit();
  });
  const large = largeView(view, root);
  let cells: MapCell[] = [];
  let pictures: PictureCell[] = [];

  const captions = () => showCaptions(store, pictures, cells);
  const classes = () => showClasses(view, pictures);
  const scales = () => showScales(store, table);
  const words = () => {
    for (const cell of cells) showCell(store, cell);
    captions();
  };
  const spot = onFrame(() => {
    const looked = store.get("spot");
    for (const mark of table.querySelectorAll<HTMLElement>(".cs-spot")) {
      const line = mark.closest("[role=row]");
      putMark(mark, looked && line === table.children[looked.row + HEADS] ? looked.at : null);
    }
    captions();
  });
  const paint = onFrame(() => paintCells(view, table, cells));

  store.follow("awaited", (awaited) => aria(table, "busy", awaited));
  moveByKeys(
    view,
    table,
    () => cells.map(({ button }) => button),
    (words) => text(told, words),
  );
  on(table, "click", (event) => {
    const button = within(event, "[data-class]");
    const row = pictures.find((picture) => picture.classes.contains(button))?.row;
    if (button && row !== undefined) explain(view, row, Number(button.dataset.class));
  });

  store.watch(["rows", "_columns", "_network"], () => {
    ({ cells, pictures } = build(view, table));
    const look = (frame: HTMLElement, row: number) => lookByPointer(view, frame, row);
    for (const { element, frame, row } of pictures) {
      look(frame, row);
      element.append(figureButtons(view, `row ${row}`, "the row"));
    }
    for (const { button, controlFrame, row, column } of cells) {
      page.keepMenu(button);
      look(button, row);
      look(controlFrame, row);
      on(button, "click", () => large.open(row, column.name, button));
    }
    classes();
    words();
    scales();
    paint();
    others.show();
  });
  showAwaited(view, scroller, "rows", ["rows"], () => (store.get("rows").length > 0 ? "" : "loading"));
  store.watch(["_columns"], fit);
  store.onChange(["spot"], spot);
  store.onChange(["scale_by"], captions);
  store.onChange(["tiles", "scale_by"], scales);
  store.onChange(["tiles", "control", "top", "targets", "_tiles", "awaited"], words);
  store.onChange(["explained", "targets", "offline"], classes);
  store.onChange(["tiles", "opacity", "scale_by", "colours"], paint);
  page.onTheme(paint);
}

/** Of the scroller, px, on either side: room for the outline of what has the focus. */
const MARGIN = 4;

/** Lines of the table above the first picture's: groups and methods. */
const HEADS = 2;

/** Fill the table with what its pictures and columns need. */
function build(
  { store }: View<GalleryState>,
  table: HTMLElement,
): { cells: MapCell[]; pictures: PictureCell[] } {
  const [rows, columns] = [store.get("rows"), store.get("_columns")];
  const [high, wide] = store.get("_network").size;
  const cells: MapCell[] = [];
  const pictures: PictureCell[] = [];
  table.style.gridTemplateColumns = tracks(columns);
  table.style.setProperty("--cs-aspect", `${wide} / ${high}`);
  table.replaceChildren(
    groupHeads(columns),
    methodHeads(columns),
    ...rows.map((row, index) => {
      const picture = pictureCell(index, row.name);
      paintPicture(picture.canvas, row);
      pictures.push(picture);
      const own = columns.map((column) => {
        const cell = mapCell(index, column);
        cell.element.style.gridColumn = String(trackOf(columns, column));
        return cell;
      });
      cells.push(...own);
      return el(
        "div.cs-gallery__line",
        { role: "row", "aria-label": row.name },
        picture.element,
        ...own.map(({ element }) => element),
      );
    }),
  );
  if (cells[0]) cells[0].button.tabIndex = 0;
  return { cells, pictures };
}

/** All maps that have come, over their pictures. */
function paintCells(view: View<GalleryState>, table: HTMLElement, cells: readonly MapCell[]): void {
  const { store } = view;
  const [rows, tiles, columns] = [store.get("rows"), store.get("tiles"), store.get("_columns")];
  const look = lookOf(view);
  for (const { row, column, canvas, controlCanvas } of cells) {
    const picture = rows[row];
    if (!picture) continue;
    for (const [target, control] of [
      [canvas, false],
      [controlCanvas, true],
    ] as const) {
      const tile = tiles.get(keyOf(row, column.name, control));
      target.hidden = !tile?.map;
      if (tile) paintTile(target, picture, tile, tiles, columns, look);
    }
  }
  table.dataset.opacity = String(look.opacity);
  table.dataset.scale = look.scale_by;
  table.dataset.colours = look.colours;
}

/** A finger scrolls the table; it looks at places in the large view. */
function lookByPointer({ store }: View<GalleryState>, frame: HTMLElement, row: number): void {
  on(frame, "pointermove", (event) => event.pointerType !== "touch" && lookAt(store, frame, row, event));
  on(frame, "pointerleave", () => store.set({ spot: null }));
}
