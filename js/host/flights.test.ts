import { describe, expect, it } from "vitest";
import { Flights } from "./flights";

function setup(limit: number) {
  const messages: [request: number, id: number][] = [];
  let sequence = 0;
  const flights = new Flights<number>(
    (request, id) => messages.push([request, id]),
    () => ++sequence,
    limit,
  );
  const requests = () => messages.map(([request]) => request);
  return { flights, messages, requests };
}

describe.each([1, 2, 3])("%i in flight", (limit) => {
  it("are sent at once, and of a hundred more only the last, when an answer comes", () => {
    const { flights, requests } = setup(limit);
    for (let request = 1; request <= 100; request++) flights.submit(request);
    const first = Array.from({ length: limit }, (_, index) => index + 1);
    expect(requests()).toEqual(first);
    expect(flights.settle(1)).toBe(true);
    expect(requests()).toEqual([...first, 100]);
    expect(flights.settle(limit + 1)).toBe(true);
    expect(flights.busy).toBe(false);
    expect(requests()).toHaveLength(limit + 1);
  });

  it("take no notice of an answer that is not awaited", () => {
    const { flights, requests } = setup(limit);
    expect(flights.settle(1)).toBe(false);
    for (let request = 1; request <= limit + 1; request++) flights.submit(request);
    expect(flights.settle(99)).toBe(false);
    flights.drop(99);
    expect(flights.busy).toBe(true);
    expect(requests()).toHaveLength(limit);
  });

  it("are given up together: what waits is sent, and their answers are ignored when they come late", () => {
    const { flights, messages } = setup(limit);
    for (let request = 1; request <= limit + 5; request++) flights.submit(request);
    flights.abandon();
    expect(messages.at(-1)).toEqual([limit + 5, limit + 1]);
    for (let id = 1; id <= limit; id++) expect(flights.settle(id)).toBe(false);
    expect(flights.settle(limit + 1)).toBe(true);
  });

  it("are repeated in order, under their numbers", () => {
    const { flights, messages } = setup(limit);
    for (let request = 1; request <= limit + 1; request++) flights.submit(request);
    const before = [...messages];
    flights.repeat();
    expect(messages).toEqual([...before, ...before]);
  });
});

describe("several in flight", () => {
  it("no answer follows a newer one", () => {
    const { flights, requests } = setup(3);
    for (const request of [1, 2, 3, 4]) flights.submit(request);
    expect(flights.settle(2)).toBe(true);
    expect(flights.settle(1)).toBe(false);
    expect(requests()).toEqual([1, 2, 3, 4]);
    expect(flights.settle(4)).toBe(true);
    expect(flights.settle(3)).toBe(false);
  });

  it("one that the kernel dropped makes room, and the others are awaited still", () => {
    const { flights, requests } = setup(2);
    for (const request of [1, 2, 3]) flights.submit(request);
    flights.drop(2);
    expect(requests()).toEqual([1, 2, 3]);
    expect(flights.settle(2)).toBe(false);
    expect(flights.settle(1)).toBe(true);
    expect(flights.awaits(3)).toBe(true);
  });
});
