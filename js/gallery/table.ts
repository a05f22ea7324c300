/** The table of maps: a row a picture, a column a method; every map with its control beneath it. */
import { el, on, onFrame, text } from "../lib/dom";
import { probability } from "../lib/format";
import type { Session } from "../session";
import { type Large, largeView } from "./large";
import { type Look, paintPicture, paintTile, type Theme } from "./paint";
import { explain } from "./requests";
import {
  type Column,
  endOf,
  keyOf,
  meaning,
  moved,
  type Row,
  randomised,
  signedNumber,
  type Tile,
  titleOf,
  valuesAt,
} from "./tiles";

export const GROUPS = {
  function: ["Function", "How the score of the class changes with every value of the picture"],
  signal: [
    "Signal",
    "What the network picked out of the picture: zero is grey, colours are those of the values",
  ],
  attribution: ["Attribution", "How much each place contributed to the score of the class"],
} as const;

/** The theme that `followTheme` has found. */
export const themeOf = (root: HTMLElement): Theme =>
  root.closest<HTMLElement>(".cs-root")?.dataset.theme === "dark" ? "dark" : "light";

/** Call `run` whenever the theme changes. */
export function onTheme(root: HTMLElement, run: () => void, signal: AbortSignal): void {
  const themed = root.closest(".cs-root");
  if (!themed) return;
  const observer = new MutationObserver(run);
  observer.observe(themed, { attributes: true, attributeFilter: ["data-theme"] });
  signal.addEventListener("abort", () => observer.disconnect());
}

/** One map's place in the table. */
interface Cell {
  row: number;
  column: Column;
  button: HTMLButtonElement;
  canvas: HTMLCanvasElement;
  note: HTMLElement;
  caption: HTMLElement;
  control: HTMLElement;
  small: HTMLCanvasElement;
  rho: HTMLElement;
  word: HTMLElement;
}

export function lookOf({ store }: Session, root: HTMLElement): Look {
  return {
    opacity: store.get("opacity"),
    scale_by: store.get("scale_by"),
    colours: store.get("colours"),
    theme: themeOf(root),
  };
}

