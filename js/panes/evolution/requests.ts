/** What the evolution asks of the kernel, and when. */

import type { Inside } from "../../lib/atlas";
import { bytes, floats, int8s, int32s } from "../../lib/buffers";
import { onEnd } from "../../lib/dom";
import type { Session } from "../../seam";
import { type Method, openOn } from "../shared/selection";
import { shownUnits } from "./rows";
import {
  type Cells,
  cellKey,
  checkpointOf,
  chooseCheckpoint,
  columnsOf,
  type EvolutionState,
  hasWinner,
  winnersOf,
} from "./state";

/** A request for cells should take this long, ms: a click waits for one of them at most. */
const SLICE = 300;
const MOST = 32;
/** Rows whose cells are asked for from the first to the last checkpoint before the next ones'. */
const BLOCK = 8;
/** Where there are more rows than this, cells are asked for when they come into sight, and so many are kept. */
const FEW = 48;
const KEPT = 4096;
/** How long each checkpoint is looked at while the training is played, ms. */
const PACE = 800;

export function linkEvolution(session: Session<EvolutionState>): void {
  askForWinners(session);
  askForCells(session);
  play(session);
}

function askForWinners(session: Session<EvolutionState>): void {
  const { store, kernel } = session;
  kernel.answers("winners", (answer, [value, image, jump, strongest, jumps, settling, index]) =>
    store.set({
      winners: {
        layer: answer.layer as string,
        channels: answer.channels as number,
        value: floats(value),
        image: int32s(image),
        jump: bytes(jump),
        orders: {
          strongest: int32s(strongest),
          jumps: int32s(jumps),
          settling: int32s(settling),
          index: int32s(index),
        },
      },
    }),
  );
  let asked = "";
  store.watch(["layer", "_evolution"], () => {
    const [layer, { checkpoints }] = [store.get("layer"), store.get("_evolution")];
    const wanted = `${layer} ${checkpoints.length}`;
    if (checkpoints.length === 0 || wanted === asked) return;
    asked = wanted;
    kernel.ask("winners", { layer });
  });
  store.onChange(["winners"], () => openOn(session, store.get("layer"), shownUnits(store).units[0]));
}

function askForCells({ store, kernel }: Session<EvolutionState>): void {
  /** Those of which an answer came, whether it held them (a saved page has but some) or not. */
  let asked = new Set<string>();
  let underWay: { of: Cells | null; keys: string[] } = { of: null, keys: [] };
  let chunk = 4;
  kernel.answers("cells", (answer, [shades, crops]) => {
    const cells = store.get("cells");
    if (underWay.of === cells) for (const key of underWay.keys) asked.add(key);
    const [channels, checkpoint] = [answer.channels as number[], answer.checkpoint as number];
    if (cells && answer.layer === cells.layer && answer.method === cells.method) {
      cells.side = answer.side as number;
      const step = 3 * cells.side * cells.side;
      const [all, pictures] = [int8s(shades), bytes(crops)];
      channels.forEach((unit, index) => {
        const part = [index * step, (index + 1) * step] as const;
        cells.known.set(cellKey(unit, checkpoint), {
          shades: all.subarray(...part),
          crop: pictures.subarray(...part),
          peak: (answer.peaks as number[])[index] ?? 0,
          inside: (answer.insides as Inside[])[index] ?? [0, 0, 1, 1],
          name: (answer.names as string[])[index] ?? "",
          label: (answer.labels as (string | null)[])[index] ?? null,
        });
      });
      forget(cells);
      store.set({ come: store.get("come") + channels.length });
    }
    const pace = SLICE / Math.max(1, performance.now() - ((answer.at as number) ?? 0));
    chunk = Math.min(MOST, Math.max(1, Math.round(chunk * Math.min(2, pace))));
    more();
  });
  /** Let go of the cells that came first, unless they are in sight. */
  const forget = ({ known }: Cells) => {
    const sight = new Set(store.get("sight"));
    for (const key of known.keys()) {
      if (known.size <= KEPT) return;
      if (sight.has(Number.parseInt(key, 10))) continue;
      known.delete(key);
      asked.delete(key);
    }
  };
  /** The cells to ask for next, of one checkpoint. */
  const next = (): [checkpoint: number, channels: number[]] | null => {
    const winners = winnersOf(store);
    if (!winners) return null;
    const { units: all } = shownUnits(store);
    const sight = store.get("sight").filter((unit) => all.includes(unit));
    const units = all.length > FEW ? sight : [...sight, ...all.filter((unit) => !sight.includes(unit))];
    const count = columnsOf(winners);
    // From where one looks to both sides.
    const at = checkpointOf(store);
    const order = Array.from({ length: count }, (_, checkpoint) => checkpoint).sort(
      (one, other) => Math.abs(one - at) - Math.abs(other - at),
    );
    for (let from = 0; from < units.length; from += BLOCK) {
      const block = units.slice(from, from + BLOCK);
      for (const checkpoint of order) {
        const channels = block.filter(
          (unit) => hasWinner(winners, [unit, checkpoint]) && !asked.has(cellKey(unit, checkpoint)),
        );
        if (channels.length > 0) return [checkpoint, channels.slice(0, chunk)];
      }
    }
    return null;
  };
  const more = () => {
    const wanted = kernel.awaits("cells") ? null : next();
    const cells = store.get("cells");
    if (!wanted || !cells || cells.layer !== store.get("winners")?.layer) return;
    const [checkpoint, channels] = wanted;
    underWay = { of: cells, keys: channels.map((unit) => cellKey(unit, checkpoint)) };
    const { layer, method } = cells;
    kernel.ask("cells", { layer, method, checkpoint, channels, at: performance.now() });
  };
  store.watch(["layer", "method"], () => {
    const cells: Cells = {
      layer: store.get("layer"),
      method: store.get("method") as Method,
      side: 1,
      known: new Map(),
    };
    asked = new Set();
    store.set({ cells, come: 0 });
  });
  store.watch(["winners", "cells", "order", "rows", "query", "sight", "selected", "_evolution"], more);
}

/** A checkpoint after the other, once for all views of the model. */
function play({ store, signal }: Session<EvolutionState>): void {
  let timer: ReturnType<typeof setInterval> | undefined;
  const step = () => {
    const [at, last] = [checkpointOf(store), store.get("_evolution").checkpoints.length - 1];
    if (at < last) chooseCheckpoint(store, at + 1);
    if (at + 1 >= last) store.set({ playing: false });
  };
  store.follow("playing", (playing) => {
    clearInterval(timer);
    if (!playing) return;
    const last = store.get("_evolution").checkpoints.length - 1;
    if (checkpointOf(store) >= last) chooseCheckpoint(store, 0);
    timer = setInterval(step, PACE);
  });
  onEnd(signal, () => clearInterval(timer));
}
