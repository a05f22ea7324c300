/** One unit, large: its map over the picture; the receptive field of a place, and how much of it counts. */
import { colouring } from "../../lib/colormaps";
import { el, errorsOf, is, layOver, on, onEnd, onFrame, onKey, shareAt, text } from "../../lib/dom";
import { activation } from "../../lib/format";
import { clamp, extent } from "../../lib/geometry";
import { show } from "../../lib/photo";
import { scaleBar } from "../../lib/scalebar";
import { same } from "../../lib/store";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import type { Detail, DetailState, Edges } from "./state";

/** How much of the map covers the picture at first. */
const OPACITY = 0.45;

const KEYS = "Arrow keys go to other places of the map, Home to the strongest";

/** The button that opens it; the rest hangs on `whole`, the instrument. */
export function detailButton(view: View<DetailState>, whole: HTMLElement): HTMLElement {
  const { store } = view;
  const button = el(
    "button.cs-button",
    { title: "The unit’s map, large over the picture, and its receptive fields" },
    "enlarge",
  );
  const dialog = dialogOf(view, whole, button);
  on(button, "click", () => {
    store.set({ pointed: null, enlarged: true });
    if (!dialog.open) dialog.showModal();
    dialog.querySelector<HTMLElement>(".cs-detail__frame")?.focus();
  });
  store.watch(["selected", "detail"], () => {
    button.disabled = store.get("selected") === null;
  });
  return button;
}

function dialogOf(view: View<DetailState>, whole: HTMLElement, button: HTMLElement): HTMLDialogElement {
  const { store, page, signal } = view;
  const title = el("h3.cs-large__title");
  const close = el("button.cs-button", { "aria-label": "Close" }, "×");
  const value = el("p", { role: "status" });
  const field = el("p.cs-detail__key.cs-detail__key--field");
  const effective = el("p.cs-detail__key.cs-detail__key--effective", {
    title:
      "The smallest box that holds it, by the derivative of the unit’s value before its activation (Luo et al. 2016)",
  });
  const bar = scaleBar("The unit’s map");
  const opacity = el("input", { type: "range", min: 0, max: 1, step: 0.05, value: OPACITY });
  const facts = el(
    "div.cs-detail__facts",
    value,
    field,
    effective,
    bar.element,
    el("label.cs-detail__opacity", "map over the picture", opacity),
    el("p.cs-dim", `Point at a place to see what it can see. ${KEYS}.`),
  );
  const { frame, map } = frameOf(view);
  const dialog = el(
    "dialog.cs-large.cs-detail",
    { "aria-label": "One unit, large" },
    el("div.cs-large__head", title, close),
    errorsOf("detail"),
    el("div.cs-detail__body", frame, facts),
  );
  whole.append(dialog);
  on(opacity, "input", () => map.style.setProperty("opacity", opacity.value));
  map.style.opacity = String(OPACITY);

  on(close, "click", () => dialog.close());
  // A click beside the dialog is one on its backdrop.
  on(dialog, "click", (event) => event.target === dialog && dialog.close());
  on(dialog, "keydown", (event) => event.stopPropagation());
  dialog.addEventListener(
    "close",
    () => {
      store.set({ enlarged: false });
      button.focus({ preventScroll: true });
    },
    { signal },
  );
  onEnd(signal, () => dialog.close());
  // Without a kernel nothing takes clicks, not even what closes it.
  store.onChange(["absent"], () => store.get("absent") !== null && dialog.close());

  const tell = () => {
    const detail = currentOf(view);
    const [layer, selected] = [store.get("layer"), store.get("selected")];
    text(title, `unit ${selected} of ${layer}`);
    if (!detail) return;
    const place = store.get("pointed") ?? detail.strongest;
    text(value, valueText(detail, place));
    text(field, `receptive field ${sizeText(detail.field)}`);
    const share = `${Math.round(100 * detail.share)} % of the gradient’s energy`;
    text(
      effective,
      detail.effective
        ? `${sizeText(detail.effective)} hold ${share}`
        : "no effective field: the gradient is zero",
    );
    // The fields come a moment later; without a kernel they stay those of the strongest place.
    const stale = !same(place, detail.place);
    for (const line of [field, effective]) is(line, "stale", stale);
    const range = rangeOf(detail);
    const { background } = colouring(store.get("colormap"), detail.signed, page.theme());
    bar.show({ range, colours: background, name: "activation", mark: valueAt(detail, place) });
  };
  store.watch(["enlarged", "detail", "pointed", "layer", "selected", "colormap"], tell);
  showAwaited(view, dialog, "detail", ["detail", "layer", "selected"], () =>
    currentOf(view) ? "" : "loading",
  );
  page.onTheme(tell);
  return dialog;
}

