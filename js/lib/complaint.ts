/** What is said at a field that has got what it cannot take. */
import { aria, el, on, text, uniqueId } from "./dom";

/** A field with what is `said` of it beneath, and beside it `more`; "" takes back what was said, as typing does. */
export function complained(
  field: HTMLElement,
  ...more: Node[]
): { element: HTMLElement; said: HTMLElement; complain: (what: string) => void } {
  const id = uniqueId("complaint");
  const said = el("span.cs-complaint", { role: "alert", id, hidden: true });
  const complain = (what: string) => {
    text(said, what);
    said.hidden = what === "";
    aria(field, "invalid", what !== "");
  };
  aria(field, "describedby", id);
  on(field, "input", () => complain(""));
  return { element: el("span.cs-complained", field, ...more, said), said, complain };
}
