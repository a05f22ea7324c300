/** Finding a class to follow, among all that the network knows. */
import { el, keepTyping, on, uniqueId } from "../../lib/dom";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

export function followField({ store, kernel }: View<OccluderState>): HTMLElement {
  const what = "Follow any class: type a part of its name";
  const options = el("datalist", { id: uniqueId("classes") });
  const field = el("input.cs-follow", {
    type: "search",
    placeholder: "follow a class",
    "aria-label": what,
    title: what,
    list: options.id,
  });
  keepTyping(field);
  // Some networks know thousands: they come when somebody looks for one.
  on(field, "focus", () => store.get("labels").length === 0 && kernel.ask("labels", {}));
  store.follow("labels", (labels) =>
    options.replaceChildren(...labels.map((value) => el("option", { value }))),
  );
  const follow = () => {
    const query = field.value.trim().toLowerCase();
    const labels = store.get("labels").map((label) => label.toLowerCase());
    const exact = labels.indexOf(query);
    const target = exact >= 0 ? exact : labels.findIndex((label) => label.includes(query));
    field.classList.toggle("cs-is-wrong", query !== "" && target < 0);
    if (query === "" || target < 0) return;
    field.value = "";
    store.set({ target });
  };
  on(field, "change", follow);
  on(field, "input", () => field.classList.remove("cs-is-wrong"));
  store.follow("offline", (offline) => {
    field.hidden = offline;
  });
  return el("span.cs-following", field, options);
}