export function tablePane(session: Session, root: HTMLElement, signal: AbortSignal): void {
  const { store } = session;
  const table = el("div", {
    class: "cs-gallery",
    role: "grid",
    "aria-label": "Maps of every picture by every method",
    "data-lm-suppress-shortcuts": "true",
  });
  root.append(el("div", { class: "cs-gallery__scroller" }, table));
  const large: Large = largeView(session, root, signal);
  let cells: Cell[] = [];
  let pictures: { row: number; spots: HTMLElement; name: HTMLElement; list: HTMLElement }[] = [];
  let controller = new AbortController();
  signal.addEventListener("abort", () => controller.abort());

  function pictureCell(row: Row, index: number): HTMLElement {
    const canvas = el("canvas", { class: "cs-tile__canvas", "aria-hidden": "true" });
    paintPicture(canvas, row);
    const frame = el("div", { class: "cs-tile cs-tile--picture" }, canvas, spot());
    const name = el("div", { class: "cs-cell__caption cs-gallery__name", title: row.name });
    const list = el("div", { class: "cs-explained", role: "group", "aria-label": "Class to explain" });
    looks(frame, index);
    pictures.push({ row: index, spots: frame, name, list });
    return el("div", { class: "cs-gallery__picture", role: "rowheader" }, frame, name, list);
  }

  function makeCell(row: number, column: Column): Cell {
    const [canvas, small] = [0, 1].map(() =>
      el("canvas", { class: "cs-tile__canvas", "aria-hidden": "true" }),
    );
    const note = el("span", { class: "cs-tile__note" });
    const button = el(
      "button",
      {
        type: "button",
        class: "cs-tile",
        tabindex: cells.length === 0 ? 0 : -1,
        "data-row": row,
        "data-method": column.name,
        "data-jp-suppress-context-menu": true,
      },
      canvas as Node,
      note,
      spot(),
    );
    const [rho, word] = [el("span", { class: "cs-control__rho" }), el("span", { class: "cs-dim" })];
    const tile = el("div", { class: "cs-tile cs-tile--control" }, small as Node, spot());
    const control = el(
      "div",
      { class: "cs-control" },
      tile,
      el("div", { class: "cs-control__text" }, rho, word),
    );
    looks(button, row);
    looks(tile, row);
    const cell = {
      row,
      column,
      button,
      note,
      control,
      rho,
      word,
      caption: el("div", { class: "cs-cell__caption" }),
    };
    const made = { ...cell, canvas: canvas as HTMLCanvasElement, small: small as HTMLCanvasElement };
    on(button, "click", () => large.open(row, column.name, button), controller.signal);
    return made;
  }

  // ---- looking at a place: on all maps of the row
  function looks(frame: HTMLElement, row: number): void {
    const look = (event: PointerEvent) => {
      if (event.pointerType === "touch") return;
      const box = frame.getBoundingClientRect();
      const at: [number, number] = [
        (event.clientY - box.top) / Math.max(1, box.height),
        (event.clientX - box.left) / Math.max(1, box.width),
      ];
      store.set({ spot: at.every((share) => share >= 0 && share < 1) ? { row, at } : null });
    };
    on(frame, "pointermove", look, controller.signal);
    on(frame, "pointerleave", () => store.set({ spot: null }), controller.signal);
  }

  const showSpot = onFrame(() => {
    const looked = store.get("spot");
    for (const mark of table.querySelectorAll<HTMLElement>(".cs-spot")) {
      const row = mark.closest<HTMLElement>("[role=row]");
      const here = looked !== null && row === table.children[looked.row + 2];
      mark.hidden = !here;
      if (!here) continue;
      mark.style.top = `${100 * looked.at[0]}%`;
      mark.style.left = `${100 * looked.at[1]}%`;
    }
    captions();
  }, signal);
  store.onChange(["spot"], showSpot, signal);
  store.onChange(["scale_by"], () => captions(), signal);

  /** That a map is too faint for its group's scale. */
  const alone = (tile: Tile): string => {
    const [tiles, columns] = [store.get("tiles"), store.get("_columns")];
    const group = columns.find(({ name }) => name === tile.method)?.group;
    const mates = columns.filter((column) => column.group === group && column.name !== tile.method);
    const others = mates.map(({ name }) => tiles.get(keyOf(tile.row, name, false))?.map?.strong ?? 0);
    const own = tile.map?.strong ?? 0;
    const shared = store.get("scale_by") === "group" && Math.max(0, ...others) > own;
    return shared && endOf(tile, tiles, columns, "group") === own ? " · own scale" : "";
  };
  function captions(): void {
    const [looked, tiles, rows] = [store.get("spot"), store.get("tiles"), store.get("rows")];
    for (const { row, name } of pictures) {
      const picture = rows[row];
      const at = looked?.row === row ? looked.at : null;
      if (picture)
        text(
          name,
          at
            ? `row ${Math.floor(at[0] * picture.height)}, column ${Math.floor(at[1] * picture.width)}`
            : picture.name,
        );
    }
    for (const cell of cells) {
      const tile = tiles.get(keyOf(cell.row, cell.column.name, false));
      const map = tile?.map;
      const at = looked?.row === cell.row ? looked.at : null;
      cell.caption.classList.toggle("cs-is-value", !!at);
      text(
        cell.caption,
        map ? (at ? said(valuesAt(map, at)) : `± ${signedNumber(map.strong)}${alone(tile)}`) : "",
      );
      cell.caption.title = map && !at ? "Magnitude of the strongest values (99.5 % are weaker)" : "";
    }
  }

  // ---- maps, as they come
  const paint = onFrame(() => {
    const [rows, tiles, columns] = [store.get("rows"), store.get("tiles"), store.get("_columns")];
    const look = lookOf(session, root);
    for (const { row, column, canvas, small } of cells) {
      const picture = rows[row];
      if (!picture) continue;
      for (const [target, control] of [
        [canvas, false],
        [small, true],
      ] as const) {
        const tile = tiles.get(keyOf(row, column.name, control));
        target.hidden = !tile?.map;
        if (tile) paintTile(target, picture, tile, tiles, columns, look);
      }
    }
    table.dataset.opacity = String(look.opacity);
    table.dataset.scale = look.scale_by;
    table.dataset.colours = look.colours;
  }, signal);
  store.onChange(["tiles", "opacity", "scale_by", "colours"], paint, signal);
  onTheme(root, paint, signal);

  store.watch(["awaited"], () => table.setAttribute("aria-busy", String(store.get("awaited"))), signal);

  const show = () => {
    const [tiles, top, controls] = [store.get("tiles"), store.get("top"), store.get("control")];
    const rows = store.get("rows");
    for (const cell of cells) {
      const tile = tiles.get(keyOf(cell.row, cell.column.name, false));
      const other = tiles.get(keyOf(cell.row, cell.column.name, true));
      const picture = rows[cell.row]?.name ?? "";
      cell.button.classList.toggle("cs-is-stale", tile?.stale ?? false);
      cell.button.classList.toggle("cs-is-failed", !!tile?.error);
      cell.button.dataset.number = String(tile?.number ?? "");
      cell.button.setAttribute("aria-busy", String(!tile || tile.stale));
      text(cell.note, noteOf(tile));
      cell.note.title = tile?.error ? `${tile.error.name}: ${tile.error.message}` : "";
      cell.control.hidden = !controls || !!tile?.error;
      cell.control.classList.toggle("cs-is-stale", other?.stale ?? false);
      const known = other && !other.stale ? other : undefined;
      const { word, sentence, warn } = meaning(known?.rho ?? null);
      text(cell.rho, !known ? "" : known.error ? "failed" : `ρ ${rhoText(known.rho)}`);
      text(cell.word, !known ? "" : known.error ? known.error.message : word);
      cell.rho.classList.toggle("cs-is-warn", !!known?.map && warn);
      cell.rho.dataset.rho = known?.rho == null ? "" : String(known.rho);
      cell.control.title = known?.map
        ? `The same map with weights drawn at random: ${randomised(top)}. ρ, from −1 to 1, says how alike both rank the places of ` +
          `the picture. ${sentence}`
        : (known?.error?.message ?? "");
      const values = tile?.map
        ? `for ${tile.map.label}, values up to ± ${signedNumber(tile.map.strong)}` +
          (controls && known?.map ? `, similarity to its control ${rhoText(known.rho)}: ${word}` : "")
        : tile?.error
          ? tile.error.message
          : "not computed yet";
      const extended = cell.column.extended ? " (extended)" : "";
      cell.button.setAttribute(
        "aria-label",
        `${titleOf(cell.column.name)}${extended} of ${picture}, ${values}`,
      );
    }
    captions();
  };
  store.onChange(["tiles", "control", "top"], show, signal);

  // ---- classes
  const showClasses = () => {
    const [rows, explained, targets] = [store.get("rows"), store.get("explained"), store.get("targets")];
    for (const { row, list } of pictures) {
      const known = rows[row]?.classes ?? [];
      const chosen = targets[row] ?? known[0]?.index;
      const now = explained[row];
      const other = now && now.index === chosen && !known.some(({ index }) => index === chosen) ? [now] : [];
      const focused = list.contains(active(list)) ? active(list)?.dataset.class : undefined;
      list.replaceChildren(
        ...[...known, ...other].map(({ index, label, probability: share }) =>
          el(
            "button",
            {
              type: "button",
              class: "cs-explained__class",
              "data-class": index,
              "aria-pressed": String(index === chosen),
              title: `${label}: explain this class`,
              disabled: store.get("offline") && index !== chosen,
            },
            el("span", { class: "cs-explained__name" }, label),
            el("span", { class: "cs-explained__value" }, probability(share)),
          ),
        ),
      );
      if (focused) list.querySelector<HTMLElement>(`[data-class="${focused}"]`)?.focus();
    }
  };
  store.onChange(["explained", "targets", "offline"], showClasses, signal);
  on(
    table,
    "click",
    (event) => {
      const button = (event.target as HTMLElement).closest<HTMLElement>("[data-class]");
      const row = pictures.find(({ list }) => list.contains(button))?.row;
      if (button && row !== undefined) explain(session, row, Number(button.dataset.class));
    },
    signal,
  );

  // ---- keyboard: one stop for Tab, arrows within
  on(
    table,
    "keydown",
    (event) => {
      const at = cells.findIndex(({ button }) => button === event.target);
      if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      // The notebook runs a cell on some of the keys that a button takes.
      if (event.key === "Enter" || event.key === " ") event.stopPropagation();
      const wide = store.get("_columns").length;
      const to = moved(event.key, [Math.floor(at / wide), at % wide], store.get("rows").length, wide);
      if (!to) return;
      event.preventDefault();
      event.stopPropagation();
      const next = cells[to[0] * wide + to[1]]?.button;
      next?.focus();
      next?.scrollIntoView({ block: "nearest", inline: "nearest" });
    },
    signal,
  );
  on(
    table,
    "focusin",
    (event) => {
      if (!cells.some(({ button }) => button === event.target)) return;
      for (const { button } of cells) button.tabIndex = button === event.target ? 0 : -1;
    },
    signal,
  );
  // ---- building: when pictures or columns change
  store.watch(
    ["rows", "_columns", "_network"],
    () => {
      controller.abort();
      controller = new AbortController();
      const [rows, columns] = [store.get("rows"), store.get("_columns")];
      cells = [];
      pictures = [];
      table.replaceChildren();
      table.style.gridTemplateColumns = tracks(columns);
      const [high, wide] = store.get("_network").size;
      table.style.setProperty("--cs-aspect", `${wide} / ${high}`);
      table.append(groupHeads(columns), methodHeads(columns));
      rows.forEach((row, index) => {
        const line = el("div", { class: "cs-gallery__line", role: "row", "aria-label": row.name });
        line.append(pictureCell(row, index));
        for (const column of columns) {
          const cell = makeCell(index, column);
          cells.push(cell);
          const place = el(
            "div",
            { class: "cs-cell", role: "gridcell" },
            cell.button,
            cell.caption,
            cell.control,
          );
          place.style.gridColumn = String(trackOf(columns, column));
          line.append(place);
        }
        table.append(line);
      });
      showClasses();
      show();
      paint();
    },
    signal,
  );
}

