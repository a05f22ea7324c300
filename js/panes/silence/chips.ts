/** What is silenced, each to be taken back; shown where there is anything. */
import { el, on, text, within } from "../../lib/dom";
import { many } from "../../lib/format";
import { menu } from "../../lib/menu";
import type { View } from "../../seam";
import { changed, countOf, type SilenceState } from "./state";

/** Of a layer with more silenced units than these one chip tells. */
const APART = 4;

export function silenceChips(view: View<SilenceState>, root: HTMLElement): void {
  const { store } = view;
  const count = el("summary.cs-silenced__count", { title: "Which, and how to take it back" });
  const none = el("button.cs-link.cs-live", "silence none");
  const chips = el("div.cs-similar", { role: "group", "aria-label": "Silenced units" });
  const note = el("p", "The survey, and so a unit’s patches, are of the whole network. ", none);
  const part = menu("cs-silenced", count, el("div", chips, note), view.signal);
  root.append(part);
  store.watch(["silenced", "offline", "_network"], () => {
    const [silenced, offline] = [store.get("silenced"), store.get("offline")];
    const number = countOf(silenced);
    text(count, `${many(number, "unit")} silenced`);
    chips.replaceChildren(
      ...silenced.flatMap(([layer, units]) => {
        const channels = store.get("_network").layers.find(({ name }) => name === layer)?.channels;
        const chip = (what: string, about: string, unit?: number) =>
          el(
            "button.cs-chip",
            {
              "aria-label": `Silence ${about} no longer`,
              title: about,
              disabled: offline,
              "data-layer": layer,
              "data-unit": unit,
            },
            el("bdi", what),
            offline ? "" : " ×",
          );
        if (units.length <= APART)
          return units.map((unit) => chip(`${layer}/${unit}`, `unit ${unit} of ${layer}`, unit));
        const words = `${units.length} of ${channels ?? "the"} units of ${layer}`;
        return [chip(`${layer} · ${units.length} of ${channels ?? "…"}`, words)];
      }),
    );
    part.hidden = number === 0;
    part.open &&= number > 0;
  });
  on(none, "click", () => store.set({ silenced: [] }));
  on(chips, "click", (event) => {
    const { layer, unit } = within(event, ".cs-chip")?.dataset ?? {};
    if (layer === undefined) return;
    const left = (units: readonly number[]) =>
      unit === undefined ? [] : units.filter((one) => one !== Number(unit));
    store.set({ silenced: changed(store.get("silenced"), layer, left) });
  });
}
