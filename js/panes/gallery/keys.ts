/** The arrow keys in a table of maps. */
import { on, onKey, withModifier } from "../../lib/dom";
import type { View } from "../../seam";
import { lookByKeys } from "./spot";
import type { GalleryState } from "./state";

/** Where an arrow key leads from a place of a table; null for any other key. */
export function moved(
  key: string,
  [row, column]: readonly [number, number],
  rows: number,
  columns: number,
): [number, number] | null {
  const moves: Record<string, [number, number]> = {
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    Home: [row, 0],
    End: [row, columns - 1],
    PageUp: [0, column],
    PageDown: [rows - 1, column],
  };
  const move = moves[key];
  if (!move) return null;
  const within = (value: number, count: number) => Math.min(Math.max(value, 0), count - 1);
  return [within(move[0], rows), within(move[1], columns)];
}

/** The keyboard in the table: one stop for Tab, arrows within; with Shift they look at places, which `tell` is told. */
export function moveByKeys(
  { store }: View<GalleryState>,
  table: HTMLElement,
  buttons: () => readonly HTMLButtonElement[],
  tell: (words: string) => void,
): void {
  onKey(table, (event) => {
    const at = buttons().indexOf(event.target as HTMLButtonElement);
    if (at < 0 || withModifier(event)) return false;
    // They press the button, and nothing around the table.
    if (event.key === "Enter" || event.key === " ") event.stopPropagation();
    const columns = store.get("_columns");
    const wide = columns.length;
    const looked = lookByKeys(store, Math.floor(at / wide), columns[at % wide]?.name ?? "", event);
    if (looked !== null) {
      tell(looked);
      return true;
    }
    const to = moved(event.key, [Math.floor(at / wide), at % wide], store.get("rows").length, wide);
    if (!to) return false;
    const next = buttons()[to[0] * wide + to[1]];
    next?.focus();
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
    return true;
  });
  on(table, "focusin", (event) => {
    if (!buttons().includes(event.target as HTMLButtonElement)) return;
    for (const button of buttons()) button.tabIndex = button === event.target ? 0 : -1;
  });
}