const active = (element: HTMLElement): HTMLElement | null =>
  (element.getRootNode() as Document).activeElement as HTMLElement | null;

export const spot = (): HTMLElement => el("i", { class: "cs-spot", hidden: true });

export const rhoText = (rho: number | null): string =>
  rho === null ? "–" : rho.toFixed(2).replace("-", "−");

/** One value, or three of red, green and blue. */
export const said = (values: readonly number[]): string =>
  values.length === 1
    ? signedNumber(values[0] ?? 0)
    : values.map((value) => signedNumber(value, 2)).join("  ");

function noteOf(tile: Tile | undefined): string {
  if (tile?.error) return `${tile.error.name}: ${tile.error.message}`;
  if (tile?.map?.limit === 0) return "Zero everywhere: nothing of this class reaches the picture.";
  return "";
}

// ---- columns: the picture's, then the methods' with a narrow gap between groups

/** A group's first column has a gap before it. */
function tracks(columns: readonly Column[]): string {
  const parts = columns.map(({ group }, index) => {
    const gap = index > 0 && columns[index - 1]?.group !== group ? "var(--cs-group-gap) " : "";
    return `${gap}minmax(var(--cs-tile-least), var(--cs-tile-most))`;
  });
  return `minmax(var(--cs-tile-least), var(--cs-tile-most)) ${parts.join(" ")}`;
}

