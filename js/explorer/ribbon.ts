/** The layers in a row, input to output: channels, size, receptive field, share of filters never active. */
import { el, on, onResize, text } from "../lib/dom";
import { field, side } from "../lib/format";
import type { Store } from "../lib/store";
import type { State } from "../state";
import { shorten } from "./names";

export function ribbonPane(store: Store<State>, root: HTMLElement, signal: AbortSignal): void {
  const strip = el("div", {
    class: "cs-ribbon",
    role: "listbox",
    "aria-label": "Layers",
    "aria-orientation": "horizontal",
    "data-lm-suppress-shortcuts": "true",
  });
  root.append(strip);
  const cells = new Map<string, HTMLElement>();

  const reveal = () => {
    const cell = cells.get(store.get("layer"));
    // Only the ribbon scrolls: scrollIntoView would move the notebook, too.
    if (cell) strip.scrollLeft = cell.offsetLeft - (strip.clientWidth - cell.offsetWidth) / 2;
  };
  // There is nothing to scroll before the ribbon is laid out.
  onResize(strip, reveal, signal);

  const choose = (name: string) => {
    const layer = store.get("_network").layers.find((one) => one.name === name);
    if (!layer) return;
    const selected = store.get("selected");
    // The unit's number is kept, as in walking through a building by one staircase, where the layer has as many.
    const kept = selected === null ? null : Math.min(selected, layer.channels - 1);
    store.set({ layer: name, selected: kept, hovered: null, exemplar: null });
  };

  store.watch(
    ["_network"],
    () => {
      const layers = store.get("_network").layers;
      cells.clear();
      const groups: HTMLElement[] = [];
      let group: { name: string; cells: HTMLElement } | null = null;
      for (const [index, named] of shorten(layers).entries()) {
        const layer = layers[index];
        if (!layer) continue;
        if (!group || group.name !== named.group) {
          group = { name: named.group, cells: el("div", { class: "cs-ribbon__cells" }) };
          groups.push(
            el(
              "div",
              { class: "cs-ribbon__group", role: "group", "aria-label": named.group || undefined },
              el("div", { class: "cs-ribbon__stage" }, named.group || " "),
              group.cells,
            ),
          );
        }
        const bar = el("i", { class: "cs-layer__dead" });
        const cell = el(
          "button",
          {
            type: "button",
            class: "cs-layer",
            role: "option",
            tabindex: -1,
            "data-layer": layer.name,
            title:
              `${layer.name} (${layer.kind}): ${layer.channels} channels of ${layer.size.join(" × ")}, ` +
              `receptive field ${layer.field} px${layer.gated ? ", and a gate that sees all" : ""}`,
          },
          el("b", { class: "cs-layer__name" }, named.short),
          el("span", { class: "cs-layer__fact" }, `${layer.channels} × ${side(layer.size)}`),
          el("span", { class: "cs-layer__fact" }, `rf ${field(layer)}`),
          el("span", { class: "cs-layer__health" }, bar),
        );
        cells.set(layer.name, cell);
        group.cells.append(cell);
      }
      strip.replaceChildren(...groups);
    },
    signal,
  );
  store.watch(
    ["layer", "_network"],
    () => {
      const current = store.get("layer");
      for (const [name, cell] of cells) {
        cell.setAttribute("aria-selected", String(name === current));
        cell.tabIndex = name === current ? 0 : -1;
      }
      const cell = cells.get(current);
      if (cell) reveal();
    },
    signal,
  );
  store.watch(
    ["_network", "_survey"],
    () => {
      const dead = store.get("_survey").dead ?? {};
      for (const [name, cell] of cells) {
        const share = dead[name];
        const health = cell.querySelector<HTMLElement>(".cs-layer__health");
        const bar = cell.querySelector<HTMLElement>(".cs-layer__dead");
        if (!health || !bar) continue;
        bar.style.width = `${100 * (share ?? 0)}%`;
        health.title = share === undefined ? "" : `${Math.round(100 * share)} % of the filters never active`;
      }
    },
    signal,
  );
  on(
    strip,
    "click",
    (event) => {
      const name = (event.target as HTMLElement).closest<HTMLElement>(".cs-layer")?.dataset.layer;
      if (name) choose(name);
    },
    signal,
  );
  on(
    strip,
    "keydown",
    (event) => {
      const names = [...cells.keys()];
      const at = names.indexOf(store.get("layer"));
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
      if (next === undefined) return;
      const name = names[Math.min(Math.max(next, 0), names.length - 1)];
      if (name) {
        choose(name);
        cells.get(name)?.focus({ preventScroll: true });
      }
      event.preventDefault();
      event.stopPropagation();
    },
    signal,
  );
}

/** The address of what is selected, to be copied, pasted in a paper, typed in again. */
export function addressPane(store: Store<State>, root: HTMLElement, signal: AbortSignal): void {
  const address = el("input", {
    type: "text",
    class: "cs-address",
    spellcheck: "false",
    "aria-label": "Address of the unit: network/layer/unit",
    title: "Address of the unit: copy it, or type another and press Enter",
  });
  root.append(address);
  const current = () =>
    [store.get("_network").name, store.get("layer"), store.get("selected")]
      .filter((x) => x !== null && x !== "")
      .join("/");
  const show = () => {
    address.value = current();
    address.size = Math.max(16, address.value.length);
    address.classList.remove("cs-is-wrong");
  };
  store.watch(["layer", "selected", "_network"], show, signal);
  const go = () => {
    const parts = address.value.trim().split("/");
    const layers = store.get("_network").layers;
    // The network's name may be left out; a layer may be followed by a unit.
    const layer = layers.find(({ name }) => parts.includes(name));
    const at = layer ? parts.indexOf(layer.name) : -1;
    const unit = parts[at + 1] === undefined ? null : Number(parts[at + 1]);
    const valid = layer && (unit === null || (Number.isInteger(unit) && unit >= 0 && unit < layer.channels));
    address.classList.toggle("cs-is-wrong", !valid);
    if (valid) store.set({ layer: layer.name, selected: unit, exemplar: null });
    else address.title = `Expected network/layer/unit, for example ${current()}`;
  };
  on(
    address,
    "keydown",
    (event) => {
      event.stopPropagation();
      if (event.key === "Enter") go();
      if (event.key === "Escape") {
        show();
        address.blur();
      }
    },
    signal,
  );
  on(address, "focus", () => address.select(), signal);
  on(address, "blur", () => text(address, address.value), signal);
}
