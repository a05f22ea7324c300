/** The status line: device, latency, what is under way and how to stop it. */
import { el, on, text } from "../lib/dom";
import { duration } from "../lib/format";
import { resume } from "../map/requests";
import type { Session } from "../session";

export function statusPane(session: Session, root: HTMLElement, signal: AbortSignal): void {
  const { store, kernel } = session;
  const tiles = () => store.get("_tiles").state !== "none";
  const dot = el("i", { class: "cs-status__dot", "aria-hidden": "true" });
  const device = el("span", {});
  const latency = el("span", { title: "From moving the occluder to the new probability" });
  const bar = el("i", {});
  const meter = el("span", { class: "cs-progress", role: "progressbar" }, bar);
  const progress = el("span", { class: "cs-status__progress" });
  const cancel = el("button", { type: "button", class: "cs-link" }, "cancel");
  const again = el("button", { type: "button", class: "cs-link" }, "continue");
  const work = el("span", { class: "cs-status__work" }, meter, progress, cancel, again);
  root.append(el("div", { class: "cs-status" }, el("span", {}, dot, device), latency, work));
  on(cancel, "click", () => kernel.tell("cancel"), signal);
  on(again, "click", () => (tiles() ? kernel.ask("compute", {}) : resume(session)), signal);

  store.watch(
    ["_network", "slow", "offline"],
    () => {
      const { name, device: where } = store.get("_network");
      const [offline, slow] = [store.get("offline"), store.get("slow").length > 0];
      dot.dataset.state = offline ? "off" : slow ? "busy" : "ready";
      text(
        device,
        offline
          ? `${name} · a saved page: no kernel`
          : `${name} · ${where} · ${slow ? "computing" : "ready"}`,
      );
    },
    signal,
  );
  store.watch(
    ["latency"],
    () => {
      const value = store.get("latency");
      text(latency, value === null ? "" : `${Math.round(value)} ms`);
    },
    signal,
  );
  store.watch(
    ["_survey", "_map", "_tiles", "offline"],
    () => {
      const [survey, map] = [store.get("_survey"), store.get("_map")];
      const isMap = map.state !== "none";
      const { done, total, left, state: last } = tiles() ? store.get("_tiles") : isMap ? map : survey;
      const state = last === "running" && store.get("offline") ? "cancelled" : last;
      const resumes = isMap || tiles();
      work.hidden = state === "none";
      meter.hidden = cancel.hidden = state !== "running";
      again.hidden = !resumes || (state !== "cancelled" && state !== "failed") || store.get("offline");
      text(again, tiles() && state === "failed" ? "try again" : "continue");
      bar.style.width = `${total > 0 ? (100 * done) / total : 0}%`;
      meter.setAttribute("aria-label", tiles() ? "Maps" : isMap ? "Map" : "Survey");
      meter.setAttribute("aria-valuemax", String(total));
      meter.setAttribute("aria-valuenow", String(done));
      const unread = !resumes && survey.skipped > 0 ? `, ${survey.skipped} unreadable` : "";
      const [what, whole] = tiles()
        ? ["maps", `${done} maps`]
        : isMap
          ? ["map", `map of ${done} places`]
          : ["survey", `survey of ${done} pictures`];
      const remaining = left === null ? "" : `, ${duration(left)} left`;
      const { failed } = store.get("_tiles");
      const said = {
        none: "",
        running:
          total > 0
            ? `${what} ${done} of ${total}${remaining}${unread}`
            : `${what} ${tiles() ? "begin" : "begins"}`,
        done: `${whole}${unread}`,
        cancelled: `${what} stopped after ${done} of ${total}${unread}`,
        failed: tiles() ? `${failed} of ${total} maps failed` : `${what} failed after ${done} of ${total}`,
      }[state];
      text(progress, said);
      work.dataset.state = state;
    },
    signal,
  );
}
