/** The pictures on which the two disagree, with what either says; the chosen one is under both occluders. */
import { aria, dim, el, on, onKey, text, within } from "../../lib/dom";
import { many, probability } from "../../lib/format";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { type BothAnswers, type CompareState, names } from "./state";

export function picturesPane(view: View<CompareState>, root: HTMLElement): void {
  const { store } = view;
  const [title, count] = [document.createTextNode(""), el("span")];
  const list = el("div.cs-cards", { role: "listbox", "aria-label": "Pictures" });
  root.append(
    el("h3.cs-heading", title, count),
    list,
    el("p.cs-together", "One square for both, at the same place."),
  );
  const mark = () => {
    const picture = store.get("picture");
    cards(list).forEach((one, index) => {
      aria(one, "selected", index === picture);
      one.tabIndex = index === picture ? 0 : -1;
    });
  };
  store.watch(["_comparison"], () => {
    const { known, disagreements, answers } = store.get("_comparison");
    text(title, disagreements ? "They disagree" : "Pictures");
    text(count, countText(known, disagreements, answers.length));
  });
  store.watch(["_pictures", "_comparison", "thumbnails", "unread", "offline"], () => {
    const { answers } = store.get("_comparison");
    const pictures = store.get("_pictures");
    // A picture that was added fills the occluder; it is none to be looked at.
    const shown = pictures.slice(0, answers.length || pictures.length);
    list.replaceChildren(...shown.map((_, index) => card(view, index, answers[index] ?? null)));
    mark();
  });
  store.onChange(["picture"], mark);
  on(list, "click", (event) => {
    const picture = within(event, "[data-picture]")?.dataset.picture;
    if (picture !== undefined) store.set({ picture: Number(picture) });
  });
  onKey(list, ({ key }) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
    if (!step || store.get("offline")) return false;
    const all = cards(list);
    const picture = Math.min(Math.max(store.get("picture") + step, 0), all.length - 1);
    store.set({ picture });
    all[picture]?.focus();
    return true;
  });
}

const cards = (list: HTMLElement) => [...list.children] as HTMLElement[];

function countText(known: boolean, disagreements: number | null, shown: number): string {
  if (!known) return "those on which they disagree, when all are seen";
  if (disagreements === null) return "their classes have nothing in common";
  if (disagreements === 0) return "they agree on all";
  const on = `on ${many(disagreements, "picture")}`;
  return disagreements > shown ? `${on}, ${shown} shown; both surest first` : `${on}, both surest first`;
}

function card({ store }: View<CompareState>, index: number, both: BothAnswers | null): HTMLElement {
  const canvas = el("canvas.cs-card__canvas");
  const photo = store.get("thumbnails")[index];
  if (photo) show(canvas, photo.pixels, photo.width, photo.height);
  const { name = "", label = null } = store.get("_pictures")[index] ?? {};
  const reason = store.get("unread")[index];
  const chosen = index === store.get("picture");
  const lines = both
    ? ([0, 1] as const).map((which) => {
        const right = both.right[which];
        return el(
          "span.cs-card__answer",
          { "data-right": right === null ? undefined : String(right) },
          el("span.cs-card__class", both.answers[which]),
          dim(probability(both.probabilities[which])),
        );
      })
    : [];
  const [a, b] = names(store);
  const said = both
    ? `${a}: ${both.answers[0]} ${probability(both.probabilities[0])}; ` +
      `${b}: ${both.answers[1]} ${probability(both.probabilities[1])}`
    : "";
  return el(
    "button.cs-card",
    {
      role: "option",
      "aria-selected": String(chosen),
      tabindex: chosen ? 0 : -1,
      "data-picture": index,
      title: reason ?? [name, said].filter(Boolean).join("\n"),
      disabled: reason !== undefined || (store.get("offline") && !chosen),
    },
    reason ? el("span.cs-card__canvas", "cannot be read") : canvas,
    el("span.cs-card__words", el("span.cs-card__label", label ?? name), ...lines),
  );
}
