/** Where not all columns fit: how many there are on either side of those in sight, and the way to them. */
import { aria, el, is, on, text } from "../../lib/dom";
import { many } from "../../lib/format";

/** Of a column that is in sight so much may be out of it, CSS px. */
const CUT = 8;

/** `show` is to be called when the table, or the room for it, has changed. */
export function beyond(scroller: HTMLElement): { element: HTMLElement; show: () => void } {
  const before = el("button.cs-link");
  const after = el("button.cs-link");
  const element = el("div.cs-gallery__beyond", { hidden: true }, before, after);
  const heads = () => [...scroller.querySelectorAll(".cs-gallery__method:not(.cs-gallery__corner)")];
  /** What is seen of the columns, beside the picture, which stays. */
  const sight = () => {
    const picture = scroller.querySelector(".cs-gallery__corner")?.getBoundingClientRect();
    return [picture?.right ?? 0, scroller.getBoundingClientRect().right] as const;
  };
  const show = () => {
    element.hidden = scroller.scrollWidth <= scroller.clientWidth + CUT;
    const [from, to] = sight();
    const boxes = heads().map((head) => head.getBoundingClientRect());
    const hidden = [
      [before, boxes.filter(({ left }) => left < from - CUT).length],
      [after, boxes.filter(({ right }) => right > to + CUT).length],
    ] as const;
    for (const [button, count] of hidden) {
      button.hidden = count === 0;
      text(button, button === before ? `← ${count} more` : `${count} more →`);
      aria(button, "label", `Show ${many(count, "more method")}`);
    }
    is(scroller.parentElement ?? scroller, "beyond", !after.hidden);
  };
  const step = (by: number) => {
    const [from, to] = sight();
    scroller.scrollBy({ left: by * (to - from) });
  };
  on(before, "click", () => step(-1));
  on(after, "click", () => step(1));
  on(scroller, "scroll", show);
  return { element, show };
}
