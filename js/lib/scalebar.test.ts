import { expect, it } from "vitest";
import { scaleBar } from "./scalebar";

it("writes what the ends of the colours stand for, and marks zero only inside them", () => {
  const bar = scaleBar("Scale", { markTitle: "clean" });
  const [low, name, high] = bar.element.querySelectorAll("span");
  const [zero, mark] = bar.element.querySelectorAll("i");
  bar.show({ range: [-2, 6], colours: "red", name: "unit 3", mark: 4 });
  expect([low, name, high].map((one) => one?.textContent)).toEqual(["−2.00", "unit 3", "6.00"]);
  expect([zero?.style.left, mark?.style.left]).toEqual(["25%", "75%"]);
  expect(bar.element.getAttribute("aria-label")).toBe("Scale of unit 3: −2.00 to 6.00");
  bar.show({ range: [0, 6], colours: "red" });
  expect([zero?.hidden, mark?.hidden, bar.element.hidden]).toEqual([true, true, false]);
  bar.show(null);
  expect(bar.element.hidden).toBe(true);
});
