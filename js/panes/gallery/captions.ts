/** What is written at the maps: what each is, how strong, what it says at the place that is looked at. */
import { aria, is, text } from "../../lib/dom";
import type { Store } from "../../lib/store";
import type { MapCell, PictureCell } from "./cells";
import { spotOf } from "./spot";
import type { GalleryState, Tile } from "./state";
import { isFaint, keyOf, valuesAt } from "./tiles";
import {
  aboutOf,
  meaning,
  noteOf,
  placeText,
  randomised,
  rangeOf,
  rhoText,
  titleOf,
  valueText,
} from "./words";

/** Values at the place that is looked at; without one the range of each map. */
export function showCaptions(
  store: Store<GalleryState>,
  pictures: readonly PictureCell[],
  cells: readonly MapCell[],
): void {
  const [tiles, rows] = [store.get("tiles"), store.get("rows")];
  for (const { row, name } of pictures) {
    const [picture, at] = [rows[row], spotOf(store, row)];
    if (picture) text(name, at ? placeText(at, picture) : (picture.label ?? picture.name));
  }
  for (const { row, column, caption } of cells) {
    const tile = tiles.get(keyOf(row, column.name, false));
    const [map, at] = [tile?.map, spotOf(store, row)];
    is(caption, "value", !!at);
    const range = tile && map ? `${rangeOf(map)}${ownScale(store, tile)}` : "";
    text(caption, map && at ? valueText(valuesAt(map, at)) : range);
    caption.title = map && !at ? aboutOf(map) : "";
  }
}

/** That a method is too faint for its group's scale. */
function ownScale(store: Store<GalleryState>, tile: Tile): string {
  const faint = isFaint(store.get("tiles"), store.get("_columns"), tile.method);
  return faint && store.get("scale_by") === "group" ? " · own scale" : "";
}

/** One map and its control, in their words. */
export function showCell(store: Store<GalleryState>, cell: MapCell): void {
  const tiles = store.get("tiles");
  const tile = tiles.get(keyOf(cell.row, cell.column.name, false));
  const control = tiles.get(keyOf(cell.row, cell.column.name, true));
  // Another class may be asked for than the one that is there.
  const wanted = store.get("targets")[cell.row] ?? tile?.map?.target;
  const stale = !!tile && (tile.stale || (!!tile.map && tile.map.target !== wanted));
  is(cell.button, "stale", stale);
  is(cell.button, "failed", !!tile?.error);
  cell.button.dataset.number = String(tile?.number ?? "");
  const pending = store.get("awaited") || ["none", "running"].includes(store.get("_tiles").state);
  aria(cell.button, "busy", pending && (!tile || stale));
  text(cell.note, tile || pending ? noteOf(tile) : "not computed");
  cell.note.title = tile?.error ? noteOf(tile) : "";
  cell.control.hidden = !store.get("control") || !!tile?.error;
  is(cell.control, "stale", control?.stale ?? false);
  const known = control && !control.stale ? control : undefined;
  showControl(cell, known, store.get("top"));
  aria(cell.button, "label", labelOf(store, cell, tile, known));
}

function showControl(cell: MapCell, known: Tile | undefined, top: number): void {
  const { word, sentence, warn } = meaning(known?.rho ?? null, known?.turned);
  text(cell.rho, !known ? "" : known.error ? "failed" : `ρ ${rhoText(known.rho)}`);
  text(cell.word, !known ? "" : known.error ? known.error.message : word);
  is(cell.rho, "warn", !!known?.map && warn);
  cell.rho.dataset.rho = known?.rho == null ? "" : String(known.rho);
  cell.control.title = known?.map
    ? `The same map with weights drawn at random: ${randomised(top)}. ρ, from −1 to 1, says how alike both rank the places of ` +
      `the picture, whatever the signs. ${sentence}`
    : (known?.error?.message ?? "");
}

function labelOf(
  store: Store<GalleryState>,
  { row, column }: MapCell,
  tile: Tile | undefined,
  known: Tile | undefined,
): string {
  const title = `${titleOf(column.name)}${column.extended ? " (extended)" : ""}`;
  const of = `${title} of ${store.get("rows")[row]?.name ?? ""}`;
  if (!tile?.map) return `${of}, ${tile?.error ? tile.error.message : "not computed yet"}`;
  const range = `for ${tile.map.label}, values up to ${rangeOf(tile.map)}`;
  if (!store.get("control") || !known?.map) return `${of}, ${range}`;
  return `${of}, ${range}, similarity to its control ${rhoText(known.rho)}: ${meaning(known.rho, known.turned).word}`;
}
