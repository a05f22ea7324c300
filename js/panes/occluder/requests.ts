/** What the occluder asks of the kernel, and when. */
import { rgba } from "../../lib/atlas";
import { bytes, floats, int32s } from "../../lib/buffers";
import { extent } from "../../lib/geometry";
import { photoOf } from "../../lib/photo";
import type { Session } from "../../seam";
import { asked, type ClassScore, type Frame, type OccluderState, SETTING } from "./state";
import { visited } from "./trail";

/**
 * Frames that are awaited at a time: one is computed, the newest waits in the kernel, one is on its way. So the kernel
 * always has the newest place to go on with, and each message takes along the acknowledgement that a server without
 * TCP_NODELAY waits for.
 */
const IN_FLIGHT = 3;

export function linkOccluder({ store, kernel }: Session<OccluderState>): void {
  kernel.answers("photo", (answer, [rgb]) => store.set({ photo: photoOf(answer, rgb) }));
  kernel.answers("fill", (answer, [rgb]) =>
    store.set({ filling: answer.height ? photoOf(answer, rgb) : null }),
  );
  kernel.answers(
    "occlude",
    (answer, [rgb]) => {
      const frame = numbered(answer as unknown as Frame);
      const { position, size } = frame;
      // The first frame also waited for whatever the kernel did before it.
      const latency = store.get("frame") ? performance.now() - (answer.at as number) : null;
      store.set({
        frame,
        patch: rgb ? { position, size: extent(size), pixels: rgba(bytes(rgb)) } : null,
        trail: visited(store.get("trail"), frame.trail, position, frame.target.now),
        latency,
      });
    },
    IN_FLIGHT,
  );
  kernel.answers("trail", (answer, [places, values]) => {
    const at = int32s(places);
    store.set({
      trail: {
        number: answer.trail as number,
        visited: [...floats(values)].map((value, index) => ({
          position: [at[2 * index] ?? 0, at[2 * index + 1] ?? 0],
          value,
        })),
      },
    });
  });
  kernel.hears("trail", ({ trail }) => store.set({ trail: { number: trail as number, visited: [] } }));
  kernel.ask("trail", {});
  kernel.answers("labels", ({ labels }) => store.set({ labels: labels as string[] }));
  store.watch(["picture", "_revision"], () => kernel.ask("photo", { picture: store.get("picture") }));
  store.watch(["picture", "_revision", "fill"], () =>
    kernel.ask("fill", { picture: store.get("picture"), fill: store.get("fill") }),
  );
  store.watch([...SETTING, "position", "target"], () => kernel.ask("occlude", asked(store)));
}

/** A frame whose scores are numbers: what a network returns that is none (NaN) comes as null. */
function numbered(frame: Frame): Frame {
  const one = (score: ClassScore): ClassScore => ({
    ...score,
    clean: score.clean ?? Number.NaN,
    now: score.now ?? Number.NaN,
  });
  const { target, before, first, classes, other } = frame;
  return {
    ...frame,
    target: one(target),
    before: one(before),
    first: one(first),
    classes: classes.map(one),
    other: other && one(other),
  };
}