/** The picture, its map, and the boxes of the fields; pointing at a place chooses it. */
function frameOf(view: View<DetailState>): { frame: HTMLElement; map: HTMLElement } {
  const { store, page } = view;
  const picture = el("canvas.cs-detail__picture");
  const map = el("canvas.cs-detail__map");
  const occluder = el("i.cs-detail__occluder");
  const field = el("i.cs-detail__box.cs-detail__box--field");
  const effective = el("i.cs-detail__box.cs-detail__box--effective");
  const frame = el(
    "div.cs-detail__frame",
    { tabindex: 0, role: "application", "aria-label": `The unit’s map over the picture. ${KEYS}.` },
    picture,
    map,
    occluder,
    field,
    effective,
  );
  const paint = onFrame(() => {
    const [detail, photo] = [currentOf(view), store.get("photo")];
    if (!detail || !photo) return;
    show(picture, photo.pixels, photo.width, photo.height);
    frame.style.aspectRatio = `${photo.width} / ${photo.height}`;
    paintMap(map, detail, colouring(store.get("colormap"), detail.signed, page.theme()).words);
    const size = [photo.height, photo.width] as const;
    layOver(occluder, store.get("frame")?.position ?? [0, 0], extent(store.get("size")), size);
    put(field, detail.field, size);
    put(effective, detail.effective, size);
    frame.dataset.place = detail.place.join(",");
  });
  store.watch(["enlarged", "detail", "photo", "colormap", "layer", "selected"], paint);
  page.onTheme(paint);
  const point = (row: number, column: number) => {
    const { height, width } = currentOf(view) ?? { height: 1, width: 1 };
    store.set({ pointed: [clamp(Math.floor(row), 0, height - 1), clamp(Math.floor(column), 0, width - 1)] });
  };
  for (const type of ["pointermove", "pointerdown"] as const) {
    on(frame, type, (event) => {
      const detail = currentOf(view);
      const [down, across] = shareAt(frame, event);
      if (detail) point(down * detail.height, across * detail.width);
    });
  }
  onKey(frame, ({ key }) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    const detail = currentOf(view);
    if (key === "Home") store.set({ pointed: null });
    else if (step && detail) {
      const [row, column] = store.get("pointed") ?? detail.strongest;
      point(row + (step[0] ?? 0), column + (step[1] ?? 0));
    } else return false;
    return true;
  });
  return { frame, map };
}

/** What has come, where it is of the unit that is looked at. */
function currentOf({ store }: View<DetailState>): Detail | null {
  const detail = store.get("detail");
  return detail?.layer === store.get("layer") && detail.channel === store.get("selected") ? detail : null;
}

const valueAt = ({ values, width }: Detail, [row, column]: readonly [number, number]): number =>
  values[row * width + column] ?? Number.NaN;

function valueText(detail: Detail, place: readonly [number, number]): string {
  const where = `${activation(valueAt(detail, place))} at row ${place[0]}, column ${place[1]}`;
  const [row, column] = detail.strongest;
  if (same(place, detail.strongest)) return `${where}: the strongest place`;
  return `${where}; strongest ${activation(valueAt(detail, detail.strongest))} at row ${row}, column ${column}`;
}

const sizeText = ([top, left, bottom, right]: Edges): string => `${bottom - top} × ${right - left} px`;

/** From zero; of a layer that goes below it as wide on either side, whatever this unit does. */
function rangeOf({ values, signed }: Detail): [number, number] {
  const most = values.reduce((most, value) => Math.max(most, signed ? Math.abs(value) : value), 0);
  return [signed ? 0 - most : 0, most];
}

function paintMap(canvas: HTMLCanvasElement, detail: Detail, words: Uint32Array): void {
  const { values, height, width } = detail;
  const [low, high] = rangeOf(detail);
  const scale = (words.length - 1) / (high - low || 1);
  // Where all is zero, it is in the middle of signed colours.
  const zero = high > low || !detail.signed ? -low * scale : (words.length - 1) / 2;
  const pixels = Uint32Array.from(values, (value) => words[Math.round(zero + value * scale)] ?? 0);
  show(canvas, new Uint8ClampedArray(pixels.buffer), width, height);
}

/** Put an element over edges on the picture; null hides it. */
function put(element: HTMLElement, edges: Edges | null, size: readonly [number, number]): void {
  element.hidden = !edges;
  if (!edges) return;
  const [top, left, bottom, right] = edges;
  layOver(element, [top, left], [bottom - top, right - left], size);
}
