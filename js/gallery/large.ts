/** One map, large, beside its picture and its control. Escape closes, arrows go on to the next. */
import { el, on, onFrame, text } from "../lib/dom";
import type { Session } from "../session";
import { paintPicture, paintTile } from "./paint";
import { lookOf, onTheme, rhoText, said, spot } from "./table";
import { keyOf, meaning, moved, randomised, signedNumber, titleOf, valuesAt } from "./tiles";

export interface Large {
  /** Show a map; focus returns to `from` when it is closed. */
  open: (row: number, method: string, from: HTMLElement) => void;
}

export function largeView(session: Session, root: HTMLElement, signal: AbortSignal): Large {
  const { store } = session;
  const title = el("h3", { class: "cs-large__title" });
  const facts = el("p", { class: "cs-large__facts" });
  const close = el("button", { type: "button", class: "cs-button", "aria-label": "Close" }, "×");
  const figures = ["picture", "map", "control"].map((name) => {
    const canvas = el("canvas", { class: "cs-tile__canvas", "aria-hidden": "true" });
    const note = el("span", { class: "cs-tile__note" });
    const frame = el("div", { class: "cs-tile", "data-figure": name }, canvas, note, spot());
    const caption = el("figcaption", { class: "cs-cell__caption" });
    return { name, canvas, note, frame, caption, figure: el("figure", {}, frame, caption) };
  });
  const sentence = el("p", { class: "cs-large__facts" });
  const dialog = el(
    "dialog",
    { class: "cs-large", "aria-label": "One map, large", "data-lm-suppress-shortcuts": "true" },
    el("div", { class: "cs-large__head" }, title, close),
    facts,
    el("div", { class: "cs-large__figures" }, ...figures.map(({ figure }) => figure)),
    sentence,
  );
  root.append(dialog);
  let [row, method] = [0, ""];
  let from: HTMLElement | null = null;

  const show = onFrame(() => {
    if (!dialog.open) return;
    const [tiles, columns, top] = [store.get("tiles"), store.get("_columns"), store.get("top")];
    const picture = store.get("rows")[row];
    const column = columns.find(({ name }) => name === method);
    if (!picture || !column) return;
    const [map, control] = [false, true].map((one) => tiles.get(keyOf(row, method, one)));
    const hidden = !store.get("control") || !control?.map;
    const looked = store.get("spot");
    const at = looked?.row === row ? looked.at : null;
    const { sentence: meant } = meaning(control?.rho ?? null);
    text(title, `${titleOf(method)}${column.extended ? " (extended)" : ""}`);
    text(facts, `${column.group} · ${map?.map ? `${map.map.label} · ` : ""}${column.summary}`);
    text(sentence, hidden ? "" : `ρ ${rhoText(control?.rho ?? null)}. ${meant}`);
    const [high, wide] = store.get("_network").size;
    dialog.style.setProperty("--cs-aspect", `${wide} / ${high}`);
    dialog.dataset.place = `${row} ${method}`;
    for (const { name, canvas, note, frame, caption, figure } of figures) {
      const tile = name === "map" ? map : control;
      const place =
        at && `row ${Math.floor(at[0] * picture.height)}, column ${Math.floor(at[1] * picture.width)}`;
      if (name === "picture") {
        paintPicture(canvas, picture);
        text(caption, place ?? picture.name);
      } else {
        figure.hidden = name === "control" && hidden;
        canvas.hidden = !tile?.map;
        text(note, tile?.error ? `${tile.error.name}: ${tile.error.message}` : "");
        if (tile) paintTile(canvas, picture, tile, tiles, columns, lookOf(session, root));
        const value = tile?.map
          ? at
            ? said(valuesAt(tile.map, at))
            : `± ${signedNumber(tile.map.strong)}`
          : "";
        text(caption, name === "map" ? value : `${value} · ${randomised(top)} at random`);
      }
      const mark = frame.querySelector<HTMLElement>(".cs-spot");
      if (!mark) continue;
      mark.hidden = !at;
      if (at) [mark.style.top, mark.style.left] = [`${100 * at[0]}%`, `${100 * at[1]}%`];
    }
  }, signal);
  store.onChange(
    ["tiles", "spot", "rows", "_columns", "opacity", "scale_by", "colours", "control"],
    show,
    signal,
  );
  onTheme(root, show, signal);

  for (const { frame } of figures) {
    const look = (event: PointerEvent) => {
      const box = frame.getBoundingClientRect();
      const at: [number, number] = [
        (event.clientY - box.top) / box.height,
        (event.clientX - box.left) / box.width,
      ];
      store.set({ spot: at.every((share) => share >= 0 && share < 1) ? { row, at } : null });
    };
    on(frame, "pointermove", look, signal);
    on(frame, "pointerdown", look, signal);
    on(frame, "pointerleave", () => store.set({ spot: null }), signal);
  }
  on(close, "click", () => dialog.close(), signal);
  // A click beside the dialog is one on its backdrop.
  on(dialog, "click", (event) => event.target === dialog && dialog.close(), signal);
  dialog.addEventListener("close", () => from?.focus(), { signal });
  on(
    dialog,
    "keydown",
    (event) => {
      event.stopPropagation();
      const columns = store.get("_columns");
      const at = columns.findIndex(({ name }) => name === method);
      const to = moved(event.key, [row, at], store.get("rows").length, columns.length);
      if (!to) return;
      event.preventDefault();
      [row, method] = [to[0], columns[to[1]]?.name ?? method];
      from =
        [...root.querySelectorAll<HTMLElement>(".cs-tile[data-method]")].find(
          ({ dataset }) => dataset.row === String(row) && dataset.method === method,
        ) ?? from;
      show();
    },
    signal,
  );
  signal.addEventListener("abort", () => dialog.close());
  return {
    open: (wantedRow, wantedMethod, opener) => {
      [row, method, from] = [wantedRow, wantedMethod, opener];
      store.set({ spot: null });
      if (!dialog.open) dialog.showModal();
      close.focus();
      show();
    },
  };
}
