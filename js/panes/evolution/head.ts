/** Of what training this is, and whether it is under way. */
import { el, text } from "../../lib/dom";
import { many } from "../../lib/format";
import type { View } from "../../seam";
import { unreadable, type Work } from "../shared/work";
import type { EvolutionState } from "./state";

export function evolutionHead({ store }: View<EvolutionState>, root: HTMLElement): void {
  const what = el("span");
  const dot = el("i.cs-live__dot");
  const state = el("span");
  const live = el("span.cs-live", { role: "status" }, dot, state);
  root.append(el("p.cs-summary.cs-evolution__head", what, live));
  store.watch(["_network", "_evolution", "_survey"], () => {
    const { checkpoints, pictures, unread } = store.get("_evolution");
    const at = checkpoints.length === 0 ? "no checkpoint yet" : many(checkpoints.length, "checkpoint");
    text(what, `${store.get("_network").name} · ${at} · ${many(pictures, "picture")}${unreadable(unread)}`);
  });
  store.watch(["_evolution", "_survey", "offline"], () => {
    const { live: now } = store.get("_evolution");
    const words = liveText(store.get("_evolution"), store.get("_survey").state === "failed");
    live.hidden = now === "no" || store.get("offline");
    live.dataset.state = store.get("_survey").state === "failed" ? "failed" : now;
    text(state, words);
  });
}

/** "3 of 8 recorded": whether the loop still runs, an interrupted one cannot say. */
export function liveText({ live, recorded, planned }: EvolutionState["_evolution"], failed: boolean): string {
  const count = planned === null ? `${recorded}` : `${recorded} of ${planned}`;
  if (failed) return `live · failed at ${count}`;
  return live === "ended" ? `training ended, ${count} recorded` : `live · ${count} recorded`;
}

/** The work behind it, for the status line. */
export const evolutionWork = ({ store, kernel }: View<EvolutionState>): Work => ({
  label: "Evolution",
  noun: "pictures looked through:",
  begins: "the evolution begins",
  progress: () => store.get("_survey"),
  onChange: (run) => store.onChange(["_survey", "_evolution"], run),
  whole: () => `${many(store.get("_evolution").checkpoints.length, "checkpoint")} looked through`,
  resume: () => kernel.tell("resume"),
  failure: () => "the evolution failed",
  retry: "try again",
});
