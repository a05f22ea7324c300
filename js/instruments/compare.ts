import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { firstLayerPane } from "../panes/compare/first";
import { squareHeading } from "../panes/compare/heading";
import { matrixPane } from "../panes/compare/matrix";
import { numbersPane } from "../panes/compare/numbers";
import { pairsPane } from "../panes/compare/pairs";
import { picturesPane } from "../panes/compare/pictures";
import { compareWork, linkCompare } from "../panes/compare/requests";
import { second } from "../panes/compare/sides";
import { compareSlice } from "../panes/compare/state";
import { classesPane } from "../panes/occluder/classes";
import { controlsPane } from "../panes/occluder/controls";
import { picturePane } from "../panes/occluder/picture";
import { linkOccluder } from "../panes/occluder/requests";
import { occluderSlice } from "../panes/occluder/state";
import { type NetworkSlice, networkSlice } from "../panes/shared/network";
import { picturesSlice } from "../panes/shared/pictures";
import { statusPane } from "../panes/status/status";
import { stripSlice } from "../panes/strip/state";
import type { HostSlice } from "../seam";

const { widget, showSaved } = instrument({
  name: "compare",
  slices: [networkSlice, picturesSlice, stripSlice, occluderSlice, compareSlice],
  link: (session) => {
    linkCompare(session);
    linkOccluder(session);
    linkOccluder(second(session));
  },
  mount: (view, root) => {
    firstLayerPane(view, pane(root, "first-a"), 0);
    firstLayerPane(view, pane(root, "first-b"), 1);
    numbersPane(view, pane(root, "numbers"));
    matrixPane(view, pane(root, "matrix"));
    pairsPane(view, pane(root, "pairs"));
    const pictures = pane(root, "pictures");
    picturesPane(view, pictures);
    controlsPane(view, pictures);
    for (const [at, side] of [view, second(view)].entries()) {
      const square = pane(root, at === 0 ? "square-a" : "square-b");
      squareHeading(view, square, at === 0 ? 0 : 1);
      picturePane(side, square);
      classesPane(side, square);
    }
    statusPane(
      { ...view, store: view.store.as<NetworkSlice & HostSlice>({ _network: "both" }) },
      pane(root, "status"),
      compareWork(view),
    );
  },
});

export { showSaved, widget as default };
