import { expect, it } from "vitest";
import { Store } from "./store";
import { chartTable } from "./table";

it("asks for the numbers only while it is open, and then whenever they may have changed", () => {
  const store = new Store({ values: [1, 2], other: 0 });
  let asked = 0;
  const part = chartTable(store, "curve", ["values"], () => {
    asked += 1;
    return {
      caption: "all",
      columns: ["at", "value"],
      rows: store.get("values").map((one, at) => [`${at}`, `${one}`]),
    };
  }) as HTMLDetailsElement;
  const texts = (selector: string) => [...part.querySelectorAll(selector)].map((one) => one.textContent);
  expect(texts("summary")).toEqual(["curve as a table"]);
  store.set({ values: [3] });
  expect(asked).toBe(0);
  part.open = true;
  part.dispatchEvent(new Event("toggle"));
  expect(texts("thead th")).toEqual(["at", "value"]);
  expect(texts("tbody th")).toEqual(["0"]);
  expect(texts("td")).toEqual(["3"]);
  const before = asked;
  store.set({ other: 1 });
  expect(asked).toBe(before);
  store.set({ values: [4, 5] });
  expect(texts("td")).toEqual(["4", "5"]);
});