/** Number of the grid's track, from 1, of a column. */
function trackOf(columns: readonly Column[], column: Column): number {
  const index = columns.indexOf(column);
  const gaps = columns.filter(
    (one, at) => at > 0 && at <= index && columns[at - 1]?.group !== one.group,
  ).length;
  return 2 + index + gaps;
}

function groupHeads(columns: readonly Column[]): HTMLElement {
  const line = el("div", { class: "cs-gallery__line", role: "row" });
  line.append(el("div", { class: "cs-gallery__corner", role: "presentation" }));
  for (const [group, [title, what]] of Object.entries(GROUPS)) {
    const mates = columns.filter((column) => column.group === group);
    const [first, last] = [mates[0], mates[mates.length - 1]];
    if (!first || !last) continue;
    const head = el("div", { class: "cs-gallery__group", role: "columnheader", title: what }, title);
    head.style.gridColumn = `${trackOf(columns, first)} / ${trackOf(columns, last) + 1}`;
    line.append(head);
  }
  return line;
}

function methodHeads(columns: readonly Column[]): HTMLElement {
  const line = el("div", { class: "cs-gallery__line", role: "row" });
  line.append(el("div", { class: "cs-gallery__corner cs-gallery__method", role: "columnheader" }, "picture"));
  for (const column of columns) {
    const head = el(
      "div",
      { class: "cs-gallery__method", role: "columnheader", title: column.summary },
      el("span", {}, titleOf(column.name)),
    );
    if (column.extended) {
      const { how, where } = column.extended;
      head.append(
        el(
          "span",
          {
            class: "cs-extended",
            title: `Beyond the published method, which says nothing about ${where}: ${how ? `extension="${how}"` : "a rule of our own"} stands in there.`,
          },
          "extended",
        ),
      );
    }
    head.style.gridColumn = String(trackOf(columns, column));
    line.append(head);
  }
  return line;
}
