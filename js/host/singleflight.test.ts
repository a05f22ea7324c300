import { describe, expect, it } from "vitest";
import { SingleFlight } from "./singleflight";

function setup() {
  const messages: [number, number][] = [];
  let sequence = 0;
  const flight = new SingleFlight<number>(
    (request, id) => messages.push([request, id]),
    () => ++sequence,
  );
  return { flight, messages };
}

describe("SingleFlight", () => {
  it("sends the first at once and of a hundred more only the last, when the answer comes", () => {
    const { flight, messages } = setup();
    for (let request = 0; request <= 100; request++) flight.submit(request);
    expect(messages).toEqual([[0, 1]]);
    expect(flight.settle(1)).toBe(true);
    expect(messages).toEqual([
      [0, 1],
      [100, 2],
    ]);
    expect(flight.settle(2)).toBe(true);
    expect(flight.busy).toBe(false);
    expect(messages).toHaveLength(2);
  });

  it("takes no notice of an answer that it does not await", () => {
    const { flight, messages } = setup();
    expect(flight.settle(1)).toBe(false);
    flight.submit(7);
    flight.submit(8);
    expect(flight.settle(99)).toBe(false);
    expect(flight.busy).toBe(true);
    expect(messages).toEqual([[7, 1]]);
  });

  it("goes on with what waits when an answer is given up, and ignores that answer when it comes late", () => {
    const { flight, messages } = setup();
    flight.submit(1);
    flight.submit(2);
    flight.abandon();
    expect(messages).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(flight.settle(1)).toBe(false);
    expect(flight.settle(2)).toBe(true);
  });
});
