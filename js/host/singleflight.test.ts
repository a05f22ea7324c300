import { describe, expect, it } from "vitest";
import { SingleFlight } from "./singleflight";

function setup() {
  const sent: [number, number][] = [];
  let sequence = 0;
  const flight = new SingleFlight<number>(
    (request, id) => sent.push([request, id]),
    () => ++sequence,
  );
  return { flight, sent };
}

describe("SingleFlight", () => {
  it("sends the first at once and of a hundred more only the last, when the answer comes", () => {
    const { flight, sent } = setup();
    for (let request = 0; request <= 100; request++) flight.submit(request);
    expect(sent).toEqual([[0, 1]]);
    expect(flight.settle(1)).toBe(true);
    expect(sent).toEqual([
      [0, 1],
      [100, 2],
    ]);
    expect(flight.settle(2)).toBe(true);
    expect(flight.busy).toBe(false);
    expect(sent).toHaveLength(2);
  });

  it("takes no notice of an answer that it does not await", () => {
    const { flight, sent } = setup();
    expect(flight.settle(1)).toBe(false);
    flight.submit(7);
    flight.submit(8);
    expect(flight.settle(99)).toBe(false);
    expect(flight.busy).toBe(true);
    expect(sent).toEqual([[7, 1]]);
  });

  it("goes on with what waits when an answer is given up, and ignores that answer when it comes late", () => {
    const { flight, sent } = setup();
    flight.submit(1);
    flight.submit(2);
    flight.abandon();
    expect(sent).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(flight.settle(1)).toBe(false);
    expect(flight.settle(2)).toBe(true);
  });
});
