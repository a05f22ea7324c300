/** What stands in the places of the table, before anything is shown in it. */
import { dim, el } from "../../lib/dom";
import { spotMark } from "./spot";
import type { Column } from "./state";

/** A picture at the head of its row. */
export interface PictureCell {
  row: number;
  element: HTMLElement;
  frame: HTMLElement;
  canvas: HTMLCanvasElement;
  name: HTMLElement;
  /** The classes that may be explained. */
  classes: HTMLElement;
}

/** A map, and beneath it its control. */
export interface MapCell {
  row: number;
  column: Column;
  element: HTMLElement;
  button: HTMLButtonElement;
  canvas: HTMLCanvasElement;
  note: HTMLElement;
  caption: HTMLElement;
  control: HTMLElement;
  controlFrame: HTMLElement;
  controlCanvas: HTMLCanvasElement;
  rho: HTMLElement;
  word: HTMLElement;
}

const tileCanvas = () => el("canvas.cs-tile__canvas");

export function pictureCell(row: number, title: string): PictureCell {
  const canvas = tileCanvas();
  const frame = el("div.cs-tile.cs-tile--picture", canvas, spotMark());
  const name = el("div.cs-cell__caption.cs-gallery__name", { title });
  const classes = el("div.cs-explained", { role: "group", "aria-label": "Class to explain" });
  const element = el("div.cs-gallery__picture", { role: "rowheader" }, frame, name, classes);
  return { row, element, frame, canvas, name, classes };
}

export function mapCell(row: number, column: Column): MapCell {
  const [canvas, controlCanvas] = [tileCanvas(), tileCanvas()];
  const note = el("span.cs-tile__note");
  const tile = el(
    "button.cs-tile",
    {
      tabindex: -1,
      "data-row": row,
      "data-method": column.name,
    },
    canvas,
    note,
    spotMark(),
  );
  const caption = el("div.cs-cell__caption");
  const [rho, word] = [el("span.cs-control__rho"), dim()];
  const controlFrame = el("div.cs-tile.cs-tile--control", controlCanvas, spotMark());
  const control = el("div.cs-control", controlFrame, el("div.cs-control__text", rho, word));
  const element = el("div.cs-cell", { role: "gridcell" }, tile, caption, control);
  return {
    row,
    column,
    element,
    button: tile,
    canvas,
    note,
    caption,
    control,
    controlFrame,
    controlCanvas,
    rho,
    word,
  };
}
